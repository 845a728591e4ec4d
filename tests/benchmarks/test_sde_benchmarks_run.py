"""The benchmarks of stochastic solves run to their end."""

import json
import sys

import pytest

pytest.importorskip("torchsde")

from benchmarks import sde, sde_training


def test_the_benchmark_of_stochastic_solves_measures_every_method(tmp_path, monkeypatch, capsys):
    output = tmp_path / "sde.json"
    monkeypatch.setattr(sys, "argv", ["sde", "--steps", "2", "--turns", "1", "--output", str(output)])
    sde.main()
    rows = json.loads(output.read_text())
    assert len(rows) == 2 * 2 * 5
    assert all(row["over_torchsde"] > 0 and row["over_floor"] > 0 for row in rows)
    assert "ratio" in capsys.readouterr().out


def test_the_benchmark_of_stochastic_training_measures_adjoints_memory_and_rows(tmp_path, monkeypatch, capsys):
    output = tmp_path / "training.json"
    monkeypatch.setattr(sde_training, "_MEMORY_STEPS", (2, 4))
    monkeypatch.setattr(sde_training, "_SIZES", ((2, 4, 8),))
    monkeypatch.setattr(sys, "argv", ["sde_training", "--steps", "2", "--turns", "1", "--output", str(output)])
    sde_training.main()
    found = json.loads(output.read_text())
    assert len(found["adjoint"]) == 4 and all(row["seconds"]["torchsde"] > 0 for row in found["adjoint"])
    assert set(found["memory"]) == {"2", "4"} and set(found["rows"]["8"]) == {"shared", "per_sample"}
    assert "sdeint_adjoint" in capsys.readouterr().out
