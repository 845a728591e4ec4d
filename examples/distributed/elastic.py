"""A training that survives the death of a worker: torchrun starts all of them again, and they go on bit by bit.

    torchrun --standalone --nproc-per-node=2 --max-restarts=1 examples/distributed/elastic.py
    torchrun --standalone --nproc-per-node=2 --max-restarts=1 examples/distributed/elastic.py --kill-at 30

A neural ODE whose samples differ in stiffness learns where they settle, replicated with DistributedDataParallel.
With --kill-at, the last worker kills itself at that step of its first life; torchrun sees it, stops the others, and
starts all of them again, and they go on from the last checkpoint. The weights at the end are the same as without:
the checksum says so. Samples are dealt to the processes by the steps that they took last time.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # to be run from any directory, installed or not

import torch
import torch.distributed as dist
from torch import Tensor, nn

import nde
from nde.processes import Processes
from nde.training import BalancedSampler, Loop

SAMPLES, BATCH, TIMES = 64, 8, (0.0, 0.5, 1.0)


class Model(nn.Module):
    """A field that knows each sample's stiffness."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2)).double()
        self.net, self.layer = net, nde.NeuralODE(Field(net), ts=TIMES, per_sample=True, rtol=1e-5, atol=1e-6)

    def forward(self, y0: Tensor, rate: Tensor) -> nde.NeuralODEOutput:
        """Solve for states of shape ``(batch, 2)`` with rates of shape ``(batch, 1)``."""
        output: nde.NeuralODEOutput = self.layer(y0, args=(nde.PerSample(rate),))
        return output


class Field(nn.Module):
    """``dy/dt = rate * (net(y, rate) - y)``."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
        """Evaluate the field."""
        change: Tensor = rate * (self.net(torch.cat([y, rate.log()], -1)) - y)
        return change


def data() -> tuple[Tensor, Tensor, Tensor]:
    """Return initial states, rates over three decades, and what the states should become."""
    generator = torch.Generator().manual_seed(1)
    y0 = torch.randn(SAMPLES, 2, generator=generator, dtype=torch.float64)
    rate = 10 ** (2 * torch.rand(SAMPLES, 1, generator=generator, dtype=torch.float64))
    later = torch.tensor(TIMES[1:], dtype=torch.float64).reshape(-1, 1, 1)
    return y0, rate, y0 * torch.exp(-rate * later) + torch.tanh(y0.flip(-1)) * (1 - torch.exp(-rate * later))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the processes and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--kill-at", type=int, help="step at which the last worker kills itself in its first life")
    parser.add_argument("--output", type=Path, default=Path("results/elastic"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    processes = Processes()  # joins those that torchrun has started
    y0, rate, target = data()
    sampler = BalancedSampler(range(SAMPLES), BATCH)
    model: nn.Module = Model()
    if processes.count > 1:
        model = nn.parallel.DistributedDataParallel(model)
    life = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
    busiest: list[float] = []

    def batches(epoch: int) -> Iterator[list[int]]:
        sampler.set_epoch(epoch)
        order = list(sampler)
        return (order[start : start + BATCH] for start in range(0, len(order), BATCH))

    def loss(model: nn.Module, batch: list[int]) -> Tensor:
        output = model(y0[batch], rate[batch])
        stats = output.stats
        steps = stats.accepted + stats.rejected
        sampler.gathered(torch.tensor(batch), steps)
        work = torch.tensor([float(steps.sum())])
        shares = processes.gather(work)
        busiest.append(float(max(shares) / (sum(shares) / len(shares))))
        value: Tensor = (output.ys[1:] - target[:, batch]).square().mean()
        return value

    def after_step(loop: Loop) -> None:
        if options.kill_at == loop.step and life == 0 and processes.rank == processes.count - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    loop = Loop(
        model,
        torch.optim.Adam(model.parameters(), 1e-2),
        loss,
        batches,
        checkpoint=options.output / "elastic.pt",
        checkpoint_steps=8,
        after_step=after_step,
        stateful={"sampler": sampler},
        progress=life == 0,
    )
    if loop.restore() and processes.first:
        print(f"going on from step {loop.step}", flush=True)
    loop.run(options.epochs)
    if processes.first:
        weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        checksum = hashlib.sha256(weights.numpy().tobytes()).hexdigest()[:16]
        shares = busiest[-8:] or [1.0]
        print(f"step {loop.step}, loss {loop.history[-1]['loss']:.6f}, weights {checksum}")
        print(f"steps of the busiest process over the mean, in the last iterations: {sum(shares) / len(shares):.3f}")
    if dist.is_initialized():
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
