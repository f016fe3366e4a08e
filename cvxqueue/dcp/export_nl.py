"""The nonlinear program as AMPL hands it to solvers: the text form of .nl files.

With t the service times, y the idle fraction and q the mean waiting time but for what is constant
or in proportion to m1, the program is

    minimise    m1 + β m1 + q + constant − α Σ π w p(l)
    subject to  ‖r‖² ≤ q y
                y + λ m1 ≤ 1
                lower ≤ l ≤ upper
                r ≥ √(ωλπ/2) t, and for the load √((β + δ) λ) m1
                miss ≥ those of each line at l     for curves of straight pieces

where times are counted in a thousandth of the system time, the objective in a tenth, and y in a
thousandth of the idle fraction y₀ at the fewest tokens, so that the second row is
y + 1000 λ (m1 − m1 there)/y₀ ≤ 1000, and accuracies and limits are multiplied by as much:
tolerances of solvers are absolute. Here β, δ and ω are the weights of the queue, see
`linear_fractional`. The quotient stands in a constraint, and y and l have the bounds that are
proven: with the quotient in the objective a solver follows it past the pole. The squares are of
variables of their own, with coefficients of one, because SCIP sees no cone in those of order 1e-9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates import order_bracket, step_size
from cvxqueue.dcp.class_forms import Forms
from cvxqueue.dcp.expressions import completed_square
from cvxqueue.dcp.sections import section
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
from cvxqueue.model.couplings import is_satisfied
from cvxqueue.model.linear_fractional import LinearFractionalQueue
from cvxqueue.numerics.arrays import FloatArray

_IntArray: TypeAlias = NDArray[np.intp]
_Missed: TypeAlias = _IntArray | Callable[[FloatArray], list[str]]
_WHAT = ".nl form"
# SCIP keeps rows to 1e-6, and each square of the cone by itself: all that is of order one is
# counted in thousandths. With hundredths of the system time, and y in y₀, it left gaps of up to
# 8e-6 on seven of twenty instances with fifty types at light load, and branched without end.
_PARTS = 1e3
# SCIP takes coefficients below 1e-9 for zero, and keeps a bound to 1e-6: what it drops of a type is
# worth no more than some 1e-7 of the scale then, and a cap of 32,768 is kept to 1e-5 tokens.
_MOST_UNITS = 4096.0


def nl_file(instance: Instance, integer: bool) -> tuple[bytes, FloatArray]:  # noqa: FBT001
    """Return the file, and the tokens in one unit of each variable."""
    program = _Program(instance, integer)
    return program.text().encode("ascii"), program.scale


class _Rows(NamedTuple):
    """Rows expression + coefficients · x[columns] ≤ limit."""

    columns: _IntArray
    """Shape (R, W); of variables in the expression alone, too, with coefficients of zero."""
    coefficients: FloatArray
    """Shape (R, W)."""
    limit: FloatArray
    """Shape (R,)."""
    expressions: list[str] | None
    """Nonlinear parts; ``None`` where there are none."""


def _rows(limit: Any, *parts: tuple[Any, Any], expressions: list[str] | None = None) -> _Rows:
    """Return one row for each limit, with a column and a coefficient for it in each part.

    Of one limit that is a number a part has all columns, and their coefficients.
    """
    axis = -1 if np.ndim(limit) else 0
    pairs = zip(*(np.broadcast_arrays(*map(np.atleast_1d, part)) for part in parts), strict=True)
    columns, numbers = (
        np.concatenate([np.expand_dims(part, axis) for part in each], axis=-1) for each in pairs
    )
    return _Rows(columns, numbers, np.atleast_1d(limit), expressions)


class _Program:
    """The program while it is written: the parts add variables and rows."""

    def __init__(self, instance: Instance, integer: bool) -> None:  # noqa: FBT001
        self.instance, self.integer = instance, integer
        self.upper = instance.upper if integer else order_bracket(instance).upper
        self.scale = np.ones(instance.size) if integer else _scale(self.upper)
        # With the cost counted in the unit of time SCIP took longer to the best whole tokens under
        # floors on accuracy.
        order, self.rate = _order_of_time(instance), instance.arrival_rate
        self.unit, self.cost_unit = 10.0**order / _PARTS, 10.0 ** (order - 1)
        self.idle_unit = float(instance.evaluate(instance.lower).idle) / _PARTS
        self.mix = instance.probabilities
        self.rows: list[_Rows] = []
        self.tokens = np.arange(instance.size)
        self.idle, self.wait = instance.size, instance.size + 1
        self.count = instance.size + 2
        queue: LinearFractionalQueue = _QUEUES(instance.queue)
        self.weights, self.constant = queue.weights, float(queue.constant(self.rate)) / self.unit
        self._times()
        self.curved = self.count
        groups = [(self.tokens[place], curve) for place, curve in instance.accuracy.groups]
        self.missed = [(types, _MISSING(curve, self, types)) for types, curve in groups]
        self.rows += [_LIMITS(coupling, self) for coupling in instance.model.couplings]

    def _times(self) -> None:
        """State the service times base + slope ∘ x[times], in units, and what they do."""
        law, unit, mix, lower = self.instance.service, self.unit, self.mix, self.instance.lower
        by_mean, by_load, by_second = self.weights
        # What one unit of mean service time takes of the idle fraction.
        rate = self.rate * unit / self.idle_unit
        half = np.sqrt(0.5 * by_second * rate * mix)
        squares, constant = [], 0.0
        if type(law) is AffineService:
            self.base, self.slope, self.times = law.base / unit, law.per_token / unit, self.tokens
            least = lower
            if by_second:
                # Where the use is random, a constant is left of its variance.
                pair, rest = completed_square((self.base, self.slope), law.token_scv)
                constant = float(np.sum(np.square(half * rest)))
                squares.append(self.above(half * pair[0], half * pair[1]))
        else:
            own = half if by_second else np.ones(mix.size)
            self.base, self.slope, self.times = np.zeros(mix.size), 1.0 / own, self.added(mix.size)
            least = own * law.mean(lower) / unit
            self.rows.append(_TIMES(law, self, self.times, own / unit))
            squares += [self.times] if by_second else []
        load = rate * mix * self.slope
        self.rows.append(_rows(_PARTS + float(load @ least), (self.times, load), (self.idle, 1.0)))
        if sharing := by_mean + by_load:
            above, share = self.added(1), np.sqrt(sharing * rate) * mix
            limit = -float(share @ self.base)
            self.rows.append(_rows(limit, (self.times, share * self.slope), (above, -1.0)))
            squares.append(above)
        columns: _IntArray = np.concatenate([self.tokens[:0], *squares])
        terms = [f"o2\nn-1\no2\nv{self.wait}\nv{self.idle}"]
        terms += [f"o5\nv{k}\nn2" for k in columns.tolist()]
        columns = np.append(columns, [self.idle, self.wait])
        self.rows.append(_rows(-constant, (columns, 0.0), expressions=[_sum(terms)]))

    def above(self, base: FloatArray, slope: FloatArray) -> _IntArray:
        """Return variables above base + slope ∘ tokens."""
        above = self.added(base.size)
        parts = (self.tokens, slope), (above, -1.0)
        # That their sum is above that of the others says nothing new. With each in one row alone,
        # SCIP would put the tokens in its place, with the coefficients that it cannot use.
        self.rows += [_rows(-base, *parts), _rows(-float(base.sum()), *parts)]
        return above

    def added(self, count: int) -> _IntArray:
        """Return so many variables more, that are to be ≥ 0."""
        self.count += count
        return np.arange(self.count - count, self.count)

    def waiting(self, limit: float, *, service: float) -> _Rows:
        """Return the row that holds the mean waiting time, plus so often m1, below a limit."""
        share = (self.weights.mean + service) * self.mix
        rest = limit / self.unit - self.constant - float(share @ self.base)
        return _rows(rest, (self.times, share * self.slope), (self.wait, 1.0))

    def _bounds(self) -> Iterator[str]:
        """Bounds of every variable."""
        lower, upper = np.zeros(self.count), np.full(self.count, np.inf)
        own = slice(self.tokens.size)
        lower[own], upper[own] = self.instance.lower / self.scale, self.upper / self.scale
        lower[self.idle] = min(self._least_idle() / self.idle_unit, _PARTS)
        upper[self.idle] = _PARTS
        for low, high in zip(lower.tolist(), upper.tolist(), strict=True):
            yield f"0 {low!r} {high!r}" if np.isfinite(high) else f"2 {low!r}"

    def _least_idle(self) -> float:
        """The idle fraction of any allocation that is as good as the fewest tokens."""
        instance = self.instance
        start = np.ceil(instance.lower) if self.integer else instance.lower
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
        size = self.tokens.size
        blocks = sorted(self.rows, key=lambda it: it.expressions is None)
        unit = np.ones(self.count)
        unit[:size] = self.scale
        columns = [row for block in blocks for row in block.columns.tolist()]
        numbers = [
            row for block in blocks for row in (block.coefficients * unit[block.columns]).tolist()
        ]
        limits = [limit for block in blocks for limit in block.limit.tolist()]
        curved = [each for block in blocks for each in block.expressions or ()]
        expressions = [*curved, *["n0"] * (len(limits) - len(curved))]
        places = np.concatenate([block.columns.ravel() for block in blocks])
        terms, linear = self._objective()
        head = [
            f"g3 1 1 0\t# cost_unit = {self.cost_unit!r} s: the objective is counted in it",
            f" {self.count} {len(limits)} 1 0 0",
            f" {len(curved)} 1",
            " 0 0",
            # All tokens count as nonlinear in constraints and objective, so that they come first.
            f" {self.curved} {size} {size}",
            " 0 0 0 1",
            f" 0 0 {size if self.integer else 0} 0 0",
            f" {places.size} {self.count}",
            " 0 0",
            " 0 0 0 0 0",
            "",
        ]
        lines = [
            *(f"C{k}\n{each}" for k, each in enumerate(expressions)),
            *("O0 0", _sum(terms)),
            *("r", *(f"1 {limit!r}" for limit in limits)),
            *("b", *self._bounds()),
            "",
        ]
        within = np.cumsum(np.bincount(places, minlength=self.count))[:-1].tolist()
        rows = enumerate(zip(columns, numbers, strict=True))
        return "".join(
            [
                "\n".join(head),
                # A suffix of the variables, of real numbers: solvers read past it.
                section("S4 ", self.tokens.tolist(), self.scale.tolist(), name="tokens_per_unit"),
                "\n".join(lines),
                section("k", within),
                *(section(f"J{k} ", *row) for k, row in rows),
                section("G0 ", range(self.count), (unit * linear).tolist()),
            ]
        )

    def _objective(self) -> tuple[list[str], FloatArray]:
        """Nonlinear terms, the constant among them, and the linear terms of the cost."""
        mix, share, linear = self.mix, 1.0 + self.weights.mean, np.zeros(self.count)
        value = self.instance.model.accuracy_value * mix / self.cost_unit
        time = self.unit / self.cost_unit
        linear[self.times] = time * share * mix * self.slope
        linear[self.wait] = time
        constant = time * (share * float(mix @ self.base) + self.constant)
        terms = [_n(constant - float(value @ self.instance.accuracy.ceiling))]
        for types, miss in self.missed:
            if isinstance(miss, np.ndarray):
                linear[miss] = value[types] / _PARTS
            else:
                terms += miss(value[types])
        return terms, linear


def _scale(upper: FloatArray) -> FloatArray:
    """Powers of two, which round nothing: the units in which no type has more than so many."""
    return np.exp2(np.ceil(np.log2(np.maximum(upper / _MOST_UNITS, 1.0))))


def _order_of_time(instance: Instance) -> int:
    """Decimal exponent of the mean system time, in seconds, at the optimum or near that.

    This is at least that of the fewest tokens, and exceeds it by no more than accuracy can be
    worth.
    """
    bracket = order_bracket(instance)
    low, high = instance.evaluate(bracket.lower), instance.evaluate(bracket.upper)
    least = float(low.mean_system_time)
    most = min(least + float(high.benefit - low.benefit), float(high.mean_system_time))
    middle = np.sqrt(least * most) or most
    return int(np.floor(np.log10(middle))) if middle > 0.0 else 0


def _n(value: float) -> str:
    return f"n{float(value)!r}"


def _sum(terms: list[str]) -> str:
    """The sum of any number of expressions."""
    if len(terms) < 3:
        return "\n".join(["o0", *terms] if len(terms) == 2 else terms or ["n0"])
    return "\n".join(["o54", str(len(terms)), *terms])


def _pieces(curve: PiecewiseLinear, program: _Program, types: _IntArray) -> _Missed:
    # The curve is the least of its lines, and what it misses the greatest.
    above = program.added(types.size)
    lines = zip(curve.segment_slopes, curve.breakpoint_values, curve.breakpoints, strict=True)
    program.rows += [
        _rows(
            _PARTS * (height - slope * start - curve.ceiling),
            (above, -1.0),
            (types, -_PARTS * slope),
        )
        for slope, height, start in lines
    ]
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
        SaturatingExponential: lambda curve, program, types: _falling(
            "o2\nn{0!r}\no44\no2\nn{2!r}\nv{1}",
            *(curve.gain, types, -program.scale[types] * curve.rate),
        ),
        PowerLaw: lambda curve, program, types: _falling(
            "o2\nn{0!r}\no5\no0\nn1\no2\nn{2!r}\nv{1}\nn{3!r}",
            *(curve.gain, types, program.scale[types] / curve.scale, -curve.exponent),
        ),
        MichaelisMenten: lambda curve, program, types: _falling(
            "o3\nn{0!r}\no0\nn1\no2\nn{2!r}\nv{1}",
            *(curve.gain, types, program.scale[types] / curve.half_saturation),
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
    parts = (program.tokens, factor * law.per_token), (root, 0.0), (above, -1.0)
    squares = [f"o5\nv{k}\nn2" for k in root.tolist()]
    return _rows(-factor * law.base, *parts, expressions=squares)


_TIMES: Forms[Callable[..., _Rows]] = Forms(
    "service", {QuadraticService: _quadratic_times}, what=_WHAT
)
"""Rows that hold variables above the service times, times a factor of each type."""

_QUEUES: Forms[Callable[..., LinearFractionalQueue]] = Forms(
    "queue", {LinearFractionalQueue: lambda queue: queue}, what=_WHAT
)


def _floor(floor: MinMeanAccuracy, program: _Program) -> _Rows:
    """What the mean accuracy misses of its ceiling."""
    limit = _PARTS * (float(program.mix @ program.instance.accuracy.ceiling) - floor.accuracy)
    parts: list[tuple[_IntArray, FloatArray | float]] = []
    terms: list[str] = []
    for types, miss in program.missed:
        if isinstance(miss, np.ndarray):
            parts.append((miss, program.mix[types]))
        else:
            parts.append((types, 0.0))
            terms += miss(_PARTS * program.mix[types])
    return _rows(limit, *parts, expressions=[_sum(terms)] if terms else None)


def _tail(tail: WaitingTimeTail, program: _Program) -> _Rows:
    """Σ exp(θ t + ln π − ln(1 + θ/λ)) ≤ 1, in thousandths."""
    decay, columns = tail.decay * program.unit, program.times
    mix = _PARTS * program.mix
    start = np.log(mix) - np.log1p(tail.decay / program.rate) + decay * program.base
    rows = zip(start.tolist(), (decay * program.slope).tolist(), columns.tolist(), strict=True)
    terms = [f"o44\no0\n{_n(a)}\no2\n{_n(b)}\nv{k}" for a, b, k in rows]
    return _rows(_PARTS, (columns, 0.0), expressions=[_sum(terms)])


_LIMITS: Forms[Callable[..., _Rows]] = Forms(
    "constraints",
    {
        MaxMeanSystemTime: lambda cap, program: program.waiting(cap.seconds, service=1.0),
        MaxMeanWaitingTime: lambda cap, program: program.waiting(cap.seconds, service=0.0),
        MaxTokenRate: lambda cap, program: _rows(
            _PARTS, (program.tokens, _PARTS * program.rate / cap.tokens_per_second * program.mix)
        ),
        MinMeanAccuracy: _floor,
        WaitingTimeTail: _tail,
    },
    what=_WHAT,
)
