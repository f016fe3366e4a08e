"""Projected gradient ascent, plain with one scalar step or accelerated in a diagonal metric.

The step size certificate bounds the curvature on the level set of the start, so that a step of one
over that bound increases J and never leaves the set. In the diagonal metric the curvature is first
guessed from today's point; a guess is raised, up to the certified bound, until the quadratic model
holds for the step taken.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from cvxqueue.certificates import order_bracket, step_size
from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.differences import improvement
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import require_that
from cvxqueue.numerics.summation import accurate_sum
from cvxqueue.solvers.driver import Proposal, Proposals

# The guess may fall by this factor from one step to the next, and is doubled where it fails.
_RELAX = 0.9
# What Nesterov's recursion gives after one step without momentum. With the 1 that it starts from,
# the step after a restart would have no momentum either, and restart in its turn for ever.
_FIRST_MOMENTUM = 0.5 * (1.0 + np.sqrt(5.0))


def projected_gradient(
    instance: Instance,
    start: FloatArray | None = None,
    metric: Literal["diagonal", "scalar"] = "diagonal",
) -> Proposals:
    """Propose the iterates of the projected gradient method.

    By default from the lower end of the order bracket on. The metric ``"scalar"`` is one certified
    step for all types, without acceleration; ``"diagonal"`` a step of its own for each type,
    accelerated, with a restart where the objective would fall.
    """
    is_known = metric in ("diagonal", "scalar")
    require_that(is_known, "metric", metric, "'diagonal' or 'scalar'")
    tokens = order_bracket(instance).lower if start is None else start
    point = instance.evaluate(tokens)
    certified = step_size(instance, tokens)
    if metric == "scalar":
        yield from _plain(point, certified.value)
    else:
        yield from _accelerated(point, certified.metric)


def _plain(point: Evaluation, bound: float) -> Proposals:
    model = point.model
    while True:
        yield Proposal(point)
        target = _ascend(point, bound)
        if np.array_equal(target, point.tokens):
            return
        point = model.evaluate(target)


def _accelerated(point: Evaluation, certified: FloatArray) -> Proposals:
    model = point.model
    previous, momentum, guess = point.tokens, 1.0, 1.0
    while True:
        yield Proposal(point)
        faster = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * momentum**2))
        inertia = (momentum - 1.0) / faster
        moved = None
        if inertia > 0.0:
            ahead = point.tokens + inertia * (point.tokens - previous)
            leading = model.evaluate(np.clip(ahead, model.lower, model.upper))
            if leading.is_stable:
                moved, guess = _majorized_step(leading, certified, guess)
        if moved is None or improvement(point, moved) <= 0.0:
            # No momentum yet, or it overshot: start again from the last good point.
            faster = _FIRST_MOMENTUM
            moved, guess = _majorized_step(point, certified, guess)
            if moved is None or improvement(point, moved) <= 0.0:
                return
        previous, point, momentum, guess = point.tokens, moved, faster, guess * _RELAX


def _majorized_step(
    point: Evaluation, certified: FloatArray, guess: float
) -> tuple[Evaluation | None, float]:
    """Step in the least multiple of today's metric whose quadratic model holds for the step."""
    model = point.model
    second, idle = float(point.service_time_second_moment), float(point.idle)
    congestion = model.queue.curvature(model.arrival_rate, second, idle).greatest
    benefit = -model.accuracy_value * model.accuracy.curvature(point.tokens)
    unit = model.service.mean_square_slope(point.tokens)
    # What the price of a squared second makes of the slopes is in the curvature of T already.
    bend = point.cost_curvature - 2.0 * point.prices.second_moment * unit
    local = model.probabilities * (benefit + bend + congestion * unit)
    while True:
        metric = np.minimum(guess * local, certified)
        moved = model.evaluate(_ascend(point, metric))
        if moved.is_stable:
            step = moved.tokens - point.tokens
            gain = point.gradient * step - 0.5 * metric * np.square(step)
            if improvement(point, moved) >= float(accurate_sum(gain)):
                return moved, guess
        # A guess that has overflowed is not below the certified bound either.
        if not np.any(metric < certified):
            return (moved if moved.is_stable else None), guess
        guess *= 2.0


def _ascend(point: Evaluation, metric: FloatArray | float) -> FloatArray:
    """Maximiser over the box of the quadratic model with the given diagonal."""
    model = point.model
    return np.clip(point.tokens + point.gradient / metric, model.lower, model.upper)
