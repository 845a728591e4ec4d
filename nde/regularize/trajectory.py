"""Penalties that are integrals along the trajectory, whatever steps the solver takes: what they have in common.

A layer in training mode makes the integral, in one of two forms; see `TrajectoryPenalty`.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nde.regularize.draws import Draws, check_choice
from nde.regularize.penalty import Penalty
from nde.regularize.schedules import Schedule
from nde.solvers.solution import Solution
from nde.solvers.structure import State, StateStructure

__all__ = ["FORMS", "TrajectoryPenalty", "TrajectoryPoint"]

FORMS = ("augmented", "local")


@dataclass(frozen=True)
class TrajectoryPoint:
    """Where an integrand is evaluated.

    An integrand may see the state as a vector of shape ``(size,)``, whatever the user's structure.

    Attributes:
        function: The vector field (the drift of a stochastic equation) as the user gave it, ``(t, y)``.
        t: Time, of the shape that the field takes.
        state: State, of the user's structure.
        slope: Value of the field there, likewise.
        probe: What `TrajectoryPenalty.probe` drew before the solve, of the samples that are evaluated.
        samples: Number of samples, where each has an integral of its own; None where there is one for all.
    """

    function: Callable[[Tensor, State], State]
    t: Tensor
    state: State
    slope: State
    probe: State
    samples: int | None

    @functools.cached_property
    def structure(self) -> StateStructure:
        """Structure of the state."""
        return StateStructure(self.state, "y")

    def flat(self, value: State) -> Tensor:
        """Return a state as a vector, shape ``(size,)``."""
        return self.structure.flatten(value, "the value of field(t, y)")

    def field(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field at a time and a vector of shape ``(size,)``, with a value of that shape."""
        return self.flat(self.function(t, self.structure.unflatten(y)))

    def mean(self, entries: Tensor) -> Tensor:
        """Return the mean over the entries of the state.

        Args:
            entries: Shape ``(size,)``.

        Returns:
            Shape ``(samples,)``, the mean over the entries of each sample; or ``()``.
        """
        structure = self.structure
        if self.samples is None:
            return entries.sum() / structure.entries
        return structure.per_sample(entries, self.samples) * (self.samples / structure.entries)

    def per_entry(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over the number of entries of the state.

        Args:
            value: Any tensor whose first axis is that of the samples, where these have integrals of their own.

        Returns:
            Shape ``(samples,)`` or ``()``, like `mean`.
        """
        if self.samples is None:
            return value.sum() / self.structure.entries
        return value.reshape(self.samples, -1).sum(1) * (self.samples / self.structure.entries)


class TrajectoryPenalty(Penalty):
    """The integral of a non-negative function along the trajectory, averaged over the samples.

    `NeuralODE`, `LatentODE`, `ContinuousFlow` and `NeuralSDE` make it in training mode, where the weight is not zero:

    - ``form="augmented"``: as one more state of the solve, which takes no part in the control of the steps: these are
      the steps of the solve without the penalty. One evaluation of the integrand for each one of the field, and one
      more backward.
    - ``form="local"``: an estimate without bias from one evaluation: the integrand at a time drawn uniformly from the
      span, times the length of the span. The state at that time is one more output, read off the interpolant (steps of
      a stochastic equation end on it), through which the gradient passes in full. With ``per_sample=True`` every sample
      has a time of its own.

    Both work with every adjoint, and with derivatives by whatever the field depends on. Integrals do not change sign
    with the direction of time.

    Args:
        weight: A number or a `Schedule`.
        form: ``"augmented"`` or ``"local"``.
        seed: Seed of all that is drawn, anew for every solve; all other random numbers stay as they are.

    Attributes:
        stochastic: Whether the integrand makes sense for the drift of a stochastic equation.

    Raises:
        TypeError: The seed is no integer.
        ValueError: The form is not known, or the seed is negative; when called, the solution is not of a layer that
            makes the integral.
    """

    stochastic = True

    def __init__(self, weight: float | Schedule = 1.0, *, form: str = "augmented", seed: int = 0) -> None:
        super().__init__(weight)
        check_choice(form, FORMS, "form")
        self.form = form
        self.draws = Draws(seed)

    @abstractmethod
    def integrand(self, point: TrajectoryPoint) -> Tensor:
        """Return the integrand, shape ``(samples,)``, or ``()`` where there is one for all samples."""

    def probe(self, t0: Tensor, y0: State) -> State:
        """Draw what stays the same along a solve, before it: tensors, nested at will; none by default.

        With ``per_sample=True``, their first axis must be that of the samples.

        Args:
            t0: Initial time, of the shape that the field takes.
            y0: Initial state.
        """
        return ()

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """Draw numbers between 0 and 1, float64, on the CPU."""
        return torch.as_tensor(self.draws.uniform(shape))

    def value(self, solution: Solution) -> Tensor:
        """See `Penalty.value`."""
        integral: Tensor | None = getattr(solution, "integrals", {}).get(self)
        if integral is None:
            raise ValueError(
                f"the solution holds no integral of {type(self).__name__}: layers such as NeuralODE make it, in "
                "training mode, where the penalty is part of its regularizer and has a weight. Read output.penalty."
            )
        return integral.mean()

    def get_extra_state(self) -> Tensor:
        """Return the iteration and the number of draws, for ``state_dict``."""
        return torch.tensor([self._count, self.draws.count])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what `get_extra_state` returned."""
        self._count, self.draws.count = (int(number) for number in state)

    def extra_repr(self) -> str:
        """Describe weight and form in ``repr``."""
        return f"{super().extra_repr()}, form={self.form!r}"

    def _normal(self, like: Tensor) -> Tensor:
        """Draw normal numbers of the shape and dtype of a tensor, on its device."""
        return torch.from_numpy(self.draws.normal(tuple(like.shape))).to(like)
