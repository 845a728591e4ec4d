"""Fields that hold the tensors they depend on in every place where code holds things.

Each case returns ``(field, args, leaves)``; the leaves are what gradients are wanted for.
"""

import collections
import dataclasses
import functools
import types

import torch
from torch import nn

from tests.problems import Net, double

GLOBAL_WEIGHT = double(0.8).requires_grad_()


def weight() -> torch.Tensor:
    return double(0.7).requires_grad_()


def closure_leaf():
    w = weight()
    return (lambda t, y: torch.sin(w * y)), (), [w]


def closure_non_leaf():
    w = weight()
    scaled = w.exp()
    return (lambda t, y: torch.sin(scaled * y)), (), [w]


def closure_of_a_closure():
    w = weight()

    def inner(y):
        return torch.sin(w * y)

    return (lambda t, y: inner(y)), (), [w]


def global_tensor():
    return (lambda t, y: torch.sin(GLOBAL_WEIGHT * y)), (), [GLOBAL_WEIGHT]


def global_tensor_in_a_nested_lambda():
    return (lambda t, y: (lambda z: torch.sin(GLOBAL_WEIGHT * z))(y)), (), [GLOBAL_WEIGHT]


def default_argument():
    w = weight()
    return (lambda t, y, w=w: torch.sin(w * y)), (), [w]


def keyword_default():
    w = weight()

    def field(t, y, *, w=w):
        return torch.sin(w * y)

    return field, (), [w]


def partial_positional():
    w = weight()
    return functools.partial(lambda w, t, y: torch.sin(w * y), w), (), [w]


def partial_keyword():
    w = weight()
    return functools.partial(lambda t, y, w: torch.sin(w * y), w=w), (), [w]


class Holder:
    """An ordinary object with tensors, whose method is the field."""

    def __init__(self, w):
        self.w = w

    def method(self, t, y):
        return torch.sin(self.w * y)

    def __call__(self, t, y):
        return self.method(t, y)

    @functools.lru_cache(maxsize=1)  # noqa: B019 - the search must cope with methods that keep their object alive
    def cached(self):
        return self.w


class Slotted:
    __slots__ = ("w",)

    def __init__(self, w):
        self.w = w

    def __call__(self, t, y):
        return torch.sin(self.w * y)


@dataclasses.dataclass
class Settings:
    name: str
    weights: dict


def bound_method():
    w = weight()
    return Holder(w).method, (), [w]


def callable_object():
    w = weight()
    return Holder(w), (), [w]


def callable_object_with_slots():
    w = weight()
    return Slotted(w), (), [w]


def decorated_function():
    w = weight()

    def field(t, y):
        return torch.sin(w * y)

    @functools.wraps(field)
    def wrapper(*values):
        return field(*values)

    return wrapper, (), [w]


def containers_in_a_closure():
    w, v = weight(), weight()
    store = {"a": [1, (w, None)], "b": Settings("x", {"v": v})}
    return (lambda t, y: torch.sin(store["a"][1][0] * y) * store["b"].weights["v"]), (), [w, v]


def namespace_in_args():
    w = weight()
    return (lambda t, y, ns: torch.sin(ns.w * y)), (types.SimpleNamespace(w=w),), [w]


def nested_args_with_other_things():
    w, v = weight(), weight()
    args = ({"w": (w,), "name": "x", "count": 3, "none": None}, [v, 2.0], len)
    return (lambda t, y, a, b, f: torch.sin(a["w"][0] * y) * b[0] + f(b) * 0.1), args, [w, v]


def ordered_and_default_dicts():
    w, v = weight(), weight()
    table = collections.defaultdict(list, {"w": [w]})
    ordered = collections.OrderedDict(v=v)
    return (lambda t, y: torch.sin(table["w"][0] * y) * ordered["v"]), (), [w, v]


def module_field():
    net = Net(size=2)
    return net, (), list(net.parameters())


def module_in_a_closure():
    net = Net(size=2)
    return (lambda t, y: net(t, y) - y), (), list(net.parameters())


def method_of_a_module():
    net = Net(size=2)
    return net.forward, (), list(net.parameters())


def module_in_args():
    net = Net(size=2)
    return (lambda t, y, f: f(t, y)), (net,), list(net.parameters())


class WithTensorAttribute(nn.Module):
    """A module with a tensor that is no parameter, and a list of modules that is not registered."""

    def __init__(self, w):
        super().__init__()
        self.w = w
        self.hidden = [Net(size=2)]

    def forward(self, t, y):
        return torch.sin(self.w * y) * self.hidden[0](t, y)


def tensors_of_a_module_that_are_no_parameters():
    w = weight()
    module = WithTensorAttribute(w)
    return module, (), [w, *module.hidden[0].parameters()]


def module_with_a_hook():
    w = weight()
    net = Net(size=2)
    net.register_forward_hook(lambda module, given, value: value * w)
    return net, (), [w, *net.parameters()]


def parametrized_module():
    net = Net(size=2)
    nn.utils.parametrizations.weight_norm(net.inner)
    return net, (), list(net.parameters())


def functional_call():
    net = Net(size=2)
    parameters = {name: value.detach().clone().requires_grad_() for name, value in net.named_parameters()}
    return (
        (lambda t, y: torch.func.functional_call(net, parameters, (t, y))),
        (),
        list(parameters.values()),
    )


def one_tensor_in_two_places():
    w = weight()
    return (lambda t, y, v: torch.sin(w * y) * v["v"]), ({"v": w},), [w]


def tensor_and_what_was_computed_from_it():
    # y' depends on w directly and through v = 2 w: the path through v must count once
    w = weight()
    v = 2.0 * w
    return (lambda t, y: torch.sin(w * y) * v), (), [w]


def tensor_and_what_was_computed_from_it_with_saved_values():
    # as above, where the derivative of v by w needs values that autograd frees after one use
    w = weight()
    v = w.exp()
    return (lambda t, y: torch.sin(w * y) * v), (), [w]


def two_arguments_one_computed_from_the_other():
    w = weight()
    h = w.sin()
    return (lambda t, y, a, b: torch.sin(a * y) * b), (h, h.exp()), [w]


def two_computed_from_a_third_one_of_them_by_another_way():
    # the first two come from h, which is not held; the last comes from the first, and from w around it
    w = weight()
    h = w.sin()
    a, b = h.exp(), h.cos()
    return (lambda t, y, *held: torch.sin(held[0] * y) * held[1] + held[2]), (a, b, a * w), [w]


def computed_from_another_and_from_a_leaf_of_its_own():
    w, u = weight(), weight()
    h = w.sin()
    return (lambda t, y, a, b: torch.sin(a * y) * b), (h, h * u), [w, u]


def unused_parameters():
    net, w = Net(size=2), weight()
    net.spare = nn.Linear(3, 3)
    return (lambda t, y: net(t, y) * w), (), [w, *net.inner.parameters(), *net.outer.parameters()]


CASES = [
    closure_leaf,
    closure_non_leaf,
    closure_of_a_closure,
    global_tensor,
    global_tensor_in_a_nested_lambda,
    default_argument,
    keyword_default,
    partial_positional,
    partial_keyword,
    bound_method,
    callable_object,
    callable_object_with_slots,
    decorated_function,
    containers_in_a_closure,
    namespace_in_args,
    nested_args_with_other_things,
    ordered_and_default_dicts,
    module_field,
    module_in_a_closure,
    method_of_a_module,
    module_in_args,
    tensors_of_a_module_that_are_no_parameters,
    module_with_a_hook,
    parametrized_module,
    functional_call,
    one_tensor_in_two_places,
    tensor_and_what_was_computed_from_it,
    tensor_and_what_was_computed_from_it_with_saved_values,
    two_arguments_one_computed_from_the_other,
    two_computed_from_a_third_one_of_them_by_another_way,
    computed_from_another_and_from_a_leaf_of_its_own,
    unused_parameters,
]
