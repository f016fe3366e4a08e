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
(σ/2) π c² (v − l)², where c is the least slope of its service time and
σ = ωλ/(2 (1 + λ² m2 Σπ)). Proof: as a function of the mean service times t the mean system time T
is a convex function, nondecreasing, plus ωλ/2 times Σ π t²/y, with y = 1 − λ m1 idle. That sum
exceeds its tangent by (1/y′) Σ π (t′ − (y′/y) t)², and 1/y′ ≥ 1. Further
t′ − (y′/y) t = M (t′ − t) with M = I + (λ/y) t πᵀ, whose inverse I − λ t πᵀ has a norm of at most
1 + λ √(m2 Σπ) in the metric of π, because Σ π t² ≤ m2; and (1 + a)² ≤ 2 (1 + a²). Tokens that vary
add convex terms. Where t is quadratic in the tokens it is above its tangent, at prices ≥ 0, and
|t′ − t| ≥ c |v − l|. Where both ends of an interval around l_k bring the bound below J(l), the
optimal tokens lie inside, because the bound is concave in v and at l_k not below J(l).

Of whole tokens a record may have the best ones and a tree: a node splits the tokens of a type, and
a leaf has a point of its own for the inequality above, which need not be feasible. There the sum
over the types keeps all curves and squares, which the proof above allows, and its maximum is over
the tokens that are allowed in the box of the leaf: concave in the tokens of a type and zero at the
point, what a type adds is largest next to it where it is negative there. A leaf without a point is
unstable at its least tokens. The domains of the instance say which tokens are allowed.

No Decimal is negated, added or scaled but by a context that says how to round: Python's own
operators round to 28 digits. Comparisons, and what only copies, are exact.

Exit status: 0 accepted, 1 refused, 2 unreadable, or what is proven cannot be written.
"""

from __future__ import annotations

import hashlib
import json
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
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
from threading import local
from typing import Any, NamedTuple, TypeAlias, TypeVar

RECORD_FORMAT, RECORD_VERSION = "cvxqueue-record", 1
# 10^5 types with points of 140 digits take 40 MB.
MOST_RECORD_BYTES = 100_000_000
MOST_TYPES, MOST_CONSTRAINTS, MOST_PROVEN_DIGITS = 100_000, 100, 200
# Characters of a number, and the size of its exponent: those of binary64 numbers, and some more.
MOST_NUMBER_CHARACTERS, MOST_EXPONENT = 3000, 5000
# Of tokens, behind the point: binary64 numbers have 1074 at most, and 324 where digits are few.
MOST_PLACES, MOST_PLACES_IN_LEAVES = 1100, 400
# Types, times what is computed of each, times the cube of the digits, as exponentials and
# logarithms take: 10^5 types with two constraints and 180 digits. It is some minutes at most. A
# point of a curve takes 50 µs, less than a type.
MOST_WORK, WORK_OF_POINT = 2 * 10**12, 10**6
# Of a proof in whole tokens, and types times leaves, of which each takes 1 ms at most.
MOST_LEAVES, MOST_TYPES_OF_LEAVES = 1000, 10**6
# What sums to one, and squares of means, are rounded so far at most.
SLACK = Fraction(1, 10**9)

# Beyond those that are proven, for what sums and quotients lose.
MORE_DIGITS = 30
# However few are proven: a floor that the tokens only just reach is missed by what is lost.
FEWEST_DIGITS = 80

NOUGHT, ONE = Decimal(0), Decimal(1)

Table: TypeAlias = dict[str, Any]
_Made = TypeVar("_Made")


class Refused(Exception):  # noqa: N818 (what the verifier says, and no error of its own)
    """The record does not prove what it claims."""


class Unreadable(Exception):  # noqa: N818
    """What was given is no record."""


# Intervals ----------------------------------------------------------------------------------


class Rounding(local):
    """The contexts of a thread, of so many digits."""

    def __init__(self, digits: int) -> None:
        def context(rounding: str) -> Context:
            traps = [InvalidOperation, DivisionByZero, Overflow]
            return Context(digits, rounding, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=traps)

        self.digits = digits
        self.down, self.up = context(ROUND_FLOOR), context(ROUND_CEILING)
        # Exponentials and logarithms are rounded so whatever a context says.
        self.near = context(ROUND_HALF_EVEN)


ROUND = Rounding(50)


def set_digits(digits: int) -> None:
    """Work in so many digits from here on."""
    ROUND.__init__(digits)  # type: ignore[misc]


class Interval:
    """Two decimal numbers, and all real numbers between them."""

    __slots__ = ("high", "low")

    def __init__(self, low: Decimal, high: Decimal | None = None) -> None:
        self.low, self.high = low, low if high is None else high

    def __add__(self, other: Number) -> Interval:
        other = of(other)
        return Interval(ROUND.down.add(self.low, other.low), ROUND.up.add(self.high, other.high))

    __radd__ = __add__

    def __neg__(self) -> Interval:
        return Interval(self.high.copy_negate(), self.low.copy_negate())

    def __sub__(self, other: Number) -> Interval:
        return self + -of(other)

    def __rsub__(self, other: Number) -> Interval:
        return of(other) + -self

    def __mul__(self, other: Number) -> Interval:
        other = of(other)
        if self.low >= NOUGHT and other.low >= NOUGHT:
            low, high = ROUND.down.multiply(self.low, other.low), self.high
            return Interval(low, ROUND.up.multiply(high, other.high))
        pairs = [(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        return Interval(
            min(ROUND.down.multiply(a, b) for a, b in pairs),
            max(ROUND.up.multiply(a, b) for a, b in pairs),
        )

    __rmul__ = __mul__

    def __truediv__(self, other: Number) -> Interval:
        other = of(other)
        if other.low <= NOUGHT <= other.high:
            raise Refused("a quotient by an interval that may be zero")
        return self * Interval(ROUND.down.divide(ONE, other.high), ROUND.up.divide(ONE, other.low))

    def __rtruediv__(self, other: Number) -> Interval:
        return of(other) / self

    def square(self) -> Interval:
        """Return the squares, none of them negative."""
        low, high = magnitudes(self)
        return Interval(ROUND.down.multiply(low, low), ROUND.up.multiply(high, high))

    def exp(self) -> Interval:
        """Return the exponentials; those of the upper end by e^d ≤ 1/(1 − d) for d < 1."""
        if self.low == self.high == NOUGHT:
            return Interval(ONE)
        near = ROUND.near.exp(self.low)
        low, high = max(NOUGHT, ROUND.down.next_minus(near)), ROUND.up.next_plus(near)
        width = ROUND.up.subtract(self.high, self.low)
        if width < ONE:
            high = ROUND.up.divide(high, ROUND.down.subtract(ONE, width))
        else:
            high = ROUND.up.next_plus(ROUND.near.exp(self.high))
        return Interval(low, high)

    def ln(self) -> Interval:
        """Return the logarithms, of numbers > 0; at the upper end ln(b) ≤ ln(a) + (b − a)/a."""
        if self.low <= NOUGHT:
            raise Refused("a logarithm of an interval that may be zero")
        if self.low == self.high == ONE:
            return Interval(NOUGHT)
        near = ROUND.near.ln(self.low)
        width = ROUND.up.subtract(self.high, self.low)
        return Interval(
            ROUND.down.next_minus(near),
            ROUND.up.add(ROUND.up.next_plus(near), ROUND.up.divide(width, self.low)),
        )


Number: TypeAlias = Interval | Decimal | Fraction | int


def magnitudes(interval: Interval) -> tuple[Decimal, Decimal]:
    """Return the least and the greatest size of the numbers in an interval."""
    low, high = interval.low, interval.high
    if low >= NOUGHT:
        return low, high
    if high <= NOUGHT:
        return high.copy_negate(), low.copy_negate()
    return NOUGHT, max(low.copy_negate(), high)


def of(value: Number) -> Interval:
    """Return an interval around a number; whole ones and decimals are exact."""
    if isinstance(value, Interval):
        return value
    if isinstance(value, Fraction):
        parts = Decimal(value.numerator), Decimal(value.denominator)
        return Interval(ROUND.down.divide(*parts), ROUND.up.divide(*parts))
    return Interval(value if isinstance(value, Decimal) else Decimal(value))


def total(intervals: Iterable[Interval]) -> Interval:
    """Return their sum."""
    return sum(intervals, start=Interval(NOUGHT))


# Reading ------------------------------------------------------------------------------------


def read(path: str) -> Table:
    """Return the record in a file."""
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 (a start without pathlib is faster)
            content = stream.read(MOST_RECORD_BYTES + 1)
    except (OSError, ValueError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from None
    return parse(content)


def parse(content: bytes) -> Table:
    """Return the record in the content of a file."""
    if len(content) > MOST_RECORD_BYTES:
        raise Unreadable(f"more than {MOST_RECORD_BYTES} bytes")
    try:
        found = json.loads(
            content.decode("utf-8-sig"), object_pairs_hook=_distinct, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from None
    if not isinstance(found, dict) or found.get("format") != RECORD_FORMAT:
        raise Unreadable(f"format is not {RECORD_FORMAT!r}")
    if type(found.get("version")) is not int or found["version"] != RECORD_VERSION:
        raise Unreadable(f"version = {shortened(found.get('version'))} is not {RECORD_VERSION}")
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> Table:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def shortened(value: object) -> str:
    """Return a value as a message shows it."""
    return ascii(value)[:60]


def digest(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all but the digest itself."""
    rest = {key: value for key, value in record.items() if key != "sha256"}
    try:
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):
        raise Refused("a value is none that JSON has") from None
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def take(table: object, what: str, *names: str, **defaults: Any) -> list[Any]:
    """Return the entries of a table by name, or defaults; none may be unknown or missing."""
    if not isinstance(table, dict):
        raise Refused(f"{what} is no table")
    for name in table:
        if name not in names and name not in defaults:
            raise Refused(f"{what} has an unknown entry {shortened(name)}")
    for name in names:
        if name not in table:
            raise Refused(f"{what} lacks {name!r}")
    return [table[name] for name in names] + [table.get(name, defaults[name]) for name in defaults]


def number(
    value: object,
    what: str,
    least: Decimal | None = None,
    above: Decimal | None = None,
    most: Decimal | None = None,
) -> Decimal:
    """Return the binary64 number that a JSON number denotes, exactly."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(f"{what} = {shortened(value)} is no number")
    try:
        exact = Decimal.from_float(float(value))
    except OverflowError:
        exact = Decimal("inf")
    if not exact.is_finite():
        raise Refused(f"{what} is not finite")
    if least is not None and exact < least:
        raise Refused(f"{what} = {shortened(value)} must be at least {least}")
    if above is not None and exact <= above:
        raise Refused(f"{what} = {shortened(value)} must be above {above}")
    if most is not None and exact > most:
        raise Refused(f"{what} = {shortened(value)} must be at most {most}")
    return exact


def whole_number(value: object, what: str, least: Decimal) -> int:
    """Return a whole number, which may be written as 1e3."""
    found = Fraction(number(value, what, least=least))
    if found.denominator > 1:
        raise Refused(f"{what} = {shortened(value)} is not whole")
    return int(found)


def decimal(value: object, what: str) -> Decimal:
    """Return the decimal number in a string."""
    if not isinstance(value, str) or len(value) > MOST_NUMBER_CHARACTERS:
        raise Refused(f"{what} is no decimal number of at most {MOST_NUMBER_CHARACTERS} characters")
    try:
        found = Decimal(value)
    except DecimalException:
        raise Refused(f"{what} = {shortened(value)} is no decimal number") from None
    if not found.is_finite() or not -MOST_EXPONENT <= found.adjusted() <= MOST_EXPONENT:
        raise Refused(f"{what} = {shortened(value)} is not finite or out of range")
    return found


def decimals(value: object, what: str) -> list[Decimal]:
    """Return the decimal numbers in a list of strings."""
    if not isinstance(value, list):
        raise Refused(f"{what} is no list")
    return [decimal(it, f"{what}[{k}]") for k, it in enumerate(value)]


def counts_of_tokens(value: object, most_places: int = MOST_PLACES) -> list[Decimal]:
    """Return the same of tokens, with few places behind the point: fractions are taken of them."""
    found = decimals(value, "tokens")
    for k, count in enumerate(found):
        if -int(count.as_tuple().exponent) > most_places:
            raise Refused(f"tokens[{k}] has more than {most_places} places behind the point")
    return found


def rows(value: object, count: int, what: str) -> list[Any]:
    """Return a list with an entry for each type; one number stands for all."""
    if not isinstance(value, list):
        return [value] * count
    if len(value) != count:
        raise Refused(f"{what} has {len(value)} entries for {count} types")
    return value


# The model, anew ----------------------------------------------------------------------------


class ServiceMoments(NamedTuple):
    """Of a type: t, E[t²] and their derivatives in the tokens."""

    time: Interval
    square: Interval
    slope: Interval
    bend: Interval


class AffineTime:
    """t = base + per_token · l; tokens vary around l with a squared coefficient of variation."""

    def __init__(self, table: Table, what: str) -> None:
        base, slope, scv = take(table, what, "base", "per_token", token_scv=0)
        self.base = number(base, f"{what}.base", least=NOUGHT)
        self.least_slope = number(slope, f"{what}.per_token", above=NOUGHT)
        self.scv = number(scv, f"{what}.token_scv", least=NOUGHT)

    def moments(self, tokens: Interval) -> ServiceMoments:
        """Return the moments at some tokens."""
        slope = of(self.least_slope)
        thinking = slope * tokens
        time, spread = thinking + self.base, thinking * self.scv
        square = time.square() + spread * thinking
        return ServiceMoments(time, square, slope, (time + spread) * slope * 2)


class QuadraticTime:
    """t = base + per_token · l + per_squared_token · l²."""

    scv = NOUGHT

    def __init__(self, table: Table, what: str) -> None:
        base, slope, bend = take(table, what, "base", "per_token", "per_squared_token")
        self.base = number(base, f"{what}.base", least=NOUGHT)
        self.least_slope = number(slope, f"{what}.per_token", above=NOUGHT)
        self.bend = number(bend, f"{what}.per_squared_token", least=NOUGHT)

    def moments(self, tokens: Interval) -> ServiceMoments:
        """Return the moments at some tokens."""
        time = (tokens * self.bend + self.least_slope) * tokens + self.base
        slope = tokens * self.bend * 2 + self.least_slope
        return ServiceMoments(time, time.square(), slope, time * slope * 2)


class Rising:
    """p = floor + gain · (1 − missing), where the missing share is convex and falls to zero."""

    names: tuple[str, ...] = ()

    def __init__(self, table: Table, what: str) -> None:
        floor, gain, *rest = take(table, what, "floor", "gain", *self.names)
        self.floor = number(floor, f"{what}.floor", least=NOUGHT)
        self.gain = number(gain, f"{what}.gain", least=NOUGHT)
        if Fraction(self.floor) + Fraction(self.gain) > 1 + SLACK:
            raise Refused(f"{what}: floor + gain is above 1")
        pairs = zip(self.names, rest, strict=True)
        self.data = [number(value, f"{what}.{name}", above=NOUGHT) for name, value in pairs]
        self.last: tuple[Decimal, Decimal, Interval] | None = None

    def value(self, tokens: Interval) -> Interval:
        """Return p."""
        return self._reached(tokens) * self.gain + self.floor

    def slopes(self, tokens: Interval) -> tuple[Interval, Interval]:
        """Return p′ from the left and from the right."""
        slope = self._falling(tokens) * self.gain
        return slope, slope

    def _reached(self, tokens: Interval) -> Interval:
        """Return the share of the gain that is not missing."""
        return 1 - self._missing(tokens)

    def _missing(self, tokens: Interval) -> Interval:
        """Return the share of the gain that is missing; the last is kept, exponentials are slow."""
        if self.last is None or self.last[:2] != (tokens.low, tokens.high):
            self.last = tokens.low, tokens.high, self._power(tokens)
        return self.last[2]

    def _power(self, tokens: Interval) -> Interval:
        """Return the same, computed."""
        raise NotImplementedError

    def _falling(self, tokens: Interval) -> Interval:
        """Return what is missing less with one token more."""
        raise NotImplementedError


class ExponentialCurve(Rising):
    """missing = exp(−rate · l)."""

    names = ("rate",)

    def _power(self, tokens: Interval) -> Interval:
        return (-(tokens * self.data[0])).exp()

    def _falling(self, tokens: Interval) -> Interval:
        return self._missing(tokens) * self.data[0]


class PowerCurve(Rising):
    """missing = (1 + l/scale)^−exponent."""

    names = "scale", "exponent"

    def _power(self, tokens: Interval) -> Interval:
        scale, exponent = self.data
        return (-((tokens / scale + 1).ln() * exponent)).exp()

    def _falling(self, tokens: Interval) -> Interval:
        scale, exponent = self.data
        return self._missing(tokens) * exponent / (tokens + scale)


class HyperbolicCurve(Rising):
    """missing = half_saturation/(half_saturation + l)."""

    names = ("half_saturation",)

    def _reached(self, tokens: Interval) -> Interval:
        return tokens / (tokens + self.data[0])

    def _falling(self, tokens: Interval) -> Interval:
        return self.data[0] / (tokens + self.data[0]).square()


# Slopes that agree to so many digits are those of one line: decimal fractions on one line are not
# on one in binary.
ONE_LINE = 1 - Fraction(1, 10**12)


class PiecewiseCurve:
    """The least nondecreasing concave majorant of points, its first line continued to 0 tokens."""

    def __init__(self, table: Table, what: str) -> None:
        tokens, accuracy = take(table, what, "tokens", "accuracy")
        if not isinstance(tokens, list) or not isinstance(accuracy, list) or not tokens:
            raise Refused(f"{what} has no points")
        if len(tokens) != len(accuracy):
            raise Refused(f"{what} has another number of tokens than of accuracies")
        xs = [Fraction(number(x, f"{what}.tokens", least=NOUGHT)) for x in tokens]
        ys = [Fraction(number(y, f"{what}.accuracy", least=NOUGHT, most=ONE)) for y in accuracy]
        if any(b <= a for a, b in pairwise(xs)):
            raise Refused(f"{what}.tokens must increase")
        slopes = [(y - ys[0]) / (x - xs[0]) for x, y in zip(xs[1:], ys[1:], strict=True)]
        steepest = max(slopes, default=Fraction(0))
        start = ys[0]
        if steepest > 0:
            start -= next(it for it in slopes if it >= ONE_LINE * steepest) * xs[0]
        corners = [(Fraction(0), start)]
        for point in zip(xs, ys, strict=True):
            # A corner goes that is not above the line from the one before it to the point.
            while len(corners) > 1 and _slope(*corners[-2:]) <= _slope(corners[-2], point):
                corners.pop()
            if point[0] > 0:
                corners.append(point)
        rising = [a for a, b in pairwise(corners) if b[1] > a[1]]
        self.corners = corners[: len(rising) + 1]
        # Level behind the last corner.
        self.pieces = [_slope(a, b) for a, b in pairwise(self.corners)] + [Fraction(0)]
        self.places = [x for x, _ in self.corners]

    def _place(self, tokens: Interval) -> tuple[int, Fraction]:
        """Return the last corner at or before a number of tokens, which is exact."""
        if tokens.low != tokens.high or tokens.low < NOUGHT:
            raise Refused("a curve of straight pieces is asked about no one number of tokens")
        at = Fraction(tokens.low)
        return bisect_right(self.places, at) - 1, at

    def value(self, tokens: Interval) -> Interval:
        """Return p."""
        place, at = self._place(tokens)
        x, y = self.corners[place]
        return of(y + self.pieces[place] * (at - x))

    def slopes(self, tokens: Interval) -> tuple[Interval, Interval]:
        """Return p′ from the left and from the right."""
        place, at = self._place(tokens)
        is_corner = place > 0 and at == self.places[place]
        return of(self.pieces[place - is_corner]), of(self.pieces[place])


def _slope(a: tuple[Fraction, Fraction], b: tuple[Fraction, Fraction]) -> Fraction:
    return (b[1] - a[1]) / (b[0] - a[0])


Service: TypeAlias = AffineTime | QuadraticTime
Curve: TypeAlias = Rising | PiecewiseCurve

SERVICES: dict[str, Callable[[Table, str], Service]] = {
    "affine": AffineTime,
    "quadratic": QuadraticTime,
}
CURVES: dict[str, Callable[[Table, str], Curve]] = {
    "saturating-exponential": ExponentialCurve,
    "power-law": PowerCurve,
    "michaelis-menten": HyperbolicCurve,
    "piecewise-linear": PiecewiseCurve,
}


def kind_of(table: object, what: str) -> str:
    """Return the kind of a table."""
    if not isinstance(table, dict) or not isinstance(table.get("kind"), str):
        raise Refused(f"{what} is no table with a kind")
    return str(table["kind"])


def made(kinds: Mapping[str, Callable[[Table, str], _Made]], table: Table, what: str) -> _Made:
    """Return what a table describes, by its kind."""
    kind = kind_of(table, what)
    if kind not in kinds:
        raise Refused(f"{what} is of the unknown kind {shortened(kind)}")
    return kinds[kind]({name: value for name, value in table.items() if name != "kind"}, what)


class Choices:
    """The whole numbers of tokens that a type may have: multiples of a step, or a menu.

    Of the multiples zero, and those from the least one on.
    """

    def __init__(self, table: object, what: str) -> None:
        self.step, self.least = 1, 0
        self.menu: list[int] | None = None
        kind = kind_of(table, what)
        if kind == "integers":
            take(table, what, "kind")
        elif kind == "multiples":
            _, step = take(table, what, "kind", "step")
            self.step = whole_number(step, f"{what}.step", ONE)
        elif kind == "zero-or-at-least":
            _, least = take(table, what, "kind", "minimum")
            self.least = whole_number(least, f"{what}.minimum", ONE)
        elif kind == "menu":
            _, menu = take(table, what, "kind", "tokens")
            if not isinstance(menu, list):
                raise Refused(f"{what}.tokens is no list")
            self.menu = sorted({whole_number(count, f"{what}.tokens", NOUGHT) for count in menu})
        else:
            raise Refused(f"{what} is of the kind {shortened(kind)}, which has no whole tokens")

    def below(self, count: Fraction | int) -> int | None:
        """Return the most that are allowed, at most so many."""
        if self.menu is not None:
            place = bisect_right(self.menu, count)
            return self.menu[place - 1] if place else None
        found = count // self.step * self.step
        return found if found >= self.least else 0

    def above(self, count: Fraction | int) -> int | None:
        """Return the fewest that are allowed, at least so many."""
        if self.menu is not None:
            place = bisect_left(self.menu, count)
            return self.menu[place] if place < len(self.menu) else None
        found = -(-count // self.step) * self.step
        return found if found >= self.least or found == 0 else self.least


class Queue:
    """T = m1 + (β m1 + δ λ m1² + ω λ m2/2)/(1 − λ m1) + constant, with β, δ, ω ≥ 0."""

    def __init__(self, table: object, rate: Interval) -> None:
        self.by_mean, self.by_load, self.by_second, self.constant = of(0), of(0), of(1), of(0)
        self.kind = kind_of(table, "queue")
        if self.kind in ("fifo", "processor-sharing"):
            take(table, "queue", "kind")
            if self.kind == "processor-sharing":
                self.by_load, self.by_second = of(1), of(0)
        elif self.kind == "batch-arrivals":
            first, square = self._moments(table, "mean_size", "size_second_moment", ONE)
            # Sizes are whole numbers: at least 1, so that this is not negative but by rounding.
            ahead = (square - first) / first / 2
            self.by_mean = Interval(max(NOUGHT, ahead.low), max(NOUGHT, ahead.high))
        elif self.kind == "vacations":
            first, square = self._moments(table, "mean", "second_moment", NOUGHT)
            self.constant = square / first / 2
        elif self.kind == "setups":
            first, square = self._moments(table, "mean", "second_moment", NOUGHT)
            self.constant = (first * 2 + square * rate) / ((first * rate + 1) * 2)
        else:
            raise Refused(f"queue is of the unknown kind {shortened(self.kind)}")

    def _moments(
        self, table: object, mean: str, second: str, least: Decimal
    ) -> tuple[Interval, Interval]:
        _, first, square = take(table, "queue", "kind", mean, second)
        first = number(first, f"queue.{mean}", least=least, above=NOUGHT)
        square = number(square, f"queue.{second}", least=NOUGHT)
        if Fraction(square) < (1 - SLACK) * Fraction(first) ** 2:
            raise Refused(f"queue.{second} is below the square of queue.{mean}")
        return of(first), of(square)


class TaskType:
    """What a type has of its own."""

    def __init__(self, table: Table, what: str, known: dict[int, PiecewiseCurve]) -> None:
        defaults = {"name": None, "domain": None, "importance": 1, "min_tokens": 0}
        mix, most, service, accuracy, name, domain, importance, least = take(
            table, what, "probability", "max_tokens", "service", "accuracy", **defaults
        )
        if not isinstance(name, str | None):
            raise Refused(f"{what}.name is no text")
        self.name = name
        self.probability = number(mix, f"{what}.probability", above=NOUGHT, most=ONE)
        self.importance = number(importance, f"{what}.importance", least=NOUGHT)
        self.lower = number(least, f"{what}.min_tokens", least=NOUGHT)
        self.upper = number(most, f"{what}.max_tokens", least=self.lower)
        # Read where whole tokens are proven, and no part of what is claimed of real ones.
        self.domain = {"kind": "integers"} if domain is None else domain
        self.service = made(SERVICES, service, f"{what}.service")
        # Types may share one table of points.
        self.curve = known.get(id(accuracy)) or made(CURVES, accuracy, f"{what}.accuracy")
        if isinstance(self.curve, PiecewiseCurve):
            known[id(accuracy)] = self.curve


# Texts are no part of what is claimed.
_SHARED: Table = {
    "name": None,
    "description": None,
    "sources": None,
    "domain": None,
    "constraint": [],
}


class Instance:
    """What is to be maximised: α Σ π w p − T over the box, stability and constraints."""

    def __init__(self, data: object) -> None:
        if not isinstance(data, dict):
            raise Refused("instance is no table")
        _, _, rate, weight, *_, constraints, queue = take(
            {name: value for name, value in data.items() if name not in _BY_TYPE["task" in data]},
            "instance",
            *("format", "version", "arrival_rate", "accuracy_weight"),
            **_SHARED,
            queue={"kind": "fifo"},
        )
        version = data["version"]
        if data["format"] != "cvxqueue-instance" or type(version) is not int or version != 1:
            raise Refused("instance is of an unknown format or version")
        if not all(isinstance(data.get(name), str | None) for name in ("name", "description")):
            raise Refused("the name or the description of the instance is no text")
        sources = data.get("sources", [])
        if not isinstance(sources, list) or not all(isinstance(it, str) for it in sources):
            raise Refused("instance.sources is no list of texts")
        self.rate = of(number(rate, "arrival_rate", above=NOUGHT))
        self.weight = of(number(weight, "accuracy_weight", least=NOUGHT))
        self.queue = Queue(queue, self.rate)
        tables = _of_tasks(data) if "task" in data else _of_columns(data)
        if not isinstance(constraints, list) or len(constraints) > MOST_CONSTRAINTS:
            raise Refused(f"constraint is no list of at most {MOST_CONSTRAINTS} tables")
        work = len(tables) * (1 + len(constraints)) * _work(ROUND.digits)
        if work + _points(tables) * WORK_OF_POINT > MOST_WORK:
            raise Refused("types, points, constraints and digits are too many together")
        known: dict[int, PiecewiseCurve] = {}
        self.types = [TaskType(table, f"task[{k}]", known) for k, table in enumerate(tables)]
        mix = sum((Fraction(kind.probability) for kind in self.types), start=Fraction(0))
        if not 1 - SLACK <= mix <= 1 + SLACK:
            raise Refused("the probabilities do not add up to one")
        self.couplings: list[Limit] = []
        self.floors: list[Decimal | None] = [None] * len(self.types)
        for place, table in enumerate(constraints):
            self._constrain(table, f"constraint[{place}]")

    def _constrain(self, table: Table, what: str) -> None:
        if kind_of(table, what) != "min-accuracy":
            self.couplings.append(made(LIMITS, table, what))
            return
        _, floor, which = take(table, what, "kind", "accuracy", type=None)
        floors = rows(floor, len(self.types), what)
        places: Iterable[int] = range(len(self.types))
        if which is not None:
            key = [kind.name for kind in self.types] if isinstance(which, str) else places
            if isinstance(which, bool | float) or list(key).count(which) != 1:
                raise Refused(f"{what}.type = {shortened(which)} is not one of the types")
            places = [list(key).index(which)]
        for k in places:
            found = number(floors[k], what, least=NOUGHT, most=ONE)
            known = self.floors[k]
            self.floors[k] = found if known is None else max(known, found)


# The entries that one form of an instance has for its types.
_BY_TYPE = {
    True: ("task", "min_tokens", "max_tokens"),
    False: (
        *("names", "probabilities", "importance", "min_tokens", "max_tokens"),
        *("service", "accuracy", "domains"),
    ),
}


def _work(digits: int) -> int:
    """Return what exponentials and logarithms take, and all else where digits are few."""
    return max(digits, 100) ** 3


def _points(tables: Sequence[Table]) -> int:
    """Return how many points the curves of all types have, those that types share once."""
    curves = {id(it): it for table in tables if isinstance(it := table.get("accuracy"), dict)}
    points = (curve.get("tokens") for curve in curves.values())
    return sum(len(it) for it in points if isinstance(it, list))


def _few(tables: Sequence[Any], what: str) -> None:
    if not 0 < len(tables) <= MOST_TYPES:
        raise Refused(f"{what} has {len(tables)} types, and 1 to {MOST_TYPES} are allowed")


def _of_tasks(data: Table) -> list[Table]:
    """Return a table for each type, from one that files have for each."""
    tasks = data["task"]
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise Refused("task is no list of tables")
    _few(tasks, "task")
    shared = {name: data[name] for name in ("min_tokens", "max_tokens", "domain") if name in data}
    return [shared | task for task in tasks]


def _of_columns(data: Table) -> list[Table]:
    """Return the same from one table for all types."""
    mix = data.get("probabilities")
    if not isinstance(mix, list):
        raise Refused("probabilities is no list")
    _few(mix, "probabilities")
    count = len(mix)
    if "domain" in data and "domains" in data:
        raise Refused("domain and domains do not go together")
    domains = data.get("domains", data.get("domain"))
    columns = {"probability": mix, "domain": rows(domains, count, "domains")}
    for name, own in (("names", "name"), *((it, it) for it in _BY_TYPE[False][2:5])):
        if name in data:
            columns[own] = rows(data[name], count, name)
    for name in ("service", "accuracy"):
        columns[name] = _split(data.get(name), count, name)
    return [{key: column[k] for key, column in columns.items()} for k in range(count)]


def _split(law: object, count: int, what: str) -> list[Table]:
    """Return a table for each type, from one whose fields are numbers or have one for each."""
    kind = kind_of(law, what)
    if kind == "mixed":
        _, which, curves = take(law, what, "kind", "which", "curves")
        which = rows(which, count, f"{what}.which")
        if not isinstance(curves, list) or len(curves) > count:
            raise Refused(f"{what}.curves is no list of at most so many as types")
        if any(type(k) is not int or not 0 <= k < len(curves) for k in which):
            raise Refused(f"{what}.which names no curve")
        if any(kind_of(curve, what) == "mixed" for curve in curves):
            raise Refused(f"{what} mixes mixtures")
        counts = [0] * len(curves)
        for k in which:
            counts[k] += 1
        parts = [iter(_split(curve, n, what)) for curve, n in zip(curves, counts, strict=True)]
        return [next(parts[k]) for k in which]
    fields = {}
    table: Table = dict(law)  # type: ignore[call-overload]
    if kind == "piecewise-linear" and not any(_is_of_types(it) for it in table.values()):
        return [table] * count
    for name, value in table.items():
        is_one = name == "kind" or (kind == "piecewise-linear" and not _is_of_types(value))
        fields[name] = [value] * count if is_one else rows(value, count, f"{what}.{name}")
    return [{name: column[k] for name, column in fields.items()} for k in range(count)]


def _is_of_types(points: object) -> bool:
    """Whether each type has points of its own."""
    return isinstance(points, list) and bool(points) and isinstance(points[0], list)


class Moments:
    """What an allocation does to the queue."""

    def __init__(self, instance: Instance, tokens: Sequence[Decimal]) -> None:
        self.instance, self.tokens = instance, tokens
        pairs = zip(instance.types, tokens, strict=True)
        self.types = [kind.service.moments(of(count)) for kind, count in pairs]
        self.mix = [of(kind.probability) for kind in instance.types]
        queue, rate = instance.queue, instance.rate
        self.mean = total(mix * it.time for mix, it in self.pairs)
        self.second = total(mix * it.square for mix, it in self.pairs)
        load = self.mean * rate
        self.idle = idle = 1 - load
        if idle.low <= NOUGHT:
            raise Refused("the queue is not proven to be stable at the point")
        congested = (queue.by_mean + queue.by_load * load) * self.mean
        congested = congested + queue.by_second * rate * self.second / 2
        self.waiting = congested / idle + queue.constant
        self.time = self.mean + self.waiting
        # ∂T/∂m1 and ∂T/∂m2.
        slope = (queue.by_mean + queue.by_load * load * 2) / idle
        slope = slope + congested * rate / idle.square()
        self.prices = slope + 1, queue.by_second * rate / (idle * 2)

    @property
    def pairs(self) -> Iterator[tuple[Interval, ServiceMoments]]:
        """The probability and the moments of each type."""
        return zip(self.mix, self.types, strict=True)

    def costs(self, first: Interval, second: Interval) -> list[Interval]:
        """Return what the tokens of each type cost at prices of the two moments."""
        return [mix * (first * it.slope + second * it.bend) for mix, it in self.pairs]


class Limit:
    """A constraint c ≤ 0, where c is convex in the tokens."""

    name = "seconds"
    most: Decimal | None = None

    def __init__(self, table: Table, what: str) -> None:
        (value,) = take(table, what, self.name)
        self.limit = of(number(value, what, above=NOUGHT, most=self.most))

    def size(self, point: Moments) -> Interval:
        """Return what c is to be compared with."""
        return self.limit

    def excess(self, point: Moments) -> Interval:
        """Return c."""
        raise NotImplementedError

    def slopes(self, point: Moments) -> list[Interval]:
        """Return ∂c/∂l of each type."""
        raise NotImplementedError


class SystemTime(Limit):
    """T ≤ seconds."""

    def excess(self, point: Moments) -> Interval:
        """Return c."""
        return point.time - self.limit

    def slopes(self, point: Moments) -> list[Interval]:
        """Return ∂c/∂l of each type."""
        return point.costs(*point.prices)


class WaitingTime(Limit):
    """W ≤ seconds."""

    def excess(self, point: Moments) -> Interval:
        """Return c."""
        return point.waiting - self.limit

    def slopes(self, point: Moments) -> list[Interval]:
        """Return ∂c/∂l of each type."""
        first, second = point.prices
        return point.costs(first - 1, second)


class TokenRate(Limit):
    """λ Σ π l ≤ tokens_per_second, divided by λ."""

    name = "tokens_per_second"

    def size(self, point: Moments) -> Interval:
        """Return what c is to be compared with."""
        return self.limit / point.instance.rate

    def excess(self, point: Moments) -> Interval:
        """Return c."""
        pairs = zip(point.mix, point.tokens, strict=True)
        return total(mix * count for mix, count in pairs) - self.size(point)

    def slopes(self, point: Moments) -> list[Interval]:
        """Return ∂c/∂l of each type."""
        return point.mix


class MeanAccuracy(Limit):
    """Σ π p ≥ accuracy."""

    name, most = "accuracy", ONE

    def excess(self, point: Moments) -> Interval:
        """Return c."""
        triples = zip(point.instance.types, point.tokens, point.mix, strict=True)
        return self.limit - total(mix * it.curve.value(of(count)) for it, count, mix in triples)

    def slopes(self, point: Moments) -> list[Interval]:
        """Return zeros: what accuracy is worth here is counted with the benefit, for kinks."""
        return [of(0)] * len(point.mix)


class Tail(Limit):
    """Σ π (exp(θ t) − 1) ≤ θ/λ, relative to its limit, with θ = ln(1/probability)/seconds."""

    def __init__(self, table: Table, what: str) -> None:
        seconds, chance = take(table, what, "seconds", "probability")
        self.seconds = of(number(seconds, f"{what}.seconds", above=NOUGHT))
        self.chance = number(chance, f"{what}.probability", above=NOUGHT)
        if self.chance >= ONE:
            raise Refused(f"{what}.probability must be below 1")
        self.limit = of(1)
        self.last: tuple[Moments, Interval, list[Interval]] | None = None

    def growth(self, point: Moments) -> tuple[Interval, list[Interval]]:
        """Return θ, per second, and exp(θ t) of each type; the last are kept, as they are slow."""
        if self.last is None or self.last[0] is not point:
            instance = point.instance
            if instance.queue.kind != "fifo" or any(it.service.scv for it in instance.types):
                raise Refused(
                    "a tail is bounded first in first out alone, where tokens do not vary"
                )
            theta = -of(self.chance).ln() / self.seconds
            self.last = point, theta, [(theta * it.time).exp() for it in point.types]
        return self.last[1:]

    def excess(self, point: Moments) -> Interval:
        """Return c."""
        theta, powers = self.growth(point)
        excess = total(mix * (it - 1) for mix, it in zip(point.mix, powers, strict=True))
        return excess * point.instance.rate / theta - 1

    def slopes(self, point: Moments) -> list[Interval]:
        """Return ∂c/∂l of each type."""
        pairs, rate = zip(point.pairs, self.growth(point)[1], strict=True), point.instance.rate
        return [mix * power * rate * it.slope for (mix, it), power in pairs]


LIMITS: dict[str, Callable[[Table, str], Limit]] = {
    "max-mean-system-time": SystemTime,
    "max-mean-waiting-time": WaitingTime,
    "max-token-rate": TokenRate,
    "min-mean-accuracy": MeanAccuracy,
    "waiting-time-tail": Tail,
}


# The proof ----------------------------------------------------------------------------------


class Proof:
    """What a point with multipliers proves of the optimum."""

    def __init__(
        self,
        instance: Instance,
        tokens: Sequence[Decimal],
        multipliers: Sequence[Decimal],
        least_tokens: Sequence[Decimal | None],
    ) -> None:
        self.instance, self.tokens, self.multipliers = instance, tokens, multipliers
        self.lower = _lower(instance, least_tokens)
        self.point = point = Moments(instance, tokens)
        pairs = zip(instance.types, tokens, strict=True)
        self.accuracies = [kind.curve.value(of(count)) for kind, count in pairs]
        # What accuracy is worth in the Lagrangian, and what the tokens cost in it at the margin.
        self.worth = [instance.weight * kind.importance for kind in instance.types]
        benefits = zip(point.mix, self.worth, self.accuracies, strict=True)
        benefit = total(mix * worth * accuracy for mix, worth, accuracy in benefits)
        self.objective, self.scale = benefit - point.time, benefit + point.time
        self.costs = point.costs(*point.prices)
        if len(multipliers) != len(instance.couplings):
            raise Refused("there is not one multiplier for each constraint on all types")
        self.lagrangian = self.objective
        self.excesses = []
        for price, limit in zip(multipliers, instance.couplings, strict=True):
            excess, slopes = limit.excess(point), limit.slopes(point)
            self.excesses.append(excess)
            self.lagrangian = self.lagrangian - excess * price
            if isinstance(limit, MeanAccuracy):
                self.worth = [worth + price for worth in self.worth]
            self.costs = [a + b * price for a, b in zip(self.costs, slopes, strict=True)]
        self.gradients = [self._gradient(k) for k in range(len(tokens))]
        # σ/2, in seconds per squared second.
        spread = instance.rate.square() * point.second * total(point.mix) + 1
        self.bend = instance.queue.by_second * instance.rate / (spread * 4)
        self.gains = [self._gain(k) for k in range(len(tokens))]
        self.gained = total(self.gains)
        self.upper = self.lagrangian + self.gained

    def require_feasible(self) -> None:
        """Refuse a point outside, and prices that prove nothing."""
        rows = zip(self.tokens, self.lower, self.instance.types, self.instance.floors, strict=True)
        for k, (count, low, kind, floor) in enumerate(rows):
            if not low <= count <= kind.upper:
                raise Refused(f"tokens[{k}] lie outside the box")
            if floor is not None and self.accuracies[k].low < floor:
                raise Refused(f"tokens[{k}] do not reach the accuracy floor of the type")
        for k, (price, excess) in enumerate(zip(self.multipliers, self.excesses, strict=True)):
            if price < NOUGHT:
                raise Refused(f"multipliers[{k}] is negative")
            if excess.high > NOUGHT:
                raise Refused(f"the point is not proven to keep constraint {k} on all types")

    def _gradient(self, k: int) -> tuple[Interval, Interval]:
        """Return the slopes of the Lagrangian in the tokens of a type, left and right."""
        left, right = self.instance.types[k].curve.slopes(of(self.tokens[k]))
        worth = self.point.mix[k] * self.worth[k]
        return worth * left - self.costs[k], worth * right - self.costs[k]

    def _gain(self, k: int) -> Interval:
        """Return the most that a linear function with an allowed slope gains within the box.

        At a kink the slope that gains least: to the right of the point the right one, to the left
        of it the left one, or none where zero lies between them.
        """
        left, right = self.gradients[k]
        above = of(self.instance.types[k].upper) - self.tokens[k]
        below = of(self.tokens[k]) - self.lower[k]
        rise, fall = max(NOUGHT, right.high), max(NOUGHT, left.low.copy_negate())
        return Interval(
            max(ROUND.up.multiply(rise, above.high), ROUND.up.multiply(fall, below.high))
        )

    def excludes(self, k: int, count: Decimal) -> bool:
        """Whether no optimum has this number of tokens of a type, nor one further away."""
        others = self.lagrangian + (self.gained - self.gains[k])
        # The tangent of the curve is above it, and takes no exponential.
        left, right = self.gradients[k]
        away = of(count) - self.tokens[k]
        along = away * (right if away.low > NOUGHT else left) - self._curved(k, away)
        if (others + along).high < self.objective.low:
            return True
        return (others + self._change(k, count)).high < self.objective.low

    def _curved(self, k: int, away: Interval) -> Interval:
        """Return by how much the mean system time is above its tangent at least."""
        slope = self.instance.types[k].service.least_slope
        return self.bend * self.point.mix[k] * (away * slope).square()

    def _change(self, k: int, count: Decimal) -> Interval:
        """Return what so many tokens of a type add to the bound, where its curve is kept."""
        kind, mix = self.instance.types[k], self.point.mix[k]
        away = of(count) - self.tokens[k]
        benefit = (kind.curve.value(of(count)) - self.accuracies[k]) * self.worth[k] * mix
        return benefit - self.costs[k] * away - self._curved(k, away)


# The fewest and the most whole tokens of each type.
Box: TypeAlias = list[tuple[int, int]]


class Leaf(Proof):
    """What a point proves of all whole tokens that are allowed in a box around it."""

    def __init__(
        self,
        instance: Instance,
        choices: Sequence[Choices],
        box: Box,
        tokens: Sequence[Decimal],
        multipliers: Sequence[Decimal],
    ) -> None:
        self.choices = choices
        if len(tokens) != len(box):
            raise Refused(f"there are {len(tokens)} tokens for {len(box)} types")
        if any(price < NOUGHT for price in multipliers):
            raise Refused("a multiplier is negative")
        inside = copy(instance)
        inside.types = [copy(kind) for kind in instance.types]
        for kind, (low, high), count in zip(inside.types, box, tokens, strict=True):
            if not low <= count <= high:
                raise Refused("its tokens lie outside its box")
            kind.lower, kind.upper = Decimal(low), Decimal(high)
        super().__init__(inside, tokens, multipliers, [None] * len(tokens))

    def _gain(self, k: int) -> Interval:
        """Return the most that a type adds to the bound with tokens that are allowed.

        That is concave in the tokens, and nothing at the point: where the allowed ones next to it
        add less than nothing, those beyond add still less.
        """
        choices, kind, count = self.choices[k], self.instance.types[k], Fraction(self.tokens[k])
        is_allowed = choices.below(count) == count
        near = [
            choices.below(count - is_allowed) if count > kind.lower else None,
            choices.above(count + is_allowed) if count < kind.upper else None,
        ]
        found = [self._change(k, Decimal(it)).high for it in near if it is not None]
        most = max([*found, NOUGHT] if is_allowed else found)
        return super()._gain(k) if most > NOUGHT else Interval(most)


class Whole(NamedTuple):
    """What is proven of whole tokens."""

    tokens: list[int]
    objective: Interval
    leaves: int


class WholeProof:
    """What a tree of splits proves of whole tokens, beside a proof about real ones."""

    def __init__(self, real: Proof) -> None:
        self.instance = instance = real.instance
        # Types may share one table.
        known: dict[int, Choices] = {}
        for k, kind in enumerate(instance.types):
            if id(kind.domain) not in known:
                known[id(kind.domain)] = Choices(kind.domain, f"domain of type {k}")
        self.choices = [known[id(kind.domain)] for kind in instance.types]
        self.box: Box = []
        for k, (choices, kind) in enumerate(zip(self.choices, instance.types, strict=True)):
            # Fewer than the lower bound do not reach the accuracy floor.
            low, high = choices.above(Fraction(real.lower[k])), choices.below(Fraction(kind.upper))
            if low is None or high is None or low > high:
                raise Refused(f"no tokens of type {k} are allowed")
            self.box.append((low, high))

    def at(self, counts: Sequence[object]) -> Proof:
        """Return the proof at whole tokens, which must be allowed and feasible."""
        if len(counts) != len(self.box):
            raise Refused(f"there are {len(counts)} tokens for {len(self.box)} types")
        tokens = []
        rows = zip(counts, self.box, self.choices, strict=True)
        for k, (count, (low, high), choices) in enumerate(rows):
            is_allowed = type(count) is int and low <= count <= high
            if type(count) is not int or not is_allowed or choices.below(count) != count:
                raise Refused(f"tokens[{k}] = {shortened(count)} are not allowed")
            tokens.append(Decimal(count))
        nothing = [NOUGHT] * len(self.instance.couplings)
        proof = Proof(self.instance, tokens, nothing, [None] * len(tokens))
        proof.require_feasible()
        return proof

    def split(self, box: Box, k: int, most: int) -> tuple[Box, Box]:
        """Return the parts of a box in which a type has at most so many tokens, and more."""
        (low, high), choices = box[k], self.choices[k]
        left, right = choices.below(most), choices.above(most + 1)
        if left is None or right is None or left < low or right > high:
            raise Refused("a side of the split has no tokens that are allowed")
        return [*box[:k], (low, left), *box[k + 1 :]], [*box[:k], (right, high), *box[k + 1 :]]

    def is_unstable(self, box: Box) -> bool:
        """Whether no allocation in a box is stable."""
        pairs = zip(self.instance.types, box, strict=True)
        times = (
            of(kind.probability) * kind.service.moments(of(low)).time for kind, (low, _) in pairs
        )
        return (total(times) * self.instance.rate).low >= ONE

    def leaf(self, box: Box, tokens: Sequence[Decimal], multipliers: Sequence[Decimal]) -> Leaf:
        """Return what a point proves of a box: no allocation there exceeds its `upper`."""
        return Leaf(self.instance, self.choices, box, tokens, multipliers)

    def bounds(self, tree: Sequence[object], most: Decimal) -> Iterator[Decimal]:
        """Return the bounds of the leaves, or raise `Refused` where one is above `most`.

        The nodes stand in the order of a walk, the side of fewer tokens first.
        """
        boxes = [self.box]
        for place, node in enumerate(tree):
            if not boxes:
                raise Refused(f"tree[{place}] is behind the last leaf")
            box = boxes.pop()
            try:
                if isinstance(node, dict) and "type" in node:
                    k, count = take(node, "it", "type", "most")
                    if type(k) is not int or not 0 <= k < len(box) or type(count) is not int:
                        raise Refused("it does not split a type at a whole number")
                    boxes += reversed(self.split(box, k, count))
                elif node != {}:
                    tokens, prices = take(node, "it", "tokens", "multipliers")
                    point = counts_of_tokens(tokens, MOST_PLACES_IN_LEAVES)
                    bound = self.leaf(box, point, decimals(prices, "multipliers")).upper.high
                    if bound > most:
                        raise Refused("it may have something better")
                    yield bound
                elif not self.is_unstable(box):
                    raise Refused("it is not proven to be unstable")
            except Refused as error:
                raise Refused(f"tree[{place}]: {error}") from None
        if boxes:
            raise Refused(f"the tree ends {len(boxes)} leaves or more too early")


def reach(best: Proof, digits: int) -> tuple[Decimal, Decimal]:
    """Return what counts as nothing beside an objective, and the most that equals it."""
    near = (of(Decimal((0, (1,), -digits))) * best.scale).low
    return near, ROUND.down.add(best.objective.low, near)


def _whole(real: Proof, table: object, digits: int) -> Whole:
    """Return what is proven of whole tokens, or raise `Refused`."""
    counts, claimed, tree = take(table, "it", "tokens", "objective", "tree")
    claimed = decimal(claimed, "objective")
    if not isinstance(counts, list) or not isinstance(tree, list):
        raise Refused("tokens or tree is no list")
    leaves, types = len(tree) // 2 + 1, len(real.tokens)
    if leaves > MOST_LEAVES or leaves * types > MOST_TYPES_OF_LEAVES:
        raise Refused(f"{leaves} leaves with {types} types are too many")
    if leaves * types * (1 + len(real.excesses)) * _work(digits + MORE_DIGITS) > MOST_WORK:
        raise Refused("leaves, types, constraints and digits are too many together")
    proof = WholeProof(real)
    best = proof.at(counts)
    near, most = reach(best, digits)
    before = ROUND.digits
    set_digits(max(digits + MORE_DIGITS, FEWEST_DIGITS))
    highest = max([best.objective.high, *proof.bounds(tree, most)])
    set_digits(before)
    optimum = Interval(best.objective.low, highest)
    if magnitudes(optimum - claimed)[1] > near:
        raise Refused("the objective is not proven to so many digits")
    return Whole(counts, optimum, leaves)


def _lower(instance: Instance, least_tokens: Sequence[Decimal | None]) -> list[Decimal]:
    """Return lower bounds of the tokens that keep the box and the accuracy floors of the types."""
    found = []
    rows = zip(instance.types, instance.floors, least_tokens, strict=True)
    for k, (kind, floor, least) in enumerate(rows):
        if least is None or least <= kind.lower:
            found.append(kind.lower)
            continue
        # Fewer tokens do not reach the floor where these do not, nor where these only just do and
        # the curve rises towards them.
        at = of(least)
        reached = kind.curve.value(at).high
        is_too_few = floor is not None and (
            reached < floor or (reached == floor and kind.curve.slopes(at)[0].low > NOUGHT)
        )
        if not is_too_few:
            raise Refused(f"least_tokens[{k}] is not proven to be too few")
        found.append(least)
    return found


class Proven(NamedTuple):
    """What a record was found to prove."""

    digits: int
    proof: Proof
    objective: Interval
    tokens: list[Interval] | None
    """For each type what holds its optimal tokens, if that is claimed."""
    whole: Whole | None


def verify(record: Table) -> Proven:
    """Return what is proven, or raise `Refused`."""
    try:
        return _verified(record)
    except (DecimalException, RecursionError) as error:
        raise Refused(f"numbers out of range ({type(error).__name__})") from None


def _verified(record: Table) -> Proven:
    names = "format", "version", "instance", "digits", "tokens", "objective", "proves", "sha256"
    _, _, data, digits, tokens, claimed, proves, sha256, multipliers, least_tokens, integer = take(
        record, "record", *names, multipliers=[], least_tokens=None, integer=None
    )
    if sha256 != digest(record):
        raise Refused("sha256 is not that of the record: it was changed")
    if type(digits) is not int or not 1 <= digits <= MOST_PROVEN_DIGITS:
        raise Refused(f"digits must be a whole number from 1 to {MOST_PROVEN_DIGITS}")
    tokens = counts_of_tokens(tokens)
    multipliers = decimals(multipliers, "multipliers")
    claimed = decimal(claimed, "objective")
    (proves_tokens,) = take(proves, "proves", "tokens")
    if not isinstance(proves_tokens, bool):
        raise Refused("proves.tokens must be true or false")
    longest = max((len(it.as_tuple().digits) for it in [*tokens, *multipliers]), default=1)
    set_digits(max(longest + 20, 3 * digits + 20, FEWEST_DIGITS))
    instance = Instance(data)
    count = len(instance.types)
    if len(tokens) != count:
        raise Refused(f"there are {len(tokens)} tokens for {count} types")
    least = [
        None if it is None else decimal(it, f"least_tokens[{k}]")
        for k, it in enumerate(rows(least_tokens, count, "least_tokens"))
    ]
    proof = Proof(instance, tokens, multipliers, least)
    proof.require_feasible()
    unit = of(Decimal((0, (1,), -digits)))
    optimum = Interval(proof.objective.low, proof.upper.high)
    if magnitudes(optimum - claimed)[1] > (unit * proof.scale).low:
        raise Refused("the objective is not proven to so many digits")
    near = [(unit * max(ONE, it)).low for it in tokens]
    ranges = [_range(proof, k, it) for k, it in enumerate(near)] if proves_tokens else None
    try:
        whole = None if integer is None else _whole(proof, integer, digits)
    except Refused as error:
        raise Refused(f"integer: {error}") from None
    return Proven(digits, proof, optimum, ranges, whole)


def _range(proof: Proof, k: int, near: Decimal) -> Interval:
    """Return the tokens of a type so near to the point that are in its box, or raise `Refused`."""
    count, lower, upper = proof.tokens[k], proof.lower[k], proof.instance.types[k].upper
    low, high = ROUND.up.subtract(count, near), ROUND.down.add(count, near)
    is_proven = (low < lower or proof.excludes(k, low)) and (
        high > upper or proof.excludes(k, high)
    )
    if not is_proven:
        raise Refused(f"tokens[{k}] are not proven to so many digits")
    return Interval(max(low, lower), min(high, upper))


def report(found: Proven) -> Iterator[str]:
    """Return what is proven, in lines; what lies between two numbers, between the brackets."""
    digits, proof = found.digits, found.proof
    point, unit = proof.point, Decimal((0, (1,), -found.digits))
    yield f"accepted: the optimum is proven to {digits} digits"
    yield f"optimal objective in {_shown(found.objective, digits)} s"
    yield "at the point of the record:"
    yield f"  mean service time {_shown(point.mean, digits)} s"
    yield f"  mean waiting time {_shown(point.waiting, digits)} s"
    yield f"  mean system time {_shown(point.time, digits)} s"
    yield f"  price of mean service time {_shown(point.prices[0], digits)}"
    yield f"  price of the second moment {_shown(point.prices[1], digits)} per s"
    for k, price in enumerate(proof.multipliers):
        excess = proof.excesses[k]
        size = proof.instance.couplings[k].size(point)
        side = "active" if (excess + unit * size).high >= NOUGHT else "slack"
        yield f"  multiplier {k} {_rounded(price, digits)}, {side}, excess {_shown(excess, 3)}"
    yield "optimal tokens:" if found.tokens else "tokens of the point, not proven to be the only:"
    for k, kind in enumerate(proof.instance.types):
        tokens = found.tokens[k] if found.tokens else of(proof.tokens[k])
        yield f"  {_name(kind, k)} {_shown(tokens, digits)}{_where(proof, k)}"
    if found.whole:
        yield f"optimal objective in whole tokens in {_shown(found.whole.objective, digits)} s"
        yield f"whole tokens that have it, to the digits, by {found.whole.leaves} leaves:"
        for k, (kind, whole) in enumerate(
            zip(proof.instance.types, found.whole.tokens, strict=True)
        ):
            yield f"  {_name(kind, k)} {whole}"


def _name(kind: TaskType, k: int) -> str:
    return printable(kind.name or f"type {k}")


def _where(proof: Proof, k: int) -> str:
    """Return at which bound the point has the tokens of a type, and how it is held there.

    The optimum may be elsewhere within the digits.
    """
    (left, right), count, kind = proof.gradients[k], proof.tokens[k], proof.instance.types[k]
    if proof.lower[k] == kind.upper:
        return ", fixed"
    if count == proof.lower[k]:
        which = "accuracy floor" if count > kind.lower else "lower bound"
        is_strict = right.high < NOUGHT
    elif count == kind.upper:
        which, is_strict = "upper bound", left.low > NOUGHT
    else:
        return ""
    return f"; the point is at its {which}, {'strictly' if is_strict else 'not strictly'}"


def printable(text: str) -> str:
    """Return a text in which what a terminal would obey is escaped."""
    return "".join(it if it.isprintable() else ascii(it)[1:-1] for it in text)


def _shown(interval: Interval, digits: int) -> str:
    low, high = (
        _rounded(end, digits + 1, rounding)
        for end, rounding in ((interval.low, ROUND_FLOOR), (interval.high, ROUND_CEILING))
    )
    return low if low == high else f"[{low}, {high}]"


def _rounded(value: Decimal, digits: int, rounding: str = ROUND_HALF_EVEN) -> str:
    context = Context(digits, rounding, Emin=MIN_EMIN, Emax=MAX_EMAX, capitals=1, traps=[])
    # Not by str, which writes exponents as the surroundings have them.
    return context.to_sci_string(context.create_decimal(value))


def main(arguments: Sequence[str]) -> int:
    """Verify the record of the one argument; return the exit status."""
    status, said = 0, ""
    if len(arguments) != 1:
        status, said = 2, "usage: python -I -S verify.py RECORD"
    else:
        try:
            _write(1, "\n".join(report(verify(read(arguments[0])))))
        except Unreadable as error:
            status, said = 2, f"unreadable: {printable(str(error))}"
        except Refused as error:
            status, said = 1, f"refused: {error}"
        except BrokenPipeError:
            # Whoever read it has left.
            pass
        except OSError as error:
            status, said = 2, f"accepted, but standard output cannot be written: {error.strerror}"
    if said:
        with suppress(OSError):
            _write(2, said)
    return status


def _write(number: int, text: str) -> None:
    """Write on an open file by its number, all of it: what streams keep may fail at the end."""
    with open(number, "wb", closefd=False) as stream:
        stream.write(f"{text}\n".encode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
