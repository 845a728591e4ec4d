"""BrownianTree: a start, an end, and the calls that samplers of diffusion models make."""

import itertools
import math

import pytest
import torch

from nde.compat.torchsde import BrownianInterval, BrownianTree

F64 = torch.float64
SAMPLES = 200_000


def test_a_tree_runs_from_its_start_to_its_end():
    w0, w1 = torch.full((SAMPLES,), 0.5, dtype=F64), torch.full((SAMPLES,), -1.0, dtype=F64)
    tree = BrownianTree(0.0, w0, 2.0, w1, entropy=1)
    with pytest.warns(UserWarning, match="optimised for interval-based queries"):
        start, inside, end = (tree(torch.tensor(t)) for t in (0.0, 0.5, 2.0))
    assert torch.equal(start, w0)
    torch.testing.assert_close(end, w1, rtol=0, atol=1e-15)
    variance = 0.5 * 1.5 / 2
    assert abs(float(inside.mean()) - (0.5 - 1.5 / 4)) < 4.5 * math.sqrt(variance / SAMPLES)
    assert abs(float(inside.var()) / variance - 1) < 4.5 * math.sqrt(2 / SAMPLES)


def test_a_tree_is_the_interval_of_its_entropy_and_ends_one_later_by_default():
    tree = BrownianTree(1.0, torch.zeros(4, 2), entropy=5)
    bm = BrownianInterval(1.0, 2.0, (4, 2), entropy=5, tol=1e-6, halfway_tree=True, pool_size=24)
    assert torch.equal(tree(1.2, 1.9), bm(1.2, 1.9))
    w, u, a = tree(1.2, 1.9, return_U=True, return_A=True)
    assert torch.equal(w, bm(1.2, 1.9)) and u is None and a is None
    assert (tree.shape, tree.dtype, tree.levy_area_approximation) == ((4, 2), torch.float32, "none")
    assert repr(tree) == f"BrownianTree(interval={bm})"


class Sampler:
    """Noise as k-diffusion's ``BatchedBrownianTree`` and ``BrownianTreeNoiseSampler`` ask trees for it."""

    def __init__(self, x, sigma_min, sigma_max, seed):
        low, high, self.sign = self.sort(torch.as_tensor(sigma_min), torch.as_tensor(sigma_max))
        w0 = torch.zeros_like(x)
        self.batched = isinstance(seed, list)
        if self.batched:
            w0 = w0[0]
        self.trees = [
            BrownianTree(low.cpu(), w0.cpu(), high.cpu(), entropy=s) for s in (seed if self.batched else [seed])
        ]

    @staticmethod
    def sort(a, b):
        return (a, b, 1) if a < b else (b, a, -1)

    def __call__(self, sigma, sigma_next):
        low, high, sign = self.sort(torch.as_tensor(sigma), torch.as_tensor(sigma_next))
        parts = [tree(low.cpu().float(), high.cpu().float()).to(low.dtype).to(low.device) for tree in self.trees]
        w = torch.stack(parts) * (self.sign * sign)
        return (w if self.batched else w[0]) / (high - low).abs().sqrt()


SIGMAS = torch.tensor([14.614643, 9.2, 5.1, 2.3, 0.9, 0.3, 0.029168], dtype=torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_noise_of_images_is_white_and_independent_between_steps(dtype):
    x = torch.zeros(2, 4, 64, 64, dtype=dtype)
    sampler = Sampler(x, SIGMAS.min(), SIGMAS.max(), 2**63 - 2)
    noise = torch.stack([sampler(a, b) for a, b in itertools.pairwise(SIGMAS)])
    assert noise.shape == (6, *x.shape)
    flat = noise.double().flatten(1)
    off = flat @ flat.T / flat.shape[1] - torch.eye(6, dtype=F64)
    # float16 adds a relative rounding of 2 ** -11 to each number
    assert float(off.abs().max()) < 4.5 * math.sqrt(2 / flat.shape[1]) + (1e-3 if dtype == torch.float16 else 0)


def test_noise_of_a_half_step_is_consistent_with_that_of_the_whole_step():
    x = torch.zeros(1, 4, 8, 8)
    sampler = Sampler(x, SIGMAS.min(), SIGMAS.max(), 1234)
    for a, b in itertools.pairwise(SIGMAS):
        middle = (a * b).sqrt()
        whole = sampler(a, b) * (a - b).sqrt()
        halves = sampler(a, middle) * (a - middle).sqrt() + sampler(middle, b) * (middle - b).sqrt()
        # sums of increments of the size of sqrt(14), in float32
        torch.testing.assert_close(halves, whole, rtol=0, atol=1e-5)
        assert torch.equal(sampler(b, a), -sampler(a, b))


def test_an_image_has_the_noise_of_its_seed_in_every_batch():
    def one(seeds, x):
        return Sampler(x, SIGMAS.min(), SIGMAS.max(), seeds)(SIGMAS[2], SIGMAS[3])

    batch = one([7, 8, 9], torch.zeros(3, 4, 8, 8))
    assert torch.equal(batch[1], one([8], torch.zeros(1, 4, 8, 8))[0])
    assert torch.equal(batch[2], one(9, torch.zeros(4, 8, 8)))
    assert not torch.equal(batch[0], batch[1])


def test_a_span_of_no_length_gives_no_noise():
    tree = BrownianTree(torch.tensor(0.5), torch.zeros(1, 4, 2, 2), torch.tensor(0.5), entropy=1)
    assert not tree(0.5, 0.5).any()
