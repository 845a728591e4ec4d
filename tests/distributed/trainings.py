"""Trainings whose weights two processes must agree on with one."""

import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

import nde
from nde.pinn.conditions import Data, Equation
from nde.pinn.points import FixedPoints
from nde.pinn.problem import Problem
from nde.pinn.training import Trainer
from nde.regularize import GlobalError, NFEBudget
from nde.taylor.operators import Unknown
from nde.training import Loop, share_gradients
from tests.problems import Net

__all__ = ["TRAININGS", "TRAININGS_ALONE"]

Weights = dict[str, torch.Tensor]


class _Small(nn.Module):
    def __init__(self, **options) -> None:
        super().__init__()
        self.flow = nde.NeuralODE(Net(size=2), **options)

    def forward(self, y0):
        output = self.flow(y0)
        return output.y1.square().mean() + output.penalty


def rows(rank: int | None) -> torch.Tensor:
    """Return initial states, harder ones in the second half."""
    everything = torch.linspace(0.1, 6, 24, dtype=torch.float64).reshape(12, 2)
    return everything if rank is None else everything.chunk(2)[rank]


def sharded_in_parts(rank: int | None) -> Weights:
    """Train a sharded model, save it, and train it on from its checkpoint; alone, without a break."""

    def loop(checkpoint: str | None) -> Loop:
        model = _Small(controller=nde.FixedStep(0.25))
        if rank is not None:
            from torch.distributed.fsdp import fully_shard

            fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
        optimizer = torch.optim.Adam(model.parameters(), 0.1)
        return Loop(
            model,
            optimizer,
            lambda model, _: model(rows(rank)),
            lambda _: range(2),
            checkpoint=checkpoint,
            progress=False,
        )

    if rank is None:
        done = loop(None)
        done.run(2)
        return {key: parameter.detach() for key, parameter in done.model.named_parameters()}
    with tempfile.TemporaryDirectory() as folder:
        shared = [f"{folder}/run.pt"]
        dist.broadcast_object_list(shared, 0)
        loop(shared[0]).run(1)
        done = loop(shared[0])
        done.run(2)
        dist.barrier()  # the folder goes with the first process
    assert done.step == 4
    return {key: parameter.full_tensor().detach() for key, parameter in done.model.named_parameters()}


def physics_informed(rank: int | None) -> Weights:
    """Train a physics-informed network with the trainer, each process on points of its own."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    inside = torch.rand(16, 2, generator=generator, dtype=torch.float64)
    edge = torch.rand(8, 2, generator=generator, dtype=torch.float64)
    if rank is not None:
        inside, edge = inside.chunk(2)[rank], edge.chunk(2)[rank]
    u = Unknown("xy")
    network = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    conditions = {
        "equation": Equation(u.xx + u.yy, FixedPoints(inside)),
        "edge": Data(edge, edge.prod(-1, keepdim=True)),
    }
    problem = Problem(network, conditions)
    if rank == 1:
        with torch.no_grad():  # every process begins where the first does
            network[0].weight += 1
    end = share_gradients(network)
    Trainer(problem, torch.optim.Adam(problem.parameters(), 1e-2), progress=False).run(5)
    end()
    return {key: parameter.detach() for key, parameter in network.named_parameters()}


def budgeted(rank: int | None) -> Weights:
    """Adapt a weight to the evaluations of both processes, which differ."""
    budget = NFEBudget(40, GlobalError())
    model: nn.Module = _Small(regularizer=budget, rtol=1e-4)
    parts = range(2) if rank is None else [rank]
    wrapped = nn.parallel.DistributedDataParallel(model) if rank is not None else model
    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    for _ in range(4):
        optimizer.zero_grad()
        torch.stack([wrapped(rows(part)) for part in parts]).mean().backward()
        optimizer.step()
        budget.step()
    weights = {key: parameter.detach() for key, parameter in model.named_parameters()}
    return {**weights, "budget": torch.tensor(budget.weight)}


def restored_by_more(rank: int | None) -> Weights:
    """Go on in two processes from the checkpoint of one: their random numbers differ; alone, do nothing."""
    if rank is None:
        return {"alike": torch.zeros(())}
    with tempfile.TemporaryDirectory() as folder:
        shared = [f"{folder}/run.pt"]
        dist.broadcast_object_list(shared, 0)

        def loop() -> Loop:
            model = _Small(controller=nde.FixedStep(0.25))
            optimizer = torch.optim.Adam(model.parameters(), 0.1)
            return Loop(model, optimizer, lambda model, _: model(rows(rank)), lambda _: range(1), checkpoint=shared[0])

        if rank == 0:
            first = loop()
            first._processes.count = 1  # a training of one process
            first.save()
        dist.barrier()
        assert Path(shared[0]).exists()
        assert loop().restore()
        drawn = [torch.zeros(3) for _ in range(2)]
        dist.all_gather(drawn, torch.rand(3))
        dist.barrier()
    return {"alike": torch.tensor(float((drawn[0] == drawn[1]).any()))}


TRAININGS = {
    "training in parts, sharded": sharded_in_parts,
    "training of a physics-informed network": physics_informed,
    "training on a budget": budgeted,
    "restored by more processes": restored_by_more,
}
TRAININGS_ALONE = {name: lambda make=make: make(None) for name, make in TRAININGS.items()}
