"""The loop trains, says what solves cost, stops calmly, and goes on as if it had not stopped."""

import math
import signal
import warnings

import pytest
import torch
from torch import nn

import nde
from nde.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from nde.regularize import GlobalError, NFEBudget
from nde.training import Loop, LoopError, SolverMonitor, share_gradients
from tests.problems import Net


class Model(nn.Module):
    def __init__(self, regularizer=None, dropout=0.3):
        super().__init__()
        self.flow = nde.NeuralODE(Net(size=2), regularizer=regularizer, rtol=1e-5)
        self.drop = nn.Dropout(dropout)  # draws random numbers, which a resumed run must repeat

    def forward(self, x):
        out = self.flow(x)
        return self.drop(out.y1), out.penalty


def loss(model, batch):
    predicted, penalty = model(batch)
    return (predicted - 1).square().mean() + penalty


def batches(epoch):
    generator = torch.Generator().manual_seed(epoch)
    return [torch.randn(4, 2, generator=generator, dtype=torch.float64) for _ in range(3)]


def loop(checkpoint=None, **options):
    torch.manual_seed(0)
    model = Model(options.pop("regularizer", None))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.9)
    return Loop(model, optimizer, loss, batches, scheduler=scheduler, checkpoint=checkpoint, progress=False, **options)


def weights(one):
    return torch.cat([parameter.detach().flatten() for parameter in one.model.parameters()])


def test_the_history_has_a_record_of_every_step_with_what_its_solves_cost():
    one = loop(regularizer=0.1 * GlobalError())
    history = one.run(2)
    assert len(history) == one.step == 6 and one.epoch == 2
    with nde.profile.record() as cost:
        total = loss(one.model, batches(0)[0])
    assert {"loss", "nfe", "nfe_backward", "accepted", "rejected", "stiffness", "penalty"} <= set(history[0])
    assert history[-1]["nfe"] == pytest.approx(cost.solves[0].forward.field, abs=12) and history[0]["penalty"] > 0
    assert total.item() < history[0]["loss"] * 2


@pytest.mark.parametrize("stop_at", [1, 4])
def test_a_run_that_was_interrupted_goes_on_bit_by_bit(tmp_path, stop_at):
    whole = loop()
    whole.run(2)

    def interrupt(one):
        if one.step == stop_at:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    first = loop(tmp_path / "run.pt", after_step=interrupt)
    first.run(2)
    assert first.interrupted and first.step == stop_at and signal.getsignal(signal.SIGINT) is before
    second = loop(tmp_path / "run.pt")
    torch.rand(7)  # whatever the state of the generator is, that of the checkpoint counts
    history = second.run(2)
    assert second.step == 6 and not second.interrupted
    assert torch.equal(weights(second), weights(whole))
    assert [record["loss"] for record in history] == [record["loss"] for record in whole.history]
    assert second.scheduler.state_dict() == whole.scheduler.state_dict()


def test_what_a_killed_run_had_not_saved_is_done_again(tmp_path):
    whole = loop()
    whole.run(2)

    def die(one):
        if one.step == 5:
            raise MemoryError

    with pytest.raises(MemoryError):
        loop(tmp_path / "run.pt", after_step=die, checkpoint_steps=2).run(2)
    again = loop(tmp_path / "run.pt")
    again.restore()
    assert again.step == 4
    again.run(2)
    assert torch.equal(weights(again), weights(whole))


@pytest.mark.parametrize("alike", [False, True])
def test_processes_that_were_not_there_before_draw_numbers_of_their_own_and_a_warning_says_so(tmp_path, alike):
    one = loop(tmp_path / "run.pt")
    one.run(1)
    state = read_checkpoint(tmp_path / "run.pt")
    first = state["random"][0]["cpu"]
    second = first if alike else torch.Generator().manual_seed(5).get_state()
    state["random"] = [{"cpu": first}, {"cpu": second}]
    write_checkpoint(tmp_path / "run.pt", state)
    drawn = []
    for rank in range(4):
        later = loop(tmp_path / "run.pt")
        later._processes.rank, later._processes.count = rank, 4
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert later.restore()
        drawn.append(torch.rand(2).tolist())
        assert [str(one.message).count("written by 2 processes and is read by 4") for one in said] == [1] * (not rank)
    # where all processes had the same numbers, they were meant to
    assert len({tuple(numbers) for numbers in drawn}) == (1 if alike else 4)


def test_gradients_are_shared_where_there_is_somebody_to_share_them_with():
    net = nn.Linear(2, 2)
    end = share_gradients(net)  # this process is alone
    net(torch.ones(2)).sum().backward()
    end()
    assert bool((net.bias.grad == 1).all())
    with pytest.raises(TypeError, match=r"module must be an nn\.Module"):
        share_gradients([net])


def test_schedules_and_budgets_are_part_of_the_run(tmp_path):
    def built(path):
        budget = NFEBudget(15, GlobalError(), initial=0.01)
        one = loop(path, regularizer=budget, after_step=lambda _: budget.step(), stateful={"budget": budget})
        return one, budget

    whole, weight = built(tmp_path / "whole.pt")
    whole.run(2)
    first, _ = built(tmp_path / "parts.pt")
    first.run(1)
    second, resumed = built(tmp_path / "parts.pt")
    second.run(2)
    assert torch.equal(weights(second), weights(whole)) and resumed.weight == weight.weight != 0.01
    with pytest.raises(CheckpointError, match="stateful="):
        loop(tmp_path / "parts.pt").run(3)


def test_losses_that_are_not_finite_stop_the_run_and_keep_the_checkpoint(tmp_path):
    def spoil(one):
        if one.step == 3:
            with torch.no_grad():
                next(one.model.parameters()).fill_(math.nan)

    with pytest.raises(nde.SolverError, match="field"):
        loop(tmp_path / "solve.pt", after_step=spoil, checkpoint_steps=2).run(2)
    one = loop(tmp_path / "loss.pt", checkpoint_steps=2)
    one._loss = lambda model, batch: loss(model, batch) * (math.nan if one.step == 3 else 1)
    with pytest.raises(LoopError, match="the loss of step 3 is nan"):
        one.run(2)
    for name in ("solve.pt", "loss.pt"):
        kept = loop(tmp_path / name)
        kept.restore()
        assert kept.step == 2 and bool(torch.isfinite(weights(kept)).all())


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"model": 3}, TypeError, "model must be"),
        ({"loss": 3}, TypeError, "loss must be callable"),
        ({"batches": [1]}, TypeError, "batches must be callable"),
        ({"checkpoint_steps": 0}, ValueError, "checkpoint_steps must be"),
        ({"clip": 0.0}, ValueError, "clip must be"),
    ],
)
def test_wrong_arguments_are_told(wrong, error, said):
    model = Model()
    arguments = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), 0.1),
        "loss": loss,
        "batches": batches,
    }
    with pytest.raises(error, match=said):
        Loop(**{**arguments, **wrong})
    with pytest.raises(ValueError, match="epochs must be"):
        loop().run(0)


def test_a_monitor_tells_fields_apart_and_forgets_what_it_has_told():
    model = nn.ModuleDict({"one": nde.NeuralODE(Net()), "two": nde.NeuralODE(Net(), method="dopri5")})
    y0 = torch.ones(2, 3, dtype=torch.float64)
    with SolverMonitor(model) as monitor:
        outputs = [layer(y0) for layer in model.values()]
        numbers = monitor.collect()
        assert numbers["nfe"] == sum(output.stats.n_field_evals for output in outputs)
        for name, output in zip(model, outputs, strict=True):
            assert numbers[f"nfe/{name}.field"] == output.stats.n_field_evals
        assert monitor.collect()["nfe"] == 0
    with pytest.raises(RuntimeError, match="inside of its block"):
        monitor.collect()
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(TypeError, match="model must be"):
        SolverMonitor(None)


def test_the_bar_shows_evaluations(capsys):
    pytest.importorskip("tqdm")
    one = loop()
    one._progress = True
    one.run(1)
    shown = capsys.readouterr().err
    assert "nfe=" in shown and "loss=" in shown and "epoch 1 of 1" in shown
