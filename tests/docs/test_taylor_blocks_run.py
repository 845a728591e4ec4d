"""The Python blocks of the page on Taylor mode are run as they stand, and say what they claim."""

import pytest
import torch

from nde.taylor.registry import RULES
from tests.docs.test_code_in_documents_runs import blocks


@pytest.fixture
def names():
    kept = dict(RULES)
    torch.manual_seed(0)
    found = {}
    for block in blocks("docs/taylor.md"):
        exec(block, found)
    yield found
    RULES.clear()
    RULES.update(kept)


def test_the_blocks_compute_what_the_page_says(names):
    x = torch.linspace(0.0, 1.0, 5, dtype=torch.float64)
    s, c = x.sin(), x.cos()
    # the fourth derivative of exp(sin x), written out
    exact = s.exp() * (c**4 - 6 * s * c**2 - 4 * c**2 + 3 * s**2 + s)
    torch.testing.assert_close(names["fourth"], exact)
    assert names["diagonal"].shape == (6, 100, 1)
    assert names["laplacian"].shape == (100, 1)
    assert all(parameter.grad is not None for parameter in names["network"].parameters())

    field, plane = names["field"], names["plane"]
    hessians = torch.func.vmap(torch.func.hessian(lambda z: field(z)[0]))(plane)
    slopes = torch.func.vmap(torch.func.grad(lambda z: field(z)[0]))(plane)
    exact = hessians[:, 0, 0] - 3 * hessians[:, 1, 1] + 2 * slopes[:, 0]
    torch.testing.assert_close(names["operator"][:, 0], exact, rtol=1e-4, atol=1e-5)
    assert names["biharmonic"].shape == (100, 1)
    torch.testing.assert_close(names["bessel"].derivative(1), torch.special.i1(names["x"]))
    torch.testing.assert_close(names["distance"].derivative(2), torch.tensor(8**-0.5, dtype=torch.float64))
