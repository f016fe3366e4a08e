"""The disciplined form as sparse cone data: what a conic solver sees, without a compiler.

With u = rate ∘ tokens, y the idle fraction and sums over the types k, the program is

    minimise    s·u + Σ_k e_k + Σ_j q_j
    subject to  load·u + y = 1 − the load at u = 0
                lower ≤ u ≤ upper
                ‖r_j(u)‖² ≤ q_j y          for each block j of types, r affine
                exp(ln g_k − u_k) ≤ e_k    for each type with something to gain,

where s·u is the mean service time beyond that at u = 0, Σ e what the accuracies miss of their
ceilings, and Σ q the mean waiting time, all in one unit. How the same program is cut into cones and
in what units it is counted decide how far an interior point method gets: see `cone_unit`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from cvxqueue.dcp.disciplined import coefficients
from cvxqueue.model import FIFO, AffineService, Instance, SaturatingExponential
from cvxqueue.numerics.arrays import FloatArray

__all__ = ["ConeProgram", "Cones", "cone_program", "cone_unit", "has_cone_program"]

# Types to one second-order cone: 16 to 256 are as good. A cone for each takes up to twice the time,
# and one for all stops short on some instances of 100 000 types near saturation.
TYPES_PER_CONE = 64
# A box this narrow, relative to its end and to one, has no interior in float64.
NO_INTERIOR = 1e-12

_Indices = NDArray[np.intp]


class Cones(NamedTuple):
    """Equal cones in a row."""

    kind: str
    """``"zero"``, ``"nonnegative"``, ``"second-order"`` or ``"exponential"``."""
    sizes: _Indices
    """Rows of each."""


class ConeProgram(NamedTuple):
    """Minimise cost·x subject to right − matrix x in the product of the cones.

    A second-order cone holds (p, v) with p ≥ ‖v‖, an exponential one (x, y, z) with
    y exp(x/y) ≤ z. The objective J of an allocation is `constant` less `unit` times the cost.
    """

    cost: FloatArray
    """shape (n,)"""
    matrix: sparse.csc_array
    """shape (m, n)"""
    right: FloatArray
    """shape (m,)"""
    cones: tuple[Cones, ...]
    """In the order of the rows."""
    constant: float
    """Objective where the cost is zero, in seconds."""
    unit: float
    """Seconds in one unit of the cost."""
    settled: FloatArray
    """Tokens of the types that are no variables, and zero elsewhere, shape (N,)."""
    free: _Indices
    """The types of the first entries of x."""
    tokens_per_unit: FloatArray
    """Tokens in one unit of these entries."""

    def tokens(self, x: FloatArray) -> FloatArray:
        """Thinking tokens of each type at a point, shape (N,)."""
        tokens = self.settled.copy()
        tokens[self.free] = self.tokens_per_unit * x[: self.free.size]
        return tokens


def has_cone_program(instance: Instance) -> bool:
    """Whether the instance is of the kind that the cones are written for."""
    service = instance.service
    # A random use of tokens adds a row to ‖r‖² that these cones do not have.
    return (
        not instance.model.couplings
        and type(instance.queue) is FIFO
        and type(service) is AffineService
        and not service.is_random
        and type(instance.accuracy) is SaturatingExponential
    )


def cone_unit(instance: Instance) -> float:
    """Seconds in one unit of the cost with which an interior point method gets furthest.

    The cost F = α Σ π w A exp(−u) + T is between its least terms and its value at `min_tokens`; the
    geometric mean stands for its size at the optimum. It is a sum of N terms. Counted so that the
    sum is one, each term is 1/N, and the rounding of the whole hides it; counted so that each term
    is one, the sum is N, and the path from the solver's first point, where all is of order one, is
    long. The unit is halfway between: the sum is √N.
    """
    data = coefficients(instance, 1.0)
    gain = data["value_gain"]
    time = float(instance.evaluate(instance.lower).mean_system_time)
    least = float(gain @ np.exp(-data["upper"])) + time
    most = float(gain @ np.exp(-data["lower"])) + time
    size = np.sqrt(least) * np.sqrt(most)
    return float(size / np.sqrt(instance.size)) if size > 0 else 1.0


def cone_program(
    instance: Instance, unit: float, *, block: int = TYPES_PER_CONE, narrow: float = NO_INTERIOR
) -> ConeProgram:
    """Write an instance as cone data.

    Parameters
    ----------
    instance : Instance
        Feasible, and of the classes that `has_cone_program` knows.
    unit : float
        Seconds in one unit of the cost.
    block : int, default 64
        Types to one second-order cone.
    narrow : float, default 1e-12
        Width of a box, relative to its upper end and to one, up to which a type stays in the middle
        and is no variable.

    Returns
    -------
    ConeProgram
        The variables are u of the types that can move, e of those among them that have something to
        gain, q of each block, and y in units of its value at `min_tokens`.
    """
    data = coefficients(instance, unit)
    width = data["upper"] - data["lower"]
    is_free = width > narrow * np.maximum(data["upper"], 1.0)
    is_curved = data["value_gain"] > 0.0
    middle = 0.5 * (instance.lower + instance.upper)
    fixed = np.where(is_free, 0.0, middle / data["tokens_per_unit"])
    columns = _Columns(is_free, is_free & is_curved, -(-instance.size // block))
    idle = float(1.0 - data["load_base"] - data["load_slope"] @ data["lower"])
    parts = (
        _load(data, columns, fixed, idle),
        _box(data, columns),
        _waiting(data, columns, fixed, idle, block),
        _misses(data, columns),
    )
    matrix, right = _stacked(parts, columns.size)
    cost = np.ones(columns.size)
    cost[: columns.free.size] = data["scaled_time_slope"][columns.free]
    cost[columns.idle] = 0.0
    settled = ~is_free & is_curved
    missed = np.sum(np.exp(np.log(data["scaled_gain"][settled]) - fixed[settled]))
    constant = data["scaled_constant"] - data["scaled_time_slope"] @ fixed - missed
    return ConeProgram(
        cost=cost,
        matrix=matrix,
        right=right,
        cones=tuple(part.cones for part in parts if part.cones.sizes.size),
        constant=unit * float(constant),
        unit=unit,
        settled=np.where(is_free, 0.0, middle),
        free=columns.free,
        tokens_per_unit=data["tokens_per_unit"][columns.free],
    )


class _Columns:
    """Where each variable stands: u, then e, q and y."""

    def __init__(self, is_free: NDArray[np.bool_], is_curved: NDArray[np.bool_], blocks: int):
        self.free = np.flatnonzero(is_free)
        self.curved = np.flatnonzero(is_curved)
        # Column of each type's u; meaningless where it is no variable.
        self.exponent = np.cumsum(is_free) - 1
        self.miss = self.free.size + np.arange(self.curved.size)
        self.waiting = self.free.size + self.curved.size + np.arange(blocks)
        self.idle = self.free.size + self.curved.size + blocks
        self.size = self.idle + 1


class _Rows(NamedTuple):
    """Rows for one kind of cone: (row, column, value) of the entries, and the right side."""

    entries: tuple[tuple[ArrayLike, ArrayLike, ArrayLike], ...]
    right: FloatArray
    cones: Cones


def _load(
    data: Mapping[str, FloatArray], columns: _Columns, fixed: FloatArray, idle: float
) -> _Rows:
    """State that Σ load u + y = 1 − the load at u = 0, in units of the idle fraction."""
    slope = data["load_slope"]
    return _Rows(
        entries=(
            (0, columns.exponent[columns.free], slope[columns.free] / idle),
            (0, columns.idle, 1.0),
        ),
        right=np.array([(1.0 - float(data["load_base"] + slope @ fixed)) / idle]),
        cones=Cones("zero", np.array([1])),
    )


def _box(data: Mapping[str, FloatArray], columns: _Columns) -> _Rows:
    """State that u − lower ≥ 0 and upper − u ≥ 0."""
    free = columns.free
    row, column = np.arange(free.size), columns.exponent[free]
    return _Rows(
        entries=((row, column, -1.0), (free.size + row, column, 1.0)),
        right=np.concatenate((-data["lower"][free], data["upper"][free])),
        cones=Cones("nonnegative", np.array([2 * free.size] if free.size else [], dtype=np.intp)),
    )


def _waiting(
    data: Mapping[str, FloatArray],
    columns: _Columns,
    fixed: FloatArray,
    idle: float,
    block: int,
) -> _Rows:
    """State that ‖r‖² ≤ q y for each block: (q + y, q − y, 2 r) lies in the second-order cone."""
    slope = 2.0 / np.sqrt(idle) * data["scaled_root_slope"]
    base = 2.0 / np.sqrt(idle) * data["scaled_root_base"]
    types = np.arange(slope.size)
    first = np.arange(columns.waiting.size) * (block + 2)
    # Two rows of its own and two of each block before it come ahead of a type's row.
    row = types + 2 * (types // block + 1)
    right = np.zeros(slope.size + 2 * first.size)
    right[row] = base + slope * fixed
    free = columns.free
    return _Rows(
        entries=(
            (first, columns.waiting, -1.0),
            (first, columns.idle, -1.0),
            (first + 1, columns.waiting, -1.0),
            (first + 1, columns.idle, 1.0),
            (row[free], columns.exponent[free], -slope[free]),
        ),
        right=right,
        cones=Cones("second-order", np.diff(np.append(first, right.size))),
    )


def _misses(data: Mapping[str, FloatArray], columns: _Columns) -> _Rows:
    """State that exp(ln g − u) ≤ e: (ln g − u, 1, e) lies in the exponential cone."""
    curved = columns.curved
    first = 3 * np.arange(curved.size)
    right = np.zeros(3 * curved.size)
    right[first] = np.log(data["scaled_gain"][curved])
    right[first + 1] = 1.0
    return _Rows(
        entries=((first, columns.exponent[curved], 1.0), (first + 2, columns.miss, -1.0)),
        right=right,
        cones=Cones("exponential", np.full(curved.size, 3)),
    )


def _stacked(parts: Iterable[_Rows], width: int) -> tuple[sparse.csc_array, FloatArray]:
    """All rows in one matrix, and their right sides."""
    rows, columns, values, rights, height = [], [], [], [], 0
    for part in parts:
        for entry in part.entries:
            row, column, value = np.broadcast_arrays(*entry)
            rows.append(row.ravel() + height)
            columns.append(column.ravel())
            values.append(value.ravel())
        rights.append(part.right)
        height += part.right.size
    places = (np.concatenate(rows), np.concatenate(columns))
    matrix = sparse.csc_array((np.concatenate(values), places), shape=(height, width))
    return matrix, np.concatenate(rights)
