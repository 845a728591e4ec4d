"""Times of a recording over several blocks, of what is not there, of passes that break off; and what it keeps alive."""

import gc
import weakref

import pytest
import torch

import nde
import nde.profile
from tests.problems import double
from tests.profile.test_recording import ADJOINTS, Counted, batch, decay


def test_a_block_that_is_entered_again_goes_on_with_its_time():
    with nde.profile.record() as cost:
        nde.solve_ode(decay, double(1.0), (0.0, 1.0))
    first = cost.seconds
    with cost:
        nde.solve_ode(decay, double(1.0), (0.0, 1.0))
    times = cost.times()
    assert cost.seconds > first and len(cost.solves) == 2 and cost.solves[1].began >= first
    assert times.field + times.solver == pytest.approx(sum(solve.seconds for solve in cost.solves))


def test_times_of_what_is_not_there_are_refused():
    with nde.profile.record() as cost:
        nde.solve_ode(decay, double(1.0), (0.0, 1.0))
    assert cost.times(0) == cost.times() == cost.times(label="decay")
    for iteration in (1, -1, True, 0.5):
        with pytest.raises(ValueError, match="iteration must be from 0 to 0"):
            cost.times(iteration)
    with pytest.raises(ValueError, match="label must be one of decay"):
        cost.times(label="growth")


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_a_backward_pass_that_breaks_off_is_left_out_and_the_next_one_is_timed(adjoint):
    layer = nde.NeuralODE(Counted(), adjoint=adjoint)
    with nde.profile.record() as cost:
        scale = torch.ones((), dtype=torch.float64, requires_grad=True)
        scaled = scale * batch()
        scaled.register_hook(lambda gradient: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            layer(scaled).y1.sum().backward()
        layer(batch()).y1.sum().backward()
    assert cost.solves[-1].backward_seconds > 0 and cost.solves[-1].backward_passes == 1
    times = cost.times()
    assert times.elsewhere >= 0 and times.total == cost.times(label="Counted").total


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_a_recording_keeps_no_tape_alive(adjoint):
    values = []

    class Watched(Counted):
        def forward(self, t, y):
            value = super().forward(t, y)
            values.append(weakref.ref(value))
            return value

    layer = nde.NeuralODE(Watched(), adjoint=adjoint)
    gc.collect()
    gc.disable()  # a cycle would hold it until a collection
    try:
        with nde.profile.record() as cost:
            output = layer(batch())
            output.y1.sum()
            del output
            assert not any(value() is not None for value in values[1:])
        assert cost.solves
    finally:
        gc.enable()
