"""An encoder for `LatentSDE`: from observed series to the posterior of the initial state and a context in time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from nde.models.layer import check_size

__all__ = ["GRUEncoder", "context_at"]


class GRUEncoder(nn.Module):
    """A recurrent network that reads series backwards, so that its state at a time knows all that comes later.

    Li, Wong, Chen, Duvenaud (2020), Scalable gradients for stochastic differential equations, 5.

    Args:
        data_size: Channels of the observations.
        latent_size: Length of the latent state.
        context_size: Channels of the context.
        hidden_size: Length of the recurrent state.

    Raises:
        TypeError: A size is no integer.
        ValueError: A size is not positive.
    """

    def __init__(self, data_size: int, latent_size: int, context_size: int = 16, hidden_size: int = 32) -> None:
        super().__init__()
        sizes = {
            "data_size": data_size,
            "latent_size": latent_size,
            "context_size": context_size,
            "hidden_size": hidden_size,
        }
        for name, size in sizes.items():
            check_size(size, name)
        self.recurrent = nn.GRU(data_size, hidden_size)
        self.to_context = nn.Linear(hidden_size, context_size)
        self.to_initial = nn.Linear(context_size, 2 * latent_size)

    def forward(self, observations: Tensor) -> tuple[Normal, Tensor]:
        """Encode series.

        Args:
            observations: Shape ``(T, batch, data_size)``.

        Returns:
            The posterior of the initial state, of shape ``(batch, latent_size)``, and the context at the times of the
            observations, shape ``(T, batch, context_size)``; see `context_at`.
        """
        states, _ = self.recurrent(observations.flip(0))
        context: Tensor = self.to_context(states.flip(0))
        mean, log_std = self.to_initial(context[0]).chunk(2, -1)
        return Normal(mean, log_std.exp()), context


def context_at(t: Tensor, ts: Tensor, context: Tensor) -> Tensor:
    """Return the context of the first observation after ``t``; of the last one where there is none.

    It is constant between observations, where a solve whose output times are ``ts`` ends its steps.

    Args:
        t: A time, a 0-d tensor.
        ts: Times of the observations, shape ``(T,)``, increasing.
        context: Shape ``(T, batch, context_size)``.
    """
    index = torch.searchsorted(ts, t.to(ts.dtype), right=True).clamp(max=len(ts) - 1)
    return context[index]
