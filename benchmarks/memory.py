"""Peak extra memory of one training step; a process per library and figure, because a process's peak never falls again
and the first step alone shows the buffers that a library keeps for the next.

Two figures: resident memory, which is what a user runs out of but depends on the allocator's habits, and the bytes
that tensors hold, which are the same in every run.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import resource
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.problems import CountingField, Problem, make_problem
from benchmarks.runners import TRAINING, Entrant
from benchmarks.workloads import MEMORY, MemoryWorkload

__all__ = ["ENTRANTS", "measure_live", "measure_resident", "peak_live"]

ENTRANTS = {entrant.key: entrant for entrant in TRAINING if "penalty" not in entrant.way}
_WARM_UP_BATCH = 8  # enough to load every kernel, too small to leave buffers that the measured step could use again
_QUICK = MemoryWorkload(dataclasses.replace(MEMORY.workload, batch=32), steps=5)


def measure_resident(entrant: Entrant, memory: MemoryWorkload) -> dict[str, Any]:
    """Return the peak resident memory of a library's step in bytes, and what the step did."""
    problem = _warm_problem(entrant, memory)
    step = _train(entrant, problem, memory.size)
    gc.collect()
    before, peak_before = _resident(), _peak_resident()
    step()
    peak = _peak_resident()
    counting = CountingField(problem.field)
    accepted, rejected = _train(entrant, dataclasses.replace(problem, field=counting), memory.size)()
    return {
        "library": entrant.library,
        "way": entrant.way,
        "problem": str(memory),
        "accepted": accepted,
        "rejected": rejected,
        "evaluations": counting.evaluations,
        "resident_before": before,
        "peak_resident_before": peak_before,
        "peak_resident": peak,
        "extra_resident": peak - before,
    }


def measure_live(entrant: Entrant, memory: MemoryWorkload) -> dict[str, Any]:
    """Return the peak of what tensors hold during a library's step, in bytes."""
    step = _train(entrant, _warm_problem(entrant, memory), memory.size)
    gc.collect()
    return {"extra_live": peak_live(step)}


def _warm_problem(entrant: Entrant, memory: MemoryWorkload) -> Problem:
    few = dataclasses.replace(memory.workload, batch=_WARM_UP_BATCH)
    _train(entrant, make_problem(few, memory.end), memory.size)()
    return make_problem(memory.workload, memory.end)


def _train(entrant: Entrant, problem: Problem, size: float) -> Callable[[], tuple[int, int]]:
    solve = entrant.build(problem, size)
    counted = isinstance(problem.field, CountingField)

    def step() -> tuple[int, int]:
        solved = solve()
        steps = solved.steps() if counted else (0, 0)  # before the backward pass, which may take steps as well
        torch.autograd.grad(solved.ys[-1].square().sum(), list(problem.field.parameters()))
        return steps

    return step


def peak_live(step: Callable[[], object]) -> int:
    """Return the largest sum of what the tensor allocator handed out and had not got back."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    kineto = recorded.profiler.kineto_results if recorded.profiler is not None else None
    if kineto is None:
        raise RuntimeError("the profiler recorded nothing")
    changes = sorted((e.start_ns(), e.nbytes()) for e in kineto.events() if e.name() == "[memory]")
    live = peak = 0
    for _, change in changes:
        live += change
        peak = max(peak, live)
    return peak


def _resident() -> int:
    """Return the resident memory now; where the system does not tell, its peak so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return _peak_resident()
    return pages * resource.getpagesize()


def _peak_resident() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the parent process asks for."""
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=__doc__)
    parser.add_argument("--entrant", choices=list(ENTRANTS), required=True)
    parser.add_argument("--figure", choices=("resident", "live"), required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the peers' own deprecations
    measure = measure_resident if options.figure == "resident" else measure_live
    row = measure(ENTRANTS[options.entrant], _QUICK if options.quick else MEMORY)
    options.output.write_text(json.dumps(row))


if __name__ == "__main__":
    main()
