"""Coupling constraints in sixty digits: values, slopes, and the bound that multipliers prove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.campaign.exact import Point, Problem, expm1
from tests.campaign.optimum import gain

__all__ = ["Coupling", "bound", "couplings_of", "cut", "floors_of"]

_ZERO, _ONE = Decimal(0), Decimal(1)


@dataclass(frozen=True)
class Coupling:
    """A constraint c(l) ≤ 0, as what it weighs: T, W, −Σ π p, λ Σ π l, Σ π exp(θ t) or ρ."""

    kind: str
    limit: Decimal
    """Of the weighed quantity, in units of `size`."""
    decay: Decimal = _ZERO
    """θ of the tail."""

    def value(self, problem: Problem, point: Point) -> Decimal:
        """What is weighed less its limit."""
        if self.kind == "time":
            return point.time - self.limit
        if self.kind == "waiting":
            return point.waiting - self.limit
        pairs = list(zip(problem.types, point.tokens, strict=True))
        if self.kind == "accuracy":
            both = zip(problem.types, point.accuracies, strict=True)
            return self.limit - sum((k.share * p for k, p in both), _ZERO)
        if self.kind == "tokens":
            return problem.rate * sum((k.share * v for k, v in pairs), _ZERO) - self.limit
        if self.kind == "tail":
            times = (moments[0] for moments in point.moments)
            both = zip(problem.types, times, strict=True)
            # Mixes that miss one by rounding count as one.
            return sum((k.share * expm1(self.decay * t) for k, t in both), _ZERO) - self.limit
        return -point.idle

    @property
    def size(self) -> Decimal:
        """What the constraint is relative to."""
        return self.limit


def couplings_of(problem: Problem, constraints: Sequence[Mapping[str, Any]]) -> list[Coupling]:
    """Read the constraints on all types together."""
    found = []
    for data in constraints:
        kind = data["kind"]
        if kind == "MaxMeanSystemTime":
            found.append(Coupling("time", Decimal(data["seconds"])))
        elif kind == "MaxMeanWaitingTime":
            found.append(Coupling("waiting", Decimal(data["seconds"])))
        elif kind == "MinMeanAccuracy":
            found.append(Coupling("accuracy", Decimal(data["accuracy"])))
        elif kind == "MaxTokenRate":
            found.append(Coupling("tokens", Decimal(data["tokens_per_second"])))
        elif kind == "WaitingTimeTail":
            decay = -Decimal(data["probability"]).ln() / Decimal(data["seconds"])
            found.append(Coupling("tail", decay / problem.rate, decay))
    return found


def floors_of(problem: Problem, constraints: Sequence[Mapping[str, Any]]) -> list[Decimal]:
    """The floor on the accuracy of each type, zero where there is none."""
    floors = [_ZERO] * len(problem.types)
    for data in constraints:
        if data["kind"] == "MinAccuracy":
            floors[data["type"]] = max(floors[data["type"]], Decimal(data["accuracy"]))
    return floors


def cut(problem: Problem, floors: Sequence[Decimal]) -> Problem | None:
    """The problem in the box that floors of single types leave, or ``None``: they leave nothing."""
    lows = []
    for k, floor in zip(problem.types, floors, strict=True):
        if k.curve.value(k.low) >= floor:
            lows.append(k.low)
        elif k.curve.value(k.high) < floor:
            return None
        else:
            lows.append(min(max(k.low, k.curve.inverse(floor)), k.high))
    return problem.boxed(lows, [k.high for k in problem.types])


def bound(
    problem: Problem,
    point: Point,
    couplings: Sequence[Coupling],
    multipliers: Sequence[Decimal],
    of_objective: Decimal = _ONE,
) -> Decimal:
    """Return an upper bound on of_objective · J − Σ μ c over the box, whatever the multipliers ≥ 0.

    The convex parts are replaced by their tangents at the point; the rest is best type by type.
    Wherever the constraints hold, of_objective · J is below it.
    """
    p1, p2 = point.prices
    total = of_objective * point.objective
    of_time = of_objective
    of_waiting = of_accuracy = of_tokens = of_load = _ZERO
    tails: list[tuple[Decimal, Decimal]] = []
    for coupling, multiplier in zip(couplings, multipliers, strict=True):
        total -= multiplier * coupling.value(problem, point)
        if coupling.kind == "time":
            of_time += multiplier
        elif coupling.kind == "waiting":
            of_waiting += multiplier
        elif coupling.kind == "accuracy":
            of_accuracy += multiplier
        elif coupling.kind == "tokens":
            of_tokens += multiplier
        elif coupling.kind == "tail":
            tails.append((multiplier * coupling.decay, coupling.decay))
        else:
            of_load += multiplier
    first = of_time * p1 + of_waiting * (p1 - 1) + of_load * problem.rate
    second = (of_time + of_waiting) * p2
    for k, v, p, moments in zip(
        problem.types, point.tokens, point.accuracies, point.moments, strict=True
    ):
        cost = first * moments[2] + second * moments[3] + of_tokens * problem.rate
        for weight, decay in tails:
            cost += weight * (decay * moments[0]).exp() * moments[2]
        worth = of_objective * k.worth + of_accuracy
        total += k.share * gain(k, v, p, worth, cost)
    return total
