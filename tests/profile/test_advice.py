"""Advice is measured: times, evaluations and errors of the candidates are those of solves that anybody can repeat."""

import math
import time

import pytest
import torch

import nde
import nde.profile
from nde.profile.advice import Advice, Candidate
from tests.problems import Net, double


def two_bodies(t, y):
    position, velocity = y[..., :2], y[..., 2:]
    return torch.cat([velocity, -position / position.norm(dim=-1, keepdim=True) ** 3], -1)


ORBIT = double(0.4, 0.0, 0.0, 2.0)
TS = (0.0, 3.0, 6.0)


def recorded(**options):
    with nde.profile.record() as cost:
        nde.solve_ode(two_bodies, ORBIT, TS, **options)
    return cost


def test_every_candidate_is_what_its_settings_give():
    cost = recorded(method="bosh3", rtol=1e-7, atol=1e-7)
    advice = cost.advice(repeats=1)
    reference = nde.solve_ode(two_bodies, ORBIT, TS, method="dopri8", rtol=1e-12, atol=1e-12).ys
    assert sum(candidate.recorded for candidate in advice.candidates) == 1
    for candidate in advice.candidates:
        settings = {"method": candidate.method, "rtol": candidate.rtol, "atol": candidate.atol}
        controller = nde.PIController() if candidate.controller else None
        solution = nde.solve_ode(two_bodies, ORBIT, TS, controller=controller, **settings)
        assert solution.stats.n_field_evals == candidate.evaluations
        error = ((solution.ys - reference).abs() / (1e-7 + 1e-7 * reference.abs())).max()
        assert candidate.error == pytest.approx(float(error), rel=0.02, abs=0.05)
    assert {candidate.method for candidate in advice.candidates} == {"bosh3", "tsit5", "dopri5", "dopri8"}


def test_a_method_of_low_order_at_a_tight_tolerance_is_advised_against():
    advice = recorded(method="bosh3", rtol=1e-9, atol=1e-9).advice(repeats=2)
    best = advice.best
    assert best.method in ("tsit5", "dopri5", "dopri8") and advice.speed_up > 2
    assert best.error <= max(1.1 * advice.recorded.error, 1.0)
    assert f"{advice.speed_up:.2f} times faster" in str(advice) and best.settings in str(advice)

    def seconds(**settings):
        start = time.process_time()
        nde.solve_ode(two_bodies, ORBIT, TS, **settings)
        return time.process_time() - start

    # what was promised is there when the advice is followed: the evaluations say so on a machine with other work
    followed = recorded(method=best.method, rtol=best.rtol, atol=best.atol).solves[0]
    assert followed.forward.field == best.evaluations < advice.recorded.evaluations / 2
    assert seconds(method=best.method, rtol=best.rtol, atol=best.atol) > 0


def candidate(seconds, error, method="dopri5", recorded=False):
    return Candidate(method, 1e-6, 1e-6, False, "", seconds, evaluations=100, error=error, recorded=recorded)


@pytest.mark.parametrize(
    ("others", "best"),
    [
        ([candidate(0.97, 0.5, "tsit5")], "dopri8"),  # faster by less than the clock can tell
        ([candidate(0.5, 7.0, "bosh3")], "dopri8"),  # faster, but less accurate than what was recorded
        ([candidate(0.5, math.nan, "bosh3")], "dopri8"),  # failed
        ([candidate(0.5, 0.9, "tsit5"), candidate(0.4, 3.1, "bosh3"), candidate(0.3, 9.0, "bosh3")], "bosh3"),
    ],
)
def test_the_recorded_settings_are_kept_unless_others_are_clearly_faster_and_as_accurate(others, best):
    advice = Advice("field", (candidate(1.0, 3.0, "dopri8", recorded=True), *others))
    assert advice.best.method == best and advice.best.seconds in (1.0, 0.4)
    assert ("keep the settings" in str(advice)) == (best == "dopri8")


def test_good_settings_are_beaten_by_little():
    advice = recorded(method="dopri8", rtol=1e-9, atol=1e-9).advice(tolerances=(1.0,), repeats=2)
    # the same method under another controller at most: evaluations, because times depend on the machine's other work
    assert advice.best.method == "dopri8" and advice.recorded.evaluations < 1.2 * advice.best.evaluations


def test_per_sample_steps_are_tried_on_batches_alone():
    rates = torch.tensor([[1.0], [100.0]], dtype=torch.float64)
    with nde.profile.record() as cost:
        nde.solve_ode(lambda t, y: -rates[: len(y)] * y, torch.ones(2, 1).double(), (0.0, 1.0))
    # the field is written for all samples at once, and cannot be evaluated for some of them: left out where it fails
    batch = Net(size=3)
    with nde.profile.record() as cost:
        nde.solve_ode(batch, torch.ones(2, 3).double(), (0.0, 1.0))
    assert any(candidate.per_sample for candidate in cost.advice(repeats=1).candidates)
    assert not any(candidate.per_sample for candidate in recorded().advice(repeats=1).candidates)


def test_stochastic_solves_are_judged_on_their_own_path():
    with nde.profile.record() as cost:
        nde.solve_sde(
            lambda t, y: -y,
            lambda t, y: 0.3 * torch.cos(y),
            torch.ones(5).double(),
            (0.0, 1.0),
            noise="diagonal",
            seed=1,
        )
    advice = cost.advice(repeats=1)
    assert {"sosri2", "sriw1"} <= {candidate.method for candidate in advice.candidates}
    mine = [candidate for candidate in advice.candidates if candidate.method == "sosri2" and not candidate.controller]
    by_tolerance = sorted(mine, key=lambda candidate: candidate.rtol)
    assert by_tolerance[0].error < by_tolerance[-1].error  # a smaller tolerance comes closer to the same path


def test_what_cannot_be_solved_again_is_told():
    with nde.profile.record(keep=False) as cost:
        nde.solve_ode(two_bodies, ORBIT, TS)
    with pytest.raises(ValueError, match="keep=True"):
        cost.advice()
    cost = recorded()
    with pytest.raises(ValueError, match="label must be one of two_bodies"):
        cost.advice("other")
    with pytest.raises(ValueError, match="repeats must be"):
        cost.advice(repeats=0)
    with pytest.raises(ValueError, match="tolerances must be"):
        cost.advice(tolerances=(0.0,))


def test_stiff_problems_are_advised_implicit_methods_and_fixed_steps_are_judged_by_their_own_error():
    def van_der_pol(t, y):
        return torch.stack([y[..., 1], 60 * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]], -1)

    y0 = double(2.0, 0.0)
    with nde.profile.record() as cost:
        nde.solve_ode(van_der_pol, y0, (0.0, 1.0), method="dopri5", rtol=1e-4, atol=1e-6)
    advice = cost.advice(repeats=1)
    best = advice.best
    assert best.method in ("trbdf2", "radau_iia5") and best.error <= 1 and "FixedStep" in best.settings
    with nde.profile.record() as followed:
        solution = nde.solve_ode(van_der_pol, y0, (0.0, 1.0), **best.options)
    assert solution.success and followed.solves[0].forward.field == best.evaluations < advice.recorded.evaluations / 2
    assert not any("FixedStep" in one.settings for one in cost.advice(repeats=1, stepping=False).candidates)

    with nde.profile.record() as cost:
        nde.solve_ode(van_der_pol, y0, (0.0, 1.0), method="trbdf2", controller=nde.FixedStep(0.05))
    fixed = cost.advice(repeats=1)
    assert fixed.tolerated == 0 and fixed.best.error <= 1.1 * fixed.recorded.error
    assert {"radau_iia5", "tsit5"} <= {candidate.method for candidate in fixed.candidates}


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("adjoint", ["discrete", "direct", "backsolve"])
def test_advice_on_a_training_solves_backward_too_and_leaves_gradients_alone(adjoint, per_sample):
    layer = nde.NeuralODE(Net(size=3), adjoint=adjoint, per_sample=per_sample, rtol=1e-5)
    encoder = torch.nn.Linear(3, 3).double()
    with nde.profile.record(layer) as cost:
        layer(encoder(torch.ones(4, 3).double())).y1.square().sum().backward()
    before = [parameter.grad.clone() for parameter in (*layer.parameters(), *encoder.parameters())]
    calls = 0

    def count(*_):
        nonlocal calls
        calls += 1

    handle = layer.field.register_forward_hook(count)
    advice = cost.advice(repeats=1, tolerances=(1.0,))
    handle.remove()
    after = [parameter.grad for parameter in (*layer.parameters(), *encoder.parameters())]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
    assert any(one.per_sample != per_sample for one in advice.candidates)
    assert advice.recorded.per_sample == per_sample and 0 < advice.share <= 1
    assert 1 <= advice.speed_up_in_all <= advice.speed_up
    assert advice.recorded.evaluations == cost.solves[0].forward.field and calls > advice.recorded.evaluations
