"""What nde promises about its cost, and whether the measured rows keep it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.workloads import WORKLOADS

__all__ = ["Goal", "find_row", "judge", "peer_of"]

Row = dict[str, Any]

_FLOOR_LIMIT = 1.5
_WIDE_LIMIT = 0.45
_EVALUATIONS_LIMIT = 1.10
_MEMORY_LIMIT = 0.25
_NOISE = 0.25  # distance of the quartiles in units of the median


@dataclass(frozen=True)
class Goal:
    """A figure that should not exceed a limit; ``noisy`` if the times behind it scatter."""

    what: str
    where: str
    value: float
    limit: float
    noisy: bool = False

    @property
    def met(self) -> bool:
        return self.value <= self.limit

    def verdict(self) -> str:
        outcome = "met" if self.met else f"missed by {self.value / self.limit - 1:.0%}"
        return f"{outcome} (noisy)" if self.noisy else outcome

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met}


def judge(results: dict[str, Any]) -> list[Goal]:
    """Return every goal that the results of a run say something about."""
    goals: list[Goal] = []
    for run in results["runs"]:
        for name, measured in run["workloads"].items():
            where = f"{name}, {run['threads']} thread{'s' if run['threads'] > 1 else ''}"
            goals += _judge_workload(name, measured, where)
    return sorted(goals, key=lambda goal: goal.what) + list(_judge_memory(results["memory"]))


def find_row(rows: list[Row], library: str, way: str) -> Row | None:
    """Return the row of a library, or None if it was not measured."""
    return next((row for row in rows if (row["library"], row["way"]) == (library, way)), None)


def peer_of(rows: list[Row]) -> Row | None:
    """Return torchdiffeq's row, the direct one in training: what the other rows are compared with."""
    return find_row(rows, "torchdiffeq", "") or find_row(rows, "torchdiffeq", "direct")


def _judge_workload(name: str, measured: dict[str, Any], where: str) -> Iterator[Goal]:
    for mode, way in (("inference", ""), ("training", "discrete")):
        ours, peer = find_row(measured[mode], "nde", way), peer_of(measured[mode])
        if ours is None or peer is None:
            continue
        label = mode if not way else f"{way} {mode}"
        ratio = ours["seconds"]["median"] / ours["floor"]
        noisy = _scatters(ours["seconds"], measured["evaluation"][mode])
        yield Goal(f"{label}: time / floor", where, ratio, _FLOOR_LIMIT, noisy)
        if name == "wide":
            ratio = ours["seconds"]["median"] / peer["seconds"]["median"]
            noisy = _scatters(ours["seconds"], peer["seconds"])
            yield Goal(f"{label}: time / torchdiffeq", where, ratio, _WIDE_LIMIT, noisy)
        if mode == "inference":
            ratio = ours["evaluations"] / peer["evaluations"]
            yield Goal("evaluations / torchdiffeq", where, ratio, _EVALUATIONS_LIMIT)
            # speed bought with accuracy is none
            allowed = max(peer["state_error"], WORKLOADS[name].tol)
            yield Goal("state error / max(torchdiffeq's, tol)", where, ours["state_error"] / allowed, 1.0)
        else:
            # the tolerance does not bound a gradient's error, and in float32 rounding is most of it
            allowed = max(peer["gradient_error"], 10 * WORKLOADS[name].tol)
            yield Goal("gradient error / max(torchdiffeq's, 10 tol)", where, ours["gradient_error"] / allowed, 1.0)


def _scatters(*spreads: dict[str, float]) -> bool:
    return any(spread["upper"] - spread["lower"] > _NOISE * spread["median"] for spread in spreads)


def _judge_memory(rows: list[Row]) -> Iterator[Goal]:
    ours, peer = find_row(rows, "nde", "discrete"), peer_of(rows)
    if ours is None or peer is None:
        return
    for key, label in (("extra_live", "tensors"), ("extra_resident", "process")):
        yield Goal("training memory / torchdiffeq", label, ours[key] / max(peer[key], 1), _MEMORY_LIMIT)
