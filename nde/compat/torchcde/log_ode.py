"""Log-signatures over windows, which torchcde takes from a package that no longer installs."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import Tensor

__all__ = ["logsig_windows", "logsignature_windows"]


def logsig_windows(x: Tensor, depth: int, window_length: Any, t: Tensor | None = None) -> NoReturn:
    """Refuse: log-signatures are not implemented.

    Raises:
        NotImplementedError: Always.
    """
    raise NotImplementedError(
        "logsig_windows is not available: torchcde computes log-signatures by the package signatory, which no longer "
        "installs on current versions of PyTorch. Interpolate the series itself, by "
        "hermite_cubic_coefficients_with_backward_differences for example."
    )


def logsignature_windows(x: Tensor, depth: int, window_length: Any, t: Tensor | None = None) -> NoReturn:
    """Refuse, as `logsig_windows` does; deprecated in torchcde."""
    logsig_windows(x, depth, window_length, t)
