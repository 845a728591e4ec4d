"""Training steps on a Laplacian: jets against nested automatic differentiation and the matrix products alone.

The step: ``u = (1 - |x|^2) MLP(x)``, the estimate ``(d / V) sum_j d^2 u / dx_j^2`` over ``V`` sampled coordinates, a
squared residual, the gradient of all parameters. Tanh network ``d-128-128-128-1``, 100 points, float32, one core. The
time is the least process time of the repetitions; the memory is the peak of what the step allocates beyond what it
began with.
Run with ``OMP_NUM_THREADS=1 python -m benchmarks.taylor``; ``--quick`` leaves the largest problem out.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.memory import peak_live
from nde.taylor import OneHot, jet

WIDTH, POINTS = 128, 100
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def solution(network: nn.Module, x: Tensor) -> Tensor:
    return (1 - (x * x).sum(-1, keepdim=True)) * network(x)


def residual(value: Tensor, laplacian: Tensor) -> Tensor:
    return (laplacian + torch.sin(value)).square().mean()


def by_jets(network: nn.Module, x: Tensor, indices: Tensor) -> Tensor:
    result = jet(lambda z: solution(network, z), x, OneHot(indices), order=2, collapse=True)
    return residual(result.primal, result.derivative(2) * (x.shape[1] / len(indices)))


def by_loop(network: nn.Module, x: Tensor, indices: Tensor) -> Tensor:
    """Differentiate the gradient once for every coordinate."""
    x = x.requires_grad_()
    value = solution(network, x)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    total = torch.zeros(len(x))
    for j in indices.tolist():
        (second,) = torch.autograd.grad(slope[:, j].sum(), x, create_graph=True)
        total = total + second[:, j]
    return residual(value, total[:, None] * (x.shape[1] / len(indices)))


def by_products(network: nn.Module, x: Tensor, indices: Tensor) -> Tensor:
    """Hessian-vector products, reverse over reverse, all points and coordinates in one batch."""
    count = len(indices)
    points = x.repeat(count, 1).requires_grad_()
    value = solution(network, points)
    (slope,) = torch.autograd.grad(value.sum(), points, create_graph=True)
    columns = indices.repeat_interleave(len(x))[:, None]
    (second,) = torch.autograd.grad(slope.gather(1, columns).sum(), points, create_graph=True)
    total = second.gather(1, columns).reshape(count, -1).sum(0)
    return residual(value[: len(x)], total[:, None] * (x.shape[1] / count))


def by_forward_mode(network: nn.Module, x: Tensor, indices: Tensor) -> Tensor:
    """Nest forward mode in forward mode, the directions vectorised."""
    directions = torch.nn.functional.one_hot(indices, x.shape[1]).to(x.dtype)

    def along(v: Tensor) -> Tensor:
        tangent = v.expand_as(x)

        def slope(z: Tensor) -> Tensor:
            return torch.func.jvp(lambda w: solution(network, w), (z,), (tangent,))[1]

        return torch.func.jvp(slope, (x,), (tangent,))[1]

    total = torch.func.vmap(along)(directions).sum(0)
    return residual(solution(network, x), total * (x.shape[1] / len(indices)))


def floor(width: int, count: int) -> Callable[[], object]:
    """Return the matrix products that no method can save: of the points and of the jets, forward and backward."""
    x, hidden = torch.randn(POINTS, width), torch.randn(POINTS, WIDTH)
    first, square = torch.randn(width, WIDTH), torch.randn(WIDTH, WIDTH)
    jets = torch.randn(POINTS * (count + 2), WIDTH)

    def products() -> None:
        torch.mm(x, first)
        torch.mm(hidden.T, x)
        for _ in range(2):
            torch.mm(jets, square)
            torch.mm(jets, square)
            torch.mm(jets.T, jets)
        torch.mm(jets, square[:, :1])
        torch.mm(jets.T, jets[:, :1])

    return products


def step(loss: Loss, network: nn.Module, x: Tensor, indices: Tensor) -> Callable[[], object]:
    def call() -> None:
        network.zero_grad()
        loss(network, x.detach(), indices).backward()

    return call


def least_time(call: Callable[[], object], seconds: float) -> float:
    """Return the least process time of a call, in milliseconds."""
    for _ in range(2):
        call()
    best, spent = float("inf"), 0.0
    while spent < seconds:
        start = time.process_time()
        call()
        elapsed = time.process_time() - start
        best, spent = min(best, elapsed), spent + elapsed
    return 1e3 * best


METHODS: dict[str, Loss] = {
    "jet": by_jets,
    "nested reverse, a loop": by_loop,
    "Hessian-vector products": by_products,
    "torch.func jvp of jvp": by_forward_mode,
}


def measure(width: int, count: int, seconds: float, names: list[str], compiled: bool) -> None:
    torch.manual_seed(0)
    sizes = [width, WIDTH, WIDTH, WIDTH, 1]
    layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.Tanh())]
    network = nn.Sequential(*layers[:-1])
    x = torch.randn(POINTS, width) / width**0.5
    indices = torch.randperm(width)[:count]
    value = by_jets(network, x, indices).item()
    least = least_time(floor(width, count), seconds)
    print(f"\nd = {width}, V = {count}: matrix products alone {least:.2f} ms")
    calls = {name: step(METHODS[name], network, x, indices) for name in names}
    if compiled:
        calls["jet, compiled"] = step(torch.compile(by_jets, fullgraph=True), network, x, indices)
    for name, call in calls.items():
        if name in METHODS and abs(METHODS[name](network, x.detach(), indices).item() / value - 1) > 1e-3:
            raise RuntimeError(f"{name} computes another loss")
        duration = least_time(call, seconds)
        print(
            f"  {name:26}{duration:10.2f} ms{duration / least:8.2f} x floor{peak_live(call) / 1e6:10.1f} MB", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Laplacian training steps by jets and by their rivals.")
    parser.add_argument("--quick", action="store_true", help="leave the largest problem out")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out: a minute per problem")
    parser.add_argument("--seconds", type=float, default=2.0, help="process time for each figure")
    options = parser.parse_args()
    torch.set_num_threads(1)
    everything = list(METHODS)
    for width, count in ((1000, 16), (1000, 100), (10_000, 16)):
        measure(width, count, options.seconds, everything, not options.no_compile)
    if not options.quick:
        measure(100_000, 16, options.seconds, ["jet"], not options.no_compile)


if __name__ == "__main__":
    main()
