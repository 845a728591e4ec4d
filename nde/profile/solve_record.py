"""What is known of one solve."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nde.profile.clock import Calls, FieldClock
from nde.profile.steps import StepTable

__all__ = ["SolveRecord"]


@dataclass
class SolveRecord:
    """One solve: what was asked, what it took, step by step.

    Attributes:
        index: Number of the solve in the recording.
        kind: ``"ode"``, ``"sde"`` or ``"langevin"``; a controlled equation is an ode.
        label: Name of the field: of the module in the model that was given, or of the function.
        method, adjoint: Their names.
        per_sample: Whether samples have steps of their own.
        shape: Shape of the state; of its leaves together, their number of entries.
        samples: Length of the state's first axis; None without one.
        span: First and last time.
        outputs: Number of output times.
        rtol, atol: Tolerances; NaN where they differ by component.
        adaptive: Whether the controller reads the errors.
        iteration: Iteration of the training that it belongs to, from 0.
        depth: Number of solves that it happened inside of: of a field that solves, whose time counts twice.
        steps: Attempted steps of the forward solve.
        backward_steps: Attempted steps of backward solves, of the adjoint "backsolve".
        opening_calls: Calls of the field before the first step: its slope and the choice of the size.
        status: Name of the outcome; of the exception, where it raised.
        message: Where it failed, in words; empty on success.
        began: Seconds after the recording began.
        seconds: Time of the solve.
        backward_spans: When its backward passes began and ended, in seconds after the recording began: of the adjoint's
            own part where it has one; on a tape, from the first gradient of an output to that of the initial state, to
            the next part of an earlier solve, or to the end of the pass, whichever is known first.
        backward_passes: Their number.
        tape_bytes: Memory that the solve's tape holds until the backward pass; None where it was not asked for.
        accepted, rejected: Counts of steps, of all samples together.
        stability: Length of the method's stability interval, or None.
        error_order: Exponent of the step size in the error, or None.
        set_point: Error at which the controller keeps the step size, or None.
    """

    index: int
    kind: str
    label: str
    method: str
    adjoint: str
    per_sample: bool
    shape: tuple[int, ...]
    samples: int | None
    span: tuple[float, float]
    outputs: int
    rtol: float
    atol: float
    adaptive: bool
    iteration: int
    depth: int
    clock: FieldClock = field(repr=False)
    began: float = 0.0
    steps: StepTable = field(default_factory=StepTable, repr=False)
    backward_steps: StepTable = field(default_factory=StepTable, repr=False)
    opening_calls: int = 0
    status: str = "RUNNING"
    message: str = ""
    seconds: float = 0.0
    backward_spans: list[tuple[float, float]] = field(default_factory=list, repr=False)
    backward_passes: int = 0
    tape_bytes: int | None = None
    accepted: int = 0
    rejected: int = 0
    stability: float | None = None
    error_order: float | None = None
    set_point: float | None = None
    again: Any = field(default=None, repr=False)

    @property
    def forward(self) -> Calls:
        """Calls of the forward solve."""
        return self.clock.calls["forward"]

    @property
    def backward(self) -> Calls:
        """Calls of backward passes: replayed steps, or those of the backward solve."""
        return self.clock.calls["backward"]

    @property
    def retaken(self) -> Calls:
        """Calls for steps that local penalties took again."""
        return self.clock.calls["retaken"]

    @property
    def solver_seconds(self) -> float:
        """Time of the forward solve outside the user's functions."""
        return self.seconds - self.forward.seconds

    @property
    def backward_seconds(self) -> float:
        """Time of its backward passes."""
        return sum(end - start for start, end in self.backward_spans)

    @property
    def newton_iterations(self) -> int:
        """Newton iterations of all attempts."""
        columns = self.steps.columns()
        seen: dict[int, int] = dict(zip(columns["attempt"].tolist(), columns["newton"].tolist(), strict=True))
        return sum(seen.values())

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the steps as plain values, for JSON and tables."""
        names = (
            "index kind label method adjoint per_sample shape samples span outputs rtol atol adaptive iteration depth "
            "began opening_calls status message seconds solver_seconds backward_seconds backward_passes tape_bytes "
            "accepted rejected stability error_order set_point newton_iterations"
        )
        values: dict[str, Any] = {name: getattr(self, name) for name in names.split()}
        values["shape"], values["span"] = list(self.shape), list(self.span)
        for phase, calls in self.clock.calls.items():
            values[f"{phase}_field_calls"] = calls.field
            values[f"{phase}_diffusion_calls"] = calls.diffusion
            values[f"{phase}_field_seconds"] = calls.seconds
        return values
