"""The best combination of the choices next below and next above the continuous optimum.

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

from cvxqueue.certificates import rounding_allowance
from cvxqueue.deadline import Deadline
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.incumbent import Proof
from cvxqueue.integer.local_search import local_search
from cvxqueue.integer.rounding import rounded
from cvxqueue.integer.standard_output import standard_output_discarded
from cvxqueue.model import Evaluation
from cvxqueue.model.differences import divergence, improvement, separable_gains
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


# Tangents at the optima of the linear relaxation cost milliseconds each and spare whole programs;
# they end when the bound falls by less than a tenth.
_LINEAR_ROUNDS = 20
_STALLED_BOUND = 0.9
# Beyond, HiGHS overruns its time limit, which its presolve does not know, and the linear relaxation
# has to do (measured, for a limit of 0.1 s: up to 0.5 s with 10 000 open types, 1.5 s with 16 000,
# 4 s with 50 000).
_LARGEST_PROGRAM = 10_000


def best_combination(
    choices: Choices, relaxed: Evaluation, tolerance: float, deadline: Deadline
) -> Proof:
    """Search until no combination gains more than `tolerance` times the loss, or than rounding.

    The loss is against the continuous optimum between the least and the largest choices.
    """
    lower, upper = choices.around(relaxed.tokens)

    def polished(start: Evaluation) -> Evaluation:
        point = local_search(choices, start.tokens, deadline, between=(lower, upper))
        return choices.evaluate(point)

    roundings = [rounded(choices, relaxed.tokens, down=down)[0] for down in (False, True)]
    first, second = map(polished, roundings)
    base = first if improvement(second, first) >= 0 else second
    slack = float(np.maximum(rounding_allowance(base), rounding_allowance(relaxed)))
    program = FlipProgram(base, lower, upper, slack)

    best, gain = base, 0.0
    # The tangent of T at the relaxation bounds every combination, as the program does.
    gains = np.maximum(separable_gains(relaxed, lower), separable_gains(relaxed, upper))
    bound = max(float(gains.sum() - improvement(relaxed, base)), 0.0)
    bound = min(bound, _linear_bound(program, relaxed, deadline) if program.open.size else 0.0)
    allowed = max(tolerance * float(improvement(base, relaxed)), slack)
    is_tractable = program.open.size <= _LARGEST_PROGRAM
    seen: set[bytes] = set()
    while is_tractable and bound - gain > allowed and not deadline.is_over:
        optimum = program.solve(whole=True, seconds=deadline.remaining)
        bound = min(bound, optimum.bound)
        if optimum.flips is None:
            break
        flips = optimum.flips > 0.5
        point = program.point(flips)
        # A repetition means that HiGHS's tolerances, not the tangents, limit the bound.
        if flips.tobytes() in seen or not point.is_stable:
            break
        seen.add(flips.tobytes())
        program.add_tangent(point)
        # HiGHS does not see flips that matter less than 1e-6 of the largest; single flips do.
        point = polished(point)
        if improvement(best, point) > 0:
            best, gain = point, float(improvement(base, point))
            allowed = max(tolerance * float(improvement(best, relaxed)), slack)
    gap = max(bound - gain, 0.0) + 0.0
    return Proof(best, gap, gap <= allowed)


def _linear_bound(program: FlipProgram, relaxed: Evaluation, deadline: Deadline) -> float:
    """Bound by fractions of flips, with tangents at the relaxation and at what these find."""
    program.add_tangent(relaxed)
    bound = np.inf
    for _ in range(_LINEAR_ROUNDS):
        if deadline.is_over:
            break
        optimum = program.solve(whole=False, seconds=deadline.remaining)
        is_stalled = optimum.bound > _STALLED_BOUND * bound
        bound = min(bound, optimum.bound)
        if is_stalled or optimum.flips is None:
            break
        point = program.point(optimum.flips)
        if not point.is_stable:
            break
        program.add_tangent(point)
    return bound
