"""Whole tokens and other domains: the best allocation with its proof, and the heuristics."""

from cvxqueue.integer.rounding_bound import RoundingBound, rounding_bound
from cvxqueue.integer.solution import IntegerSolution
from cvxqueue.integer.solve import plain_rounding, solve_integer
from cvxqueue.model.domains import Domains, Integers, LevelMenu, Menu, Multiples, ZeroOrAtLeast

__all__ = [
    "Domains",
    "IntegerSolution",
    "Integers",
    "LevelMenu",
    "Menu",
    "Multiples",
    "RoundingBound",
    "ZeroOrAtLeast",
    "plain_rounding",
    "rounding_bound",
    "solve_integer",
]
