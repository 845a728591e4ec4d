"""The trainer: exact resumption, roll-outs, precision, and two processes that give the results of one."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from nde.operators import FNO, UniformGrid
from nde.operators.train import (
    CheckpointError,
    RelativeH1,
    RelativeL2,
    RollOut,
    Supervised,
    Trainer,
    TrainingError,
    Windows,
    roll_out,
)

GRID = UniformGrid(periodic=True)
WORLD = 2


def model(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    operator = FNO(1, 1, width=4, modes=4, depth=2, dims=1, grid=GRID)
    return nn.Sequential(operator, nn.Dropout(dropout)) if dropout else operator


def data(samples: int = 11, dtype: torch.dtype = torch.float32) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    phase = 2 * math.pi * torch.rand(samples, 1, 1, generator=generator, dtype=dtype)
    x = 2 * math.pi * torch.arange(16, dtype=dtype) / 16
    return TensorDataset(torch.sin(x + phase), torch.cos(2 * (x + phase)))


def trainer(network: nn.Module, samples: Dataset, **settings) -> Trainer:
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    result = Trainer(network, samples, optimizer, batch_size=4, progress=False, device="cpu", **settings)
    result.scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=8 * result.steps_per_epoch)
    return result


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


class Interruption(Exception):
    """In place of Ctrl-C."""


class InterruptedAt:
    """An objective that is interrupted at one of its calls."""

    def __init__(self, call: int) -> None:
        self.objective, self.left = Supervised(), call

    def __call__(self, network, batch):
        self.left -= 1
        if self.left == 0:
            raise Interruption
        return self.objective(network, batch)


def test_training_makes_the_loss_small_and_says_so():
    network = model()
    training = trainer(network, data(32))
    history = training.fit(8, validation=data(8))
    assert [record["epoch"] for record in history] == list(range(1, 9))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["validation"] == training.evaluate(data(8))
    inputs, targets = data(8).tensors
    with torch.no_grad():
        assert history[-1]["validation"] == pytest.approx(
            float(RelativeL2()(network(inputs), targets).mean()), rel=1e-6
        )


# 3 batches in an epoch, each with one call; validation makes 2 more
@pytest.mark.parametrize("call", [1, 2, 3, 8, 12])
@pytest.mark.parametrize("steps", [None, 1, 2])
def test_an_interrupted_training_ends_as_an_uninterrupted_one_bit_for_bit(tmp_path: Path, call: int, steps: int | None):
    whole = model(dropout=0.2)
    expected = trainer(whole, data()).fit(3, validation=data(5), objective=Supervised())

    checkpoint = tmp_path / "run" / "state.pt"
    settings = {"checkpoint": checkpoint, "checkpoint_steps": steps}
    first = trainer(model(dropout=0.2), data(), objective=InterruptedAt(call), **settings)
    with pytest.raises(Interruption):
        first.fit(3, validation=data(5))
    again = model(dropout=0.2)
    if checkpoint.exists():
        torch.manual_seed(99)  # another process has other random numbers
    second = trainer(again, data(), **settings)
    assert second.fit(3, validation=data(5), objective=Supervised()) == expected
    assert same(whole, again)
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["state.pt"]


def test_training_goes_on_to_more_epochs_as_if_they_had_been_asked_for_at_once(tmp_path: Path):
    whole, parts = model(), model()
    trainer(whole, data()).fit(4)
    trainer(parts, data(), checkpoint=tmp_path / "a.pt").fit(2)
    fresh = model()
    assert len(trainer(fresh, data(), checkpoint=tmp_path / "a.pt").fit(4)) == 4
    assert same(whole, fresh) and not same(whole, parts)


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_refused(tmp_path: Path):
    path = tmp_path / "a.pt"
    trainer(model(), data(), checkpoint=path).fit(1)
    with pytest.raises(CheckpointError, match="is of a training with seed=0, but this one has seed=3"):
        trainer(model(), data(), checkpoint=path, seed=3).fit(2)
    with pytest.raises(CheckpointError, match="does not fit the model or optimizer"):
        trainer(FNO(1, 1, width=6, modes=4, depth=2, dims=1, grid=GRID), data(), checkpoint=path).fit(2)
    network = model()
    plain = Trainer(
        network, data(), torch.optim.AdamW(network.parameters()), batch_size=4, checkpoint=path, device="cpu"
    )
    with pytest.raises(CheckpointError, match="is of a training with a scheduler, unlike this one"):
        plain.fit(2)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="is no readable checkpoint"):
        trainer(model(), data(), checkpoint=path).fit(2)
    torch.save({"weights": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="is no checkpoint of a training"):
        trainer(model(), data(), checkpoint=path).fit(2)


class Doubling(nn.Module):
    """A time stepper with one parameter."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, x):
        return self.factor * x


def test_roll_outs_continue_from_predictions():
    # states 1, 2, 4, 8: a factor 3 gives 3, 9, 27, relative errors 1/2, 5/4, 19/8
    window = (2.0 ** torch.arange(4, dtype=torch.float64)).view(1, 4, 1, 1).expand(2, 4, 1, 5)
    stepper = Doubling(3.0)
    loss = RollOut()(stepper, (window,))
    torch.testing.assert_close(loss, torch.full((2,), (1 / 2 + 5 / 4 + 19 / 8) / 3, dtype=torch.float64))
    (slope,) = torch.autograd.grad(loss.mean(), stepper.factor)
    # d/df of (f - 2)/2, (f^2 - 4)/4, (f^3 - 8)/8
    assert float(slope) == pytest.approx((1 / 2 + 6 / 4 + 27 / 8) / 3, rel=1e-12)

    last = RollOut(last_step_only=True)(stepper, (window,))
    torch.testing.assert_close(last, torch.full((2,), 19 / 8, dtype=torch.float64))
    (slope,) = torch.autograd.grad(last.mean(), stepper.factor)
    assert float(slope) == pytest.approx(9 / 8, rel=1e-12)  # f enters the last step alone

    states = roll_out(Doubling(2.0), window[:, 0], 3)
    torch.testing.assert_close(states, window)


def test_windows_are_all_runs_of_frames_without_copies():
    trajectories = torch.arange(2 * 5).view(2, 5, 1, 1).float()
    windows = Windows(trajectories, steps=2)
    assert len(windows) == 6
    assert [int(windows[index][0][0]) for index in range(6)] == [0, 1, 2, 5, 6, 7]
    assert windows[5][0].flatten().tolist() == [7, 8, 9]
    assert windows[5][0].data_ptr() == trajectories[1, 2:].data_ptr()
    with pytest.raises(IndexError):
        windows[6]
    with pytest.raises(ValueError, match="steps must be between 1 and 4"):
        Windows(trajectories, 5)


def test_a_stepper_is_trained_on_roll_outs():
    factors = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64).view(3, 1, 1, 1)
    trajectories = factors * 0.8 ** torch.arange(6, dtype=torch.float64).view(1, 6, 1, 1) * torch.ones(3, 6, 1, 4)
    stepper = Doubling(1.3)
    optimizer = torch.optim.Adam(stepper.parameters(), lr=0.02)
    training = Trainer(
        stepper, Windows(trajectories, 3), optimizer, RollOut(), batch_size=4, progress=False, device="cpu"
    )
    training.fit(30)
    assert float(stepper.factor.detach()) == pytest.approx(0.8, abs=0.02)


def test_bfloat16_trains_parameters_that_stay_in_single_precision():
    network = model()
    history = trainer(network, data(32), precision="bfloat16", objective=Supervised(RelativeH1(GRID))).fit(8)
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    exact = trainer(model(), data(32), objective=Supervised(RelativeH1(GRID))).fit(8)
    assert history != exact
    # eight bits of mantissa
    assert history[-1]["loss"] == pytest.approx(exact[-1]["loss"], rel=0.2)


def test_a_loss_that_is_not_finite_stops_the_training_before_the_parameters_change(tmp_path: Path):
    network = model()
    training = trainer(
        network, data(), checkpoint=tmp_path / "a.pt", objective=lambda net, batch: net(batch[0]).sum((1, 2)) / 0
    )
    before = [parameter.clone() for parameter in network.parameters()]
    with pytest.raises(TrainingError, match=r"the loss of batch 0 in epoch 1 is (nan|inf|-inf)"):
        training.fit(1)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"data": [1, 2]}, TypeError, "data must be a Dataset of torch"),
        ({"data": TensorDataset(torch.zeros(0, 1, 4))}, ValueError, "data holds no samples"),
        ({"data": TensorDataset(torch.full((2, 1, 4), math.nan))}, ValueError, "data must be finite, but 8 numbers"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer, 1 or more"),
        ({"precision": "half"}, ValueError, "precision='half' is not known"),
        ({"clip": -1.0}, ValueError, "clip must be positive"),
        ({"model": 3}, TypeError, r"model must be an nn.Module"),
    ],
)
def test_bad_settings_are_named(settings, error, message):
    network = model()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    arguments = {"model": network, "data": data(), "optimizer": optimizer, "device": "cpu", **settings}
    with pytest.raises(error, match=message):
        Trainer(**arguments)


def test_an_optimizer_of_another_model_is_refused():
    with pytest.raises(ValueError, match="optimizer holds parameters that are none of the model's"):
        Trainer(model(), data(), torch.optim.SGD(model().parameters(), lr=0.1), device="cpu")


def train_for_comparison(folder: str) -> None:
    """Train in double precision and save what came out; the same lines run in one process and in several."""
    torch.set_num_threads(1)
    network = model().double()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    # 9 samples in batches of 4: shares of 2, and of 1 and 0
    training = Trainer(
        network,
        data(9, torch.float64),
        optimizer,
        batch_size=4,
        checkpoint=f"{folder}/state.pt",
        clip=1.0,
        progress=False,
    )
    training.fit(2, validation=data(5, torch.float64))
    training = Trainer(
        network, data(9, torch.float64), optimizer, batch_size=4, checkpoint=f"{folder}/state.pt", clip=1.0
    )
    history = training.fit(3, validation=data(5, torch.float64))
    windows = Windows(torch.stack(data(6, torch.float64).tensors, 1), 1)
    Trainer(network, windows, optimizer, RollOut(), batch_size=3, progress=False).fit(1)
    rank = dist.get_rank() if dist.is_initialized() else 0
    torch.save({"history": history, "parameters": [p.detach() for p in network.parameters()]}, f"{folder}/{rank}.pt")
    if dist.is_initialized():
        dist.destroy_process_group()


def compare(folder: Path) -> None:
    alone = folder / "alone"
    alone.mkdir()
    train_for_comparison(str(alone))
    expected = torch.load(alone / "0.pt", weights_only=True)
    for rank in range(WORLD):
        found = torch.load(folder / f"{rank}.pt", weights_only=True)
        # sums in another order; Adam divides by the root of small second moments
        torch.testing.assert_close(found["parameters"], expected["parameters"], rtol=1e-8, atol=1e-10)
        for mine, theirs in zip(found["history"], expected["history"], strict=True):
            assert mine == pytest.approx(theirs, rel=1e-10)


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_available(), reason="this build of torch has no distributed package")
def test_torchrun_gives_the_result_of_one_process(tmp_path: Path):
    root = Path(__file__).parents[2]
    script = tmp_path / "script.py"
    script.write_text(
        f"from tests.operators.test_training import train_for_comparison\ntrain_for_comparison({str(tmp_path)!r})\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}", "GLOO_SOCKET_IFNAME": "lo"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={WORLD}", str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    compare(tmp_path)
