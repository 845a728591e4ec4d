"""What `solve_sde` says to values, shapes, dtypes and paths that it cannot use."""

import math

import pytest
import torch

import nde
from nde import Status
from nde.solvers.sde import sde_method_names
from tests.solvers.sde.problems import TablePath

ALL = [(calculus, method) for calculus in ("ito", "stratonovich") for method in sde_method_names(calculus, "diagonal")]
Y0 = torch.full((3, 2), 0.2, dtype=torch.float64)


def solve(drift=lambda t, y: -y, diffusion=lambda t, y: 0.1 * y, y0=Y0, ts=(0.0, 1.0), **options):
    options.setdefault("method", "euler")
    if "controller" not in options and options["method"] in ("euler", "milstein", "milstein_derivative_free"):
        options["controller"] = nde.FixedStep(0.125)
    return nde.solve_sde(drift, diffusion, y0, ts, **options)


@pytest.mark.parametrize("per_sample", [True, False], ids=["rows", "whole"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("which", ["drift", "diffusion"])
@pytest.mark.parametrize(("calculus", "method"), ALL)
def test_what_is_not_finite_at_the_first_evaluation_is_named(calculus, method, which, value, per_sample) -> None:
    def broken(t, y):
        return torch.where(y > 5.0, value, y)

    y0 = torch.tensor([[0.2, 0.3], [9.0, 9.0], [0.2, 0.1]], dtype=torch.float64)

    with pytest.raises(nde.SolverError, match=f"the {which}, evaluated at t = 0") as caught:
        solve(
            **{which: broken},
            y0=y0,
            method=method,
            calculus=calculus,
            controller=nde.FixedStep(0.125),
            per_sample=per_sample,
        )
    assert caught.value.status is Status.NON_FINITE
    failure = caught.value.failure
    assert (failure.t, failure.sample, failure.samples) == (0.0, 1, 3)
    assert bool((caught.value.solution.ys[0] == y0).all())


@pytest.mark.parametrize("per_sample", [True, False], ids=["rows", "whole"])
@pytest.mark.parametrize("which", ["drift", "diffusion"])
@pytest.mark.parametrize(("calculus", "method"), [("ito", "sosri2"), ("stratonovich", "heun")])
def test_what_stops_being_finite_is_named_with_its_time_after_adaptive_steps(
    calculus, method, which, per_sample
) -> None:
    def broken(t, y):
        return torch.where(t > 0.4, math.nan, 1.0) * y

    with pytest.raises(nde.SolverError, match=f"the {which}, evaluated at t = 0.4") as caught:
        solve(**{which: broken}, method=method, calculus=calculus, ts=(0.0, 0.2, 1.0), per_sample=per_sample, seed=1)
    assert caught.value.status is Status.NON_FINITE and caught.value.failure.t == pytest.approx(0.4, abs=1e-6)
    assert bool(caught.value.solution.ys[1].isfinite().all()), "nothing that was computed is lost"


def test_a_first_evaluation_that_is_not_finite_ends_an_adaptive_solve_too() -> None:
    for which in ("drift", "diffusion"):
        solution = solve(**{which: lambda t, y: y / 0.0}, method="sosri2", throw=False)
        assert solution.status is Status.NON_FINITE and solution.failure.source.startswith(f"the {which}")


def test_states_that_overflow_blame_no_function() -> None:
    solution = solve(drift=lambda t, y: 1e200 * y.sign(), diffusion=lambda t, y: 1e308 * y.sign(), throw=False, seed=1,
                     controller=nde.FixedStep(0.25), ts=(0.0, 1e3))  # fmt: skip
    assert solution.status is Status.NON_FINITE and solution.failure.source is None
    assert "the field or the state became NaN or infinite" in solution.failure.message(solution.status)


@pytest.mark.parametrize("per_sample", [True, False], ids=["rows", "whole"])
def test_a_path_whose_increment_is_not_finite_is_named(per_sample) -> None:
    path = TablePath(0.0, 1.0, (3, 2), 8, seed=1)
    path.w[5, 2, 0] = math.nan
    with pytest.raises(nde.SolverError, match=r"the path, asked for an increment from t = 0\.5, is NaN") as caught:
        solve(path=path, per_sample=per_sample)
    assert caught.value.status is Status.NON_FINITE and caught.value.failure.t == 0.5
    if per_sample:
        assert caught.value.failure.sample == 2 and caught.value.solution.succeeded.tolist() == [True, True, False]


class Fixed:
    """A path that answers everything in one way."""

    def __init__(self, w):
        self.w = w

    def __call__(self, s, t):
        return self


@pytest.mark.parametrize("per_sample", [True, False], ids=["rows", "whole"])
@pytest.mark.parametrize(
    ("w", "kind", "message"),
    [
        (None, TypeError, "must be a floating-point tensor, the increment from s to t, but is None"),
        (1.0, TypeError, "must be a floating-point tensor, .* but is 1.0"),
        (torch.ones(3, 2, dtype=torch.int64), TypeError, "but has dtype torch.int64"),
        (torch.ones(3, 2, dtype=torch.complex64), TypeError, "but has dtype torch.complex64"),
        (torch.ones(3, 5), ValueError, r"path\(s, t\).w must have as many entries.*but has shape \(3, 5\)"),
    ],
)
def test_increments_of_no_use_are_named(w, kind, message, per_sample) -> None:
    with pytest.raises(kind, match=message):
        solve(path=Fixed(w), per_sample=per_sample)


@pytest.mark.parametrize("per_sample", [True, False], ids=["rows", "whole"])
@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"path": nde.BrownianPath(0.0, 0.5, (3, 2), seed=1)}, ValueError, "path must cover the span of ts"),
        ({"path": nde.BrownianPath(0.0, 1.0, (2, 3), seed=1)}, ValueError, r"shape \(3, 2\).*has shape \(2, 3\)"),
        ({"drift": lambda t, y: y.float()}, TypeError, "drift.*float32"),
        ({"diffusion": lambda t, y: y.float()}, TypeError, "diffusion.*float32"),
        ({"drift": lambda t, y: y[:, :1]}, ValueError, r"drift.*\(3, 2\).*\(3, 1\)"),
        ({"diffusion": lambda t, y: y[:, :1]}, ValueError, r"diffusion.*\(3, 2\).*\(3, 1\)"),
        ({"diffusion": lambda t, y: None}, TypeError, "diffusion"),
        (
            {"noise": "scalar", "diffusion": lambda t, y: y.unsqueeze(-1).expand(3, 2, 2)},
            ValueError,
            r"shape \(3, 2, 1\) with noise='scalar'.*has shape \(3, 2, 2\)",
        ),
        ({"noise": "general", "diffusion": lambda t, y: y.new_zeros(3, 2, 0)}, ValueError, "at least one motion"),
        ({"noise": "general", "diffusion": lambda t, y: y.new_zeros(2, 3, 1)}, ValueError, r"\(3, 2, m\).*\(2, 3, 1\)"),
        ({"diffusion": 3.0}, TypeError, "diffusion must be callable"),
        ({"dt_min": 0.5, "dt_max": 0.1}, ValueError, "dt_min"),
    ],
)  # fmt: skip
def test_shapes_and_dtypes_that_do_not_fit_are_named(options, kind, message, per_sample) -> None:
    with pytest.raises(kind, match=message):
        solve(**options, per_sample=per_sample)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"per_sample": 1}, TypeError, "per_sample must be True or False"),
        ({"dense": "no"}, TypeError, "dense must be True or False"),
        ({"per_sample": True, "y0": torch.tensor(1.0)}, ValueError, "share their first axis, the batch"),
        ({"per_sample": True, "ts": torch.zeros(2, 2)}, ValueError, r"ts must have the shape \(T,\) or \(3, T\)"),
        (
            {"per_sample": True, "ts": torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])},
            ValueError,
            "ts must be increasing with the Ito calculus",
        ),
        (
            {"per_sample": True, "noise": "scalar", "y0": torch.ones(4), "diffusion": lambda t, y: y},
            ValueError,
            r"y0 must have at least 2 axes with noise='scalar', \(batch, size\), but has the shape \(4,\)",
        ),
        ({"per_sample": True, "ts": torch.tensor([0.0, 1.0], requires_grad=True)}, ValueError, "must not require"),
        ({"per_sample": True, "args": (nde.PerSample(torch.ones(2)),)}, ValueError, r"args\[0\].value must have"),
        ({"events": lambda t, y: y}, TypeError, "events must be an nde.Event"),
        ({"events": nde.Event(lambda t, y: y > 0)}, TypeError, "returned a truth value"),
        ({"jump_ts": (0.5, math.nan)}, ValueError, "jump_ts must be finite"),
        ({"jump_ts": (0.5,), "step_ts": (0.5,)}, ValueError, "must not share a time"),
        ({"per_sample": True, "adjoint": "backsolve"}, ValueError, 'adjoint="backsolve" of a stochastic equation'),
    ],
)  # fmt: skip
def test_wrong_arguments_of_solves_by_rows_are_named(options, kind, message) -> None:
    with pytest.raises(kind, match=message):
        solve(**options)
