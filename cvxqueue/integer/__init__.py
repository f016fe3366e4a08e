"""Whole tokens and other domains: the best allocation with its proof, and the heuristics."""

from cvxqueue.integer.rounding_bound import RoundingBound, rounding_bound
from cvxqueue.integer.solution import IntegerSolution
from cvxqueue.integer.solve import plain_rounding, solve_integer

__all__ = [
    "IntegerSolution",
    "RoundingBound",
    "plain_rounding",
    "rounding_bound",
    "solve_integer",
]
