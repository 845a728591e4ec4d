"""Measures some workloads with one thread count and writes the rows to a file as JSON; a process of its own."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.problems import CountingField, Problem, make_problem
from benchmarks.reference import Reference, solve_reference
from benchmarks.runners import INFERENCE, TRAINING, Entrant, Solved, Solver
from benchmarks.timing import Budget, interleave
from benchmarks.workloads import WORKLOADS

__all__ = ["measure"]

FLOOR = "one field evaluation"
_FLOOR_EVALUATIONS = 20  # per repetition, so that the clock's own cost vanishes
_NORMAL = Budget(seconds=7.0, fewest=5, most=400, warm_up=3)
_QUICK = Budget(seconds=0.2, fewest=2, most=20, warm_up=1)


def measure(name: str, budget: Budget) -> dict[str, Any]:
    """Return the rows of a workload: ``{"inference": [...], "training": [...], "evaluation": {...}}``."""
    problem = make_problem(WORKLOADS[name])
    reference = solve_reference(problem)
    result: dict[str, Any] = {"evaluation": {}}
    for mode, entrants in (("inference", INFERENCE), ("training", TRAINING)):
        _say(f"  {name}, {mode}")
        training = mode == "training"
        calls = {entrant.key: _timed_call(entrant.build(problem, None), problem, training) for entrant in entrants}
        spreads = interleave({**calls, FLOOR: _floor_call(problem, training)}, budget)
        evaluation = spreads.pop(FLOOR).divided(_FLOOR_EVALUATIONS)
        result["evaluation"][mode] = dataclasses.asdict(evaluation)
        result[mode] = []
        for entrant in entrants:
            counts = _count(entrant, problem, reference, training)
            seconds = dataclasses.asdict(spreads[entrant.key])
            floor = counts["evaluations"] * evaluation.median
            row = {"library": entrant.library, "way": entrant.way, "seconds": seconds, **counts, "floor": floor}
            result[mode].append(row)
    return result


def _loss(solved: Solved) -> Tensor:
    loss = solved.ys[-1].square().sum()
    return loss if solved.penalty is None else loss + solved.penalty


def _timed_call(solve: Solver, problem: Problem, training: bool) -> Callable[[], object]:
    parameters = list(problem.field.parameters())

    def infer() -> object:
        with torch.no_grad():
            return solve().ys

    def train() -> object:
        return torch.autograd.grad(_loss(solve()), parameters)

    return train if training else infer


def _floor_call(problem: Problem, training: bool) -> Callable[[], None]:
    field, t = problem.field, problem.ts[0]
    y0 = problem.y0.clone().requires_grad_(training)
    inputs = [y0, *field.parameters()]
    cotangent = torch.ones_like(problem.y0)

    def infer() -> None:
        with torch.no_grad():
            for _ in range(_FLOOR_EVALUATIONS):
                field(t, y0)

    def train() -> None:
        for _ in range(_FLOOR_EVALUATIONS):
            torch.autograd.grad(field(t, y0), inputs, cotangent)

    return train if training else infer


def _count(entrant: Entrant, problem: Problem, reference: Reference, training: bool) -> dict[str, Any]:
    """Run once with a counting field: evaluations, steps and accuracy do not belong into the timed runs."""
    counting = CountingField(problem.field)
    solve = entrant.build(dataclasses.replace(problem, field=counting), None)
    with torch.set_grad_enabled(training):
        solved = solve()
    forward = counting.evaluations
    accepted, rejected = solved.steps()
    backward, gradient_error = None, None
    if training:
        gradient = torch.autograd.grad(_loss(solved), list(problem.field.parameters()))
        backward = counting.evaluations - forward
        if solved.penalty is None:
            gradient_error = reference.gradient_error(gradient)
    return {
        "evaluations": forward,
        "backward_evaluations": backward,
        "accepted": accepted,
        "rejected": rejected,
        "state_error": reference.state_error(solved.ys.detach()),
        "gradient_error": gradient_error,
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the parent process asks for."""
    parser = argparse.ArgumentParser(prog="benchmarks.worker", description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")  # the peers' own deprecations, and the tight tolerance of `tiny`, which is intended
    budget = _QUICK if options.quick else _NORMAL
    rows = {name: measure(name, budget) for name in options.workloads}
    options.output.write_text(json.dumps({"threads": torch.get_num_threads(), "workloads": rows}))


if __name__ == "__main__":
    main()
