"""The experiments with penalties: tiny runs, interruption and resumption, and complaints about settings."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from examples.common import Stopped
from examples.regularization import __main__ as command
from examples.regularization.densities import DENSITIES, entropy, sample
from examples.regularization.framework import METHODS, SettingsError, Variant, batch_of_epoch, read_settings
from examples.regularization.framework.measure import other_options
from examples.regularization.framework.report import write_report
from examples.regularization.framework.run import Run
from examples.regularization.framework.study import Study
from examples.regularization.framework.summary import summarise
from examples.regularization.framework.table import format_table
from examples.regularization.framework.verdicts import verdicts
from examples.regularization.registry import EXPERIMENTS, find_experiment, settings_file

OWN = ("classifier", "density")
# what makes a run take a second
TINY = {
    "classifier": {"iterations": 4, "batch": 32, "hidden": 8, "tolerance": 1e-5},
    "density": {"iterations": 4, "batch": 32, "width": 8, "tolerance": 1e-4, "train_samples": 96, "test_samples": 64},
}


@pytest.fixture(autouse=True)
def restore_process_settings():
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    yield
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, handler)


def tiny(name, **changes):
    kind = find_experiment(name)
    return read_settings(settings_file(name), "short", kind.settings_type, **{**TINY[name], **changes})


def run_of(settings, name, variant, folder, seed=0):
    return Run(name, find_experiment(name).version, settings, variant, seed, folder)


def stop_after(iterations):
    remaining = iter(range(iterations))
    return lambda: next(remaining, None) is None


WITHOUT_TIMES = ("train_seconds", "predict_seconds")


def timeless(figures):
    return {key: value for key, value in figures.items() if key not in WITHOUT_TIMES}


def weights_of(run):
    return torch.load(run.checkpoint, weights_only=True)["model"]


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_every_method_of_the_settings_trains_and_is_measured(name, tmp_path):
    settings = tiny(name, iterations=1)
    experiment = find_experiment(name)(settings)
    covered = set()
    for variant in experiment.variants():
        if variant.method in covered:
            continue
        covered.add(variant.method)
        figures = run_of(settings, name, variant, tmp_path).train(experiment)
        assert figures["failure"] is None
        assert figures["test_evals"] > 0 and figures["train_evals"] > 0 and figures["other_evals"] > 0
        assert figures["train_seconds"] > 0 and figures["predict_seconds"] > 0 and figures["displacement"] > 0
    assert covered | set(settings.left_out) == set(METHODS)


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize(
    "variant",
    [
        Variant("global-error", (5.0, 0.5)),
        Variant("local-unbiased", 1.0),
        Variant("local-taylor", 1.0),
        Variant("steer", 0.25),
        Variant("budget", 30.0),
    ],
    ids=lambda variant: variant.method,
)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(name, variant, tmp_path):
    settings = tiny(name)
    experiment = find_experiment(name)(settings)
    whole, parts = (run_of(settings, name, variant, tmp_path / part) for part in ("whole", "parts"))
    expected = whole.train(experiment)
    with pytest.raises(Stopped):
        parts.train(experiment, stop=stop_after(3))
    assert parts.iterations_done() == 3
    assert parts.finished() is None
    resumed = parts.train(experiment)
    assert timeless(resumed) == timeless(expected)
    for key, value in weights_of(whole).items():
        assert torch.equal(value, weights_of(parts)[key]), key


def test_runs_of_one_seed_start_from_the_same_weights_and_see_the_same_batches(tmp_path):
    settings = tiny("classifier", iterations=1)
    experiment = find_experiment("classifier")(settings)
    losses = [
        run_of(settings, "classifier", variant, tmp_path).train(experiment)["losses"]
        for variant in (Variant("none", 0.0), Variant("global-error", 1.0), Variant("local-biased", 1.0))
    ]
    assert losses[0] == losses[1] == losses[2]


def test_finished_runs_are_kept_and_those_of_other_settings_are_not(tmp_path):
    settings = tiny("classifier", iterations=1)
    run = run_of(settings, "classifier", Variant("none", 0.0), tmp_path)
    figures = run.train(find_experiment("classifier")(settings))
    kept = run.finished()
    assert kept is not None and timeless(kept) == timeless(figures)
    assert replace(run, settings=replace(settings, batch=33)).finished() is None
    assert replace(run, version=run.version + 1).iterations_done() == 0
    # how many seeds and weights there are besides does not concern it
    assert replace(run, settings=replace(settings, seeds=7, weights={})).finished() is not None


def test_a_damaged_checkpoint_is_not_used(tmp_path):
    settings = tiny("classifier", iterations=2)
    experiment = find_experiment("classifier")(settings)
    run = run_of(settings, "classifier", Variant("none", 0.0), tmp_path)
    with pytest.raises(Stopped):
        run.train(experiment, stop=stop_after(1))
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:1000])
    assert run.iterations_done() == 0
    assert len(run.train(experiment)["losses"]) == 2


def test_a_run_whose_solve_fails_ends_with_the_reason(tmp_path):
    settings = tiny("classifier", max_steps=2)
    run = run_of(settings, "classifier", Variant("none", 0.0), tmp_path)
    figures = run.train(find_experiment("classifier")(settings))
    assert "iteration 1" in figures["failure"] and "max_steps" in figures["failure"]
    assert "metric" not in figures
    kept = run.finished()
    assert kept is not None and kept["failure"] == figures["failure"]


def test_another_solver_is_put_into_the_layers_meanwhile():
    settings = tiny("classifier")
    experiment = find_experiment("classifier")(settings)
    model = experiment.build(0, None, None).eval()
    with torch.no_grad():
        before = experiment.predict(model, "test")
        with other_options(model, {"method": "rk4", "dt_max": 0.01}), pytest.raises(ValueError, match="rk4"):
            experiment.predict(model, "test")  # rk4 has no error to choose steps by
        assert experiment.predict(model, "test") == before


def test_batches_of_an_epoch_hold_every_sample_once():
    epochs = [[batch_of_epoch(10, 4, 0, 3 * epoch + part) for part in range(3)] for epoch in range(2)]
    assert [[len(batch) for batch in epoch] for epoch in epochs] == [[4, 4, 2]] * 2
    orders = [torch.cat(epoch).tolist() for epoch in epochs]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10))
    assert orders[0] != orders[1]


@pytest.mark.parametrize("density", DENSITIES)
def test_samples_of_a_density_come_from_the_seed_and_have_its_size(density):
    points = sample(density, 500, seed=3)
    assert points.shape == (500, 2) and points.dtype == torch.float64
    assert torch.equal(points, sample(density, 500, seed=3))
    assert not torch.equal(points, sample(density, 500, seed=4))


def test_the_entropy_of_separate_gaussians_is_that_of_one_and_of_the_choice():
    # 5 apart with a width of 0.32: what they overlap is far below the noise of the mean
    width = (0.1**2 + 0.3**2) ** 0.5
    expected = torch.log(torch.tensor(6 * 2 * torch.pi * width**2)).item() + 1
    assert entropy("gaussians", sample("gaussians", 100_000, 0)) == pytest.approx(expected, abs=0.01)
    assert entropy("moons", sample("moons", 10, 0)) is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("batch = 128", "bacth = 128"), r"no setting 'bacth'"),
        (("batch = 128", ""), r"setting 'batch' is missing"),
        (("batch = 128", "batch = 1.5"), r"batch must be of type int, but is 1\.5"),
        (("batch = 128", "batch = true"), r"batch must be of type int"),
        (("batch = 128", "batch = ["), r"not a TOML file"),
        (("none = [0]", "nothing = [0]"), r"weights names 'nothing'.*global-error"),
        (("none = [0]", "none = 0"), r"weights\.none must be a list"),
        (("none = [0]", "rnode = [[3, 2, 1]]"), r"weights\.rnode must hold numbers and pairs"),
        (("none = [0]", "rnode = [-1.0]"), r"rnode, weight -1: weight must be zero or positive"),
        (("none = [0]", "budget = [[80, 60]]"), r"budget takes a number"),
        (("seeds = 3", "seeds = 0"), r"seeds must be at least 1"),
        (('reduction = "span"', 'reduction = "median"'), r"global-error.*reduction must be one of"),
        (("setup.short", "setup.brief"), r"no set-up 'short'\. Choose one of: brief"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[1][:20],
)
def test_a_wrong_settings_file_names_the_problem(change, complaint, tmp_path):
    old, new = change
    assert old in SETTINGS
    file = tmp_path / "classifier.toml"
    file.write_text(SETTINGS.replace(old, new))
    with pytest.raises(SettingsError, match=complaint) as caught:
        read_settings(file, "short", find_experiment("classifier").settings_type)
    assert str(file) in str(caught.value)


SETTINGS = """
data = "digits"
hidden = 8
read_out = "frozen"
dtype = "float64"
tolerance = 1e-4
controller = "pi"
batch = 128
learning_rate = 0.1
momentum = 0.9
decay = 0.0
max_steps = 100
seeds = 3
iterations = 2

[options.global-error]
reduction = "span"

[setup.short]

[setup.short.weights]
none = [0]
global-error = [1.0]
"""


def test_a_missing_settings_file_and_wrong_names_are_told_at_once(tmp_path, capsys):
    for arguments, complaint in (
        (["classifier", "--config", str(tmp_path / "no.toml")], "cannot read the settings"),
        (["classifier", "--setup", "middle"], "no set-up 'middle'"),
        (["classifier", "--methods", "dropout"], "invalid choice: 'dropout'"),
        (["classifiers"], "invalid choice: 'classifiers'"),
        (["classifier", "--seeds", "0"], "at least 1"),
        (["report", "--output", str(tmp_path)], None),
    ):
        if complaint is None:
            assert command.main(arguments) == 1
            assert "nothing in" in capsys.readouterr().err
            continue
        with pytest.raises(SystemExit) as caught:
            command.main(arguments)
        assert caught.value.code == 2
        assert complaint in capsys.readouterr().err


def test_a_set_up_that_needs_files_says_how_to_get_them(tmp_path, capsys):
    arguments = ["classifier", "--setup", "mnist", "--output", str(tmp_path)]
    for more, complaint in (([], "--data DIR"), (["--data", str(tmp_path)], "MNIST is four files")):
        with pytest.raises(SystemExit) as caught:
            command.main([*arguments, *more])
        assert caught.value.code == 2
        assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_short_and_full_settings_can_be_read_and_cover_the_methods(name):
    kind = find_experiment(name)
    short, full = (read_settings(settings_file(name), setup, kind.settings_type) for setup in ("short", "full"))
    for settings in (short, full):
        assert set(settings.weights) | set(settings.left_out) == set(METHODS)
        assert settings.seeds >= 3
    assert all(len(full.weights[method]) >= len(weights) for method, weights in short.weights.items())


def figures(method, label, strength, seed, evaluations, seconds, metric=0.9, displacement=1.0, failure=None):
    values = {
        "metric": metric,
        "train_evals": evaluations,
        "test_evals": evaluations,
        "other_evals": evaluations,
        "train_seconds": seconds,
        "predict_seconds": 0.01 * evaluations,
        "displacement": displacement,
    }
    head = {"method": method, "label": label, "strength": strength, "seed": seed, "failure": failure}
    return {**head, "losses": [1.0], "evaluations": [float(evaluations)] * 10, **({} if failure else values)}


def results_of(runs):
    return {
        "experiment": "classifier",
        "title": "A title",
        "setup": "short",
        "metric": {"name": "test accuracy", "higher_is_better": True, "form": ".1%", "baseline": None},
        "other_solver": {"method": "dopri5"},
        "settings": {"seeds": 2, "iterations": 10, "left_out": {"rnode": "No reason."}},
        "baselines": {"nothing": 0.1},
        "iteration_costs": {"none": 1.0, "global-error": 1.04, "taylor": 7.0},
        "workers": 2,
        "runs": runs,
    }


RUNS = [
    *(figures("none", "0", 0.0, seed, 100 + 20 * seed, 10.0) for seed in range(2)),
    *(figures("taylor", "1", 1.0, seed, 62, 40.0) for seed in range(2)),
    *(figures("global-error", "5", 5.0, seed, 50 + 10 * seed, 8.0, metric=0.895) for seed in range(2)),
    *(figures("global-error", "50", 50.0, seed, 20, 4.0, metric=0.5, displacement=0.01) for seed in range(2)),
    figures("local-biased", "5", 5.0, 0, 70, 9.0),
    figures("local-biased", "5", 5.0, 1, 0, 0.0, failure="iteration 3: it blew up. Try less."),
    *(figures("budget", "50", 50.0, seed, 50 + 10 * seed, 8.0) for seed in range(2)),
]


def test_ratios_are_those_with_the_run_of_the_same_seed():
    rows = {(row.method, row.label): row for row in summarise(RUNS)}
    row = rows["global-error", "5"]
    assert row.values["test_evals"].mean == 55
    assert row.values["test_evals"].deviation == pytest.approx(50**0.5)
    assert row.ratios["test_evals"].mean == pytest.approx((50 / 100 + 60 / 120) / 2)
    assert row.ratios["test_evals"].deviation == 0
    assert row.collapsed == 0 and rows["global-error", "50"].collapsed == 2
    failed = rows["local-biased", "5"]
    assert list(failed.runs) == [0] and len(failed.failures) == 1


def test_the_table_says_what_collapsed_failed_and_was_left_out():
    table = format_table(results_of(RUNS))
    assert "| global error | 5 | 89.5% ± 0.0 | 55 ± 7 (0.50) |" in table
    assert "| global error (collapsed) | 50 |" in table
    assert "local error, biased, 5: 1 of 2 runs failed (seed 1, iteration 3: it blew up)" in table
    assert "- RNODE: No reason." in table
    assert "nothing 10.0%" in table


def test_verdicts_hold_and_do_not_hold_where_the_figures_say_so():
    told = "\n".join(verdicts(results_of(RUNS)))
    assert "reached by global error, 5 (0.50)." in told  # the collapsed one is not
    assert "5.0 times that of global error, 5 (weight 1)" in told
    assert "Taylor's" in told and "holds, 5.0" in told
    assert "50: does not hold (50, 60)" in told
    dear = [run if run["method"] != "global-error" else {**run, "test_evals": 99} for run in RUNS]
    assert "not reached; the fewest are" in "\n".join(verdicts(results_of(dear)))


def test_a_metric_without_a_zero_is_compared_by_its_distance_from_a_baseline():
    results = results_of([{**run, "metric": run.get("metric", 0.0) - 0.9} for run in RUNS])  # none: 0; error: -0.005
    assert "no such penalty keeps the metric within 1 %" in verdicts(results)[0]
    results["baselines"], results["metric"]["baseline"] = {"nothing": -2.0}, "nothing"
    assert "within 1 % of its distance from that of nothing" in verdicts(results)[0]
    assert "reached by global error, 5" in verdicts(results)[0]


def test_a_page_with_its_plots_is_written(tmp_path):
    page, images = tmp_path / "docs" / "page.md", tmp_path / "docs" / "images"
    write_report([results_of(RUNS)], page, images, "make experiments")
    text = page.read_text(encoding="utf-8")
    assert "`make experiments`" in text and "| none |" in text
    for plot in ("pareto", "training"):
        assert f"images/regularization-classifier-{plot}.png" in text
        assert (images / f"regularization-classifier-{plot}.png").stat().st_size > 10_000


def tiny_file(folder):
    file = folder / "tiny.toml"
    file.write_text(SETTINGS)
    return file


@pytest.mark.slow  # starts workers
def test_the_command_trains_prints_and_then_finds_everything_done(tmp_path, capsys):
    output = tmp_path / "results"
    arguments = ["classifier", "--config", str(tiny_file(tmp_path)), "--seeds", "2", "--output", str(output)]
    assert command.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "| global error | 1 |" in printed and "At most 0.6" in printed
    folder = output / "classifier" / "short"
    written = json.loads((folder / "results.json").read_text())
    assert len(written["runs"]) == 4 and set(written["iteration_costs"]) == {"none", "global-error"}
    changed = {file: file.stat().st_mtime_ns for file in (folder / "runs").iterdir()}
    assert command.main(arguments) == 0
    assert changed == {file: file.stat().st_mtime_ns for file in (folder / "runs").iterdir()}


@pytest.mark.slow  # starts workers
def test_ctrl_c_stops_the_workers_and_the_same_command_goes_on(tmp_path):
    file = tiny_file(tmp_path)
    file.write_text(SETTINGS.replace("iterations = 2", "iterations = 100000"))
    root = Path(__file__).parents[2]
    arguments = [sys.executable, "-m", "examples.regularization", "classifier", "--config", str(file)]
    arguments += ["--seeds", "1", "--workers", "2", "--output", str(tmp_path / "results")]
    process = subprocess.Popen(
        arguments,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
        start_new_session=True,
        # where the tests run in the background, SIGINT is ignored, and so it would be by what they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    runs = tmp_path / "results" / "classifier" / "short" / "runs"
    try:
        until = time.monotonic() + 120
        while len(list(runs.glob("*.pt"))) < 2:  # both have saved once
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert b"Interrupted" in errors and b"Traceback" not in errors
    study = Study.read("classifier", "short", tmp_path / "results", file=file, seeds=1)
    assert all(run.iterations_done() > 0 for run in study.runs())
