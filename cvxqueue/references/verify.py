"""Checks the proof of a reference solution: this one file, the standard library, nothing else.

    python -I -S verify.py RECORD

A record holds an instance, whose numbers are the binary64 numbers that they denote, a point, and
what is claimed of the optimum. Let J be the objective, c ≤ 0 the constraints with multipliers
μ ≥ 0, and s the gradient of J − μ·c at the point l. J is concave and every c convex, so that

    J(l′) ≤ J(l) − μ·c(l) + Σ_k max over v in [lo_k, hi_k] of s_k (v − l_k)

for every feasible l′; at a kink of its curve s_k may be any number between the slopes of the two
sides. Everything is computed in intervals of decimal numbers: sums, products and quotients are
rounded outwards, and exponentials and logarithms, which the decimal module rounds correctly, are
moved outwards by one unit in the last place.

For the tokens of one type the bound keeps the curve in place of its tangent, less
(σ/2) π c² (v − l)² with σ = ω λ/(2 (1 + λ² m2 Σπ)): in the service times, T exceeds its tangent by
λ ω/(2 y′) Σ π (t′ − (y′/y) t)², and t′ − (y′/y) t = M (t′ − t), where M⁻¹ = I − λ t πᵀ has a norm
of at most 1 + λ √(m2 Σπ) in the metric of π. Where both ends of an interval around l_k bring that
bound below J(l), the optimal tokens lie inside, because the bound is concave in v.

No Decimal is negated, added or compared for its size but by a context that says how to round:
Python's own operators round to 28 digits.

Exit status: 0 accepted, 1 refused, 2 unreadable.
"""

from __future__ import annotations

import hashlib
import json
import sys
from decimal import (
    MAX_EMAX,
    MIN_EMIN,
    ROUND_CEILING,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DecimalException,
    DivisionByZero,
    InvalidOperation,
    Overflow,
)
from fractions import Fraction
from itertools import pairwise

FORMAT, VERSION = "cvxqueue-record", 1
MOST_BYTES = 200_000_000
MOST_TYPES = 100_000
MOST_DIGITS = 200
# Characters of a number, and the size of its exponent: as of a binary64 number, and some.
MOST_CHARACTERS = 2000
MOST_EXPONENT = 5000

ZERO, ONE, TWO = Decimal(0), Decimal(1), Decimal(2)


class Refused(Exception):
    """The record does not prove what it claims."""


class Unreadable(Exception):
    """What was given is no record."""


# Intervals ----------------------------------------------------------------------------------


class Rounding:
    """The contexts, of so many digits."""

    def __init__(self, digits):
        traps = [InvalidOperation, DivisionByZero, Overflow]
        options = {"prec": digits, "Emin": MIN_EMIN, "Emax": MAX_EMAX, "traps": traps}
        self.down = Context(rounding=ROUND_FLOOR, **options)
        self.up = Context(rounding=ROUND_CEILING, **options)
        self.near = Context(rounding=ROUND_HALF_EVEN, **options)


ROUND = Rounding(50)


def set_digits(digits):
    """Work in so many digits from here on."""
    ROUND.__init__(digits)


class Interval:
    """Two decimal numbers, and all real numbers between them."""

    __slots__ = ("high", "low")

    def __init__(self, low, high=None):
        self.low, self.high = low, low if high is None else high

    def __add__(self, other):
        other = of(other)
        return Interval(ROUND.down.add(self.low, other.low), ROUND.up.add(self.high, other.high))

    __radd__ = __add__

    def __neg__(self):
        return Interval(self.high.copy_negate(), self.low.copy_negate())

    def __sub__(self, other):
        return self + -of(other)

    def __rsub__(self, other):
        return of(other) + -self

    def __mul__(self, other):
        other = of(other)
        if self.low >= ZERO and other.low >= ZERO:
            pairs_low, pairs_high = [(self.low, other.low)], [(self.high, other.high)]
        else:
            pairs_low = [(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
            pairs_high = pairs_low
        return Interval(
            min(ROUND.down.multiply(*pair) for pair in pairs_low),
            max(ROUND.up.multiply(*pair) for pair in pairs_high),
        )

    __rmul__ = __mul__

    def __truediv__(self, other):
        other = of(other)
        if other.low <= ZERO <= other.high:
            raise Refused("a quotient by an interval that may be zero")
        return self * Interval(ROUND.down.divide(ONE, other.high), ROUND.up.divide(ONE, other.low))

    def __rtruediv__(self, other):
        return of(other) / self

    def square(self):
        """The squares, none of them negative."""
        low, high = magnitudes(self)
        return Interval(ROUND.down.multiply(low, low), ROUND.up.multiply(high, high))

    def exp(self):
        """The exponentials."""
        if self.low == self.high == ZERO:
            return Interval(ONE)
        near = ROUND.near
        low = max(ZERO, ROUND.down.next_minus(near.exp(self.low)))
        return Interval(low, ROUND.up.next_plus(near.exp(self.high)))

    def ln(self):
        """The logarithms, of positive numbers."""
        if self.low <= ZERO:
            raise Refused("a logarithm of an interval that may be zero")
        if self.low == self.high == ONE:
            return Interval(ZERO)
        near = ROUND.near
        low = ROUND.down.next_minus(near.ln(self.low))
        return Interval(low, ROUND.up.next_plus(near.ln(self.high)))


def magnitudes(interval):
    """The least and the greatest size of the numbers in an interval."""
    low, high = interval.low, interval.high
    if low >= ZERO:
        return low, high
    if high <= ZERO:
        return high.copy_negate(), low.copy_negate()
    return ZERO, max(low.copy_negate(), high)


def of(value):
    """An interval around a number; binary64 numbers, whole ones and decimals are exact."""
    if isinstance(value, Interval):
        return value
    if isinstance(value, Fraction):
        numerator, denominator = Decimal(value.numerator), Decimal(value.denominator)
        return Interval(
            ROUND.down.divide(numerator, denominator), ROUND.up.divide(numerator, denominator)
        )
    return Interval(value if isinstance(value, Decimal) else Decimal(value))


def total(intervals):
    """Their sum."""
    found = Interval(ZERO)
    for interval in intervals:
        found = found + interval
    return found


# Reading ------------------------------------------------------------------------------------


def read(path):
    """Return the JSON object of a file."""
    try:
        with open(path, "rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise Unreadable(f"more than {MOST_BYTES} bytes")
        found = json.loads(
            content.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_no_number
        )
    except (OSError, ValueError, RecursionError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise Unreadable(f"format is not {FORMAT!r}")
    if found.get("version") is True or found.get("version") != VERSION:
        raise Unreadable(f"version = {found.get('version')!r} is not {VERSION}")
    return found


def _distinct(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_number(name):
    raise ValueError(f"{name} is no number")


def digest(record):
    """The SHA-256 of all but the digest itself."""
    rest = {key: value for key, value in record.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def take(table, what, *names, **defaults):
    """The entries of a table by name; others, and missing ones without a default, are refused."""
    if not isinstance(table, dict):
        raise Refused(f"{what} is no table")
    for name in table:
        if name not in names and name not in defaults:
            raise Refused(f"{what} has an unknown entry {name!r}")
    for name in names:
        if name not in table:
            raise Refused(f"{what} lacks {name!r}")
    return [table[name] for name in names] + [table.get(name, defaults[name]) for name in defaults]


def number(value, what, least=None, above=None, most=None):
    """The binary64 number that a JSON number denotes, exactly."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(f"{what} = {value!r:.60} is no number")
    try:
        found = float(value)
    except OverflowError:
        found = float("inf")
    if found != found or found in (float("inf"), float("-inf")):
        raise Refused(f"{what} is not finite")
    exact = Decimal(found)
    if least is not None and exact < least:
        raise Refused(f"{what} = {found!r} must be at least {least}")
    if above is not None and exact <= above:
        raise Refused(f"{what} = {found!r} must be above {above}")
    if most is not None and exact > most:
        raise Refused(f"{what} = {found!r} must be at most {most}")
    return exact


def decimal(value, what):
    """The decimal number in a string."""
    if not isinstance(value, str) or len(value) > MOST_CHARACTERS:
        raise Refused(f"{what} is no decimal number of at most {MOST_CHARACTERS} characters")
    try:
        found = Decimal(value)
    except DecimalException:
        raise Refused(f"{what} = {value!r:.60} is no decimal number") from None
    if not found.is_finite() or abs(found.adjusted()) > MOST_EXPONENT:
        raise Refused(f"{what} = {value!r:.60} is not finite or out of range")
    return found


def rows(value, count, what):
    """A list with an entry for each type; one number stands for all."""
    if not isinstance(value, list):
        return [value] * count
    if len(value) != count:
        raise Refused(f"{what} has {len(value)} entries for {count} types")
    return value


# The model, anew ----------------------------------------------------------------------------


class Affine:
    """t = base + per_token · l; tokens may vary around l with a squared coefficient of variation."""

    def __init__(self, table, what):
        base, slope, scv = take(table, what, "base", "per_token", token_scv=0)
        self.base, self.slope_at_least = number(base, what, least=ZERO), number(slope, what, above=ZERO)
        self.scv = number(scv, what, least=ZERO)

    def moments(self, tokens):
        """t, E[t²] and their derivatives."""
        slope = of(self.slope_at_least)
        thinking = slope * tokens
        time = thinking + self.base
        spread = thinking * self.scv
        return (
            time,
            time.square() + spread * thinking,
            slope,
            TWO * (time * slope + spread * slope),
        )


class Quadratic:
    """t = base + per_token · l + per_squared_token · l²."""

    scv = ZERO

    def __init__(self, table, what):
        base, slope, bend = take(table, what, "base", "per_token", "per_squared_token")
        self.base, self.slope_at_least = number(base, what, least=ZERO), number(slope, what, above=ZERO)
        self.bend = number(bend, what, least=ZERO)

    def moments(self, tokens):
        """t, E[t²] and their derivatives."""
        time = (tokens * self.bend + self.slope_at_least) * tokens + self.base
        slope = tokens * self.bend * TWO + self.slope_at_least
        return time, time.square(), slope, TWO * time * slope


class Rising:
    """p = floor + gain · (1 − missing), where the missing share is convex and falls to zero."""

    def __init__(self, table, what, *names):
        floor, gain, *rest = take(table, what, "floor", "gain", *names)
        self.floor, self.gain = number(floor, what, least=ZERO), number(gain, what, least=ZERO)
        if Fraction(self.floor) + Fraction(self.gain) > 1 + Fraction(1, 10**9):
            raise Refused(f"{what}: floor + gain is above 1")
        self.data = [number(value, f"{what}.{name}", above=ZERO) for name, value in zip(names, rest)]

    def value(self, tokens):
        """p."""
        return self.reached(tokens) * self.gain + self.floor

    def reached(self, tokens):
        """The share of the gain that is not missing."""
        return 1 - self.missing(tokens)

    def slopes(self, tokens):
        """p′ from the left and from the right."""
        slope = self.falling(tokens) * self.gain
        return slope, slope


class Exponential(Rising):
    """missing = exp(−rate · l)."""

    def __init__(self, table, what):
        super().__init__(table, what, "rate")

    def missing(self, tokens):
        return (-(tokens * self.data[0])).exp()

    def falling(self, tokens):
        return self.missing(tokens) * self.data[0]


class PowerLaw(Rising):
    """missing = (1 + l/scale)^−exponent."""

    def __init__(self, table, what):
        super().__init__(table, what, "scale", "exponent")

    def missing(self, tokens):
        scale, exponent = self.data
        return (-(of(exponent) * (tokens / scale + 1).ln())).exp()

    def falling(self, tokens):
        scale, exponent = self.data
        return self.missing(tokens) * exponent / (tokens + scale)


class MichaelisMenten(Rising):
    """missing = half/(half + l)."""

    def __init__(self, table, what):
        super().__init__(table, what, "half_saturation")

    def reached(self, tokens):
        return tokens / (tokens + self.data[0])

    def falling(self, tokens):
        half = of(self.data[0])
        return half / (tokens + half).square()


# Slopes that agree to so many digits are those of one line.
ONE_LINE = 1 - Fraction(1, 10**12)


class Piecewise:
    """The least nondecreasing concave majorant of points, its first line continued to 0 tokens."""

    def __init__(self, table, what):
        tokens, accuracy = take(table, what, "tokens", "accuracy")
        if not isinstance(tokens, list) or not isinstance(accuracy, list) or not tokens:
            raise Refused(f"{what} has no points")
        if len(tokens) != len(accuracy):
            raise Refused(f"{what} has another number of tokens than of accuracies")
        xs = [Fraction(number(x, what, least=ZERO)) for x in tokens]
        ys = [Fraction(number(y, what, least=ZERO, most=ONE)) for y in accuracy]
        if any(b <= a for a, b in pairwise(xs)):
            raise Refused(f"{what}.tokens must increase")
        # Decimal fractions on one line are not on one in binary: the first of them draws it.
        slopes = [(y - ys[0]) / (x - xs[0]) for x, y in zip(xs[1:], ys[1:])]
        most = max(slopes, default=Fraction(0))
        start = ys[0]
        if most > 0:
            start -= next(it for it in slopes if it >= ONE_LINE * most) * xs[0]
        # From each corner the steepest line leads to the next, the farthest if there are several.
        self.corners, self.slopes_between = [(Fraction(0), start)], []
        for _ in xs:
            here, height = self.corners[-1]
            ahead = [((y - height) / (x - here), x, y) for x, y in zip(xs, ys) if x > here]
            slope, x, y = max(ahead, default=(Fraction(0), here, height))
            if slope <= 0:
                break
            self.slopes_between.append(slope)
            self.corners.append((x, y))
        # Level behind the last corner.
        self.slopes_between.append(Fraction(0))

    def _place(self, tokens):
        """The last corner at or before a number of tokens, which is exact."""
        at = Fraction(tokens.low)
        if tokens.low != tokens.high:
            raise Refused("a curve of straight pieces is asked about an interval")
        place = max((k for k, (x, _) in enumerate(self.corners) if x <= at), default=0)
        return place, at

    def value(self, tokens):
        place, at = self._place(tokens)
        x, y = self.corners[place]
        return of(y + self.slopes_between[place] * max(at - x, Fraction(0)))

    def slopes(self, tokens):
        place, at = self._place(tokens)
        right = self.slopes_between[place]
        is_corner = at == self.corners[place][0] and place > 0
        return of(self.slopes_between[place - 1] if is_corner else right), of(right)


SERVICES = {"affine": Affine, "quadratic": Quadratic}
CURVES = {
    "saturating-exponential": Exponential,
    "power-law": PowerLaw,
    "michaelis-menten": MichaelisMenten,
    "piecewise-linear": Piecewise,
}


def made(kinds, table, what):
    """What a table describes, by its kind."""
    if not isinstance(table, dict) or not isinstance(table.get("kind"), str):
        raise Refused(f"{what} has no kind")
    if table["kind"] not in kinds:
        raise Refused(f"{what} is of the unknown kind {table['kind']!r:.60}")
    return kinds[table["kind"]]({k: v for k, v in table.items() if k != "kind"}, what)


class Queue:
    """T = m1 + (β m1 + δ λ m1² + ω λ m2/2)/(1 − λ m1) + constant."""

    def __init__(self, table, rate):
        self.by_mean, self.by_load, self.by_second, self.constant = of(0), of(0), of(1), of(0)
        self.kind = kind = table.get("kind") if isinstance(table, dict) else None
        if kind in ("fifo", "processor-sharing"):
            take(table, "queue", "kind")
            if kind == "processor-sharing":
                self.by_load, self.by_second = of(1), of(0)
        elif kind == "batch-arrivals":
            _, mean, second = take(table, "queue", "kind", "mean_size", "size_second_moment")
            first = number(mean, "queue.mean_size", least=ONE)
            square = number(second, "queue.size_second_moment", least=first)
            self.by_mean = (of(square) - first) / first / TWO
        elif kind in ("vacations", "setups"):
            _, mean, second = take(table, "queue", "kind", "mean", "second_moment")
            first = number(mean, "queue.mean", above=ZERO)
            square = number(second, "queue.second_moment", least=ZERO)
            if kind == "vacations":
                self.constant = of(square) / first / TWO
            else:
                self.constant = (of(first) * TWO + of(square) * rate) / ((of(first) * rate + 1) * TWO)
        else:
            raise Refused(f"queue is of the unknown kind {kind!r:.60}")


class Moments:
    """What an allocation does to the queue."""

    def __init__(self, instance, tokens):
        self.types = [kind.service.moments(of(count)) for kind, count in zip(instance.types, tokens)]
        self.mix = [of(kind.probability) for kind in instance.types]
        self.mean = total(mix * it[0] for mix, it in zip(self.mix, self.types))
        self.second = total(mix * it[1] for mix, it in zip(self.mix, self.types))
        queue, rate = instance.queue, instance.rate
        self.idle = idle = 1 - self.mean * rate
        if idle.low <= ZERO:
            raise Refused("the queue is not proven to be stable at the point")
        load = self.mean * rate
        congested = (queue.by_mean + queue.by_load * load) * self.mean
        congested = congested + queue.by_second * rate * self.second / TWO
        self.waiting = congested / idle + queue.constant
        self.time = self.mean + self.waiting
        # ∂T/∂m1 and ∂T/∂m2.
        slope = (queue.by_mean + TWO * queue.by_load * load) / idle + congested * rate / idle.square()
        self.prices = slope + 1, queue.by_second * rate / (TWO * idle)


class Type:
    """What the types have each."""

    def __init__(self, name, table):
        self.name = name
        self.probability = number(table["probability"], f"{name}.probability", above=ZERO, most=ONE)
        self.importance = number(table["importance"], f"{name}.importance", least=ZERO)
        self.lower = number(table["min_tokens"], f"{name}.min_tokens", least=ZERO)
        self.upper = number(table["max_tokens"], f"{name}.max_tokens", least=self.lower)
        self.service = made(SERVICES, table["service"], f"{name}.service")
        self.curve = made(CURVES, table["accuracy"], f"{name}.accuracy")


INSTANCE = frozenset(
    "format version name description sources arrival_rate accuracy_weight queue task names "
    "probabilities importance min_tokens max_tokens service accuracy domain domains constraint".split()
)


class Instance:
    """What is to be maximised: α Σ π w p − T over the box, stability and constraints."""

    def __init__(self, data):
        for name in data:
            if name not in INSTANCE:
                raise Refused(f"instance has an unknown entry {name!r:.60}")
        self.rate = of(number(data.get("arrival_rate"), "arrival_rate", above=ZERO))
        self.weight = of(number(data.get("accuracy_weight"), "accuracy_weight", least=ZERO))
        self.queue = Queue(data.get("queue", {"kind": "fifo"}), self.rate)
        tables = _tasks(data) if "task" in data else _columns(data)
        if not 0 < len(tables) <= MOST_TYPES:
            raise Refused(f"{len(tables)} types, and 1 to {MOST_TYPES} are allowed")
        self.types = [Type(f"type {k}", table) for k, table in enumerate(tables)]
        self.names = [table.get("name") for table in tables]
        mix = sum(Fraction(kind.probability) for kind in self.types)
        if abs(mix - 1) > Fraction(1, 10**9):
            raise Refused("the probabilities do not add up to one")
        tables = data.get("constraint", [])
        if not isinstance(tables, list) or len(tables) > 100:
            raise Refused("constraint is no list of at most 100 tables")
        self.couplings = []
        self.floors = [None] * len(self.types)
        for place, table in enumerate(tables):
            self._constrain(table, f"constraint[{place}]")

    def _constrain(self, table, what):
        kind = table.get("kind") if isinstance(table, dict) else None
        if kind == "min-accuracy":
            _, floor, which = take(table, what, "kind", "accuracy", type=None)
            floors = rows(floor, len(self.types), what)
            if isinstance(which, bool):
                raise Refused(f"{what}.type is no type")
            for k in range(len(self.types)):
                if which is None or which in (k, self.names[k]):
                    found = number(floors[k], what, least=ZERO, most=ONE)
                    known = self.floors[k]
                    self.floors[k] = found if known is None else max(known, found)
        elif kind in LIMITS:
            self.couplings.append(LIMITS[kind](table, what))
        else:
            raise Refused(f"{what} is of the unknown kind {kind!r:.60}")


def _tasks(data):
    """A table for each type, from one that files have for each."""
    tasks = data["task"]
    if not isinstance(tasks, list):
        raise Refused("task is no list")
    shared = {name: data[name] for name in ("min_tokens", "max_tokens") if name in data}
    return [_complete({**shared, **task}, k) if isinstance(task, dict) else _complete({}, k) for k, task in enumerate(tasks)]


def _complete(table, place):
    table = {"importance": 1, "min_tokens": 0, **table}
    for name in ("probability", "max_tokens", "service", "accuracy"):
        if name not in table:
            raise Refused(f"type {place} lacks {name!r}")
    return table


def _columns(data):
    """The same from one table for all types."""
    mix = data.get("probabilities")
    if not isinstance(mix, list):
        raise Refused("probabilities is no list")
    count = len(mix)
    columns = {"probability": mix, "name": data.get("names") or [None] * count}
    for name, default in (("importance", 1), ("min_tokens", 0), ("max_tokens", None)):
        columns[name] = rows(data.get(name, default), count, name)
    columns["service"] = _split(data.get("service"), count, "service")
    columns["accuracy"] = _split(data.get("accuracy"), count, "accuracy")
    return [_complete({key: column[k] for key, column in columns.items()}, k) for k in range(count)]


def _split(law, count, what):
    """A table for each type from one of all, whose fields are numbers or have an entry for each."""
    if not isinstance(law, dict):
        raise Refused(f"{what} is no table")
    if law.get("kind") == "mixed":
        _, which, curves = take(law, what, "kind", "which", "curves")
        which = rows(which, count, f"{what}.which")
        if not isinstance(curves, list) or any(not isinstance(k, int) or not 0 <= k < len(curves) for k in which):
            raise Refused(f"{what}.which names no curves")
        parts = [iter(_split(curve, which.count(k), what)) for k, curve in enumerate(curves)]
        return [next(parts[k]) for k in which]
    is_points = law.get("kind") == "piecewise-linear"
    fields = {
        name: [value] * count
        if name == "kind" or is_points and (not value or not isinstance(value[0], list))
        else rows(value, count, f"{what}.{name}")
        for name, value in law.items()
    }
    return [{name: column[k] for name, column in fields.items()} for k in range(count)]


class Limit:
    """A constraint c ≤ 0; what −μ c adds to the Lagrangian is in terms of prices and costs."""

    name = "seconds"
    most = None

    def __init__(self, table, what):
        _, value = take(table, what, "kind", self.name)
        self.limit = of(number(value, what, above=ZERO, most=self.most))


class SystemTime(Limit):
    """T ≤ seconds."""

    def excess(self, instance, tokens, point):
        return point.time - self.limit

    def slopes(self, instance, tokens, point):
        """∂c/∂l_k."""
        first, second = point.prices
        return [
            mix * (first * slope + second * bend)
            for mix, (_, _, slope, bend) in zip(point.mix, point.types)
        ]


class WaitingTime(Limit):
    """W ≤ seconds."""

    def excess(self, instance, tokens, point):
        return point.waiting - self.limit

    def slopes(self, instance, tokens, point):
        first, second = point.prices
        return [
            mix * ((first - 1) * slope + second * bend)
            for mix, (_, _, slope, bend) in zip(point.mix, point.types)
        ]


class TokenRate(Limit):
    """λ Σ π l ≤ tokens_per_second, divided by λ."""

    name = "tokens_per_second"

    def excess(self, instance, tokens, point):
        return total(mix * of(count) for mix, count in zip(point.mix, tokens)) - self.limit / instance.rate

    def slopes(self, instance, tokens, point):
        return point.mix


class MeanAccuracy(Limit):
    """Σ π p ≥ accuracy."""

    name, most = "accuracy", ONE

    def excess(self, instance, tokens, point):
        accuracies = (kind.curve.value(of(count)) for kind, count in zip(instance.types, tokens))
        return self.limit - total(mix * it for mix, it in zip(point.mix, accuracies))

    def slopes(self, instance, tokens, point):
        # At a kink the worth of accuracy is counted with the benefit: see `gradient`.
        return [of(0)] * len(tokens)


class Tail(Limit):
    """Σ π (exp(θ t) − 1) ≤ θ/λ, relative to its limit, with θ = ln(1/probability)/seconds."""

    def __init__(self, table, what):
        _, seconds, chance = take(table, what, "kind", "seconds", "probability")
        self.seconds = of(number(seconds, what, above=ZERO))
        self.chance = number(chance, what, above=ZERO)
        if self.chance >= ONE:
            raise Refused(f"{what}: a probability of 1 demands nothing")

    def decay(self, instance):
        """θ, per second."""
        if instance.queue.kind != "fifo" or any(kind.service.scv for kind in instance.types):
            raise Refused("a tail is bounded first in first out alone, where tokens do not vary")
        return -of(self.chance).ln() / self.seconds

    def excess(self, instance, tokens, point):
        theta = self.decay(instance)
        powers = ((theta * it[0]).exp() - 1 for it in point.types)
        return total(mix * it for mix, it in zip(point.mix, powers)) * instance.rate / theta - 1

    def slope(self, instance, kind, count):
        """∂c/∂l_k, over π."""
        time, _, slope, _ = kind.service.moments(count)
        return (self.decay(instance) * time).exp() * instance.rate * slope

    def slopes(self, instance, tokens, point):
        return [
            mix * self.slope(instance, kind, of(count))
            for mix, kind, count in zip(point.mix, instance.types, tokens)
        ]


LIMITS = {
    "max-mean-system-time": SystemTime,
    "max-mean-waiting-time": WaitingTime,
    "max-token-rate": TokenRate,
    "min-mean-accuracy": MeanAccuracy,
    "waiting-time-tail": Tail,
}


# The proof ----------------------------------------------------------------------------------


class Proof:
    """What a point with multipliers proves of the optimum."""

    def __init__(self, instance, tokens, multipliers, floors):
        self.instance, self.tokens = instance, tokens
        self.lower = _least_tokens(instance, floors)
        self.point = point = Moments(instance, tokens)
        self.accuracies = [kind.curve.value(of(it)) for kind, it in zip(instance.types, tokens)]
        worth = [instance.weight * kind.importance for kind in instance.types]
        benefit = total(
            mix * value * it for mix, value, it in zip(point.mix, worth, self.accuracies)
        )
        self.objective = benefit - point.time
        self.scale = benefit + point.time
        # The Lagrangian: what accuracy is worth in it, and what the tokens cost at the margin.
        self.worth, self.slack = worth, of(0)
        first, second = point.prices
        self.costs = [
            mix * (first * slope + second * bend)
            for mix, (_, _, slope, bend) in zip(point.mix, point.types)
        ]
        if len(multipliers) != len(instance.couplings):
            raise Refused("there is not one multiplier for each constraint on all types")
        self.multipliers, self.excesses, self.slopes = multipliers, [], []
        for price, limit in zip(multipliers, instance.couplings):
            excess = limit.excess(instance, tokens, point)
            self.excesses.append(excess)
            self.slack = self.slack - of(price) * excess
            if isinstance(limit, MeanAccuracy):
                self.worth = [it + price for it in self.worth]
            slopes = limit.slopes(instance, tokens, point)
            self.slopes.append(slopes)
            self.costs = [cost + of(price) * it for cost, it in zip(self.costs, slopes)]
        self.gains = [self._gain(k) for k in range(len(tokens))]
        self.upper = self.objective + self.slack + total(self.gains)

    def require_feasible(self):
        """Refuse a point outside, and prices that prove nothing."""
        instance = self.instance
        for k, (count, low, kind) in enumerate(zip(self.tokens, self.lower, instance.types)):
            if not low <= count <= kind.upper:
                raise Refused(f"tokens[{k}] lie outside the box")
            floor = instance.floors[k]
            if floor is not None and self.accuracies[k].low < floor:
                raise Refused(f"tokens[{k}] do not reach the accuracy floor of the type")
        for k, (price, excess) in enumerate(zip(self.multipliers, self.excesses)):
            if price < ZERO:
                raise Refused(f"multipliers[{k}] is negative")
            if excess.high > ZERO:
                raise Refused(f"the point is not proven to keep constraint {k} on all types")

    def gradient(self, k):
        """The slopes of the Lagrangian in the tokens of a type, from the left and the right."""
        slopes = self.instance.types[k].curve.slopes(of(self.tokens[k]))
        return [self.point.mix[k] * self.worth[k] * it - self.costs[k] for it in slopes]

    def _gain(self, k):
        """The most that a linear function with an allowed slope gains within the box."""
        left, right = self.gradient(k)
        below, above = of(self.tokens[k]) - self.lower[k], of(self.instance.types[k].upper) - self.tokens[k]
        # At a kink the slope that gains least: right of the point the smaller one, left of it the
        # larger, or none where zero lies between them.
        rise, fall = ROUND.up.plus(right.high), ROUND.up.plus(left.low.copy_negate())
        return Interval(
            max(
                ZERO,
                ROUND.up.multiply(rise, above.high) if rise > ZERO else ZERO,
                ROUND.up.multiply(fall, below.high) if fall > ZERO else ZERO,
            )
        )

    def bends(self):
        """σ/2, in seconds per squared second."""
        instance, point = self.instance, self.point
        spread = 1 + instance.rate.square() * point.second * total(point.mix)
        return instance.queue.by_second * instance.rate / (spread * TWO * TWO)

    def excludes(self, k, count):
        """Whether the optimum is proven not to have this number of tokens of a type, nor beyond."""
        kind, bend = self.instance.types[k], self.bends()
        away = of(count) - self.tokens[k]
        own = (kind.curve.value(of(count)) - self.accuracies[k]) * self.worth[k] * self.point.mix[k]
        own = own - self.costs[k] * away
        curved = bend * self.point.mix[k] * (away * kind.service.slope_at_least).square()
        bound = self.objective + self.slack + (total(self.gains) - self.gains[k]) + own - curved
        # The objective on both sides is that of the same point, and cancels but for its width.
        return bound.high < self.objective.low


def _least_tokens(instance, floors):
    """Lower bounds of the tokens that keep the box and the accuracy floors of the types."""
    found = []
    for k, kind in enumerate(instance.types):
        low = kind.lower
        if instance.floors[k] is not None and floors[k] is not None:
            least = floors[k]
            if least > low:
                # Accuracy does not fall in the tokens: fewer than these do not reach the floor.
                if kind.curve.value(of(least)).high > instance.floors[k]:
                    raise Refused(f"least_tokens[{k}] is not proven to be too few")
                low = least
        found.append(low)
    return found


def verify(record):
    """Return the lines of a report, or raise `Refused`."""
    names = "format", "version", "instance", "digits", "tokens", "objective", "proves", "sha256"
    take(record, "record", *names, multipliers=[], least_tokens=None)
    if record["sha256"] != digest(record):
        raise Refused("sha256 is not that of the record: it was changed")
    digits = record["digits"]
    if isinstance(digits, bool) or not isinstance(digits, int) or not 1 <= digits <= MOST_DIGITS:
        raise Refused(f"digits must be a whole number from 1 to {MOST_DIGITS}")
    tokens, multipliers = record["tokens"], record["multipliers"]
    if not isinstance(tokens, list) or not isinstance(multipliers, list):
        raise Refused("tokens and multipliers must be lists")
    if not isinstance(record["instance"], dict):
        raise Refused("instance is no table")
    tokens = [decimal(it, f"tokens[{k}]") for k, it in enumerate(tokens)]
    multipliers = [decimal(it, f"multipliers[{k}]") for k, it in enumerate(multipliers)]
    longest = max([len(it.as_tuple().digits) for it in [*tokens, *multipliers]], default=1)
    set_digits(max(longest, 4 * digits) + 30)
    instance = Instance(record["instance"])
    if len(tokens) != len(instance.types):
        raise Refused(f"{len(tokens)} tokens for {len(instance.types)} types")
    floors = record["least_tokens"] or [None] * len(tokens)
    if not isinstance(floors, list) or len(floors) != len(tokens):
        raise Refused("least_tokens must have an entry for each type")
    floors = [None if it is None else decimal(it, f"least_tokens[{k}]") for k, it in enumerate(floors)]
    proof = Proof(instance, tokens, multipliers, floors)
    proof.require_feasible()
    unit = of(Decimal(1).scaleb(-digits))
    optimum = Interval(proof.objective.low, proof.upper.high)
    claimed = decimal(record["objective"], "objective")
    reach = unit * proof.scale
    for end in (optimum.low, optimum.high):
        if magnitudes(of(end) - claimed)[1] > reach.low:
            raise Refused("the objective is not proven to so many digits")
    (proves_tokens,) = take(record["proves"], "proves", "tokens")
    if not isinstance(proves_tokens, bool):
        raise Refused("proves.tokens must be true or false")
    if proves_tokens:
        for k, count in enumerate(tokens):
            near = unit * max(ONE, count)
            low = ROUND.up.subtract(count, near.low)
            high = ROUND.down.add(count, near.low)
            if low >= proof.lower[k] and not proof.excludes(k, low):
                raise Refused(f"tokens[{k}] are not proven to so many digits")
            if high <= instance.types[k].upper and not proof.excludes(k, high):
                raise Refused(f"tokens[{k}] are not proven to so many digits")
    return proof, optimum


def report(record, proof, optimum):
    """What is proven, in lines."""
    digits = record["digits"]
    low = _shown(optimum.low, digits, ROUND_FLOOR)
    yield f"the optimal objective lies in [{low}, {_shown(optimum.high, digits, ROUND_CEILING)}] s"
    for name in ("mean", "waiting", "time"):
        found = getattr(proof.point, name)
        what = {"mean": "mean service time", "waiting": "mean waiting time", "time": "mean system time"}
        yield f"{what[name]} {_shown(found.low, digits)} s"
    for k, price in enumerate(record["multipliers"]):
        yield f"multiplier of constraint {k} on all types: {price:.{digits}}"
    for k, count in enumerate(proof.tokens):
        left, right = proof.gradient(k)
        kind = proof.instance.types[k]
        where = "inside"
        if count == proof.lower[k]:
            where = "at its lower bound, " + ("strictly" if right.high < ZERO else "degenerate")
        elif count == kind.upper:
            where = "at its upper bound, " + ("strictly" if left.low > ZERO else "degenerate")
        yield f"{proof.instance.names[k] or kind.name}: {_shown(count, digits)} tokens, {where}"


def _shown(value, digits, rounding=ROUND_HALF_EVEN):
    return str(Context(prec=digits, rounding=rounding).create_decimal(value))


def main(arguments):
    """Verify the record of the one argument; return the exit status."""
    if len(arguments) != 1:
        print("usage: python -I -S verify.py RECORD", file=sys.stderr)
        return 2
    try:
        record = read(arguments[0])
    except Unreadable as error:
        print(f"unreadable: {error}", file=sys.stderr)
        return 2
    try:
        proof, optimum = verify(record)
    except (Refused, DecimalException, RecursionError) as error:
        print(f"refused: {error or type(error).__name__}", file=sys.stderr)
        return 1
    print(f"accepted: {record['digits']} digits")
    for line in report(record, proof, optimum):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
