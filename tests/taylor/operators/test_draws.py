"""Random directions have the laws that the estimators assume."""

import itertools

import pytest
import torch

from nde.taylor.operators import draw_directions

LIKE = torch.zeros((), dtype=torch.float64)


def quadratic(draw, matrix):
    """The estimate of tr(matrix) of each group."""
    if draw.vectors is None:
        values = matrix.diagonal()[draw.indices]
    else:
        values = torch.einsum("vi,ij,vj->v", draw.vectors, matrix, draw.vectors)
    return values.reshape(draw.groups, -1).sum(1) * draw.scale


def symmetric(size, seed=0):
    matrix = torch.randn(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return matrix + matrix.T


# what docs/estimators.md states: the variance of the estimate of tr(H)
def predicted_variance(law, matrix, samples):
    d = matrix.shape[0]
    diagonal = matrix.diagonal()
    total = matrix.square().sum()
    if law == "sparse":
        return d**2 / samples * (1 - samples / d) * diagonal.var()
    if law == "rademacher":
        return 2 / samples * (total - diagonal.square().sum())
    if law == "gaussian":
        return 2 / samples * total
    deviator = total - matrix.trace().square() / d
    return 2 / samples * d * (d - samples) / ((d - 1) * (d + 2)) * deviator


@pytest.mark.parametrize("law", ["sparse", "rademacher", "gaussian", "orthogonal"])
def test_estimates_are_unbiased_with_the_variance_that_is_stated(law):
    matrix = symmetric(6)
    generator = torch.Generator().manual_seed(1)
    draws = 3000
    values = torch.stack([quadratic(draw_directions(law, 6, 3, 1, LIKE, generator), matrix) for _ in range(draws)])
    error = (values.mean() - matrix.trace()).abs()
    assert error < 4 * values.std() / draws**0.5
    # the standard error of a sample variance, from the fourth moment of the sample itself
    centred = (values - values.mean()).square()
    assert (values.var() - predicted_variance(law, matrix, 3)).abs() < 4 * centred.std() / draws**0.5


def test_every_subset_is_drawn_equally_often_and_their_mean_is_exact():
    generator = torch.Generator().manual_seed(2)
    draws = 3000
    counts = dict.fromkeys(itertools.combinations(range(5), 2), 0)
    for _ in range(draws):
        counts[tuple(sorted(draw_directions("sparse", 5, 2, 1, LIKE, generator).indices.tolist()))] += 1
    expected = draws / len(counts)
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_squared < 27.9  # the 0.999 quantile with 9 degrees of freedom


def test_groups_of_sparse_draws_are_disjoint_and_in_random_order():
    generator = torch.Generator().manual_seed(3)
    first = torch.zeros(6)
    for _ in range(3000):
        indices = draw_directions("sparse", 6, 4, 2, LIKE, generator).indices
        assert len(set(indices.tolist())) == 4
        first[indices[0]] += 1
    assert ((first - 500).abs() < 4 * (3000 * 5 / 36) ** 0.5).all()


def test_orthogonal_groups_are_orthogonal_inside_and_rotate_freely():
    draw = draw_directions("orthogonal", 5, 6, 2, LIKE, torch.Generator().manual_seed(4))
    gram = draw.vectors[:3] @ draw.vectors[:3].T
    torch.testing.assert_close(gram, 5 * torch.eye(3, dtype=torch.float64))
    assert (draw.vectors[:3] @ draw.vectors[3:].T).abs().max() > 0.1
    more = draw_directions("orthogonal", 3, 5, 1, LIKE, torch.Generator().manual_seed(5)).vectors
    torch.testing.assert_close(more[:3] @ more[:3].T, 3 * torch.eye(3, dtype=torch.float64))


def test_all_directions_of_an_orthogonal_set_give_the_exact_trace():
    matrix = symmetric(7)
    draw = draw_directions("orthogonal", 7, 7, 1, LIKE, torch.Generator().manual_seed(6))
    torch.testing.assert_close(quadratic(draw, matrix), matrix.trace().reshape(1))


def test_a_million_columns_are_drawn_from_without_listing_them():
    draw = draw_directions("sparse", 10**12, 1000, 1, LIKE, torch.Generator().manual_seed(7))
    assert draw.indices.unique().numel() == 1000
    assert draw.indices.double().mean() / 10**12 == pytest.approx(0.5, abs=4 * (1 / 12 / 1000) ** 0.5)


def test_equal_seeds_give_equal_draws():
    for law in ("sparse", "rademacher", "gaussian", "orthogonal"):
        first, second = (draw_directions(law, 9, 4, 2, LIKE, torch.Generator().manual_seed(8)) for _ in range(2))
        left = first.indices if first.vectors is None else first.vectors
        right = second.indices if second.vectors is None else second.vectors
        torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_bad_counts_are_named():
    with pytest.raises(ValueError, match="without replacement from 5"):
        draw_directions("sparse", 5, 6, 1, LIKE)
    with pytest.raises(ValueError, match="multiple of groups"):
        draw_directions("gaussian", 5, 3, 2, LIKE)
    with pytest.raises(ValueError, match="samples must be at least 1"):
        draw_directions("gaussian", 5, 0, 1, LIKE)
    with pytest.raises(TypeError, match="whole number"):
        draw_directions("gaussian", 5, 2.0, 1, LIKE)
