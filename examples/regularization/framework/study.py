"""An experiment from its settings to its results: all runs, and what an iteration costs."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from examples.common import load_checkpoint, write_json
from examples.regularization.framework.experiment import Experiment
from examples.regularization.framework.measure import iteration_costs
from examples.regularization.framework.run import Run
from examples.regularization.framework.settings import Settings, SettingsError, read_settings
from examples.regularization.framework.variants import NONE, variants
from examples.regularization.framework.workers import train_all
from examples.regularization.registry import find_experiment, settings_file

__all__ = ["Study", "load_results"]


@dataclass(frozen=True)
class Study:
    """An experiment in a set-up.

    Attributes:
        name: Of the experiment.
        setup: Of the settings.
        settings: The settings.
        data: Folder with files of data.
        output: Folder of all results.
    """

    name: str
    setup: str
    settings: Settings
    data: Path | None
    output: Path

    @staticmethod
    def read(
        name: str,
        setup: str,
        output: Path,
        *,
        data: Path | None = None,
        file: Path | None = None,
        seeds: int | None = None,
        iterations: int | None = None,
        methods: list[str] | None = None,
    ) -> Study:
        """Return a study with the settings of a file, the experiment's own by default.

        Args:
            name: Of the experiment.
            setup: Of the settings.
            output: Folder of all results.
            data: Folder with files of data.
            file: Of the settings.
            seeds, iterations: Take precedence over the settings.
            methods: Only these.

        Raises:
            SettingsError: A setting is wrong.
        """
        changes = {"seeds": seeds, "iterations": iterations}
        kind = find_experiment(name).settings_type
        settings = read_settings(
            file or settings_file(name), setup, kind, **{key: item for key, item in changes.items() if item is not None}
        )
        if methods is not None:
            chosen = {method: weights for method, weights in settings.weights.items() if method in methods}
            settings = dataclasses.replace(settings, weights=chosen)
        return Study(name, setup, settings, data, output)

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return self.output / self.name / self.setup

    def runs(self) -> list[Run]:
        """Return the runs in the order of their start: by seed, so that runs that are compared are close in time."""
        version = find_experiment(self.name).version
        return [
            Run(self.name, version, self.settings, variant, seed, self.folder / "runs")
            for seed in range(self.settings.seeds)
            for variant in variants(self.settings)
        ]

    def forget(self) -> None:
        """Delete what earlier runs have left."""
        for file in [
            self.folder / "results.json",
            *(file for run in self.runs() for file in (run.checkpoint, run.result)),
        ]:
            file.unlink(missing_ok=True)

    def run(self, workers: int) -> dict[str, Any]:
        """Train whatever is not trained yet, and return and write the results.

        Raises:
            SettingsError: A setting is wrong, or data are missing or damaged.
            KeyboardInterrupt: The user interrupted. Everything is saved.
        """
        runs = self.runs()
        kind = find_experiment(self.name)
        experiment = self._experiment()  # complains about missing data before any work
        figures = train_all(runs, self.data, workers)
        results = {
            "experiment": self.name,
            "version": kind.version,
            "title": kind.title,
            "setup": self.setup,
            "metric": dataclasses.asdict(kind.metric),
            "other_solver": kind.other_solver,
            "settings": dataclasses.asdict(self.settings),
            "baselines": experiment.baselines(self.settings.seeds),
            "iteration_costs": self._costs(runs),
            "workers": workers,
            "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
            "machine": {"system": platform.platform(), "cpus": os.cpu_count()},
            "runs": sorted(figures, key=lambda figure: _order(runs, figure)),
        }
        write_json(self.folder / "results.json", results)
        return results

    def _experiment(self) -> Experiment:
        try:
            return find_experiment(self.name)(self.settings, self.data)
        except (OSError, ValueError) as error:
            raise SettingsError(f"{self.name}, set-up {self.setup!r}: {error}") from None

    def _costs(self, runs: list[Run]) -> dict[str, float]:
        """Return what iterations cost with a field that was trained without a penalty; kept with the runs."""
        plain = next((run for run in runs if run.variant.method == NONE), None)
        state = None if plain is None else load_checkpoint(plain.checkpoint, plain.identity())
        if plain is None or state is None:
            return {}
        file = self.folder / "iteration-costs.json"
        identity = {**plain.identity(), "variants": repr([run.variant for run in runs if run.seed == 0])}
        try:
            kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            if kept["identity"] == identity:
                return dict(kept["costs"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # there are none yet
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            costs = iteration_costs(self._experiment(), state["model"])
        finally:
            torch.set_num_threads(threads)
        write_json(file, {"identity": identity, "costs": costs})
        return costs


def load_results(output: Path, name: str, setup: str) -> dict[str, Any] | None:
    """Return the results of an earlier study; None if there are none."""
    try:
        results: dict[str, Any] = json.loads((output / name / setup / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return results


def _order(runs: list[Run], figures: dict[str, Any]) -> tuple[int, int]:
    """Return the place of a run in the table: by variant, then by seed."""
    variants_seen = list(dict.fromkeys((run.variant.method, run.variant.label) for run in runs))
    return variants_seen.index((figures["method"], figures["label"])), figures["seed"]
