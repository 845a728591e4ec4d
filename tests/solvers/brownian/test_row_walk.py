"""The path that rows draw as they ask for it, each at its own times: its law under cuts, and replays."""

import numpy as np
import pytest
import torch
from scipy import stats

from nde.solvers.brownian import RowWalk
from nde.solvers.brownian.chen import join, join_weights

SAMPLES = 20_000
VARIANCES = (1.0, 1 / 12, 1 / 720)
AREAS = ["none", "space-time", "space-time-time"]


def walk(levy_area="none", rows=5, columns=(3,), spans=None, seed=7, dtype=torch.float64):
    spans = [(0.0, 2.0)] * rows if spans is None else spans
    shape = (len(spans), *columns)
    return RowWalk(spans, shape, seed=seed, levy_area=levy_area, dtype=dtype, device=torch.device("cpu"))


def numbers(increment):
    return [value for value in (increment.w, increment.h, increment.k) if value is not None]


def equal(one, other, places=slice(None)):
    return all(torch.equal(a, b[places]) for a, b in zip(numbers(one), numbers(other), strict=True))


class Stepping:
    """Steps of random sizes that are accepted at random: a solver without an equation."""

    def __init__(self, path, rows, ends, longest, seed=0, attempts=400):
        generator = np.random.default_rng(seed)
        t, last = np.zeros(rows), np.full(rows, np.nan)
        self.asked, self.steps = [], []
        for _ in range(attempts):
            # after a rejection, a shorter step; drawn for all rows, so that each row's are its own
            sizes, coins = generator.uniform(0.1, 1.0, (2, rows))
            end = np.where(np.isnan(last), t + longest * sizes, t + (last - t) * sizes)
            end = np.minimum(end, ends)
            at_work = np.flatnonzero(t < ends)
            if not at_work.size:
                break
            found = path.between(at_work, t[at_work], end[at_work])
            self.asked.append((at_work, t[at_work], end[at_work], found))
            accept = (coins > 0.5) & (t < ends)
            self.steps.append((np.flatnonzero(accept), t[accept], end[accept]))
            t, last = np.where(accept, end, t), np.where(accept, np.nan, end)


@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("levy_area", AREAS)
def test_steps_after_rejections_are_independent_with_the_right_variances(levy_area, halves):
    path, rows = walk(levy_area, SAMPLES, ()), np.arange(SAMPLES)
    generator = np.random.default_rng(1)
    whitened, t = [], np.zeros(SAMPLES)
    for rejections in (2, 0, 1, 3):
        # each row at times of its own: proposals that reach over remainders and beyond, cut, and cut again
        end = t + generator.uniform(0.1, 0.7, SAMPLES)
        for _ in range(rejections):
            path.between(rows, t, end)
            if halves:
                path.between(rows, t, 0.5 * (t + end))
                path.between(rows, 0.5 * (t + end), end)
            end = t + (end - t) * generator.uniform(0.2, 0.9, SAMPLES)
        found = path.between(rows, t, end)
        for value, part in zip(numbers(found), VARIANCES, strict=False):
            whitened.append(value / torch.from_numpy((end - t) * part).sqrt())
        t = end
    found = torch.stack(whitened)
    covariance = found @ found.T / SAMPLES
    # entries have standard deviations of (1 + diagonal) / SAMPLES; 4.5 of them in some hundred entries: 1 in 1,000
    excess = (covariance - torch.eye(len(found))).abs() / (1 + torch.eye(len(found))).sqrt()
    assert excess.max() < 4.5 / SAMPLES**0.5
    for row in found.numpy():
        assert stats.kstest(row, "norm").pvalue > 1e-4


def test_rejections_that_depend_on_the_noise_leave_its_law_as_it_is():
    # steps with large increments are rejected, as a solver's are; the sum of what was accepted is W(1) all the same
    path, t, total = walk("space-time", SAMPLES, ()), np.zeros(SAMPLES), torch.zeros(SAMPLES, dtype=torch.float64)
    end, rejected = np.full(SAMPLES, 0.6), 0
    while (t < 1.0).any():
        rows = np.flatnonzero(t < 1.0)
        found = path.between(rows, t[rows], end[rows])
        accept = (found.w.numpy() < 0.4) & (found.h.numpy() < 0.1) | (end[rows] - t[rows] < 0.05)
        rejected += int((~accept).sum())
        done = rows[accept]
        total[done] += found.w[torch.from_numpy(accept)]
        size = end - t
        t[done] = end[done]
        size[rows] *= np.where(accept, 2.0, 0.4)
        end = np.minimum(t + size, 1.0)
    assert rejected > SAMPLES / 2
    assert stats.kstest(total.numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("levy_area", AREAS)
def test_the_parts_of_cuts_join_to_what_the_whole_was(levy_area):
    path = walk(levy_area)
    begin, whole_end = np.zeros(5), np.linspace(1.0, 2.0, 5)
    whole = path.between(None, begin, whole_end)
    rows = np.array([1, 2, 4])
    cuts = [begin, 0.3 * whole_end, 0.55 * whole_end, 0.9 * whole_end, whole_end]
    path.between(rows, begin[rows], cuts[2][rows])
    # the inner ones of them, before those that begin where the path does
    path.between(rows, cuts[1][rows], cuts[3][rows])
    parts, reached = None, begin
    for stop in cuts[1:]:
        found = [value[:, None] for value in numbers(path.between(None, reached, stop))]
        fraction = torch.from_numpy(reached / stop).view(-1, 1, 1)
        parts = found if parts is None else join(parts, found, join_weights(fraction, len(found)))
        reached = stop
    for value, expected in zip(parts, numbers(whole), strict=True):
        torch.testing.assert_close(value[:, 0], expected, rtol=1e-12, atol=1e-12)
    assert equal(path.between(None, begin, whole_end), whole)


@pytest.mark.parametrize("levy_area", AREAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_was_asked_is_drawn_again_to_the_last_bit_in_either_order(levy_area, dtype):
    path = walk(levy_area, 6, dtype=dtype)
    run = Stepping(path, 6, np.linspace(1.0, 2.0, 6), longest=0.05)
    assert len(run.asked) > 100
    # most of the numbers are not there any more
    for rows, s, t, found in (*run.asked[::-1], *run.asked, *run.asked[::7]):
        assert equal(path.between(rows, s, t), found)
    # what was accepted alone, as a replay asks
    known = {
        (row, *ends): i
        for i, (rows, *times, _) in enumerate(run.asked)
        for row, *ends in zip(rows, *times, strict=True)
    }
    for rows, s, t in run.steps[::-1]:
        if rows.size:
            again = path.between(rows, s, t)
            for place, key in enumerate(zip(rows, s, t, strict=True)):
                at_work, _, _, found = run.asked[known[key]]
                assert torch.equal(again.w[place], found.w[np.searchsorted(at_work, key[0])])


def test_thousands_of_queries_can_be_drawn_again():
    path = walk("space-time", 3)
    run = Stepping(path, 3, np.full(3, 2.0), longest=0.003, attempts=4_000)
    assert len(run.asked) > 2_500
    for rows, s, t, found in run.asked[::-1]:
        assert equal(path.between(rows, s, t), found)


def test_thousands_of_queries_can_be_drawn_again_behind_one_that_went_back():
    path, begin, t = walk("space-time", 2), np.zeros(2), 0.0
    found = []
    for number in range(1_200):
        s, t = t, t + 0.0015
        found.append((np.full(2, s), np.full(2, t), path.between(None, np.full(2, s), np.full(2, t))))
        if number == 40:
            found.append((begin + 0.01, begin + 0.02, path.between(None, begin + 0.01, begin + 0.02)))
    for s, t, increment in found[::-1]:
        assert equal(path.between(None, s, t), increment)


@pytest.mark.parametrize("levy_area", AREAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_numbers_of_a_row_depend_on_its_own_queries_alone(levy_area, dtype):
    together = Stepping(walk(levy_area, 6, dtype=dtype), 6, np.linspace(1.0, 2.0, 6), longest=0.2)
    for row in (0, 3):
        path = walk(levy_area, 6, dtype=dtype)
        for rows, s, t, found in together.asked:
            place = np.flatnonzero(rows == row)
            if place.size:
                assert equal(path.between(rows[place], s[place], t[place]), found, place)


def test_steps_of_two_halves_can_be_tried_again_from_what_is_at_hand(monkeypatch):
    monkeypatch.setattr(RowWalk, "_keep_all", lambda *_: pytest.fail("the whole path was drawn again"))
    path, t = walk("space-time", 2), np.zeros(2)
    for size in (0.1, 0.04, 0.2):
        for length in (2 * size, size):
            middle, end = t + 0.5 * length, t + length
            halves = path.between(None, t, middle), path.between(None, middle, end)
        whole = path.between(None, t, end)
        torch.testing.assert_close(halves[0].w + halves[1].w, whole.w, rtol=1e-12, atol=1e-12)
        t = end


def test_times_behind_the_last_steps_can_be_asked_for():
    path = walk("space-time", 4)
    run = Stepping(path, 4, np.full(4, 2.0), longest=0.1)
    whole = path.between(None, np.zeros(4), np.full(4, 1.234))
    middle = np.linspace(0.2, 1.1, 4)
    before, after = path.between(None, np.zeros(4), middle), path.between(None, middle, np.full(4, 1.234))
    torch.testing.assert_close(before.w + after.w, whole.w, rtol=1e-12, atol=1e-12)
    # beside these new cuts, all is as it was, and a later replay meets the cuts too
    for rows, s, t, found in run.asked[::-1]:
        assert equal(path.between(rows, s, t), found)
    assert equal(path.between(None, np.zeros(4), middle), before)
    assert equal(path.between(np.array([1, 3]), middle[[1, 3]], np.full(2, 1.234)), after, [1, 3])


def test_increments_behind_the_last_steps_have_the_law_of_bridges():
    path = walk("none", SAMPLES, ())
    rows = np.arange(SAMPLES)
    for s, t in ((0.0, 0.5), (0.5, 0.9), (0.9, 1.5), (1.5, 2.0)):
        path.between(rows, np.full(SAMPLES, s), np.full(SAMPLES, t))
    whitened = []
    for s, t in ((0.2, 0.5), (0.0, 0.2), (0.5, 0.7), (0.7, 1.1), (1.1, 1.5)):
        whitened.append(path.between(rows, np.full(SAMPLES, s), np.full(SAMPLES, t)).w / (t - s) ** 0.5)
    covariance = torch.stack(whitened) @ torch.stack(whitened).T / SAMPLES
    excess = (covariance - torch.eye(5)).abs() / (1 + torch.eye(5)).sqrt()
    assert excess.max() < 4.5 / SAMPLES**0.5


def test_rows_have_their_own_spans_and_directions():
    spans = [(0.0, 2.0), (3.0, 1.0), (-1.0, 5.0), (2.0, 0.0)]
    path = walk("space-time-time", spans=spans)
    begin, end = np.array(spans).T
    middle = 0.6 * begin + 0.4 * end
    forth = path.between(None, begin, middle)
    back = path.between(None, middle, begin)
    assert torch.equal(back.w, -forth.w) and torch.equal(back.h, forth.h) and torch.equal(back.k, -forth.k)
    # some of the rows the one way, some the other
    turn = np.array([True, False, True, False])
    mixed = path.between(None, np.where(turn, middle, begin), np.where(turn, begin, middle))
    assert torch.equal(mixed.w, torch.where(torch.from_numpy(turn)[:, None], -forth.w, forth.w))


def test_times_that_differ_by_rounding_are_one_time_and_intervals_may_be_empty():
    path = walk("space-time", 2)
    found = path.between(None, np.array([0.0, 0.1 + 0.2]), np.array([0.5, 1.0]))
    assert torch.equal(path.between(np.array([1]), np.array([0.3]), np.array([1.0])).w, found.w[1:])
    mixed = path.between(None, np.array([0.5, 0.3]), np.array([0.5, 0.7]))
    assert not mixed.w[0].any() and not mixed.h[0].any() and bool(mixed.w[1].all())
    assert torch.equal(path.between(np.array([1]), np.array([0.3]), np.array([0.7])).w, mixed.w[1:])


def test_a_time_before_the_beginning_of_a_row_is_refused():
    path = walk(rows=2)
    with pytest.raises(ValueError, match="row 1 begins at 0, but was asked for an earlier time"):
        path.between(None, np.array([0.0, -0.5]), np.array([1.0, 1.0]))


def test_all_rows_can_be_asked_as_other_paths_are():
    one, other = walk("space-time", 3), walk("space-time", 3)
    found = one(0.25, torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64))
    assert equal(other.between(None, np.full(3, 0.25), np.array([0.5, 1.0, 1.5])), found)
    assert not equal(walk("space-time", 3, seed=8)(0.25, 0.5), walk("space-time", 3)(0.25, 0.5))
