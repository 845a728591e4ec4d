"""States of any structure, shape and dtype and times of any kind give the same numbers as plain vectors in float64."""

import math
import threading
from collections import OrderedDict, namedtuple

import numpy
import pytest
import torch

import nde
from tests.problems import METHODS, Counted, Net, double, each_adjoint, van_der_pol

Pair = namedtuple("Pair", ["position", "velocity"])


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (2, 1, 3), (1, 1, 1, 1)])
@pytest.mark.parametrize("method", METHODS)
def test_states_of_any_shape_keep_it(method: str, shape: tuple[int, ...]) -> None:
    y0 = torch.linspace(0.5, 1.5, math.prod(shape), dtype=torch.float64).reshape(shape)
    seen = set()

    def field(t, y):
        seen.add((t.shape, t.dtype, y.shape, y.dtype))
        return torch.cos(t) * y

    solution = nde.solve_ode(field, y0, (0.0, 0.3, 1.0), method=method, controller=nde.FixedStep(0.02))
    assert seen == {(torch.Size([]), torch.float64, y0.shape, torch.float64)}
    assert solution.ys.shape == (3, *shape)
    assert solution.y1.shape == shape
    assert torch.equal(solution.ys[0], y0) and torch.equal(solution.ys[-1], solution.y1)
    exact = y0 * math.exp(math.sin(1.0))
    # h^p with the constant of Euler's method, the worst: 0.02 / 2 * max |y''|
    torch.testing.assert_close(solution.y1, exact, rtol=0.03 if method == "euler" else 1e-3, atol=0)


def nested(kind: str, a: torch.Tensor, b: torch.Tensor):
    return {
        "tuple": (a, b),
        "list": [a, b],
        "dict": {"a": a, "b": b},
        "ordered dict": OrderedDict(a=a, b=b),
        "named tuple": Pair(a, b),
        "deep": {"x": (a, [{"y": Pair(b, a.new_ones(()))}])},
    }[kind]


def parts(kind: str, value) -> tuple[torch.Tensor, torch.Tensor]:
    if kind == "deep":
        return value["x"][0], value["x"][1][0]["y"].position
    return tuple(value.values()) if isinstance(value, dict) else tuple(value)


@pytest.mark.parametrize("kind", ["tuple", "list", "dict", "ordered dict", "named tuple", "deep"])
def test_nested_states_give_the_numbers_of_the_flat_one(kind: str) -> None:
    position, velocity = double(2.0, 1.0), double(0.0, -1.0)

    def field(t, y):
        x, v = parts(kind, y)
        rates = nested(kind, v, 2.0 * (1 - x**2) * v - x)
        if kind == "deep":  # the constant that came with it
            rates["x"][1][0]["y"] = Pair(rates["x"][1][0]["y"].position, torch.zeros((), dtype=x.dtype))
        return rates

    solution = nde.solve_ode(field, nested(kind, position, velocity), (0.0, 0.7, 2.0), controller=nde.FixedStep(0.1))
    flat = nde.solve_ode(
        lambda t, y: torch.stack([y[1], 2.0 * (1 - y[0] ** 2) * y[1] - y[0]]),
        torch.stack([position, velocity]),
        (0.0, 0.7, 2.0),
        controller=nde.FixedStep(0.1),
    )
    for ours, theirs in zip(parts(kind, solution.ys), flat.ys.unbind(1), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=1e-14)  # the same sums over another memory layout
    assert type(solution.ys) is type(nested(kind, position, velocity)) or kind == "ordered dict"
    if kind == "named tuple":
        assert torch.equal(solution.y1.velocity, solution.ys.velocity[-1])


def test_nested_states_with_scalars_keep_their_shapes() -> None:
    y0 = {"a": torch.tensor(1.0), "b": torch.ones(2, 3)}
    solution = nde.solve_ode(lambda t, y: {"a": -y["a"], "b": y["b"]}, y0, (0.0, 0.5, 1.0), local_errors=True)
    assert solution.ys["a"].shape == (3,) and solution.y1["a"].shape == ()
    assert solution.ys["b"].shape == (3, 2, 3) and solution.y1["b"].shape == (2, 3)
    assert solution.steps.local_error["b"].shape == (len(solution.steps), 2, 3)


def test_fields_may_return_the_keys_of_a_dict_in_another_order() -> None:
    y0 = {"first": double(1.0), "second": double(5.0)}
    solution = nde.solve_ode(lambda t, y: {"second": 0 * y["second"], "first": -y["first"]}, y0, (0.0, 1.0), rtol=1e-8)
    assert float(solution.y1["first"]) == pytest.approx(math.exp(-1), rel=1e-6)  # a multiple of the tolerance
    assert float(solution.y1["second"]) == 5.0


def test_fields_may_return_a_list_for_a_tuple() -> None:
    solution = nde.solve_ode(lambda t, y: [-y[0], y[1]], (double(1.0), double(1.0)), (0.0, 1.0))
    assert isinstance(solution.y1, tuple)


@pytest.mark.parametrize("real", [1, 2, 3], ids="{} real entries before the complex ones".format)
def test_leaves_of_different_dtypes_keep_them(real: int) -> None:
    y0 = {
        "single": torch.ones(real, dtype=torch.float32),
        "complex": torch.tensor([1.0 + 1.0j, 2.0], dtype=torch.complex128),
        "double": torch.tensor(2.0, dtype=torch.float64),
        "small": torch.tensor([1.0 - 1.0j], dtype=torch.complex64),
    }

    def field(t, y):
        assert t.dtype is torch.float64
        return {
            "single": -y["single"],
            "complex": 1j * y["complex"],
            "double": y["double"] * t,
            "small": 2j * y["small"],
        }

    solution = nde.solve_ode(field, y0, (0.0, 1.0), rtol=1e-5, atol=1e-5)
    for name, value in y0.items():
        assert solution.y1[name].dtype is value.dtype
    expected = {
        "single": y0["single"] * math.exp(-1),
        "complex": y0["complex"] * complex(math.cos(1), math.sin(1)),
        "double": y0["double"] * math.exp(0.5),
        "small": y0["small"] * complex(math.cos(2), math.sin(2)),
    }
    # a small multiple of the tolerance
    torch.testing.assert_close(solution.y1, expected, rtol=1e-4, atol=1e-4, check_dtype=False)


@pytest.mark.parametrize("method", ["heun", "tsit5", "dopri8"])
def test_complex_states_take_the_steps_of_their_real_form(method: str) -> None:
    # y' = i y |y|^2 as two real equations: E differs only in that a scale holds the modulus, which is constant here
    y0 = torch.tensor([0.6 + 0.8j], dtype=torch.complex128)
    solution = nde.solve_ode(
        lambda t, y: 1j * y * y.abs() ** 2, y0, (0.0, 0.5, 2.0), method=method, rtol=0.0, atol=1e-6
    )

    def rotate(t, y):
        return torch.stack([-y[1], y[0]]) * (y**2).sum()

    real = nde.solve_ode(
        rotate, torch.view_as_real(y0)[0], (0.0, 0.5, 2.0), method=method, rtol=0.0, atol=1e-6 / math.sqrt(2)
    )
    # rms over one complex entry is the root of the sum of squares; over two real entries that of their mean
    torch.testing.assert_close(solution.steps.error, real.steps.error, rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.view_as_real(solution.ys)[:, 0], real.ys, rtol=1e-10, atol=1e-10)


def test_conjugated_complex_states_are_not_taken_for_unconjugated_ones() -> None:
    y0 = torch.tensor([1.0 + 2.0j], dtype=torch.complex128)
    solution = nde.solve_ode(lambda t, y: (1j * y.conj()).conj(), y0.conj(), (0.0, 1.0), rtol=1e-8, atol=1e-8)
    expected = y0.conj() * complex(math.cos(1), -math.sin(1))
    torch.testing.assert_close(solution.y1, expected.resolve_conj(), rtol=1e-6, atol=0)  # a multiple of the tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precision_states_come_back_in_their_dtype(dtype: torch.dtype) -> None:
    seen = set()

    def field(t, y):
        seen.add((t.dtype, y.dtype))
        return -y

    y0 = torch.tensor([1.0, 2.0], dtype=dtype)
    solution = nde.solve_ode(field, y0, (0.0, 0.5, 1.0), controller=nde.FixedStep(0.125))
    assert seen == {(dtype, dtype)}
    assert solution.ys.dtype is solution.y1.dtype is dtype
    # one rounding of the result, and those of eight steps of slopes
    rounding = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(solution.y1, (y0.double() * math.exp(-1)).to(dtype), rtol=rounding, atol=0)


def test_half_precision_sums_are_kept_in_single_precision() -> None:
    # 1000 steps that each add less than a rounding unit of bfloat16 would add nothing
    y0 = torch.tensor([1.0], dtype=torch.bfloat16)
    solution = nde.solve_ode(
        lambda t, y: torch.ones_like(y), y0, (0.0, 1.0), method="euler", controller=nde.FixedStep(1e-3)
    )
    assert float(solution.y1) == 2.0


@pytest.mark.parametrize(
    "build",
    [
        lambda number, vector: {"a": number, "b": number},
        lambda number, vector: {"a": vector, "b": number},
        lambda number, vector: {"a": torch.tensor(number), "b": torch.full((2, 2), number)},
        lambda number, vector: {"a": vector.float(), "b": number},
    ],
)
def test_structures_of_equal_tolerances_give_bitwise_the_steps_of_a_number(build) -> None:
    y0 = {"a": double(1.0, 0.5), "b": torch.ones(2, 2, dtype=torch.float64)}
    field = lambda t, y: {"a": torch.sin(3 * y["a"]), "b": -y["b"] * y["a"].sum()}
    number = 2.0**-12  # the same in all dtypes
    plain = nde.solve_ode(field, y0, (0.0, 1.0), rtol=number, atol=number)
    structured = build(number, torch.full((2,), number, dtype=torch.float64))
    for rtol, atol in ((structured, number), (number, structured), (structured, structured)):
        solution = nde.solve_ode(field, y0, (0.0, 1.0), rtol=rtol, atol=atol)
        assert torch.equal(solution.steps.h, plain.steps.h)


def test_relative_tolerances_as_tensors_work_with_absolute_tolerance_zero() -> None:
    solution = nde.solve_ode(lambda t, y: -y, double(1.0, 2.0), (0.0, 1.0), rtol=double(1e-3, 1e-6), atol=0.0)
    assert solution.success


def test_a_leaf_without_a_tolerance_does_not_decide_the_steps() -> None:
    # the other leaf oscillates fast; with a tolerance of 1e20 it must not matter
    y0 = {"slow": double(1.0), "fast": double(1.0)}
    field = lambda t, y: {"slow": -y["slow"], "fast": 50 * torch.cos(50 * t) * torch.ones_like(y["fast"])}
    options = {"rtol": 1e-6, "controller": nde.IController(initial=0.1)}
    alone = nde.solve_ode(lambda t, y: -y, double(1.0), (0.0, 1.0), atol=1e-6 / math.sqrt(2), **options)
    loose = nde.solve_ode(field, y0, (0.0, 1.0), atol={"slow": 1e-6, "fast": 1e20}, **options)
    tight = nde.solve_ode(field, y0, (0.0, 1.0), atol=1e-6, **options)
    assert loose.stats.n_steps <= alone.stats.n_steps < tight.stats.n_steps


@pytest.mark.parametrize(
    "ts",
    [
        (0, 1, 2),
        [0.0, 1.0, 2.0],
        numpy.array([0.0, 1.0, 2.0]),
        numpy.array([0, 1, 2]),
        numpy.array([0.0, 1.0, 2.0], dtype=numpy.float32),
        torch.tensor([0.0, 1.0, 2.0]),
        torch.tensor([0, 1, 2]),
        torch.arange(3, dtype=torch.float64),
        torch.tensor([0.0, 1.0, 2.0], dtype=torch.bfloat16),
        range(3),
    ],
    ids=lambda ts: f"{type(ts).__name__} {getattr(ts, 'dtype', '')}",
)
def test_times_of_any_kind_give_bitwise_the_same_solution(ts) -> None:
    expected = nde.solve_ode(van_der_pol, double(2.0, 0.0), double(0.0, 1.0, 2.0))
    solution = nde.solve_ode(van_der_pol, double(2.0, 0.0), ts)
    assert torch.equal(solution.ys, expected.ys)
    assert solution.ts.tolist() == [0, 1, 2]


def test_times_in_single_precision_may_be_differentiated() -> None:
    ts = torch.tensor([0.0, 1.0], requires_grad=True)
    nde.solve_ode(lambda t, y: -y, double(1.0), ts, rtol=1e-8, atol=1e-8).y1.sum().backward()
    assert ts.grad.dtype is torch.float32
    assert float(ts.grad[1]) == pytest.approx(-math.exp(-1), rel=1e-5)  # single precision of the gradient


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e6])
def test_large_times_do_not_cost_accuracy_of_a_single_precision_state(offset: float) -> None:
    # t itself is not representable to 1e-3 in float32 at 1e6, but an autonomous field does not see it
    solution = nde.solve_ode(lambda t, y: -y, torch.ones(1), (offset, offset + 1), rtol=1e-5, atol=1e-6)
    assert float(solution.y1) == pytest.approx(math.exp(-1), rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_backward_time_is_forward_time_of_the_mirrored_field(method: str) -> None:
    net = Net(size=2)
    y0 = double(0.4, -0.7)
    options = {"method": method, "controller": nde.FixedStep(0.3)}
    backward = nde.solve_ode(net, y0, (0.5, 0.1, -0.5), **options)
    mirrored = nde.solve_ode(lambda s, y: -net(-s, y), y0, (-0.5, -0.1, 0.5), **options)
    torch.testing.assert_close(backward.ys, mirrored.ys, rtol=1e-14, atol=1e-15)  # the same sums with other signs
    assert (backward.steps.h < 0).all()
    if backward.steps.error is not None:
        torch.testing.assert_close(backward.steps.error, mirrored.steps.error, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [0.1, 0.3, 0.7, 5.0])
@pytest.mark.parametrize("span", [(0.0, 1.0), (1.0, 0.0), (-0.35, 2.0)])
def test_fixed_steps_have_their_size_but_for_the_last(size: float, span: tuple[float, float]) -> None:
    solution = nde.solve_ode(lambda t, y: -y, double(1.0), span, controller=nde.FixedStep(size))
    length = abs(span[1] - span[0])
    assert len(solution.steps) == math.ceil(length / size - 1e-9)
    sizes = solution.steps.h.abs().tolist()
    assert sizes[:-1] == pytest.approx([size] * (len(sizes) - 1), rel=1e-12)  # differences of rounded times
    assert 0 < sizes[-1] <= size * (1 + 1e-9)
    assert solution.t1 == span[1]


def test_steps_between_given_times_end_there() -> None:
    times = (0.75, 0.25, -1.0, 0.5, 5.0, 0.25)  # unordered, repeated, partly outside
    for span in ((0.0, 1.0), (1.0, 0.0)):
        solution = nde.solve_ode(lambda t, y: -y, double(1.0), span, controller=nde.StepTo(times))
        ends = sorted((solution.steps.t + solution.steps.h).tolist(), reverse=span[0] > span[1])
        expected = sorted({0.25, 0.5, 0.75, span[1]}, reverse=span[0] > span[1])
        assert ends == expected


def test_steps_between_the_outputs_end_there() -> None:
    times = [0.0, 0.2, 0.21, 0.9, 1.0]
    solution = nde.solve_ode(lambda t, y: -y, double(1.0), times, method="rk4", controller=nde.StepTo())
    assert (solution.steps.t + solution.steps.h).tolist() == pytest.approx(times[1:], rel=1e-15)
    assert len(solution.steps) == 4


def test_largest_step_is_respected() -> None:
    field = lambda t, y: -0.01 * y
    free = nde.solve_ode(field, double(1.0), (0.0, 10.0))
    limited = nde.solve_ode(field, double(1.0), (0.0, 10.0), dt_max=0.5)
    assert float(free.steps.h.max()) > 0.5
    assert float(limited.steps.h.max()) <= 0.5 * 1.01  # a step may stretch by a hundredth to reach the end
    assert len(limited.steps) >= 20 - 1


@pytest.mark.parametrize("controller", [nde.IController(), nde.PIController(), nde.PIDController(p=0.2, i=0.4, d=0.1)])
def test_step_sizes_change_by_no_more_than_the_factors(controller) -> None:
    solution = nde.solve_ode(van_der_pol, double(2.0, 0.0), (0.0, 8.0), rtol=1e-6, controller=controller)
    # the last two steps are cut to reach the end
    factors = (solution.steps.h[1:] / solution.steps.h[:-1])[:-2]
    assert float(factors.max()) <= controller.max_factor * (1 + 1e-9)
    narrow = type(controller)(p=controller.p, i=controller.i, d=controller.d, max_factor=1.5, initial=1e-4)
    limited = nde.solve_ode(van_der_pol, double(2.0, 0.0), (0.0, 8.0), rtol=1e-6, controller=narrow)
    assert float((limited.steps.h[1:] / limited.steps.h[:-1])[:-2].max()) == pytest.approx(1.5, rel=1e-9)


def test_rejected_steps_shrink_by_the_smallest_factor_at_most() -> None:
    # a field that breaks beyond 0.1 makes each rejection the strongest: 1 -> 0.5 -> 0.25 -> 0.125 -> 0.0625
    field = lambda t, y: -y if float(t) < 0.1 else y * math.nan
    solution = nde.solve_ode(
        field, double(1.0), (0.0, 0.0999), controller=nde.IController(initial=0.05), rtol=1e-3, atol=1e-3
    )
    assert solution.stats.n_rejected == 0
    broken = nde.solve_ode(
        field,
        double(1.0),
        (0.0, 1.0),
        controller=nde.IController(initial=1.0 / 1.02, min_factor=0.5),
        max_steps=5,
        rtol=0.5,
        atol=0.5,
        throw=False,
    )
    assert broken.stats.n_rejected >= 4
    assert float(broken.steps.h[0]) == pytest.approx(1.0 / 1.02 / 16, rel=1e-12)


def test_proportional_control_rejects_fewer_steps_where_stability_limits_them() -> None:
    # a fast decay to a slow solution: the elementary controller runs into the stability limit again and again
    field = lambda t, y: -200.0 * (y - torch.cos(t))
    options = {"rtol": 1e-3, "atol": 1e-3, "method": "tsit5"}
    elementary = nde.solve_ode(field, double(1.0), (0.0, 5.0), controller=nde.IController(), **options).stats
    proportional = nde.solve_ode(field, double(1.0), (0.0, 5.0), controller=nde.PIController(), **options).stats
    assert elementary.n_rejected > 10
    assert proportional.n_rejected < elementary.n_rejected / 2


def test_controllers_keep_the_error_near_their_set_point() -> None:
    # exponential growth with a relative tolerance has steps of one size, where the error is the set point
    for controller in (nde.IController(), nde.PIController(), nde.PIDController(p=0.1, i=0.5)):
        solution = nde.solve_ode(lambda t, y: y, double(1.0), (0.0, 60.0), rtol=1e-5, atol=0.0, controller=controller)
        assert solution.steps.set_point == pytest.approx(0.9 ** (5 / controller.i), rel=1e-12)
        inner = solution.steps.error[len(solution.steps) // 2 : -2]
        # the estimate is proportional to h^5 only up to a few percent at this size
        assert float(inner.mean()) == pytest.approx(solution.steps.set_point, rel=0.1)


@each_adjoint
def test_a_field_may_return_its_own_output_buffer_every_time(adjoint) -> None:
    # as compiled graphs with static outputs do; what the solver keeps of an evaluation must not change with the next
    matrix = torch.tensor([[0.0, 1.0], [-40.0, -0.3]], dtype=torch.float64)
    buffer = torch.empty(2, dtype=torch.float64)
    options = {"controller": nde.IController(initial=1.0), "adjoint": adjoint, "rtol": 1e-5}
    with torch.no_grad():
        plain = nde.solve_ode(lambda t, y: matrix @ y, double(1.0, 2.0), (0.0, 2.0), **options)
        reused = nde.solve_ode(lambda t, y: torch.mv(matrix, y, out=buffer), double(1.0, 2.0), (0.0, 2.0), **options)
    assert plain.stats.n_rejected > 0
    assert torch.equal(plain.y1, reused.y1)


@pytest.mark.parametrize("method", METHODS)
def test_a_field_may_return_its_argument(method: str) -> None:
    options = {"method": method, "controller": nde.FixedStep(0.1)}
    returned = nde.solve_ode(lambda t, y: y, double(1.0, 2.0).requires_grad_(), (0.0, 0.25, 1.0), **options)
    copied = nde.solve_ode(lambda t, y: y.clone(), double(1.0, 2.0).requires_grad_(), (0.0, 0.25, 1.0), **options)
    assert torch.equal(returned.ys, copied.ys)


def test_solutions_do_not_share_memory_with_the_state_or_with_later_solves() -> None:
    y0 = double(1.0, 2.0)
    first = nde.solve_ode(lambda t, y: -y, y0, (0.0, 0.5, 1.0), local_errors=True)
    kept = [t.clone() for t in (first.ys, first.y1, first.steps.error, first.steps.stiffness, first.steps.local_error)]
    nde.solve_ode(lambda t, y: 3 * torch.cos(y), y0, (0.0, 0.5, 1.0), local_errors=True)
    now = (first.ys, first.y1, first.steps.error, first.steps.stiffness, first.steps.local_error)
    assert all(torch.equal(one, two) for one, two in zip(kept, now, strict=True))
    y0.zero_()
    assert first.ys[0].tolist() == [1.0, 2.0]


def test_initial_state_that_is_no_contiguous_tensor() -> None:
    y0 = torch.arange(6, dtype=torch.float64).reshape(2, 3).T
    plain = nde.solve_ode(lambda t, y: -y, y0.contiguous(), (0.0, 1.0))
    assert torch.equal(nde.solve_ode(lambda t, y: -y, y0, (0.0, 1.0)).ys, plain.ys)


def test_inference_mode_and_later_solves_do_not_disturb_each_other() -> None:
    net, y0 = Net(size=2), double(0.3, 0.4)
    with torch.inference_mode():
        first = nde.solve_ode(net, y0, (0.0, 1.0)).y1.clone()
    solution = nde.solve_ode(net, y0, (0.0, 1.0))
    solution.y1.sum().backward()
    with torch.inference_mode():
        last = nde.solve_ode(net, y0, (0.0, 1.0)).y1.clone()
    assert first.tolist() == solution.y1.tolist() == last.tolist()


def test_threads_do_not_disturb_each_other() -> None:
    fields = [Net(size=4, seed=seed) for seed in range(4)]
    y0 = torch.linspace(-1, 1, 40, dtype=torch.float64).reshape(10, 4)
    expected = [nde.solve_ode(field, y0, (0.0, 2.0), rtol=1e-6).y1.detach() for field in fields]
    found = [[] for _ in fields]

    def work(index: int) -> None:
        for _ in range(5):
            found[index].append(nde.solve_ode(fields[index], y0, (0.0, 2.0), rtol=1e-6).y1.detach())

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for values, value in zip(found, expected, strict=True):
        assert len(values) == 5 and all(torch.equal(one, value) for one in values)


def test_field_is_called_with_the_arguments_unchanged() -> None:
    marker = object()
    counted = Counted(lambda t, y, one, two: -y if one is marker and two == {"x": 1} else None)
    assert nde.solve_ode(counted, double(1.0), (0.0, 1.0), (marker, {"x": 1})).success
    assert counted.calls > 0
