"""BrownianInterval: laws with and without given W and H, consistency of its answers, gradients, and special sizes."""

import copy
import itertools
import math
import pickle
import random

import numpy as np
import pytest
import torch

from nde.compat.torchsde import BrownianInterval, ReverseBrownian, brownian_interval_like

F64 = torch.float64
SAMPLES = 200_000


def within(value: float, expected: float, deviation: float) -> bool:
    """Whether a statistic lies within 4.5 standard deviations; the seeds are fixed."""
    return abs(value - expected) < 4.5 * deviation


def conditional_law(times: list[float], length: float, given: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return regression weights and covariance of (W, U) of ``[s, t]`` given W, H of ``[0, length]``.

    From covariances of Brownian motion and its integral, in a way that shares nothing with the code: on a fine grid of
    midpoints, exact for W and to 1e-6 for U.
    """
    s, t = times
    cells = 8000
    edges = np.linspace(0.0, length, cells + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    # functionals of dW as functions on the cells: W of a part is its indicator, U its (t - u) on the part
    inside = (middle > s) & (middle < t)
    functions = {
        "w": inside * 1.0,
        "u": inside * (t - middle),
        "W": np.ones(cells),
        "H": (length / 2 - middle) / length,
    }

    def covariance(rows: list[str], columns: list[str]) -> np.ndarray:
        return np.array([[(functions[r] * functions[c]).sum() * length / cells for c in columns] for r in rows])

    part = ["w", "u"]
    weights = covariance(part, given) @ np.linalg.inv(covariance(given, given))
    return weights, covariance(part, part) - weights @ covariance(given, part)


@pytest.mark.parametrize("given", [["W"], ["H"], ["W", "H"]])
@pytest.mark.parametrize("times", [[0.0, 0.6], [0.5, 1.2], [1.3, 2.0]])
def test_parts_of_an_interval_with_given_numbers_have_the_conditional_law(given, times):
    values = {"W": 1.7, "H": -0.6}
    numbers = {name: torch.full((SAMPLES,), values[name], dtype=F64) for name in given}
    bm = BrownianInterval(0.0, 2.0, entropy=5, levy_area_approximation="space-time", **numbers)
    answer = torch.stack(bm(*times, return_U=True)).numpy()
    weights, covariance = conditional_law(times, 2.0, given)
    for index, mean in enumerate(weights @ np.array([values[name] for name in given])):
        assert within(answer[index].mean(), mean, math.sqrt(covariance[index, index] / SAMPLES))
    sample = np.cov(answer)
    for i in range(2):
        for j in range(2):
            deviation = math.sqrt((covariance[i, i] * covariance[j, j] + covariance[i, j] ** 2) / SAMPLES)
            assert within(sample[i, j], covariance[i, j], deviation)


def test_h_is_heeded_where_only_increments_are_asked_for():
    h = torch.full((SAMPLES,), 0.8, dtype=F64)
    w = BrownianInterval(0.0, 1.0, entropy=1, H=h)(0.0, 0.5)
    weights, covariance = conditional_law([0.0, 0.5], 1.0, ["H"])
    assert within(float(w.mean()), 0.8 * weights[0, 0], math.sqrt(covariance[0, 0] / SAMPLES))
    assert within(float(w.var()), covariance[0, 0], covariance[0, 0] * math.sqrt(2 / SAMPLES))


@pytest.mark.parametrize("area", ["none", "space-time", "davie", "foster"])
def test_the_whole_interval_has_the_given_numbers_to_the_bit(area):
    w, h = torch.randn(2, 16, 3, dtype=F64)
    bm = BrownianInterval(0.3, 1.9, W=w, H=h, levy_area_approximation=area)
    found, u = bm(0.3, 1.9, return_U=True)
    assert torch.equal(found, w)
    if area == "none":
        assert u is None
    else:
        torch.testing.assert_close(u, 1.6 * (0.5 * w + h), rtol=1e-14, atol=0)


@pytest.mark.parametrize("area", ["davie", "foster"])
@pytest.mark.parametrize("given", [False, True])
def test_areas_have_their_law_given_increment_and_space_time_area(area, given):
    numbers = {"size": (SAMPLES, 2), "dtype": F64}
    if given:
        numbers = {
            "W": torch.tensor([1.0, -2.0], dtype=F64).expand(SAMPLES, 2),
            "H": torch.randn(SAMPLES, 2, dtype=F64),
        }
    bm = BrownianInterval(0.0, 2.0, entropy=3, levy_area_approximation=area, **numbers)
    w, u, a = bm(0.5, 1.7, return_U=True, return_A=True)
    assert torch.equal(a, -a.transpose(-1, -2))
    length = 1.2
    h = u / length - w / 2
    # Davie (2014): mean and variance; Foster (2020): the variance given h
    mean = h[:, 0] * w[:, 1] - w[:, 0] * h[:, 1]
    variance = length**2 / 12 if area == "davie" else length**2 / 20 + length / 5 * (h * h).sum(1)
    residual = (a[:, 0, 1] - mean) / (variance**0.5)
    assert within(float(residual.mean()), 0.0, 1 / math.sqrt(SAMPLES))
    assert within(float(residual.var()), 1.0, math.sqrt(2 / SAMPLES))
    assert within(float((residual * h[:, 0]).mean() / h[:, 0].std()), 0.0, 1 / math.sqrt(SAMPLES))


def make_all(area: str, **changes: object) -> list[BrownianInterval]:
    arguments = {"size": (8, 3), "dtype": F64, "entropy": 11, "levy_area_approximation": area, **changes}
    w, h = torch.randn(2, 8, 3, dtype=F64)
    return [
        BrownianInterval(0.0, 2.0, **arguments),
        BrownianInterval(0.0, 2.0, **arguments, dt=0.013),
        BrownianInterval(0.0, 2.0, **arguments, tol=1e-5, halfway_tree=True),
        BrownianInterval(0.0, 2.0, **arguments, W=w, H=h),
    ]


@pytest.mark.parametrize("area", ["none", "space-time", "davie", "foster"])
def test_an_answer_depends_on_the_interval_alone(area):
    generator = random.Random(4)
    pairs = [tuple(sorted((generator.uniform(0, 2), generator.uniform(0, 2)))) for _ in range(40)]
    asked = {"return_U": area != "none", "return_A": area in ("davie", "foster")}
    for bm in make_all(area):
        other = copy.deepcopy(bm)
        answers = {pair: bm(*pair, **asked) for pair in pairs}
        for pair in sorted(pairs, reverse=True):
            again = other(torch.tensor(pair[0], dtype=F64), np.float64(pair[1]), **asked)
            for one, two in zip(answers[pair], again, strict=True):
                assert torch.equal(one, two)


def test_answers_of_neighbouring_intervals_join():
    generator = random.Random(7)
    for bm in make_all("space-time"):
        for _ in range(20):
            a, b, c = sorted(generator.uniform(0, 2) for _ in range(3))
            (w1, u1), (w2, u2), (w, u) = (bm(*pair, return_U=True) for pair in ((a, b), (b, c), (a, c)))
            # with dt, times within 1e-6 of a step are one with it
            torch.testing.assert_close(w1 + w2, w, rtol=0, atol=1e-12)
            torch.testing.assert_close(u1 + u2 + (c - b) * w1, u, rtol=0, atol=1e-5 if bm.dt else 1e-11)


def test_u_is_the_time_integral_of_the_motion():
    bm = BrownianInterval(0.0, 1.0, (64,), F64, entropy=2, levy_area_approximation="space-time")
    _, u = bm(0.25, 0.75, return_U=True)
    steps = np.linspace(0.25, 0.75, 1025)
    path = torch.stack([bm(0.25, (a + b) / 2) for a, b in itertools.pairwise(steps)])
    # the midpoint rule errs by what the path does inside a step of 1/2048: deviation sqrt(0.5 / 12) / 2048
    assert float((path.mean(0) * 0.5 - u).abs().max()) < 5 * math.sqrt(0.5 / 12) / 2048


@pytest.mark.parametrize("changes", [{}, {"dt": 0.01}])
def test_increments_are_brownian(changes):
    bm = BrownianInterval(1.0, 2.0, (SAMPLES,), F64, entropy=9, **changes)
    cuts = [1.0, 1.003, 1.01, 1.3, 1.305, 2.0]
    scaled = torch.stack([bm(a, b) / math.sqrt(b - a) for a, b in itertools.pairwise(cuts)]).numpy()
    covariance = scaled @ scaled.T / SAMPLES
    for i in range(len(scaled)):
        assert within(scaled[i].mean(), 0.0, 1 / math.sqrt(SAMPLES))
        for j in range(len(scaled)):
            assert within(covariance[i, j], float(i == j), math.sqrt((1 + (i == j)) / SAMPLES))


def test_times_in_float32_are_the_steps_of_dt():
    bm = BrownianInterval(0.0, 1.0, (4, 2), F64, entropy=1, dt=1e-3)
    times = torch.arange(1001, dtype=torch.float32) * 1e-3
    for index in (0, 1, 333, 998, 999):
        expected = bm(index * 1e-3, (index + 1) * 1e-3)
        assert torch.equal(bm(times[index], times[index + 1]), expected)


def test_steps_that_do_not_divide_the_span_or_are_very_many():
    for dt, end in ((0.3, 1.0), (1e-7, 1.0), (5.0, 1.0)):
        bm = BrownianInterval(0.0, end, (3,), F64, entropy=1, dt=dt)
        torch.testing.assert_close(bm(0.0, 0.9) + bm(0.9, 0.95), bm(0.0, 0.95), rtol=0, atol=1e-12)


def test_gradients_reach_w_and_h():
    w, h = torch.randn(2, 4, 2, dtype=F64)

    def answers(w, h):
        bm = BrownianInterval(0.0, 1.0, entropy=4, W=w, H=h, levy_area_approximation="foster")
        return (*bm(0.2, 0.7, return_U=True, return_A=True), *bm(0.0, 1.0, return_U=True))

    assert torch.autograd.gradcheck(answers, (w.requires_grad_(), h.requires_grad_()))


def test_entropy_decides_the_motion():
    def value(entropy):
        return BrownianInterval(size=(5,), entropy=entropy)(0.1, 0.7)

    assert torch.equal(value(2**80 + 1), value(2**80 + 1))
    assert torch.equal(value([1, 2]), value((1, 2)))
    assert torch.equal(value(torch.tensor(7)), value(np.int64(7)))
    values = [value(entropy) for entropy in (0, 1, 2**80 + 1, (1, 2), (2, 1))]
    assert len({tuple(v.tolist()) for v in values}) == len(values)


def test_numpys_generator_decides_the_motion_without_an_entropy():
    state = np.random.get_state()  # noqa: NPY002 - torchsde's source of entropy
    try:
        entropies = []
        for seed in (3, 3, 4):
            np.random.seed(seed)  # noqa: NPY002
            entropies.append(BrownianInterval(size=(2,)).entropy)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    assert entropies[0] == entropies[1] != entropies[2]


@pytest.mark.parametrize("area", ["none", "space-time", "davie", "foster"])
@pytest.mark.parametrize("size", [(), (5,), (5, 1), (5, 3), (2, 3, 4), (0,), (0, 3), (5, 0)])
def test_answers_have_the_shapes_of_every_size(area, size):
    area_shape = (*size, size[-1]) if len(size) > 1 else size
    for end, times in ((1.0, (0.25, 0.5)), (1.0, (0.5, 0.5)), (1.0, (0.0, 1.0)), (0.0, (0.0, 0.0))):
        bm = BrownianInterval(0.0, end, size, levy_area_approximation=area)
        w, u, a = bm(*times, return_U=True, return_A=True)
        assert w.shape == size
        assert (u is None) == (area == "none")
        assert u is None or u.shape == size
        assert (a is None) == (area not in ("davie", "foster"))
        assert a is None or a.shape == area_shape
        if times[0] == times[1]:
            assert all(not x.any() for x in (w, u, a) if x is not None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded(dtype):
    w, h = torch.randn(2, 6, 2).to(dtype)
    for given in ({"size": (6, 2)}, {"W": w, "H": h}):
        arguments = {"entropy": 1, "levy_area_approximation": "foster"}
        half = BrownianInterval(0.0, 1.0, dtype=dtype, **arguments, **given)
        single = {name: value if name == "size" else value.float() for name, value in given.items()}
        full = BrownianInterval(0.0, 1.0, dtype=torch.float32, **arguments, **single)
        answers = (bm(0.2, 0.6, return_U=True, return_A=True) for bm in (half, full))
        for index, (one, two) in enumerate(zip(*answers, strict=True)):
            assert one.dtype == dtype
            if index != 1:  # U is put together in half precision
                assert torch.equal(one, two.to(dtype))


def test_writing_to_an_answer_does_not_change_the_next():
    bm = BrownianInterval(0.0, 1.0, (4, 3), F64, entropy=1, dt=0.1)
    first = bm(0.1, 0.2).clone()
    bm(0.1, 0.2).zero_()
    assert torch.equal(bm(0.1, 0.2), first)


def test_a_motion_can_be_pickled_and_copied():
    for bm in make_all("foster"):
        bm(0.0, 0.3)
        for twin in (pickle.loads(pickle.dumps(bm)), copy.deepcopy(bm)):
            assert torch.equal(twin(0.2, 0.9), bm(0.2, 0.9))


def test_the_reversed_motion_is_asked_with_times_of_the_opposite_sign():
    bm = BrownianInterval(0.0, 1.0, (4, 3), F64, entropy=1, levy_area_approximation="foster")
    back = ReverseBrownian(bm)
    for one, two in zip(back(-0.7, -0.2, True, True), bm(0.2, 0.7, True, True), strict=True):
        assert torch.equal(one, two)
    assert (back.shape, back.size(), back.dtype, back.device) == (bm.shape, bm.size(), bm.dtype, bm.device)
    assert back.levy_area_approximation == "foster"
    assert back.base_brownian is bm
    with pytest.raises(TypeError, match="tb must be given"):
        back(-0.5)


def test_brownian_interval_like_takes_after_a_tensor():
    y = torch.zeros(4, 3, dtype=F64)
    bm = brownian_interval_like(y, t1=2.0, entropy=6, levy_area_approximation="space-time")
    assert (bm.shape, bm.dtype, bm.device, bm.entropy) == ((4, 3), F64, y.device, 6)
    assert torch.equal(
        bm(0.5, 1.5), BrownianInterval(0.0, 2.0, (4, 3), F64, entropy=6, levy_area_approximation="space-time")(0.5, 1.5)
    )
    assert brownian_interval_like(y, size=(2,), dtype=torch.float32)(0.0, 1.0).shape == (2,)


def test_the_tree_shown_is_that_of_the_steps(capsys):
    BrownianInterval(0.0, 1.0, (2,), dt=0.5).display_binary_tree()
    assert capsys.readouterr().out == "(0.0, 1.0)\n (0.0, 0.5)\n (0.5, 1.0)\n"
