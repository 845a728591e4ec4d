"""Smooth fields, periodic and not, and orders of convergence."""

import math

import torch


def waves(positions):
    """Two channels on the unit box of any dimension, periodic."""
    phases = [2 * math.pi * axis for axis in positions]
    first = phases[0].sin()
    for number, phase in enumerate(phases[1:], start=1):
        first = first * (number * phase + 0.3).cos()
    return torch.stack((first, (sum(phases) + 0.5).cos())).unsqueeze(0)


def slopes(positions):
    """Two channels, not periodic, with values and slopes at all walls."""
    total = sum((k + 1) * axis for k, axis in enumerate(positions))
    return torch.stack(((1.5 * total).sin(), torch.exp(0.5 * positions[0]) * (1 + total))).unsqueeze(0)


def order(coarse, fine):
    return math.log2(coarse / fine)


def relative(a, b):
    return float(((a - b).norm() / b.norm()).detach())
