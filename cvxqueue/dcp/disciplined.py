"""The problem in the rules of disciplined convex programming, as people read it.

The decision is u = tokens / tokens_per_unit, of order one for every type where tokens range over
many decades, and the objective is counted in units of `scale` seconds.
"""

from __future__ import annotations

import cvxpy as cp

from cvxqueue.dcp.expressions import expressions
from cvxqueue.dcp.formulation import FixedData, Formulation
from cvxqueue.dcp.natural_units import natural_scale, tokens_per_unit
from cvxqueue.dcp.service_levels import limited
from cvxqueue.model import AffineService, Instance


def disciplined(instance: Instance) -> Formulation:
    """Return the disciplined form with the data as constants."""
    scale, unit = natural_scale(instance), tokens_per_unit(instance)
    variable = scaled_tokens(instance)
    quantities = expressions(instance, cp.multiply(unit, variable))
    constraints = {
        "min_tokens": variable >= instance.lower / unit,
        "max_tokens": variable <= instance.upper / unit,
    }
    variables, data = {"scaled_tokens": variable}, FixedData(instance, scale, disciplined)
    objective = quantities["objective"] / scale
    return limited("dcp", objective, variables, constraints, data, quantities)


def scaled_tokens(instance: Instance) -> cp.Variable:
    """Return the decision u = tokens / tokens_per_unit.

    The rules accept the square of a service time only if it is affine, or known to be positive.
    """
    is_affine = type(instance.service) is AffineService
    return cp.Variable(instance.size, name="scaled_tokens", nonneg=not is_affine)
