"""Coefficients of Roessler's stochastic Runge-Kutta methods of strong order 1.5."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SRATableau", "SRITableau"]

Row = tuple[float, ...]
Rows = tuple[Row, ...]  # strictly lower triangle, the empty first row left out
_ROUNDING = 1e-9  # published rows have 14 to 16 digits


@dataclass(frozen=True)
class SRATableau:
    """A method for additive noise.

    ``H_i = y + h sum_j a0_ij f(H_j) + I10 / h sum_j b0_ij g_j``, ``g_i = g(t + c1_i h)``,
    ``y1 = y + h sum_i alpha_i f(t + c0_i h, H_i) + sum_i (beta1_i W + beta2_i I10 / h) g_i``.

    Attributes:
        a0, b0: Rows of the strictly lower triangles.
        c0, c1: Nodes.
        alpha, beta1, beta2: Weights.
        stiffness_stages: Two drift stages at the same time; None if there are none.
        source: Where it was published.

    Raises:
        ValueError: The numbers of stages differ, or a condition of consistency does not hold.
    """

    a0: Rows
    b0: Rows
    c0: Row
    c1: Row
    alpha: Row
    beta1: Row
    beta2: Row
    source: str
    stiffness_stages: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _check(self, ("a0", "b0"), ("c0", "c1", "alpha", "beta1", "beta2"), {"alpha": 1, "beta1": 1, "beta2": 0})


@dataclass(frozen=True)
class SRITableau:
    """A method for diagonal or scalar noise and the Ito calculus.

    Beside the stages ``H_i`` of `SRATableau`, with ``g_j = g(t + c1_j h, J_j)``, there are
    ``J_i = y + h sum_j a1_ij f_j + sqrt(h) sum_j b1_ij g_j``; the weights of ``g_i`` in ``y1`` are
    ``beta1_i W + beta2_i I11 / sqrt(h) + beta3_i I10 / h + beta4_i I111 / h``.

    Attributes:
        a0, a1, b0, b1: Rows of the strictly lower triangles.
        c0, c1: Nodes.
        alpha, beta1, beta2, beta3, beta4: Weights.
        stiffness_stages: Two drift stages at the same time; None if there are none.
        source: Where it was published.

    Raises:
        ValueError: The numbers of stages differ, or a condition of consistency does not hold.
    """

    a0: Rows
    a1: Rows
    b0: Rows
    b1: Rows
    c0: Row
    c1: Row
    alpha: Row
    beta1: Row
    beta2: Row
    beta3: Row
    beta4: Row
    source: str
    stiffness_stages: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        sums = {"alpha": 1, "beta1": 1, "beta2": 0, "beta3": 0, "beta4": 0}
        _check(self, ("a0", "a1", "b0", "b1"), ("c0", "c1", *sums), sums)


def _check(
    tableau: SRATableau | SRITableau, matrices: tuple[str, ...], vectors: tuple[str, ...], sums: dict[str, int]
) -> None:
    stages = len(tableau.alpha)
    for name in vectors:
        if len(getattr(tableau, name)) != stages:
            raise ValueError(f"{name} must have {stages} entries, like alpha, but has {len(getattr(tableau, name))}.")
    for name in matrices:
        lengths = [len(row) for row in getattr(tableau, name)]
        if lengths != list(range(1, stages)):
            raise ValueError(f"{name} must have rows of 1 to {stages - 1} entries, but has rows of {lengths}.")
    for name, total in sums.items():
        found = sum(getattr(tableau, name))
        if abs(found - total) > _ROUNDING:
            raise ValueError(f"{name} must sum to {total}, but sums to {found!r}.")
    for nodes, matrix in (("c0", "a0"), ("c1", "a1")):
        if matrix not in matrices:
            continue
        found = [0.0, *(sum(row) for row in getattr(tableau, matrix))]
        for stage, (node, total) in enumerate(zip(getattr(tableau, nodes), found, strict=True)):
            if abs(node - total) > _ROUNDING:
                raise ValueError(
                    f"row {stage} of {matrix} must sum to {nodes}[{stage}] = {node}, but sums to {total!r}."
                )
