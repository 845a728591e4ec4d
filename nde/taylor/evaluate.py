"""The entry: seeds in, one evaluation of the function, a jet out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

import nde.taylor.rules  # noqa: F401  (fills the table of rules)
from nde.taylor.frame import Frame
from nde.taylor.jet_type import Jet
from nde.taylor.jet_type import check_finite as check_finite_jet
from nde.taylor.seeds import Seed, lifted_seeds

__all__ = ["evaluated", "jet"]

_depth = 0  # evaluations that are running now, one inside the other


def jet(
    f: Callable[[Any], Any],
    x: Any,
    tangents: Seed | Sequence[Seed | None],
    *,
    order: int,
    collapse: bool = False,
    weights: Tensor | None = None,
    check_finite: bool = False,
) -> Jet:
    """Return the Taylor coefficients of ``f`` along curves through ``x``, for many directions in one pass.

    With the curve ``x_v(t) = x + s_(1,v) t + s_(2,v) t^2 + ...`` of each direction ``v``, the result holds the
    coefficients ``c_(k,v)`` of ``f(x_v(t)) = sum_k c_(k,v) t^k``. Both seeds ``s_k`` and coefficients ``c_k`` are
    Taylor-normalised: the ``k``-th derivative at ``t = 0`` is ``k!`` times the coefficient (``result.derivative(k)``).
    So for ``tangents=v, order=2`` the result has ``derivative(1) = Df v`` and ``derivative(2) = D2f[v, v]``. The value
    at ``x`` is computed once and shared by all directions.

    ``f`` is called once, with a `Jet` in the place of ``x``; functions and modules of PyTorch take it as they take a
    tensor. Gradients flow to ``x``, to the tangents, to ``weights`` and to the parameters of ``f``.

    Args:
        f: Function or module from a tensor to a tensor. Any number of points may be in ``x``; ``f`` sees its shape.
        x: Shape ``S``, floating. In a nested evaluation, a jet.
        tangents: The seed of order 1, or a sequence of the seeds of orders 1, 2, ... (None, or left out at the end:
            zero). A seed is one of

            * a tensor of shape ``S``: one direction, shared by all directions where other seeds have several;
            * a tensor of shape ``(V, *S)``: ``V`` directions. Sizes of 1 are broadcast: ``(V, 1, d)`` for ``x`` of
              shape ``(B, d)`` is a set of directions shared by the batch, and stays small in the first layer;
            * ``OneHot(indices)``, ``indices`` of shape ``(V,)``: the coordinate directions ``e_indices[v]`` of the
              last axis of ``x``, shared by all points and never made dense where the first layer is linear.
        order: Highest order of the coefficients, at least 1.
        collapse: Carry only the sum over the directions of the coefficients of the highest order, which costs one
            vector instead of ``V``; needs ``order >= 2``. A seed of that highest order is then that of the sum: shape
            ``S``, or ``(G, *S)`` with weights of shape ``(G, V)``.
        weights: Only with ``collapse``: shape ``(V,)`` for the weighted sum ``sum_v weights[v] c_(order, v)``, or
            ``(G, V)`` for ``G`` such sums at once. None: every direction counts once.
        check_finite: Search the result of every operation for values that are not finite, and name the first
            operation that makes one. Slower; not with ``torch.compile``.

    Returns:
        A `Jet`: ``result.primal`` of shape ``O = f(x).shape``; ``result.coefficient(k)`` and ``result.derivative(k)``
        of shape ``O`` where neither seeds nor weights have an axis of directions, else ``(V, *O)``. The collapsed
        ``coefficient(order)`` has shape ``O``, or ``(G, *O)`` with weights of shape ``(G, V)``.
        ``result.coefficients`` is the tuple of all.

    Raises:
        TypeError: ``f`` cannot be called or does not return a tensor; ``x`` is not a floating tensor; a seed or
            ``weights`` has another dtype or device.
        ValueError: ``order`` is below 1; the shape of a seed or of ``weights`` does not fit; there are more seeds than
            orders.
        MissingRuleError: ``f`` uses an operation without a rule; the message shows how to register one.
        InPlaceError: ``f`` writes to a jet in place.
        NonFiniteError: ``check_finite`` is set and a value is not finite.

    Source:
        Griewank and Walther, Evaluating Derivatives (2008), chapter 13; the collapsed coefficient: Dangel et al.,
        Collapsing Taylor Mode Automatic Differentiation (2025).
    """
    seeds: list[Any] = list(tangents) if isinstance(tangents, (list, tuple)) else [tangents]
    return evaluated(f, x, seeds, order, collapse, weights, check_finite)


def evaluated(
    f: Callable[[Any], Any],
    x: Any,
    seeds: list[Any],
    order: int,
    collapse: bool = False,
    weights: Tensor | None = None,
    check_finite: bool = False,
    kept: frozenset[int] | None = None,
    degree: int | None = None,
) -> Jet:
    """Return the jet of a function; ``kept`` and ``degree`` are those of `nde.taylor.frame.Frame`."""
    global _depth
    if not callable(f):
        raise TypeError(f"f must be callable, a function or a module, but is {type(f).__name__}.")
    lifted, directions = lifted_seeds(x, seeds, order, collapse, weights)
    _depth += 1
    try:
        frame = Frame(order, directions, collapse, weights, _depth, check_finite, kept, degree)
        curve = Jet(frame, lifted)
        if check_finite:
            check_finite_jet(curve, "what jet was given, x and tangents,")
        result = f(curve)
    finally:
        _depth -= 1
    if isinstance(result, Jet) and result.frame is frame:
        return result
    if isinstance(result, (Jet, Tensor)):  # does not depend on x
        return Jet(frame, [result.unsqueeze(0)] + [None] * order)
    raise TypeError(
        f"f must return one tensor, but returned {type(result).__name__}. "
        "Where it returns several, wrap it: torch.cat or torch.stack its outputs."
    )
