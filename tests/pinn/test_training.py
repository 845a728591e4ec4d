"""The trainer: what it reports, how it stops, and that a resumed run is the same to the last bit."""

import math
import os
import signal
import sys
import threading

import pytest
import torch
from torch import nn

from nde.checkpoints import read_checkpoint, write_checkpoint
from nde.pinn.coefficient import Coefficient
from nde.pinn.conditions import Data, Dirichlet, Equation, Initial
from nde.pinn.geometry import Box, Interval, TimeProduct
from nde.pinn.networks import MLP
from nde.pinn.optim import LBFGS, NaturalGradient
from nde.pinn.plots import plot_history, plot_residual, plot_solution
from nde.pinn.points import RandomPoints, ResidualPoints, RetainedPoints
from nde.pinn.problem import Problem
from nde.pinn.training import Reference, Trainer, relative_error, trivial_error
from nde.pinn.weighting import Causal, Combined, GradientNorm
from nde.taylor.operators import NonFiniteResidualError, Unknown

DOMAIN = TimeProduct(Interval(0.0, 1.0), 0.0, 1.0)


def wave(x):
    return torch.sin(2 * math.pi * (x[..., 0] - x[..., 1]))


def advection(points=None, seed=0):
    torch.manual_seed(seed)
    u = Unknown("xt")
    inside = RandomPoints(DOMAIN.sample, 32) if points is None else points
    conditions = {
        "equation": Equation(u.t + u.x, inside),
        "start": Initial(wave, RandomPoints(DOMAIN.sample_initial, 16)),
        "edge": Dirichlet(wave, RandomPoints(DOMAIN.sample_boundary, 16, every=3, method="sobol")),
    }
    return Problem(MLP(2, width=8, depth=2), conditions)


def built(kind, **settings):
    points = {
        "adaptive": ResidualPoints(DOMAIN.sample, 32, every=4),
        "retained": RetainedPoints(DOMAIN.sample, 32),
        "lbfgs": RandomPoints(DOMAIN.sample, 32, every=5),
        "natural": RandomPoints(DOMAIN.sample, 32, every=2),
        "weighted lbfgs": RandomPoints(DOMAIN.sample, 32, every=None),
    }.get(kind)
    problem = advection(points)
    if "lbfgs" in kind:
        optimizer = LBFGS(problem.parameters(), max_iter=3)
    elif kind == "natural":
        optimizer = NaturalGradient(problem, damping=1e-4, momentum=0.8)
    else:
        optimizer = torch.optim.Adam(problem.parameters(), 1e-2)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9) if kind == "adaptive" else None
    weighting = Combined(GradientNorm(every=3), Causal("equation", 0.0, 1.0)) if kind == "retained" else None
    weighting = GradientNorm(every=3) if kind == "weighted lbfgs" else weighting
    reference = Reference(DOMAIN.sample(50, generator=torch.Generator().manual_seed(9)), wave)
    return Trainer(
        problem,
        optimizer,
        scheduler=scheduler,
        weighting=weighting,
        reference=reference,
        evaluate_every=2,
        **settings,
    )


@pytest.mark.parametrize("kind", ["adam", "adaptive", "retained", "lbfgs", "weighted lbfgs", "natural"])
def test_a_resumed_run_equals_one_without_a_break_bit_by_bit(kind, tmp_path):
    whole = built(kind)
    assert whole.run(11) == "finished"
    path = tmp_path / "run.pt"
    built(kind, checkpoint=path).run(6)
    torch.manual_seed(123)  # what happened in between must not matter
    second = built(kind, checkpoint=path)
    torch.rand(7)
    second.resume()
    assert second.iteration == 6
    second.run(11)
    for one, other in zip(whole.problem.state_dict().values(), second.problem.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert whole.history.state_dict() == second.history.state_dict()
    assert torch.equal(whole.problem.points("edge"), second.problem.points("edge"))


def test_training_lowers_the_loss_and_writes_losses_and_errors_down(capsys):
    trainer = built("adam", progress=True)
    trainer.run(400)
    history = trainer.history
    assert history.values["error"][-1] < 0.5 * history.values["error"][0]
    assert history.steps["loss"][:3] == [2, 4, 6] and history.last("rate") == 1e-2
    parts = [history.last(f"loss/{name}") for name in ("equation", "start", "edge")]
    assert history.last("loss") == pytest.approx(sum(parts))
    assert "400/400" in capsys.readouterr().err
    with pytest.raises(KeyError, match="'skill'"):
        history.last("skill")


def test_optimizers_can_follow_each_other_on_one_problem():
    problem = advection(DOMAIN.sample(64, generator=torch.Generator().manual_seed(0)))
    for condition in problem.conditions.values():
        condition.points.every = None
    Trainer(problem, torch.optim.Adam(problem.parameters(), 1e-2)).run(50)
    before = float(problem.loss().detach())
    Trainer(problem, LBFGS(problem.parameters())).run(20)
    assert float(problem.loss().detach()) < 0.1 * before


def test_curvature_pairs_are_forgotten_when_the_weights_change(monkeypatch):
    trainer = built("weighted lbfgs")
    for condition in trainer.problem.conditions.values():
        condition.points.every = None  # new points make it forget as well
    resets = []
    monkeypatch.setattr(trainer.optimizer, "reset_history", lambda: resets.append(trainer.iteration))
    trainer.run(8)
    assert sorted(set(resets)) == [0, 3, 6]  # GradientNorm(every=3)


def test_there_is_no_loss_before_the_first_step():
    trainer = built("adam")
    assert set(trainer.evaluate()) == {"error", "rate"}


def test_a_run_ends_at_its_target_error():
    trainer = built("adam", target=0.9)
    assert trainer.run(2000) == "reached"
    assert trainer.iteration < 2000 and trainer.history.last("error") <= 0.9


def test_a_run_ends_where_the_optimizer_is_done_and_points_stay():
    problem = Problem(nn.Linear(1, 1), {"data": Data(torch.rand(5, 1), torch.rand(5))})
    trainer = Trainer(problem, LBFGS(problem.parameters(), tolerance_grad=1e-5))
    assert trainer.run(500) in ("converged", "stalled")
    assert trainer.iteration < 500


def test_ctrl_c_ends_after_a_whole_step_with_a_checkpoint(tmp_path):
    path = tmp_path / "run.pt"
    trainer = built("adam", checkpoint=path)
    original = trainer.problem.residuals
    calls = 0

    def interrupted():
        nonlocal calls
        calls += 1
        if calls == 5:
            os.kill(os.getpid(), signal.SIGINT)  # in the middle of step 5
        return original()

    trainer.problem.residuals = interrupted
    handler = signal.getsignal(signal.SIGINT)
    assert trainer.run(11) == "interrupted"
    assert signal.getsignal(signal.SIGINT) is handler
    assert read_checkpoint(path)["iteration"] == 5
    resumed = built("adam", checkpoint=path).resume()
    resumed.run(11)
    whole = built("adam")
    whole.run(11)
    assert all(map(torch.equal, whole.problem.parameters(), resumed.problem.parameters()))


def test_a_second_ctrl_c_ends_at_once():
    trainer = built("adam")

    def stuck():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    trainer.problem.residuals = stuck
    with pytest.raises(KeyboardInterrupt):
        trainer.run(2)


def test_a_run_in_another_thread_leaves_signals_alone():
    trainer = built("adam")
    endings = []
    thread = threading.Thread(target=lambda: endings.append(trainer.run(3)))
    thread.start()
    thread.join()
    assert endings == ["finished"]


def test_a_checkpoint_is_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    write_checkpoint(path, {"value": torch.ones(2)})

    class Unsaveable:
        def __reduce__(self):
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_checkpoint(path, {"value": Unsaveable()})
    assert torch.equal(read_checkpoint(path)["value"], torch.ones(2))
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_a_run_that_diverges_keeps_its_last_checkpoint(tmp_path):
    path = tmp_path / "run.pt"
    trainer = built("adam", checkpoint=path, checkpoint_every=2)
    trainer.run(4)
    with torch.no_grad():
        next(trainer.problem.parameters()).fill_(math.nan)
    with pytest.raises(NonFiniteResidualError, match=r"condition 'equation' is not finite at 32 of 32 points"):
        trainer.run(8)
    assert read_checkpoint(path)["iteration"] == 4


def test_coefficients_are_found_from_data():
    torch.manual_seed(0)
    speed = Coefficient(0.2)
    u = Unknown("xt")
    x = DOMAIN.sample(200, generator=torch.Generator().manual_seed(0))
    bump = lambda x: torch.exp(-8 * (x[:, 0] - 0.7 * x[:, 1] - 0.2) ** 2)
    conditions = {"equation": Equation(u.t + u.given(speed) * u.x, x), "data": Data(x[:60], bump(x[:60]), weight=10.0)}
    problem = Problem(MLP(2, width=16, depth=1).double(), conditions, {"speed": speed.double()})
    trainer = Trainer(problem, NaturalGradient(problem), evaluate_every=5)
    trainer.run(40)
    assert trainer.history.last("coefficient/speed") == pytest.approx(0.7, abs=1e-3)


class Recorder:
    def __init__(self):
        self.calls = []

    def add_scalar(self, tag, scalar_value, global_step):
        self.calls.append((tag, scalar_value, global_step))


def test_numbers_go_to_any_writer(monkeypatch):
    writer = Recorder()
    trainer = built("adam", log=writer)
    trainer.run(2)
    assert ("loss", trainer.history.last("loss"), 2) in writer.calls
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        built("adam", log="runs")


def test_errors_are_relative_and_the_trivial_fit_is_the_best_one():
    x = torch.rand(100, 1)
    features = torch.cat([torch.ones_like(x), x], 1)
    expected = x[:, 0] ** 2
    best = trivial_error(features, expected)
    assert best <= relative_error(x[:, 0] - 0.15, expected) and 0 < best < 1
    reference = Reference(x, expected, trivial=best)
    assert reference.error(lambda x: 1.1 * x**2) == pytest.approx(0.1)
    problem = Problem(MLP(1), {"data": Data(x, expected)})
    trainer = Trainer(problem, torch.optim.Adam(problem.parameters()), reference=reference)
    trainer.run(1)
    assert trainer.history.last("skill") == pytest.approx(trainer.history.last("error") / best)


def test_a_reference_is_compared_in_the_type_of_the_model():
    x = torch.rand(20, 1, dtype=torch.float64)
    reference = Reference(x, x[:, 0])
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(1.5), model.bias.fill_(0.0)
    assert reference.error(model) == pytest.approx(0.5, rel=1e-6)
    assert reference.error(model.double()) == pytest.approx(0.5, rel=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pictures_of_history_solution_and_residual(tmp_path):
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib import pyplot

    trainer = built("adam")
    trainer.run(4)
    assert len(plot_history(trainer.history).axes[0].lines) == 5
    figure = plot_solution(trainer.problem.model, DOMAIN, solution=wave, resolution=21)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["model", "solution", "error"]
    assert plot_residual(trainer.problem, "equation", DOMAIN, resolution=11).axes[0].get_title() == (
        "residual of equation"
    )
    line = plot_solution(MLP(1), Interval(0.0, 1.0), solution=lambda x: x[:, 0], resolution=11)
    assert len(line.axes[0].lines) == 2
    holed = plot_solution(MLP(2), Box([0.0, 0.0], [1.0, 1.0]) - Box([0.2, 0.2], [0.8, 0.8]), resolution=11)
    assert bool(holed.axes[0].collections[0].get_array().mask.any())
    with pytest.raises(ValueError, match="3 dimensions cannot be drawn"):
        plot_solution(MLP(3), Box([0.0] * 3, [1.0] * 3))
    pyplot.close("all")


def other_optimizer():
    problem, other = advection(), advection()
    return Trainer(problem, NaturalGradient(other))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Trainer(MLP(1), None), TypeError, "must be a Problem"),
        (lambda: Trainer(advection(), "adam"), TypeError, "torch.optim.Optimizer"),
        (other_optimizer, ValueError, "another problem"),
        (lambda: built("adam", checkpoint="no/such/folder/run.pt"), ValueError, "does not exist"),
        (lambda: built("adam").save(), ValueError, "no file to save to"),
        (lambda: built("adam").resume(), ValueError, "no file to resume from"),
        (lambda: built("adam", checkpoint="nothing-here.pt").resume(), FileNotFoundError, "nothing-here"),
        (lambda: built("adam").run(-1), ValueError, "steps must be at least 0"),
        (lambda: Trainer(advection(), torch.optim.SGD(MLP(1).parameters()), target=0.1), ValueError, "give reference="),
        (lambda: Trainer(advection(), torch.optim.SGD(MLP(1).parameters())), ValueError, "none of the problem's"),
        (lambda: Reference(torch.rand(3, 1), torch.rand(3)).error(MLP(2)), ValueError, "reference's points of the"),
        (lambda: Reference(torch.rand(3, 1), torch.rand(2)), ValueError, "a row for each of the 3 points"),
        (lambda: Reference(torch.rand(2, 1), torch.full((2,), math.nan)), ValueError, "must be finite"),
        (lambda: relative_error(torch.rand(3, 2), torch.rand(3)), ValueError, "is expected"),
        (lambda: relative_error(torch.rand(3), torch.zeros(3)), ValueError, "all zero"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_what_would_work(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_checkpoint_of_another_kind_of_trainer_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    built("retained", checkpoint=path).run(1)
    with pytest.raises(ValueError, match="the checkpoint has a weighting, but this trainer has none"):
        built("adam").resume(path)
    torch.save({"weights": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="is no checkpoint"):
        built("adam").resume(path)
