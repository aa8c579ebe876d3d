"""Optimises spot weights to objectives on the reported dose; knows matrices and numbers, no engine and no patient."""

from .objectives import DoseTerm, FallOffTerm, MetricTerm
from .problem import Minimized, Problem, make_problem, penalties
from .products import column_norms
from .robust import RobustProblem, ScenarioProblem
from .solve import Method, Solution, optimize

__all__ = [
    "DoseTerm",
    "FallOffTerm",
    "Method",
    "MetricTerm",
    "Minimized",
    "Problem",
    "RobustProblem",
    "ScenarioProblem",
    "Solution",
    "column_norms",
    "make_problem",
    "optimize",
    "penalties",
]
