"""How a solve can end, and the error raised when it ends badly.

Uses nothing of the package; the loop sets a `Status`, every floor above reads it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

__all__ = ["Failure", "SolverError", "Status"]


class Status(enum.Enum):
    """Outcome of a solve; the value is a one-line explanation.

    Attributes:
        SUCCESS: The end of the span was reached.
        MAX_STEPS: The limit on attempted steps was reached.
        STEP_UNDERFLOW: The step size fell below what the time axis can resolve, or below ``dt_min``.
        NON_FINITE: The field, or the state, became NaN or infinite.
        NEWTON_FAILED: The equations of an implicit step could not be solved.
    """

    SUCCESS = "the end of the span was reached"
    MAX_STEPS = "the limit on attempted steps was reached"
    STEP_UNDERFLOW = "the step size fell below what the time axis can resolve, or below dt_min"
    NON_FINITE = "the field, or the state, became NaN or infinite"
    NEWTON_FAILED = "the equations of an implicit step could not be solved"


@dataclass(frozen=True)
class Failure:
    """Where and how a solve failed.

    Attributes:
        t: Time of the last accepted state.
        h: Signed size of the last attempted step.
        sample: Index along the first axis of the state whose scaled error was largest (or first became non-finite);
            ``None`` if the state has no batch axis.
        samples: Length of that axis.
        attempted: Number of steps attempted until then.
        stiffness: Stiffness estimate of the last attempted step, if the method has one and it is finite.
        source: What was not finite, where that is known: the drift, the diffusion or the path of a stochastic equation.
    """

    t: float
    h: float
    sample: int | None
    samples: int | None
    attempted: int
    stiffness: float | None = None
    source: str | None = None

    def message(self, status: Status) -> str:
        """Return the text of a `SolverError`: what happened, where, and what to try."""
        where = f"at t = {self.t:.10g}"
        if self.sample is not None:
            where += f" (sample {self.sample} of {self.samples})"
        after = f"after {self.attempted} attempted step{'s' if self.attempted != 1 else ''}"
        stiff = "" if self.stiffness is None else f" (stiffness estimate {self.stiffness:.2g} per unit of time)"
        if status is Status.MAX_STEPS:
            return (
                f"max_steps = {self.attempted} steps were attempted and the solve only came to {where[3:]}, "
                f"with a step size of {self.h:.3g}{stiff}. Raise max_steps, loosen rtol and atol, or inspect "
                "error.solution; a field with a large stiffness estimate wants an implicit method."
            )
        if status is Status.STEP_UNDERFLOW:
            return (
                f"step size fell to {abs(self.h):.3g} {where} {after}: the solution seems to blow up or to be stiff "
                f"there{stiff}. Loosen rtol and atol, end the span earlier, or inspect error.solution."
            )
        if status is Status.NEWTON_FAILED:
            return (
                f"the equations of an implicit step could not be solved {where}, with a step size of {self.h:.3g}, "
                f"{after}: Newton's iteration did not converge, or its matrix is singular. Try a smaller step, and "
                "check that the field is smooth there; error.solution holds everything up to there."
            )
        if self.source is not None and self.source.startswith("the path"):
            return (
                f"{self.source} is NaN or infinite, {where}, with a step size of {self.h:.3g}, {after}. Check the path "
                "that was given; error.solution holds everything up to there."
            )
        return (
            f"{self.source or 'the field or the state'} became NaN or infinite {where}, with a step size of "
            f"{self.h:.3g}, {after}. Check the field near there (division by zero, log or sqrt of a negative number, "
            "overflow of float32, diverged weights); error.solution holds everything up to there."
        )


class SolverError(RuntimeError):
    """A solve did not reach the end of its span.

    Attributes:
        solution: The partial `Solution`; times that were not reached hold NaN.
        status: Why it stopped.
        failure: Where it stopped.
    """

    def __init__(self, message: str, solution: Any, status: Status, failure: Failure) -> None:
        super().__init__(message)
        self.solution = solution
        self.status = status
        self.failure = failure
