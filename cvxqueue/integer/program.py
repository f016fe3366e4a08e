"""The mixed-integer program behind the best combination of neighbors.

Let l⁰ be a stable combination and a flip be the change of one type to its other neighbor. For every
combination l, exactly,

    J(l) − J(l⁰) = Σ_flips gain_k − D(l),    gain_k = α π w Δp − ∂T/∂l⁰ Δl,

where D(l) = T(l) − T(l⁰) − ∇T(l⁰)·(l − l⁰) ≥ 0 is convex. One continuous variable stands for D, and
each tangent of D is a row that holds it from below. In the metric Σ π (dt/dl)² the curvature of T
is at least some μ > 0, so the tangent at x may be raised by (μ/2) Σ π (dt/dl)² (l − x)²; a type has
two values only, so this term is linear in the flips. Without it, every combination would need a
tangent of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.integer.standard_output import standard_output_discarded
from cvxqueue.model import Evaluation
from cvxqueue.model.differences import divergence, separable_gains
from cvxqueue.numerics.arrays import FloatArray

# The status of SciPy's `milp` for an optimum.
_MILP_OPTIMAL = 0


class Optimum(NamedTuple):
    """What HiGHS found."""

    bound: float
    """Upper bound on what flips can gain, in seconds, to HiGHS's tolerances."""
    flips: FloatArray | None
    """Values of the flips in [0, 1], shape (open types,); ``None`` where it found none."""


class FlipProgram:
    """Outer approximation of the best combination, relative to one of them that is stable.

    Each type is at `lower` or `upper`; rounding may have cost a bound `slack` seconds.
    """

    def __init__(
        self, base: Evaluation, lower: FloatArray, upper: FloatArray, slack: float
    ) -> None:
        model = base.model
        self.base = base
        self.other = np.where(base.tokens == lower, upper, lower)
        self._step = self.other - base.tokens
        fewest, most = model.evaluate(lower), model.evaluate(upper)
        rate = model.arrival_rate
        m1, m2 = float(fewest.mean_service_time), float(fewest.service_time_second_moment)
        # A better combination has T = benefit − J below this, whatever its accuracies.
        longest = float(most.benefit - base.objective)
        least_idle = float(model.queue.least_idle(rate, longest, m1, m2))
        curvature = model.queue.curvature(rate, float(most.service_time_second_moment), least_idle)
        # The least slope between the two values: service times are convex in the tokens.
        slopes = model.service.mean_slope(lower)
        self._weights = 0.5 * curvature.least * model.probabilities * np.square(slopes)

        gains = separable_gains(base, self.other)
        alone = gains - self._weights * np.square(self._step)
        # The sum of all that are positive bounds every gain: a type whose flip would bring that
        # down to nothing stays.
        positive = np.maximum(alone, 0.0)
        best_with = float(positive.sum()) - positive + alone
        self.open = np.flatnonzero((self._step != 0.0) & (best_with > -slack))
        self._gains = gains[self.open]
        # All rows and the objective are in units of the largest gain: HiGHS works to 1e-6 of one.
        self.unit = float(np.max(np.abs(self._gains), initial=0.0)) or 1.0

        mean_change = model.service.mean(self.other) - base.times
        load = rate * (model.probabilities * mean_change)[self.open]
        widest = float(np.max(np.abs(load), initial=0.0)) or 1.0
        room = max(float(base.idle) - least_idle, 0.0)
        self._rows: list[FloatArray] = [np.append(load / widest, 0.0)]
        self._at_least: list[float] = [-np.inf]
        self._at_most: list[float] = [room / widest]
        self.add_tangent(base)

    def add_tangent(self, at: Evaluation) -> None:
        """Hold D from below by its raised tangent at a stable point, between floor and ceiling."""
        base, model = self.base, self.base.model
        apart = divergence(base, at)
        slope = model.probabilities * (at.marginal_cost - base.marginal_cost)
        away, across = base.tokens - at.tokens, self.other - at.tokens
        level = float(apart) + float(np.sum(slope * away + self._weights * np.square(away)))
        change = slope * self._step + self._weights * (np.square(across) - np.square(away))
        row = np.append(-change[self.open] / self.unit, 1.0)
        # HiGHS allows 1e-6 on a row whatever its size.
        size = float(np.max(np.abs(row)))
        self._rows.append(row / size)
        self._at_least.append(level / self.unit / size)
        self._at_most.append(np.inf)

    def solve(self, *, whole: bool, seconds: float) -> Optimum:
        """Maximise the gain over whole flips, or over fractions of flips."""
        from scipy.optimize import Bounds, LinearConstraint, milp

        count = self.open.size
        with standard_output_discarded():
            result = milp(
                np.append(-self._gains / self.unit, 1.0),
                integrality=np.append(np.full(count, int(whole)), 0),
                bounds=Bounds(np.zeros(count + 1), np.append(np.ones(count), np.inf)),
                constraints=LinearConstraint(
                    np.array(self._rows), np.array(self._at_least), np.array(self._at_most)
                ),
                options={"time_limit": seconds, "mip_rel_gap": 0.0},
            )
        # Of a program cut short the dual bound holds; of a linear one only the optimum is a bound.
        value = result.mip_dual_bound if whole else result.fun
        bound = np.inf
        if value is not None and np.isfinite(value) and (whole or result.status == _MILP_OPTIMAL):
            bound = -float(value) * self.unit
        return Optimum(bound, None if result.x is None else np.clip(result.x[:-1], 0.0, 1.0))

    def point(self, flips: FloatArray | NDArray[np.bool_]) -> Evaluation:
        """Return the allocation that has these flips, or fractions of them."""
        tokens = self.base.tokens.copy()
        tokens[self.open] += self._step[self.open] * flips
        return self.base.model.evaluate(tokens)
