"""Every wrong argument is refused before any work is done, by an error of the right type that names the argument."""

import dataclasses
import math
import re

import numpy
import pytest
import torch

import nde
from tests.problems import Counted, double, each_adjoint

Y0 = double(1.0, 2.0)


def decay(t, y):
    return -y


def refuse(kind, message: str, *positional, field=decay, **options) -> None:
    """Assert that a solve with these arguments is refused before the field is called."""
    counted = Counted(field) if callable(field) else field
    arguments = [counted, Y0, (0.0, 1.0)]
    arguments[: len(positional)] = positional
    with pytest.raises(kind, match=message):
        nde.solve_ode(*arguments, **options)
    assert not callable(arguments[0]) or getattr(arguments[0], "calls", 0) == 0


@pytest.mark.parametrize("field", [None, 3, "f", double(1.0)])
def test_field_that_cannot_be_called(field) -> None:
    refuse(TypeError, "field must be callable", field)


@pytest.mark.parametrize(
    ("y0", "kind", "message"),
    [
        (torch.tensor([1, 2]), TypeError, r"y0 must be floating point or complex.*int64.*y0\.float\(\)"),
        (torch.tensor([True]), TypeError, "y0 must be floating point or complex.*bool"),
        (1.0, TypeError, r"y0 must be a tensor or a nested tuple / list / dict.*float.*torch\.as_tensor"),
        (numpy.ones(2), TypeError, "y0 must be a tensor.*ndarray"),
        (None, TypeError, "y0 must be a tensor.*NoneType"),
        ({"a": Y0, "b": 1.0}, TypeError, r"y0\['b'\] must be a tensor"),
        ((Y0, [torch.tensor([1])]), TypeError, r"y0\[1\]\[0\] must be floating point"),
        (torch.zeros(0, 3), ValueError, r"y0 has no entries.*\(0, 3\)"),
        (torch.zeros(4, 0), ValueError, r"y0 has no entries.*\(4, 0\)"),
        ((), ValueError, "y0 has no entries"),
        ({}, ValueError, "y0 has no entries"),
        (torch.empty(2, device="meta"), ValueError, "y0 is on the meta device"),
        ((Y0, torch.empty(2, device="meta")), ValueError, r"y0\[1\] is on meta, the state before it on cpu"),
    ],
)
def test_wrong_initial_states(y0, kind, message: str) -> None:
    refuse(kind, message, decay, y0)


@pytest.mark.parametrize(
    ("ts", "kind", "message"),
    [
        (torch.empty(2, device="meta"), ValueError, "ts is on the meta device"),
        ((0.0,), ValueError, "ts must hold at least the initial and the final time"),
        ((), ValueError, "ts must hold at least"),
        (torch.zeros(0), ValueError, "ts must hold at least"),
        (1.0, ValueError, r"ts must have shape \(T,\), but has shape \(\)"),
        (torch.zeros(2, 2), ValueError, r"ts must have shape \(T,\), but has shape \(2, 2\)"),
        ((1.0, 1.0), ValueError, r"ts\[0\] == ts\[1\] == 1"),
        ((0.0, 0.5, 0.5, 1.0), ValueError, r"strictly increasing or decreasing, but ts\[1\] == ts\[2\] == 0.5"),
        ((0.0, 1.0, 0.5), ValueError, r"ts must be strictly increasing or decreasing.*ts\[2\] = 0.5"),
        ((1.0, 0.5, 0.7), ValueError, r"ts must be strictly increasing or decreasing.*ts\[2\] = 0.7"),
        ((0.0, math.nan), ValueError, r"ts must be finite, but ts\[1\] is nan"),
        ((0.0, math.inf), ValueError, r"ts must be finite, but ts\[1\] is inf"),
        ((math.nan, 1.0), ValueError, r"ts must be finite, but ts\[0\] is nan"),
        (("a", "b"), TypeError, "ts must be"),
        (None, TypeError, "ts must be"),
        (torch.tensor([0j, 1 + 0j]), TypeError, "ts must hold real numbers"),
        (torch.tensor([False, True]), TypeError, "ts must hold real numbers"),
        # two numbers that differ, but not in the precision of the tensor that was given
        (torch.tensor([1.0, 1.0 + 1e-9]), ValueError, r"ts\[0\] == ts\[1\]"),
    ],
)
def test_wrong_times(ts, kind, message: str) -> None:
    refuse(kind, message, decay, Y0, ts)


@pytest.mark.parametrize("name", ["rtol", "atol"])
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (-1e-3, ValueError),
        (math.nan, ValueError),
        (double(1e-3, -1e-3), ValueError),
        (double(1e-3, math.nan), ValueError),
        (double(1e-3, 1e-3, 1e-3), ValueError),  # does not broadcast to the state
        ("small", TypeError),
        (None, TypeError),
        ({"a": 1e-3}, TypeError),
        (1e-3j, TypeError),
    ],
)
def test_wrong_tolerances_name_the_argument(name: str, value, kind) -> None:
    refuse(kind, name, **{name: value})


@pytest.mark.parametrize("zero", [0.0, torch.zeros(2, dtype=torch.float64)], ids=["numbers", "tensors"])
def test_both_tolerances_zero(zero) -> None:
    refuse(ValueError, "rtol and atol are both zero", rtol=zero, atol=zero)


def test_unknown_method_lists_the_known_ones_and_suggests_the_nearest() -> None:
    refuse(ValueError, "method='tsit6' is not known. Did you mean 'tsit5'", method="tsit6")
    with pytest.raises(ValueError, match="Known methods: ") as caught:
        nde.solve_ode(decay, Y0, (0.0, 1.0), method="none of them")
    for name in nde.method_names():
        assert name in str(caught.value)
    assert "Did you mean" not in str(caught.value)


def test_method_that_is_no_method() -> None:
    refuse(TypeError, "method must be a name or a Method, but is a int", method=5)
    refuse(TypeError, "method must be a name or a Method, but is a NoneType", method=None)


def test_unknown_adjoint() -> None:
    refuse(ValueError, "adjoint='discret' is not known. Did you mean 'discrete'.*'direct'", adjoint="discret")
    refuse((TypeError, ValueError), "adjoint", adjoint=None)
    refuse((TypeError, ValueError), "adjoint", adjoint=3)


def test_args_that_are_no_tuple() -> None:
    refuse(TypeError, r"args must be a tuple, but is a Tensor. Did you mean args=\(value,\)", args=double(1.0))
    refuse(TypeError, "args must be a tuple, but is a list", args=[1.0])
    refuse(TypeError, "args must be a tuple", args=None)


def test_controllers_that_are_none() -> None:
    refuse(TypeError, r"controller must be a Controller, but is 0.1. Did you mean.*FixedStep\(0.1\)", controller=0.1)
    refuse(TypeError, "controller must be a Controller", controller="fixed")
    refuse(TypeError, "controller must be a Controller", controller=nde.FixedStep)


@pytest.mark.parametrize("method", ["euler", "rk4"])
def test_methods_without_an_error_estimate_ask_for_a_step_size(method: str) -> None:
    refuse(ValueError, rf"method='{method}' has no error estimate.*FixedStep.*StepTo", method=method)
    refuse(ValueError, "has no error estimate", method=method, controller=nde.PIController())


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"max_steps": 0}, ValueError, "max_steps must be at least 1, but is 0"),
        ({"max_steps": -3}, ValueError, "max_steps must be at least 1, but is -3"),
        ({"max_steps": 1.5}, TypeError, "max_steps must be an integer, but is 1.5"),
        ({"max_steps": True}, TypeError, "max_steps must be an integer"),
        ({"max_steps": None}, TypeError, "max_steps must be an integer"),
        ({"dt_min": -1.0}, ValueError, "dt_min must be zero or positive"),
        ({"dt_min": math.nan}, ValueError, "dt_min must be zero or positive"),
        ({"dt_min": "x"}, TypeError, "dt_min must be a number"),
        ({"dt_max": None}, TypeError, "dt_max must be a number"),
        ({"dt_max": 0.0}, ValueError, "dt_max must be larger than dt_min"),
        ({"dt_max": math.nan}, ValueError, "dt_max must be larger than dt_min"),
        ({"dt_max": 0.01, "dt_min": 0.1}, ValueError, "dt_max must be larger than dt_min.*0.01.*0.1"),
    ],
)
def test_limits_out_of_range(options, kind, message: str) -> None:
    refuse(kind, message, **options)


@pytest.mark.parametrize(
    ("result", "kind", "message"),
    [
        (lambda y: None, TypeError, r"value of field\(t, y\) must be a tensor.*None.*forget to return"),
        (lambda y: 1.0, TypeError, r"value of field\(t, y\) must be a tensor.*float"),
        (lambda y: y.tolist(), TypeError, r"value of field\(t, y\) must be a tensor.*list"),
        (lambda y: (y,), TypeError, r"value of field\(t, y\) must be a tensor.*tuple"),
        (lambda y: y[:1], ValueError, r"value of field\(t, y\) must have shape \(2,\).*\(1,\)"),
        (lambda y: y.sum(), ValueError, r"must have shape \(2,\).*\(\)"),
        (lambda y: y.reshape(2, 1), ValueError, r"must have shape \(2,\).*\(2, 1\)"),
        (lambda y: y.float(), TypeError, "must have dtype torch.float64.*torch.float32"),
        (lambda y: y.to(torch.complex128), TypeError, "must have dtype torch.float64.*torch.complex128"),
        (lambda y: y.long(), TypeError, "must have dtype torch.float64.*torch.int64"),
        (lambda y: y.to("meta"), ValueError, r"value of field\(t, y\) must be on cpu, like y0, but is on meta"),
    ],
)
@each_adjoint
def test_fields_that_return_something_else(result, kind, message: str, adjoint) -> None:
    with pytest.raises(kind, match=message):
        nde.solve_ode(lambda t, y: result(y), Y0.clone().requires_grad_(), (0.0, 1.0), adjoint=adjoint)


@pytest.mark.parametrize(
    ("result", "kind", "message"),
    [
        (lambda y: {"a": y["a"]}, TypeError, r"must be a dict with keys \['a', 'b'\], but is keys \['a'\]"),
        (lambda y: [y["a"], y["b"]], TypeError, "must be a dict with keys.*list"),
        (lambda y: {"a": y["a"], "b": y["b"][0]}, TypeError, r"\['b'\] must be a tuple of length 2.*Tensor"),
        (lambda y: {"a": y["a"], "b": y["b"][:1]}, TypeError, r"\['b'\] must be a tuple of length 2.*length 1"),
        (lambda y: {"a": y["a"], "b": (y["b"][0], y["a"])}, ValueError, r"\['b'\]\[1\] must have shape \(3,\)"),
        (lambda y: None, TypeError, "must be a dict"),
    ],
)
def test_fields_that_return_another_structure(result, kind, message: str) -> None:
    y0 = {"a": torch.ones(2), "b": (torch.ones(1), torch.ones(3))}
    with pytest.raises(kind, match=message):
        nde.solve_ode(lambda t, y: result(y), y0, (0.0, 1.0))


class OwnError(Exception):
    """An exception that the package cannot know."""


@each_adjoint
@pytest.mark.parametrize("kind", [ValueError, ZeroDivisionError, OwnError])
def test_exceptions_of_the_field_keep_their_type_and_get_a_note_with_the_time(kind, adjoint) -> None:
    def field(t, y):
        if float(t) > 0.5:
            raise kind("mine")
        return -y

    y0 = Y0.clone().requires_grad_()
    with pytest.raises(kind, match="mine") as caught:
        nde.solve_ode(field, y0, (0.0, 1.0), adjoint=adjoint, controller=nde.FixedStep(0.4), method="rk4")
    (note,) = caught.value.__notes__
    assert re.search(r"raised by the field at t = 0\.6, in its evaluation number 6", note)


def test_fields_with_another_signature_raise_what_python_raises() -> None:
    with pytest.raises(TypeError, match="positional argument") as caught:
        nde.solve_ode(lambda y: -y, Y0, (0.0, 1.0))
    assert "raised by the field at t = 0" in caught.value.__notes__[0]


@each_adjoint
def test_a_field_that_raises_in_the_backward_pass_keeps_its_exception(adjoint) -> None:
    broken = []

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value**2

        @staticmethod
        def backward(ctx, cotangent):
            broken.append(True)
            raise OwnError("in the backward pass")

    y0 = Y0.clone().requires_grad_()
    solution = nde.solve_ode(lambda t, y: Square.apply(y) * 0.1, y0, (0.0, 1.0), adjoint=adjoint)
    with pytest.raises(OwnError, match="in the backward pass"):
        solution.y1.sum().backward()
    assert broken


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nde.FixedStep(0.0), "size must be positive and finite"),
        (lambda: nde.FixedStep(-0.1), "size must be positive and finite"),
        (lambda: nde.FixedStep(math.inf), "size must be positive and finite"),
        (lambda: nde.FixedStep(math.nan), "size must be positive and finite"),
        (lambda: nde.IController(safety=0.0), "safety must lie between 0 and 1"),
        (lambda: nde.IController(safety=1.0), "safety must lie between 0 and 1"),
        (lambda: nde.IController(safety=math.nan), "safety must lie between 0 and 1"),
        (lambda: nde.IController(min_factor=1.0), "min_factor < 1 < max_factor"),
        (lambda: nde.IController(min_factor=0.0), "min_factor"),
        (lambda: nde.IController(max_factor=1.0), "min_factor < 1 < max_factor"),
        (lambda: nde.IController(max_factor=math.nan), "max_factor"),
        (lambda: nde.IController(initial=0.0), "initial must be a positive finite step size"),
        (lambda: nde.IController(initial=math.inf), "initial must be a positive finite step size"),
        (lambda: nde.PIController(i=0.0), "i must be positive"),
        (lambda: nde.PIController(p=math.inf), "p, i, d must be finite"),
        (lambda: nde.PIDController(d=math.nan), "p, i, d must be finite"),
    ],
)
def test_controllers_out_of_range(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    "controller", [nde.FixedStep(0.1), nde.StepTo(), nde.IController(), nde.PIController(), nde.PIDController()]
)
def test_controllers_are_frozen_and_compare_by_value(controller) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        controller.size = 1.0
    assert controller == dataclasses.replace(controller)
    assert hash(controller) == hash(dataclasses.replace(controller))


def test_times_to_step_to_that_are_not_a_number() -> None:
    with pytest.raises(ValueError, match="times"):
        nde.solve_ode(decay, Y0, (0.0, 1.0), controller=nde.StepTo((0.2, math.nan)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tolerances_below_the_rounding_of_the_state_warn(dtype: torch.dtype) -> None:
    tolerance = 1.4e-8 if dtype is torch.float32 else 1e-3
    with pytest.warns(UserWarning, match=rf"rtol and atol ask for.*{dtype} can resolve.*float64") as caught:
        nde.solve_ode(decay, Y0.to(dtype), (0.0, 0.1), rtol=tolerance, atol=tolerance)
    assert caught[0].filename == __file__  # the warning points to the caller


def test_tolerances_above_the_rounding_of_the_state_do_not_warn() -> None:
    # warnings are errors here
    nde.solve_ode(decay, Y0.float(), (0.0, 0.1), rtol=1e-4, atol=1e-6)
    nde.solve_ode(decay, Y0.float(), (0.0, 0.1), rtol=1e-9, atol=1e-3)  # the absolute part decides
    nde.solve_ode(decay, Y0, (0.0, 0.1), rtol=1e-9, atol=1e-12)
    nde.solve_ode(decay, Y0.float(), (0.0, 0.1), rtol=1e-9, atol=1e-12, controller=nde.FixedStep(0.1))


@pytest.mark.parametrize("name", ["per_sample", "dense", "local_errors", "throw"])
@pytest.mark.parametrize("value", ["yes", 3, None])
def test_flags_that_are_neither_true_nor_false(name: str, value) -> None:
    with pytest.raises(TypeError, match=f"{name} must be True or False"):
        nde.solve_ode(lambda t, y: y, torch.ones(1), (0.0, 1.0), **{name: value})


def test_directions_that_are_truth_values() -> None:
    with pytest.raises(ValueError, match="direction must be -1, 0 or 1"):
        nde.Event(lambda t, y: y, direction=True)
