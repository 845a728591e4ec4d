"""Log-signatures over windows: a series becomes a shorter one with more channels, for a path through it."""

from __future__ import annotations

import torch
from torch import Tensor

from nde.compat.torchcde.misc import validate_input_path
from nde.controls import LinearPath, log_signature, word_coefficients
from nde.controls.log_ode import windowed_increments

__all__ = ["logsig_windows", "logsignature_windows"]


def logsig_windows(x: Tensor, depth: int, window_length: float | Tensor, t: Tensor | None = None) -> Tensor:
    """Return a series whose increments are the log-signatures of another over windows.

    They are given by the coefficients of the Lyndon words, ordered by length and then lexicographically, as those of
    the package signatory are.

    Args:
        x: Data, shape ``(..., length, channels)``. Missing values are NaN.
        depth: Depth of the log-signatures.
        window_length: Time that a window takes.
        t: Times, shape ``(length,)``; None for ``0, 1, ...``.

    Returns:
        Shape ``(..., windows + 1, words)``, at the times ``0, 1, ..., windows``; its first value is the first of the
        data, with zeros for the longer words.

    Raises:
        TypeError: ``depth`` is no integer.
        ValueError: ``x`` or ``t`` is not as above, or ``depth`` is not positive.
    """
    series, increments, _ = _windows(x, depth, window_length, t)
    return torch.cat([series, increments], -2).cumsum(-2)


def logsignature_windows(
    x: Tensor, depth: int, window_length: float | Tensor, t: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return what `logsig_windows` does with each log-signature times its window's length, and the times.

    Deprecated in torchcde.
    """
    series, increments, times = _windows(x, depth, window_length, t)
    lengths = times.diff().unsqueeze(-1).to(increments.dtype)
    return torch.cat([series, increments * lengths], -2).cumsum(-2), times


def _windows(x: Tensor, depth: int, window_length: float | Tensor, t: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first value, the log-signatures of the windows, and the times at which these begin and end."""
    times = validate_input_path(x, t)
    count = int(((times[-1] - times[0]) / window_length).ceil())
    ends = torch.linspace(0, 1, count + 1, dtype=times.dtype, device=times.device) * (count * window_length)
    ends = torch.minimum(times[0] + ends, times[-1])
    # a window begins on an observation where it nearly does
    nearest = times[(ends.detach().unsqueeze(-1) - times.detach()).abs().argmin(-1)]
    ends = torch.where(torch.isclose(ends.detach(), nearest.detach()), nearest, ends)
    filled = LinearPath(x, times).coefficients
    levels = log_signature(windowed_increments(filled, times, ends)[0], depth)
    words = word_coefficients(levels)
    first = torch.zeros_like(words[..., :1, :])
    first[..., : x.shape[-1]] = filled[..., :1, :]
    return first, words, ends
