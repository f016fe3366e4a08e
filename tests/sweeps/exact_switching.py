"""Switching points in forty digits: the stationarity equations as they stand, and nothing shared.

The unknowns are the two prices and the parameter. All types but the one that switches answer to the
prices (`tests.family_oracle`); the equations are that the queue has these prices, and that at its
rest the marginal worth of the type that switches is its marginal cost.
"""

from __future__ import annotations

from mpmath import mp, mpf

import cvxqueue as cq
from tests.families import Family
from tests.family_oracle import Exact, accuracy_slope, service_slopes

DIGITS = 40


def switching_value(family: Family, points: cq.SwitchingPoints, row: int) -> mpf:
    """Return the value of the parameter at one switching point, to forty digits."""
    with mp.workdps(DIGITS + 20):
        problem, k = Exact(family), int(points.types[row])
        who, rest = problem.types[k], mpf(float(points.tokens[row, k]))
        curve = who["accuracy"]
        is_from_left = points.bounds[row] in ("max tokens", "kink from below")
        side = rest * (1 - mpf(10) ** -25) if is_from_left and curve["kind"] == "points" else rest
        worth = who["importance"] * accuracy_slope(curve, side)
        slopes = service_slopes(who["service"], rest)
        start = points.instance.replace(**{points.over: float(points.values[row])})
        prices = start.evaluate(points.tokens[row]).prices

        def equations(first: mpf, second: mpf, value: mpf) -> list[mpf]:
            if points.over == "arrival_rate":
                problem.rate = value
            else:
                problem.weight = value
            tokens = problem.responses(first, second)
            tokens[k] = rest
            m1, m2 = problem.moments(tokens)
            found = problem.prices(1 - problem.rate * m1, m2)
            cost = first * slopes[0] + second * slopes[1]
            share = (second - found[1]) / (found[1] or 1)
            return [first / found[0] - 1, share, problem.weight * worth / cost - 1]

        near = [mpf(float(it)) for it in (*prices, points.values[row])]
        return mp.findroot(equations, near, tol=mpf(10) ** -(2 * DIGITS), maxsteps=40)[2]
