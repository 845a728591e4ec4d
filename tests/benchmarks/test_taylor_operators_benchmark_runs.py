"""The benchmark of differential operators runs, and its peers compute what ours do."""

import pytest
import torch
from torch import nn

from benchmarks import taylor_operators as benchmark
from nde.taylor.operators import biharmonic, evaluate_expressions, gradient_kdv, kdv_2d, kp


@pytest.fixture(autouse=True)
def keep_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_peers_of_the_equations_compute_the_same_residuals():
    torch.manual_seed(0)
    net, x = benchmark.perceptron(nn.Linear(3, benchmark._WIDTH)).double(), torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(benchmark.nested_kdv_2d(net, x), kdv_2d()(net, x))
    torch.testing.assert_close(benchmark.nested_kp(net, x), kp()(net, x))
    net, x = benchmark.perceptron(nn.Linear(2, benchmark._WIDTH)).double(), x[:, :2]
    ours = torch.stack(evaluate_expressions(gradient_kdv(), net, x), -1)
    torch.testing.assert_close(benchmark.nested_gradient_kdv(net, x), ours)
    torch.testing.assert_close(benchmark.reversed_gradient_kdv(net, x), ours)


def test_the_peer_of_the_biharmonic_operator_estimates_the_same():
    torch.manual_seed(0)
    net, x = benchmark.perceptron(nn.Linear(2, benchmark._WIDTH)).double(), torch.randn(3, 2, dtype=torch.float64)
    exact = biharmonic(net, x, mode="sparse", samples=2).value.squeeze(-1).detach()
    vectors = torch.randn(4000, 2, dtype=torch.float64)
    each = torch.stack([benchmark.nested_quartic(net, x, part).detach() for part in vectors.split(400)])
    assert ((each.mean(0) - exact).abs() < 5 * each.std(0) / 10**0.5).all()


def test_the_table_of_dimensions_is_printed(capsys):
    benchmark.main(["dimensions", "--dimensions", "200", "--repetitions", "1"])
    printed = capsys.readouterr().out
    assert "dense" in printed and "shared, blocks of 100" in printed and "MB" in printed
