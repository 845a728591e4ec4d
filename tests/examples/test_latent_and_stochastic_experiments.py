"""The latent ODE, the spiral SDE and the classifier SDE: tiny runs, their losses and baselines, and wrong settings."""

import pytest
import torch

from examples.common import Stopped
from examples.regularization.estimates import method_with_estimate
from examples.regularization.framework import METHODS, SettingsError, Variant, read_settings
from examples.regularization.framework.measure import other_options
from examples.regularization.framework.run import Run
from examples.regularization.latent_ode import LatentODEExperiment
from examples.regularization.registry import find_experiment, settings_file
from nde.regularize import GlobalError, Steer

# what makes a run take less than a second
TINY = {
    "latent-ode": {"train_samples": 24, "test_samples": 8, "width": 8, "encoder": 4, "batch": 8, "tolerance": 1e-3},
    "spiral-sde": {"times": 4, "paths": 16, "test_paths": 64, "tolerance": 0.1},
    "classifier-sde": {"size": 4, "hidden": 8, "batch": 16, "test_paths": 2, "tolerance": 0.1},
}


def tiny(name, setup="short", **changes):
    kind = find_experiment(name)
    return read_settings(settings_file(name), setup, kind.settings_type, **{"iterations": 2, **TINY[name], **changes})


def experiment_of(name, **changes):
    return find_experiment(name)(tiny(name, **changes))


def run_of(experiment, variant, folder, seed=0):
    return Run(experiment.name, experiment.version, experiment.settings, variant, seed, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_every_method_of_the_settings_trains_and_is_measured(name, tmp_path):
    experiment = experiment_of(name, iterations=1)
    covered = set()
    for variant in experiment.variants():
        if variant.method in covered:
            continue
        covered.add(variant.method)
        figures = run_of(experiment, variant, tmp_path).train(experiment)
        assert figures["failure"] is None
        assert figures["test_evals"] > 0 and figures["train_evals"] > 0 and figures["other_evals"] > 0
        assert figures["displacement"] > 0
    assert covered | set(experiment.settings.left_out) == set(METHODS)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("variant", [Variant("local-unbiased", 1.0), Variant("budget", 30.0)], ids=lambda it: it.method)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(name, variant, tmp_path):
    experiment = experiment_of(name)
    whole, parts = (run_of(experiment, variant, tmp_path / part) for part in ("whole", "parts"))
    expected = whole.train(experiment)
    asked = iter((False, True))
    with pytest.raises(Stopped):
        parts.train(experiment, stop=lambda: next(asked))
    assert parts.iterations_done() == 1
    resumed = parts.train(experiment)
    for key in ("metric", "losses", "evaluations", "test_evals"):
        assert resumed[key] == expected[key], key


@pytest.mark.parametrize("name", TINY)
def test_models_of_a_seed_begin_alike_whatever_the_penalty_and_predictions_repeat(name):
    experiment = experiment_of(name)
    plain, other = experiment.build(3, None, None).eval(), experiment.build(3, GlobalError(1.0), Steer(0.001)).eval()
    with torch.no_grad():
        first = experiment.predict(plain, "test")
        state = torch.get_rng_state()
        assert experiment.predict(plain, "test") == first == experiment.predict(other, "test")
        assert torch.equal(torch.get_rng_state(), state)
        assert experiment.predict(experiment.build(4, None, None).eval(), "test") != first


@pytest.mark.parametrize("name", TINY)
def test_the_loss_of_training_holds_the_penalty_and_the_task_does_not(name):
    experiment = experiment_of(name)
    losses = []
    for penalty in (None, GlobalError(1e3)):
        model = experiment.build(0, penalty, None).train()
        losses.append(experiment.loss(model, torch.Generator().manual_seed(0), 0))
    plain, penalised = losses
    assert plain.task == penalised.task == plain.total.item()
    assert penalised.total.item() > penalised.task


@pytest.mark.parametrize("name", TINY)
def test_steer_moves_the_times_in_training_alone(name):
    experiment = experiment_of(name)
    plain, steered = (experiment.build(0, None, steer) for steer in (None, Steer(0.01)))

    def task(model):
        return experiment.loss(model, torch.Generator().manual_seed(0), 0).task

    assert task(steered.train()) != task(plain.train())
    with torch.no_grad():
        assert experiment.predict(steered.eval(), "train") == experiment.predict(plain.eval(), "train")


def test_predictions_of_series_are_compared_where_there_are_observations_alone():
    experiment = experiment_of("latent-ode")
    model = experiment.build(0, None, None).eval()
    with torch.no_grad():
        before = experiment.predict(model, "test").metric
        for part in experiment.series:
            part.values[~part.mask] = 1e6
        assert experiment.predict(model, "test").metric == before
        loss = experiment.loss(model, torch.Generator().manual_seed(0), 0)
    assert loss.task < 1e5


def test_baselines_of_series_are_those_of_their_means():
    experiment = experiment_of("latent-ode")
    test = experiment.series.test
    errors = [
        (test.values[:, :, channel][test.mask[:, :, channel]] - experiment.means[channel]).square()
        for channel in range(len(experiment.means))
    ]
    assert experiment.baselines(1)["mean of each channel"] == pytest.approx(torch.cat(errors).mean().item())


def test_the_loss_of_the_spiral_itself_is_the_stated_one():
    experiment = experiment_of("spiral-sde", test_paths=2000)

    def drift(y):
        one, two = (y**3).unbind(-1)
        return torch.stack([-0.1 * one + 2 * two, -2 * one - 0.1 * two], -1)

    model = experiment.build(0, None, None).eval()
    model.sde.drift, model.sde.diffusion = (lambda t, y: drift(y)), (lambda t, y: 0.2 * y)
    with torch.no_grad(), other_options(model, {"rtol": 1e-3, "atol": 1e-3}):
        found = experiment.predict(model, "test").metric
    baselines = experiment.baselines(1)
    # one draw of a sum of dependent squares, whose mean the baseline is; the target's own errors are a fifth
    assert found < 6 * baselines["the spiral"] < 0.01 * baselines["no motion"]


def test_the_reference_estimate_asks_for_more_steps_than_the_embedded_one():
    evals = []
    for setup in ("short", "reference"):
        experiment = find_experiment("spiral-sde")(tiny("spiral-sde", setup))
        with torch.no_grad():
            evals.append(experiment.predict(experiment.build(0, None, None).eval(), "train").field_evals)
    assert evals[1] > 1.5 * evals[0]


def test_frozen_ends_are_not_trained():
    trained, frozen = (experiment_of("classifier-sde", ends=ends) for ends in ("trained", "frozen"))
    counts = [
        sum(parameter.numel() for group in experiment.optimiser(model).param_groups for parameter in group["params"])
        for experiment in (trained, frozen)
        for model in [experiment.build(0, None, None)]
    ]
    size = trained.settings.size
    assert counts[0] - counts[1] == (64 + 1) * size + (size + 1) * 10


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("latent-ode", {"data": "ecg"}, "data must be one of generated, physionet, but is 'ecg'"),
        ("latent-ode", {"data": "physionet"}, "needs the files of PhysioNet 2012.*--data DIR"),
        ("spiral-sde", {"estimate": "exact"}, "estimate must be one of 'embedded', 'reference'"),
        ("spiral-sde", {"method": "sosri9"}, "sosri9"),
        ("spiral-sde", {"method": "milstein"}, "must be a stochastic Runge-Kutta method, such as sosri2"),
        ("classifier-sde", {"ends": "thawed"}, "ends must be one of trained, frozen"),
        ("classifier-sde", {"data": "letters"}, "data must be one of digits, mnist"),
        ("classifier-sde", {"data": "mnist"}, "needs the files of MNIST.*--data DIR"),
    ],
)
def test_wrong_settings_are_named(name, change, complaint):
    with pytest.raises(SettingsError, match=complaint):
        experiment_of(name, **change)


def test_missing_files_of_physionet_are_told_where_to_get(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"physionet\.org/files/challenge-2012"):
        LatentODEExperiment(tiny("latent-ode", data="physionet"), tmp_path)


def test_estimates_are_those_of_the_method():
    embedded, reference = (method_with_estimate("sosri2", estimate) for estimate in ("embedded", "reference"))
    assert embedded.name == reference.name == "sosri2" and embedded.estimate != reference.estimate
