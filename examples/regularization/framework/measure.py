"""What models cost: evaluations, with the solver of the training and with another one, and time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from examples.regularization.framework.experiment import Experiment
from examples.regularization.framework.variants import NONE, Variant
from nde.models.layer import SolverLayer

__all__ = ["iteration_costs", "measure", "other_options"]

_REPETITIONS = 7


def measure(experiment: Experiment, model: nn.Module) -> dict[str, float | None]:
    """Return the figures of a trained model, in evaluation mode and without its penalty."""
    model.eval()
    with torch.no_grad():
        test = experiment.predict(model, "test")
        seconds = math.inf
        for _ in range(_REPETITIONS):
            started = time.process_time()
            experiment.predict(model, "test")
            seconds = min(seconds, time.process_time() - started)
        train = experiment.predict(model, "train")
        other = None
        if experiment.other_solver:
            with other_options(model, experiment.other_solver):
                other = experiment.predict(model, "test").field_evals
    return {
        "metric": test.metric,
        "train_metric": train.metric,
        "test_evals": test.field_evals,
        "train_evals": train.field_evals,
        "other_evals": other,
        "test_steps": test.steps,
        "test_rejected": test.rejected,
        "displacement": test.displacement,
        "predict_seconds": seconds,
    }


@contextmanager
def other_options(model: nn.Module, options: dict[str, Any]) -> Iterator[None]:
    """Put other options of the solver into all layers of a model meanwhile."""
    layers = [module for module in model.modules() if isinstance(module, SolverLayer)]
    before = [layer.options for layer in layers]
    try:
        for layer in layers:
            layer.options = {**layer.options, **options}
        yield
    finally:
        for layer, kept in zip(layers, before, strict=True):
            layer.options = kept


def iteration_costs(experiment: Experiment, state: dict[str, Any], repetitions: int = _REPETITIONS) -> dict[str, float]:
    """Return what an iteration costs with each method, as a multiple of that of ``none``, where both take equal steps.

    Models with the same weights take turns, so that whatever else the machine does hits all of them alike; the fastest
    repetition of each counts, over the evaluations of its solve.

    Args:
        experiment: The experiment.
        state: ``state_dict`` of a model that was trained without a penalty.
        repetitions: Iterations of each method; the first weight of each stands for all.
    """
    first: dict[str, Variant] = {}
    for variant in experiment.variants():
        first.setdefault(variant.method, variant)
    models: dict[str, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        for method, variant in first.items():
            model = experiment.build(0, *variant.make(0, experiment.common_settings.iterations)).train()
            model.load_state_dict(state, strict=False)  # penalties keep the state that they begin with
            models[method] = model
        best = dict.fromkeys(models, math.inf)
        for repetition in range(repetitions + 1):
            for method, model in models.items():
                torch.manual_seed(0)
                model.zero_grad()
                started = time.process_time()
                loss = experiment.loss(model, torch.Generator().manual_seed(0), 0)
                loss.total.backward()
                seconds = time.process_time() - started
                if repetition:  # the first one warms up
                    best[method] = min(best[method], seconds / loss.field_evals)
    return {method: seconds / best[NONE] for method, seconds in best.items()} if NONE in best else {}
