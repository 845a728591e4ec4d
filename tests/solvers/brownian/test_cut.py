"""The closed form of a Brownian bridge's cut, against the identities that define it."""

import numpy as np
import pytest

from nde.solvers.brownian.chen import join, join_weights
from nde.solvers.brownian.cut import VARIANCES, cut_weights

CUTS = [1e-9, 0.01, 0.3, 0.5, 0.77, 0.999, 1 - 1e-9]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("cut", CUTS)
def test_parts_join_to_the_whole_and_vary_freely_in_what_is_orthogonal_to_it(count, cut):
    left, right = 1.7 * cut, 1.7 * (1 - cut)
    weights = cut_weights(left, right, count)
    # the parts are the weights times independent numbers: the whole's, and fresh ones of variance 1
    variances = np.array(VARIANCES[:count])
    given = weights * np.concatenate([np.sqrt(1.7 * variances), np.ones(count)])
    parts = np.concatenate([left * variances, right * variances])
    whitened = given / np.sqrt(parts)[:, None]
    np.testing.assert_allclose(whitened @ whitened.T, np.eye(2 * count), atol=2e-15)
    joined = np.stack(join(list(weights[:count]), list(weights[count:]), join_weights(left / (left + right), count)))
    np.testing.assert_allclose(joined, np.eye(count, 2 * count), atol=3e-15)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_many_cuts_at_once_are_each_one_by_itself_to_the_last_bit(count):
    left, right = np.array(CUTS), np.linspace(0.2, 3.0, len(CUTS))
    together = cut_weights(left, right, count)
    for place, parts in enumerate(zip(left, right, strict=True)):
        assert np.array_equal(together[..., place], cut_weights(*parts, count))
