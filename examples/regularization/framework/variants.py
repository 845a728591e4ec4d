"""The methods that are compared, by name, and their penalties with a weight.

Options of a method (``options.METHOD`` in the settings) are arguments of its penalty:

- ``taylor``, ``local-taylor``: ``order`` (default 2), further those of `nde.regularize.Taylor`;
- ``rnode``: ``jacobian``, the weight of the Jacobian's norm relative to that of the kinetic energy (default 1);
- ``global-error``, ``global-stiffness``: those of `GlobalError` and `GlobalStiffness`;
- ``local-biased``, ``local-unbiased``: those of `LocalError`;
- ``budget``: ``method``, the method whose penalty gets a weight (default ``"global-error"``; with its own options), and
  those of `NFEBudget`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nde.regularize import (
    Exponential,
    GlobalError,
    GlobalStiffness,
    JacobianFrobenius,
    Kinetic,
    LocalError,
    NFEBudget,
    Penalty,
    Schedule,
    Steer,
    Taylor,
)

if TYPE_CHECKING:
    from examples.regularization.framework.settings import Settings

__all__ = ["METHODS", "NONE", "Variant", "check_weights", "variants"]

NONE = "none"
Options = dict[str, Any]
Weight = float | Schedule


def _taylor(weight: Weight, seed: int, *, order: int = 2, form: str = "augmented", **options: Any) -> Penalty:
    return Taylor(order, weight, form=form, seed=seed, **options)


def _local_taylor(weight: Weight, seed: int, *, order: int = 2, **options: Any) -> Penalty:
    return Taylor(order, weight, form="local", seed=seed, **options)


def _rnode(weight: Weight, seed: int, *, jacobian: float = 1.0, **options: Any) -> Penalty:
    return Kinetic(weight, seed=seed, **options) + jacobian * JacobianFrobenius(weight, seed=seed + 1, **options)


def _global_error(weight: Weight, seed: int, **options: Any) -> Penalty:
    return GlobalError(weight, **options)


def _global_stiffness(weight: Weight, seed: int, **options: Any) -> Penalty:
    return GlobalStiffness(weight, **options)


def _local_biased(weight: Weight, seed: int, **options: Any) -> Penalty:
    return LocalError(weight, sampling="step", seed=seed, **options)


def _local_unbiased(weight: Weight, seed: int, **options: Any) -> Penalty:
    return LocalError(weight, sampling="time", seed=seed, **options)


_PENALTIES: dict[str, Callable[..., Penalty]] = {
    "taylor": _taylor,
    "rnode": _rnode,
    "global-error": _global_error,
    "global-stiffness": _global_stiffness,
    "local-biased": _local_biased,
    "local-unbiased": _local_unbiased,
    "local-taylor": _local_taylor,
}

# In the order of the tables, with the names that tables and legends have.
METHODS = {
    NONE: "none",
    "steer": "STEER",
    "taylor": "Taylor",
    "rnode": "RNODE",
    "global-error": "global error",
    "global-stiffness": "global stiffness",
    "local-biased": "local error, biased",
    "local-unbiased": "local error, unbiased",
    "local-taylor": "local Taylor",
    "budget": "budget",
}


@dataclass(frozen=True)
class Variant:
    """A method with a weight.

    Attributes:
        method: One of `METHODS`.
        weight: A number, or the first and the last of an exponential annealing; see the package's docstring.
        options: Further arguments of the penalty.
        inner_options: For a budget, further arguments of the penalty in it.
    """

    method: str
    weight: float | tuple[float, float]
    options: tuple[tuple[str, Any], ...] = ()
    inner_options: tuple[tuple[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """The weight as text."""
        if isinstance(self.weight, tuple):
            return f"{self.weight[0]:g} to {self.weight[1]:g}"
        return f"{self.weight:g}"

    @property
    def strength(self) -> float:
        """The weight as a number, to put points in order: the larger end of an annealing."""
        return max(self.weight) if isinstance(self.weight, tuple) else self.weight

    @property
    def slug(self) -> str:
        """A name for files."""
        return self.method if self.method == NONE else f"{self.method}-{self.label.replace(' ', '-')}"

    def make(self, seed: int, iterations: int) -> tuple[Penalty | None, Steer | None]:
        """Return the penalty and the jitter of the times, each where the method has one.

        Args:
            seed: Of what they draw.
            iterations: Length of an annealing.

        Raises:
            TypeError, ValueError: The weight or an option cannot be.
        """
        options = dict(self.options)
        seed = 7919 * (seed + 1)  # not the numbers that initial weights and batches are made of
        if self.method == NONE:
            return None, None
        if self.method in ("steer", "budget"):
            if isinstance(self.weight, tuple):
                raise ValueError(f"{self.method} takes a number, but is given the annealing {list(self.weight)}.")
            if self.method == "steer":
                return None, Steer(self.weight, seed=seed, **options)
            method = options.pop("method", "global-error")
            if method not in _PENALTIES:
                raise ValueError(f"budget has no method {method!r}. Choose one of: {', '.join(_PENALTIES)}.")
            if isinstance(bounds := options.get("bounds"), list):  # TOML has no tuples
                options["bounds"] = tuple(bounds)
            return NFEBudget(self.weight, _PENALTIES[method](1.0, seed, **dict(self.inner_options)), **options), None
        weight: Weight
        weight = Exponential(*self.weight, steps=iterations) if isinstance(self.weight, tuple) else self.weight
        return _PENALTIES[self.method](weight, seed, **options), None


def variants(settings: Settings) -> list[Variant]:
    """Return the variants that settings ask for, in the order of `METHODS`."""
    return _variants(settings.weights, settings.options)


def check_weights(weights: dict[str, list[Any]], options: dict[str, Options], iterations: int) -> None:
    """Raise TypeError or ValueError, with the name of the method, where a weight or an option cannot be."""
    for method, values in weights.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"weights.{method} must be a list of weights, but is {values!r}.")
        for value in values:
            pair = value if isinstance(value, list) and len(value) == 2 else [value]
            if not all(isinstance(part, (int, float)) and not isinstance(part, bool) for part in pair):
                raise ValueError(f"weights.{method} must hold numbers and pairs [start, end], but holds {value!r}.")
    for variant in _variants(weights, options):
        try:
            variant.make(0, iterations)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{variant.method}, weight {variant.label}: {error}") from None


def _variants(weights: dict[str, list[Any]], options: dict[str, Options]) -> list[Variant]:
    found = []
    for method in METHODS:
        own = options.get(method, {})
        inner = options.get(own.get("method", "global-error"), {}) if method == "budget" else {}
        for value in weights.get(method, []):
            weight = (float(value[0]), float(value[1])) if isinstance(value, list) else float(value)
            found.append(Variant(method, weight, tuple(own.items()), tuple(inner.items())))
    return found
