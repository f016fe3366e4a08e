"""Instances without coupling constraints: what every call claims, against the exact optimum."""

from __future__ import annotations

import math
import traceback
import warnings
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np

import cvxqueue as cq
from tests.campaign.exact import DIGITS, Problem, digits
from tests.campaign.hostile import draw
from tests.campaign.optimum import PROVEN, Optimum, optimum
from tests.campaign.report import Report
from tests.families import Family

TRIALS = 20_000
# What the oracle's own arithmetic may be off by, relative to the scale.
_SLACK = Decimal("1e-45")
# Two float64 quotients of claims may differ from the exact ones by so much.
_ROUNDING = Decimal("1e-14")


def trial(seed: int, number: int) -> Report:
    """Draw an instance and hold all that is claimed of it to its exact optimum."""
    rng = np.random.default_rng([seed, number, 1])
    what, family = draw(rng)
    return judged(rng, what, family)


def judged(rng: np.random.Generator, what: str, family: Family) -> Report:
    """Ask the package everything about an instance."""
    report = Report()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        instance = attempt(report, "construction", what, family.instance)
        if instance is None:
            return report
        with digits(DIGITS):
            problem = Problem.of(family)
        best = optimum(problem)
        if best is not None:
            report.count("optima proven" if best.gap <= PROVEN else "optima NOT proven")
        truth = Truth(report, what, problem, best)
        solution = attempt(report, "solve", what, lambda: cq.solve(instance), truth)
        if solution is not None:
            report.count(f"solve: {solution.status.value}")
            truth.check_solution("solve", solution)
        _check_again(report, rng, what, instance, solution, truth)
    return report


def attempt(
    report: Report,
    name: str,
    what: str,
    call: Callable[[], Any],
    truth: Truth | None = None,
) -> Any:
    """Return what a call returns, or what its ConvergenceError carries; ``None`` after another."""
    try:
        return call()
    except cq.ConvergenceError as error:
        report.count(f"{name}: ConvergenceError")
        return getattr(error, "solution", None)
    except cq.InfeasibleError as error:
        report.count(f"{name}: {type(error).__name__}")
        if truth is None or truth.best is not None:
            report.fail(f"{name}: false infeasible", f"{what}\n{error}")
    except cq.CvxqueueError as error:
        report.count(f"{name}: {type(error).__name__}")
        if name != "construction":
            report.fail(f"{name}: refused", f"{what}\n{type(error).__name__}: {error}")
    except Exception as error:  # noqa: BLE001 - whatever else there is, is what we look for
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "/cvxqueue/" in frame.filename] or frames
        where = f"{own[-1].filename.rpartition('/cvxqueue/')[2]}:{own[-1].lineno}"
        kind = f"{name}: {type(error).__name__}"
        report.fail(kind, f"{what}\n{where}: {error}")
    return None


class Truth:
    """The exact optimum, and what claims it refutes."""

    def __init__(self, report: Report, what: str, problem: Problem, best: Optimum | None) -> None:
        self.report, self.what, self.problem, self.best = report, what, problem, best
        if best is not None:
            with digits(DIGITS):
                self.slack = _SLACK * max(abs(best.point.scale), abs(best.point.objective))

    def fail(self, kind: str, detail: str) -> None:
        """Add a failure."""
        self.report.fail(kind, f"{self.what}\n{detail}")

    def check_interval(self, name: str, objective: float, upper_bound: float) -> None:
        """Whether the optimum lies between what is claimed."""
        best = self.best
        if math.isnan(objective) or math.isnan(upper_bound):
            self.fail(f"{name}: NaN claimed", f"[{objective}, {upper_bound}]")
            return
        if best is None:
            if objective > -math.inf:
                self.fail(f"{name}: an objective where nothing is stable", f"{objective!r}")
            return
        with digits(DIGITS):
            if objective > -math.inf and Decimal(objective) > best.upper + self.slack:
                self._off(f"{name}: objective above the optimum", objective, best.upper)
            if upper_bound < math.inf and Decimal(upper_bound) < best.lower - self.slack:
                self._off(f"{name}: upper bound below the optimum", upper_bound, best.lower)

    def _off(self, kind: str, claimed: float, true: Decimal) -> None:
        scale = self.best.point.scale if self.best is not None else Decimal(0)
        by = abs(Decimal(claimed) - true)
        relative = f"{by / scale:.2e} of the scale" if scale else "scale 0"
        self.fail(kind, f"claimed {claimed!r}, true {true:.25}, off by {by:.3e} ({relative})")

    def check_tokens(self, name: str, objective: float, tokens: Any) -> None:
        """Whether the tokens do what is claimed of them."""
        if not np.isfinite(tokens).all():
            if objective > -math.inf:
                self.fail(f"{name}: an objective of tokens that are none", f"{tokens}")
            return
        with digits(DIGITS):
            counts = [Decimal(float(count)) for count in tokens]
            if any(
                not k.low <= v <= k.high for k, v in zip(self.problem.types, counts, strict=True)
            ):
                self.fail(f"{name}: tokens outside the box", f"{tokens}")
            point = self.problem.at(counts)
            if objective == -math.inf:
                return
            if point is None:
                self.fail(f"{name}: an objective of unstable tokens", f"{objective!r}")
            elif Decimal(objective) > point.objective + _SLACK * point.scale:
                self._off(f"{name}: objective above that of the tokens", objective, point.objective)

    def check_bounds(self, name: str, bounds: Any) -> None:
        """Whether the optimal tokens lie in intervals."""
        if self.best is None:
            return
        with digits(DIGITS):
            for place, (k, v) in enumerate(
                zip(self.problem.types, self.best.point.tokens, strict=True)
            ):
                low, high = (float(end) for end in bounds[place])
                if math.isnan(low) or math.isnan(high):
                    self.fail(f"{name}: NaN as a token bound", f"type {place}: [{low}, {high}]")
                    continue
                if Decimal(low) <= v <= Decimal(high):
                    continue
                self._check_excluded(name, place, low, high)

    def _check_excluded(self, name: str, place: int, low: float, high: float) -> None:
        """Whether no optimum has the tokens of a type within bounds: solved again with these."""
        types = self.problem.types
        lows, highs = [k.low for k in types], [k.high for k in types]
        lows[place] = max(lows[place], Decimal(low) if low > -math.inf else lows[place])
        highs[place] = min(highs[place], Decimal(high) if high < math.inf else highs[place])
        best = self.best
        assert best is not None
        inside = optimum(self.problem.boxed(lows, highs)) if lows[place] <= highs[place] else None
        if inside is None or inside.upper < best.lower - self.slack:
            lost = "none" if inside is None else f"{best.lower - inside.upper:.3e}"
            self.fail(
                f"{name}: optimal tokens outside their bounds",
                f"type {place}: [{low!r}, {high!r}], true {best.point.tokens[place]:.25}; the best "
                f"within loses {lost}",
            )

    def check_status(self, name: str, claims: Any) -> None:
        """Whether what is called optimal is within the tolerance of the optimum."""
        if not claims.is_optimal or self.best is None:
            return
        with digits(DIGITS):
            point = self.problem.at([Decimal(float(count)) for count in claims.tokens])
            if point is None:
                self.fail(f"{name}: optimal and unstable", f"{claims.tokens}")
                return
            allowed = Decimal(float(claims.tolerance)) * point.scale * (1 + _ROUNDING)
            if self.best.lower - point.objective > allowed + self.slack:
                loss = (self.best.lower - point.objective) / point.scale if point.scale else 1
                self.fail(f"{name}: optimal beyond the tolerance", f"loses {loss:.3e}")
            width = Decimal(claims.upper_bound) - Decimal(claims.objective)
            if point.scale and width > allowed + Decimal(math.ulp(claims.objective)) * 2:
                self.fail(
                    f"{name}: optimal with a gap above the tolerance",
                    f"{width / point.scale:.3e}, tolerance {claims.tolerance}",
                )

    def check_solution(self, name: str, solution: Any) -> None:
        """All that a solution or a certificate claims."""
        self.check_interval(name, solution.objective, solution.upper_bound)
        self.check_tokens(name, solution.objective, solution.tokens)
        bounds = attempt(
            self.report, f"{name}.token_bounds", self.what, lambda: solution.token_bounds
        )
        if bounds is not None:
            self.check_bounds(name, bounds)
        if hasattr(solution, "is_optimal"):
            self.check_status(name, solution)
        for form in (str, repr, lambda claims: claims.to_dict()):
            label = getattr(form, "__name__", "").replace("<lambda>", "to_dict")
            attempt(self.report, f"{name}, {label}", self.what, lambda f=form: f(solution))


def _check_again(
    report: Report,
    rng: np.random.Generator,
    what: str,
    instance: cq.Instance,
    solution: Any,
    truth: Truth,
) -> None:
    """On a share of the trials: batches, settings of the caller, and anybody's tokens."""
    if solution is not None and rng.random() < 0.2:

        def strictly() -> Any:
            with np.errstate(all="raise"):
                return cq.solve(instance, on_failure="return")

        strict = attempt(report, "solve, errstate raise", what, strictly, truth)
        if strict is not None:
            report.count("solved with errstate raise")
            pairs = [(strict.objective, solution.objective), (strict.gap, solution.gap)]
            same = all(a == b for a, b in pairs) and np.array_equal(strict.tokens, solution.tokens)
            if not same:
                truth.fail("solve, errstate raise: another answer", f"{strict!r} {solution!r}")
    if rng.random() < 0.2:
        _check_batch(report, what, instance, truth)
    if rng.random() < 0.5:
        _check_certificates(report, rng, what, instance, truth)


def _check_batch(report: Report, what: str, instance: cq.Instance, truth: Truth) -> None:
    rates = [instance.arrival_rate, 0.5 * instance.arrival_rate]
    batch = attempt(
        report, "batch", what, lambda: cq.solve_batch(instance, arrival_rate=rates), truth
    )
    if batch is None:
        return
    report.count("batches")
    bound = attempt(report, "batch.upper_bound", what, lambda: batch.upper_bound)
    attempt(report, "batch.relative_gap", what, lambda: batch.relative_gap)
    attempt(report, "batch, repr", what, lambda: repr(batch))
    if bound is None:
        return
    truth.check_interval("batch", float(batch.objective[0]), float(bound[0]))
    truth.check_tokens("batch", float(batch.objective[0]), batch.tokens[0])


def _check_certificates(
    report: Report, rng: np.random.Generator, what: str, instance: cq.Instance, truth: Truth
) -> None:
    lower, upper = instance.min_tokens, instance.max_tokens
    asked = {"anywhere": lower + (upper - lower) * rng.random(lower.size) ** 8}
    asked["near the bottom"] = lower + (upper - lower) * 10.0 ** -rng.uniform(1, 14, lower.size)
    if truth.best is not None:
        near = np.array([float(v) for v in truth.best.point.tokens])
        asked["at the optimum"] = np.clip(near, lower, upper)
        asked["beside the optimum"] = np.nextafter(
            near, np.where(rng.random(near.size) < 0.5, 0, 9e99)
        )
    asked["outside"] = upper * 2.0 + 1.0
    for name, tokens in asked.items():
        certificate = attempt(
            report, f"certify {name}", what, lambda t=tokens: cq.certify(instance, t)
        )
        if certificate is not None:
            report.count("certificates")
            truth.check_solution(f"certify {name}", certificate)
    for value in (math.nan, math.inf):
        tokens = lower.copy()
        tokens[int(rng.integers(tokens.size))] = value
        certificate = attempt(
            report, f"certify {value}", what, lambda t=tokens: cq.certify(instance, t)
        )
        if certificate is not None:
            truth.check_interval(f"certify {value}", certificate.objective, certificate.upper_bound)
