"""The problem as a careful user would hand it to L-BFGS-B of scipy."""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, OptimizeResult, minimize

import cvxqueue as cq
from cvxqueue.certificates import order_bracket, step_size
from cvxqueue.numerics.arrays import FloatArray


class QuasiNewton:
    """The negative objective in scaled variables, with its gradient, box and start.

    Everything that helps is given to it, and found before the clock starts: the box is the order
    bracket, the start is the one of newton, the objective is counted in units of its size, and
    no step can leave the domain. Below the idle fraction s0 that the optimum is proven to keep,
    1/s is continued by its second-order expansion at s0, because a line search that meets infinity
    gives up.

    Parameters
    ----------
    instance
        The instance.
    metric
        ``"rate"``: the variables are rate · tokens. ``"curvature"``: the root of the certified
        diagonal bound on the Hessian times the tokens; few users would have it.
    """

    def __init__(self, instance: cq.Instance, metric: str) -> None:
        assert isinstance(instance.service, cq.AffineService)
        assert isinstance(instance.accuracy, cq.SaturatingExponential)
        self.instance, self.metric = instance, metric
        self.base, self.per_token = instance.service.base, instance.service.per_token
        self.rate = instance.accuracy.rate
        self.floor, self.gain = instance.accuracy.floor, instance.accuracy.gain
        self.value = instance.model.accuracy_value * instance.probabilities
        bracket = order_bracket(instance, rounds=2)
        certified = step_size(instance, bracket.lower)
        self.least_idle = certified.least_idle
        self.factors = self.rate if metric == "rate" else np.sqrt(certified.metric)
        self.start = bracket.lower * self.factors
        self.box = Bounds(self.start, bracket.upper * self.factors)
        self.unit = float(instance.evaluate(bracket.lower).scale)

    def __call__(self, variables: FloatArray) -> tuple[float, FloatArray]:
        """Return the negative objective and its gradient."""
        lam, mix = self.instance.arrival_rate, self.instance.probabilities
        tokens = variables / self.factors
        times = self.base + self.per_token * tokens
        mean, second = float(mix @ times), float(mix @ (times * times))
        inverse, slope = self._inverse(1.0 - lam * mean)
        missing = self.gain * np.exp(-self.rate * tokens)
        cost = mean + lam * second / 2.0 * inverse
        benefit = float(self.value @ (self.floor + self.gain - missing))
        mean_price = 1.0 - lam * lam * second / 2.0 * slope
        gradient = mix * self.per_token * (mean_price + lam * times * inverse)
        gradient -= self.value * self.rate * missing
        return (cost - benefit) / self.unit, gradient / (self.factors * self.unit)

    def _inverse(self, idle: float) -> tuple[float, float]:
        """Return 1/s and its derivative, both continued below the least idle fraction."""
        if idle >= self.least_idle:
            return 1.0 / idle, -1.0 / idle**2
        step = idle / self.least_idle - 1.0
        return (1.0 - step + step * step) / self.least_idle, (2.0 * step - 1.0) / self.least_idle**2

    def solve(self) -> cq.Answer:
        """Run L-BFGS-B."""
        result: OptimizeResult = minimize(
            self,
            self.start,
            jac=True,
            method="L-BFGS-B",
            bounds=self.box,
            # It is to stop for want of progress, and for no other reason.
            options={
                "maxiter": 1_000_000,
                "maxfun": 1_000_000,
                "maxls": 50,
                "ftol": 1e-16,
                "gtol": 1e-14,
            },
        )
        return cq.Answer(
            result.x / self.factors,
            iterations=int(result.nit),
            backend_status=str(result.message).strip(),
        )
