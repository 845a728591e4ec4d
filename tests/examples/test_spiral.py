"""The spiral: a tiny run, its resumption, and that the moments to match are those of the equation."""

import json

import pytest
import torch

from examples import spiral
from examples.spiral_model import FULL, ROWS, Moments, Row, Spiral, distance, truth


@pytest.fixture(autouse=True)
def restore_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_quick_run_prints_the_table_leaves_a_plot_and_is_not_repeated(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(spiral, "REPETITIONS", 1)
    monkeypatch.setattr(spiral, "TEST_SAMPLES", 200)
    arguments = ["--quick", "--iterations", "2", "--output", str(tmp_path)]
    assert spiral.main(arguments) == 0
    printed = capsys.readouterr().out
    assert all(row.name in printed for row in ROWS)
    assert (tmp_path / "spiral.png").read_bytes().startswith(b"\x89PNG")
    runs = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["runs"]
    assert [run["row"] for run in runs] == [row.name for row in ROWS]
    # 29 steps between the outputs, of four evaluations each, and two for the first step
    assert all(run["evals"] >= 118 and run["evals_to_end"] > 0 and len(run["history"]) == 2 for run in runs)
    assert spiral.main(arguments) == 0
    again = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["runs"]
    for key in ("loss", "evals", "history"):
        assert [run[key] for run in again] == [run[key] for run in runs]


def test_models_of_a_seed_begin_alike_and_differ_in_the_penalty_alone():
    plain, penalised = (Spiral(3, row.penalty()) for row in ROWS)
    assert all(torch.equal(one, other) for one, other in zip(plain.parameters(), penalised.parameters(), strict=True))
    one, other = plain(10, seed=0), penalised(10, seed=0)
    assert torch.equal(one.ys, other.ys) and one.penalty.item() == 0 and other.penalty.item() > 0
    assert len({row.name for row in FULL}) == len(FULL)


def test_target_has_the_moments_that_were_published():
    target = truth()
    # at the end, of the published data (their second coordinate has the other sign), to five standard errors of the
    # mean of 10000 paths, which the published ones are too
    torch.testing.assert_close(target.mean[-1].abs(), torch.tensor([0.584, 0.985]), rtol=0, atol=0.06)
    assert distance(torch.stack([torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0]])], 1), Moments(
        torch.tensor([[0.5, 0.5]]), torch.tensor([[0.5, 0.5]])
    )).item() == 0  # fmt: skip


def test_wrong_options_are_explained(capsys):
    with pytest.raises(SystemExit):
        spiral.main(["--seeds", "0"])
    assert "--seeds: must be a whole number of at least 1" in capsys.readouterr().err


def test_a_row_without_weight_has_no_penalty():
    assert Row("none", 0.0).penalty() is None and Row("some", 2.0).penalty().weight == 2
