"""Measures differential operators by jets against nested reverse mode, and the variances of their estimators.

Times are minima of the process's CPU time over interleaved repetitions on one thread: they do not depend on what else
the machine does. A step is the residual, its mean square, and the gradient of all parameters; float32 throughout.

    python -m benchmarks.taylor_operators biharmonic equations dimensions costs variances
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from nde.taylor.operators import (
    Envelope,
    Estimate,
    SharedLinear,
    biharmonic,
    evaluate_expressions,
    gradient_kdv,
    kdv,
    kdv_2d,
    kp,
    laplacian,
    squared_residual,
)

_POINTS = 100
_WIDTH = 128
_SAMPLES = 16
_KDV = kdv()


def minima(calls: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Return the least CPU seconds of each call, measured in turns after one unrecorded call of each."""
    for call in calls.values():
        call()
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(repetitions):
        for name, call in calls.items():
            gc.collect()
            start = time.process_time()
            call()
            best[name] = min(best[name], time.process_time() - start)
    return best


def perceptron(first: nn.Module, outputs: int = 1) -> nn.Sequential:
    hidden = [nn.Tanh(), nn.Linear(_WIDTH, _WIDTH), nn.Tanh(), nn.Linear(_WIDTH, _WIDTH), nn.Tanh()]
    return nn.Sequential(first, *hidden, nn.Linear(_WIDTH, outputs))


def trained(net: nn.Module, residual: Callable[[], Tensor | Estimate]) -> Callable[[], None]:
    """Return a step without the optimiser: residual, loss, gradients."""

    def step() -> None:
        net.zero_grad(set_to_none=True)
        squared_residual(residual(), unbiased=False).backward()

    return step


def report(title: str, times: dict[str, float], reference: str) -> None:
    print(f"\n{title}")
    for name, seconds in times.items():
        print(f"  {name:48s} {1e3 * seconds:10.2f} ms   {times[reference] / seconds:6.2f} x {reference}")


# Biharmonic -----------------------------------------------------------------------------------------------------------


def nested_quartic(net: nn.Module, x: Tensor, vectors: Tensor) -> Tensor:
    """Return the mean of ``D^4 u[v, v, v, v] / 3`` by nested reverse mode, all directions in one batch."""
    count = vectors.shape[0]
    y = x.repeat(count, 1).requires_grad_()
    along = vectors.repeat_interleave(x.shape[0], 0)
    value = net(y).squeeze(-1)
    for _ in range(4):
        (slope,) = torch.autograd.grad(value.sum(), y, create_graph=True)
        value = (slope * along).sum(-1)
    return value.reshape(count, -1).mean(0) / 3


def measure_biharmonic(repetitions: int, compiled: bool) -> None:
    dimension = 1000
    torch.manual_seed(0)
    net, x = perceptron(nn.Linear(dimension, _WIDTH)), torch.randn(_POINTS, dimension)
    modes = {"gaussian": _SAMPLES, "orthogonal": _SAMPLES, "rank": _SAMPLES, "rademacher": _SAMPLES, "sparse": 4}
    calls: dict[str, Callable[[], object]] = {
        "nested reverse, gaussian": trained(net, lambda: nested_quartic(net, x, torch.randn(_SAMPLES, dimension)))
    }
    for mode, samples in modes.items():
        estimate = partial(biharmonic, net, x, mode=mode, samples=samples)
        calls[f"jets, {mode}, {samples} samples"] = trained(net, estimate)
    if compiled:
        vectors = torch.randn(_SAMPLES, dimension)
        fused = torch.compile(lambda points, seeds: _quartic_along(net, points, seeds))
        calls["jets, gaussian, compiled"] = trained(net, lambda: fused(x, vectors))
    title = f"Biharmonic estimate, d = {dimension}, {_POINTS} points, {_SAMPLES} directions, step without optimiser"
    report(title, minima(calls, repetitions), "nested reverse, gaussian")


def _quartic_along(net: nn.Module, x: Tensor, vectors: Tensor) -> Tensor:
    from nde.taylor import jet

    result = jet(net, x, vectors.unsqueeze(1), order=4, collapse=True)
    return result.coefficient(4) * (8.0 / vectors.shape[0])


# Equations ------------------------------------------------------------------------------------------------------------


def slopes(value: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), x, create_graph=True)[0]


def nested_kdv_2d(net: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    first = slopes(net(x), x)
    by_y, by_x = slopes(first[:, 1], x), slopes(first[:, 0], x)
    by_xx = slopes(by_x[:, 0], x)
    xxxy = slopes(by_xx[:, 1], x)[:, 0]
    u_x, u_y, u_xx = first[:, 0], first[:, 1], by_x[:, 0]
    return by_y[:, 2] + xxxy + 3 * (by_y[:, 0] * u_x + u_y * u_xx) - u_xx + 2 * by_y[:, 1]


def nested_kp(net: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    u = net(x)
    first = slopes(u, x)
    by_x, by_y = slopes(first[:, 0], x), slopes(first[:, 1], x)
    by_xx = slopes(by_x[:, 0], x)
    xxxx = slopes(by_xx[:, 0], x)[:, 0]
    return by_x[:, 2] + 6 * first[:, 0] ** 2 + 6 * u.squeeze(-1) * by_x[:, 0] + xxxx + 3 * by_y[:, 1]


def nested_gradient_kdv(net: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    u = net(x)
    first = slopes(u, x)
    xxx = slopes(slopes(first[:, 0], x)[:, 0], x)[:, 0]
    residual = first[:, 1] + u.squeeze(-1) * first[:, 0] + xxx
    return torch.cat([residual.unsqueeze(-1), slopes(residual, x)], -1)


def reversed_gradient_kdv(net: nn.Module, x: Tensor) -> Tensor:
    """Return the residual by jets and its gradient by one pass of reverse mode through them."""
    x = x.detach().requires_grad_()
    residual = _KDV(net, x)
    return torch.cat([residual.unsqueeze(-1), slopes(residual, x)], -1)


def measure_equations(repetitions: int, compiled: bool) -> None:
    enhanced = gradient_kdv()
    kdv_expression, kp_expression = kdv_2d(), kp()
    cases: dict[str, tuple[int, Callable[..., Tensor], Callable[..., Tensor]]] = {
        "2-D KdV": (3, nested_kdv_2d, kdv_expression),
        "KP": (3, nested_kp, kp_expression),
        "KdV with its gradient": (
            2,
            nested_gradient_kdv,
            lambda net, x: torch.stack(evaluate_expressions(enhanced, net, x), -1),
        ),
    }
    for name, (coordinates, nested, ours) in cases.items():
        torch.manual_seed(0)
        net, x = perceptron(nn.Linear(coordinates, _WIDTH)), torch.randn(1000, coordinates)
        with torch.no_grad():
            scale = nested_value(nested, net, x).abs().max()
            difference = (ours(net, x) - nested_value(nested, net, x)).abs().max() / scale
        calls: dict[str, Callable[[], object]] = {
            "nested reverse": trained(net, partial(nested, net, x)),
            "jets": trained(net, partial(ours, net, x)),
        }
        if nested is nested_gradient_kdv:
            calls["jets, gradient by reverse mode"] = trained(net, partial(reversed_gradient_kdv, net, x))
        if compiled:
            calls["jets, compiled"] = trained(net, partial(torch.compile(partial(ours, net)), x))
        title = f"{name}, 1000 points, largest difference {difference:.1e} of the largest residual"
        report(title, minima(calls, repetitions), "nested reverse")


def nested_value(nested: Callable[..., Tensor], net: nn.Module, x: Tensor) -> Tensor:
    with torch.enable_grad():
        return nested(net, x).detach()


# Dimensions -----------------------------------------------------------------------------------------------------------


def measure_dimensions(repetitions: int, dimensions: Sequence[int]) -> None:
    print(f"\nLaplacian step with Adam, exact by the first layer's width {_WIDTH}, ball envelope, {_POINTS} points")
    for dimension in dimensions:
        kinds = [("dense", 0)] if dimension <= 100_000 else []
        for kind, block in [*kinds, ("shared, blocks of 100", 100)]:
            torch.manual_seed(0)
            first = SharedLinear(dimension, _WIDTH, block) if block else nn.Linear(dimension, _WIDTH)
            net = perceptron(first)
            optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
            x = torch.randn(_POINTS, dimension)
            x /= torch.linalg.vector_norm(x, dim=-1, keepdim=True)
            x *= torch.rand(_POINTS, 1) ** (1 / dimension)

            def step(net=net, optimizer=optimizer, x=x, dimension=dimension) -> None:
                optimizer.zero_grad(set_to_none=True)
                estimate = laplacian(net, x, mode="rank", envelope=Envelope.ball(x))
                residual = estimate.value / dimension + torch.sin(estimate.primal) - 1.0
                squared_residual(residual).backward()
                optimizer.step()

            seconds = minima({"step": step}, repetitions)["step"]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            parameters = sum(parameter.numel() for parameter in net.parameters())
            print(
                f"  d = {dimension:9,d}  {kind:22s} {1e3 * seconds:10.1f} ms  {parameters:12,d} parameters  "
                f"peak resident so far {peak:7.0f} MB"
            )


# Costs of the modes ---------------------------------------------------------------------------------------------------


def measure_costs(repetitions: int) -> None:
    """Print what a step costs in each mode: directions are drawn and pushed through the first layer."""
    for dimension in (1000, 100_000):
        torch.manual_seed(0)
        net, x = perceptron(nn.Linear(dimension, _WIDTH)), torch.randn(_POINTS, dimension) / dimension**0.5
        calls: dict[str, Callable[[], object]] = {}
        for mode in ("sparse", "rademacher", "gaussian", "orthogonal", "rank"):
            for groups in (1, 2):
                estimate = partial(laplacian, net, x, mode=mode, samples=_SAMPLES, groups=groups)
                calls[f"{mode}, groups={groups}"] = trained(net, estimate)
        calls["rank, exact"] = trained(net, partial(laplacian, net, x, mode="rank"))
        title = f"Laplacian, d = {dimension}, {_POINTS} points, {_SAMPLES} directions, step without optimiser"
        report(title, minima(calls, repetitions), "sparse, groups=1")


# Variances ------------------------------------------------------------------------------------------------------------


def measure_variances(draws: int) -> None:
    """Print the relative standard deviation of each estimator on functions of different kinds."""
    dimension = 100
    torch.manual_seed(0)
    x = torch.randn(_POINTS, dimension)
    x = x / torch.linalg.vector_norm(x, dim=-1, keepdim=True) * torch.rand(_POINTS, 1) ** (1 / dimension)
    net = perceptron(nn.Linear(dimension, _WIDTH))
    frequencies = torch.linspace(0.5, 3.0, dimension)
    ridge = torch.randn(dimension)
    functions: dict[str, tuple[Callable[..., Tensor], Envelope | None]] = {
        "network at its initialisation": (net, None),
        "(1 - |x|^2) network, as one function": (lambda y: (1 - (y * y).sum(-1, keepdim=True)) * net(y), None),
        "(1 - |x|^2) network, with the envelope": (net, Envelope.ball(x)),
        "sum of functions of one coordinate": (lambda y: torch.sin(frequencies * y + 1).sum(-1, keepdim=True), None),
        "function of one direction": (lambda y: torch.sin((ridge * y).sum(-1, keepdim=True)), None),
        "isotropic: exp(-|x|^2)": (lambda y: torch.exp(-(y * y).sum(-1, keepdim=True)), None),
    }
    modes = ("sparse", "rademacher", "gaussian", "orthogonal", "rank")
    print(f"\nStandard deviation of the Laplacian, {_SAMPLES} directions, d = {dimension}, relative to its rms")
    print("  " + " ".join(f"{mode:>11s}" for mode in modes))
    with torch.no_grad():
        for name, (function, envelope) in functions.items():
            exact = laplacian(function, x, envelope=envelope).value
            scale = exact.square().mean().sqrt()
            cells = []
            for mode in modes:
                if mode == "rank" and not isinstance(function, nn.Sequential):
                    cells.append(f"{'-':>11s}")
                    continue
                values = torch.stack(
                    [laplacian(function, x, mode=mode, samples=_SAMPLES, envelope=envelope).value for _ in range(draws)]
                )
                spread = (values - exact).square().mean().sqrt() / scale
                cells.append(f"{spread:11.1e}")
            print("  " + " ".join(cells) + f"   {name}")
    measure_biharmonic_variances(draws)


def measure_biharmonic_variances(draws: int) -> None:
    dimension = 20
    torch.manual_seed(1)
    net, x = perceptron(nn.Linear(dimension, _WIDTH)), torch.randn(_POINTS, dimension)
    modes = {"gaussian": 16, "orthogonal": 16, "rademacher": 16, "rank": 16, "sparse": 4}
    with torch.no_grad():
        exact = biharmonic(net, x, mode="sparse", samples=dimension).value
        scale = exact.square().mean().sqrt()
        print(f"\nStandard deviation of the biharmonic operator, 16 directions, d = {dimension}, relative to its rms")
        for mode, samples in modes.items():
            values = [biharmonic(net, x, mode=mode, samples=samples).value for _ in range(draws)]
            spread = (torch.stack(values) - exact).square().mean().sqrt() / scale
            print(f"  {mode:11s} {samples:3d} samples {spread:9.2f}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=["biharmonic", "equations", "dimensions", "costs", "variances"])
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--draws", type=int, default=200, help="draws of each estimator for its variance")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--compiled", action="store_true", help="also with torch.compile, which takes a minute each")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if "biharmonic" in options.parts:
        measure_biharmonic(options.repetitions, options.compiled)
    if "equations" in options.parts:
        measure_equations(options.repetitions, options.compiled)
    if "dimensions" in options.parts:
        measure_dimensions(options.repetitions, options.dimensions)
    if "costs" in options.parts:
        measure_costs(options.repetitions)
    if "variances" in options.parts:
        measure_variances(options.draws)


if __name__ == "__main__":
    main()
