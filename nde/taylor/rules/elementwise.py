"""Elementwise functions by the recurrence of the differential equation that each satisfies."""

from __future__ import annotations

import torch

from nde.taylor.frame import Frame, Lifted
from nde.taylor.jet_type import Jet
from nde.taylor.registry import rule_for
from nde.taylor.series import convolve, integrate

__all__: list[str] = []


@rule_for("exp")
def _exp(frame: Frame, input: Jet) -> Jet:
    z = input.lifted
    y: list[Lifted] = [torch.exp(z[0])]
    for k in range(1, frame.order + 1):
        y.append(integrate(frame, z, y, k))
    return Jet(frame, y)


@rule_for("tanh")
def _tanh(frame: Frame, input: Jet) -> Jet:
    z = input.lifted
    y: list[Lifted] = [torch.tanh(z[0])]
    slope: list[Lifted] = [1 - y[0] * y[0]]
    for k in range(1, frame.order + 1):
        y.append(integrate(frame, z, slope, k))
        if k < frame.order:
            square = convolve(frame, y, y, k, torch.mul)
            slope.append(None if square is None else -square)
    return Jet(frame, y)


def _sin_and_cos(frame: Frame, z: list[Lifted]) -> tuple[list[Lifted], list[Lifted]]:
    sine: list[Lifted] = [torch.sin(z[0])]
    cosine: list[Lifted] = [torch.cos(z[0])]
    for k in range(1, frame.order + 1):
        falling = integrate(frame, z, sine, k)
        sine.append(integrate(frame, z, cosine, k))
        cosine.append(None if falling is None else -falling)
    return sine, cosine


@rule_for("sin")
def _sin(frame: Frame, input: Jet) -> Jet:
    return Jet(frame, _sin_and_cos(frame, input.lifted)[0])


@rule_for("cos")
def _cos(frame: Frame, input: Jet) -> Jet:
    return Jet(frame, _sin_and_cos(frame, input.lifted)[1])
