"""The problem for cvxpy: as a textbook writes it, disciplined, and disciplined to refill."""

from cvxqueue.dcp.forms import formulate
from cvxqueue.dcp.formulation import Formulation

__all__ = ["Formulation", "formulate"]
