"""The table of stochastic methods is the one that the methods' class facts give."""

import re
from pathlib import Path

from nde.solvers.sde import find_sde_method, sde_method_names

TEXT = (Path(__file__).parents[2] / "docs" / "stochastic.md").read_text(encoding="utf-8")
KINDS = ("diagonal", "scalar", "additive", "commutative", "general")
CALCULI = {"Ito": ("ito",), "Stratonovich": ("stratonovich",), "both": ("ito", "stratonovich")}


def rows():
    table = TEXT.split("## Methods")[1].split("## Paths")[0]
    for line in table.splitlines():
        if line.startswith("| `") and "`method`" not in line:
            names, calculus, strong, weak, estimate, _ = (cell.strip() for cell in line.strip("|").split("|"))
            for name in re.findall(r"`(\w+)`", names):
                yield name, CALCULI[calculus], strong, weak, estimate


def number(order):
    return "-" if order is None else f"{order:g}"


def test_every_method_for_paths_has_a_row_and_no_row_is_of_another():
    found = {(name, calculus) for name, calculi, *_ in rows() for calculus in calculi}
    known = {
        (name, calculus)
        for calculus in ("ito", "stratonovich")
        for kind in KINDS
        for name in sde_method_names(calculus, kind)
    }
    assert found == known


def test_orders_and_estimates_are_those_of_the_methods():
    for name, calculi, strong, weak, estimate in rows():
        for calculus in calculi:
            kind = next(kind for kind in KINDS if name in sde_method_names(calculus, kind))
            method = find_sde_method(name, calculus, kind)
            orders = " / ".join(number(method.strong_orders.get(kind)) for kind in KINDS)
            assert strong == ("-" if set(orders) <= {"-", " ", "/"} else orders), name
            assert weak == number(method.weak_order), name
            has = "no" if method.error_order is None else "yes, and stiffness" if method.has_stiffness else "yes"
            assert estimate == has, name
