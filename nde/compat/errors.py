"""Failures as code written for other packages expects them."""

from __future__ import annotations

from nde.solvers.status import SolverError, Status

__all__ = ["LegacySolverError", "translated"]


class LegacySolverError(SolverError, AssertionError):
    """A failed solve: an `nde.SolverError`, and the AssertionError that torchdiffeq and torchsde raise."""


def translated(error: SolverError) -> LegacySolverError:
    """Return a failure with torchdiffeq's words in front of ours."""
    failure = error.failure
    words = {
        Status.STEP_UNDERFLOW: f"underflow in dt {abs(failure.h)}",
        Status.MAX_STEPS: f"max_num_steps exceeded ({failure.attempted}>={failure.attempted})",
        Status.NON_FINITE: "non-finite values in state `y`",
    }
    text = f"{words[error.status]}: {error}" if error.status in words else str(error)
    return LegacySolverError(text, error.solution, error.status, failure)
