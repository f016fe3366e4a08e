"""Ways out of a refused expression: others of the same value that the rules accept.

Each is made and asked: what is advised has the shape of what was refused, and is accepted.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import cvxpy as cp
import numpy as np
from cvxpy.atoms.affine.add_expr import AddExpression
from cvxpy.atoms.affine.binary_operators import DivExpression, MulExpression
from cvxpy.atoms.affine.sum import Sum
from cvxpy.atoms.elementwise.power import Power
from scipy import sparse

# Of a composition CVXPY declares neither arguments nor curvature and monotonicity.
Atom: TypeAlias = Any


class WayOut(NamedTuple):
    """What to write in place of a refused expression."""

    words: str
    expression: cp.Expression
    """Of the same value, on the terms that the words name."""


def way_out(part: Atom) -> WayOut | None:
    """Return a way out of an expression whose arguments are accepted, and ``None`` without one.

    Where the rules are those for parameters, so is what it is asked by.
    """
    if any(it.is_complex() for it in part.args):
        # The functions that are advised are of real numbers.
        return None
    for advise in _WAYS:
        found = advise(part)
        if found is not None and found.expression.shape == part.shape and found.expression.is_dcp():
            return found
    return None


def _is_quotient(part: Atom) -> bool:
    """Whether it is one that may have a positive denominator."""
    return isinstance(part, DivExpression) and not part.args[1].is_nonpos()


def _reciprocal(part: Atom) -> WayOut | None:
    if not (_is_quotient(part) and part.args[0].is_constant()):
        return None
    return WayOut(
        "where the denominator is positive, cp.inv_pos(denominator) times the constant; the time "
        "1/(μ − λ) in a queue is cvxqueue.dcp.atoms.mm1_system_time(μ, λ)",
        cp.multiply(part.args[0], cp.inv_pos(part.args[1])),
    )


def _share(part: Atom) -> WayOut | None:
    """x/(x + c)."""
    if not (_is_quotient(part) and isinstance(part.args[1], AddExpression)):
        return None
    top, bottom = part.args
    rest = [it for it in bottom.args if not _is_same(it, top)]
    if len(rest) != len(bottom.args) - 1 or not all(it.is_constant() for it in rest):
        return None
    return WayOut(
        "x/(x + c) is 1 − c cp.inv_pos(x + c), where the denominator is positive",
        1 - cp.multiply(sum(rest), cp.inv_pos(bottom)),
    )


def _square_over(part: Atom) -> WayOut | None:
    if not _is_quotient(part) or (root := _root(part.args[0])) is None:
        return None
    if not part.args[1].is_scalar():
        return None
    return WayOut(
        "where the denominator is positive, cp.quad_over_lin(root, denominator), with the root of "
        "which the numerator is the sum of squares",
        cp.quad_over_lin(root, part.args[1]),
    )


def _own_square(part: Atom) -> WayOut | None:
    if not isinstance(part, MulExpression) or not _is_same(*part.args):
        return None
    if isinstance(part, cp.multiply):
        return WayOut("cp.square(x)", cp.square(part.args[0]))
    if part.args[0].ndim == 1:
        return WayOut("cp.sum_squares(x)", cp.sum_squares(part.args[0]))
    return None


def _entropy(part: Atom) -> WayOut | None:
    if isinstance(part, cp.multiply):
        for x, logarithm in (part.args, part.args[::-1]):
            # `log1p` is a subclass.
            if type(logarithm) is cp.log and _is_same(x, logarithm.args[0]):
                return WayOut("x log(x) is -cp.entr(x)", -cp.entr(x))
    return None


def _root_of_squares(part: Atom) -> WayOut | None:
    if not (isinstance(part, Power) and part.p.value == 0.5):
        return None
    root = _root(part.args[0])
    if root is None:
        return None
    return WayOut("the root of a sum of squares is cp.norm(x)", cp.norm(cp.vec(root, order="F")))


def _log_sum_exp(part: Atom) -> WayOut | None:
    if type(part) is not cp.log or not isinstance(part.args[0], Sum | AddExpression):
        return None
    terms: Sequence[Atom] = part.args[0].args
    if not all(isinstance(it, cp.exp) for it in terms):
        return None
    if len(terms) > 1 and not all(it.is_scalar() for it in terms):
        return None
    exponents = cp.hstack([cp.vec(it.args[0], order="F") for it in terms])
    return WayOut(
        "the logarithm of a sum of exponentials is cp.log_sum_exp(x)", cp.log_sum_exp(exponents)
    )


def _unsigned(part: Atom) -> WayOut | None:
    """A function that would rise if its first argument were known to be ≥ 0."""
    rises = (
        isinstance(part, Power) and part.is_atom_convex() and (part.p.value or 0.0) >= 1.0
    ) or (isinstance(part, cp.quad_over_lin) and part.args[1].is_concave())
    first = part.args[0] if part.args else part
    if not rises or not first.is_convex() or first.is_affine() or first.is_nonneg():
        return None
    bound = cp.Variable(first.shape, nonneg=True)
    return WayOut(
        "the function rises only where its argument is ≥ 0. If it never is below, and the whole is "
        "to be small, take t = cp.Variable(nonneg=True) for the argument, and argument <= t",
        part.copy([bound, *part.args[1:]]),
    )


def _product_of_parameters(part: Atom) -> WayOut | None:
    """Where parameters count as affine, their products and functions do not."""
    if not isinstance(part, MulExpression | DivExpression):
        return None
    if not any(it.parameters() for it in part.args):
        return None
    if not any(it.variables() for it in part.args):
        return WayOut("a parameter of its own for it, which you refill", cp.Parameter(part.shape))
    first, second = part.args
    place = 1 if first.variables() else 0
    factors, words = [first, second], []
    data, rest = factors[place], factors[1 - place]
    if data.variables() or not data.parameters():
        return None
    own = cp.Parameter(data.shape, nonneg=data.is_nonneg(), nonpos=data.is_nonpos())
    if isinstance(part, DivExpression):
        if place == 0:
            return None
        words.append("a parameter for one over the denominator, and a product with it")
        factors[place] = own
    elif not data.is_affine():
        words.append("a parameter of its own for the factor without variables")
        factors[place] = own
    if rest.parameters():
        if not rest.is_affine():
            return None
        words.append("a variable that is constrained to be equal to the factor with the variables")
        factors[1 - place] = cp.Variable(rest.shape)
    is_matrix_product = type(part) is MulExpression
    advised: Atom = factors[0] @ factors[1] if is_matrix_product else cp.multiply(*factors)
    return WayOut("; ".join(words), advised) if words else None


_WAYS: tuple[Callable[[Atom], WayOut | None], ...] = (
    _share,
    _reciprocal,
    _square_over,
    _product_of_parameters,
    _own_square,
    _entropy,
    _root_of_squares,
    _log_sum_exp,
    _unsigned,
)


def _root(part: Atom) -> Atom | None:
    """Return an expression whose sum of squares is a scalar one, where its parts show one."""
    if not part.is_scalar() or part.parameters():
        return None
    if isinstance(part, Power) and part.p.value == 2.0:
        return part.args[0]
    if isinstance(part, cp.quad_over_lin) and part.args[1].is_constant():
        return _scaled(1.0 / part.args[1].value, part.args[0])
    if isinstance(part, AddExpression):
        roots = [_root(it) for it in part.args]
        if any(it is None for it in roots):
            return None
        return cp.hstack([cp.vec(it, order="F") for it in roots])
    if isinstance(part, DivExpression) and part.args[1].is_constant():
        return _scaled(1.0 / part.args[1].value, _root(part.args[0]))
    if isinstance(part, Sum):
        return _root_by_entry(part.args[0])
    if isinstance(part, MulExpression):
        factor, rest = part.args
        if rest.is_constant():
            factor, rest = rest, factor
        if not factor.is_constant():
            return None
        if rest.is_scalar():
            return _scaled(factor.value, _root(rest))
        return _scaled(factor.value, _root_by_entry(rest)) if rest.ndim == 1 else None
    return None


def _root_by_entry(part: Atom) -> Atom | None:
    """Return the vector whose squares are the entries of one."""
    if isinstance(part, Power) and part.p.value == 2.0:
        return part.args[0]
    if isinstance(part, cp.multiply) and part.args[0].is_constant():
        return _scaled(part.args[0].value, _root_by_entry(part.args[1]))
    return None


def _scaled(factor: Any, root: Atom | None) -> Atom | None:
    """Return the root of a multiple, which must be ≥ 0."""
    if root is None or not isinstance(factor, np.ndarray | float | int) or np.any(factor < 0.0):
        return None
    return cp.multiply(np.sqrt(factor), root)


def _is_same(a: Atom, b: Atom) -> bool:
    """Whether two expressions are the same function of the same variables."""
    if a is b:
        return True
    if type(a) is not type(b) or a.shape != b.shape:
        return False
    if isinstance(a, cp.Constant):
        if sparse.issparse(a.value) and sparse.issparse(b.value):
            differing: Any = a.value != b.value
            return bool(differing.nnz == 0)
        return np.array_equal(a.value, b.value)
    return (
        bool(a.args)
        and len(a.args) == len(b.args)
        and pickle.dumps(a.get_data()) == pickle.dumps(b.get_data())
        and all(map(_is_same, a.args, b.args))
    )
