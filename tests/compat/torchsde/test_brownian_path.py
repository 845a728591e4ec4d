"""BrownianPath: Brownian motion without an end."""

import itertools
import math
import random

import pytest
import torch

from nde.compat.torchsde import BrownianPath

F64 = torch.float64
SAMPLES = 200_000
# the ends of the first cells, times on them and far away, on both sides of t0 = 1
CUTS = [-1000.0, -3.0, -1.0, 0.0, 0.4, 1.0, 1.7, 2.0, 3.0, 3.5, 5.0, 1000.0]


def test_increments_are_brownian_on_both_sides_of_the_start():
    bm = BrownianPath(1.0, torch.zeros(SAMPLES, dtype=F64))
    scaled = torch.stack([bm(a, b) / math.sqrt(b - a) for a, b in itertools.pairwise(CUTS)])
    bound = 4.5 / math.sqrt(SAMPLES)
    assert float(scaled.mean(1).abs().max()) < bound
    off = scaled @ scaled.T / SAMPLES - torch.eye(len(scaled), dtype=F64)
    assert float(off.abs().max()) < math.sqrt(2) * bound


def test_increments_join_across_cells_and_do_not_depend_on_the_order():
    bm = BrownianPath(1.0, torch.zeros(5, dtype=F64))
    pairs = list(itertools.combinations(CUTS, 2))
    answers = {pair: bm(*pair) for pair in pairs}
    random.Random(0).shuffle(pairs)
    for pair in pairs:
        assert torch.equal(bm(*pair), answers[pair])
    for a, b, c in itertools.combinations(CUTS, 3):
        torch.testing.assert_close(answers[a, b] + answers[b, c], answers[a, c], rtol=0, atol=1e-11)


def test_a_value_is_the_start_plus_the_increment():
    w0 = torch.randn(4, 2, dtype=F64, requires_grad=True)
    bm = BrownianPath(t0=torch.tensor(1.0), w0=w0)
    with pytest.warns(UserWarning, match="optimised for interval-based queries"):
        values = {t: bm(torch.tensor(t, dtype=F64)) for t in (-2.0, 1.0, 1.5, 6.0)}
    assert torch.equal(values[1.0], w0)
    torch.testing.assert_close(values[6.0], w0 + bm(1.0, 6.0), rtol=0, atol=1e-14)
    torch.testing.assert_close(values[-2.0], w0 - bm(-2.0, 1.0), rtol=0, atol=1e-14)
    (gradient,) = torch.autograd.grad(values[1.5].sum(), w0)
    assert torch.equal(gradient, torch.ones_like(w0))


def test_only_increments_are_known():
    bm = BrownianPath(0.0, torch.zeros(3, dtype=F64))
    w, u, a = bm(0.0, 0.5, return_U=True, return_A=True)
    assert torch.equal(w, bm(0.0, 0.5)) and u is None and a is None
    assert bm(0.0, 0.5, return_U=True)[1] is None and bm(0.0, 0.5, return_A=True)[1] is None
    assert bm.levy_area_approximation == "none"
    assert not bm(0.5, 0.5).any()


@pytest.mark.parametrize(
    ("shape", "dtype"), [((), F64), ((0, 2), F64), ((2, 3, 4), torch.float32), ((3,), torch.bfloat16)]
)
def test_increments_have_the_shape_and_dtype_of_the_start(shape, dtype):
    bm = BrownianPath(0.0, torch.zeros(shape, dtype=dtype))
    assert (bm.shape, bm.size(), bm.dtype, bm.device.type) == (shape, shape, dtype, "cpu")
    for times in ((0.5, 3.0), (-1.0, 0.1), (1.0, 1.0)):
        assert (bm(*times).shape, bm(*times).dtype) == (shape, dtype)
    assert repr(bm).startswith(f"BrownianPath(t0=0.000, size={shape}, dtype={dtype}")


def test_bad_arguments_are_named():
    bm = BrownianPath(0.0, torch.zeros(2))
    with pytest.raises(RuntimeError, match="t must not be after tb"):
        bm(1.0, 0.5)
    with pytest.raises(ValueError, match="tb must be finite"):
        bm(1.0, math.inf)
    with pytest.raises(TypeError, match="w0 must be a tensor"):
        BrownianPath(0.0, 1.0)
    with pytest.raises(ValueError, match="w0 must be a floating-point tensor"):
        BrownianPath(0.0, torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match="t0 must be a number"):
        BrownianPath("now", torch.zeros(2))
