"""What a method is: one pure step, and how to pull cotangents back through it.

The loop, the adjoints, dense output and the profiler know a method only through this interface, so that a new one is
one file. See `docs/architecture.md` for a worked example.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from nde.solvers.field import VectorField
from nde.solvers.norms import ErrorNorm, Quotient
from nde.solvers.rows.buffer import Readings

__all__ = ["Method", "Reversal", "StepCotangents", "StepResult", "StepReverser", "StepUndoer", "TimeCotangents"]

Scalar = float | Tensor  # a host float, or a 0-d tensor where times are differentiated or traced


@dataclass(slots=True)
class StepResult:
    """What one step computed.

    Attributes:
        y1: State at the end, shape ``(size,)``.
        carry: What the next step can reuse (the last stage of a FSAL method); None if nothing.
        errors: Embedded differences, shape ``(rows, size)``: local error estimates; None if the method has none.
        stiffness: Estimate of the Jacobian's largest eigenvalue in modulus (units 1 / time): a quotient of norms that
            is evaluated by whoever needs it, or a 0-d tensor; None if there is none.
        interior: What `Method.interpolate` needs.
        unsolved: Whether the equations of an implicit step could not be solved; ``y1`` is then NaN where they were not.
        readings: Errors and stiffness estimate in one piece, in place of ``stiffness``, where a step of many rows in
            scratch memory gives them so; None otherwise.
        iterations: Newton iterations of an implicit step, all its blocks of stages together.
    """

    y1: Tensor
    carry: Any
    errors: Tensor | None
    stiffness: Quotient | Tensor | None
    interior: Any
    unsolved: bool = False
    readings: Readings | None = None
    iterations: int = 0


@dataclass(slots=True)
class StepCotangents:
    """Cotangents of the outputs of one recorded step; None where an output was not used.

    Attributes:
        y1: Of the state at the end.
        ratio: Of the scaled error norm.
        local_error: Of the error vector, shape ``(size,)``.
        stiffness: Of the stiffness estimate.
        outputs: Of the interpolated outputs, shape ``(outputs, size)``.
        thetas: Where these lie in the step, as fractions of it.
    """

    y1: Tensor
    ratio: float | None = None
    local_error: Tensor | None = None
    stiffness: float | None = None
    outputs: Tensor | None = None
    thetas: Sequence[float] = ()


@dataclass(slots=True)
class TimeCotangents:
    """Cotangents of the times of one step: 0-d tensors, and ``thetas`` of shape ``(outputs,)``; None if not wanted."""

    t: Tensor
    h: Tensor
    thetas: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Reversal:
    """What a backward pass asks for.

    Attributes:
        field: The vector field.
        norm: The norm of the error estimate.
        targets: Tensors, other than the state, that gradients are wanted for.
        with_times: Whether cotangents of times are wanted.
        through: Whether gradients pass through a graph from before the solve to reach the targets; each pass must then
            leave that graph as it was.
    """

    field: VectorField
    norm: ErrorNorm
    targets: Sequence[Tensor]
    with_times: bool
    through: bool


class StepReverser(Protocol):
    """Pulls cotangents back through the steps of one solve, from the last to the first.

    Gradients of the targets (parameters, arguments) accumulate in ``gradients``, in their order.
    """

    gradients: list[Tensor | None]

    def pull(
        self, t: float, h: float, y: Tensor, y1: Tensor, carry: Any, cotangents: StepCotangents, tape: Any
    ) -> tuple[Tensor, TimeCotangents | None]:
        """Return the cotangents of ``y`` and of the times, given those of the step's outputs.

        The cotangent of the carry that this step handed to the next one is kept by the reverser itself. Where the
        forward pass kept the step's ``tape`` (a `StepTape` or a `StepGraph`; None if not), its evaluations need not be
        made again.
        """
        ...

    def finish(self) -> tuple[Tensor | None, Tensor | None]:
        """Return what the first carry, made by `Method.start`, adds to the cotangents of ``y0`` and of ``t0``."""
        ...


class StepUndoer(Protocol):
    """Undoes the steps of one solve, from the last to the first, and pulls cotangents back through them.

    It begins with the state and the carry at the end of the solve and needs no others. Gradients of the targets
    accumulate in ``gradients``, in their order.
    """

    gradients: list[Tensor | None]

    def pull(self, t: float, h: float, cotangents: StepCotangents) -> tuple[Tensor, TimeCotangents | None]:
        """Undo the step of size ``h`` from ``t``; return what `StepReverser.pull` does."""
        ...

    def finish(self) -> tuple[Tensor | None, Tensor | None]:
        """Return what `StepReverser.finish` does."""
        ...

    def leave(self) -> Sequence[Tensor | None]:
        """Return the cotangents of the first carry's tensors, in the place of `finish` where that carry was given."""
        ...


class Method(ABC):
    """A one-step method.

    Attributes:
        name: Name under which `nde.solve_ode` finds it.
        order: Order of convergence.
        error_order: Exponent ``k`` of the error estimate, which is proportional to ``h ** k``; None if it has none.
        interpolation_order: Order of the dense output.
        has_stiffness: Whether a step estimates stiffness.
        stability: Length of the stability interval on the negative real axis; None if not known or unbounded.
        carry_is_function_of_state: Whether ``carry`` equals ``start(field, t, y)`` of the step's end, so that a record
            need not store it.
        reversible: Whether `undo` takes a step back, up to rounding, so that a backward pass needs no stored states.
            The carry is then a tuple of tensors, or None.
        uses_tapes: Whether its reverser can use the tapes of evaluations that the forward pass kept.
        keeps_step_tapes: Whether the tapes of whole steps serve instead; for methods without a reverser whose carry is
            None or not a function of the state.
        judged_later: Whether the estimates of a step, one error vector and at most a `Quotient`, outlive it, because
            `workspace` returns None.
        rows: Whether `step` and `interpolate` also take one row per sample: ``y`` of shape ``(n, m)``, times, sizes and
            thetas of shape ``(n, 1)``.
        source: Where it was published.
    """

    name: str
    order: int
    error_order: float | None = None
    interpolation_order: int = 0
    has_stiffness: bool = False
    stability: float | None = None
    carry_is_function_of_state: bool = True
    reversible: bool = False
    uses_tapes: bool = False
    keeps_step_tapes: bool = False
    judged_later: bool = False
    rows: bool = False
    source: str = ""

    @property
    def restarts(self) -> bool:
        """Whether a recorded step can be taken again with a carry that `start` makes of its state."""
        return self.carry_is_function_of_state

    @abstractmethod
    def start(self, field: VectorField, t: Scalar, y: Tensor) -> Any:
        """Return the first step's carry."""

    def slope(self, field: VectorField, t: Scalar, y: Tensor, carry: Any) -> Tensor:
        """Return ``field(t, y)``, from the first carry where it holds it."""
        return field(t, y)

    @abstractmethod
    def step(
        self, field: VectorField, t: Scalar, h: Scalar, y: Tensor, carry: Any, workspace: Any = None
    ) -> StepResult:
        """Take one step of signed size ``h`` from ``(t, y)``.

        The result depends on the arguments alone. Given a ``workspace``, everything but ``y1`` and ``carry`` may live
        in it, and is overwritten by the next step; without one, all operations are differentiable by autograd.
        """

    @abstractmethod
    def interpolate(
        self, field: VectorField, t: Scalar, h: Scalar, y: Tensor, result: StepResult, thetas: Sequence[Scalar]
    ) -> Tensor:
        """Return the solution at ``t + theta * h`` for each theta, shape ``(len(thetas), size)``."""

    def workspace(self, y: Tensor) -> Any:
        """Return scratch memory for steps that record no gradient, or None if the method needs none.

        It must have a property ``nbytes``, and is used again by later solves of the same size.
        """
        return None

    def reverser(self, reversal: Reversal, workspace: Any) -> StepReverser | None:
        """Return a hand-written way to pull cotangents back through this method's steps, or None.

        Without one, autograd replays each step, which is right for every method; this is for speed alone.

        Args:
            reversal: What is asked for.
            workspace: What `workspace` returned, for the duration of the backward pass.
        """
        return None

    def undo(self, field: VectorField, t: Scalar, h: Scalar, y1: Tensor, carry1: Any) -> tuple[Tensor, Any]:
        """Return the state and the carry, a tuple, at the beginning of a step from ``t``, given those at its end.

        Raises:
            TypeError: The method is not reversible.
        """
        raise TypeError(f"method {self.name!r} is not reversible: its steps cannot be undone.")

    def undoer(
        self,
        reversal: Reversal,
        t1: float,
        y1: Tensor,
        carry1: Any,
        at_carry1: Sequence[Tensor | None] | None,
    ) -> StepUndoer | None:
        """Return a way to undo steps and to pull cotangents through them that shares evaluations, or None.

        Without one, each step is undone and then replayed by autograd; this is for speed alone.

        Args:
            reversal: What is asked for.
            t1: End of the last step.
            y1: State there.
            carry1: Carry there, a tuple of tensors.
            at_carry1: Their cotangents; None if they have none.
        """
        return None
