"""Which penalties go with the options of a solve: refused when a layer is made, before anything is solved."""

from __future__ import annotations

from typing import Any

from nde import validation
from nde.adjoint import ADJOINTS, BacksolveAdjoint
from nde.regularize import Penalty, TrajectoryPenalty
from nde.regularize.local_estimates import LocalPenalty
from nde.solvers import Method, find_method
from nde.solvers.sde import find_sde_method

__all__ = ["check_penalties"]


def check_penalties(regularizer: Penalty | None, options: dict[str, Any]) -> None:
    """Raise ValueError where a penalty does not go with the options of a solve.

    Args:
        regularizer: The penalty.
        options: Keywords of the solve; those of a stochastic equation name its noise.
    """
    if regularizer is None:
        return
    stochastic = "noise" in options
    if stochastic:
        method: Method = find_sde_method(options["method"], options["calculus"], options["noise"])
    else:
        method = find_method(options["method"])
    parts = [part for part in regularizer.modules() if isinstance(part, Penalty)]
    for part in parts:
        _check_estimates(part, method, stochastic)
        continuous = isinstance(validation.check_adjoint(options["adjoint"], ADJOINTS), BacksolveAdjoint)
        if part.of_all_steps and continuous:
            raise ValueError(
                f'{type(part).__name__} does not go with adjoint="backsolve", which does not replay the steps. Use '
                'adjoint="discrete" or "direct", or a local penalty, such as LocalError(grad="full").'
            )
    _check_trajectory([part for part in parts if isinstance(part, TrajectoryPenalty)], parts, options)


def _check_estimates(part: Penalty, method: Method, stochastic: bool) -> None:
    """Raise ValueError where a method does not have what a penalty on its estimates is made of."""
    name, chosen = type(part).__name__, f"method={method.name!r}"
    if part.reads == "error" and method.error_order is None:
        better = '"sosri2" or nde.solvers.sde.StepDoubling' if stochastic else '"tsit5"'
        raise ValueError(
            f"{name} does not go with {chosen}, which has no error estimate. Choose a method with one, such as "
            f"{better}, or a penalty along the trajectory, such as Kinetic."
        )
    if part.reads == "stiffness" and not method.has_stiffness:
        better = '"sosri2" or "sosra2"' if stochastic else '"tsit5", "dopri5", "dopri8" or "rk4"'
        raise ValueError(
            f"{name} does not go with {chosen}, which has no stiffness estimate. Choose {better}, or another penalty."
        )
    if not isinstance(part, LocalPenalty):
        return
    if not method.restarts:
        raise ValueError(
            f"{name} does not go with {chosen}, whose steps depend on more than their state and cannot be taken again "
            'alone. Choose a one-step method, such as "tsit5" or "sosri2", or a global penalty, such as GlobalError.'
        )
    if part.reference and stochastic:
        raise ValueError(f"{name} with reference=True works with ordinary equations alone. Leave it out.")


def _check_trajectory(integrals: list[TrajectoryPenalty], parts: list[Penalty], options: dict[str, Any]) -> None:
    """Raise ValueError where a penalty along the trajectory does not go with the options."""
    stochastic = "noise" in options
    for part in integrals:
        name = type(part).__name__
        if stochastic and not part.stochastic:
            raise ValueError(
                f"regularizer must not hold {name} with a stochastic equation, whose paths have no derivative in time. "
                "Choose another penalty, such as Kinetic."
            )
        if options.get("events"):
            raise ValueError(
                f"events do not go with {name}, whose span would depend on them. Use a penalty made of the steps, such "
                "as GlobalError."
            )
        if part.form != "augmented":
            continue
        if options.get("dense"):
            raise ValueError(f'dense=True does not go with {name}(form="augmented"). Give the penalty form="local".')
        if stochastic and options["noise"] != "diagonal":
            raise ValueError(
                f'noise={options["noise"]!r} does not go with {name}(form="augmented"), which needs a state of several '
                'tensors and so diagonal noise. Give the penalty form="local".'
            )
        for other in parts:
            if other.reads == "stiffness":
                raise ValueError(
                    f'{type(other).__name__} does not go with {name}(form="augmented"), because the estimate would see '
                    'the integrand beside the field. Give the penalty along the trajectory form="local".'
                )
