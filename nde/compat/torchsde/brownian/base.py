"""What every Brownian motion of the interface offers; ``sdeint`` needs nothing else of one."""

from __future__ import annotations

import abc
from typing import Any

import torch

__all__ = ["BaseBrownian"]


class BaseBrownian(abc.ABC):
    """A Brownian motion that can be asked for increments. Subclass it to bring your own."""

    @abc.abstractmethod
    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> Any:
        """Return the increment from ``ta`` to ``tb``, and what else is asked for.

        Args:
            ta, tb: Numbers or tensors of one element; without ``tb``, the interval runs from the start to ``ta``.
            return_U: Also return the time integral ``U`` of the motion less its value at ``ta``.
            return_A: Also return the space-space Levy area.

        Returns:
            ``W``, ``(W, U)``, ``(W, A)`` or ``(W, U, A)``; None for what the motion does not know.
        """

    @abc.abstractmethod
    def __repr__(self) -> str:
        raise NotImplementedError

    @property
    @abc.abstractmethod
    def dtype(self) -> torch.dtype:
        """Dtype of an increment."""

    @property
    @abc.abstractmethod
    def device(self) -> torch.device:
        """Where the increments are."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of an increment."""

    @property
    @abc.abstractmethod
    def levy_area_approximation(self) -> str:
        """What is known beside the increment: one of ``settings.LEVY_AREA_APPROXIMATIONS``."""

    def size(self) -> tuple[int, ...]:
        """Return the shape of an increment."""
        return self.shape
