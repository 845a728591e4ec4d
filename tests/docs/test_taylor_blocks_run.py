"""The Python blocks of the page on Taylor mode are run as they stand, and say what they claim."""

import re

import pytest
import torch

from nde.taylor import supported_operations
from nde.taylor.registry import RULES
from tests.docs.test_code_in_documents_runs import ROOT, blocks

SUPPORTED = supported_operations()  # before any test registers rules of its own


@pytest.fixture
def names():
    kept = dict(RULES)
    torch.manual_seed(0)
    found = {}
    try:
        for block in blocks("docs/taylor.md"):
            exec(block, found)
        yield found
    finally:
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
    column = names["column"]
    tangent = torch.func.jvp(torch.linalg.pinv, (column,), (torch.ones_like(column),))[1]
    torch.testing.assert_close(names["pseudoinverse"].derivative(1), tangent)


def test_the_table_of_operations_is_that_of_the_rules():
    section = (ROOT / "docs/taylor.md").read_text(encoding="utf-8").partition("## What has a rule")[2]
    rows = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(listed) == len(set(listed))
    rules = {name.rpartition(".")[2] for name in SUPPORTED}
    assert set(listed) == {name for name in rules if not name.startswith("__")}
