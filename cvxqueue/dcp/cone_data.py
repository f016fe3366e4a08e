"""The scaled form as the numbers of a conic program."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from cvxqueue.dcp.natural_units import tokens_per_unit
from cvxqueue.dcp.scaled import scaled
from cvxqueue.errors import InvalidInputError
from cvxqueue.model import Instance
from cvxqueue.numerics.arrays import FloatArray


class ConeData(NamedTuple):
    """Minimise c·x + offset, in seconds, where b − A x is in a product of cones.

    The cones are those of Clarabel and SCS, in their order: first those of `zero` rows, that are to
    be 0, and of `nonnegative` rows, that are to be ≥ 0; then one by one.
    """

    A: sparse.csc_array
    b: FloatArray
    c: FloatArray
    offset: float
    zero: int
    nonnegative: int
    second_order: tuple[int, ...]
    """Rows of each cone ‖r‖ ≤ t: t, and then r."""
    exponential: int
    """Cones y exp(x/y) ≤ z, of three rows x, y, z each."""
    power: tuple[float, ...]
    """Exponent a of each cone x^a y^(1 − a) ≥ ``|z|``, of three rows x, y, z each."""
    cost_unit: float
    """Seconds; c / cost_unit is of order one, as tolerances of solvers are absolute."""
    tokens_per_unit: FloatArray
    """Tokens of each type in one unit of its variable; these are the first N of x."""


def cone_data(instance: Instance) -> ConeData:
    """Return the cone data of a feasible instance.

    Raises
    ------
    InvalidInputError
        If a class of the instance has no cvxpy form, or one of other cones.
    """
    form = scaled(instance)
    # Without the option, a form of one's own might have squares in its objective.
    data, _, inverse = form.problem.get_problem_data(
        "CLARABEL", solver_opts={"use_quad_obj": False}
    )
    dims: Any = data["dims"]
    for name, cones in (("semidefinite", dims.psd), ("power cone of more dimensions", dims.pnd)):
        if cones:
            raise InvalidInputError(f"no format of export holds a {name} cone, which the form has")
    # Variables stand in the order in which cvxpy met them.
    program = data["param_prob"]
    tokens = next(
        it for it in program.variables if it.name() == form.variables["scaled_tokens"].name()
    )
    first, columns = program.var_id_to_col[tokens.id], np.arange(data["c"].size)
    own = columns[first : first + instance.size]
    columns = np.concatenate([own, np.delete(columns, own)])
    return ConeData(
        A=sparse.csc_array(data["A"])[:, columns],
        b=data["b"],
        c=form.scale * data["c"][columns],
        offset=form.scale * float(inverse[-1].inverse_data["offset"]),
        zero=dims.zero,
        nonnegative=dims.nonneg,
        second_order=tuple(dims.soc),
        exponential=dims.exp,
        power=tuple(map(float, dims.p3d)),
        cost_unit=form.scale,
        tokens_per_unit=tokens_per_unit(instance),
    )
