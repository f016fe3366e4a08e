"""The model in sixty digits, of the binary floating point data; smooth curves, and nothing shared.

Only formulas that DESIGN.md's section 2 writes down: no difference is avoided, because sixty
digits have room for all that cancel.
"""

from __future__ import annotations

from typing import Any

from mpmath import mp, mpf

import cvxqueue as cq

DIGITS = 60


def number(value: Any) -> mpf:
    return mpf(float(value))


def numbers(values: Any) -> list[mpf]:
    return [number(value) for value in values]


class ExactModel:
    """One instance, whose curves are of one class with a floor, a gain and a tail."""

    def __init__(self, instance: cq.Instance) -> None:
        queue, law, curve = (instance.queue, instance.service, instance.accuracy)
        self.rate = number(instance.arrival_rate)
        weight = number(instance.accuracy_weight)
        self.worth = [weight * number(w) for w in instance.importance]
        self.mix = numbers(instance.probabilities)
        self.lower, self.upper = numbers(instance.lower), numbers(instance.upper)
        data: Any = law
        self.base, self.per_token = numbers(data.base), numbers(data.per_token)
        self.is_quadratic = isinstance(law, cq.QuadraticService)
        name = "per_squared_token" if self.is_quadratic else "token_scv"
        self.extra = numbers(getattr(law, name))
        tail: Any = curve
        self.floor, self.gain = numbers(tail.floor), numbers(tail.gain)
        self.is_exponential = isinstance(curve, cq.SaturatingExponential)
        if isinstance(curve, cq.MichaelisMenten):
            self.scale, self.power = numbers(curve.half_saturation), [mpf(1)] * len(self.mix)
        elif isinstance(curve, cq.PowerLaw):
            self.scale, self.power = numbers(curve.scale), numbers(curve.exponent)
        else:
            self.scale = [1 / r for r in numbers(tail.rate)]
        self.by_mean, self.by_load, self.by_second = mpf(0), mpf(0), mpf(1)
        if isinstance(queue, cq.ProcessorSharing):
            self.by_load, self.by_second = mpf(1), mpf(0)
        if isinstance(queue, cq.BatchArrivals):
            ratio = number(queue.size_second_moment) / number(queue.mean_size)
            self.by_mean = (ratio - 1) / 2

    def accuracy(self, k: int, tokens: mpf) -> mpf:
        share = tokens / self.scale[k]
        missed = mp.exp(-share) if self.is_exponential else (1 + share) ** -self.power[k]
        return self.floor[k] + self.gain[k] * (1 - missed)

    def inverse_slope(self, k: int, slope: mpf) -> mpf:
        if self.gain[k] == 0:
            return mpf(-1)
        if self.is_exponential:
            return self.scale[k] * mp.log(self.gain[k] / (self.scale[k] * slope))
        ratio = self.gain[k] * self.power[k] / (self.scale[k] * slope)
        return self.scale[k] * (ratio ** (1 / (self.power[k] + 1)) - 1)

    def slope(self, k: int, tokens: mpf) -> mpf:
        return self.per_token[k] + (2 * self.extra[k] * tokens if self.is_quadratic else 0)

    def moments(self, tokens: list[mpf]) -> tuple[mpf, mpf]:
        first = second = mpf(0)
        for k, count in enumerate(tokens):
            thinking = self.per_token[k] * count
            time, spread = self.base[k] + thinking, self.extra[k] * thinking**2
            if self.is_quadratic:
                time, spread = time + self.extra[k] * count**2, mpf(0)
            first += self.mix[k] * time
            second += self.mix[k] * (time**2 + spread)
        return first, second

    def idle(self, tokens: list[mpf]) -> mpf:
        return 1 - self.rate * self.moments(tokens)[0]

    def objective(self, tokens: list[mpf]) -> mpf:
        first, second = self.moments(tokens)
        load = self.rate * first
        queued = (self.by_mean + self.by_load * load) * first
        time = first + (queued + self.by_second * self.rate * second / 2) / (1 - load)
        pairs = zip(self.mix, self.worth, strict=True)
        worth = [a * w * self.accuracy(k, tokens[k]) for k, (a, w) in enumerate(pairs)]
        return sum(worth) - time

    def marginal_costs(self, tokens: list[mpf]) -> list[mpf]:
        first, second = self.moments(tokens)
        idle = 1 - self.rate * first
        # T = m1 + (β m1 + δ λ m1² + ω λ m2/2)/y, differentiated as it stands.
        queued = self.by_mean * first + self.by_load * self.rate * first**2
        queued += self.by_second * self.rate * second / 2
        by_first = 1 + (self.by_mean + 2 * self.by_load * self.rate * first) / idle
        by_first += queued * self.rate / idle**2
        by_second = self.by_second * self.rate / (2 * idle)
        costs = []
        for k, count in enumerate(tokens):
            slope, spread = self.per_token[k], self.extra[k] * self.per_token[k] ** 2 * count
            time = self.base[k] + slope * count
            if self.is_quadratic:
                time += self.extra[k] * count**2
                slope, spread = slope + 2 * self.extra[k] * count, mpf(0)
            costs.append(by_first * slope + by_second * 2 * (time * slope + spread))
        return costs

    def bound(self, tokens: list[mpf]) -> mpf:
        """Return the separable bound on the optimum."""
        found = self.objective(tokens)
        for k, cost in enumerate(self.marginal_costs(tokens)):
            best = self.inverse_slope(k, cost / self.worth[k])
            best = min(max(best, self.lower[k]), self.upper[k])
            gain = self.worth[k] * (self.accuracy(k, best) - self.accuracy(k, tokens[k]))
            found += self.mix[k] * (gain - cost * (best - tokens[k]))
        return found
