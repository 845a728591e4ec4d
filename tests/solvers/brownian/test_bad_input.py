"""What is wrong with the arguments of a path, said in words that name them."""

import math

import pytest
import torch

from nde.solvers.brownian import BrownianPath

GOOD = {"t0": 0.0, "t1": 1.0, "shape": (4, 3), "seed": 0}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"t0": 1.0}, ValueError, ["t0 = 1", "t1 = 1", "reversed"]),
        ({"t0": 2.0}, ValueError, ["t0 must be before t1", "t0 = 2"]),
        ({"t1": math.nan}, ValueError, ["t1 must be finite", "nan"]),
        ({"t1": math.inf}, ValueError, ["t1 must be finite"]),
        ({"t0": "0"}, TypeError, ["t0 must be a number", "'0'"]),
        ({"shape": (4, 0)}, ValueError, ["shape", "(4, 0)"]),
        ({"shape": (4, 1.5)}, TypeError, ["shape", "1.5"]),
        ({"shape": "ab"}, TypeError, ["shape", "'ab'"]),
        ({"seed": 1.5}, TypeError, ["seed must be an integer", "1.5"]),
        ({"seed": None}, TypeError, ["seed must be an integer", "torch.randint"]),
        ({"grid": [0.0, 0.5, 0.5, 1.0]}, ValueError, ["grid[1] = 0.5", "grid[2]"]),
        ({"grid": [0.0, 0.5]}, ValueError, ["grid must run from t0 = 0 to t1 = 1", "0.5"]),
        ({"grid": [0.0, math.nan, 1.0]}, ValueError, ["grid[1] is nan"]),
        ({"grid": [0.0]}, ValueError, ["grid must have shape"]),
        ({"grid": "steps"}, TypeError, ["grid must be a sequence", "'steps'"]),
        ({"levy_area": "full"}, ValueError, ["levy_area", "'full'", "'space-time'"]),
        ({"levy_area": "davie", "shape": (3,)}, ValueError, ["last axis", "(3,)", "space-time"]),
        ({"dtype": torch.float16}, TypeError, ["dtype", "float16", "float32"]),
        ({"device": "nowhere"}, ValueError, ["device", "'nowhere'"]),
        ({"tol": 0.0}, ValueError, ["tol must be positive"]),
        ({"tol": math.nan}, ValueError, ["tol must be positive"]),
        ({"covariance": torch.eye(2)}, ValueError, ["covariance", "(3, 3)", "(2, 2)"]),
        ({"covariance": [[1.0]]}, TypeError, ["covariance", "list"]),
        ({"covariance": torch.full((3, 3), math.nan)}, ValueError, ["covariance must be finite"]),
        ({"covariance": torch.triu(torch.ones(3, 3))}, ValueError, ["symmetric"]),
        ({"covariance": -torch.eye(3)}, ValueError, ["positive semi-definite", "-1"]),
        ({"covariance": torch.eye(3), "shape": ()}, ValueError, ["covariance", "shape is ()", "(batch, m)"]),
    ],
)
def test_a_wrong_argument_is_named(change, error, words):
    with pytest.raises(error) as caught:
        BrownianPath(**{**GOOD, **change})
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    ("s", "t", "error", "words"),
    [
        (0.0, 1.5, ValueError, ["t = 1.5", "t0 = 0", "t1 = 1"]),
        (-0.1, 0.5, ValueError, ["s = -0.1"]),
        (math.nan, 0.5, ValueError, ["s", "NaN"]),
        ("0", 0.5, TypeError, ["s must be a number"]),
        (torch.zeros(3), 0.5, ValueError, ["s", "(4,) or (4, 1)", "(3,)"]),
        (torch.zeros(4), torch.tensor([0.0, 0.5, 2.0, 1.0]), ValueError, ["t[2] = 2"]),
        (torch.zeros(4), torch.tensor([0.0, math.nan, 0.5, 1.0]), ValueError, ["t[1]", "NaN"]),
        (torch.zeros(4, dtype=torch.complex64), 0.5, TypeError, ["s must hold real times"]),
    ],
)
def test_a_wrong_time_is_named(s, t, error, words):
    with pytest.raises(error) as caught:
        BrownianPath(**GOOD)(s, t)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_rows_that_do_not_exist_are_refused():
    path = BrownianPath(**GOOD)
    for index in (7, [1, 9], "first", torch.zeros(2, 2, dtype=torch.long), slice(2, 2)):
        with pytest.raises(IndexError, match="row"):
            path[index]
    for single in (BrownianPath(0.0, 1.0, (), seed=0), path[1]):
        with pytest.raises(TypeError, match="no batch axis"):
            single[0]
        with pytest.raises(ValueError, match="must be a number"):
            single(torch.zeros(4), 0.5)
