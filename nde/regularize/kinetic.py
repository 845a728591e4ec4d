"""The kinetic energy of a trajectory."""

from __future__ import annotations

from torch import Tensor

from nde.regularize.trajectory import TrajectoryPenalty, TrajectoryPoint

__all__ = ["Kinetic"]


class Kinetic(TrajectoryPenalty):
    """The kinetic energy ``int mean_i(f_i(t, y)^2) / 2 dt`` of the trajectory, with the mean over entries and samples.

    Finlay, Jacobsen, Nurbekyan, Oberman (2020), How to train your neural ODE (RNODE); the factor 1/2 and the mean are
    those of its code. Augmented, it costs no evaluation of the field; local, one. Of a stochastic
    equation, it is the energy of the drift.

    Args:
        weight, form, seed: See `TrajectoryPenalty`.
    """

    def integrand(self, point: TrajectoryPoint) -> Tensor:
        """See `TrajectoryPenalty.integrand`."""
        return 0.5 * point.mean(point.flat(point.slope).square())
