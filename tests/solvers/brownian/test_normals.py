"""The counter-based normal numbers: their law, and that they depend on key, row and column alone."""

import numpy as np
import pytest
import torch
from scipy import stats

from nde.solvers.brownian.keys import cell_key, cell_keys, mix_, mix_host, node_keys, seed_key, signed
from nde.solvers.brownian.normals import Normals

CPU = torch.device("cpu")


def keys(count, seed=0):
    return cell_keys(seed_key(seed), torch.arange(count))


def draw(rows, columns, count=1, seed=0, dtype=torch.float64, selection=None):
    return Normals(rows, columns, selection, dtype, CPU).draw(keys(count, seed))


def test_the_host_s_hash_equals_the_tensors_hash():
    words = torch.randint(-(2**63), 2**63 - 1, (1000,))
    hashed = [signed(mix_host(word)) for word in words.tolist()]
    assert mix_(words.clone(), torch.empty_like(words)).tolist() == hashed
    assert cell_keys(seed_key(5), torch.arange(50)).tolist() == [cell_key(seed_key(5), cell) for cell in range(50)]


def test_the_hash_is_that_of_splitmix64():
    # the first outputs of the published generator from the state 0: the finaliser at multiples of the golden ratio
    golden = 0x9E3779B97F4A7C15
    assert [mix_host(golden * k) for k in (1, 2, 3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_a_node_s_key_does_not_depend_on_how_many_are_asked_for():
    places = torch.arange(64)
    together = node_keys(cell_keys(seed_key(1), torch.arange(3)).unsqueeze(1), places)
    alone = [
        [node_keys(cell_key(seed_key(1), cell), torch.tensor([place])).item() for place in range(64)]
        for cell in range(3)
    ]
    assert together.tolist() == alone


def test_seeds_of_any_size_and_sign_have_keys_of_their_own():
    seeds = [0, 1, -1, 2**63, 2**64, 2**64 + 1, -(2**64), 2**128, 2**200 + 1]
    assert len({seed_key(seed) for seed in seeds}) == len(seeds)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "columns", "count"), [(1000, 64, 4), (3, 1, 80_000)])
def test_the_numbers_are_standard_normal(rows, columns, count, dtype):
    sample = draw(rows, columns, count, dtype=dtype).double().flatten().numpy()
    # fixed seeds: these are p-values of single draws, far from what a wrong law would give (1e-100)
    assert stats.kstest(sample, "norm").pvalue > 1e-3
    assert abs(sample.mean()) < 4 / len(sample) ** 0.5
    assert abs((sample**2).mean() - 1) < 4 * (2 / len(sample)) ** 0.5
    assert abs((sample**4).mean() - 3) < 4 * (96 / len(sample)) ** 0.5


def test_the_tails_are_those_of_the_normal_law():
    sample = draw(1000, 1000, 4, dtype=torch.float32).abs().flatten()
    for bound in (3.0, 4.0, 4.5):
        expected = 2 * stats.norm.sf(bound) * sample.numel()
        assert abs(int((sample > bound).sum()) - expected) < 4 * expected**0.5
    large = sample[sample > 3].double().numpy()
    tail = stats.uniform(0, 1).cdf(stats.norm.sf(large) / stats.norm.sf(3.0))
    assert stats.kstest(tail, "uniform").pvalue > 1e-3
    small = sample[sample < 0.01].double().numpy()
    assert stats.kstest(small / 0.01, "uniform").pvalue > 1e-3  # the density is flat there to 5e-5


def test_float32_and_float64_are_the_same_numbers_up_to_rounding():
    difference = draw(100, 10, 5, dtype=torch.float32).double() - draw(100, 10, 5)
    # an angle of up to pi, rounded to 2e-7, times a radius of up to 5
    assert difference.abs().max() < 5e-6


def test_neighbouring_keys_rows_and_columns_are_not_correlated():
    sample = draw(256, 64, 64)
    for shift in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 32, 0), (0, 128, 0), (0, 0, 32)):
        moved = sample.roll(shift, (0, 1, 2))
        for power in (1, 2):  # squares as well: a radius that two numbers share would show there
            one, other = sample**power - (power - 1), moved**power - (power - 1)
            bound = 4 * (2.0 ** (power - 1)) / sample.numel() ** 0.5
            assert abs(float((one * other).mean())) < bound, (shift, power)


def test_the_two_numbers_of_a_hash_are_independent():
    sample = draw(100_000, 2)[0].flatten()
    cosine, sine = sample[:100_000], sample[100_000:]
    assert abs(float((cosine * sine).mean())) < 4 / 100_000**0.5
    assert abs(float(((cosine**2 - 1) * (sine**2 - 1)).mean())) < 8 / 100_000**0.5
    assert stats.kstest(torch.atan2(sine, cosine).numpy() / np.pi, stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_two_seeds_differ_and_are_not_correlated():
    one, other = draw(1000, 50, seed=1), draw(1000, 50, seed=2)
    assert not torch.equal(one, other)
    assert abs(float((one * other).mean())) < 4 / one.numel() ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("columns", [1, 3, 16])
def test_selected_rows_have_the_numbers_that_they_have_in_the_whole(columns, dtype):
    whole = draw(101, columns, 7, dtype=dtype)
    for selection in ([0], [100], [50], range(40, 60), [99, 3, 3, 51]):
        chosen = torch.tensor(list(selection))
        assert torch.equal(draw(101, columns, 7, dtype=dtype, selection=chosen), whole[:, chosen])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_key_per_row_gives_each_row_what_its_key_gives(dtype):
    row_keys = keys(2 * 33).view(2, 33)
    for selection in (None, torch.arange(5, 20)):
        normals = Normals(33, 5, selection, dtype, CPU)
        rows = torch.arange(33) if selection is None else selection
        drawn = normals.draw(row_keys[:, rows])
        for position, row in enumerate(rows.tolist()):
            assert torch.equal(drawn[:, position], normals.draw(row_keys[:, row])[:, position])


def test_numbers_do_not_depend_on_what_is_drawn_in_the_same_call():
    together = draw(700, 64, 9)  # several blocks
    normals = Normals(700, 64, None, torch.float64, CPU)
    assert all(torch.equal(normals.draw(keys(9)[index : index + 1])[0], together[index]) for index in range(9))
