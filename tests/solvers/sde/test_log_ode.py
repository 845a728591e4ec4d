"""The log-ODE method: its bracket, the areas that serve it, and what it asks for."""

import pytest
import torch

import nde
from nde.solvers.sde import find_sde_method
from tests.solvers.sde.problems import GENERAL, TablePath
from tests.solvers.sde.test_strong_orders import slope

CASE = GENERAL["stratonovich"]
Y0 = torch.tensor([[0.8, -0.3], [0.4, 1.1], [-0.6, 0.5]], dtype=torch.float64)


def matrix(t, y):
    """Three motions whose fields do not commute."""
    x, v = y.unbind(-1)
    return (1 + t) * torch.stack([torch.stack([torch.sin(v), torch.cos(x * v), torch.ones_like(x)], -1),
                                  torch.stack([torch.cos(x), torch.sin(v), torch.sin(x)], -1)], -2)  # fmt: skip


def solve(path, steps=1, y0=Y0, ts=(0.0, 0.25), **options):
    options = {"noise": "general", "calculus": "stratonovich", "method": "log_ode", **options}
    step = nde.FixedStep(abs(ts[-1] - ts[0]) / steps)
    return nde.solve_sde(lambda t, y: -torch.sin(t + y), matrix, y0, ts, path=path, controller=step, **options)


def test_a_step_is_a_midpoint_step_and_the_brackets_at_its_middle_times_the_areas() -> None:
    path = nde.BrownianPath(0.0, 0.25, (3, 3), seed=4, levy_area="foster", dtype=torch.float64)
    found, areas = solve(path).y1, path(0.0, 0.25).a
    without = solve(path, method="midpoint").y1
    noise = path(0.0, 0.25).w
    zero = torch.tensor(0.0, dtype=torch.float64)
    for row in range(3):
        start = Y0[row]
        middle = start + 0.125 * -torch.sin(start) + 0.5 * matrix(zero, start) @ noise[row]
        columns = [lambda y, k=k: matrix(zero + 0.125, y)[:, k] for k in range(3)]
        wanted = torch.zeros(2, dtype=torch.float64)
        for k in range(3):
            for other in range(k + 1, 3):
                forward = torch.func.jacrev(columns[other])(middle) @ columns[k](middle)
                backward = torch.func.jacrev(columns[k])(middle) @ columns[other](middle)
                wanted += (forward - backward) * areas[row, k, other]
        assert wanted.abs().max() > 1e-3
        torch.testing.assert_close(found[row] - without[row], wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("area", "order"), [("davie", 0.5), ("true", 1.0)])
def test_strong_order_with_noise_that_does_not_commute_is_that_of_the_area(area, order) -> None:
    path = TablePath(0.0, 1.0, (500, 2), 2048, seed=3, area=area)
    assert slope(CASE, "log_ode", path) == pytest.approx(order, abs=0.15)


def test_both_approximate_areas_serve_it_and_others_are_refused() -> None:
    for area in ("davie", "foster"):
        path = nde.BrownianPath(0.0, 0.25, (3, 3), seed=4, levy_area=area, dtype=torch.float64)
        assert bool(solve(path, 4).y1.isfinite().all())
    for area in ("none", "space-time", "space-time-time"):
        path = nde.BrownianPath(0.0, 0.25, (3, 3), seed=4, levy_area=area, dtype=torch.float64)
        with pytest.raises(
            ValueError, match=f"path must have levy_area='foster' for method='log_ode', but has '{area}'"
        ):
            solve(path)


def test_a_path_of_ones_own_without_an_area_is_named() -> None:
    def path(s, t):
        found = TablePath(0.0, 0.25, (3, 3), 4, seed=1)(s, t)
        return found._replace(a=None)

    with pytest.raises(ValueError, match="path must know its Levy area for this method"):
        solve(path)


def test_a_state_without_a_batch_axis_is_named() -> None:
    with pytest.raises(ValueError, match=r"y0 must have a batch axis with method='log_ode'.*shape \(3,\).*unsqueeze"):
        solve(None, y0=Y0[0])


def test_noise_that_commutes_needs_no_area_and_gives_the_midpoint_steps() -> None:
    method = find_sde_method("log_ode", "stratonovich", "diagonal")
    assert [method.area(noise) for noise in ("diagonal", "scalar", "additive", "commutative")] == ["none"] * 4
    path = nde.BrownianPath(0.0, 1.0, (3, 2), seed=4, dtype=torch.float64)
    ends = [
        nde.solve_sde(
            lambda t, y: -torch.sin(t + y), lambda t, y: torch.cos(y + t), Y0, (0.0, 1.0), calculus="stratonovich",
            method=name, path=path, controller=nde.FixedStep(0.25),
        ).y1
        for name in ("log_ode", "midpoint")
    ]  # fmt: skip
    torch.testing.assert_close(*ends, rtol=1e-13, atol=1e-14)


def test_going_back_on_the_same_path_undoes_a_solve_to_the_order_of_the_method() -> None:
    path = TablePath(0.0, 0.25, (3, 3), 1024, seed=2, area="true")
    errors = []
    for steps in (64, 256):
        forward = solve(path, steps).y1
        errors.append(float((solve(path, steps, forward, (0.25, 0.0)).y1 - Y0).abs().mean()))
    # of order 1: a quarter; without the area's sign turned, it would be of order 0.5 and no less than a half
    assert errors[1] < 0.35 * errors[0] and errors[1] < 0.01


def test_a_solve_in_float32_agrees_with_one_in_float64() -> None:
    path = TablePath(0.0, 0.25, (3, 3), 64, seed=2)
    single = solve(path, 16, Y0.float()).y1
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), solve(path, 16).y1, rtol=1e-5, atol=1e-5)


def test_steps_adapt_to_the_tolerance_without_reading_the_area() -> None:
    path = nde.BrownianPath(0.0, 1.0, (3, 3), seed=4, levy_area="foster", dtype=torch.float64)
    counts = [
        nde.solve_sde(
            lambda t, y: -torch.sin(t + y), matrix, Y0, (0.0, 1.0), noise="general", calculus="stratonovich",
            method="log_ode", path=path, rtol=tolerance, atol=tolerance,
        ).stats.n_accepted
        for tolerance in (1e-1, 1e-2)
    ]  # fmt: skip
    assert 1 < counts[0] < counts[1]


@pytest.mark.parametrize("derivative", [True, False])
def test_a_diffusion_that_ignores_the_state_or_is_linear_in_it_has_the_right_brackets(derivative) -> None:
    path = nde.BrownianPath(0.0, 1.0, (3, 2), seed=4, levy_area="foster", dtype=torch.float64)
    fields = torch.tensor([[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 0.0]]], dtype=torch.float64)

    def diffusion(t, y):
        return torch.einsum("kij,bj->bik", fields, y if derivative else torch.ones_like(y))

    end = nde.solve_sde(
        lambda t, y: 0 * y, diffusion, Y0, (0.0, 1.0), noise="general", calculus="stratonovich", method="log_ode",
        path=path, controller=nde.FixedStep(1.0),
    ).y1  # fmt: skip
    found = path(0.0, 1.0)
    if not derivative:
        torch.testing.assert_close(end, Y0 + found.w, rtol=1e-13, atol=1e-13)
        return
    first = torch.einsum("kij,bk->bij", fields, found.w)
    # a product of matrices: g_l' g_k is F_l F_k
    bracket = (fields[1] @ fields[0] - fields[0] @ fields[1]) * found.a[:, 0, 1].view(-1, 1, 1)
    middle = Y0.unsqueeze(-1) + first @ Y0.unsqueeze(-1) / 2
    torch.testing.assert_close(end, Y0 + ((first + bracket) @ middle).squeeze(-1), rtol=1e-12, atol=1e-13)
