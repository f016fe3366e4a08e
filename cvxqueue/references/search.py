"""The optimum in many digits: plain decimal numbers, one exponential a type and step, no rigour.

Newton's method goes from a float64 answer to the full digits in some steps, where that answer shows
which types rest at a bound or a kink and which constraints are active. Where it does not, as in
feasible sets that are as narrow as a rounding error, `cvxqueue.references.interior` finds out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import (
    MAX_EMAX,
    MIN_EMIN,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    Overflow,
    localcontext,
)
from fractions import Fraction
from operator import mul
from typing import NamedTuple

from cvxqueue.references import verify as verifier
from cvxqueue.references.verify import NOUGHT, ONE
from cvxqueue.solution import Solution

# Newton's method doubles the digits that are right, from some of a float64 answer; the other steps
# are for types that come to rest. Too few leave an optimum unproven, and prove nothing wrong.
_MOST_NEWTON_STEPS = 60
_MOST_CHANGES = 40
_FEWEST_DIGITS = 34


def plain_context() -> Context:
    """Return a context to begin with: a caller's may round, trap what is exact, or lack range."""
    traps = [InvalidOperation, DivisionByZero, Overflow]
    return Context(28, ROUND_HALF_EVEN, MIN_EMIN, MAX_EMAX, traps=traps)


class UndeterminedError(Exception):
    """The tokens of a type are not determined, or not by the places where others rest."""


class _Service(NamedTuple):
    """Mean and second moment of the service time of a type, with their two derivatives."""

    time: Decimal
    slope: Decimal
    bend: Decimal
    square: Decimal
    square_slope: Decimal
    square_bend: Decimal


class _Curve(NamedTuple):
    """Accuracy of a type with its two derivatives."""

    value: Decimal
    slope: Decimal
    bend: Decimal


class _Counts(NamedTuple):
    """How often a constraint counts the mean of each; that on a tail is one of its own."""

    service: int = 0
    waiting: int = 0
    tokens: int = 0
    accuracy: int = 0


_COUNTS: dict[type[verifier.Limit], _Counts] = {
    verifier.SystemTime: _Counts(service=1, waiting=1),
    verifier.WaitingTime: _Counts(waiting=1),
    verifier.TokenRate: _Counts(tokens=1),
    verifier.MeanAccuracy: _Counts(accuracy=-1),
    verifier.Tail: _Counts(),
}


class Point(NamedTuple):
    """What the tokens do to the queue and to the constraints."""

    services: list[_Service]
    curves: list[_Curve]
    powers: list[list[Decimal]]
    """For each constraint on a tail exp(θ t) of each type; nothing for the others."""
    mean: Decimal
    second: Decimal
    idle: Decimal
    congested: Decimal
    time: Decimal
    prices: tuple[Decimal, Decimal]
    """∂T/∂m1 and ∂T/∂m2."""
    excesses: list[Decimal]


class Prices(NamedTuple):
    """What the Lagrangian charges."""

    factor: Decimal
    """Of the mean system time, which constraints add to."""
    first: Decimal
    second: Decimal
    token: Decimal
    accuracy: Decimal
    tails: list[tuple[Decimal, Decimal, list[Decimal]]]
    """Price of λ Σ π exp(θ t), θ, and the exponentials."""


class Search:
    """The conditions of optimality, solved by Newton's method.

    At given prices of service and of the constraints the types decouple; what they do to m1, m2 and
    the constraints is a small system, and all else is a diagonal.
    """

    def __init__(
        self, instance: verifier.Instance, start: Solution, digits: int, precision: int
    ) -> None:
        self.instance, self.precision = instance, precision
        self.size = len(instance.types)
        self.mix = [kind.probability for kind in instance.types]
        self.corners = [
            # Those of binary64 numbers are exact, in however many digits.
            [Decimal(float(x)) for x in getattr(kind.curve, "places", ())]
            for kind in instance.types
        ]
        self.counts = [_COUNTS[type(it)] for it in instance.couplings]
        self.tokens = [Decimal(count) for count in start.tokens.tolist()]
        given = start.certificate.multipliers
        self.prices = [Decimal(price) for price in ([] if given is None else given.tolist())]
        self.active = [j for j, price in enumerate(self.prices) if price > 0]
        # What active constraints are kept with to spare.
        self.spare = Decimal(10) ** -(2 * digits + (precision - 2 * digits) // 2)
        with self.working_in(precision):
            self.floors = [self._floor(k) for k in range(self.size)]
            self.places = [self._place(k) for k in range(self.size)]
        for k, place in enumerate(self.places):
            kept = min(max(self.tokens[k], self.floors[k][0]), instance.types[k].upper)
            self.tokens[k] = kept if place is None else place

    @contextmanager
    def working_in(self, precision: int) -> Iterator[None]:
        """Work in so many digits."""
        with localcontext() as context:
            context.prec = self.working = precision
            queue = self.instance.queue
            self.rate, self.weight = self.instance.rate.low, self.instance.weight.low
            self.by_mean, self.by_load, self.by_second, self.constant = (
                (it.low + it.high) / 2
                for it in (queue.by_mean, queue.by_load, queue.by_second, queue.constant)
            )
            self.decays = [
                -it.chance.ln() / it.seconds.low if isinstance(it, verifier.Tail) else NOUGHT
                for it in self.instance.couplings
            ]
            self.most = [
                it.limit.low * (counts.accuracy or 1) / (self.rate if counts.tokens else ONE)
                for it, counts in zip(self.instance.couplings, self.counts, strict=True)
            ]
            yield

    # Where types rest -----------------------------------------------------------------------

    def _floor(self, k: int) -> tuple[Decimal, Decimal | None]:
        """Least tokens that reach the accuracy floor of a type, and as many that do not."""
        kind, floor = self.instance.types[k], self.instance.floors[k]
        low = kind.lower
        if floor is None or kind.curve.value(verifier.of(low)).low >= floor:
            return low, None
        # Tangents of a concave curve lie above it: their steps come near from below and stay there.
        unit = Decimal(10) ** (5 - self.working)
        for _ in range(_MOST_NEWTON_STEPS):
            value, slope, _ = self.curve(k, low)
            if slope <= 0 or value >= floor:
                break
            step = (floor - value) / slope
            low = min(low + step, kind.upper)
            if step <= unit * low:
                break
        step = unit * max(ONE, low)
        while low > kind.lower and kind.curve.value(verifier.of(low)).high > floor:
            low, step = max(low - step, kind.lower), 2 * step
        high, step = low, unit * max(ONE, low)
        while kind.curve.value(verifier.of(high)).low < floor and high < kind.upper:
            high, step = min(high + step, kind.upper), 2 * step
        return high, low

    def _place(self, k: int) -> Decimal | None:
        """Where a type rests at the start, at a bound or a kink; ``None`` where it is free."""
        kind, count, low = self.instance.types[k], self.tokens[k], self.floors[k][0]
        if count <= low or kind.lower == kind.upper or _near(count, low):
            return low
        if count >= kind.upper:
            return kind.upper
        return next((x for x in self.corners[k] if _near(count, x)), None)

    def ends(self, k: int) -> tuple[Decimal, Decimal]:
        """The ends of the box of a type, or of the piece of its curve that it is in or between."""
        low, high, count = self.floors[k][0], self.instance.types[k].upper, self.tokens[k]
        for corner in self.corners[k]:
            if low < corner < count:
                low = corner
            elif count < corner < high:
                high = corner
        return low, high

    # The model ------------------------------------------------------------------------------

    def service(self, k: int) -> _Service:
        """Return the moments of the service time of a type."""
        law, tokens = self.instance.types[k].service, self.tokens[k]
        slope = law.least_slope
        if isinstance(law, verifier.QuadraticTime):
            curved = law.bend * tokens
            time, slope, bend = (
                law.base + (slope + curved) * tokens,
                slope + 2 * curved,
                2 * law.bend,
            )
            square_bend = 2 * (slope * slope + time * bend)
            return _Service(time, slope, bend, time * time, 2 * time * slope, square_bend)
        thinking = slope * tokens
        time, spread = law.base + thinking, law.scv * thinking
        square_slope, square_bend = 2 * slope * (time + spread), 2 * slope * slope * (1 + law.scv)
        square = time * time + spread * thinking
        return _Service(time, slope, NOUGHT, square, square_slope, square_bend)

    def curve(self, k: int, tokens: Decimal, *, is_left: bool = False) -> _Curve:
        """The accuracy of a type, and its derivatives on one side."""
        curve = self.instance.types[k].curve
        if isinstance(curve, verifier.PiecewiseCurve):
            find = bisect_left if is_left else bisect_right
            place = max(0, find(self.corners[k], tokens) - 1)
            start, slope = _decimal(curve.corners[place][1]), _decimal(curve.pieces[place])
            return _Curve(start + slope * (tokens - self.corners[k][place]), slope, NOUGHT)
        if isinstance(curve, verifier.HyperbolicCurve):
            whole = tokens + curve.data[0]
            slope = curve.gain * curve.data[0] / (whole * whole)
            return _Curve(curve.floor + curve.gain * tokens / whole, slope, -2 * slope / whole)
        if isinstance(curve, verifier.PowerCurve):
            scale, exponent = curve.data
            missing = curve.gain * (-exponent * (1 + tokens / scale).ln()).exp()
            slope = missing * exponent / (scale + tokens)
            bend = -slope * (exponent + 1) / (scale + tokens)
        else:
            missing = curve.gain * (-curve.data[0] * tokens).exp()
            slope = missing * curve.data[0]
            bend = -slope * curve.data[0]
        return _Curve(curve.floor + curve.gain - missing, slope, bend)

    def point(self) -> Point:
        """Return what the tokens do, if the queue is stable."""
        services = [self.service(k) for k in range(self.size)]
        curves = [self.curve(k, count) for k, count in enumerate(self.tokens)]
        mean, second = (
            self.mean(it.time for it in services),
            self.mean(it.square for it in services),
        )
        rate, load = self.rate, self.rate * mean
        idle = 1 - load
        if idle <= 0:
            raise UndeterminedError("the search left the stable allocations")
        congested = (self.by_mean + self.by_load * load) * mean + self.by_second * rate * second / 2
        waiting = congested / idle + self.constant
        slope = (self.by_mean + 2 * self.by_load * load) / idle + congested * rate / (idle * idle)
        powers = [
            [(decay * it.time).exp() for it in services] if decay else [] for decay in self.decays
        ]
        counted: tuple[Iterable[Decimal], ...] = ()
        if self.counts:
            counted = self.tokens, (it.value for it in curves)
        means = mean, waiting, *map(self.mean, counted)
        excesses = [
            self.mean(it - 1 for it in rises) * rate / decay - 1
            if decay
            else sum(map(mul, counts, means), NOUGHT) - most
            for counts, most, decay, rises in zip(
                self.counts, self.most, self.decays, powers, strict=True
            )
        ]
        prices = 1 + slope, self.by_second * rate / (2 * idle)
        return Point(
            *(services, curves, powers, mean, second, idle, congested, mean + waiting),
            *(prices, excesses),
        )

    def objective(self) -> Decimal:
        """Return J at the tokens."""
        with self.working_in(self.precision):
            point = self.point()
            return self.benefit(point) - point.time

    def benefit(self, point: Point) -> Decimal:
        """Return α Σ π w p."""
        importances = (kind.importance for kind in self.instance.types)
        return self.weight * self.mean(map(mul, importances, (it.value for it in point.curves)))

    def mean(self, values: Iterable[Decimal]) -> Decimal:
        """Return the mean over the types of the queries."""
        return sum(map(mul, self.mix, values), NOUGHT)

    def charged(self, point: Point) -> Prices:
        """Return the prices of the Lagrangian at the multipliers of today."""
        pairs = zip(self.prices, self.counts, strict=True)
        charges = [[price * it for it in row] for price, row in pairs]
        service, waiting, token, accuracy = (
            sum(column, NOUGHT) for column in zip(4 * [NOUGHT], *charges, strict=True)
        )
        rows = zip(self.prices, self.decays, point.powers, strict=True)
        tails = [(price * self.rate, decay, it) for price, decay, it in rows if price and decay]
        first, second = point.prices
        factor = 1 + waiting
        first = first * factor + service - waiting
        return Prices(factor, first, second * factor, token, -accuracy, tails)

    def margins(
        self, k: int, point: Point, prices: Prices, curve: _Curve
    ) -> tuple[Decimal, Decimal]:
        """What a type's next token adds to the Lagrangian, and how that falls with its tokens."""
        it = point.services[k]
        worth = self.weight * self.instance.types[k].importance + prices.accuracy
        gain = worth * curve.slope - prices.first * it.slope - prices.second * it.square_slope
        bend = worth * curve.bend - prices.first * it.bend - prices.second * it.square_bend
        for price, decay, powers in prices.tails:
            gain -= price * powers[k] * it.slope
            bend -= price * powers[k] * (decay * it.slope * it.slope + it.bend)
        return self.mix[k] * (gain - prices.token), self.mix[k] * bend

    def _row(self, j: int, k: int, point: Point) -> Decimal:
        """∂c_j/∂l_k."""
        counts, it, (first, second) = self.counts[j], point.services[k], point.prices
        if self.decays[j]:
            return self.mix[k] * self.rate * point.powers[j][k] * it.slope
        found = counts.tokens + counts.accuracy * point.curves[k].slope
        if counts.waiting:
            found += (first - 1 + counts.service) * it.slope + second * it.square_slope
        return self.mix[k] * found

    def step(
        self,
        point: Point,
        margins: Mapping[int, tuple[Decimal, Decimal]],
        factor: Decimal,
        spares: Mapping[int, tuple[Decimal, Decimal]],
    ) -> tuple[dict[int, Decimal], dict[int, Decimal]]:
        """Newton's step in the tokens of types and in the prices of constraints.

        For the types there are gains and their slopes; for the constraints, by how much they are to
        be kept to spare, and by how much that falls with the price.
        """
        # ∂P1/∂m1, and ∂P1/∂m2 = ∂P2/∂m1.
        rate, idle = self.rate, point.idle
        slope = self.by_mean + 2 * self.by_load * rate * point.mean
        by_mean = 2 * rate * (self.by_load + (slope + point.congested * rate / idle) / idle) / idle
        by_second = self.by_second * rate * rate / (2 * idle * idle)
        by_mean, by_second = factor * by_mean, factor * by_second
        size = 2 + len(spares)
        matrix = [[NOUGHT] * size for _ in range(size)]
        matrix[0][0] = matrix[1][1] = ONE
        right = [NOUGHT] * size
        for row, (j, (spare, softness)) in enumerate(spares.items(), 2):
            right[row] = -point.excesses[j] - spare
            matrix[row][row] = -softness
        columns: dict[int, list[Decimal]] = {}
        for k, (gain, bend) in margins.items():
            it, mix = point.services[k], self.mix[k]
            first, second = mix * it.slope, mix * it.square_slope
            rows = [self._row(j, k, point) for j in spares]
            column = [
                -by_mean * first - by_second * second,
                -by_second * first,
                *(-r for r in rows),
            ]
            columns[k] = column
            for row, weight in enumerate((first, second, *rows)):
                share = weight / bend if row < 2 else -weight / bend
                right[row] -= share * gain
                line = matrix[row]
                for place, entry in enumerate(column):
                    line[place] += share * entry
        found = _solved(matrix, right)
        steps = {
            k: -(gain + sum(map(mul, columns[k], found))) / bend
            for k, (gain, bend) in margins.items()
        }
        return steps, dict(zip(spares, found[2:], strict=True))

    # Newton's method ------------------------------------------------------------------------

    def by_places(self) -> None:
        """Go from the places of the start to where the conditions hold in all digits."""
        levels = [self.precision]
        while levels[0] > _FEWEST_DIGITS:
            levels.insert(0, max(_FEWEST_DIGITS, levels[0] // 2 + 8))
        for level in levels:
            with self.working_in(level):
                for _ in range(_MOST_CHANGES):
                    self._newton()
                    if not self._change_places():
                        break

    def _newton(self) -> None:
        """Solve the conditions at today's places, as far as the digits let it."""
        # A step of half of the digits leaves all of them right.
        enough = Decimal(10) ** -(self.working // 2 - 2)
        for _ in range(_MOST_NEWTON_STEPS):
            point = self.point()
            prices = self.charged(point)
            margins = {}
            for k, place in enumerate(self.places):
                if place is None:
                    gain, bend = self.margins(k, point, prices, point.curves[k])
                    margins[k] = gain, min(bend, -self.ridge(k, point))
            spares = dict.fromkeys(self.active, (self.spare, NOUGHT))
            steps, price_steps = self.step(point, margins, prices.factor, spares)
            largest = NOUGHT
            for k, step in steps.items():
                largest = max(largest, abs(step) / max(ONE, self.tokens[k]))
                low, high = self.ends(k)
                moved = self.tokens[k] + step
                if low < moved < high:
                    self.tokens[k] = moved
                    continue
                # It rests at an end that it would still leave outwards, and goes half of the way to
                # one that it would not.
                end = low if moved <= low else high
                curve = self.curve(k, end, is_left=end == high)
                gain, _ = self.margins(k, point, prices, curve)
                is_outward = (gain > 0) == (end == high)
                self.tokens[k] = end if is_outward else (self.tokens[k] + end) / 2
                self.places[k] = end if is_outward else None
            for j, step in price_steps.items():
                self.prices[j] = max(self.prices[j] + step, self.prices[j] / 2)
            if largest <= enough:
                return

    def ridge(self, k: int, point: Point) -> Decimal:
        """A slope for types without one, on straight pieces: it makes the step one of a length."""
        slope = self.mix[k] * point.services[k].slope
        return slope * Decimal(10) ** -(self.working // 4) / max(ONE, self.tokens[k])

    def _change_places(self) -> bool:
        """Free what would rather move, let rest what came to an end; whether any did."""
        point, changed = self.point(), False
        prices = self.charged(point)
        unit = Decimal(10) ** -(self.working // 2)
        for k, place in enumerate(self.places):
            low, high = self.ends(k)
            near = unit * max(ONE, self.tokens[k])
            if place is None:
                end = next((it for it in (low, high) if abs(self.tokens[k] - it) <= near), None)
                if end is not None:
                    self.places[k] = self.tokens[k] = end
                    changed = True
            elif low < high:
                left, right = self.sides(k, point, prices)
                if (right > near and place < high) or (left < -near and place > low):
                    self.places[k] = None
                    self.tokens[k] += ((high if right > near else low) - place) / 2**20
                    changed = True
        for j, excess in enumerate(point.excesses):
            if j in self.active and self.prices[j] <= self.spare:
                self.active.remove(j)
                self.prices[j] = NOUGHT
                changed = True
            elif j not in self.active and excess > unit:
                self.active.append(j)
                changed = True
        return changed

    def sides(self, k: int, point: Point, prices: Prices) -> tuple[Decimal, Decimal]:
        """What the next token of a type adds to the Lagrangian, to the left and to the right."""
        right, _ = self.margins(k, point, prices, point.curves[k])
        if self.tokens[k] not in self.corners[k]:
            return right, right
        left, _ = self.margins(k, point, prices, self.curve(k, self.tokens[k], is_left=True))
        return left, right


def _near(count: Decimal, other: Decimal) -> bool:
    return abs(count - other) <= Decimal("1e-9") * abs(other)


def _decimal(fraction: Fraction) -> Decimal:
    return Decimal(fraction.numerator) / Decimal(fraction.denominator)


def _solved(matrix: list[list[Decimal]], right: list[Decimal]) -> list[Decimal]:
    """The solution of a small system, by elimination with the largest pivot of each column."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for place in range(len(rows)):
        pivot = max(range(place, len(rows)), key=lambda row: abs(rows[row][place]))
        rows[place], rows[pivot] = rows[pivot], rows[place]
        if rows[place][place] == 0:
            raise UndeterminedError("the conditions do not determine a step")
        for row in range(len(rows)):
            if row != place:
                share = rows[row][place] / rows[place][place]
                rows[row] = [a - share * b for a, b in zip(rows[row], rows[place], strict=True)]
    return [row[-1] / row[place] for place, row in enumerate(rows)]
