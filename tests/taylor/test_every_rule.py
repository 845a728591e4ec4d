"""Every function in the table of rules, in every spelling, against nested differentiation up to order 6."""

import warnings

import pytest

from nde.taylor.registry import RULES, name_of
from tests.taylor.cases import CASES
from tests.taylor.cases.case import operations_by_title
from tests.taylor.cases.checks import check_directions, check_gradients, check_spelling, check_values

OPERATIONS = tuple(RULES)  # before any test registers rules of its own

BY_TITLE = operations_by_title(CASES, OPERATIONS)


def test_every_rule_has_a_case():
    covered = {operation for operations in BY_TITLE.values() for operation in operations}
    missing = [name_of(operation) for operation in OPERATIONS if operation not in covered]
    assert not missing, f"rules without a case in tests/taylor/cases: {', '.join(missing)}"


def test_every_case_belongs_to_a_rule():
    assert [title for title, operations in BY_TITLE.items() if not operations] == []


@pytest.mark.parametrize("title", CASES)
def test_coefficients_equal_nested_differentiation_to_order_six(title):
    case = CASES[title]
    first, *others = BY_TITLE[title]
    function = case.at(first)
    with warnings.catch_warnings():
        if case.warns:
            warnings.simplefilter("ignore")
        check_values(function, case.x, case.formula or function, case.rtol)
        check_directions(function, case.x, case.rtol, case.vmapped)
        check_gradients(function, case.x, case.rtol)
        for other in others:
            check_spelling(function, case.at(other), case.x, case.rtol)
