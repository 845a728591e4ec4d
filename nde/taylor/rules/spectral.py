"""Discrete Fourier transforms: linear, also those between real and complex numbers."""

from __future__ import annotations

from typing import Any

import torch

from nde.taylor.frame import Frame
from nde.taylor.registry import RULES
from nde.taylor.rules.linear import register_linear

__all__: list[str] = []

for _kind in ("fft", "ifft", "rfft", "irfft", "hfft"):
    for _axes in ("", "2", "n"):
        register_linear(getattr(torch.fft, _kind + _axes))

_INVERSE = {None: "forward", "backward": "forward", "forward": "backward", "ortho": "ortho"}


def _register_inverse_hermitian(name: str) -> None:
    """Carry the inverse of a transform to real numbers by the conjugate of that from them: it has a batching rule."""
    forward = getattr(torch.fft, name.replace("ih", "r"))

    def rule(frame: Frame, input: Any, *args: Any, norm: str | None = None, **kwargs: Any) -> Any:
        return torch.conj(forward(input, *args, norm=_INVERSE[norm], **kwargs))

    RULES[getattr(torch.fft, name)] = rule


for _axes in ("", "2", "n"):
    _register_inverse_hermitian(f"ihfft{_axes}")
register_linear(torch.fft.fftshift)
register_linear(torch.fft.ifftshift)
