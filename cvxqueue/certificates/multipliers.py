"""Multipliers of the constraints that couple the types, for tokens that somebody proposes.

Any multipliers μ ≥ 0 prove a bound (`cvxqueue.certificates.coupled`). It is convex in them, with

    slack_i − ∇c_i · (response − tokens)

as its slopes, the response being that of the Lagrangian to its own marginal cost; so Newton's
method finds those that prove most in a few steps. Where curves have kinks the response jumps, and
bisection goes on from there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cvxqueue.certificates.coupled import coupled_gap, excesses, is_satisfied, lagrangian
from cvxqueue.certificates.dual_step import multiplier_step
from cvxqueue.model import Evaluation
from cvxqueue.model.arrays import FloatArray

__all__ = ["estimated_multipliers"]

# Steps of Newton's method, and how often one is halved.
_STEPS, _HALVINGS = 30, 30
# What promises to lower the bound by less than this share of it is not worth another look.
_WORTHWHILE = 0.01
_ROUNDING = 4.0 * float(np.finfo(np.float64).eps)
# Bisection of multipliers: how often over all of them, and how far up.
_SWEEPS, _WIDER, _GREATEST = 20, 8.0, 1e100
# Tokens this close to a kink, relatively, are at it.
_BESIDE = 1e-6
# What stands for a curvature of zero, relative to a marginal cost over the largest tokens, or one.
_YIELDING = 1e-8


class _Bound(NamedTuple):
    """The bound on the optimum that multipliers prove, as a convex function of them."""

    multipliers: FloatArray
    gap: float
    """Its distance from the certified objective, in seconds."""
    excess: FloatArray
    """Less its slopes: what the responses exceed each constraint by, to first order."""
    hessian: FloatArray


def estimated_multipliers(point: Evaluation) -> FloatArray:
    """Multipliers that prove about the best bound that tokens in the box allow.

    Zeros where the tokens are unstable or violate a constraint, so that nothing is proven.
    """
    none = np.zeros(len(point.instance.couplings))
    if not is_satisfied(point):
        return none
    starts = (_bound(point, none), _bound(point, _balancing(point)))
    found = _lowered(point, min(starts, key=lambda bound: bound.gap)).multipliers
    return found if point.instance.accuracy.is_smooth else _bisected(point, found)


def _balancing(point: Evaluation) -> FloatArray:
    """Multipliers that balance ∇J best: least squares over the types that can move."""
    instance = point.instance
    gradients = np.stack([coupling.gradient(point) for coupling in instance.couplings])
    curvature = -instance.probabilities * (
        instance.benefit.curvature(point.tokens) - point.cost_curvature
    )
    is_free = (point.tokens > instance.lower) & (point.tokens < instance.upper)
    if not instance.accuracy.is_smooth:
        # At a kink a type balances nothing; inside a straight piece it must, and may not bend.
        ends = (point.tokens * (1.0 - _BESIDE), point.tokens * (1.0 + _BESIDE))
        is_free &= np.isfinite(instance.accuracy.curvature_range(*ends)[1])
        stiffness = instance.probabilities * point.marginal_cost / np.maximum(instance.upper, 1.0)
        curvature = np.maximum(curvature, _YIELDING * stiffness)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        weights = np.where(is_free & (curvature > 0.0), 1.0 / np.sqrt(curvature), 0.0)
        columns, right = gradients * weights, point.gradient * weights
        normal, slopes = columns @ columns.T, columns @ right
    none = np.zeros(len(gradients))
    balancing = multiplier_step(none, slopes, normal, float(point.scale))
    return none if balancing is None else np.maximum(balancing, 0.0)


def _lowered(point: Evaluation, today: _Bound) -> _Bound:
    """The least bound that Newton's method finds from another."""
    for _ in range(_STEPS):
        step = multiplier_step(today.multipliers, today.excess, today.hessian, float(point.scale))
        if step is None:
            break
        promise = today.excess @ step - 0.5 * step @ today.hessian @ step
        if not promise > _WORTHWHILE * today.gap:
            break
        for _ in range(_HALVINGS):
            moved = _bound(point, np.maximum(today.multipliers + step, 0.0))
            if moved.gap < today.gap:
                break
            step = 0.5 * step
        else:
            break
        today = moved
    return today


def _bound(point: Evaluation, multipliers: FloatArray) -> _Bound:
    priced, instance = lagrangian(point, multipliers), point.instance
    response = priced.response
    there = instance.evaluate(response)
    values, gradients = excesses(point), []
    for place, coupling in enumerate(instance.couplings):
        # A floor is worth accuracy, which is not taken for linear.
        gradient = coupling.gradient(there if coupling.is_floor else point)
        gradients.append(gradient)
        if coupling.is_floor:
            values[place] = coupling.excess(there)
        else:
            values[place] += gradient @ (response - point.tokens)
    slopes = np.stack(gradients)
    bend = -priced.instance.benefit.curvature(response)
    is_free = (response > instance.lower) & (response < instance.upper) & (bend > 0.0)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        pliancy = np.where(is_free, 1.0 / (instance.probabilities * bend), 0.0)
        hessian = (slopes * pliancy) @ slopes.T
    return _Bound(multipliers, coupled_gap(point, multipliers), values, hessian)


def _bisected(point: Evaluation, found: FloatArray) -> FloatArray:
    """Multipliers that are no worse, by bisection of one after the other.

    They may stop short; where depends on which comes first.
    """
    count = len(point.instance.couplings)
    order, none = list(range(count)), np.zeros(count)
    starts = [(found, order), *((none, order[k:] + order[:k]) for k in order)]
    choices = [found, *(_sharpened(point, start, turn) for start, turn in starts)]
    return min(choices, key=lambda multipliers: coupled_gap(point, multipliers))


def _sharpened(point: Evaluation, multipliers: FloatArray, order: list[int]) -> FloatArray:
    """Multipliers that make the bound sharper, one after the other, by bisection.

    At a corner a type is content with a whole interval of marginal costs, and a gradient says
    little. The bound is convex in each multiplier, and falls with it while the responses exceed
    what the constraint, to first order, allows.
    """
    instance = point.instance
    values = excesses(point)
    gradients = [coupling.gradient(point) for coupling in instance.couplings]
    multipliers = multipliers.copy()

    def excess(place: int, multiplier: float) -> float:
        multipliers[place] = multiplier
        response = lagrangian(point, multipliers).response
        coupling = instance.couplings[place]
        if coupling.is_floor:
            return coupling.excess(instance.evaluate(response))
        return float(values[place] + gradients[place] @ (response - point.tokens))

    for _ in range(_SWEEPS if len(order) > 1 else 1):
        before = multipliers.copy()
        for place in order:
            least, most = 0.0, float(multipliers[place]) or 1.0
            if excess(place, 0.0) <= 0.0:
                continue
            while excess(place, most) > 0.0 and most < _GREATEST:
                least, most = most, _WIDER * most
            while least < (middle := 0.5 * (least + most)) < most:
                if excess(place, middle) > 0.0:
                    least = middle
                else:
                    most = middle
            multipliers[place] = most
        if (np.abs(multipliers - before) <= _ROUNDING * before).all():
            break
    return multipliers
