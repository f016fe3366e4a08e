"""Whole tokens in tiny boxes: what is claimed of them, against all allocations, each exactly."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from itertools import product
from typing import Any

import numpy as np

import cvxqueue as cq
from tests.campaign.claims import attempt, built
from tests.campaign.exact import DIGITS, Point, Problem, digits
from tests.campaign.hostile import draw
from tests.campaign.report import Report
from tests.families import Family

TRIALS = 1_500
_MOST_TYPES = 3
_SLACK = Decimal("1e-45")
# What the exact search stops at, of the scale.
_TOLERANCE = Decimal("1e-9")


def trial(seed: int, number: int) -> Report:
    """Draw an instance, leave few whole numbers of its boxes, and solve by enumeration."""
    rng = np.random.default_rng([seed, number, 3])
    what, family = draw(rng)
    rows, menus = [], []
    for row in family.types[:_MOST_TYPES]:
        start = float(rng.integers(0, 3) if rng.random() < 0.7 else np.floor(row["min_tokens"]))
        start = min(start, 2.0**52)
        step = 1.0 if rng.random() < 0.5 else float(np.ceil(min(row["max_tokens"] / 4, 2.0**50)))
        counts = [start + step * place for place in range(int(rng.integers(1, 7)))]
        rows.append({**row, "min_tokens": counts[0], "max_tokens": counts[-1]})
        menus.append(counts)
    total = sum(row["probability"] for row in rows)
    rows = [{**row, "probability": row["probability"] / total} for row in rows]
    small = Family(family.arrival_rate, family.accuracy_weight, family.queue, tuple(rows))
    report = Report()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        domains = [cq.Menu(counts) for counts in menus]
        instance = built(report, what, lambda: small.instance(domains=domains))
        if instance is not None:
            _judge(report, what, instance, small, menus)
    return report


def _judge(
    report: Report,
    what: str,
    instance: cq.Instance,
    small: Family,
    menus: Sequence[Sequence[float]],
) -> None:
    with digits(DIGITS):
        problem = Problem.of(small)
        points = [problem.at([Decimal(v) for v in tokens]) for tokens in product(*menus)]
        best = max((p for p in points if p is not None), key=_objective, default=None)
    began = time.perf_counter()
    try:
        found = cq.solve_integer(instance, time_limit=5.0)
    except cq.InfeasibleError as error:
        report.count(type(error).__name__)
        if best is not None:
            report.fail("false infeasible", f"{what}\n{error}")
        return
    except cq.ConvergenceError:
        report.count("ConvergenceError")
        return
    except cq.CvxqueueError as error:
        report.fail("refused", f"{what}\n{type(error).__name__}: {error}")
        return
    except Exception as error:  # noqa: BLE001 - whatever else there is, is what we look for
        report.fail(type(error).__name__, f"{what}\n{error}")
        return
    if best is None:
        report.fail("an allocation where none is stable", what)
        return
    report.count("exact" if found.is_optimal else "not exact")
    report.time("a solve", began)
    for form in (str, repr, cq.IntegerSolution.to_dict):
        attempt(report, form.__name__, what, partial(form, found))
    with digits(DIGITS):
        _check(report, what, found, problem, best, menus)


def _objective(point: Point) -> Decimal:
    return point.objective


def _check(
    report: Report,
    what: str,
    found: Any,
    problem: Problem,
    best: Point,
    menus: Sequence[Sequence[float]],
) -> None:
    tokens = [float(count) for count in found.tokens]
    if any(count not in menu for count, menu in zip(tokens, menus, strict=True)):
        report.fail("tokens outside their domains", f"{what}\n{tokens}")
    point = problem.at([Decimal(count) for count in tokens])
    if point is None:
        report.fail("unstable tokens", f"{what}\n{tokens}")
        return
    scale = point.scale
    slack = _SLACK * scale + Decimal("1e-305")
    # A width may be infinite, as its gap is.
    for kind, off in (
        ("objective above that of the tokens", Decimal(found.objective) - point.objective),
        ("upper bound below the best", best.objective - Decimal(found.upper_bound)),
        (
            "exact beyond the tolerance",
            best.objective - point.objective - _TOLERANCE * scale if found.is_optimal else -scale,
        ),
    ):
        if off > slack:
            share = f", {off / scale:.3e} of the scale" if scale else ""
            report.fail(kind, f"{what}\nby {off:.3e}{share}; {tokens}, best {best.tokens}")
