"""Encoders of irregular series: from observations with a mask to the posterior of a latent initial state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from nde import validation
from nde.adjoint import ADJOINTS, Adjoint
from nde.doors.ode import solve_ode
from nde.models.layer import as_numbers, check_size
from nde.models.perceptron import TimedPerceptron
from nde.models.series import Series, check_series
from nde.solvers import Controller, Method, find_method

__all__ = ["GRUDEncoder", "ODERNNEncoder", "SeriesEncoder"]


class SeriesEncoder(nn.Module):
    """A network that reads series backwards, from their last observation to their first, and on to the initial time.

    Rows without an observation of a sample change nothing for that sample, wherever they stand, so that a batch may be
    padded.

    Args:
        data_size: Channels of the observations.
        latent_size: Length of the latent state.
        hidden_size: Length of the recurrent state.

    Raises:
        TypeError: A size is no integer.
        ValueError: A size is not positive.
    """

    def __init__(self, data_size: int, latent_size: int, hidden_size: int) -> None:
        super().__init__()
        for value, name in ((data_size, "data_size"), (latent_size, "latent_size"), (hidden_size, "hidden_size")):
            check_size(value, name)
        self.data_size = data_size
        self.hidden_size = hidden_size
        self.cell = nn.GRUCell(2 * data_size, hidden_size)
        self.to_initial = nn.Linear(hidden_size, 2 * latent_size)

    def forward(
        self, ts: Tensor | Sequence[float], observations: Tensor, mask: Tensor | None = None, t0: float | None = None
    ) -> Normal:
        """Encode series.

        Args:
            ts: Times, shape ``(T,)`` for all samples or ``(T, batch)``, not decreasing; NaN behind a sample's last one.
                They have no gradient.
            observations: Shape ``(T, batch, data_size)``.
            mask: Of the same shape, or ``(T, batch)`` for all channels: true where there is an observation. None for
                everything that is not NaN.
            t0: Time of the initial state; None for that of each sample's first observation.

        Returns:
            The posterior of the initial state, of shape ``(batch, latent_size)``.

        Raises:
            TypeError, ValueError: An argument has the wrong type or shape; see the message.
        """
        hidden = self.encode(check_series(ts, observations, mask, self.data_size), t0)
        mean, log_std = self.to_initial(hidden).chunk(2, -1)
        return Normal(mean, log_std.exp())

    @abstractmethod
    def encode(self, series: Series, t0: float | None) -> Tensor:
        """Return the recurrent state at the initial time, shape ``(batch, hidden_size)``."""


class ODERNNEncoder(SeriesEncoder):
    """A recurrent network whose state moves along an ordinary differential equation between observations.

    Rubanova, Chen, Duvenaud (2019), Latent ordinary differential equations for irregularly-sampled time series,
    algorithm 1. All samples take one solve per interval, each over its own length, in a time that runs from 0 to 1.

    Args:
        data_size: Channels of the observations.
        latent_size: Length of the latent state.
        hidden_size: Length of the recurrent state.
        field: Field of the recurrent state, ``(t, hidden)`` with ``t`` of shape ``(batch, 1)``; a bounded perceptron by
            default.
        method, rtol, atol, controller, adjoint: See `nde.solve_ode`. Steps of a `nde.FixedStep` are parts of an
            interval between two observations: ``FixedStep(1.0)`` takes one for each.

    Raises:
        TypeError, ValueError: An argument has the wrong type or is out of range.
    """

    def __init__(
        self,
        data_size: int,
        latent_size: int,
        hidden_size: int = 32,
        field: Callable[[Tensor, Tensor], Tensor] | None = None,
        *,
        method: str | Method = "tsit5",
        rtol: Any = 1e-3,
        atol: Any = 1e-4,
        controller: Controller | None = None,
        adjoint: str | Adjoint = "discrete",
    ) -> None:
        super().__init__(data_size, latent_size, hidden_size)
        self.field = TimedPerceptron(hidden_size, hidden_size, 1) if field is None else field
        validation.check_field(self.field)
        validation.check_controller(controller, find_method(method), zero_tolerance=False)
        validation.check_adjoint(adjoint, ADJOINTS)
        self.options: dict[str, Any] = {
            "method": method,
            "rtol": rtol,
            "atol": atol,
            "controller": controller,
            "adjoint": adjoint,
        }

    def encode(self, series: Series, t0: float | None) -> Tensor:
        """See `SeriesEncoder.encode`."""
        times, values, mask = series
        hidden = values.new_zeros(values.shape[1], self.hidden_size)
        now = times[-1]  # of each sample's state
        seen = mask.any(-1)
        begun = torch.zeros_like(seen[0])
        for index in reversed(range(len(times))):
            here = seen[index]
            if not bool(here.any()):
                continue
            hidden = self._moved(hidden, now, torch.where(begun & here, times[index], now))
            now = torch.where(here, times[index], now)
            updated = self.cell(torch.cat([values[index], mask[index]], -1), hidden)
            hidden = torch.where(here.unsqueeze(-1), updated, hidden)
            begun = begun | here
        return hidden if t0 is None else self._moved(hidden, now, torch.where(begun, t0, now))

    def _moved(self, hidden: Tensor, start: Tensor, end: Tensor) -> Tensor:
        span = (end - start).unsqueeze(-1)
        if not bool(span.any()):
            return hidden
        moved: Tensor = solve_ode(self._slopes, hidden, (0.0, 1.0), (start.unsqueeze(-1), span), **self.options).y1
        return moved

    def _slopes(self, s: Tensor, hidden: Tensor, start: Tensor, span: Tensor) -> Tensor:
        return span * self.field(start + s * span, hidden)


class GRUDEncoder(SeriesEncoder):
    """A recurrent network whose state, and whose memory of each channel, decay with the time since it was observed.

    Che, Purushotham, Cho, Sontag, Liu (2018), Recurrent neural networks for multivariate time series with missing
    values, equations 10 to 14: it solves no equation, and is cheap. A channel that is missing is taken to be between
    its last value and its mean; the mask is an input as well.

    Args:
        data_size: Channels of the observations.
        latent_size: Length of the latent state.
        hidden_size: Length of the recurrent state.
        data_mean: Mean of each channel over the training set, a number or shape ``(data_size,)``.

    Raises:
        TypeError, ValueError: An argument has the wrong type or is out of range.
    """

    def __init__(
        self, data_size: int, latent_size: int, hidden_size: int = 32, data_mean: float | Tensor = 0.0
    ) -> None:
        super().__init__(data_size, latent_size, hidden_size)
        mean = as_numbers(data_mean, "data_mean")
        if mean.shape not in ((), (data_size,)):
            raise ValueError(f"data_mean must have shape ({data_size},), but has shape {tuple(mean.shape)}.")
        self.data_mean: Tensor
        self.register_buffer("data_mean", mean)
        self.input_rate = nn.Parameter(torch.full((data_size,), 0.1))
        self.input_bias = nn.Parameter(torch.zeros(data_size))
        self.hidden_decay = nn.Linear(data_size, hidden_size)
        with torch.no_grad():  # decays begin at work: what the rectifier cuts off is not learned
            self.hidden_decay.weight.abs_()
            self.hidden_decay.bias.zero_()

    def encode(self, series: Series, t0: float | None) -> Tensor:
        """See `SeriesEncoder.encode`."""
        times, values, mask = series
        hidden = values.new_zeros(values.shape[1], self.hidden_size)
        mean = self.data_mean.to(values)
        last = mean.expand(values.shape[1:])
        last_times = times[-1].unsqueeze(-1).expand(values.shape[1:])  # of each channel
        begun = torch.zeros_like(mask[0, :, :1], dtype=torch.bool)
        for time, value, observed in zip(times.flip(0), values.flip(0), mask.flip(0), strict=True):
            here = observed.any(-1, keepdim=True)
            # a channel that was never observed waits since the series began
            last_times = torch.where(begun, last_times, time.unsqueeze(-1))
            waited = last_times - time.unsqueeze(-1)
            decay = torch.exp(-torch.relu(self.input_rate * waited + self.input_bias))
            filled = observed * value + (1 - observed) * (decay * last + (1 - decay) * mean)
            updated = self.cell(torch.cat([filled, observed], -1), self._decayed(hidden, waited))
            hidden = torch.where(here, updated, hidden)
            last = torch.where(observed.bool(), value, last)
            last_times = torch.where(observed.bool(), time.unsqueeze(-1), last_times)
            begun = begun | here
        if t0 is None:
            return hidden
        return torch.where(begun, self._decayed(hidden, last_times - t0), hidden)

    def _decayed(self, hidden: Tensor, waited: Tensor) -> Tensor:
        return hidden * torch.exp(-torch.relu(self.hidden_decay(waited)))
