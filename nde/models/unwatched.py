"""Tolerances for a state of which a part takes no part in the choice of the steps."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from nde import validation
from nde.solvers.structure import StateStructure

__all__ = ["LEFT_OUT", "tolerances_of_part"]

LEFT_OUT = 1e20  # an absolute tolerance that no error reaches


def tolerances_of_part(rtol: Any, atol: Any, part: Tensor, others: int) -> tuple[float | Tensor, float | Tensor]:
    """Return tolerances with which the norm of an error is that of one part of the state alone.

    The norm is a root mean square over all entries. Those of the other parts count as zero with the tolerances zero and
    `LEFT_OUT`, and dilute it by the quotient of the numbers of entries.

    Args:
        rtol, atol: Tolerances of the part.
        part: The part.
        others: Number of entries in the other parts.

    Raises:
        TypeError, ValueError: A tolerance has the wrong type or is out of range.
    """
    structure = StateStructure(part)
    share = math.sqrt(part.numel() / (part.numel() + others))
    found = []
    for value, name in ((rtol, "rtol"), (atol, "atol")):
        scaled = validation.check_tolerance(value, name, structure) * share
        found.append(scaled if isinstance(scaled, float) else scaled.view(part.shape))
    return found[0], found[1]
