"""What a path answers: additivity, order and cache, rows, views, copies."""

import copy
import math
import pickle
import random

import numpy as np
import pytest
import torch

import nde
from nde.solvers.brownian import BrownianIncrement, BrownianPath
from nde.solvers.brownian import cells as cells_module

KINDS = ["none", "space-time", "space-time-time", "davie", "foster"]
GRIDS = [None, np.linspace(0, 1, 38), np.linspace(0, 1, 38) ** 1.3]
PARTS = ("w", "h", "k", "a")


def make(levy_area="none", grid=None, shape=(5, 3), dtype=torch.float64, seed=3, **more):
    return BrownianPath(0.0, 1.0, shape, seed=seed, grid=grid, levy_area=levy_area, dtype=dtype, **more)


def same(one, other):
    return all(
        (getattr(one, part) is None and getattr(other, part) is None)
        or torch.equal(getattr(one, part), getattr(other, part))
        for part in PARTS
    )


def some_times(count=40, seed=0):
    source = random.Random(seed)
    fixed = [(0.0, 1.0), (0.25, 0.5), (1.0, 0.0), (0.3, 0.3), (0.3, 0.3 + 1e-7), (0.3, 0.3 + 1e-12), (0.9, 0.1)]
    for grid in GRIDS[1:]:
        fixed += [(float(grid[3]), float(grid[4])), (float(grid[5]), float(grid[30])), (float(grid[8]), float(grid[6]))]
    return fixed + [(source.random(), source.random()) for _ in range(count)]


def test_the_path_is_public():
    assert nde.BrownianPath is BrownianPath and isinstance(make()(0.0, 1.0), BrownianIncrement)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("levy_area", KINDS[:3])
def test_intervals_join_to_their_union(levy_area, grid):
    path, source = make(levy_area, grid), random.Random(4)
    for _ in range(30):
        s, t, u = sorted(source.random() for _ in range(3))
        one, two, whole = path(s, t), path(t, u), path(s, u)
        assert (one.w + two.w - whole.w).abs().max() < 1e-12
        r = (t - s) / (u - s)
        if whole.h is not None:
            h = r * one.h + (1 - r) * two.h + 0.5 * ((1 - r) * one.w - r * two.w)
            assert (h - whole.h).abs().max() < 1e-12
        if whole.k is not None:
            k = r * r * one.k + (1 - r) ** 2 * two.k + 0.5 * r * (1 - r) * (one.h - two.h)
            k = k + (1 - 2 * r) / 12 * ((1 - r) * one.w - r * two.w)
            assert (k - whole.k).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("levy_area", KINDS)
def test_an_answer_does_not_depend_on_what_was_asked_before(levy_area, grid, dtype):
    times = some_times(15)
    path = make(levy_area, grid, dtype=dtype)
    answers = [path(s, t) for s, t in times]
    order = list(range(len(times)))
    random.Random(1).shuffle(order)
    again = make(levy_area, grid, dtype=dtype)
    for index in order:
        assert same(again(*times[index]), answers[index])
        assert same(make(levy_area, grid, dtype=dtype)(*times[index]), answers[index])


def test_the_size_of_the_chunks_and_blocks_does_not_change_an_answer(monkeypatch):
    grid = np.linspace(0, 1, 301)
    ranges = [(0, 300), (0, 1), (7, 8), (1, 300), (63, 65), (64, 128), (17, 211), (255, 257), (299, 300)]
    answers = [make("space-time-time", grid)(float(grid[a]), float(grid[b])) for a, b in ranges]
    for numbers in (1, 100, 3000):  # chunks of 1, 2 and 64 cells
        monkeypatch.setattr(cells_module, "_CHUNK_NUMBERS", numbers)
        path = make("space-time-time", grid)
        for (a, b), answer in zip(ranges, answers, strict=True):
            assert same(path(float(grid[a]), float(grid[b])), answer)


def test_sums_over_cells_equal_the_sums_of_their_increments():
    grid = np.linspace(0, 1, 1001)
    path = make(grid=grid)
    steps = torch.stack([path(float(grid[i]), float(grid[i + 1])).w for i in range(1000)])
    for a, b in ((0, 1000), (3, 4), (1, 999), (500, 777)):
        assert (path(float(grid[a]), float(grid[b])).w - steps[a:b].sum(0)).abs().max() < 1e-12


def test_a_long_sum_over_cells_draws_each_chunk_once(monkeypatch):
    drawn = []
    original = cells_module.HashedCells._draw
    monkeypatch.setattr(cells_module, "_CHUNK_NUMBERS", 64)
    monkeypatch.setattr(
        cells_module.HashedCells, "_draw", lambda self, index: drawn.append(index) or original(self, index)
    )
    path = make(grid=np.linspace(0, 1, 1025), shape=(2,))
    path(0.0, 1.0)
    assert len(drawn) == len(set(drawn)) == 32
    for _ in range(3):
        path(0.0, 1.0)
    assert len(drawn) == 32


def test_memory_for_chunks_is_bounded():
    path = make(grid=np.linspace(0, 1, 20_001), shape=(1000,))
    for index in range(0, 20_000, 50):
        path(index / 20_000, (index + 1) / 20_000)
    assert len(path._engine._cells._chunks) <= 4 and len(path._engine._tree._ways) <= 4


def test_writing_to_an_increment_does_not_change_the_path():
    grid = [0.0, 0.5, 1.0]
    expected = make("space-time", grid)(0.0, 0.5)
    path = make("space-time", grid)
    path(0.0, 0.5).w.zero_()
    path(0.5, 1.0).h.zero_()
    assert same(path(0.0, 0.5), expected)


@pytest.mark.parametrize("levy_area", KINDS)
def test_an_interval_run_backwards_turns_w_k_and_a_but_not_h(levy_area):
    for grid in GRIDS:
        path = make(levy_area, grid)
        for s, t in ((0.2, 0.7), (0.0, 1.0), (float(GRIDS[1][3]), float(GRIDS[1][4]))):
            there, back = path(s, t), path(t, s)
            assert torch.equal(back.w, -there.w)
            assert there.h is None or torch.equal(back.h, there.h)
            assert there.k is None or torch.equal(back.k, -there.k)
            assert there.a is None or torch.equal(back.a, -there.a)


@pytest.mark.parametrize("levy_area", KINDS)
def test_the_reversed_view_is_the_path_run_backwards(levy_area):
    for grid in GRIDS:
        path = make(levy_area, grid)
        view = path.reversed()
        assert (view.t0, view.t1) == (-1.0, 0.0)
        for s, t in some_times(5):
            assert same(view(-t, -s), path(t, s))
        assert same(view.reversed()(0.2, 0.7), path(0.2, 0.7))


def test_an_interval_of_no_length_is_zero():
    for levy_area in KINDS:
        increment = make(levy_area)(0.4, 0.4)
        assert all(getattr(increment, part) is None or not getattr(increment, part).any() for part in PARTS)


def test_times_that_differ_by_rounding_are_one_time():
    path = make("space-time", np.linspace(0, 1, 11))
    assert same(path(0.0, 0.1 + 0.2), path(0.0, 0.3))
    assert torch.equal(path(0.0, 1.0 + 1e-12).w, path(0.0, 1.0).w)
    assert same(make()(0.0, 0.1 + 0.2), make()(0.0, 0.3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("levy_area", KINDS)
def test_a_time_per_row_gives_each_row_what_it_gets_alone(levy_area, grid, dtype):
    times = some_times(15)
    s, t = (torch.tensor(column, dtype=torch.float64) for column in zip(*times, strict=True))
    path = make(levy_area, grid, shape=(len(times), 3), dtype=dtype)
    together = path(s, t.unsqueeze(1))
    for row, (start, end) in enumerate(times):
        alone, all_rows = path[row](start, end), path(start, end)
        for part in PARTS:
            value = getattr(together, part)
            if value is not None:
                assert torch.equal(value[row], getattr(alone, part)), (part, row)
                assert torch.equal(value[row], getattr(all_rows, part)[row]), (part, row)
    assert torch.equal(path(s, 1.0).w[2], path(float(s[2]), 1.0).w[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(33,), (33, 1), (33, 5), (33, 2, 3, 4)])
def test_selected_rows_are_paths_with_the_same_numbers(shape, dtype):
    for levy_area, grid in (("none", None), ("space-time-time", GRIDS[2])):
        path = make(levy_area, grid, shape, dtype)
        whole = path(0.11, 0.83)
        for index in (
            0,
            -1,
            slice(3, 20),
            slice(None, None, 5),
            [4, 4, 32],
            torch.tensor([9, 1]),
            torch.arange(33) % 2 == 0,
        ):
            part = path[index](0.11, 0.83)
            assert path.rows(index).shape == whole.w[index].shape
            for name in PARTS:
                value = getattr(whole, name)
                assert value is None or torch.equal(getattr(part, name), value[index])
        assert same(path[3:20][4](0.2, 0.3), path[7](0.2, 0.3))


@pytest.mark.parametrize("shape", [(), (4,), (4, 3), (2, 3, 4, 5), 6])
def test_states_of_any_shape(shape):
    expected = (shape,) if isinstance(shape, int) else shape
    for levy_area in KINDS[:3]:
        path = make(levy_area, shape=shape)
        assert path.shape == expected and path(0.0, 0.4).w.shape == expected
        assert all(
            getattr(path(0.1, 0.2), part) is None or getattr(path(0.1, 0.2), part).shape == expected for part in PARTS
        )


def test_a_nearby_time_is_a_cell_s_end_or_a_coarse_dyadic_fraction():
    path = make()
    assert path.nearby(0.49, 0.02) == 0.5 and path.nearby(0.3, 0.03) == 0.3125 and path.nearby(0.3, 0.0) == 0.3
    assert path.nearby(0.9, 0.2) == 1.0 and path.nearby(0.01, 0.2) == 0.0
    assert path.reversed().nearby(-0.49, 0.02) == -0.5
    assert make(grid=[0.0, 0.31, 0.33, 1.0]).nearby(0.315, 0.1) == 0.31
    source = random.Random(3)
    for _ in range(200):
        t, slack = source.random(), 10 ** source.uniform(-5, -1)
        found = path.nearby(t, slack)
        assert abs(found - t) <= slack
        # no coarser dyadic fraction is as near
        size = 1.0
        while not any(abs(size * k - t) <= slack for k in (math.floor(t / size), math.ceil(t / size))):
            size /= 2
        assert (found / size).is_integer()
    for bad in ((1.5, 0.1), (math.nan, 0.1), (0.5, -0.1)):
        with pytest.raises(ValueError, match="slack"):
            path.nearby(*bad)


def test_copies_answer_alike():
    path = make("foster", GRIDS[1], covariance=torch.eye(3))
    expected = path(0.1, 0.9)
    for other in (copy.deepcopy(path), pickle.loads(pickle.dumps(path)), path.to("cpu"), copy.copy(path)):
        assert same(other(0.1, 0.9), expected)


def test_nothing_is_recorded_and_inference_mode_leaves_no_trace():
    with torch.inference_mode():
        path = make(grid=[0.0, 0.5, 1.0], covariance=torch.eye(3, dtype=torch.float64, requires_grad=True))
        w = path(0.0, 0.5).w
    assert not w.is_inference() and not w.requires_grad
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    (weight * path(0.0, 0.5).w).sum().backward()
    assert torch.allclose(weight.grad, w.sum(0))


def test_the_representation_names_what_defines_the_path():
    text = repr(make("space-time", GRIDS[1]))
    assert "shape=(5, 3)" in text and "seed=3" in text and "cells=37" in text and "'space-time'" in text


def test_two_seeds_and_two_kinds_are_different_paths():
    assert not torch.equal(make(seed=1)(0.1, 0.7).w, make(seed=2)(0.1, 0.7).w)
