"""Structure beyond the kept waves: what is found in fields that were made with it."""

import math

import pytest
import torch
from torch.utils.data import TensorDataset

from examples.operators.structure import fine_structure

POINTS = 16


def pair(make, count=6):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2 * count, 1, POINTS, POINTS, generator=generator)
    outputs = make(inputs)
    return (TensorDataset(inputs[part], outputs[part]) for part in (slice(count), slice(count, None)))


def test_share_of_waves_is_that_of_the_field():
    x = torch.arange(POINTS) / POINTS * 2 * math.pi
    field = (3 * (2 * x).cos()[:, None] + 4 * (5 * x).sin()[None]).expand(2, 1, POINTS, POINTS)
    samples = TensorDataset(torch.zeros_like(field), field)
    for modes, expected in ((1, 1.0), (2, 0.8), (4, 0.8), (5, 0.0)):
        assert fine_structure(samples, samples, modes, True).beyond == pytest.approx(expected, abs=1e-6)


def test_a_pointwise_map_leaves_nothing_to_neighbours():
    structure = fine_structure(*pair(lambda field: 2 * field), -1, True)  # not one wave is kept
    assert structure.beyond == pytest.approx(1.0) and structure.own < 1e-5 and structure.near < 1e-5


def test_a_shift_by_a_cell_is_seen_by_neighbours_alone():
    structure = fine_structure(*pair(lambda field: field.roll(1, -1)), -1, True)
    assert structure.own > 0.98 and structure.near < 1e-4


def test_a_shift_beyond_the_neighbours_is_seen_by_none():
    structure = fine_structure(*pair(lambda field: field.roll(5, -2)), -1, True)
    assert structure.own > 0.98 and structure.near > 0.95
