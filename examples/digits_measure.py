"""What trained models cost: evaluations, time per prediction, and where along the time axis the solver works hard."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor

import nde
from examples.digits_model import BATCH, TABLE, Classifier, Digits, accuracy
from examples.digits_training import Job

__all__ = ["FIXED_STEPS", "measure", "profiles"]

REPETITIONS = 15
FIXED_STEPS = 20  # equal steps in which the error estimates of several models are compared


def measure(jobs: list[Job], data: Digits) -> dict[tuple[str, int], dict[str, float]]:
    """Return the costs of trained models by name and seed, measured in evaluation mode in one thread.

    Models take turns, so that whatever else the machine does in the meantime hits all of them alike.
    """
    torch.set_num_threads(1)
    models = {(job.name, job.seed): job.trained() for job in jobs}
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in models}
    with torch.no_grad():
        for repetition in range(REPETITIONS + 1):
            for key, model in models.items():
                started = time.perf_counter()
                model(data.test_x)
                if repetition:  # the first one warms up
                    seconds[key].append(time.perf_counter() - started)
        return {key: _costs(model, data, statistics.median(seconds[key])) for key, model in models.items()}


def _costs(model: Classifier, data: Digits, seconds: float) -> dict[str, float]:
    _, batch = model(data.train_x[:BATCH])
    logits, test = model(data.test_x)
    return {
        "test_accuracy": accuracy(logits, data.test_y),
        "batch_evals": batch.stats.n_field_evals,
        "test_evals": test.stats.n_field_evals,
        "test_steps_attempted": test.stats.n_steps,
        "test_steps_rejected": test.stats.n_rejected,
        "predict_seconds": seconds,
        "displacement": (test.y1 - data.test_x).square().mean().sqrt().item(),  # near 0: the flow does nothing
    }


def profiles(jobs: list[Job], data: Digits) -> dict[str, dict[str, Any]]:
    """Return step sizes and error estimates along t, of the models of the table with the first seed.

    The controller chooses steps whose errors are all alike; only at a common step size do the errors of two models tell
    which one is easier to solve. Both are given, and those of the untrained model too.
    """
    chosen = {config.name for config in TABLE}
    models = {job.name: job.trained() for job in jobs if job.seed == 0 and job.name in chosen}
    models["untrained"] = Classifier(seed=0).eval()
    return {name: _profile(model, data) for name, model in models.items()}


def _profile(model: Classifier, data: Digits) -> dict[str, Any]:
    batch = data.train_x[:BATCH]
    with torch.no_grad():
        adaptive = model.flow(batch).solution.steps
        fixed = model.flow.solve(batch, controller=nde.FixedStep(1 / FIXED_STEPS)).steps
    return {
        "t": adaptive.t.tolist(),
        "h": adaptive.h.tolist(),
        "error": _numbers(adaptive.error),
        "fixed_t": fixed.t.tolist(),
        "fixed_error": _numbers(fixed.error),
    }


def _numbers(values: Tensor | None) -> list[float]:
    return [] if values is None else values.tolist()
