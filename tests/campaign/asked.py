"""What is asked of the package about an instance, whatever its constraints."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import numpy as np

import cvxqueue as cq
from tests.campaign.claims import Truth, attempt

__all__ = ["ask"]


# For a solve, most of which take some milliseconds.
_SECONDS = 10.0


def ask(truth: Truth, rng: np.random.Generator, instance: cq.Instance) -> None:
    """Ask for the optimum, and on shares of the trials for all else that says something of it."""
    report, what = truth.report, truth.what
    began = time.perf_counter()
    solution = attempt(
        report, "solve", what, lambda: cq.solve(instance, time_limit=_SECONDS), truth
    )
    report.time("a solve", began)
    if time.perf_counter() - began > 2.0 * _SECONDS:
        truth.fail("solve: time limit not kept", f"{time.perf_counter() - began:.0f} s")
    if solution is not None:
        report.count(f"solve: {solution.status.value}")
        truth.check("solve", solution)
        # What the time cut short is another answer the next time.
        if rng.random() < 0.2 and solution.solve_time < _SECONDS:
            _check_settings(truth, instance, solution)
    if rng.random() < 0.5:
        _check_certificates(truth, rng, instance)
    if not instance.constraints and rng.random() < 0.2:
        _check_batch(truth, instance)


def _check_settings(truth: Truth, instance: cq.Instance, solution: Any) -> None:
    """Whether the caller's settings of numpy change nothing."""

    def strictly() -> Any:
        with np.errstate(all="raise"):
            return cq.solve(instance, on_failure="return")

    strict = attempt(truth.report, "solve, errstate raise", truth.what, strictly, truth)
    if strict is None:
        return
    truth.report.count("solved with errstate raise")
    pairs = ((strict.objective, solution.objective), (strict.gap, solution.gap))
    if not all(a == b for a, b in pairs) or not np.array_equal(strict.tokens, solution.tokens):
        truth.fail("solve, errstate raise: another answer", f"{strict!r} {solution!r}")


def _check_batch(truth: Truth, instance: cq.Instance) -> None:
    report, what = truth.report, truth.what
    rates = [instance.arrival_rate, 0.5 * instance.arrival_rate]
    batch = attempt(
        report, "batch", what, lambda: cq.solve_batch(instance, arrival_rate=rates), truth
    )
    if batch is None:
        return
    report.count("batches")
    for name in ("relative_gap", "is_optimal", "upper_bound", "mean_system_time", "__repr__"):
        row = attempt(report, f"batch.{name}", what, partial(getattr, batch, name))
        if row is None:
            return
    first = _Row(batch)
    truth.check_interval("batch", first)
    truth.check_tokens("batch", first)
    truth.check_status("batch", first)


class _Row:
    """The first row of a batch, as a solution has it."""

    def __init__(self, batch: Any) -> None:
        self.tokens = batch.tokens[0]
        self.objective, self.upper_bound = float(batch.objective[0]), float(batch.upper_bound[0])
        self.tolerance, self.is_optimal = float(batch.tolerance[0]), bool(batch.is_optimal[0])


def _check_certificates(truth: Truth, rng: np.random.Generator, instance: cq.Instance) -> None:
    lower, upper = instance.min_tokens, instance.max_tokens
    width, size = upper - lower, lower.size
    asked = {
        "anywhere": lower + width * rng.random(size) ** 8,
        "near the bottom": lower + width * 10.0 ** -rng.uniform(1.0, 14.0, size),
        "outside": upper * 2.0 + 1.0,
    }
    if truth.best is not None:
        near = np.array([float(v) for v in truth.best.point.tokens])
        asked["at the optimum"] = np.clip(near, lower, upper)
        aside = np.nextafter(near, np.where(rng.random(size) < 0.5, 0.0, np.inf))
        asked["beside the optimum"] = np.where(near > 0.0, aside, 1e-12 * upper * rng.random(size))
    for value in (math.nan, math.inf):
        tokens = lower.copy()
        tokens[int(rng.integers(size))] = value
        asked[f"{value}"] = tokens
    for name, tokens in asked.items():
        certificate = attempt(
            truth.report, f"certify {name}", truth.what, partial(cq.certify, instance, tokens)
        )
        if certificate is not None:
            truth.report.count("certificates")
            truth.check(f"certify {name}", certificate)
