"""Stochastic solves where a program does what it may: inference mode, transforms, autocast, buffers, odd times."""

import pytest
import torch

import nde
from nde.solvers.brownian import BrownianPath, BrownianWalk
from nde.solvers.sde import sde_method_names

Y0 = torch.linspace(0.2, 1.0, 6, dtype=torch.float64).reshape(2, 3)
MATRIX = torch.tensor([[0.4, -0.3], [0.2, 0.5], [-0.6, 0.1]], dtype=torch.float64)
# with derivatives of the diffusion in their steps
DERIVATIVES = [("ito", "diagonal", "milstein"), ("ito", "scalar", "milstein"), ("ito", "diagonal", "implicit_milstein")]
DERIVATIVES += [("ito", "commutative", "milstein"), ("stratonovich", "general", "log_ode")]


def drift(t, y, p):
    return p * torch.sin(y) - t * y


def diffusion_of(noise):
    def diffusion(t, y, p):
        if noise in ("commutative", "general"):
            return torch.stack([p * y.sin(), y.roll(1, -1)], -1)
        return p * y.cos() if noise == "diagonal" else (p * y.cos()).unsqueeze(-1)

    return diffusion


def solve(calculus, noise, method, p=None, y0=Y0, **options):
    p = torch.full((3,), 0.7, dtype=torch.float64) if p is None else p
    options = {"controller": nde.FixedStep(0.1), "seed": 1, **options}
    found = nde.solve_sde(
        drift, diffusion_of(noise), y0, (0.0, 0.5), (p,), calculus=calculus, noise=noise, method=method, **options
    )
    return found.y1


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize(("calculus", "noise", "method"), [*DERIVATIVES, ("ito", "diagonal", "sosri2")])
def test_inference_mode_changes_no_result(calculus, noise, method, per_sample) -> None:
    wanted = solve(calculus, noise, method, per_sample=per_sample)
    with torch.inference_mode():
        found = solve(calculus, noise, method, y0=Y0.clone(), per_sample=per_sample)  # an inference tensor
    torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-13)


WALK = {"controller": nde.PIController(), "seed": None}


@pytest.mark.parametrize(
    "options", [{}, {"per_sample": True}, WALK, {**WALK, "per_sample": True}], ids=["plain", "rows", "walk", "row walk"]
)
@pytest.mark.parametrize(("calculus", "noise", "method"), [*DERIVATIVES, ("ito", "diagonal", "sosri2")])
def test_function_transforms_give_the_derivatives_of_autograd(calculus, noise, method, options) -> None:
    if "controller" in options and method in ("milstein", "implicit_milstein"):
        pytest.skip("has no error estimate")
    p = torch.full((3,), 0.7, dtype=torch.float64)
    solve(calculus, noise, method, **options)  # leaves scratch memory of the path behind

    def loss(p):
        torch.manual_seed(1)
        return solve(calculus, noise, method, p, **options).square().sum()

    leaf = p.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(loss(leaf), leaf)
    torch.testing.assert_close(torch.func.grad(loss)(p), wanted, rtol=1e-10, atol=1e-12)
    _, moved = torch.func.jvp(loss, (p,), (torch.ones_like(p),))
    torch.testing.assert_close(moved, wanted.sum(), rtol=1e-10, atol=1e-12)
    # nothing of the transform is left in the path's memory
    assert torch.equal(loss(p), loss(p))


BUFFERED = [
    (calculus, method)
    for calculus in ("ito", "stratonovich")
    for method in sde_method_names(calculus, "diagonal")
    if method not in ("milstein", "implicit_euler", "implicit_milstein")  # differentiate the diffusion or the drift
]


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize(("calculus", "method"), BUFFERED)
def test_a_diffusion_that_hands_out_one_buffer_again_and_again_is_read_at_once(calculus, method, per_sample) -> None:
    buffer = torch.empty_like(Y0)

    def buffered(t, y):
        return torch.cos(y, out=buffer)

    options = {"calculus": calculus, "method": method, "controller": nde.FixedStep(0.1), "seed": 1}
    options["per_sample"] = per_sample
    with torch.no_grad():
        wanted = nde.solve_sde(lambda t, y: -y, lambda t, y: torch.cos(y), Y0, (0.0, 0.5), **options).y1
        found = nde.solve_sde(lambda t, y: -y, buffered, Y0, (0.0, 0.5), **options).y1
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("culprit", ["drift", "diffusion"])
def test_a_function_that_writes_to_the_state_is_told_so(culprit, per_sample) -> None:
    def writes(t, y):
        return y.mul_(-1.0)

    functions = {"drift": lambda t, y: -y, "diffusion": lambda t, y: 0.1 * y, culprit: writes}
    with pytest.raises(RuntimeError, match=rf"{culprit}\(t, y\) must not write to its arguments.*y\.clone\(\)"):
        nde.solve_sde(*functions.values(), Y0, (0.0, 1.0), seed=1, per_sample=per_sample)


@pytest.mark.filterwarnings("ignore:rtol and atol")
@pytest.mark.parametrize(
    ("calculus", "method"),
    [("ito", "euler"), ("ito", "dri1"), ("stratonovich", "heun"), ("stratonovich", "log_ode")],
)
def test_autocast_leaves_the_arithmetic_of_steps_in_the_states_own_dtype(calculus, method) -> None:
    y0, matrix = Y0.float(), MATRIX.float()

    def diffusion(t, y):
        return y.sin().unsqueeze(-1) * matrix * y.mean()

    def run():
        options = {"noise": "general", "calculus": calculus, "method": method, "controller": nde.FixedStep(0.1)}
        return nde.solve_sde(lambda t, y: -y, diffusion, y0, (0.0, 0.5), seed=1, **options).y1

    wanted = run()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(run(), wanted)


def test_a_matrix_diffusion_may_come_in_half_precision_under_autocast() -> None:
    net = torch.nn.Linear(3, 6)
    options = {"noise": "general", "method": "euler", "controller": nde.FixedStep(0.1), "seed": 1}

    def run():
        return nde.solve_sde(lambda t, y: -y, lambda t, y: net(y).view(2, 3, 2), Y0.float(), (0.0, 0.5), **options).y1

    wanted = run()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = run()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.05)


def test_cuts_of_a_walk_are_as_precise_under_autocast() -> None:
    def parts():
        options = {"seed": 1, "levy_area": "space-time", "dtype": torch.float32, "device": torch.device("cpu")}
        walk = BrownianWalk(0.0, 1.0, (100,), **options)
        walk(0.0, 1.0)
        return torch.stack([walk(0.0, 0.3).w, walk(0.3, 1.0).w])

    wanted = parts()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(parts(), wanted)


def test_a_long_row_of_cuts_can_be_walked_back() -> None:
    options = {"seed": 1, "levy_area": "none", "dtype": torch.float64, "device": torch.device("cpu")}
    walk, count = BrownianWalk(0.0, 1.0, (2,), **options), 1500
    walk(0.0, 1.0)  # a first step that was far too long
    steps = [(number / count, (number + 1) / count) for number in range(count)]
    forwards = [walk(*step).w for step in steps]
    assert all(torch.equal(walk(*step).w, w) for step, w in zip(reversed(steps), reversed(forwards), strict=True))
    torch.testing.assert_close(sum(forwards), walk(0.0, 1.0).w)


@pytest.mark.parametrize("per_sample", [False, True])
def test_steps_as_short_as_dt_min_are_not_shortened_to_suit_the_path(per_sample) -> None:
    path = BrownianPath(0.0, 1.0, Y0.shape, seed=1, levy_area="space-time", dtype=torch.float64)
    solution = nde.solve_sde(
        lambda t, y: -y, lambda t, y: 0.3 * y, Y0, (0.0, 1.0), path=path, dt_min=0.05, per_sample=per_sample
    )
    assert solution.success
    assert (solution.steps.h[:-1] > 0.05 - 1e-12).sum() >= len(solution.steps) - len(Y0)  # all but those that land


@pytest.mark.parametrize("start", [0.1, 0.3])
def test_rounding_of_a_first_step_of_dt_min_ends_no_solve(start) -> None:
    # 0.3 + 0.05 - 0.3 is below 0.05
    assert nde.solve_ode(lambda t, y: 50 * (t - start) * y, Y0, (start, start + 1.0), dt_min=0.05, rtol=1.0).success


def test_output_times_in_float32_leave_no_slivers_between_fixed_steps() -> None:
    ts = torch.linspace(0, 1, 11)
    for per_sample in (False, True):
        solution = nde.solve_sde(
            lambda t, y: -y,
            lambda t, y: 0.3 * y,
            Y0,
            ts,
            controller=nde.FixedStep(0.05),
            seed=1,
            per_sample=per_sample,
        )
        assert len(solution.steps) == 20 * (2 if per_sample else 1)


def test_langevin_messages_name_the_gradient() -> None:
    with pytest.raises(ValueError, match=r"the value of gradient\(t, y\) must have shape \(2, 3\)"):
        nde.solve_langevin(lambda t, x: x.sum(), Y0, Y0, (0.0, 1.0), gamma=1.0, controller=nde.FixedStep(0.1))


def test_areas_of_a_walk_do_not_depend_on_the_last_digit_of_its_times() -> None:
    def walked(end):
        options = {"seed": 1, "levy_area": "foster", "dtype": torch.float64, "device": torch.device("cpu")}
        walk = BrownianWalk(0.0, 1.0, (4, 2), **options)
        return torch.stack([walk(0.0, end).a, walk(end, 1.0).a])

    # adjoints may differ by as much in where they end a step
    torch.testing.assert_close(walked(0.3), walked(0.3 + 4 * 2.0**-52), rtol=1e-12, atol=1e-12)
    assert not walked(0.3).eq(0.0).all()


def test_a_walk_has_no_area_where_there_is_no_time() -> None:
    options = {"seed": 1, "levy_area": "foster", "dtype": torch.float64, "device": torch.device("cpu")}
    assert not BrownianWalk(0.0, 1.0, (4, 2), **options)(0.5, 0.5).a.any()
