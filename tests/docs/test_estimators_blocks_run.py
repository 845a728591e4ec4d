"""The Python blocks of the page on differential operators are run as they stand, and say what they claim."""

import torch

from tests.docs.test_code_in_documents_runs import blocks


def test_the_blocks_compute_what_the_page_says():
    torch.manual_seed(0)
    names = {}
    for block in blocks("docs/estimators.md"):
        exec(block, names)
    exact, estimate = names["exact"], names["estimate"]
    assert exact.exact and estimate.value.shape == estimate.variance.shape == (100, 1)
    torch.testing.assert_close(estimate.primal, names["net"](names["x"]))
    assert ((estimate.value - exact.value).square().mean() < 10 * estimate.variance.mean()).item()
    assert all(parameter.grad is not None for parameter in names["net"].parameters())
    assert names["bounded"].variance.mean() > 0
    assert names["heat"].value.shape == names["generator"].value.shape == (100, 1)
    assert names["u_xxt"].shape == names["u_tt"].shape == (50, 1)
    assert sorted(names["expression_plan"](names["kdv"]).orders) == [2, 2, 4, 4, 4, 4]
