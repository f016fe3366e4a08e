"""The methods, and the one driver that runs and grades them."""

from cvxqueue.solvers.batch import solve_batch
from cvxqueue.solvers.batch_solution import BatchSolution
from cvxqueue.solvers.cross_validation import CrossValidation, cross_validate
from cvxqueue.solvers.driver import Answer
from cvxqueue.solvers.registry import Method, methods
from cvxqueue.solvers.solve import solve
from cvxqueue.solvers.uniform import best_uniform

__all__ = [
    "Answer",
    "BatchSolution",
    "CrossValidation",
    "Method",
    "best_uniform",
    "cross_validate",
    "methods",
    "solve",
    "solve_batch",
]
