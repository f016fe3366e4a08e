"""Whole tokens: rounding, and the best combination of whole neighbors."""

from cvxqueue.integer.solution import IntegerSolution
from cvxqueue.integer.solve import solve_integer

__all__ = ["IntegerSolution", "solve_integer"]
