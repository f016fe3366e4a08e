"""Optima proven to thirty digits: what every method claims of them, and what is not proven."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

import cvxqueue as cq
from tests.campaign.claims import built
from tests.campaign.constrained import constraint, draw_limits
from tests.campaign.constraints import couplings_of, floors_of
from tests.campaign.exact import DIGITS, Point, Problem, digits
from tests.campaign.hostile import draw
from tests.campaign.optimum import optimum
from tests.campaign.report import Report
from tests.families import Family

TRIALS = 10_000
# Of the trials: with limits that the free optimum exceeds, which leaves a third of what is proven
# with active ones, and with any others.
_SHARES = 0.55, 0.1
# For each method, most of which take some milliseconds.
_SECONDS = 1.0


def trial(seed: int, number: int) -> Report:
    """Draw an instance, prove its optimum, and hold all methods to it."""
    rng, report = np.random.default_rng([seed, number, 16]), Report()
    what, family, limits = _drawn(rng)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Of points that scatter; that is on purpose.
        warnings.filterwarnings("ignore", "accuracy.accuracy")
        instance = built(
            report, what, lambda: family.instance(constraints=[constraint(it) for it in limits])
        )
        if instance is not None:
            _judge(report, what, instance)
    return report


def _drawn(rng: np.random.Generator) -> tuple[str, Family, list[Any]]:
    which = int(rng.choice(3, p=[*_SHARES, 1 - sum(_SHARES)]))
    while True:
        what, family = draw(rng)
        if which == 2:
            return what, family, []
        with digits(DIGITS):
            whole = Problem.of(family)
            free = optimum(whole)
        if free is None:
            continue
        for _ in range(4):
            how, limits = draw_limits(rng, whole, free, family.queue["kind"])
            if which == 1 or _exceeds(whole, free.point, limits):
                return f"{what}; {how}", family, limits


def _exceeds(problem: Problem, point: Point, limits: Sequence[Any]) -> bool:
    with digits(DIGITS):
        pairs = zip(point.accuracies, floors_of(problem, limits), strict=True)
        values = (it.value(problem, point) for it in couplings_of(problem, limits))
        return any(it > 0 for it in values) or any(p < floor for p, floor in pairs)


def _judge(report: Report, what: str, instance: cq.Instance) -> None:
    began = time.perf_counter()
    try:
        record = cq.prove(instance)
    except cq.InfeasibleError:
        report.count("infeasible")
        return
    except cq.UnprovenError as error:
        # The same reason with other numbers in it is the same reason.
        reason = re.sub(r"\d[\d.E-]*", "#", str(error).split(": ", 1)[1].split("; the answer")[0])
        report.count(f"not proven: {reason}")
        return
    report.time("a proof", began)
    found = cq.verify(record, instance=instance)
    report.count("proven" if found.proves_tokens else "proven, but for the tokens")
    if any(", active" in line or "accuracy floor" in line for line in found.report):
        report.count("proven, with active constraints")
    for method in cq.methods(instance):
        try:
            answer = cq.solve(instance, method.name, time_limit=_SECONDS, on_failure="return")
        except cq.CvxqueueError as error:
            report.count(f"{method.name}: {type(error).__name__}")
            continue
        report.count(f"{method.name}: asked")
        _hold(report, f"{method.name} on {what}", method.name, answer, found)


def _hold(report: Report, what: str, name: str, answer: cq.Solution, found: Any) -> None:
    """Fail where the truth is proven to lie outside of what a method claims."""
    low, high = map(Fraction, found.objective)
    least, most = answer.objective, answer.upper_bound
    is_of_floors = any("accuracy floors" in sentence for sentence in answer.assumes)
    if most < low and not is_of_floors:
        report.fail(f"{name}: the optimum is above", f"{what}: {most!r}, {float(low)!r}")
    if answer.assumes:
        # The objective, and the bounds that follow from it, are those of a looser limit.
        limit = "accuracy floors" if is_of_floors else "a limit"
        report.count(f"{name}: keeps {limit} as far as rounding can tell, and says so")
        return
    if least > high:
        report.fail(f"{name}: the optimum is below", f"{what}: {least!r}, {float(high)!r}")
    if not found.proves_tokens:
        return
    for k, ((low, high), ends) in enumerate(
        zip(found.tokens, answer.token_bounds.tolist(), strict=True)
    ):
        if ends[0] > high or ends[1] < low:
            detail = f"{what}: type {k} has {low:.25g}, and token_bounds {ends}"
            report.fail(f"{name}: optimal tokens are outside token_bounds", detail)
