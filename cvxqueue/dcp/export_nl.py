"""The nonlinear program as AMPL hands it to solvers: the text form of .nl files.

With t the service times, y the idle fraction and q the mean waiting time but for what is constant
or in proportion to m1, the program is

    minimise    m1 + β m1 + q + constant − α Σ π w p(l)
    subject to  ‖r‖² ≤ q y
                y + λ m1 ≤ 1
                lower ≤ l ≤ upper
                r ≥ √(ωλπ/2) t, and for the load √((β + δ) λ) m1
                miss ≥ those of each line at l     for curves of straight pieces

in seconds, but that q and the rows that hold times are counted in a unit of order one: tolerances
of solvers are absolute. Here β, δ and ω are the weights of the queue, see `linear_fractional`. The
quotient stands in a constraint, and y and l have the bounds that are proven: with the quotient in
the objective a solver follows it past the pole. The squares are of variables of their own, with
coefficients of one, because SCIP sees no cone in those of order 1e-9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates import order_bracket, step_size
from cvxqueue.certificates.lagrangian_gap import is_satisfied
from cvxqueue.dcp.class_forms import Forms
from cvxqueue.dcp.expressions import completed_square
from cvxqueue.model import (
    AffineService,
    Instance,
    MaxMeanSystemTime,
    MaxMeanWaitingTime,
    MaxTokenRate,
    MichaelisMenten,
    MinMeanAccuracy,
    PiecewiseLinear,
    PowerLaw,
    QuadraticService,
    SaturatingExponential,
    WaitingTimeTail,
)
from cvxqueue.model.linear_fractional import LinearFractionalQueue
from cvxqueue.numerics.arrays import FloatArray

_IntArray: TypeAlias = NDArray[np.intp]
_Missed: TypeAlias = _IntArray | Callable[[FloatArray], list[str]]
_WHAT = ".nl form"


def nl_file(instance: Instance, integers: bool) -> tuple[bytes, FloatArray]:  # noqa: FBT001
    """Return the file, and the tokens in one unit of each variable: one."""
    program = _Program(instance, integers)
    return program.text().encode("ascii"), np.ones(instance.size)


class _Rows(NamedTuple):
    """Rows expression + coefficients · x[columns] ≤ limit."""

    columns: _IntArray
    """Shape (R, W); of variables in the expression alone, too, with coefficients of zero."""
    coefficients: FloatArray
    """Shape (R, W)."""
    limit: FloatArray
    """Shape (R,)."""
    expressions: list[str] | None = None
    """Nonlinear parts; ``None`` where there are none."""


class _Program:
    """The program while it is written: the parts add variables and rows."""

    def __init__(self, instance: Instance, integers: bool) -> None:  # noqa: FBT001
        self.instance, self.integers = instance, integers
        self.unit, self.rate = _unit_of_time(instance), instance.arrival_rate
        self.mix = instance.probabilities
        self.rows: list[_Rows] = []
        self.tokens = np.arange(instance.size)
        self.idle, self.wait = instance.size, instance.size + 1
        self.count = instance.size + 2
        queue: LinearFractionalQueue = _QUEUES(instance.queue)
        self.weights, self.constant = queue.weights, float(queue.constant(self.rate))
        self._times()
        self.curved = self.count
        groups = [(self.tokens[place], curve) for place, curve in instance.accuracy.groups]
        self.missed = [(types, _MISSING(curve, self, types)) for types, curve in groups]
        self.rows += [_LIMITS(coupling, self) for coupling in instance.model.couplings]

    def _times(self) -> None:
        """State the service times base + slope ∘ x[times], in units of time, and what they do."""
        law, unit, mix = self.instance.service, self.unit, self.mix
        by_mean, by_load, by_second = self.weights
        half = np.sqrt(0.5 * by_second * self.rate * unit * mix)
        squares, constant = [], 0.0
        if type(law) is AffineService:
            self.base, self.slope, self.times = law.base / unit, law.per_token / unit, self.tokens
            if by_second:
                # Where the use is random, a constant is left of its variance.
                pair, rest = completed_square((self.base, self.slope), law.token_scv)
                constant = float(np.sum(np.square(half * rest)))
                squares.append(self.above(half * pair[0], half * pair[1]))
        else:
            own = half if by_second else np.ones(mix.size)
            times = self.added(mix.size)
            self.rows.append(_TIMES(law, self, times, own / unit))
            self.base, self.slope, self.times = np.zeros(mix.size), 1.0 / own, times
            squares += [times] if by_second else []
        load = self.rate * unit * mix
        self.rows.append(
            self.row(load * self.slope, self.times, 1.0 - float(load @ self.base), {self.idle: 1.0})
        )
        if sharing := by_mean + by_load:
            above, share = self.added(1), np.sqrt(sharing * self.rate * unit) * mix
            others = {int(above[0]): -1.0}
            self.rows.append(
                self.row(share * self.slope, self.times, -float(share @ self.base), others)
            )
            squares.append(above)
        columns = np.concatenate([self.tokens[:0], *squares])
        terms = [f"o2\nn-1\no2\nv{self.wait}\nv{self.idle}"]
        terms += [f"o5\nv{k}\nn2" for k in columns.tolist()]
        none = {self.idle: 0.0, self.wait: 0.0}
        row = self.row(np.zeros(columns.size), columns, -constant, none)
        self.rows.append(row._replace(expressions=[_sum(terms)]))

    def above(self, base: FloatArray, slope: FloatArray) -> _IntArray:
        """Return variables above base + slope ∘ tokens."""
        above = self.added(base.size)
        places = np.stack([self.tokens, above], axis=-1)
        self.rows.append(_Rows(places, np.stack([slope, -np.ones(base.size)], axis=-1), -base))
        # That their sum is above that of the others says nothing new. With each in one row alone,
        # SCIP would put the tokens in its place, with the coefficients that it cannot use.
        others = dict.fromkeys(above.tolist(), -1.0)
        self.rows.append(self.row(slope, self.tokens, -float(base.sum()), others))
        return above

    def added(self, count: int) -> _IntArray:
        """Return so many variables more, that are to be ≥ 0."""
        self.count += count
        return np.arange(self.count - count, self.count)

    def row(
        self, coefficients: FloatArray, columns: _IntArray, limit: float, others: dict[int, float]
    ) -> _Rows:
        """Return a linear row."""
        places = np.concatenate([columns, np.array(list(others), dtype=np.intp)])
        numbers = np.concatenate([coefficients, list(others.values())])
        return _Rows(places[np.newaxis], numbers[np.newaxis], np.array([limit]))

    def waiting(self, limit: float, *, service: float) -> _Rows:
        """Return the row that holds the mean waiting time, plus so often m1, below a limit."""
        share = (self.weights.mean + service) * self.mix
        rest = (limit - self.constant) / self.unit - float(share @ self.base)
        return self.row(share * self.slope, self.times, rest, {self.wait: 1.0})

    def _bounds(self) -> tuple[FloatArray, FloatArray]:
        """Bounds of every variable."""
        lower, upper = np.zeros(self.count), np.full(self.count, np.inf)
        bracket = order_bracket(self.instance)
        own = slice(self.tokens.size)
        lower[own], upper[own] = self.instance.lower, self.instance.upper
        if not self.integers:
            upper[own] = bracket.upper
        lower[self.idle], upper[self.idle] = self._least_idle(), 1.0
        return lower, upper

    def _least_idle(self) -> float:
        """The idle fraction of any allocation that is as good as the fewest tokens."""
        instance = self.instance
        start = np.ceil(instance.lower) if self.integers else instance.lower
        point = instance.evaluate(start)
        # A floor on the mean accuracy may allow none that is as good.
        is_floored = any(it.is_floor for it in instance.model.couplings)
        if is_floored or not (
            point.is_stable and instance.model.contains(start) and is_satisfied(point)
        ):
            return 0.0
        return step_size(instance, start).least_idle

    def text(self) -> str:
        """Return the file."""
        size, rows = self.tokens.size, sorted(self.rows, key=lambda it: it.expressions is None)
        counts = [it.limit.size for it in rows]
        curved = sum(it.limit.size for it in rows if it.expressions is not None)
        columns = np.concatenate([it.columns.ravel() for it in rows])
        terms, constant, linear = self._objective()
        whole = size if self.integers else 0
        starts = np.cumsum([0, *counts]).tolist()
        lines = [
            "g3 1 1 0",
            f" {self.count} {sum(counts)} 1 0 0",
            f" {curved} 1",
            " 0 0",
            # All tokens count as nonlinear in constraints and objective, so that they come first.
            f" {self.curved} {size} {size}",
            " 0 0 0 1",
            f" 0 0 {whole} 0 0",
            f" {columns.size} {len(linear)}",
            " 0 0",
            " 0 0 0 0 0",
        ]
        for start, block in zip(starts, rows, strict=False):
            expressions: Iterable[str] = block.expressions or repeat("n0", block.limit.size)
            lines += [f"C{start + k}\n{each}" for k, each in enumerate(expressions)]
        lines += ["O0 0", _sum([_n(constant), *terms]), "r"]
        lines += [f"1 {limit!r}" for block in rows for limit in block.limit.tolist()]
        lines.append("b")
        lines += [
            _bound(*ends) for ends in zip(*(it.tolist() for it in self._bounds()), strict=True)
        ]
        within = np.cumsum(np.bincount(columns, minlength=self.count))[:-1].tolist()
        lines += [f"k{len(within)}", *map(str, within)]
        for start, block in zip(starts, rows, strict=False):
            pairs = zip(block.columns.tolist(), block.coefficients.tolist(), strict=True)
            for k, (places, numbers) in enumerate(pairs):
                lines.append(f"J{start + k} {len(places)}")
                lines += [
                    f"{place} {value!r}" for place, value in zip(places, numbers, strict=True)
                ]
        lines.append(f"G0 {len(linear)}")
        lines += [f"{place} {value!r}" for place, value in sorted(linear.items())]
        return "\n".join([*lines, ""])

    def _objective(self) -> tuple[list[str], float, dict[int, float]]:
        """Nonlinear terms, the constant, and the linear terms of the cost, in seconds."""
        instance, mix, share = self.instance, self.mix, 1.0 + self.weights.mean
        value = instance.model.accuracy_value * mix
        linear = dict.fromkeys(self.tokens.tolist(), 0.0)
        service = (self.unit * share * mix * self.slope).tolist()
        linear |= dict(zip(self.times.tolist(), service, strict=True))
        linear[self.wait] = self.unit
        constant = self.unit * share * float(mix @ self.base)
        constant += self.constant - float(value @ instance.accuracy.ceiling)
        terms = []
        for types, miss in self.missed:
            if isinstance(miss, np.ndarray):
                linear |= dict(zip(miss.tolist(), value[types].tolist(), strict=True))
            else:
                terms += miss(value[types])
        return terms, constant, linear


def _unit_of_time(instance: Instance) -> float:
    """Power of ten, a hundredth of the mean system time at the optimum or near that, in seconds.

    This is at least that of the fewest tokens, and exceeds it by no more than accuracy can be
    worth. SCIP keeps rows to 1e-6 of the unit: with one that is a hundred times as long, it did not
    close the gap on four instances of twelve.
    """
    bracket = order_bracket(instance)
    low, high = instance.evaluate(bracket.lower), instance.evaluate(bracket.upper)
    least = float(low.mean_system_time)
    most = min(least + float(high.benefit - low.benefit), float(high.mean_system_time))
    middle = np.sqrt(least * most) or most
    return float(10.0 ** (np.floor(np.log10(middle)) - 2.0)) if middle > 0.0 else 1.0


def _n(value: float) -> str:
    return f"n{float(value)!r}"


def _sum(terms: list[str]) -> str:
    """The sum of any number of expressions."""
    if len(terms) < 3:
        return "\n".join(["o0", *terms] if len(terms) == 2 else terms or ["n0"])
    return "\n".join(["o54", str(len(terms)), *terms])


def _bound(low: float, high: float) -> str:
    if low == high:
        return f"4 {low!r}"
    return f"0 {low!r} {high!r}" if np.isfinite(high) else f"2 {low!r}"


def _pieces(curve: PiecewiseLinear, program: _Program, types: _IntArray) -> _Missed:
    # The curve is the least of its lines, and what it misses the greatest.
    above = program.added(types.size)
    lines = zip(curve.segment_slopes, curve.breakpoint_values, curve.breakpoints, strict=True)
    for slope, height, start in lines:
        columns = np.stack([above, types], axis=-1)
        numbers = np.stack([-np.ones(types.size), -slope], axis=-1)
        program.rows.append(_Rows(columns, numbers, height - slope * start - curve.ceiling))
    return above


def _falling(
    template: str, gain: FloatArray, types: _IntArray, *numbers: FloatArray
) -> Callable[[FloatArray], list[str]]:
    """Return what gives the terms, their gains times weights, of those that are not zero."""

    def terms(weight: FloatArray) -> list[str]:
        columns = (weight * gain, types, *numbers)
        rows = zip(*(np.broadcast_to(it, types.shape).tolist() for it in columns), strict=True)
        return [template.format(*row) for row in rows if row[0]]

    return terms


_MISSING: Forms[Callable[..., _Missed]] = Forms(
    "accuracy",
    {
        # The weight, the variable, and numbers of the curve.
        SaturatingExponential: lambda curve, _, types: _falling(
            "o2\nn{0!r}\no44\no2\nn{2!r}\nv{1}", curve.gain, types, -curve.rate
        ),
        PowerLaw: lambda curve, _, types: _falling(
            "o2\nn{0!r}\no5\no0\nn1\no2\nn{2!r}\nv{1}\nn{3!r}",
            *(curve.gain, types, 1.0 / curve.scale, -curve.exponent),
        ),
        MichaelisMenten: lambda curve, _, types: _falling(
            "o3\nn{0!r}\no0\nn1\no2\nn{2!r}\nv{1}", curve.gain, types, 1.0 / curve.half_saturation
        ),
        PiecewiseLinear: _pieces,
    },
    what=_WHAT,
)
"""What the accuracies miss of their ceilings: terms for any weights, or variables above it."""


def _quadratic_times(
    law: QuadraticService, program: _Program, above: _IntArray, factor: FloatArray
) -> _Rows:
    root = program.above(np.zeros(factor.size), np.sqrt(factor * law.per_squared_token))
    columns = np.stack([program.tokens, root, above], axis=-1)
    numbers = np.stack([factor * law.per_token, np.zeros(root.size), -np.ones(root.size)], axis=-1)
    return _Rows(columns, numbers, -factor * law.base, [f"o5\nv{k}\nn2" for k in root.tolist()])


_TIMES: Forms[Callable[..., _Rows]] = Forms(
    "service", {QuadraticService: _quadratic_times}, what=_WHAT
)
"""Rows that hold variables above the service times, times a factor of each type."""

_QUEUES: Forms[Callable[..., LinearFractionalQueue]] = Forms(
    "queue", {LinearFractionalQueue: lambda queue: queue}, what=_WHAT
)


def _floor(floor: MinMeanAccuracy, program: _Program) -> _Rows:
    """What the mean accuracy misses of its ceiling."""
    limit = float(program.mix @ program.instance.accuracy.ceiling) - floor.accuracy
    terms: list[str] = []
    columns, numbers = [], []
    for types, miss in program.missed:
        is_linear = isinstance(miss, np.ndarray)
        columns.append(miss if is_linear else types)
        numbers.append(program.mix[types] * is_linear)
        terms += [] if isinstance(miss, np.ndarray) else miss(program.mix[types])
    row = program.row(np.concatenate(numbers), np.concatenate(columns), limit, {})
    return row._replace(expressions=[_sum(terms)] if terms else None)


def _tail(tail: WaitingTimeTail, program: _Program) -> _Rows:
    """Σ exp(θ t + ln π − ln(1 + θ/λ)) ≤ 1."""
    decay, columns = tail.decay * program.unit, program.times
    start = np.log(program.mix) - np.log1p(tail.decay / program.rate) + decay * program.base
    rows = zip(start.tolist(), (decay * program.slope).tolist(), columns.tolist(), strict=True)
    terms = [f"o44\no0\n{_n(a)}\no2\n{_n(b)}\nv{k}" for a, b, k in rows]
    row = program.row(np.zeros(columns.size), columns, 1.0, {})
    return row._replace(expressions=[_sum(terms)])


_LIMITS: Forms[Callable[..., _Rows]] = Forms(
    "constraints",
    {
        MaxMeanSystemTime: lambda cap, program: program.waiting(cap.seconds, service=1.0),
        MaxMeanWaitingTime: lambda cap, program: program.waiting(cap.seconds, service=0.0),
        MaxTokenRate: lambda cap, program: program.row(
            program.rate / cap.tokens_per_second * program.mix, program.tokens, 1.0, {}
        ),
        MinMeanAccuracy: _floor,
        WaitingTimeTail: _tail,
    },
    what=_WHAT,
)
