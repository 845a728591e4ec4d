"""The experiments by name; each module is imported when its experiment is asked for."""

from __future__ import annotations

import importlib
from pathlib import Path

from examples.regularization.framework import Experiment

__all__ = ["EXPERIMENTS", "find_experiment", "settings_file"]

# name on the command line: module in this package, class in it
EXPERIMENTS = {
    "classifier": ("classifier", "ClassifierExperiment"),
    "latent-ode": ("latent_ode", "LatentODEExperiment"),
    "spiral-sde": ("spiral_sde", "SpiralExperiment"),
    "classifier-sde": ("classifier_sde", "ClassifierSDEExperiment"),
    "density": ("density", "DensityExperiment"),
}


def find_experiment(name: str) -> type[Experiment]:
    """Return the class of an experiment."""
    module, kind = EXPERIMENTS[name]
    found: type[Experiment] = getattr(importlib.import_module(f"examples.regularization.{module}"), kind)
    return found


def settings_file(name: str) -> Path:
    """Return the TOML file of an experiment's settings."""
    return Path(__file__).with_name(EXPERIMENTS[name][0] + ".toml")
