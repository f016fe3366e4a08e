"""The proof of a record anew in balls: python-flint, and nothing of the verifier.

No slope is written down: the Lagrangian is a power series in the tokens of one type, whose second
coefficient is its derivative. At a kink there is one series for each side.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import flint
import numpy as np

import cvxqueue as cq
from tests.exact_curve import corners, value

_BITS = 1000


def ball(value: Any) -> Any:
    """Return an exact number, or a decimal text, as a ball of a thousand bits."""
    exact = value if isinstance(value, Fraction) else Fraction(Decimal(value))
    return flint.arb(flint.fmpq(exact.numerator, exact.denominator))


def _series(start: Any, slope: Any) -> Any:
    return flint.arb_series([start, slope], 2)


class _Type:
    """What a type has, at exact tokens."""

    def __init__(self, instance: cq.Instance, k: int, tokens: Fraction) -> None:
        def of(owner: Any, name: str, place: int = k) -> Any:
            values = np.ravel(getattr(owner, name)).tolist()
            return ball(values[place if len(values) > 1 else 0])

        self.tokens, self.law = tokens, instance.service
        self.share, self.importance = of(instance, "probabilities"), of(instance, "importance")
        self.base, self.per_token = of(self.law, "base"), of(self.law, "per_token")
        is_quadratic = isinstance(self.law, cq.QuadraticService)
        self.bend = of(self.law, "per_squared_token") if is_quadratic else ball(0)
        self.spread = ball(0) if is_quadratic else of(self.law, "token_scv")
        curve, place = instance.accuracy, k
        if isinstance(curve, cq.MixedAccuracy):
            which = curve.which.tolist()
            curve, place = curve.curves[which[k]], which[:k].count(which[k])
        self.curve, self.corners = curve, []
        if isinstance(curve, cq.PiecewiseLinear):
            rows = np.atleast_2d(curve.tokens), np.atleast_2d(curve.accuracy)
            points = [row[place if len(row) > 1 else 0] for row in rows]
            known = ~np.isnan(points[0])
            self.corners = corners(*(row[known].tolist() for row in points))
        else:
            names = ("floor", "gain", "rate", "scale", "exponent", "half_saturation")
            self.data = {it: of(curve, it, place) for it in names if hasattr(curve, it)}

    def accuracy(self, tokens: Fraction, slope: int = 0, *, is_left: bool = False) -> Any:
        """Return p as a series in what is added to the tokens, times a number."""
        at = _series(ball(tokens), ball(slope))
        if self.corners:
            ends = [x for x, _ in self.corners[1:]]
            place = sum(x < tokens or (x == tokens and not is_left) for x in ends)
            start, height = self.corners[place]
            rise = ball(0)
            if place < len(ends):
                far, top = self.corners[place + 1]
                rise = ball((top - height) / (far - start))
            return (at - ball(start)) * rise + ball(height)
        floor, gain = self.data["floor"], self.data["gain"]
        if isinstance(self.curve, cq.SaturatingExponential):
            missing = (-at * self.data["rate"]).exp()
        elif isinstance(self.curve, cq.PowerLaw):
            missing = (-(at / self.data["scale"] + 1).log() * self.data["exponent"]).exp()
        else:
            half = self.data["half_saturation"]
            missing = half / (at + half)
        return floor + gain * (1 - missing)

    def surplus(self, tokens: Fraction, floor: Fraction) -> Any:
        """Return p less a floor, of straight pieces as a rational number."""
        if self.corners:
            return value(self.corners, tokens) - floor
        return self.accuracy(tokens)[0] - ball(floor)

    def moments(self, slope: int = 0) -> tuple[Any, Any]:
        """Return E[t] and E[t²] as series."""
        at = _series(ball(self.tokens), ball(slope))
        time = self.base + at * self.per_token + at * at * self.bend
        return time, time * time + at * at * (self.spread * self.per_token * self.per_token)


def confirm(record: Mapping[str, Any], digits: int = 30) -> None:
    """Prove what a record claims of the objective, and of the tokens; raise if that fails."""
    before = flint.ctx.prec
    flint.ctx.prec = _BITS
    try:
        _Balls(record).confirm(digits)
    finally:
        flint.ctx.prec = before


class _Balls:
    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = record
        self.given = given = cq.from_dict(record["instance"])
        tokens = [Fraction(Decimal(text)) for text in record["tokens"]]
        self.types = [_Type(given, k, count) for k, count in enumerate(tokens)]
        self.prices = [ball(text) for text in record["multipliers"]]
        self.limits = [it for it in given.constraints if not isinstance(it, cq.MinAccuracy)]
        self.rate, self.weight = ball(given.arrival_rate), ball(given.accuracy_weight)
        self.moments = [it.moments() for it in self.types]
        self.accuracies = [it.accuracy(it.tokens) for it in self.types]
        self.lows = [self._low(k) for k in range(given.size)]
        self.highs = [Fraction(float(it)) for it in given.max_tokens]

    def _low(self, k: int) -> Fraction:
        """The least tokens of a type: none below reaches its accuracy floor."""
        low = Fraction(float(self.given.min_tokens[k]))
        name = self.given.names[k] if self.given.names else k
        floors = [
            float(np.broadcast_to(it.accuracy, self.given.size)[k])
            for it in self.given.constraints
            if isinstance(it, cq.MinAccuracy) and it.type in (None, k, name)
        ]
        one, floor = self.types[k], Fraction(max(floors, default=0.0))
        assert one.surplus(one.tokens, floor) >= 0
        least = (self.record["least_tokens"] or [None] * self.given.size)[k]
        if least is None:
            return low
        assert one.surplus(Fraction(Decimal(least)), floor) <= 0
        assert one.accuracy(Fraction(Decimal(least)), 1, is_left=True)[1] > 0
        return max(low, Fraction(Decimal(least)))

    def _waiting(self, mean: Any, second: Any) -> Any:
        queue, rate = self.given.queue, self.rate
        idle = 1 - mean * rate
        if isinstance(queue, cq.ProcessorSharing):
            return mean / idle - mean
        waiting = second * rate / (idle * 2)
        if isinstance(queue, cq.BatchArrivals):
            size = ball(queue.mean_size)
            return waiting + mean * (ball(queue.size_second_moment) / size - 1) / (idle * 2)
        if isinstance(queue, cq.FIFO):
            return waiting
        assert isinstance(queue, cq.Vacations | cq.Setups)
        first, square = ball(queue.mean), ball(queue.second_moment)
        if isinstance(queue, cq.Vacations):
            return waiting + square / (2 * first)
        return waiting + (2 * first + rate * square) / (2 * (1 + rate * first))

    def terms(self, k: int, *, is_left: bool = False) -> tuple[Any, Any, list[Any]]:
        """Return benefit, mean system time and the constraints, as series in the tokens of k."""
        one = self.types[k]
        moments, accuracies = list(self.moments), list(self.accuracies)
        moments[k] = one.moments(1)
        accuracies[k] = one.accuracy(one.tokens, 1, is_left=is_left)
        mean, second = (
            sum(it.share * both[i] for it, both in zip(self.types, moments, strict=True))
            for i in (0, 1)
        )
        assert 1 - (mean * self.rate)[0] > 0
        waiting = self._waiting(mean, second)
        pairs = list(zip(self.types, accuracies, strict=True))
        benefit = self.weight * sum(it.share * it.importance * p for it, p in pairs)
        excesses = []
        for limit in self.limits:
            if isinstance(limit, cq.MaxMeanSystemTime):
                excess = mean + waiting - ball(limit.seconds)
            elif isinstance(limit, cq.MaxMeanWaitingTime):
                excess = waiting - ball(limit.seconds)
            elif isinstance(limit, cq.MaxTokenRate):
                count = sum(it.share * ball(it.tokens) for it in self.types)
                excess = _series(count - ball(limit.tokens_per_second) / self.rate, one.share)
            elif isinstance(limit, cq.MinMeanAccuracy):
                excess = ball(limit.accuracy) - sum(it.share * p for it, p in pairs)
            else:
                assert isinstance(limit, cq.WaitingTimeTail)
                theta = -ball(limit.probability).log() / ball(limit.seconds)
                rises = ((time * theta).exp() - 1 for time, _ in moments)
                powers = sum(it.share * r for it, r in zip(self.types, rises, strict=True))
                excess = powers * self.rate / theta - 1
            excesses.append(excess)
        return benefit, mean + waiting, excesses

    def confirm(self, digits: int) -> None:
        benefit, time, excesses = self.terms(0)
        objective, scale = (benefit - time)[0], (benefit + time)[0]
        bound = objective
        for price, excess in zip(self.prices, excesses, strict=True):
            assert price >= 0
            assert excess[0] <= 0
            bound -= price * excess[0]
        slopes = [
            [self._slope(k, is_left=side) for side in (True, False)] for k in range(len(self.types))
        ]
        gains = []
        for k, (left, right) in enumerate(slopes):
            count = self.types[k].tokens
            assert self.lows[k] <= count <= self.highs[k]
            rises = right * ball(self.highs[k] - count), left * ball(self.lows[k] - count)
            gains.append(max(ball(0), *(flint.arb(it.upper()) for it in rises)))
        most = bound + sum(gains)
        unit, claim = ball(10) ** -digits, ball(self.record["objective"])
        assert abs(objective - claim) <= unit * scale
        assert abs(most - claim) <= unit * scale
        if self.record["proves"]["tokens"]:
            for k in range(len(self.types)):
                self._confirm_tokens(k, slopes[k][1], most - gains[k], objective, digits)

    def _slope(self, k: int, *, is_left: bool) -> Any:
        benefit, time, excesses = self.terms(k, is_left=is_left)
        found = (benefit - time)[1]
        for price, excess in zip(self.prices, excesses, strict=True):
            found -= price * excess[1]
        return found

    def _confirm_tokens(self, k: int, slope: Any, others: Any, objective: Any, digits: int) -> None:
        """No optimum has its tokens of a type further away than the digits."""
        it = self.types[k]
        worth = self.weight * it.importance + sum(
            price
            for price, limit in zip(self.prices, self.limits, strict=True)
            if isinstance(limit, cq.MinMeanAccuracy)
        )
        cost = worth * it.share * it.accuracy(it.tokens, 1)[1] - slope
        shares = sum(it.share for it in self.types)
        second = sum(
            it.share * both[1][0] for it, both in zip(self.types, self.moments, strict=True)
        )
        is_shared = isinstance(self.given.queue, cq.ProcessorSharing)
        bend = 0 if is_shared else self.rate / (4 * (1 + self.rate * self.rate * second * shares))
        for sign in (-1, 1):
            away = sign * max(Fraction(1), it.tokens) / 10**digits
            if not self.lows[k] <= it.tokens + away <= self.highs[k]:
                continue
            rise = it.accuracy(it.tokens + away)[0] - self.accuracies[k][0]
            curved = bend * it.share * (it.per_token * ball(away)) ** 2
            assert others + worth * it.share * rise - cost * ball(away) - curved < objective
