"""The roll-out of a neural ODE with a LocalNO: data, resumption, command, picture."""

import json
from pathlib import Path

import pytest
import torch

from examples.common import Stopped
from examples.operators import rollout
from examples.operators.pictures import draw_roll_out
from examples.operators.rollout import FRAMES, PENALTIES, POINTS, RollOutRun, RollOutSettings, frames
from nde.operators import LocalNO

TINY = RollOutSettings(trajectories=2, test_trajectories=2, iterations=2, width=4)
TINY_ARGUMENTS = ["--trajectories", "2", "--test-trajectories", "2", "--iterations", "2", "--width", "4"]


def test_both_resolutions_are_one_function(tmp_path):
    coarse, fine = (frames(TINY, tmp_path, factor) for factor in (1, 2))
    assert coarse.shape == (4, FRAMES + 1, 1, POINTS) and fine.shape == (4, FRAMES + 1, 1, 2 * POINTS)
    assert 0.5 < coarse.std() < 2
    # what differs are waves that 64 points cannot hold, and the equation has hardly any
    torch.testing.assert_close(fine[..., ::2], coarse, rtol=1e-3, atol=1e-3)


def test_shifts_of_the_circle_commute_with_the_field(tmp_path):
    layer = rollout.build(RollOutRun("none", 0, TINY, tmp_path)).double()
    assert isinstance(layer.field, LocalNO)
    state = torch.randn(2, 1, POINTS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer.field(0.0, state.roll(7, -1)), layer.field(0.0, state).roll(7, -1))


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path):
    whole = rollout.measure(RollOutRun("global error", 0, TINY, tmp_path / "whole"))
    asked = []

    def stop():  # before the second iteration
        asked.append(1)
        return len(asked) == 2

    run = RollOutRun("global error", 0, TINY, tmp_path / "halves")
    with pytest.raises(Stopped):
        rollout.measure(run, stop)
    assert run.result() is None
    halves = rollout.measure(run)
    assert halves["test"] == whole["test"]
    assert rollout.measure(run, lambda: pytest.fail("trained again")) == halves
    more = RollOutSettings(trajectories=2, test_trajectories=2, iterations=3, width=4)
    assert RollOutRun("global error", 0, more, tmp_path / "halves").result() is None


def test_the_penalty_changes_what_is_learned_but_not_where_it_begins(tmp_path):
    runs = [RollOutRun(penalty, 0, TINY, tmp_path) for penalty in PENALTIES]
    starts = [next(iter(rollout.build(run).field.parameters())) for run in runs]
    assert all(bool((start == starts[0]).all()) for start in starts)
    ends = [next(iter(rollout.train(run).field.parameters())) for run in runs]
    assert not bool((ends[0] == ends[1]).all())


def test_the_command_prints_a_table_and_the_picture_is_drawn(tmp_path, capsys):
    arguments = [*TINY_ARGUMENTS, "--seeds", "1", "--output", str(tmp_path)]
    assert rollout.main(arguments) == 0
    printed = capsys.readouterr().out
    found = rollout.finished_roll_outs(tmp_path, TINY)
    assert [run.penalty for run in found] == list(PENALTIES)
    for run, result in found.items():
        assert json.loads(Path(f"{run.path}.json").read_text()) == result
        errors = result["test"]["2"]["errors"]
        assert len(errors) == FRAMES + 1 and errors[0] == 0 and f"{errors[FRAMES]:.3f}" in printed
    draw_roll_out(found, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 20_000


@pytest.mark.parametrize("wrong", [["--seeds", "0"], ["--iterations", "none"]])
def test_wrong_arguments_end_with_an_explanation(wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        rollout.main(wrong)
    assert caught.value.code == 2 and "error: argument" in capsys.readouterr().err
