"""Universal differential equations: what is known of a system, and a network for the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from nde.models.layer import as_numbers
from nde.validation import check_field, check_flag

__all__ = ["HybridField"]


class HybridField(nn.Module):
    """A vector field ``known(t, y, *args) + output_scale * network(t, y / input_scale, *args)``.

    Rackauckas et al. (2020), Universal differential equations for scientific machine learning, section 2. Set
    ``field.use_network = False`` to take the network out: what remains is the mechanistic model, with the constants as
    trained.

    Args:
        known: The mechanistic term, an ``nn.Module`` or any callable ``(t, y, *args, **constants)`` with a value of the
            shape of ``y``, a tensor.
        network: The term that is learned, ``(t, y, *args)``, likewise.
        constants: Numbers or tensors that the known term takes by name.
            They are attributes of ``field.constants``.
        train_constants: Whether the constants are parameters; otherwise they are buffers.
        input_scale: Typical size of the state, a number or a tensor that broadcasts to ``y``: the network sees states
            of the size one.
        output_scale: Size of the network's part in the slopes, likewise. A small one starts training near what is
            known.
        train_scale: Whether ``output_scale`` is a parameter.

    Raises:
        TypeError: A term cannot be called, a scale or a constant is no number, a flag is none.
        ValueError: A scale is not finite, or ``input_scale`` has a zero.
    """

    def __init__(
        self,
        known: Callable[..., Tensor],
        network: Callable[..., Tensor],
        *,
        constants: Mapping[str, float | Tensor] | None = None,
        train_constants: bool = True,
        input_scale: float | Tensor = 1.0,
        output_scale: float | Tensor = 1.0,
        train_scale: bool = False,
    ) -> None:
        super().__init__()
        check_field(known, "known")
        check_field(network, "network")
        check_flag(train_constants, "train_constants")
        check_flag(train_scale, "train_scale")
        self.known = known
        self.network = network
        self.use_network = True
        self.constants = _Constants(constants or {}, train_constants)
        self.input_scale: Tensor
        self.output_scale: Tensor
        scale = as_numbers(input_scale, "input_scale")
        if not bool(scale.ne(0).all()):
            raise ValueError("input_scale must not be zero: states are divided by it.")
        self.register_buffer("input_scale", scale)
        if train_scale:
            self.output_scale = nn.Parameter(as_numbers(output_scale, "output_scale"))
        else:
            self.register_buffer("output_scale", as_numbers(output_scale, "output_scale"))

    def forward(self, t: Tensor, y: Tensor, *args: Any) -> Tensor:
        """Return the slopes, of the shape of ``y``.

        Raises:
            ValueError: A term returns another shape than that of ``y``.
        """
        known = _shaped(self.known(t, y, *args, **self.constants.by_name()), y, "known")
        if not self.use_network:
            return known
        learned = _shaped(self.network(t, y / self.input_scale, *args), y, "network")
        return known + self.output_scale * learned

    def extra_repr(self) -> str:
        """Describe the switch in ``repr``."""
        return f"use_network={self.use_network}"


class _Constants(nn.Module):
    """Named numbers, as parameters or buffers, in an order of their own."""

    def __init__(self, values: Mapping[str, float | Tensor], train: bool) -> None:
        super().__init__()
        if not isinstance(values, Mapping):
            raise TypeError(f"constants must be a mapping of names to numbers, but is {values!r}.")
        self._names = list(values)
        for name, value in values.items():
            tensor = as_numbers(value, f"constants[{name!r}]")
            if train:
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)

    def by_name(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self._names}


def _shaped(value: Any, y: Tensor, name: str) -> Tensor:
    if not isinstance(value, Tensor) or value.shape != y.shape:
        given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
        raise ValueError(
            f"{name}(t, y) must return a tensor of the shape of y, {tuple(y.shape)}, but what it returned has {given}."
        )
    return value
