"""The Darcy example runs, goes on where it stopped, and leaves what it says."""

import pytest

from examples.operators import darcy


@pytest.mark.slow
def test_the_quick_run_prints_errors_and_leaves_a_picture(tmp_path, capsys):
    assert darcy.main(["--quick", "--output", str(tmp_path)]) == 0
    first = capsys.readouterr().out
    assert "FNO" in first and "LocalNO" in first and "Relative L2 errors of 40 test samples" in first
    assert (tmp_path / "darcy.png").stat().st_size > 10_000
    # nothing is left to be trained: the same errors at once
    assert darcy.main(["--quick", "--output", str(tmp_path)]) == 0

    def errors(text):
        return [line.split()[-2:] for line in text.splitlines() if line.startswith(("FNO", "LocalNO"))]

    assert errors(capsys.readouterr().out) == errors(first)
    assert len(errors(first)) == 2
