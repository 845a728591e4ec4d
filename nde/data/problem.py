"""What a generator of data is: settings that are checked once, and a function of a random generator to one sample."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nde.data.checks import check_count, check_positive

__all__ = ["Array", "Box", "Problem", "Sample", "TimeDependentProblem"]

Array = NDArray[np.floating[Any]]
Sample = dict[str, Array]
Box = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Problem:
    """A distribution of functions that `generate` draws from; subclasses are frozen dataclasses.

    Every field of a sample has the shape ``(channels, *space)``, or ``(frames + 1, channels, *space)`` if it depends
    on time.

    Attributes:
        recipe: Number of the recipe. A subclass raises it when the same settings begin to give other samples, so that
            folders of older samples are not continued with newer ones.
    """

    recipe: ClassVar[int] = 1

    def sample(self, rng: np.random.Generator) -> Sample:
        """Return one sample: its fields by name. All that is random in it comes from ``rng``."""
        raise NotImplementedError

    @property
    def box(self) -> Box:
        """Where the values are: ``lengths``, ``periodic``, ``centering``, ``origin`` of `nde.operators.UniformGrid`."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Return what determines the samples, as plain values: the name of the problem, its recipe and its settings."""
        return {"problem": type(self).__name__, "recipe": self.recipe, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class TimeDependentProblem(Problem):
    """A problem whose samples are trajectories with evenly spaced frames.

    Args:
        final_time: Time of the last frame; the first is at zero.
        frames: How many frames follow the initial one.
        dt: Largest time step of the solver, which takes as many equal steps from frame to frame as it needs.

    Raises:
        TypeError: A setting has the wrong type.
        ValueError: A setting is out of range.
    """

    final_time: float = 1.0
    frames: int = 1
    dt: float = 0.01

    def __post_init__(self) -> None:
        check_positive(self.final_time, "final_time")
        check_count(self.frames, "frames")
        check_positive(self.dt, "dt")

    @property
    def times(self) -> Array:
        """Times of the frames, shape ``(frames + 1,)``."""
        return np.linspace(0.0, self.final_time, self.frames + 1)

    @property
    def steps_per_frame(self) -> int:
        """How many steps the solver takes from frame to frame."""
        return math.ceil(self.final_time / self.frames / self.dt * (1 - 1e-12))

    @property
    def step_size(self) -> float:
        """The step that the solver takes: ``dt`` or the next smaller one that meets all frames."""
        return self.final_time / (self.frames * self.steps_per_frame)
