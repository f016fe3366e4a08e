"""The optimum in many digits: plain decimal numbers, one exponential a type and step, no rigour.

Newton's method goes from a float64 answer to the full digits in some steps, where that answer shows
which types rest at a bound or a kink and which constraints are active. Where it does not, as in
feasible sets that are as narrow as a rounding error, an interior point method finds out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import chain, compress
from operator import mul, sub
from typing import NamedTuple

from cvxqueue.references import verify as verifier
from cvxqueue.references.verify import NOUGHT, ONE
from cvxqueue.solution import Solution

# Newton's method doubles the digits that are right, from some of a float64 answer; the other steps
# are for types that come to rest. Too few leave an optimum unproven, and prove nothing wrong.
_MOST_NEWTON_STEPS = 60
_MOST_CHANGES = 40
_FEWEST_DIGITS = 34
# Steps of the interior point method; of 700 hostile instances none took more than 114.
_MOST_INTERIOR_STEPS = 400
# Part of the way to the boundary that no step does.
_LEFT_OF_THE_WAY = Decimal("0.01")
# Relative to the scale: the gap at which limits that are exceeded become dearer, and the most that
# a multiplier comes to, in units of its limit.
_ROUGH, _DEARER, _DEAREST = Decimal("1e-12"), Decimal("1e10"), Decimal("1e40")


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


class _Point(NamedTuple):
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


class _Prices(NamedTuple):
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
        self.tokens = [Decimal(count) for count in start.tokens.tolist()]
        given = start.certificate.multipliers
        self.prices = [Decimal(price) for price in ([] if given is None else given.tolist())]
        self.active = [j for j, price in enumerate(self.prices) if price > 0]
        # What active constraints are kept with to spare.
        self.spare = Decimal(10) ** -(2 * digits + (precision - 2 * digits) // 2)
        with self._working_in(precision):
            self.floors = [self._floor(k) for k in range(self.size)]
            self.places = [self._place(k) for k in range(self.size)]
        for k, place in enumerate(self.places):
            kept = min(max(self.tokens[k], self.floors[k][0]), instance.types[k].upper)
            self.tokens[k] = kept if place is None else place

    @contextmanager
    def _working_in(self, precision: int) -> Iterator[None]:
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
            value, slope, _ = self._curve(k, low)
            if slope <= 0 or value >= floor:
                break
            step = (floor - value) / slope
            low = min(low + step, kind.upper)
            if step <= unit * low:
                break
        while kind.curve.value(verifier.of(low)).high > floor:
            low -= low * unit
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

    def _ends(self, k: int) -> tuple[Decimal, Decimal]:
        """The ends of the box of a type, or of the piece of its curve that it is in or between."""
        low, high, count = self.floors[k][0], self.instance.types[k].upper, self.tokens[k]
        for corner in self.corners[k]:
            if low < corner < count:
                low = corner
            elif count < corner < high:
                high = corner
        return low, high

    # The model ------------------------------------------------------------------------------

    def _service(self, k: int) -> _Service:
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

    def _curve(self, k: int, tokens: Decimal, *, is_left: bool = False) -> _Curve:
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

    def _point(self) -> _Point:
        services = [self._service(k) for k in range(self.size)]
        curves = [self._curve(k, count) for k, count in enumerate(self.tokens)]
        mean = sum((mix * it.time for mix, it in zip(self.mix, services, strict=True)), NOUGHT)
        second = sum((mix * it.square for mix, it in zip(self.mix, services, strict=True)), NOUGHT)
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
        excesses = []
        limits = zip(self.instance.couplings, self.decays, powers, strict=True)
        for limit, decay, rises in limits:
            if isinstance(limit, verifier.Tail):
                pairs = zip(self.mix, rises, strict=True)
                found = sum((mix * (it - 1) for mix, it in pairs), NOUGHT) * rate / decay - 1
            elif isinstance(limit, verifier.TokenRate):
                pairs = zip(self.mix, self.tokens, strict=True)
                found = sum((mix * it for mix, it in pairs), NOUGHT) - limit.limit.low / rate
            elif isinstance(limit, verifier.MeanAccuracy):
                triples = zip(self.mix, curves, strict=True)
                found = limit.limit.low - sum((mix * it.value for mix, it in triples), NOUGHT)
            else:
                of_service = mean if isinstance(limit, verifier.SystemTime) else NOUGHT
                found = of_service + waiting - limit.limit.low
            excesses.append(found)
        prices = 1 + slope, self.by_second * rate / (2 * idle)
        return _Point(
            *(services, curves, powers, mean, second, idle, congested, mean + waiting),
            *(prices, excesses),
        )

    def objective(self) -> Decimal:
        """Return J at the tokens."""
        with self._working_in(self.precision):
            point = self._point()
            rows = zip(self.instance.types, self.mix, point.curves, strict=True)
            worth = sum((mix * kind.importance * it.value for kind, mix, it in rows), NOUGHT)
            return self.weight * worth - point.time

    def excess(self) -> Decimal:
        """Return by how much the limits are exceeded everywhere, weighed by today's prices.

        The sum is convex, and above its tangent at the tokens; it is relative to the limits, and
        not positive where there may be an allocation that keeps them all.
        """
        with self._working_in(self.precision):
            point = self._point()
            couplings = self.instance.couplings
            found = sum(map(mul, self.prices, point.excesses), NOUGHT)
            accuracies = (isinstance(it, verifier.MeanAccuracy) for it in couplings)
            accuracy = sum(compress(self.prices, accuracies), NOUGHT)
            for k, count in enumerate(self.tokens):
                right = sum(price * self._row(j, k, point) for j, price in enumerate(self.prices))
                flatter = self._curve(k, count, is_left=True).slope - point.curves[k].slope
                left = right - accuracy * self.mix[k] * flatter
                rise, fall = (
                    right * (self.instance.types[k].upper - count),
                    left * (self.floors[k][0] - count),
                )
                found += min(NOUGHT, rise, fall)
            return found / (sum(map(mul, self.prices, map(_size, couplings)), NOUGHT) or ONE)

    def _charged(self, point: _Point) -> _Prices:
        time = waiting = token = accuracy = NOUGHT
        tails = []
        rows = zip(self.prices, self.instance.couplings, self.decays, point.powers, strict=True)
        for price, limit, decay, powers in rows:
            if not price:
                continue
            if isinstance(limit, verifier.Tail):
                tails.append((price * self.rate, decay, powers))
            elif isinstance(limit, verifier.TokenRate):
                token += price
            elif isinstance(limit, verifier.MeanAccuracy):
                accuracy += price
            elif isinstance(limit, verifier.SystemTime):
                time += price
            else:
                waiting += price
        first, second = point.prices
        factor = 1 + time + waiting
        return _Prices(factor, first * factor - waiting, second * factor, token, accuracy, tails)

    def _margins(
        self, k: int, point: _Point, prices: _Prices, curve: _Curve
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

    def _row(self, j: int, k: int, point: _Point) -> Decimal:
        """∂c_j/∂l_k."""
        limit, mix, it = self.instance.couplings[j], self.mix[k], point.services[k]
        if isinstance(limit, verifier.Tail):
            return mix * self.rate * point.powers[j][k] * it.slope
        if isinstance(limit, verifier.TokenRate):
            return mix
        if isinstance(limit, verifier.MeanAccuracy):
            return -mix * point.curves[k].slope
        first, second = point.prices
        if isinstance(limit, verifier.WaitingTime):
            first -= 1
        return mix * (first * it.slope + second * it.square_slope)

    def _step(
        self,
        point: _Point,
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
            with self._working_in(level):
                for _ in range(_MOST_CHANGES):
                    self._newton()
                    if not self._change_places():
                        break

    def _newton(self) -> None:
        """Solve the conditions at today's places, as far as the digits let it."""
        # A step of half of the digits leaves all of them right.
        enough = Decimal(10) ** -(self.working // 2 - 2)
        for _ in range(_MOST_NEWTON_STEPS):
            point = self._point()
            prices = self._charged(point)
            margins = {}
            for k, place in enumerate(self.places):
                if place is None:
                    gain, bend = self._margins(k, point, prices, point.curves[k])
                    margins[k] = gain, min(bend, -self._ridge(k, point))
            spares = dict.fromkeys(self.active, (self.spare, NOUGHT))
            steps, price_steps = self._step(point, margins, prices.factor, spares)
            largest = NOUGHT
            for k, step in steps.items():
                largest = max(largest, abs(step) / max(ONE, self.tokens[k]))
                low, high = self._ends(k)
                moved = self.tokens[k] + step
                if low < moved < high:
                    self.tokens[k] = moved
                    continue
                # It rests at an end that it would still leave outwards, and goes half of the way to
                # one that it would not.
                end = low if moved <= low else high
                curve = self._curve(k, end, is_left=end == high)
                gain, _ = self._margins(k, point, prices, curve)
                is_outward = (gain > 0) == (end == high)
                self.tokens[k] = end if is_outward else (self.tokens[k] + end) / 2
                self.places[k] = end if is_outward else None
            for j, step in price_steps.items():
                self.prices[j] = max(self.prices[j] + step, self.prices[j] / 2)
            if largest <= enough:
                return

    def _ridge(self, k: int, point: _Point) -> Decimal:
        """A slope for types without one, on straight pieces: it makes the step one of a length."""
        slope = self.mix[k] * point.services[k].slope
        return slope * Decimal(10) ** -(self.working // 4) / max(ONE, self.tokens[k])

    def _change_places(self) -> bool:
        """Free what would rather move, let rest what came to an end; whether any did."""
        point, changed = self._point(), False
        prices = self._charged(point)
        unit = Decimal(10) ** -(self.working // 2)
        for k, place in enumerate(self.places):
            low, high = self._ends(k)
            near = unit * max(ONE, self.tokens[k])
            if place is None:
                end = next((it for it in (low, high) if abs(self.tokens[k] - it) <= near), None)
                if end is not None:
                    self.places[k] = self.tokens[k] = end
                    changed = True
            elif low < high:
                left, right = self._sides(k, point, prices)
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

    def _sides(self, k: int, point: _Point, prices: _Prices) -> tuple[Decimal, Decimal]:
        """What the next token of a type adds to the Lagrangian, to the left and to the right."""
        right, _ = self._margins(k, point, prices, point.curves[k])
        if self.tokens[k] not in self.corners[k]:
            return right, right
        left, _ = self._margins(k, point, prices, self._curve(k, self.tokens[k], is_left=True))
        return left, right

    # The interior point method --------------------------------------------------------------

    def by_barriers(self) -> None:
        """Come from inside, on one piece of each curve after the other."""
        with self._working_in(self.precision):
            pieces = [self._piece(k) for k in range(self.size)]
            for _ in range(_MOST_CHANGES):
                self.places = [None] * self.size
                _Interior(self, pieces).run()
                if not self._next_pieces(pieces):
                    return

    def _piece(self, k: int) -> tuple[Decimal, Decimal]:
        low, high = self._ends(k)
        # At a kink, the piece to its left.
        return (low, self.tokens[k]) if low < self.tokens[k] in self.corners[k] else (low, high)

    def _next_pieces(self, pieces: list[tuple[Decimal, Decimal]]) -> bool:
        """Go on to the pieces that types would rather be on; whether any does."""
        point, changed = self._point(), False
        prices = self._charged(point)
        for k, (low, high) in enumerate(pieces):
            if self.places[k] is None or low == high:
                continue
            left, right = self._sides(k, point, prices)
            floor, upper = self.floors[k][0], self.instance.types[k].upper
            if self.tokens[k] == high < upper and right > 0:
                after = [x for x in self.corners[k] if high < x < upper]
                pieces[k], changed = (high, min(after, default=upper)), True
            elif self.tokens[k] == low > floor and left < 0:
                before = [x for x in self.corners[k] if floor < x < low]
                pieces[k], changed = (max(before, default=floor), low), True
        return changed


class _Interior:
    """A primal-dual interior point method between the ends of one piece of each curve.

    What a type has to both ends, and what a constraint is kept with to spare, times their prices
    come down together; where the limits leave room as narrow as it may be, they find it. A limit
    may be exceeded at a price of its own, the cap of the multiplier, which rises as long as that
    pays: so there is always an inside, and where nothing keeps the limits the prices show it.
    """

    def __init__(self, search: Search, pieces: Sequence[tuple[Decimal, Decimal]]) -> None:
        self.search, self.pieces = search, pieces
        self.moving = [k for k, (low, high) in enumerate(pieces) if low < high]
        tokens = search.tokens
        for k, (low, high) in enumerate(pieces):
            inside = (high - low) / 10**8
            tokens[k] = min(max(tokens[k], low + inside), high - inside) if low < high else low
        point = self._stable()
        rows = zip(search.instance.types, search.mix, point.curves, strict=True)
        worth = sum((mix * kind.importance * it.value for kind, mix, it in rows), NOUGHT)
        self.scale = (search.weight * worth + point.time) or ONE
        self.target = self.scale / 1000
        self.below = {k: self.target / (tokens[k] - pieces[k][0]) for k in self.moving}
        self.above = {k: self.target / (pieces[k][1] - tokens[k]) for k in self.moving}
        sizes = list(map(_size, search.instance.couplings))
        self.slacks = [
            max(-it, size / 1000) for it, size in zip(point.excesses, sizes, strict=True)
        ]
        self.extras = [
            max(it + slack, size / 10**6)
            for it, slack, size in zip(point.excesses, self.slacks, sizes, strict=True)
        ]
        self.caps = [1000 * self.scale / size for size in sizes]
        search.prices = [
            min(max(price, self.target / slack), cap / 4)
            for price, slack, cap in zip(search.prices, self.slacks, self.caps, strict=True)
        ]
        self.dearest = _DEAREST * max(self.caps, default=ONE)

    def _stable(self) -> _Point:
        search = self.search
        while True:
            try:
                return search._point()
            except UndeterminedError:
                if all(search.tokens[k] <= self.pieces[k][0] for k in self.moving):
                    raise
            for k in self.moving:
                low = self.pieces[k][0]
                search.tokens[k] = low + (search.tokens[k] - low) / 8

    def run(self) -> None:
        """Come down to the end, and to rest at the ends of pieces that are next to the tokens."""
        least = self.scale * Decimal(10) ** -(self.search.precision // 2)
        for _ in range(_MOST_INTERIOR_STEPS):
            way = self._move()
            mean = self._mean()
            if mean <= self.scale * _ROUGH and self._raise_caps():
                mean = self._mean()
            elif mean <= least:
                break
            shrink = min(Decimal("0.1"), (mean / self.scale).sqrt())
            self.target = max(mean * (shrink if way > Decimal("0.9") else 1 - way / 2), least / 10)
        self._rest()
        for _ in range(8):
            self._move()
        near = Decimal(10) ** -(self.search.precision // 3)
        for j, limit in enumerate(self.search.instance.couplings):
            size = _size(limit)
            if self.slacks[j] > near * size and self.search.prices[j] * size < near * self.scale:
                self.search.prices[j] = NOUGHT

    def _raise_caps(self) -> bool:
        """Make limits dearer where it pays to exceed some, and all prices with them."""
        prices = self.search.prices
        if not any(2 * price > cap for price, cap in zip(prices, self.caps, strict=True)):
            return False
        if max(self.caps) >= self.dearest:
            return False
        self.caps = [cap * _DEARER for cap in self.caps]
        self.search.prices = [price * _DEARER for price in prices]
        for pushes in (self.below, self.above):
            pushes.update((k, push * _DEARER) for k, push in pushes.items())
        return True

    def _mean(self) -> Decimal:
        search = self.search
        products = chain(
            (self.below[k] * (search.tokens[k] - self.pieces[k][0]) for k in self.moving),
            (self.above[k] * (self.pieces[k][1] - search.tokens[k]) for k in self.moving),
            map(mul, self.slacks, search.prices),
            map(mul, self.extras, map(sub, self.caps, search.prices)),
        )
        return sum(products, NOUGHT) / max(1, 2 * len(self.moving) + 2 * len(self.slacks))

    def _move(self) -> Decimal:
        """Do one step; the part of it that was done."""
        search, target = self.search, self.target
        point = search._point()
        prices = search._charged(point)
        margins, rooms = {}, {}
        for k in self.moving:
            low, high = self.pieces[k]
            count = search.tokens[k]
            left, right = rooms[k] = count - low, high - count
            curve = search._curve(k, (low + high) / 2) if search.corners[k] else point.curves[k]
            gain, bend = search._margins(k, point, prices, curve)
            margins[k] = (
                gain + target / left - target / right,
                bend - self.below[k] / left - self.above[k] / right,
            )
        left_of = list(map(sub, self.caps, search.prices))
        limits = zip(search.prices, left_of, self.slacks, self.extras, strict=True)
        spares = {
            j: (target / price - target / left, slack / price + extra / left)
            for j, (price, left, slack, extra) in enumerate(limits)
        }
        steps, price_steps = search._step(point, margins, prices.factor, spares)
        changes: list[tuple[Decimal, Decimal]] = []
        pushes = {}
        for k, step in steps.items():
            left, right = rooms[k]
            pushes[k] = below, above = (
                (target - self.below[k] * step) / left - self.below[k],
                (target + self.above[k] * step) / right - self.above[k],
            )
            changes += [
                (left, step),
                (right, -step),
                (self.below[k], below),
                (self.above[k], above),
            ]
        for j, step in price_steps.items():
            price, left, slack, extra = search.prices[j], left_of[j], self.slacks[j], self.extras[j]
            pushes[-1 - j] = slack_step, extra_step = (
                (target - slack * step) / price - slack,
                (target + extra * step) / left - extra,
            )
            changes += [(price, step), (left, -step), (slack, slack_step), (extra, extra_step)]
        short = 1 - min(_LEFT_OF_THE_WAY, target / self.scale)
        way = min((-short * it / step for it, step in changes if step < 0), default=ONE)
        way = min(way, ONE)
        before = list(search.tokens)
        while True:
            for k, step in steps.items():
                search.tokens[k] = before[k] + way * step
            times = (search._service(k).time for k in range(search.size))
            if sum(map(mul, search.mix, times), NOUGHT) * search.rate < 1:
                break
            way /= 2
        for k in steps:
            self.below[k] += way * pushes[k][0]
            self.above[k] += way * pushes[k][1]
        for j, step in price_steps.items():
            search.prices[j] += way * step
            self.slacks[j] += way * pushes[-1 - j][0]
            self.extras[j] += way * pushes[-1 - j][1]
        return way

    def _rest(self) -> None:
        """Let types rest at ends that are next to them, and hold them."""
        search = self.search
        point = search._point()
        prices = search._charged(point)
        for k in list(self.moving):
            count = search.tokens[k]
            _, bend = search._margins(k, point, prices, point.curves[k])
            bend = max(-bend, search._ridge(k, point))
            near = Decimal(10) ** -(search.precision // 3) * max(ONE, count)
            for end, push in zip(self.pieces[k], (self.below[k], self.above[k]), strict=True):
                room = abs(count - end)
                if room < near and push > bend * room and search.places[k] is None:
                    search.tokens[k] = search.places[k] = end
                    self.moving.remove(k)


def _size(limit: verifier.Limit) -> Decimal:
    """What a constraint is relative to; that on a tail is so already."""
    return ONE if isinstance(limit, verifier.Tail) else limit.limit.low


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
