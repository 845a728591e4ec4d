"""The benchmarks of stochastic solves run to their end."""

import json
import sys

import pytest

pytest.importorskip("torchsde")

from benchmarks import sde


def test_the_benchmark_of_stochastic_solves_measures_every_method(tmp_path, monkeypatch, capsys):
    output = tmp_path / "sde.json"
    monkeypatch.setattr(sys, "argv", ["sde", "--steps", "2", "--turns", "1", "--output", str(output)])
    sde.main()
    rows = json.loads(output.read_text())
    assert len(rows) == 2 * 2 * 5
    assert all(row["over_torchsde"] > 0 and row["over_floor"] > 0 for row in rows)
    assert "ratio" in capsys.readouterr().out
