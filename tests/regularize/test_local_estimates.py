"""Steps at random times, taken again: their mean is the global penalty, and its gradient the global one."""

import copy
import math

import numpy
import pytest
import torch
from torch import nn

import nde
from nde.regularize import GlobalError, GlobalStiffness, LocalError, LocalStiffness
from tests.problems import Net, double, each_adjoint, relative_difference
from tests.regularize.one_step import cosine, digits, flat_gradient, one_step_error

TIGHT = {"rtol": 1e-8, "atol": 1e-8}


def solved(net: nn.Module, adjoint="discrete", ts=(0.0, 0.7, 2.0), **options) -> nde.Solution:
    y0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    return nde.solve_ode(net, y0, ts, adjoint=adjoint, step_states=True, **{**TIGHT, **options})


def noise(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return 0.3 + 0.2 * torch.sin(y)


def solved_sde(net: nn.Module, adjoint="discrete", **options) -> nde.Solution:
    y0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    torch.manual_seed(2)
    return nde.solve_sde(net, noise, y0, (0.0, 0.7, 1.0), adjoint=adjoint, step_states=True, **options)


def every_step(kind: type, solution: nde.Solution, **options):
    """Return a local penalty whose draws are all steps, each of them once."""
    return kind(n_draws=len(solution.steps), sampling="step", stratified=True, **options)


@pytest.mark.parametrize("method", ["heun", "bosh3", "dopri5", "tsit5", "dopri8"])
def test_a_step_taken_again_has_the_estimates_of_the_record(method: str) -> None:
    tolerance = 1e-5 if method == "heun" else 1e-8
    solution = solved(Net(), method=method, rtol=tolerance, atol=tolerance)
    again = [solution.retake(index) for index in range(len(solution.steps))]
    assert [step.t for step in again] == solution.steps.t.tolist()
    assert [step.h for step in again] == solution.steps.h.tolist()
    # rounding of the state, 1e-16, beside the tolerance
    assert torch.allclose(torch.stack([step.error for step in again]), solution.steps.error, rtol=1e-5, atol=1e-6)
    if solution.steps.stiffness is not None:
        stiffness = torch.stack([step.stiffness for step in again])
        assert torch.allclose(stiffness, solution.steps.stiffness, rtol=1e-5)


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize(("method", "kind"), [("sosri2", "diagonal"), ("sosra2", "additive")])
def test_a_step_of_a_stochastic_solve_meets_the_noise_of_its_path_again(method: str, kind: str, seed) -> None:
    y0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    diffusion = noise if kind == "diagonal" else lambda t, y: torch.full_like(y, 0.3)
    solution = nde.solve_sde(
        Net(), diffusion, y0, (0.0, 1.0), noise=kind, method=method, seed=seed, rtol=1e-3, step_states=True
    )
    again = [solution.retake(index) for index in range(len(solution.steps))]
    assert len(again) > 5
    assert torch.allclose(torch.stack([step.error for step in again]), solution.steps.error, rtol=1e-9)
    assert torch.allclose(torch.stack([step.stiffness for step in again]), solution.steps.stiffness, rtol=1e-9)


def test_states_at_the_ends_of_steps_are_those_of_a_dense_solve() -> None:
    y0 = {"a": double(1.0, 0.5), "b": double(0.2).reshape(1, 1)}

    def field(t, y):
        return {"a": -y["a"] * t, "b": y["b"].sin() + t}

    kept = nde.solve_ode(field, y0, (0.0, 1.0), step_states=True).steps.y
    dense = nde.solve_ode(field, y0, (0.0, 1.0), dense=True).steps.y
    for name, shape in (("a", (2,)), ("b", (1, 1))):
        assert kept[name].shape[1:] == shape
        assert torch.allclose(kept[name], dense[name], rtol=1e-12)
    assert nde.solve_ode(field, y0, (0.0, 1.0)).steps.y is None


@pytest.mark.parametrize("reduction", ["span", "sum"])
@pytest.mark.parametrize("ts", [(0.0, 0.7, 2.0), (2.0, 0.7, 0.0)], ids=["forwards", "backwards"])
@pytest.mark.parametrize(
    ("local", "whole"), [(LocalError, GlobalError), (LocalStiffness, GlobalStiffness)], ids=["error", "stiffness"]
)
def test_mean_over_all_steps_is_the_global_penalty(local, whole, ts, reduction: str) -> None:
    solution = solved(Net(), ts=ts)
    value = every_step(local, solution, reduction=reduction)(solution)
    # the error is a difference of stages, which rounding of 1e-16 blurs at a tolerance of 1e-8
    assert float(value.detach()) == pytest.approx(float(whole(reduction=reduction)(solution).detach()), rel=1e-6)


def test_direct_gradient_over_all_steps_is_the_sum_of_each_steps_own() -> None:
    net = Net()
    solution = solved(net)
    parameters = list(net.parameters())
    found = flat_gradient(every_step(LocalError, solution, reduction="sum")(solution), parameters)
    y0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    states = [y0, *solution.steps.y.detach()]
    tableau = nde.solvers.find_method("tsit5").tableau
    expected = torch.zeros_like(found)
    for t, h, y in zip(solution.steps.t.tolist(), solution.steps.h.tolist(), states[:-1], strict=True):
        value = h * one_step_error(net, tableau, t, h, y, True, TIGHT["rtol"])
        expected += flat_gradient(value, parameters)
    assert relative_difference(found, expected) < 1e-6


@each_adjoint
@pytest.mark.parametrize(
    ("local", "whole"), [(LocalError, GlobalError), (LocalStiffness, GlobalStiffness)], ids=["error", "stiffness"]
)
def test_full_gradient_over_all_steps_is_the_global_one(local, whole, adjoint) -> None:
    net = Net()
    y0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    solution = nde.solve_ode(net, y0, (0.0, 0.7, 2.0), adjoint=adjoint, step_states=True, **TIGHT)
    wanted = [y0, *net.parameters()]
    found = flat_gradient(every_step(local, solution, grad="full")(solution), wanted)
    expected = flat_gradient(whole()(solution), wanted)
    assert relative_difference(found, expected) < 1e-6


@pytest.mark.parametrize("landing", [False, True])
def test_full_gradient_passes_through_the_continuous_adjoint(landing: bool) -> None:
    net = Net()
    ts = torch.linspace(0, 2, 21).tolist() if landing else (0.0, 0.7, 2.0)  # steps end on outputs, or do not
    y0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    wanted = [y0, *net.parameters()]
    gradients = []
    for adjoint in ("backsolve", "direct"):
        options = {"controller": nde.StepTo()} if landing else {}
        solution = nde.solve_ode(net, y0, ts, adjoint=adjoint, step_states=True, **TIGHT, **options)
        value = every_step(LocalError, solution, grad="full")(solution)
        gradients.append(flat_gradient(value + solution.ys.square().sum(), wanted))
    # of the order of the tolerance, which the penalty's own scale divides by
    assert relative_difference(*gradients) < 1e-5


def test_full_gradient_without_the_path_through_the_states_would_be_another() -> None:
    net = Net()
    solution = solved(net)
    parameters = list(net.parameters())
    full, direct = (
        flat_gradient(every_step(LocalError, solution, grad=grad)(solution), parameters) for grad in ("full", "direct")
    )
    assert relative_difference(full, direct) > 0.05


@pytest.mark.parametrize("adjoint", ["direct", "discrete", "backsolve"])
def test_full_gradient_of_a_stochastic_solve_is_the_global_one(adjoint: str) -> None:
    net = Net()
    parameters = list(net.parameters())
    reference = solved_sde(net, "direct")
    expected = flat_gradient(GlobalError()(reference), parameters)
    solution = solved_sde(net, adjoint)
    found = flat_gradient(every_step(LocalError, solution, grad="full")(solution), parameters)
    # the continuous adjoint has an error of the order of the steps
    assert relative_difference(found, expected) < (0.05 if adjoint == "backsolve" else 1e-9)


@pytest.mark.parametrize("method", ["align", nde.solvers.sde.StepDoubling("quicsort")], ids=["align", "doubled"])
@pytest.mark.parametrize("adjoint", ["direct", "discrete"])
def test_full_gradient_of_a_langevin_solve_is_the_global_one(adjoint: str, method) -> None:
    x0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    stiffness = double(1.5).requires_grad_()
    solution = nde.solve_langevin(
        lambda t, x: stiffness * x + x**3,
        x0,
        torch.zeros_like(x0),
        (0.0, 1.0, 2.0),
        gamma=1.2,
        seed=0,
        method=method,
        adjoint=adjoint,
        step_states=True,
    )
    assert len(solution.steps) > 4
    found, whole = every_step(LocalError, solution, grad="full")(solution), GlobalError()(solution)
    torch.testing.assert_close(found, whole, rtol=1e-9, atol=1e-12)
    wanted = [x0, stiffness]
    assert relative_difference(flat_gradient(found, wanted), flat_gradient(whole, wanted)) < 1e-8


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("antithetic", [False, True])
@pytest.mark.parametrize("sampling", ["time", "step"])
def test_estimates_and_their_gradients_have_no_bias(sampling: str, antithetic: bool, stratified: bool) -> None:
    net = Net()
    parameters = list(net.parameters())
    solution = solved(net)
    whole = GlobalError()(solution)
    expected = flat_gradient(whole, parameters)
    draws = 40_000  # of few distinct steps, each of which is taken once
    penalty = LocalError(n_draws=draws, sampling=sampling, antithetic=antithetic, stratified=stratified, grad="full")
    found = penalty(solution)
    error, h = solution.steps.error.detach(), solution.steps.h
    single = error if sampling == "time" else error * h * len(h) / h.sum()
    density = h / h.sum() if sampling == "time" else torch.full_like(h, 1 / len(h))
    mean = (density * single).sum()
    spread = float((density * (single - mean).square()).sum().sqrt()) / math.sqrt(draws)
    # pairs may move together, which doubles the variance at worst
    assert abs(float((found - whole).detach())) < 4 * math.sqrt(2) * spread
    assert relative_difference(flat_gradient(found, parameters), expected) < 0.1


def test_a_draw_by_time_finds_the_step_that_holds_it() -> None:
    solution = solved(Net())
    penalty = LocalError(sampling="time", reduction="sum", seed=3)
    ends = (solution.steps.t + solution.steps.h).tolist()
    for call in range(20):
        place = float(numpy.random.default_rng((3, call)).random())
        index = next(index for index, end in enumerate(ends) if place * 2.0 < end)
        expected = 2.0 * float(solution.retake(index).error.detach())
        assert float(penalty(solution).detach()) == pytest.approx(expected, rel=1e-12)


def test_a_draw_by_step_is_weighted_with_its_number_and_size() -> None:
    solution = solved(Net())
    penalty = LocalError(sampling="step", reduction="sum", seed=4)
    count = len(solution.steps)
    for call in range(20):
        step = solution.retake(int(numpy.random.default_rng((4, call)).random() * count))
        expected = count * step.h * float(step.error.detach())
        assert float(penalty(solution).detach()) == pytest.approx(expected, rel=1e-12)


def test_strata_and_pairs_lower_the_variance() -> None:
    solution = solved(Net())

    def variance(**options) -> float:
        penalty = LocalError(n_draws=8, **options)
        with torch.no_grad():
            return float(torch.stack([penalty(solution) for _ in range(60)]).var())

    plain = variance()
    assert variance(stratified=True) < 0.5 * plain
    assert variance(stratified=True, antithetic=True) < 0.5 * plain


def test_pairs_mirror_each_other() -> None:
    solution = solved(Net())
    penalty = LocalError(n_draws=2, antithetic=True, reduction="sum", seed=1)
    place = float(numpy.random.default_rng((1, 0)).random())
    ends = (solution.steps.t + solution.steps.h).tolist()
    indices = [next(i for i, end in enumerate(ends) if t * 2.0 < end) for t in (place, 1 - place)]
    expected = sum(float(solution.retake(index).error.detach()) for index in indices)
    assert float(penalty(solution).detach()) == pytest.approx(expected, rel=1e-12)


def test_the_first_stage_stays_attached_and_the_reference_detaches_it() -> None:
    net, field, pixels = digits()
    parameters = list(net.parameters())
    solution = nde.solve_ode(field, pixels, (0.0, 1.0), rtol=1.4e-8, atol=1.4e-8, step_states=True)
    whole = flat_gradient(GlobalError(reduction="sum")(solution), parameters)
    sound = flat_gradient(every_step(LocalError, solution, reduction="sum")(solution), parameters)
    reference = flat_gradient(every_step(LocalError, solution, reference=True)(solution), parameters)
    assert cosine(sound, whole) > 0.8 and 0.5 < float(sound.norm() / whole.norm()) < 2
    assert cosine(reference, whole) < 0.5


def test_reference_takes_the_size_of_an_automatic_first_step_and_no_gradient_of_the_first_stage() -> None:
    net = Net()
    solution = solved(net)
    parameters = list(net.parameters())
    index = len(solution.steps) // 2
    step = solution.retake(index, reference=True)
    assert 0 < step.h < 0.9 * float(solution.steps.h[index])
    start = nde.solve_ode(net, solution.steps.y[index - 1].detach(), (step.t, 2.0), **TIGHT)
    assert step.h == pytest.approx(float(start.steps.h[0]), rel=1e-12)
    found = flat_gradient(step.error, parameters)
    tableau = nde.solvers.find_method("tsit5").tableau
    state = solution.steps.y[index - 1].detach()
    detached = one_step_error(net, tableau, step.t, step.h, state, False, TIGHT["rtol"])
    # the error at that size is 1e-6 of the tolerance, near the rounding of the state
    assert relative_difference(found, flat_gradient(detached, parameters)) < 1e-5


@pytest.mark.parametrize("grad", ["direct", "full"])
@pytest.mark.parametrize("adjoint", ["direct", "discrete", "backsolve"])
def test_gradient_is_finite_where_the_field_vanishes(adjoint: str, grad: str) -> None:
    weight = double(0.0).requires_grad_()
    y0 = double(1.0, 2.0).requires_grad_()
    solution = nde.solve_ode(lambda t, y: weight * y, y0, (0.0, 1.0), adjoint=adjoint, step_states=True)
    for penalty in (LocalError(grad=grad), LocalStiffness(grad=grad)):
        (gradient,) = torch.autograd.grad(penalty(solution), [weight], retain_graph=True)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("grad", ["direct", "full"])
@pytest.mark.parametrize("adjoint", ["direct", "discrete", "backsolve"])
def test_layers_apply_it_in_training_and_leave_evaluation_as_it_was(adjoint: str, grad: str) -> None:
    y0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    for build, args in ((nde.NeuralODE, ()), (nde.NeuralSDE, (noise,))):
        net = Net()
        penalty = LocalError(0.5, n_draws=2, grad=grad)
        layer, plain = build(net, *args, regularizer=penalty, adjoint=adjoint), build(net, *args, adjoint=adjoint)
        call = {"seed": 0} if args else {}
        output = layer(y0, **call)
        (output.y1.square().sum() + output.penalty).backward()
        assert output.penalty > 0 and all(p.grad.isfinite().all() for p in net.parameters())
        assert output.solution.stats.n_retaken_field_evals > 0
        layer.eval()
        quiet, bare = layer(y0, **call), plain(y0, **call)
        assert quiet.penalty == 0 and quiet.solution.steps.y is None and penalty.draws.count == 1
        assert torch.equal(quiet.y1, bare.y1) and torch.equal(quiet.y1, output.y1)


def test_one_draw_costs_one_step_and_its_first_stage_and_counts_apart() -> None:
    solution = solved(Net())
    before = solution.stats.n_field_evals
    LocalError()(solution)
    assert solution.stats.n_retaken_field_evals == 7  # of tsit5: six stages and the first
    assert solution.stats.n_field_evals == before


def test_draws_leave_the_generator_of_torch_alone_and_repeat_by_their_seed() -> None:
    solution = solved(Net())
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    values = {seed: LocalError(seed=seed)(solution) for seed in (0, 1)}
    assert torch.equal(torch.rand(3), expected)
    assert LocalError(seed=0)(solution) == values[0] != values[1]


def test_place_in_the_draws_and_in_the_schedule_survives_a_state_dict_and_a_copy(tmp_path) -> None:
    solution = solved(Net())

    def build():
        return LocalError(nde.regularize.Linear(1.0, 2.0, 4), seed=7) + 2.0 * LocalStiffness(seed=8)

    penalty = build()
    for _ in range(3):
        penalty(solution)
        penalty.step()
    torch.save(penalty.state_dict(), tmp_path / "state.pt")
    twin, other = copy.deepcopy(penalty), build()
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    expected = penalty(solution)
    assert twin(solution) == expected == other(solution)
    assert build()(solution) != expected


def test_penalty_of_a_solve_that_failed_is_that_of_its_steps() -> None:
    def field(t, y):
        return y.square()  # blows up at t = 1

    y0 = double(1.0).requires_grad_()
    solution = nde.solve_ode(field, y0, (0.0, 2.0), throw=False, step_states=True)
    assert not solution.success and len(solution.steps) > 3
    value = every_step(LocalError, solution)(solution)
    assert float(value.detach()) == pytest.approx(float(GlobalError()(solution).detach()), rel=1e-6)
    stopped = nde.solve_ode(lambda t, y: y / 0, y0, (0.0, 2.0), throw=False, step_states=True)
    assert len(stopped.steps) == 0 and LocalError()(stopped) == 0


def test_penalty_keeps_the_dtype_of_the_state() -> None:
    y0 = torch.tensor([1.0, 2.0])
    solution = nde.solve_ode(lambda t, y: -y, y0, (0.0, 1.0), step_states=True)
    assert LocalError()(solution).dtype == torch.float32


def unstepped() -> nde.Solution:
    return nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0))


def of_method(name: str, **options) -> nde.Solution:
    return nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), method=name, step_states=True, **options)


def of_moving_times() -> nde.Solution:
    return nde.solve_ode(lambda t, y: -y, double(1.0), double(0.0, 1.0).requires_grad_(), step_states=True)


def of_events() -> nde.Solution:
    event = nde.Event(lambda t, y: y - 0.5)
    return nde.solve_ode(lambda t, y: -y, double(1.0).requires_grad_(), (0.0, 1.0), events=event, step_states=True)


FIXED = {"controller": nde.FixedStep(0.1)}


@pytest.mark.parametrize(
    ("solve", "penalty", "message"),
    [
        (unstepped, LocalError(n_draws=9, stratified=True), "step_states=True"),
        (lambda: of_method("explicit_adams", **FIXED), LocalError(), "depends on more than its state"),
        (lambda: of_method("reversible_heun", **FIXED), LocalError(), "depends on more than its state"),
        (lambda: of_method("rk4", **FIXED), LocalError(), "no error estimate"),
        (lambda: of_method("bosh3"), LocalStiffness(), "no stiffness estimate"),
        (of_moving_times, LocalError(grad="full"), "no gradient by ts"),
        (lambda: solved_sde(Net()), LocalError(reference=True), "ordinary equations alone"),
        (of_events, LocalError(grad="full"), "no gradient by the times of events"),
    ],
)
def test_solves_that_it_cannot_work_with_are_refused(solve, penalty, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        penalty(solve())


def test_gradient_by_times_is_refused_with_the_continuous_adjoint() -> None:
    ts = double(0.0, 1.0).requires_grad_()
    with pytest.raises(ValueError, match="no gradient by ts"):
        nde.solve_ode(lambda t, y: -y, double(1.0), ts, adjoint="backsolve", step_states=True)


def test_a_step_that_does_not_exist_and_an_unknown_gradient_are_named() -> None:
    solution = solved(Net())
    count = len(solution.steps)
    for index in (-1, count):
        with pytest.raises(IndexError, match=f"one of the {count} accepted steps"):
            solution.retake(index)
    with pytest.raises(ValueError, match="grad must be"):
        solution.retake(0, grad="half")


@pytest.mark.parametrize("kind", [LocalError, LocalStiffness])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_draws": 0}, ValueError, "n_draws must be at least 1"),
        ({"n_draws": 1.5}, TypeError, "n_draws must be an integer"),
        ({"n_draws": 3, "antithetic": True}, ValueError, "n_draws must be even"),
        ({"sampling": "uniform"}, ValueError, "sampling must be one of"),
        ({"grad": True}, ValueError, "grad must be one of"),
        ({"reduction": "mean"}, ValueError, "reduction must be one of"),
        ({"stratified": 1}, TypeError, "stratified must be True or False"),
        ({"reference": True, "grad": "full"}, ValueError, "holds the state constant"),
        ({"seed": 0.5}, TypeError, "seed must be an integer"),
        ({"seed": -1}, ValueError, "seed must be zero or positive"),
        ({"weight": "big"}, TypeError, "weight must be a number"),
    ],
)
def test_wrong_arguments_are_named(kind: type, options, error, message: str) -> None:
    with pytest.raises(error, match=message):
        kind(**options)
