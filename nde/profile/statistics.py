"""Sums over recorded solves: what tables, plots and reports are made of."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from nde.profile.solve_record import SolveRecord
from nde.profile.steps import COLUMNS

__all__ = ["Group", "Times", "accounted", "groups", "joined_steps", "steps_along"]

_NEAR_STABILITY = 0.8  # part of the stability interval above which stability, not accuracy, limits a step
_CHUNK = 4096


@dataclass(frozen=True)
class Times:
    """Where the time of a recording went; the parts add up to the whole.

    Attributes:
        field: In the user's functions, in forward solves.
        solver: In forward solves outside of these.
        backward: In backward passes through solves.
        elsewhere: Outside of solves: the rest of the model, the optimiser, the data.
        total: Of the recording.
    """

    field: float
    solver: float
    backward: float
    elsewhere: float
    total: float


def accounted(solves: Sequence[SolveRecord], total: float, since: float = 0.0) -> Times:
    """Return where the time went between two moments of a recording.

    Args:
        solves: The solves. Those inside of others, forward or backward, are part of these.
        total: End of the time in question, in seconds after the recording began.
        since: Its beginning.
    """
    field = solver = backward = 0.0
    reached = since
    spans: list[tuple[float, float, SolveRecord | None]]
    spans = [(solve.began, solve.began + solve.seconds, solve) for solve in solves]
    spans += [(start, end, None) for solve in solves for start, end in solve.backward_spans]
    for start, end, solve in sorted(spans, key=lambda span: (span[0], -span[1])):
        start, end = max(start, reached), min(end, total)
        if end <= start:
            continue  # inside of another one, or another time
        reached = end
        if solve is None:
            backward += end - start
        else:
            share = min(solve.forward.seconds / solve.seconds, 1.0)
            field += share * (end - start)
            solver += (1 - share) * (end - start)
    whole = max(total - since, field + solver + backward)
    return Times(field, solver, backward, whole - field - solver - backward, whole)


def joined_steps(solves: Sequence[SolveRecord]) -> dict[str, NDArray[Any]]:
    """Return the steps of several solves as columns, with the solve that each belongs to as ``"solve"``."""
    tables = [solve.steps.columns() for solve in solves]
    if not tables:
        return {"solve": numpy.zeros(0, int), **{name: numpy.zeros(0, kind) for name, (kind, _) in COLUMNS.items()}}
    columns = {name: numpy.concatenate([table[name] for table in tables]) for name in COLUMNS}
    solve = numpy.repeat([record.index for record in solves], [len(table["t"]) for table in tables])
    return {"solve": solve, **columns}


def steps_along(columns: dict[str, NDArray[Any]], first: float, last: float, bins: int) -> NDArray[Any]:
    """Return how many steps were attempted in each of several equal parts of a span; a step may be in several."""
    edges = numpy.linspace(first, last, bins + 1)
    begin, end = numpy.sort(numpy.stack([columns["t"], columns["t"] + columns["h"]]), axis=0)
    length = numpy.where(end > begin, end - begin, 1.0)
    passed = numpy.zeros(bins + 1)
    for start in range(0, len(begin), _CHUNK):
        chosen = slice(start, start + _CHUNK)
        passed += numpy.clip((edges[:, None] - begin[chosen]) / length[chosen], 0, 1).sum(1)
    parts: NDArray[Any] = numpy.diff(passed)
    return parts


@dataclass(frozen=True)
class Group:
    """Solves of one field by one method.

    Attributes:
        label, kind, method, adjoint: What they have in common.
        solves: The solves.
    """

    label: str
    kind: str
    method: str
    adjoint: str
    solves: tuple[SolveRecord, ...]

    @property
    def evaluations(self) -> NDArray[Any]:
        """Calls of the field of each forward solve."""
        return numpy.array([solve.forward.field for solve in self.solves])

    @property
    def evaluations_backward(self) -> int:
        """Calls of the field in all backward passes."""
        return sum(solve.backward.field for solve in self.solves)

    @property
    def accepted(self) -> int:
        """Accepted steps, a step of several samples once for each."""
        return sum(solve.accepted for solve in self.solves)

    @property
    def rejected(self) -> int:
        """Rejected steps, likewise."""
        return sum(solve.rejected for solve in self.solves)

    @property
    def rejected_share(self) -> float:
        """Rejected out of all attempted steps."""
        return self.rejected / max(self.accepted + self.rejected, 1)

    @property
    def opening_share(self) -> float:
        """Evaluations before the first steps, out of all."""
        return sum(solve.opening_calls for solve in self.solves) / max(int(self.evaluations.sum()), 1)

    @property
    def overhead(self) -> float:
        """Time of forward solves over that of the user's functions in them."""
        field = sum(solve.forward.seconds for solve in self.solves)
        return sum(solve.seconds for solve in self.solves) / field if field > 0 else float("nan")

    @property
    def failures(self) -> int:
        """Solves that did not reach their end."""
        return sum(solve.status != "SUCCESS" for solve in self.solves)

    def best_steps(self) -> float | None:
        """Return how many steps a controller would need that always met its set point; None without errors.

        A step of error ``E`` could have been longer by ``(E* / E)^(1 / k)``, with ``E*`` the set point and ``k`` the
        order of the error; the sum of the inverses is the number of steps that were needed.
        """
        total = 0.0
        for solve in self.solves:
            if solve.set_point is None or not solve.error_order:
                return None
            columns = solve.steps.columns()
            error = columns["error"][columns["accepted"]]
            if not numpy.isfinite(error).all():
                return None
            total += float(((error / solve.set_point) ** (1 / solve.error_order)).sum())
        return total

    def limited_by_stability(self) -> float | None:
        """Return the share of accepted steps whose size stability limits; None where that is not known."""
        limited = known = 0
        for solve in self.solves:
            columns = solve.steps.columns()
            chosen = columns["accepted"] & numpy.isfinite(columns["stiffness"])
            if solve.stability is None or not chosen.any():
                continue
            reach = columns["stiffness"][chosen] * numpy.abs(columns["h"][chosen]) / solve.stability
            limited += int((reach > _NEAR_STABILITY).sum())
            known += len(reach)
        return limited / known if known else None

    def work_along(self, bins: int = 10) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return edges in time, and attempted steps between them as shares of all."""
        first, last = self.span
        counts = steps_along(joined_steps(self.solves), first, last, bins)
        return numpy.linspace(first, last, bins + 1), counts / max(counts.sum(), 1e-30)

    @property
    def span(self) -> tuple[float, float]:
        """The earliest and the latest time of all solves."""
        return min(min(solve.span) for solve in self.solves), max(max(solve.span) for solve in self.solves)

    def hard_samples(self, most: int = 5) -> list[tuple[int, float]]:
        """Return the hardest samples with their shares: of the steps, or of those whose error they decided."""
        counts: collections.Counter[int] = collections.Counter()
        for solve in self.solves:
            columns = solve.steps.columns()
            chosen = columns["sample"] if solve.per_sample else columns["worst"]
            counts.update(chosen[chosen >= 0].tolist())
        total = sum(counts.values())
        return [(sample, count / total) for sample, count in counts.most_common(most)]


def groups(solves: Sequence[SolveRecord]) -> list[Group]:
    """Part solves by field, method and adjoint, in the order of their first ones."""
    found: dict[tuple[str, str, str, str], list[SolveRecord]] = {}
    for solve in solves:
        found.setdefault((solve.label, solve.kind, solve.method, solve.adjoint), []).append(solve)
    return [Group(*key, tuple(members)) for key, members in found.items()]
