"""What the package claims of an instance, and what exact arithmetic refutes of it."""

from __future__ import annotations

import math
import traceback
import warnings
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np

import cvxqueue as cq
from tests.campaign.constraints import Coupling
from tests.campaign.exact import DIGITS, Point, Problem, digits
from tests.campaign.optimum import Optimum, optimum
from tests.campaign.report import Report

__all__ = ["Truth", "attempt", "built"]

_ZERO = Decimal(0)
# What the oracle's own arithmetic may be off by, relative to the scale.
_SLACK = Decimal("1e-40")
# Below the least normal number float64 has no relative accuracy, and nobody waits so short.
_NOTHING = Decimal("1e-305")
# Two float64 quotients of claims may differ from the exact ones by so much.
_ROUNDING = Decimal("1e-14")
# A token count of the oracle is right to half of its digits.
_NEAR = Decimal("1e-18")
# Roundings of a constraint's value and limit: some products, a sum over a few types, a quotient.
_ROUNDINGS = 16 * Decimal(2) ** -52


def attempt(
    report: Report, name: str, what: str, call: Callable[[], Any], truth: Truth | None = None
) -> Any:
    """Return what a call returns, or what its ConvergenceError carries; ``None`` after another."""
    try:
        return call()
    except cq.ConvergenceError as error:
        report.count(f"{name}: ConvergenceError")
        return getattr(error, "solution", None)
    except cq.InfeasibleError as error:
        report.count(f"{name}: {type(error).__name__}")
        if truth is not None and truth.best is not None:
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


def built(report: Report, what: str, call: Callable[[], cq.Instance]) -> cq.Instance | None:
    """Return an instance; that measured points make no concave curve may be said once, here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cq.CvxqueueWarning)
        instance: cq.Instance | None = attempt(report, "construction", what, call)
    return instance


class Truth:
    """The exact optimum, and what claims it refutes."""

    def __init__(
        self,
        report: Report,
        what: str,
        problem: Problem,
        best: Optimum | None,
        couplings: Sequence[Coupling] = (),
        multipliers: Sequence[Decimal] = (),
        again: Callable[[Problem], Optimum | None] = optimum,
        floors: Sequence[Decimal] | None = None,
    ) -> None:
        """Keep what is known.

        Parameters
        ----------
        best
            ``None`` where no allocation is feasible.
        again
            Solves the problem in another box.
        """
        self.report, self.what, self.problem, self.best = report, what, problem, best
        self.couplings, self.multipliers, self.again = couplings, multipliers, again
        self.floors = [Decimal(0)] * len(problem.types) if floors is None else floors
        if best is not None:
            with digits(DIGITS):
                scale = max(abs(best.point.scale), abs(best.point.objective))
                self.slack = _SLACK * scale + _NOTHING

    def fail(self, kind: str, detail: str) -> None:
        """Add a failure."""
        self.report.fail(kind, f"{self.what}\n{detail}")

    def check_interval(self, name: str, claims: Any, upper_bound: float | None = None) -> None:
        """Whether the optimum lies between what is claimed."""
        objective = float(claims.objective)
        upper = float(claims.upper_bound if upper_bound is None else upper_bound)
        best = self.best
        if math.isnan(objective) or math.isnan(upper):
            self.fail(f"{name}: NaN claimed", f"[{objective}, {upper}]")
            return
        if best is None:
            if objective > -math.inf and not self.couplings and not any(self.floors):
                self.fail(f"{name}: an objective where nothing is stable", f"{objective!r}")
            return
        with digits(DIGITS):
            if objective > -math.inf:
                most = best.upper + self.slack + self._bought(claims.tokens)
                if Decimal(objective) > most and not self._is_bought_by_floors(claims.tokens):
                    self._off(f"{name}: objective above the optimum", objective, best.upper)
            if upper < math.inf and Decimal(upper) < best.lower - self.slack:
                self._off(f"{name}: upper bound below the optimum", upper, best.lower)

    def _bought(self, tokens: Any) -> Decimal:
        """What an objective gains at most by the violation of constraints."""
        if not self.couplings:
            return Decimal(0)
        point = self._point(tokens)
        if point is None:
            return Decimal(0)
        pairs = zip(self.couplings, self.multipliers, strict=True)
        return sum((u * max(c.value(self.problem, point), _ZERO) for c, u in pairs), _ZERO)

    def _is_looser(self, tokens: Any) -> bool:
        """Whether tokens keep constraints but for rounding: what is said is of looser limits."""
        with digits(DIGITS):
            point = self._point(tokens) if self.couplings else None
            if point is None:
                return False
            return any(c.value(self.problem, point) > 0 for c in self.couplings)

    def _is_bought_by_floors(self, tokens: Any) -> bool:
        """Whether a type is below its floor, as rounding may leave it: then little is claimed."""
        point = self._point(tokens)
        return point is not None and any(
            p < floor for p, floor in zip(point.accuracies, self.floors, strict=True)
        )

    def _point(self, tokens: Any) -> Point | None:
        """What tokens do; ``None`` where they are not stable, or no numbers."""
        if not all(map(math.isfinite, tokens)):
            return None
        return self.problem.at([Decimal(float(count)) for count in tokens])

    def _off(self, kind: str, claimed: float, true: Decimal) -> None:
        scale = self.best.point.scale if self.best is not None else Decimal(0)
        by = abs(Decimal(claimed) - true)
        relative = f"{by / scale:.2e} of the scale" if scale else "scale 0"
        self.fail(kind, f"claimed {claimed!r}, true {true:.25}, off by {by:.3e} ({relative})")

    def check_tokens(self, name: str, claims: Any) -> None:
        """Whether the tokens are allowed, and do what is claimed of them."""
        objective, tokens = float(claims.objective), claims.tokens
        if not np.isfinite(tokens).all():
            if objective > -math.inf:
                self.fail(f"{name}: an objective of tokens that are none", f"{tokens}")
            return
        with digits(DIGITS):
            counts = [Decimal(float(count)) for count in tokens]
            pairs = zip(self.problem.types, counts, strict=True)
            if any(not _is_within(v, k.low, k.high) for k, v in pairs):
                self.fail(f"{name}: tokens outside the box", f"{tokens}")
            point = self.problem.at(counts)
            if objective == -math.inf:
                return
            if point is None:
                self.fail(f"{name}: an objective of unstable tokens", f"{objective!r}")
                return
            if Decimal(objective) > point.objective + _SLACK * point.scale + _NOTHING:
                self._off(f"{name}: objective above that of the tokens", objective, point.objective)
            for place, (floor, p) in enumerate(zip(self.floors, point.accuracies, strict=True)):
                if floor and p < floor - _ROUNDINGS * floor:
                    detail = f"type {place}: floor {floor:.17}, by {floor - p:.3e}"
                    self.fail(f"{name}: accuracy floor violated", detail)
            for c in self.couplings:
                value, rounding = c.value(self.problem, point), _rounding(self.problem, c, point)
                if value > rounding:
                    self.fail(
                        f"{name}: {c.kind} constraint violated",
                        f"by {value:.3e}, {value / c.limit:.3e} of the limit {c.limit:.8}, and "
                        f"rounding is {rounding:.3e}; idle {point.idle:.3e}",
                    )

    def check_bounds(self, name: str, bounds: Any) -> None:
        """Whether the optimal tokens lie in intervals."""
        if self.best is None:
            return
        with digits(DIGITS):
            for place, v in enumerate(self.best.point.tokens):
                low, high = (float(end) for end in bounds[place])
                if math.isnan(low) or math.isnan(high):
                    self.fail(f"{name}: NaN as a token bound", f"type {place}: [{low}, {high}]")
                    continue
                if not _is_within(v, Decimal(low), Decimal(high)) and not (
                    v < Decimal(low) and self._is_floor(place, Decimal(low))
                ):
                    self._check_excluded(name, place, low, high)

    def _is_floor(self, place: int, tokens: Decimal) -> bool:
        """Whether tokens are where the accuracy of a type reaches its floor, to rounding."""
        floor, curve = self.floors[place], self.problem.types[place].curve
        return bool(floor) and curve.value(tokens) <= floor * (1 + _ROUNDINGS)

    def _check_excluded(self, name: str, place: int, low: float, high: float) -> None:
        """Whether no optimum has the tokens of a type within bounds: solved again with these."""
        types, best = self.problem.types, self.best
        assert best is not None
        lows, highs = [k.low for k in types], [k.high for k in types]
        lows[place] = max(lows[place], Decimal(max(low, 0.0)))
        highs[place] = min(highs[place], Decimal(min(high, 1e308)))
        is_box = lows[place] <= highs[place]
        inside = self.again(self.problem.boxed(lows, highs)) if is_box else None
        if inside is None or inside.upper < best.lower - self.slack:
            lost = "all" if inside is None else f"{best.lower - inside.upper:.3e}"
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
            point = self._point(claims.tokens)
            if point is None:
                self.fail(f"{name}: optimal and unstable", f"{claims.tokens}")
                return
            allowed = Decimal(float(claims.tolerance)) * point.scale * (1 + _ROUNDING)
            loss = self.best.lower - point.objective
            if loss > allowed + self.slack:
                share = f"{loss / point.scale:.3e} of the scale" if point.scale else f"{loss:.3e}"
                self.fail(f"{name}: optimal beyond the tolerance", f"loses {share}")
            width = Decimal(claims.upper_bound) - Decimal(claims.objective)
            if width > allowed + 2 * Decimal(math.ulp(claims.objective)) and point.scale:
                self.fail(
                    f"{name}: optimal with a gap above the tolerance",
                    f"{width / point.scale:.3e}, tolerance {claims.tolerance}",
                )

    def check(self, name: str, claims: Any) -> None:
        """All that a solution or a certificate claims."""
        self.check_interval(name, claims)
        self.check_tokens(name, claims)
        bounds = attempt(
            self.report, f"{name}.token_bounds", self.what, lambda: claims.token_bounds
        )
        if bounds is not None and not self._is_looser(claims.tokens):
            self.check_bounds(name, bounds)
        if hasattr(claims, "is_optimal"):
            self.check_status(name, claims)
        for label, form in (("str", str), ("repr", repr), ("to_dict", type(claims).to_dict)):
            attempt(self.report, f"{name}, {label}", self.what, partial(form, claims))


def _is_within(value: Decimal, low: Decimal, high: Decimal) -> bool:
    """Whether a number lies between others, as far as it is known."""
    return low - _NEAR * abs(low) <= value <= high + _NEAR * (abs(high) + abs(value))


def _rounding(problem: Problem, coupling: Coupling, point: Point) -> Decimal:
    """What float64 arithmetic can do to a constraint at a point, at the best.

    Some roundings of its value and of its limit; a quotient by 1 − ρ has its error, which is one of
    ρ; an exponential that of its exponent, and the limit of a tail those of two logarithms.
    """
    if coupling.kind in ("time", "waiting"):
        value = point.time if coupling.kind == "time" else point.waiting
        return _ROUNDINGS * (value / point.idle + coupling.limit)
    if coupling.kind == "tail":
        most = max(moments[0] for moments in point.moments)
        logarithms = abs(coupling.decay.ln()) + abs(problem.rate.ln())
        return _ROUNDINGS * coupling.limit * (2 * (1 + coupling.decay * most) + logarithms)
    return _ROUNDINGS * (coupling.value(problem, point) + 2 * coupling.limit)
