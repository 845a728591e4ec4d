"""The comparison of operators: problems are what they say, runs go on where they stopped, the page says what came."""

import json
from pathlib import Path

import pytest
import torch

from examples.operators import compare, runs
from examples.operators.problems import CELLS, PROBLEMS
from examples.operators.runs import MODELS, Run, Settings, build, load, run
from nde.data import coarsen
from nde.operators import LocalIntegral

TINY = ["--samples", "8", "--test-samples", "4", "--epochs", "1", "--seeds", "2", "--width", "4", "--modes", "2"]


def tiny(folder: Path, problem: str = "condiff-low", model: str = "FNO", epochs: int = 2) -> Run:
    return Run(problem, model, 0, Settings(8, 4, epochs, 4, 2), folder)


@pytest.mark.parametrize("name", ["reaction-smooth", "shallow-water"])
def test_local_kernels_continue_fields_beyond_walls_as_the_problem_says(name):
    # no flux passes the walls of the one, and water leaves through those of the other
    for kind in ("LocalNO", "LocalNO, regularised differential"):
        model = MODELS[kind].build(1, 1, PROBLEMS[name], Settings(8, 4, 1, 4, 2))
        boundaries = {layer.boundary for layer in model.modules() if isinstance(layer, LocalIntegral)}
        assert boundaries == {"reflect" if name == "reaction-smooth" else "zero"}


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_have_values_about_one_and_the_same_functions_at_all_resolutions(name, tmp_path):
    problem = PROBLEMS[name]
    samples = problem.load(4, 4, tmp_path)
    for field in samples.train.tensors:
        assert field.shape[-2:] == (CELLS, CELLS) and len(field) >= 4
        assert 0.2 < field.std() < 3 and bool(torch.isfinite(field).all())
    for factor, data in samples.test.items():
        for coarse, fine in zip(samples.test[1].tensors, data.tensors, strict=True):
            assert fine.shape == (*coarse.shape[:2], factor * CELLS, factor * CELLS)
            if not problem.periodic:  # fields are means over cells
                means = torch.from_numpy(coarsen(fine.numpy(), factor))
                torch.testing.assert_close(means, coarse, rtol=1e-4, atol=1e-4)
            else:  # the waves that both can hold
                waves = [
                    torch.fft.rfft2(field, norm="forward")[..., : CELLS // 2, : CELLS // 2] for field in (coarse, fine)
                ]
                torch.testing.assert_close(*waves, rtol=1e-3, atol=1e-5)


def test_train_and_test_have_different_functions(tmp_path):
    samples = PROBLEMS["shallow-water"].load(8, 4, tmp_path)
    heights = [field.tensors[1].flatten(1) for field in (samples.train, samples.test[1])]
    assert torch.cdist(*heights).min() > 1e-2


def test_fno_has_as_many_parameters_and_no_channel_too_many(tmp_path):
    task = tiny(tmp_path)
    samples = load(PROBLEMS[task.problem], task.settings, tmp_path)
    sizes = {name: runs._size(build(Run(task.problem, name, 0, task.settings, tmp_path), samples)) for name in MODELS}
    assert sizes["LocalNO"] <= sizes["FNO"] == sizes["FNO, three times the epochs"] < 1.6 * sizes["LocalNO"]
    assert 0.6 * sizes["LocalNO"] < sizes["LocalNO, regularised differential"] <= sizes["LocalNO"]


def test_all_models_of_a_problem_have_its_grid_at_every_resolution(tmp_path):
    # values at i / N on a torus, means over cells elsewhere: coordinates must say so, or they move with the resolution
    for problem, first in (("navier-stokes", 0.0), ("condiff-low", 0.5 / CELLS)):
        for kind in MODELS.values():
            model = kind.build(1, 1, PROBLEMS[problem], Settings(8, 4, 1, 4, 2))
            assert float(model.grid.positions((CELLS, CELLS))[0, 0, 0]) == pytest.approx(first)


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    whole = run(tiny(tmp_path / "whole"))
    taken = []

    def stop(self, *arguments):
        if len(taken) == 1:  # before the second epoch
            raise KeyboardInterrupt
        taken.append(1)
        return original(self, *arguments)

    original = runs.Trainer._train_epoch
    monkeypatch.setattr(runs.Trainer, "_train_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tiny(tmp_path / "halves"))
    monkeypatch.setattr(runs.Trainer, "_train_epoch", original)
    assert tiny(tmp_path / "halves").result() is None
    halves = run(tiny(tmp_path / "halves"))
    assert halves["test"] == whole["test"] and halves["train"] == whole["train"]
    # done: nothing is trained again, and a result of other settings is none
    monkeypatch.setattr(runs.Trainer, "_train_epoch", stop)
    assert run(tiny(tmp_path / "halves")) == halves
    assert tiny(tmp_path / "halves", epochs=3).result() is None


def test_the_command_prints_a_table_and_the_page_holds_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare, "PAGE", tmp_path / "docs" / "page.md")
    monkeypatch.setattr(compare, "IMAGES", tmp_path / "docs" / "images")
    output = ["--output", str(tmp_path / "results")]
    assert compare.main(["report", *TINY, *output]) == 1
    assert "run a comparison first" in capsys.readouterr().err
    assert compare.main(["condiff-low", *TINY, *output, "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    found = [json.loads(path.read_text()) for path in (tmp_path / "results").rglob("*seed*.json")]
    assert len(found) == 7
    for model, kind in MODELS.items():
        errors = [one["test"]["1"] for one in found if one["model"] == model]
        assert len(errors) == min(2, kind.seeds) and f"{sum(errors) / len(errors):.4f}" in printed
    assert "LocalNO, regularised differential (1 of 2 seeds)" in printed
    assert compare.main(["report", *TINY, *output]) == 0
    said = capsys.readouterr()
    assert "no results of condiff-high, darcy" in said.err and "Wrote" in said.out
    page = (tmp_path / "docs" / "page.md").read_text()
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    assert all(row in page for row in rows) and "8 inputs" in page and "neural ODE" not in page
    local, other = (
        {one["seed"]: one["test"]["1"] for one in found if one["model"] == name} for name in ("LocalNO", "FNO")
    )
    quotients = sorted(local[seed] / other[seed] for seed in other)
    assert f"| {quotients[0]:.2f} to {quotients[1]:.2f} | {'yes' if quotients[1] <= 0.75 else 'no'} |" in page
    for name in ("operators-ratios.png", "operators-condiff-low.png"):
        assert f"images/{name}" in page
        assert (tmp_path / "docs" / "images" / name).stat().st_size > 5_000


@pytest.mark.parametrize("wrong", [["elsewhere"], ["darcy", "--epochs", "0"], ["darcy", "--modes", "two"]])
def test_wrong_arguments_end_with_an_explanation(wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        compare.main(wrong)
    assert caught.value.code == 2 and "error: argument" in capsys.readouterr().err
