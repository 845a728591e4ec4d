"""What `import nde` gives: every public name, imported when it is used, whatever was imported before."""

import subprocess
import sys

import pytest

import nde


def test_every_public_name_is_there():
    for name in nde.__all__:
        assert getattr(nde, name) is not None
    assert set(nde.__all__) <= set(dir(nde))
    for part in ("adjoint", "compat", "controls", "data", "models", "operators", "pinn", "profile", "training"):
        assert getattr(nde, part).__name__ == f"nde.{part}"


def test_functions_are_functions_whatever_was_imported_before():
    import nde.doors.sde
    import nde.models

    for name in ("solve_ode", "solve_sde", "solve_cde", "solve_langevin"):
        assert callable(getattr(nde, name)) and getattr(nde, name).__name__ == name


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'solve'"):
        nde.solve  # noqa: B018


def test_parts_that_stand_alone_do_not_import_the_solvers():
    for part in ("operators", "taylor", "data"):
        code = f"import sys, nde.{part}; sys.exit(any(name.startswith('nde.solvers') for name in sys.modules))"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0, part
