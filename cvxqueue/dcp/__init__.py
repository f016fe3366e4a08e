"""The problem for conic solvers.

For cvxpy it is written as in a textbook, disciplined, and disciplined to refill. `dcp.cones` has
the disciplined form as cone data. `dcp.atoms` has the queueing formulas for anybody's cvxpy
problem, and `dcp.limits` service levels as constraints.
"""

from cvxqueue.dcp.forms import formulate
from cvxqueue.dcp.formulation import Formulation

__all__ = ["Formulation", "formulate"]
