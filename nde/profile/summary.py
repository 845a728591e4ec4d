"""The recording in words: a table for each field, and what stands out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nde.profile.statistics import Group, Times, accounted, groups

if TYPE_CHECKING:
    from nde.profile.cost import Cost

__all__ = ["counted", "findings", "rows_of", "summarize"]

_BAR = " ▁▂▃▄▅▆▇█"
_MANY_REJECTED, _LONG_OPENING, _FAR_FROM_BEST, _MUCH_LIMITED, _DEAR_SOLVER = 0.15, 0.2, 1.3, 0.3, 1.5
_MANY_STEPS = 10  # in a solve, so that growing from the first size and ending on the last time tell little


def summarize(cost: Cost) -> str:
    """Return the table of a recording."""
    if not cost.solves:
        return f"No solves were recorded in {cost.seconds:.3g} s."
    times = accounted(cost.solves, cost.seconds)
    parts = [
        f"{counted(len(cost.solves), 'solve')} in {cost.seconds:.3g} s"
        + (f", {cost.iterations} iterations" if cost.iterations > 1 else ""),
        _shares(times),
    ]
    for group in groups(cost.solves):
        parts.append(_title(group) + "\n" + "\n".join(f"  {name:<24}{value}" for name, value in rows_of(group)))
        parts += [f"  -> {finding}" for finding in findings(group)]
    return "\n\n".join(parts[:2]) + "\n\n" + "\n".join(parts[2:])


def counted(count: int, what: str) -> str:
    """Return a number of things in words."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def rows_of(group: Group) -> list[tuple[str, str]]:
    """Return names and values of what is known of a group."""
    solves, evaluations = group.solves, group.evaluations
    count = len(solves)
    spread = f" ({evaluations.min()} to {evaluations.max()})" if evaluations.min() != evaluations.max() else ""
    diffusion = sum(solve.forward.diffusion for solve in solves)
    rows = [
        ("solves", f"{count}" + (f", {group.failures} of them failed" if group.failures else "")),
        ("evaluations a solve", f"{_mean(int(evaluations.sum()), count)}{spread}"),
    ]
    if diffusion:
        rows.append(("of the diffusion", f"{diffusion / count:.1f}"))
    rows += [
        ("steps a solve", f"{_mean(group.accepted, count)} accepted, {_mean(group.rejected, count)} rejected"),
        ("before the first step", f"{group.opening_share:.0%} of the evaluations"),
    ]
    best = group.best_steps()
    if best:
        rows.append(("over the best count", f"{group.accepted / best:.2f} times the steps that the errors ask for"))
    newton = sum(solve.newton_iterations for solve in solves)
    if newton:
        attempts = sum(solve.steps.attempts for solve in solves)
        rows.append(("Newton iterations", f"{newton / max(attempts, 1):.1f} a step"))
    field = sum(solve.forward.seconds for solve in solves)
    forward = sum(solve.seconds for solve in solves)
    rows.append(("time of a solve", f"{_time(forward / count)}, {field / max(forward, 1e-30):.0%} in the field"))
    passes = sum(solve.backward_passes for solve in solves)
    if passes:
        backward = sum(solve.backward_seconds for solve in solves)
        calls = f", {group.evaluations_backward / passes:.1f} evaluations" if group.evaluations_backward else ""
        rows.append(("time of a backward pass", f"{_time(backward / passes)}{calls}"))
    held = [solve.tape_bytes for solve in solves if solve.tape_bytes is not None]
    if held:
        rows.append(("memory of the tape", f"{max(held) / 2**20:.3g} MiB at most"))
    edges, shares = group.work_along()
    rows.append(("steps along the span", f"{edges[0]:.3g} {_bars(shares.tolist())} {edges[-1]:.3g}"))
    hard = group.hard_samples()
    if hard:
        rows.append(("hardest samples", ", ".join(f"{sample} ({share:.0%})" for sample, share in hard)))
    return rows


def findings(group: Group) -> list[str]:
    """Return what stands out, with what may help."""
    found = []
    if group.failures:
        message = next(solve.message for solve in group.solves if solve.status != "SUCCESS")
        found.append(f"{group.failures} of {counted(len(group.solves), 'solve')} failed: {message}")
    if group.rejected_share > _MANY_REJECTED:
        found.append(
            f"{group.rejected_share:.0%} of the steps were rejected: PIController() changes sizes more gently, and "
            "step_ts or jump_ts say where the field has kinks or jumps."
        )
    limited = group.limited_by_stability()
    if limited is not None and limited > _MUCH_LIMITED:
        found.append(
            f"stability, not accuracy, limits {limited:.0%} of the steps: GlobalStiffness() makes the field milder, an "
            "implicit method takes it as it is."
        )
    if group.opening_share > _LONG_OPENING:
        found.append(
            f"{group.opening_share:.0%} of the evaluations choose the first step: give the controller first_step=, or "
            "solve to several times at once."
        )
    best = group.best_steps()
    sequences = sum((solve.samples or 1) if solve.per_sample else 1 for solve in group.solves)
    if best and group.accepted > _FAR_FROM_BEST * best and group.accepted > _MANY_STEPS * sequences:
        found.append("steps are shorter than their errors ask for: output times, forced times or dt_max cut them.")
    if group.overhead > 1 + _DEAR_SOLVER and group.accepted:
        found.append(
            f"a solve takes {group.overhead:.1f} times its evaluations: the field is so cheap that larger batches cost "
            "hardly more."
        )
    return found


def _title(group: Group) -> str:
    return f"{group.label} ({group.kind}, {group.method}, adjoint {group.adjoint})"


def _shares(times: Times) -> str:
    total = max(times.total, 1e-30)
    named = (("field", times.field), ("solver", times.solver), ("backward", times.backward), ("rest", times.elsewhere))
    return "time: " + ", ".join(f"{name} {value / total:.0%}" for name, value in named)


def _bars(shares: list[float]) -> str:
    most = max(shares, default=0.0) or 1.0
    return "".join(_BAR[round(share / most * (len(_BAR) - 1))] for share in shares)


def _mean(total: int, count: int) -> str:
    return f"{total // count}" if total % count == 0 else f"{total / count:.1f}"


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
