"""The problem for conic solvers.

It is written as in a textbook, disciplined, disciplined in the units that solvers like, and
disciplined to refill. `dcp.atoms` has the queueing formulas for anybody's cvxpy problem,
`dcp.service_levels` service levels as constraints, and `dcp.expressions` the formulas of the model:
there a class of one's own joins.
"""

from cvxqueue.dcp.explain import explain
from cvxqueue.dcp.export import export
from cvxqueue.dcp.forms import formulate
from cvxqueue.dcp.formulation import Formulation

__all__ = ["Formulation", "explain", "export", "formulate"]
