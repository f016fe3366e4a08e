"""Safeguarded Newton's method on the diagonal-plus-rank-two structure, O(N) per iteration.

Two changes to the textbook method make it globally convergent and fast.

The diagonal curvature of the benefit is replaced by its secant slope between the tokens and their
response. Where the cost is linear, this solves a type in one step from anywhere, while the tangent
would need a step for every factor e in the marginal benefit; near the optimum the two agree, so
convergence stays quadratic.

The quadratic model is maximised over the box, not over the whole space, by a primal-dual active set
method and, where that cycles, by a primal one. Its matrix is positive definite, so every point that
improves the model lies in an ascent direction. Should none be found, the step is taken towards the
response, which always does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates import Bracket, order_bracket
from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.arrays import FloatArray
from cvxqueue.model.summation import accurate_sum
from cvxqueue.solvers.driver import Proposal, Proposals
from cvxqueue.solvers.line_search import backtrack

__all__ = ["newton"]

# A handful of rounds settles the active set, or it cycles.
_ACTIVE_SET_ROUNDS = 20
# Each round settles one bound; some hundred are enough where the first method cycles.
_CLIMB_ROUNDS = 200
# Slopes this small, relative to the largest, are rounding.
_BALANCED = 1e-14
# Below this relative distance to the response the secant slope is lost to rounding.
_NEAR = 1e-5


def newton(instance: Instance, start: FloatArray | None = None) -> Proposals:
    """Propose the iterates of the safeguarded Newton method.

    Parameters
    ----------
    instance : Instance
        Feasible.
    start : ndarray, shape (N,), optional
        Stable tokens in the box; by default the lower end of the order bracket.
    """
    bracket = order_bracket(instance, rounds=2)
    point = instance.evaluate(bracket.lower if start is None else np.clip(start, *bracket))
    if not point.is_stable:
        # Moving a stable start up into the bracket can cost its stability; the lower end never.
        point = instance.evaluate(bracket.lower)
    while True:
        yield Proposal(point)
        moved = backtrack(point, _model_maximizer(point, bracket))
        if moved is None:
            moved = backtrack(point, point.response)
        if moved is None:
            return
        point = moved


def _model_maximizer(point: Evaluation, bracket: Bracket) -> FloatArray:
    """Maximiser over the bracket of the quadratic model, by a primal-dual active set method."""
    instance, tokens = point.instance, point.tokens
    mix = instance.probabilities
    excess = point.marginal_benefit - point.marginal_cost
    near = np.abs(excess) <= _NEAR * point.marginal_cost
    with np.errstate(divide="ignore", invalid="ignore"):
        benefit_curvature = np.where(
            near,
            -instance.accuracy_value * instance.accuracy.curvature(tokens),
            excess / (point.unclipped_response - tokens),
        )
    curvature = mix * (benefit_curvature + point.cost_curvature)
    moments = np.stack(point.moment_slopes)
    slopes = point.price_slopes
    coupling = np.array(
        [[slopes.mean_mean, slopes.mean_second], [slopes.mean_second, slopes.second_second]]
    )
    model = _Model(mix * excess, curvature, moments, coupling)
    lowest, highest = bracket.lower - tokens, bracket.upper - tokens
    at_lower, at_upper = point.response <= bracket.lower, point.response >= bracket.upper
    for _ in range(_ACTIVE_SET_ROUNDS):
        step, slope = model.maximize(~(at_lower | at_upper), np.where(at_lower, lowest, highest))
        to_lower = np.where(at_lower, slope <= 0.0, step < lowest)
        to_upper = np.where(at_upper, slope >= 0.0, step > highest) & ~to_lower
        if np.array_equal(to_lower, at_lower) and np.array_equal(to_upper, at_upper):
            break
        at_lower, at_upper = to_lower, to_upper
    else:
        step = _climb_model(model, lowest, highest)
    return np.clip(tokens + step, *bracket)


class _Model(NamedTuple):
    """Quadratic model of the objective: slope · step − step · (diagonal plus rank two) step / 2."""

    slope: FloatArray
    curvature: FloatArray
    moments: FloatArray
    coupling: FloatArray

    def maximize(
        self, is_free: NDArray[np.bool_], step: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the best step of the free types at given steps of the others, and the slope."""
        step = np.where(is_free, 0.0, step)
        # The other types change the prices that the free ones face, by way of the two moments.
        right = self.slope - (self.coupling @ accurate_sum(self.moments * step)) @ self.moments
        weighted = np.where(is_free, self.moments / self.curvature, 0.0)
        gram = accurate_sum(weighted[:, np.newaxis, :] * self.moments[np.newaxis, :, :])
        price = np.linalg.solve(
            np.eye(2) + self.coupling @ gram, self.coupling @ accurate_sum(weighted * right)
        )
        slope = right - price @ self.moments
        step = np.where(is_free, slope / self.curvature, step)
        return step, slope - self.curvature * step


def _climb_model(model: _Model, lowest: FloatArray, highest: FloatArray) -> FloatArray:
    """Maximise the model over a box by a primal active set method, one bound at a time.

    Every round increases the model, so that stopping early still leaves an ascent direction.
    """
    step = np.zeros_like(lowest)
    is_free = (lowest < highest) & ~((lowest >= 0.0) & (model.slope <= 0.0))
    is_free &= ~((highest <= 0.0) & (model.slope >= 0.0))
    for _ in range(_CLIMB_ROUNDS):
        target, slope = model.maximize(is_free, step)
        move = np.where(is_free, target - step, 0.0)
        bound = np.where(move < 0.0, lowest, highest)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(move != 0.0, (bound - step) / move, np.inf)
        first = int(np.argmin(reach))
        if reach[first] < 1.0:
            step = np.clip(step + reach[first] * move, lowest, highest)
            step[first] = bound[first]
            is_free[first] = False
            continue
        step = np.clip(target, lowest, highest)
        pull = np.where((step <= lowest) & (lowest < highest), slope, 0.0)
        pull = np.where((step >= highest) & (lowest < highest), -slope, pull)
        pull = np.where(is_free, 0.0, pull / np.abs(model.slope).max())
        worst = int(np.argmax(pull))
        if pull[worst] <= _BALANCED:
            break
        is_free[worst] = True
    return step
