"""Where the time of solves goes: recordings, tables, plots, advice, reports, and the command ``nde``."""

from nde.profile.advice import Advice, Candidate, advise
from nde.profile.clock import Calls
from nde.profile.cost import Cost, record
from nde.profile.solve_record import SolveRecord
from nde.profile.statistics import Group, Times, accounted, groups
from nde.profile.steps import StepTable

__all__ = [
    "Advice",
    "Calls",
    "Candidate",
    "Cost",
    "Group",
    "SolveRecord",
    "StepTable",
    "Times",
    "accounted",
    "advise",
    "groups",
    "record",
]
