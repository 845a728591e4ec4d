"""States of any structure, shape and dtype give the numbers of plain vectors in float64."""

import math
from collections import OrderedDict, namedtuple

import pytest
import torch

import nde
from tests.problems import METHODS, double

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
    # in units of the tolerance, rounding is eps * |y| / atol = 2e-10 per stage
    torch.testing.assert_close(solution.steps.error, real.steps.error, rtol=1e-6, atol=1e-8)
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
