"""The disciplined form in the units and blocks that an interior point method likes.

With u = tokens / tokens_per_unit, v the service times in units of their own, h what the load grows
by as a share of the idle fraction y₀ at the least tokens, and sums over the types k and over blocks
j of rows, the program is

    minimise    s·v + Σ_k e_k + Σ_j q_j
    subject to  h = load·(v − v_least) / y₀
                lower ≤ u ≤ upper
                ‖r_j‖² ≤ q_j (1 − h)       r affine in v and h
                g_k miss_k(u_k) ≤ e_k      for the types that have something to gain.

Here s·v is the mean service time, Σ e what the accuracies miss of their ceilings and Σ q the mean
waiting time, in one unit and but for what is constant or in proportion to h. How the program is cut
into cones, and in what units it is counted, decide how far an interior point method gets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np

from cvxqueue.dcp.class_forms import Forms
from cvxqueue.dcp.expressions import (
    accuracies,
    completed_square,
    expressions,
    second_moment_root,
    service_times,
    waiting_time,
)
from cvxqueue.dcp.formulation import FixedData, Formulation
from cvxqueue.dcp.natural_units import cost_unit, scaled_tokens, tokens_per_unit
from cvxqueue.dcp.service_levels import limited
from cvxqueue.model import (
    AffineService,
    Instance,
    MichaelisMenten,
    PiecewiseLinear,
    PowerLaw,
    QuadraticService,
    SaturatingExponential,
)
from cvxqueue.model.linear_fractional import LinearFractionalQueue
from cvxqueue.numerics.arrays import FloatArray

# Rows of one second-order cone: 16 to 256 are as good. A cone for each takes up to twice the time,
# and one for all stops short on some instances of 100 000 types near saturation.
ROWS_PER_CONE = 64


def scaled(instance: Instance, scaling: float = 1.0) -> Formulation:
    """Return the disciplined form of a feasible instance as conic solvers like it.

    The unit of the objective is `scaling` times the `cost_unit`.
    """
    program = _Program(instance, scaling * cost_unit(instance))
    return program.formulation(partial(scaled, scaling=scaling))


class _Times(NamedTuple):
    """Service times base + slope ∘ v, of the decision or of a variable above them."""

    base: FloatArray
    """Seconds, shape (N,)."""
    slope: FloatArray
    """Seconds in one unit of v, shape (N,)."""
    variable: cp.Variable
    """v, shape (N,)."""
    least: FloatArray
    """v at the least tokens, shape (N,)."""
    scv: FloatArray | float = 0.0
    """The second moment is t² + scv ∘ (slope ∘ v)²."""

    @property
    def seconds(self) -> cp.Expression:
        """The times themselves."""
        return self.base + cp.multiply(self.slope, self.variable)


class _Program:
    """The program while it is written: each part adds its variables and constraints."""

    def __init__(self, instance: Instance, scale: float) -> None:
        self.instance, self.scale, self.unit = instance, scale, tokens_per_unit(instance)
        self.decision = scaled_tokens(instance)
        self.tokens = cp.multiply(self.unit, self.decision)
        self.variables = {"scaled_tokens": self.decision}
        self.constraints = {
            "min_tokens": self.decision >= instance.lower / self.unit,
            "max_tokens": self.decision <= instance.upper / self.unit,
        }

    def formulation(self, build: Callable[[Instance], Formulation]) -> Formulation:
        """The form, under the constraints of the instance."""
        instance, tokens = self.instance, self.tokens
        times = self._times()
        mean = self._mean_service_time(times)
        waiting = self._waiting_time(times, mean)
        cost, missed = self._missed_accuracies()
        service = (instance.probabilities / self.scale * times.slope) @ times.variable
        value = instance.model.accuracy_value * instance.probabilities
        base = instance.probabilities @ times.base
        constant = (float(value @ instance.accuracy.ceiling) - float(base)) / self.scale
        objective = constant - service - waiting - cost
        quantities = {
            "service_times": times.seconds,
            "mean_waiting_time": self.scale * waiting,
            "mean_system_time": self.scale * (service + waiting) + base,
            "mean_accuracy": instance.probabilities @ instance.accuracy.ceiling - missed,
            "token_rate": instance.arrival_rate * instance.probabilities @ tokens,
        }
        data, own = FixedData(instance, self.scale, build), expressions(instance, tokens)
        parts = self.variables, self.constraints, data, own, quantities
        return limited("scaled", objective, *parts)

    def _times(self) -> _Times:
        """Service times in v = u if they are affine, and else in a variable v above them."""
        law, lower = self.instance.service, self.instance.lower
        if type(law) is AffineService:
            slope = law.per_token * self.unit
            return _Times(law.base, slope, self.decision, lower / self.unit, law.token_scv)
        # In units of the time at u = 1: the variable is of order one.
        unit = law.mean(self.unit)
        above = self.variables["scaled_times"] = cp.Variable(unit.size, name="scaled_times")
        self.constraints["service_times"] = time_above(law, self.tokens, unit, above)
        return _Times(np.zeros(unit.size), unit, above, law.mean(lower) / unit)

    def _mean_service_time(self, times: _Times) -> cp.Expression:
        """The mean service time m1, by what the load λ m1 grows by."""
        rate, mix = self.instance.arrival_rate, self.instance.probabilities
        least = float(mix @ (times.base + times.slope * times.least))
        self.idle = 1.0 - rate * least
        growth = self.variables["growth"] = cp.Variable(name="growth")
        load = rate / self.idle * mix * times.slope
        self.constraints["growth"] = growth == load @ (times.variable - times.least)
        return least + self.idle / rate * growth

    def _waiting_time(self, times: _Times, mean: cp.Expression) -> cp.Expression:
        """The mean waiting time, in units of the objective."""
        instance, queue, rate = self.instance, self.instance.queue, self.instance.arrival_rate
        if not isinstance(queue, LinearFractionalQueue):
            root = second_moment_root(instance, times.seconds, self.tokens)
            return waiting_time(queue, rate, mean, root) / self.scale
        by_mean, by_load, by_second = queue.weights
        unit = self.scale * self.idle
        rows = []
        if by_second:
            weight = np.sqrt(by_second * rate * instance.probabilities / (2.0 * unit))
            (base, slope), rest = completed_square((times.base, times.slope), times.scv)
            rows.append(weight * base + cp.multiply(weight * slope, times.variable))
            excess = np.linalg.norm(weight * rest)
            if excess > 0.0:
                rows.append(cp.Constant([excess]))
        if by_mean + by_load or not rows:
            rows.append(cp.reshape(np.sqrt(rate * (by_mean + by_load) / unit) * mean, (1,), "F"))
        quotients = self._quotients(cp.hstack(rows))
        constant = queue.constant(rate) / self.scale
        return by_mean / self.scale * mean + cp.sum(quotients) + constant

    def _quotients(self, rows: cp.Expression) -> cp.Variable:
        """Variables above ‖r_j‖²/(1 − h), block by block."""
        height = min(rows.size, ROWS_PER_CONE)
        count = -(-rows.size // height)
        padded = cp.hstack([rows, np.zeros(count * height - rows.size)])
        blocks = cp.reshape(padded, (height, count), "F")
        above = self.variables["quotients"] = cp.Variable(count, name="quotients")
        idle = cp.promote(1 - self.variables["growth"], (count,))
        # ‖r‖² ≤ q y is (q + y)² ≥ (q − y)² + ‖2 r‖².
        first = cp.reshape(above - idle, (1, count), "F")
        cone = cp.SOC(above + idle, cp.vstack([first, 2 * blocks]), axis=0)
        self.constraints["quotients"] = cone
        return above

    def _missed_accuracies(self) -> tuple[cp.Expression, cp.Expression]:
        """What the accuracies miss of their ceilings: their cost, and the mean of it."""
        instance, mix = self.instance, self.instance.probabilities
        value = instance.model.accuracy_value * mix / self.scale
        has_floor = any(coupling.is_floor for coupling in instance.model.couplings)
        # What is worth nothing needs some weight all the same where a floor counts it.
        weights = np.where(value > 0.0, value, mix * (value.sum() or np.sqrt(mix.size)))
        cost: cp.Expression = cp.Constant(0.0)
        mean: cp.Expression = cp.Constant(0.0)
        for number, (place, curve) in enumerate(instance.accuracy.groups, start=1):
            types = np.arange(mix.size)[place]
            gain = curve.ceiling - curve.value(np.zeros(types.size))
            types = types[kept := (gain > 0.0) & ((value[types] > 0.0) | has_floor)]
            if not types.size:
                continue
            own = curve if kept.all() else curve.mapped(lambda array, kept=kept: array[..., kept])
            chosen = self.tokens if types.size == mix.size else self.tokens[types]
            above = cp.Variable(types.size, name=f"missed {number}")
            weight = weights[types]
            amounts, cone = missed_accuracy(own, chosen, weight, above)
            self.variables[above.name()], self.constraints[above.name()] = above, cone
            cost = cost + (value[types] > 0.0).astype(float) @ amounts
            mean = mean + (mix[types] / weight) @ amounts
        return cost, mean


def _by_its_times(
    law: Any, tokens: cp.Expression, unit: FloatArray, above: cp.Variable
) -> cp.Constraint:
    return above >= cp.multiply(1.0 / unit, service_times(law, tokens))


time_above: Forms[Callable[..., cp.Constraint]] = Forms("service", otherwise=_by_its_times)
"""A constraint that holds a variable above the service times of a law, in units of `unit`."""


@time_above.register(QuadraticService)
def _(
    law: QuadraticService, tokens: cp.Expression, unit: FloatArray, above: cp.Variable
) -> cp.Constraint:
    # (d l)² ≤ x is (x + 1)² ≥ (x − 1)² + (2 d l)²: one row less for each type than the atom has,
    # and a median of 43 iterations for 68 on 15 instances of 10 000 types.
    room = above - law.base / unit - cp.multiply(law.per_token / unit, tokens)
    bend = cp.multiply(2.0 * np.sqrt(law.per_squared_token / unit), tokens)
    return cp.SOC(room + 1, cp.vstack([room - 1, bend]), axis=0)


def _by_its_accuracies(
    curve: Any, tokens: cp.Expression, weight: FloatArray, above: cp.Variable
) -> tuple[cp.Expression, cp.Constraint]:
    return above, above >= cp.multiply(weight, curve.ceiling - accuracies(curve, tokens))


missed_accuracy: Forms[Callable[..., tuple[cp.Expression, cp.Constraint]]] = Forms(
    "accuracy", otherwise=_by_its_accuracies
)
"""weight ∘ (ceiling − accuracy) in terms of a variable, and the cone that holds that above it.

The numbers in the cone shall be of order one, whatever the weight.
"""


@missed_accuracy.register(SaturatingExponential)
def _(
    curve: SaturatingExponential, tokens: cp.Expression, weight: FloatArray, above: cp.Variable
) -> tuple[cp.Expression, cp.Constraint]:
    # g exp(−b l) ≤ e, the weight inside: as a factor of e it would be a multiplier.
    exponent = np.log(weight * curve.gain) - cp.multiply(curve.rate, tokens)
    return above, cp.ExpCone(exponent, np.ones(weight.size), above)


@missed_accuracy.register(PowerLaw)
def _(
    curve: PowerLaw, tokens: cp.Expression, weight: FloatArray, above: cp.Variable
) -> tuple[cp.Expression, cp.Constraint]:
    # (1 + l/s)^−β ≤ e is e^a (1 + l/s)^(1−a) ≥ 1 with a = 1/(1 + β). With the weight inside, mixes
    # over nine decades stop short.
    share, one = 1.0 / (1.0 + curve.exponent), np.ones(weight.size)
    cone = cp.PowCone3D(above, 1 + cp.multiply(1.0 / curve.scale, tokens), one, share)
    return cp.multiply(weight * curve.gain, above), cone


@missed_accuracy.register(MichaelisMenten)
def _(
    curve: MichaelisMenten, tokens: cp.Expression, weight: FloatArray, above: cp.Variable
) -> tuple[cp.Expression, cp.Constraint]:
    # g/(1 + l/h) ≤ e is e (1 + l/h) ≥ √g².
    rest = 1 + cp.multiply(1.0 / curve.half_saturation, tokens)
    root = np.sqrt(weight * curve.gain)
    return above, cp.SOC(above + rest, cp.vstack([2 * root, above - rest]), axis=0)


@missed_accuracy.register(PiecewiseLinear)
def _(
    curve: PiecewiseLinear, tokens: cp.Expression, weight: FloatArray, above: cp.Variable
) -> tuple[cp.Expression, cp.Constraint]:
    # The curve is the least of its lines, and what it misses the greatest.
    slopes, heights = weight * curve.segment_slopes, weight * curve.breakpoint_values
    base = weight * curve.ceiling - heights + slopes * curve.breakpoints
    lines = base - cp.multiply(slopes, cp.vstack([tokens] * len(slopes)))
    return above, cp.vstack([above] * len(slopes)) >= lines
