"""Random output times in training: the solution is fitted over times around those that are asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nde.regularize.draws import Draws

__all__ = ["Steer"]


class Steer(nn.Module):
    """Jitters output times: the end is drawn from ``U(T - b, T + b)``, the times before it between their neighbours.

    Ghosh, Behl, Dupont, Torr, Namboodiri (2020), STEER: simple temporal regularization for neural ODEs. An inner time
    moves by up to half the way to the nearer of its two neighbours (the paper: to the one before, which can exchange
    the order of times that are not evenly spaced). The first time stays, and targets stay those of the times that were
    asked for. `NeuralODE`, `NeuralSDE`, `LatentODE` and `ContinuousFlow` apply it in training mode; it costs nothing,
    and goes with every penalty and adjoint.

    Args:
        b: Half the width of the interval around the end, smaller than the distance to the time before it; 0 leaves the
            end where it is.
        seed: Seed of the draws.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: ``b`` is negative or not finite; when called, it is too large for the times, or these are not
            one-dimensional.
    """

    def __init__(self, b: float, *, seed: int = 0) -> None:
        super().__init__()
        if isinstance(b, bool) or not isinstance(b, (int, float)):
            raise TypeError(f"b must be a number, but is {b!r}.")
        if not 0 <= b < math.inf:
            raise ValueError(f"b must be zero or positive and finite, but is {b}.")
        self.b = float(b)
        self.draws = Draws(seed)

    def forward(self, ts: Tensor | Sequence[float]) -> Tensor:
        """Return jittered times, float64, shape ``(T,)``; they move with the given ones.

        Args:
            ts: Output times, shape ``(T,)``, increasing or decreasing.
        """
        if not isinstance(ts, Tensor):
            ts = torch.stack([torch.as_tensor(time, dtype=torch.float64).cpu() for time in ts])
        if ts.dim() != 1 or len(ts) < 2:
            raise ValueError(f"ts must be one-dimensional with two times or more, but has shape {tuple(ts.shape)}.")
        times = ts.double()
        gaps = times.detach().diff()
        if not self.b < abs(float(gaps[-1])):
            raise ValueError(
                f"b must be smaller than the distance of the last two of ts, {abs(float(gaps[-1])):.6g}, but is "
                f"{self.b:.6g}. Otherwise the end could come before the time ahead of it."
            )
        units = torch.from_numpy(2 * self.draws.uniform(len(gaps)) - 1).to(gaps.device)
        last = self.b * units[-1:]
        gaps = torch.cat([gaps[:-1], gaps[-1:] + last])
        nearer = torch.minimum(gaps[:-1].abs(), gaps[1:].abs())
        return times + torch.cat([torch.zeros_like(last), 0.5 * nearer * units[:-1], last])

    def get_extra_state(self) -> Tensor:
        """Return the number of calls, for ``state_dict``."""
        return torch.tensor(self.draws.count)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore it, for ``load_state_dict``."""
        self.draws.count = int(state)

    def extra_repr(self) -> str:
        """Describe the jitter in ``repr``."""
        return f"b={self.b:g}"
