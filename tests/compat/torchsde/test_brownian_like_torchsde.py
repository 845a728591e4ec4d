"""The Brownian motions beside torchsde's own: signatures, attributes, exceptions and warnings."""

import inspect
import math
import typing
import warnings

import pytest
import torch
import torchsde
import torchsde.settings
import torchsde.types

import nde.compat.torchsde as ours

CLASSES = ["BaseBrownian", "BrownianInterval", "BrownianPath", "BrownianTree", "ReverseBrownian"]


@pytest.mark.parametrize("name", [*CLASSES, "brownian_interval_like"])
def test_signatures_are_those_of_torchsde(name):
    def parameters(thing):
        return [(p.name, p.kind, p.default) for p in inspect.signature(thing).parameters.values()]

    mine, theirs = getattr(ours, name), getattr(torchsde, name)
    assert parameters(mine) == parameters(theirs)
    if inspect.isclass(theirs):
        assert parameters(mine.__call__) == parameters(theirs.__call__)


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_attribute_of_torchsde_is_there(name):
    public = {attribute for attribute in dir(getattr(torchsde, name)) if not attribute.startswith("_")}
    assert public <= set(dir(getattr(ours, name)))


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": (3, 2), "entropy": 4},
        {"size": (), "entropy": 4, "dtype": torch.float64, "dt": 0.1},
        {"W": torch.zeros(4), "entropy": 4, "levy_area_approximation": "space-time", "t0": torch.tensor(-1.0)},
        {"size": (3,), "entropy": 4, "tol": 1e-3, "halfway_tree": True, "pool_size": 12, "cache_size": None},
    ],
)
def test_attributes_and_representation_are_those_of_torchsde(arguments):
    mine, theirs = (module.BrownianInterval(**arguments) for module in (ours, torchsde))
    names = [
        "shape",
        "dtype",
        "device",
        "entropy",
        "levy_area_approximation",
        "dt",
        "tol",
        "pool_size",
        "cache_size",
        "halfway_tree",
    ]
    for name in names:
        assert getattr(mine, name) == getattr(theirs, name), name
    assert mine.size() == theirs.size()
    assert repr(mine) == repr(theirs)
    assert repr(ours.ReverseBrownian(mine)) == repr(torchsde.ReverseBrownian(theirs))


def outcome(action, module):
    """Return the type of exception and the warnings of an action; that of a clean run is None."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            action(module)
        except Exception as error:
            raised = type(error)
        else:
            raised = None
    return raised, [(warning.category, str(warning.message)) for warning in caught]


def interval(**arguments):
    return lambda module: module.BrownianInterval(**{"size": (3, 2), "entropy": 1, **arguments})


def query(*times, **arguments):
    return lambda module: interval(**arguments)(module)(*times)


ACTIONS = {
    "no size": interval(size=None),
    "t0 after t1": interval(t0=1.0, t1=0.0),
    "t0 of two elements": interval(t0=torch.zeros(2)),
    "t1 a string": interval(t1="1"),
    "t1 missing": interval(t1=None),
    "dt of two elements": interval(dt=torch.zeros(2)),
    "negative tol": interval(tol=-1.0),
    "halfway tree without tol": interval(halfway_tree=True),
    "halfway tree with dt": interval(halfway_tree=True, tol=1e-3, dt=0.1),
    "unknown area": interval(levy_area_approximation="full"),
    "other size than W": interval(W=torch.zeros(3, 3)),
    "other size than H": interval(H=torch.zeros(3, 3)),
    "W unlike H": interval(size=None, W=torch.zeros(3), H=torch.zeros(2)),
    "other dtype than W": interval(W=torch.zeros(3, 2), dtype=torch.float64),
    "W of integers": interval(W=torch.zeros(3, 2, dtype=torch.int64)),
    "negative entropy": interval(entropy=-1),
    "entropy a float": interval(entropy=1.5),
    "pool too small": interval(pool_size=2),
    "size an integer": interval(size=3),
    "point": query(0.5),
    "point of a tensor": query(torch.tensor(0.5)),
    "point too late": query(1.5),
    "point too early": query(-1.5),
    "too early": query(-0.5, 0.5),
    "too late": query(0.5, 1.5),
    "both too early": query(-2.0, -1.0),
    "both too late": query(2.0, 3.0),
    "beyond both ends": query(-1.0, torch.tensor(3.0)),
    "backwards": query(0.6, 0.4),
    "time of two elements": query(0.1, torch.tensor([0.5, 0.6])),
    "time a string": query(0.1, "soon"),
    "one time": query(0.4, 0.4),
    "one element": query(torch.tensor([0.1]), torch.tensor([[0.4]])),
    "no span": query(0.5, 0.5, t0=0.5, t1=0.5),
    "tree": lambda m: m.BrownianTree(0.0, torch.zeros(2), 1.0, entropy=1)(0.5),
    "tree too late": lambda m: m.BrownianTree(0.0, torch.zeros(2), 1.0, entropy=1)(0.5, 2.0),
    "tree without tol": lambda m: m.BrownianTree(0.0, torch.zeros(2), 1.0, tol=0.0),
    "tree with another end": lambda m: m.BrownianTree(0.0, torch.zeros(2), 1.0, torch.zeros(3)),
    "path backwards": lambda m: m.BrownianPath(0.0, torch.zeros(2))(0.6, 0.4),
    "abstract": lambda m: m.BaseBrownian(),
    "reversed point": lambda m: m.ReverseBrownian(interval()(m))(-0.5),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_exceptions_and_warnings_are_those_of_torchsde(name):
    mine, theirs = (outcome(ACTIONS[name], module) for module in (ours, torchsde))
    assert mine == theirs


def test_a_subclass_of_the_base_needs_what_it_needs_in_torchsde():
    def make(module):
        class Zero(module.BaseBrownian):
            dtype, device, shape, levy_area_approximation = torch.float32, torch.device("cpu"), (2,), "none"

            def __call__(self, ta, tb=None, return_U=False, return_A=False):
                return torch.zeros(2)

            def __repr__(self):
                return "Zero()"

        return Zero()

    assert make(ours).size() == make(torchsde).size() == (2,)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"t0": math.nan}, ValueError, "t0 must be finite"),
        ({"t1": math.inf}, ValueError, "t1 must be finite"),
        ({"dt": 0.0}, ValueError, "dt must be positive"),
        ({"size": (3, -1)}, ValueError, "size must not be negative"),
        ({"size": (3, 1.5)}, TypeError, "size must hold integers"),
        ({"size": "33"}, TypeError, "size must be a tuple"),
        ({"dtype": torch.int64}, ValueError, "dtype must be a floating-point dtype"),
        ({"dtype": torch.complex64}, ValueError, "dtype must be a floating-point dtype"),
        ({"cache_size": -1}, ValueError, "cache_size must be at least 0"),
        ({"cache_size": 1.5}, TypeError, "cache_size must be an integer"),
        ({"entropy": True}, TypeError, "entropy must be an integer"),
        ({"entropy": [1, -2]}, ValueError, "entropy must not be negative"),
        ({"W": 1.0}, ValueError, "W must be a tensor"),
        ({"W": torch.zeros(3, 2), "device": "meta"}, ValueError, "W must be on meta"),
    ],
)
def test_arguments_that_torchsde_does_not_check_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        ours.BrownianInterval(**{"size": (3, 2), **arguments})


def test_a_time_that_is_nan_is_named():
    with pytest.raises(ValueError, match="tb must be a time, but is NaN"):
        ours.BrownianInterval(size=(2,))(0.1, math.nan)


def test_rounding_beyond_the_end_is_no_reason_to_warn():
    bm = ours.BrownianInterval(0.0, 1.0, (2,), entropy=1)
    assert torch.equal(bm(-1e-12, 1.0 + 1e-12), bm(0.0, 1.0))


def test_settings_are_those_of_torchsde():
    names = ["LEVY_AREA_APPROXIMATIONS", "METHODS", "METHOD_OPTIONS", "NOISE_TYPES", "SDE_TYPES"]
    for name in names:
        mine, theirs = getattr(ours.settings, name), getattr(torchsde.settings, name)
        assert {k: v for k, v in vars(mine).items() if k[0] != "_"} == {
            k: v for k, v in vars(theirs).items() if k[0] != "_"
        }
        assert mine.all() == theirs.all() == list(mine)
        assert str(mine) == str(theirs)
        assert len(mine) == len(theirs.all())
        assert all(value in mine for value in theirs.all())
        assert "something else" not in mine


def test_types_are_those_of_torchsde():
    for name in (name for name in vars(torchsde.types) if name[0] != "_" and name != "torch"):
        mine, theirs = getattr(ours.types, name), getattr(torchsde.types, name)
        # a union written with a bar, and the newer Sequence, are the same types under other names
        members = [[typing.get_origin(m) or m for m in typing.get_args(thing)] for thing in (mine, theirs)]
        assert members[0] == members[1], name
        assert members[0] or mine is theirs or typing.get_origin(theirs), name
