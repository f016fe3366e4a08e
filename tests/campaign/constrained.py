"""Instances with constraints: limits that bind, that do not, and that only just do."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

import cvxqueue as cq
from tests.campaign.asked import ask
from tests.campaign.barrier import constrained_optimum
from tests.campaign.claims import Truth, built
from tests.campaign.constraints import floors_of
from tests.campaign.exact import DIGITS, Point, Problem, digits
from tests.campaign.hostile import draw, log_uniform
from tests.campaign.optimum import PROVEN, Optimum, optimum
from tests.campaign.report import Report

TRIALS = 2_500
# The rest has smooth curves: of a full run, 2,000 trials and more.
_SHARE_OF_KINKS = 0.15
# So often an instance is drawn until some type thinks at the free optimum: others have no limits
# between that and the least tokens.
_DRAWS = 10
_PLACES = {"between": 0.35, "close": 0.25, "redundant": 0.15, "at optimum": 0.2, "at least": 0.05}

Rng = np.random.Generator
Data = dict[str, Any]


def trial(seed: int, number: int) -> Report:
    """Draw an instance with constraints and hold all that is claimed of it to what is exact."""
    rng = np.random.default_rng([seed, number, 2])
    has_kinks = bool(rng.random() < _SHARE_OF_KINKS)
    for _ in range(_DRAWS):
        what, family = draw(rng, has_kinks=has_kinks)
        with digits(DIGITS):
            whole = Problem.of(family)
            free = optimum(whole)
            if free is not None and any(
                v > k.low for k, v in zip(whole.types, free.point.tokens, strict=True)
            ):
                break
    if free is None:
        return Report()
    how, constraints = draw_limits(rng, whole, free, family.queue["kind"])
    return judged(rng, f"{what}; {how}", family, constraints)


def judged(rng: Rng, what: str, family: Any, constraints: Sequence[Data]) -> Report:
    """Ask the package about an instance with constraints."""
    report = Report()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        instance = built(
            report,
            what,
            lambda: family.instance(constraints=[constraint(data) for data in constraints]),
        )
        if instance is None:
            return report
        with digits(DIGITS):
            whole = Problem.of(family)
        began = time.perf_counter()
        found = constrained_optimum(whole, constraints)
        report.time("the oracle", began)
        best = found.best
        report.count(f"proven {found.verdict}")
        if best is not None and best.gap > PROVEN:
            report.count("optima NOT proven")

        def again(problem: Problem) -> Optimum | None:
            return constrained_optimum(problem, constraints).best

        floors = floors_of(whole, constraints)
        truth = Truth(report, what, whole, best, found.couplings, found.multipliers, again, floors)
        ask(truth, rng, instance)
    return report


def constraint(data: Data) -> Any:
    """Return a constraint of the package."""
    arguments = {key: value for key, value in data.items() if key != "kind"}
    return getattr(cq, data["kind"])(**arguments)


def draw_limits(rng: Rng, problem: Problem, free: Optimum, queue: str) -> tuple[str, list[Data]]:
    """Draw one to three constraints by what the free optimum and the least tokens have of them."""
    with digits(DIGITS):
        least = problem.at([k.low for k in problem.types])
        assert least is not None
        if rng.random() < 0.15:
            return _just(rng, problem, free)
        kinds = ["MaxMeanSystemTime", "MaxMeanWaitingTime", "MinMeanAccuracy", "MaxTokenRate"]
        if queue == "FIFO" and not any(k.law.scv for k in problem.types):
            kinds.append("WaitingTimeTail")
        kinds.append("MinAccuracy")
        names, found = [], []
        for _ in range(int(rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]))):
            kind = str(rng.choice(kinds))
            where = str(rng.choice(list(_PLACES), p=list(_PLACES.values())))
            data = _limited(rng, kind, where, problem, least, free.point)
            if data is not None:
                found.append(data)
                names.append(f"{kind} {where}")
        return ", ".join(names), found


def _weighed(problem: Problem, kind: str, point: Point) -> Decimal:
    """What a constraint of a class limits."""
    if kind == "MaxMeanSystemTime":
        return point.time
    if kind == "MaxMeanWaitingTime":
        return point.waiting
    pairs = zip(problem.types, point.accuracies, strict=True)
    if kind == "MinMeanAccuracy":
        return sum((k.share * p for k, p in pairs), Decimal(0))
    counts = zip(problem.types, point.tokens, strict=True)
    return problem.rate * sum((k.share * v for k, v in counts), Decimal(0))


def _limited(
    rng: Rng, kind: str, where: str, problem: Problem, least: Point, free: Point
) -> Data | None:
    """A constraint whose limit lies somewhere between two points, at one of them, or beyond."""
    share = {
        "between": float(rng.random()),
        "close": log_uniform(rng, 1e-12, 1e-1),
        "redundant": 1.0 + log_uniform(rng, 1e-12, 1e2),
        "at optimum": 1.0,
        "at least": 0.0,
    }[where]
    if kind == "MinAccuracy":
        place = int(rng.integers(len(problem.types)))
        low, high = least.accuracies[place], free.accuracies[place]
        top = problem.types[place].curve.value(problem.types[place].high)
        if where == "between":
            high = top
        value = float(low + Decimal(min(share, 1.0)) * (high - low))
        return {"kind": kind, "accuracy": min(max(value, 0.0), 1.0), "type": place}
    if kind == "WaitingTimeTail":
        return _tail(rng, share, problem, least, free)
    low, high = _weighed(problem, kind, least), _weighed(problem, kind, free)
    if kind == "MinMeanAccuracy":
        # More than the free optimum has, up to what the greatest tokens have.
        pairs = [(k.share, k.curve.value(k.high)) for k in problem.types]
        top = sum((pi * p for pi, p in pairs), Decimal(0))
        low, high = (high, top) if where in ("between", "close") else (low, high)
        share = min(share, 1.0)
    value = float(low + Decimal(share) * (high - low))
    name = {"MinMeanAccuracy": "accuracy", "MaxTokenRate": "tokens_per_second"}.get(kind, "seconds")
    if not 0.0 < value < 1e300 or (name == "accuracy" and value > 1.0):
        return None
    return {"kind": kind, name: value}


def _tail(rng: Rng, share: float, problem: Problem, least: Point, free: Point) -> Data | None:
    """A limit on the tail, at about the wait whose bound has its probability at a point between."""
    tokens = [
        low + Decimal(min(share, 1.0)) * (high - low)
        for low, high in zip(least.tokens, free.tokens, strict=True)
    ]
    point = problem.at(tokens)
    if point is None or point.m2 == 0:
        return None
    chance = log_uniform(rng, 1e-9, 0.5)
    # The root of Σ π exp(θ t) = 1 + θ/λ is below that of the series to the second order.
    low, high = Decimal(0), 2 * point.idle / (problem.rate * point.m2)
    for _ in range(60):
        decay = (low + high) / 2
        powers = (
            k.share * (decay * m[0]).exp()
            for k, m in zip(problem.types, point.moments, strict=True)
        )
        if sum(powers, Decimal(0)) > 1 + decay / problem.rate:
            high = decay
        else:
            low = decay
    if not low:
        return None
    seconds = float(-Decimal(chance).ln() / low) * (1.0 if share <= 1.0 else share)
    if not 1e-300 < seconds < 1e300:
        return None
    return {"kind": "WaitingTimeTail", "seconds": seconds, "probability": chance}


def _just(rng: Rng, problem: Problem, free: Optimum) -> tuple[str, list[Data]]:
    """A cap and a floor that meet at the free optimum, but for a hair.

    Where every type's accuracy has the weight of its share, no allocation has more of it in less
    time than the optimum.
    """
    hair = float(rng.choice([1e-12, 1e-9, -1e-12, -1e-9, 0.0, 1e-15, -1e-15]))
    kind = str(rng.choice(["MaxMeanSystemTime", "MaxMeanWaitingTime", "MaxTokenRate"]))
    cap = float(_weighed(problem, kind, free.point)) * (1.0 + hair)
    floor = float(_weighed(problem, "MinMeanAccuracy", free.point))
    if not (0.0 < floor <= 1.0 and 0.0 < cap < 1e300):
        return "none", []
    name = "tokens_per_second" if kind == "MaxTokenRate" else "seconds"
    pair = [{"kind": kind, name: cap}, {"kind": "MinMeanAccuracy", "accuracy": floor}]
    return f"{kind} and a floor that meet but for {hair:g}", pair
