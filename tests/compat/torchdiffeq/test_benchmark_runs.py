"""The comparison with torchdiffeq runs and counts; its times are asserted nowhere."""

import json

import pytest

pytest.importorskip("torchdiffeq")

from benchmarks import compat


@pytest.mark.slow
def test_a_quick_run_has_equal_work_and_equal_results_in_every_row(tmp_path, capsys):
    output = tmp_path / "new folder" / "rows.json"
    compat.main(["--quick", "--sizes", "medium", "--only", "rk4", "--output", str(output)])
    rows = json.loads(output.read_text())
    assert len(rows) == 2 * sum("rk4" in str(case) for case in compat.CASES)
    for row in rows:
        ours, theirs = row["evaluations"].values()
        assert ours == theirs
        assert row["difference"] < 1e-3
    assert "geometric mean" in capsys.readouterr().out
