"""The continuous adjoint has the gradients of the equation, to the accuracy of its own solve."""

import pytest
import torch

import nde
from tests.problems import Net, double

SPANS = [(0.0, 0.4, 1.5), (1.5, 0.3, -0.5)]


def gradients(adjoint, times=SPANS[0], **options):
    torch.manual_seed(0)
    net = Net(size=3)
    y0 = double([1.0, -0.5, 0.3], [0.2, 0.7, -1.0]).requires_grad_()
    ts = double(*times).requires_grad_()
    solution = nde.solve_ode(net, y0, ts, adjoint=adjoint, **{"rtol": 1e-10, "atol": 1e-10, **options})
    loss = solution.ys.square().sum() + solution.y1.sin().sum()
    return solution, torch.autograd.grad(loss, (y0, ts, *net.parameters()))


def largest_difference(left, right) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("times", SPANS, ids=["up", "down"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("tsit5", {}),
        ("dopri8", {}),
        ("rk4", {"controller": nde.FixedStep(0.01)}),
        ("radau_iia5", {"controller": nde.FixedStep(0.05)}),
    ],
)
@pytest.mark.parametrize("norm", [None, "seminorm"])
def test_gradients_agree_with_those_of_an_accurate_direct_solve(method, options, times, norm) -> None:
    _, reference = gradients("direct", times, method="dopri8", rtol=1e-13, atol=1e-13)
    adjoint = nde.adjoint.BacksolveAdjoint(norm=norm)
    _, found = gradients(adjoint, times, method=method, **options)
    assert largest_difference(found, reference) < 2e-6


def test_the_error_of_the_gradient_falls_with_the_tolerance_of_the_backward_solve() -> None:
    _, reference = gradients("direct", method="dopri8", rtol=1e-13, atol=1e-13)
    errors, counts = [], []
    for tolerance in (1e-3, 1e-5, 1e-7, 1e-9):
        solution, found = gradients(nde.adjoint.BacksolveAdjoint(rtol=tolerance, atol=tolerance), method="dopri5")
        errors.append(largest_difference(found, reference))
        counts.append(solution.stats.n_backward_field_evals)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-7 < 1e-5 < errors[0]
    assert counts == sorted(counts)


def test_the_seminorm_takes_no_more_evaluations() -> None:
    plain, _ = gradients(nde.adjoint.BacksolveAdjoint())
    semi, _ = gradients(nde.adjoint.BacksolveAdjoint(norm="seminorm"))
    assert semi.stats.n_backward_field_evals < plain.stats.n_backward_field_evals


def test_a_norm_of_the_users_sees_the_parts_of_the_augmented_state() -> None:
    seen = []

    def norm(errors):
        seen.append((errors.t.shape, errors.y.shape, errors.cotangent.shape, [p.shape for p in errors.parameters]))
        return torch.cat([errors.y.reshape(-1), errors.cotangent.reshape(-1)]).square().mean().sqrt()

    _, reference = gradients("direct")
    _, found = gradients(nde.adjoint.BacksolveAdjoint(norm=norm))
    assert largest_difference(found, reference) < 1e-5
    parameters = [parameter.shape for parameter in Net(size=3).parameters()]
    t, y, cotangent, shapes = seen[-1]
    assert (t, y, cotangent) == ((), (2, 3), (2, 3))
    assert sorted(shapes) == sorted(parameters)


def test_the_forward_solve_saves_its_outputs_alone() -> None:
    saved = []

    def keep(tensor):
        saved.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        solution, _ = gradients("backsolve", rtol=1e-12)
    states = [shape for shape in saved if shape in {(6,), (1, 6)}]
    assert solution.stats.n_accepted > 20
    assert len(states) <= 3  # y0, the inner outputs, y1


def test_nested_and_complex_states() -> None:
    w = torch.tensor(0.7 + 0.2j, dtype=torch.complex128)
    found = []
    for adjoint in ("direct", "backsolve"):
        y0 = {"z": torch.tensor([1.0 + 0.5j], dtype=torch.complex128, requires_grad=True), "x": double(0.4)}
        weight = w.clone().requires_grad_()

        def field(t, y, weight):
            return {"z": weight * y["z"] * torch.cos(t), "x": -y["x"] * y["z"].abs().square()}

        solution = nde.solve_ode(field, y0, (0.0, 1.0), (weight,), adjoint=adjoint, rtol=1e-11, atol=1e-11)
        loss = solution.y1["z"].abs().sum() + solution.y1["x"].sum()
        found.append(torch.autograd.grad(loss, (y0["z"], weight)))
    assert largest_difference(*found) < 1e-8


def test_what_it_cannot_do_is_refused() -> None:
    y0 = double(1.0).requires_grad_()
    solution = nde.solve_ode(lambda t, y: -y, y0, (0.0, 1.0), adjoint="backsolve")
    with pytest.raises(RuntimeError, match=r"no gradient of steps\.error"):
        solution.steps.error.sum().backward()
    solution = nde.solve_ode(lambda t, y: -y, y0, (0.0, 1.0), adjoint="backsolve")
    with pytest.raises(RuntimeError, match="once only"):
        torch.autograd.grad(solution.y1.sum(), y0, create_graph=True)
    with pytest.raises(ValueError, match="seminorm"):
        nde.adjoint.BacksolveAdjoint(norm="max")
    with pytest.raises(ValueError, match="rtol"):
        nde.adjoint.BacksolveAdjoint(rtol=-1.0)
    with pytest.raises(RuntimeError, match="function transform"):
        torch.func.grad(lambda y: nde.solve_ode(lambda t, y: -y, y, (0.0, 1.0), adjoint="backsolve").y1.sum())(y0)


def test_a_failed_backward_solve_says_so() -> None:
    y0 = double(1.0).requires_grad_()
    adjoint = nde.adjoint.BacksolveAdjoint(rtol=1e-12, atol=1e-12, max_steps=3)
    solution = nde.solve_ode(lambda t, y: -y * torch.cos(9 * t), y0, (0.0, 3.0), adjoint=adjoint)
    with pytest.raises(nde.SolverError, match="the backward solve of adjoint='backsolve' failed: max_steps = 3"):
        solution.y1.sum().backward()
