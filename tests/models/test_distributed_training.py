"""Under DistributedDataParallel, a layer has the gradients of one process that sees the whole batch."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

import nde
from nde.compat.torchdiffeq import odeint_adjoint
from tests.problems import Net, double

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="this build of torch has no distributed package")

WORLD = 2


class Model(nn.Module):
    """A layer between a scale and a read-out, so that gradients pass on from it."""

    def __init__(self, solve: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.scale = nn.Parameter(double(1.1)[0])
        self.flow = solve(Net(size=2))

    def forward(self, y0):
        out = self.flow(self.scale * y0)
        return out if isinstance(out, torch.Tensor) else out.y1


class Legacy(nn.Module):
    """A layer that is written for torchdiffeq."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field

    def forward(self, y0):
        return odeint_adjoint(self.field, y0, double(0.0, 1.0))[-1]


class Noisy(nn.Module):
    """A stochastic layer whose samples meet the same noise in one process as in two."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field
        self.layer = nde.NeuralSDE(field, Net(size=2, seed=1), controller=nde.FixedStep(0.25))

    def forward(self, y0):
        path = nde.BrownianPath(0.0, 1.0, (6, 2), seed=0, levy_area="space-time", dtype=torch.float64)
        if dist.is_initialized():
            path = path.rows(torch.arange(6).chunk(WORLD)[dist.get_rank()])
        return self.layer(y0, path=path)


def layer(adjoint: str, **options) -> Callable[[nn.Module], nn.Module]:
    # fixed steps: the two halves of a batch take the same ones, so that gradients agree to rounding
    fixed = {"controller": nde.FixedStep(0.25)}
    return lambda field: nde.NeuralODE(field, adjoint=adjoint, **{**fixed, **options})


# name: (layer, agreement of the gradients)
CASES = {
    "discrete": (layer("discrete"), 1e-12),
    "direct": (layer("direct"), 1e-12),
    "backsolve": (layer("backsolve"), 1e-12),
    "per sample": (layer("discrete", per_sample=True, controller=None), 1e-12),
    "stochastic": (Noisy, 1e-12),
    # the steps of a half of the batch are others than those of all of it: a tolerance of 1e-7
    "odeint_adjoint": (Legacy, 1e-6),
}


def whole_batch() -> torch.Tensor:
    return torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(6, 2)


def gradients(model: nn.Module, y0: torch.Tensor) -> dict[str, torch.Tensor]:
    model(y0).square().mean().backward()
    return {name.removeprefix("module."): parameter.grad for name, parameter in model.named_parameters()}


def train(rank: int, folder: str) -> None:
    """Compute one half of each case's gradients; runs in a process of its own."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    try:
        found = {}
        for name, (make, _) in CASES.items():
            model = nn.parallel.DistributedDataParallel(Model(make))
            found[name] = gradients(model, whole_batch().chunk(WORLD)[rank])
        torch.save(found, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def test_gradients_of_two_processes_are_those_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(train, (str(tmp_path),), nprocs=WORLD)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(WORLD)]
    for name, (make, tolerance) in CASES.items():
        expected = gradients(Model(make), whole_batch())
        assert float(expected["flow.field.inner.weight"].abs().max()) > 0
        for found in (rank[name] for rank in ranks):
            torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
