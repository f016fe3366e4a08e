"""The model in sixty digits, written from its formulas: `decimal`, and nothing of the package.

Every float64 is taken for the number that it denotes. What the package claims is compared with
what this arithmetic finds, so the two share no line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, DivisionByZero, InvalidOperation
from decimal import localcontext as _localcontext
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

from tests.exact_curve import corners

__all__ = ["DIGITS", "Curve", "Law", "Point", "Problem", "Queue", "TaskType", "digits"]

DIGITS = 60
_ZERO, _ONE, _TWO = Decimal(0), Decimal(1), Decimal(2)
# Below this an exponential less one is a short sum, and a difference would lose digits.
_SMALL = Decimal("1e-6")


@contextmanager
def digits(count: int) -> Iterator[None]:
    """Compute with so many digits, and exponents without bounds that matter."""
    traps = [InvalidOperation, DivisionByZero]
    with _localcontext(Context(prec=count, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=traps)):
        yield


def expm1(x: Decimal) -> Decimal:
    """Return exp(x) − 1."""
    if abs(x) >= _SMALL:
        return x.exp() - 1
    term = total = x
    for place in range(2, 14):
        term = term * x / place
        total += term
    return total


def log1p(x: Decimal) -> Decimal:
    """Return ln(1 + x)."""
    if abs(x) >= _SMALL:
        return (1 + x).ln()
    power = total = x
    for place in range(2, 14):
        power = -power * x
        total += power / place
    return total


class Curve(Protocol):
    """An accuracy curve of one type."""

    corners: tuple[Decimal, ...]

    def value(self, tokens: Decimal) -> Decimal:
        """P."""

    def slopes(self, tokens: Decimal) -> tuple[Decimal, Decimal]:
        """p′, from the right at a corner, and p″."""

    def best(self, price: Decimal) -> Decimal:
        """Tokens, of either sign, that maximise p(v) − price · v, for a price > 0."""


@dataclass(frozen=True)
class Exponential:
    """floor + gain (1 − exp(−rate l))."""

    floor: Decimal
    gain: Decimal
    rate: Decimal
    corners = ()

    def value(self, tokens: Decimal) -> Decimal:
        return self.floor - self.gain * expm1(-self.rate * tokens)

    def slopes(self, tokens: Decimal) -> tuple[Decimal, Decimal]:
        slope = self.gain * self.rate * (-self.rate * tokens).exp()
        return slope, -self.rate * slope

    def best(self, price: Decimal) -> Decimal:
        if self.gain == 0:
            return Decimal(-1)
        return (self.gain * self.rate / price).ln() / self.rate

    def inverse(self, value: Decimal) -> Decimal:
        """Tokens at which the curve has a value below its ceiling."""
        return -log1p(-(value - self.floor) / self.gain) / self.rate


@dataclass(frozen=True)
class Power:
    """floor + gain (1 − (1 + l/scale)^(−exponent))."""

    floor: Decimal
    gain: Decimal
    scale: Decimal
    exponent: Decimal
    corners = ()

    def value(self, tokens: Decimal) -> Decimal:
        if self.exponent == 1:
            return self.floor + self.gain * tokens / (tokens + self.scale)
        return self.floor - self.gain * expm1(-self.exponent * log1p(tokens / self.scale))

    def slopes(self, tokens: Decimal) -> tuple[Decimal, Decimal]:
        base = self.scale / (self.scale + tokens)
        power = base * base if self.exponent == 1 else ((self.exponent + 1) * base.ln()).exp()
        slope = self.gain * self.exponent / self.scale * power
        return slope, -(self.exponent + 1) / (self.scale + tokens) * slope

    def best(self, price: Decimal) -> Decimal:
        if self.gain == 0:
            return Decimal(-1)
        ratio = self.gain * self.exponent / (self.scale * price)
        if self.exponent == 1:
            return self.scale * (ratio.sqrt() - 1)
        return self.scale * ((ratio.ln() / (self.exponent + 1)).exp() - 1)

    def inverse(self, value: Decimal) -> Decimal:
        """Tokens at which the curve has a value below its ceiling."""
        return self.scale * expm1(-log1p(-(value - self.floor) / self.gain) / self.exponent)


class Points:
    """The curve through measured points, as `tests.exact_curve` says it in rationals."""

    def __init__(self, tokens: Sequence[float], accuracy: Sequence[float]) -> None:
        hull = corners(tokens, accuracy)
        self.corners = tuple(decimal(x) for x, _ in hull)
        self.heights = tuple(decimal(height) for _, height in hull)
        rises = (decimal((b[1] - a[1]) / (b[0] - a[0])) for a, b in pairwise(hull))
        self.rises = (*rises, _ZERO)

    def lines(self) -> Iterator[tuple[Decimal, Decimal, Decimal]]:
        """A point of each piece, its height and its slope: the curve is the least of them."""
        yield from zip(self.corners, self.heights, self.rises, strict=True)

    def _piece(self, tokens: Decimal) -> int:
        """The last piece that begins at or before the tokens."""
        place = len(self.corners) - 1
        while place and self.corners[place] > tokens:
            place -= 1
        return place

    def value(self, tokens: Decimal) -> Decimal:
        place = self._piece(tokens)
        return self.heights[place] + self.rises[place] * (tokens - self.corners[place])

    def slopes(self, tokens: Decimal) -> tuple[Decimal, Decimal]:
        return self.rises[self._piece(tokens)], _ZERO

    def best(self, price: Decimal) -> Decimal:
        if self.rises[0] <= price:
            return Decimal(-1)
        return next(x for x, rise in zip(self.corners, self.rises, strict=True) if rise <= price)

    def inverse(self, value: Decimal) -> Decimal:
        """Least tokens, of either sign, at which the curve has a value, below its ceiling."""
        for place in range(len(self.corners) - 1):
            if value <= self.heights[place + 1]:
                break
        return self.corners[place] + (value - self.heights[place]) / self.rises[place]


def decimal(number: Fraction) -> Decimal:
    """Return a fraction rounded to the digits that are computed with."""
    return Decimal(number.numerator) / Decimal(number.denominator)


@dataclass(frozen=True)
class Law:
    """Service time base + per_token l + per_squared l², use random with a coefficient `scv`."""

    base: Decimal
    per_token: Decimal
    per_squared: Decimal = _ZERO
    scv: Decimal = _ZERO

    def mean(self, tokens: Decimal) -> tuple[Decimal, Decimal, Decimal]:
        """t, t′ and t″."""
        rise = self.per_squared * tokens
        slope = self.per_token + rise + rise
        time = self.base + (self.per_token + rise) * tokens
        return time, slope, self.per_squared + self.per_squared

    def moments(self, tokens: Decimal) -> tuple[Decimal, ...]:
        """t, E t² and their first and second derivatives: (t, s, t′, s′, t″, s″)."""
        time, slope, bend = self.mean(tokens)
        noise = self.scv * self.per_token * self.per_token
        return (
            time,
            time * time + noise * tokens * tokens,
            slope,
            _TWO * (time * slope + noise * tokens),
            bend,
            _TWO * (slope * slope + time * bend + noise),
        )


@dataclass(frozen=True)
class Queue:
    """T = own m1 + (mean m1 + second λ m2/2)/(1 − ρ) + constant."""

    own: Decimal
    mean: Decimal
    second: Decimal
    constant: Decimal

    @classmethod
    def of(cls, data: Mapping[str, Any], rate: Decimal) -> Queue:
        """Read a queue from its class and arguments."""
        kind = data["kind"]
        if kind == "ProcessorSharing":
            return cls(_ZERO, _ONE, _ZERO, _ZERO)
        mean = constant = _ZERO
        if kind == "BatchArrivals":
            size, square = Decimal(data["mean_size"]), Decimal(data["size_second_moment"])
            mean = (square / size - 1) / 2
        elif kind == "Vacations":
            constant = Decimal(data["second_moment"]) / (2 * Decimal(data["mean"]))
        elif kind == "Setups":
            first, square = Decimal(data["mean"]), Decimal(data["second_moment"])
            constant = (2 * first + rate * square) / (2 * (1 + rate * first))
        elif kind != "FIFO":
            raise ValueError(kind)
        return cls(_ONE, mean, _ONE, constant)


@dataclass(frozen=True)
class TaskType:
    """One type."""

    share: Decimal
    low: Decimal
    high: Decimal
    worth: Decimal
    """Seconds that its accuracy is worth to one of its own queries: α w."""
    law: Law
    curve: Any


@dataclass(frozen=True)
class Point:
    """What tokens do; stable, so that all of it is finite."""

    tokens: tuple[Decimal, ...]
    accuracies: tuple[Decimal, ...]
    moments: tuple[tuple[Decimal, ...], ...]
    m1: Decimal
    m2: Decimal
    idle: Decimal
    time: Decimal
    benefit: Decimal
    prices: tuple[Decimal, Decimal]
    added: Decimal
    """What the box adds to the benefit."""

    @property
    def objective(self) -> Decimal:
        """J."""
        return self.benefit - self.time

    @property
    def scale(self) -> Decimal:
        """What gaps are relative to."""
        return max(self.benefit + self.time, self.added / 100)

    @property
    def waiting(self) -> Decimal:
        """W."""
        return self.time - self.m1


@dataclass(frozen=True)
class Problem:
    """An instance without constraints on all types together."""

    rate: Decimal
    queue: Queue
    types: tuple[TaskType, ...]

    @classmethod
    def of(cls, family: Any) -> Problem:
        """Read the plain numbers of `tests.families.Family`, in the digits of the context."""
        rate, weight = Decimal(family.arrival_rate), Decimal(family.accuracy_weight)
        types = tuple(
            TaskType(
                Decimal(row["probability"]),
                Decimal(row["min_tokens"]),
                Decimal(row["max_tokens"]),
                weight * Decimal(row["importance"]),
                _law(row["service"]),
                _curve(row["accuracy"]),
            )
            for row in family.types
        )
        return cls(rate, Queue.of(family.queue, rate), types)

    def boxed(self, lows: Sequence[Decimal], highs: Sequence[Decimal]) -> Problem:
        """Return it with another box."""
        pairs = zip(self.types, lows, highs, strict=True)
        return replace(self, types=tuple(replace(k, low=a, high=b) for k, a, b in pairs))

    def least_idle(self) -> Decimal:
        """1 − ρ at the least tokens: some allocation is stable iff this is positive."""
        return 1 - self.rate * sum(k.share * k.law.mean(k.low)[0] for k in self.types)

    @cached_property
    def added(self) -> Decimal:
        """What the box adds to the benefit."""
        rises = (
            k.share * k.worth * (k.curve.value(k.high) - k.curve.value(k.low)) for k in self.types
        )
        return sum(rises, _ZERO)

    def at(self, tokens: Sequence[Decimal]) -> Point | None:
        """Return what tokens do, or ``None`` where they are not stable."""
        tokens = tuple(tokens)
        moments = tuple(k.law.moments(v) for k, v in zip(self.types, tokens, strict=True))
        shares = [k.share for k in self.types]
        m1 = sum((pi * m[0] for pi, m in zip(shares, moments, strict=True)), _ZERO)
        m2 = sum((pi * m[1] for pi, m in zip(shares, moments, strict=True)), _ZERO)
        idle = 1 - self.rate * m1
        if idle <= 0:
            return None
        accuracies = tuple(k.curve.value(v) for k, v in zip(self.types, tokens, strict=True))
        benefit = sum(
            (k.share * k.worth * p for k, p in zip(self.types, accuracies, strict=True)), _ZERO
        )
        queue = self.queue
        work = queue.mean * m1 + queue.second * self.rate * m2 / 2
        time = queue.own * m1 + work / idle + queue.constant
        prices = self.prices(m2, idle)
        return Point(tokens, accuracies, moments, m1, m2, idle, time, benefit, prices, self.added)

    def prices(self, m2: Decimal, idle: Decimal) -> tuple[Decimal, Decimal]:
        """∂T/∂m1 and ∂T/∂m2."""
        queue = self.queue
        bend = queue.mean + queue.second * self.rate * self.rate * m2 / 2
        return queue.own + bend / (idle * idle), queue.second * self.rate / (2 * idle)


def _law(row: Mapping[str, float]) -> Law:
    base, slope = Decimal(row["base"]), Decimal(row["per_token"])
    squared, scv = row.get("per_squared_token", 0.0), row.get("token_scv", 0.0)
    return Law(base, slope, Decimal(squared), Decimal(scv))


def _curve(row: Mapping[str, Any]) -> Any:
    if row["kind"] == "points":
        return Points(row["tokens"], row["accuracy"])
    floor, gain = Decimal(row["floor"]), Decimal(row["gain"])
    if row["kind"] == "exponential":
        return Exponential(floor, gain, Decimal(row["rate"]))
    if row["kind"] == "michaelis":
        return Power(floor, gain, Decimal(row["half_saturation"]), _ONE)
    return Power(floor, gain, Decimal(row["scale"]), Decimal(row["exponent"]))
