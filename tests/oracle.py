"""The optimum of an instance to thirty digits: mpmath arithmetic, and nothing of the package.

The types meet only in the mean m1 and the second moment m2 of the service time, so the search is
for two numbers. Let y = 1 - lambda m1 be the idle fraction. At a trial y the price of a squared
second is P2 = lambda/(2y), and the price of a second is the P1 at which 1 + lambda^2 m2/(2y^2) - P1
falls through zero, with m2 at the best answers of the types to (P1, P2); they shrink as P1 grows.
The optimum is where the slack 1 - y - lambda m1 then falls through zero.

It does so once. Let phi(y) be the best of alpha sum(pi w p) - m1 - lambda m2/(2y) over the box
subject to lambda m1 <= 1 - y, and mu >= 0 the multiplier of that constraint. phi is concave, its
maximiser is the idle fraction of the optimum, and its slope is lambda m2/(2y^2) - mu. Since m1 and
m2 fall in P1 = 1 + lambda mu, the slack has the sign of this slope. (Where no point of the box has
lambda m1 <= 1 - y, or all have, the sign of the slack is plain.) As y > 0 throughout, the roots of
the price equations with lambda m1 > 1 are out of reach.

What the search finds is not believed but proven, by a bound on its distance from the optimum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mpmath import mp, mpf, nstr, workdps

TYPE_FIELDS = (
    "probabilities",
    "min_tokens",
    "max_tokens",
    "importance",
    "base",
    "per_token",
    "floor",
    "gain",
    "rate",
)


@dataclass(frozen=True)
class TaskType:
    """One task type in exact arithmetic; every field is the rational that its float64 denotes."""

    probability: mpf
    min_tokens: mpf
    max_tokens: mpf
    importance: mpf
    base: mpf
    per_token: mpf
    floor: mpf
    gain: mpf
    rate: mpf

    def service_time(self, tokens: mpf) -> mpf:
        """Return the service time in seconds."""
        return self.base + self.per_token * tokens

    def accuracy(self, tokens: mpf) -> mpf:
        """Return the probability of a correct answer."""
        return self.floor - self.gain * mp.expm1(-self.rate * tokens)

    def position(self, tokens: mpf) -> str:
        """Return where tokens lie in the box: ``fixed``, ``lower``, ``upper`` or ``free``."""
        if self.min_tokens == self.max_tokens:
            return "fixed"
        if tokens == self.min_tokens:
            return "lower"
        return "upper" if tokens == self.max_tokens else "free"

    def response(self, weight: mpf, price1: mpf, price2: mpf) -> mpf:
        """Return the tokens that maximise weight w p - price1 t - price2 t^2 over the box."""
        worth = weight * self.importance * self.gain * self.rate
        if worth == 0:
            return self.min_tokens

        def excess(tokens: mpf) -> tuple[mpf, mpf]:
            # The log of marginal worth over marginal price: convex and falling, so that Newton's
            # method from the left never overshoots.
            price = self.per_token * (price1 + 2 * price2 * self.service_time(tokens))
            slope = -self.rate - 2 * price2 * self.per_token**2 / price
            return mp.log(worth / price) - self.rate * tokens, slope

        if excess(self.min_tokens)[0] <= 0:
            return self.min_tokens
        if excess(self.max_tokens)[0] >= 0:
            return self.max_tokens
        return crossing(excess, self.min_tokens, self.max_tokens, self.min_tokens)


@dataclass(frozen=True)
class Problem:
    """An instance in exact arithmetic."""

    arrival_rate: mpf
    accuracy_weight: mpf
    types: tuple[TaskType, ...]

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Problem:
        """Read a parameters dictionary, taking each float64 as the rational that it denotes."""
        columns = ([mpf(float(value)) for value in parameters[field]] for field in TYPE_FIELDS)
        types = tuple(TaskType(*row) for row in zip(*columns, strict=True))
        return cls(
            mpf(float(parameters["arrival_rate"])), mpf(float(parameters["accuracy_weight"])), types
        )

    def mean(self, values: Sequence[mpf]) -> mpf:
        """Return the mean over the mix of one value per type."""
        return sum((k.probability * v for k, v in zip(self.types, values, strict=True)), mpf(0))

    def service_times(self, tokens: Sequence[mpf]) -> list[mpf]:
        """Return the service time of each type in seconds."""
        return [k.service_time(v) for k, v in zip(self.types, tokens, strict=True)]

    def idle(self, times: Sequence[mpf]) -> mpf:
        """Return one minus the utilization."""
        return 1 - self.arrival_rate * self.mean(times)

    def mean_system_time(self, times: Sequence[mpf]) -> mpf:
        """Return the Pollaczek-Khinchine mean of waiting plus service in seconds."""
        waiting = self.arrival_rate * self.mean([t**2 for t in times]) / (2 * self.idle(times))
        return self.mean(times) + waiting

    def objective(self, tokens: Sequence[mpf]) -> mpf:
        """Return the objective in seconds."""
        accuracies = [k.importance * k.accuracy(v) for k, v in zip(self.types, tokens, strict=True)]
        times = self.service_times(tokens)
        return self.accuracy_weight * self.mean(accuracies) - self.mean_system_time(times)

    def responses(self, price1: mpf, price2: mpf) -> list[mpf]:
        """Return the best answer of each type to the prices."""
        return [k.response(self.accuracy_weight, price1, price2) for k in self.types]

    def sensitivity(self, tokens: Sequence[mpf], price1: mpf, price2: mpf) -> tuple[mpf, mpf, mpf]:
        """Return the means u0, u1, u2 of c t^j dl/dP1 over the types that answer to the prices.

        As dl/dP2 = 2 t dl/dP1, these hold all slopes of the moments: dm1/dP1 = u0,
        dm1/dP2 = dm2/dP1 = 2 u1 and dm2/dP2 = 4 u2.
        """
        u0 = u1 = u2 = mpf(0)
        for k, value in zip(self.types, tokens, strict=True):
            if k.position(value) == "free":
                time = k.service_time(value)
                stiffness = k.rate * (price1 + 2 * price2 * time) + 2 * price2 * k.per_token
                change = -k.probability * k.per_token / stiffness
                u0, u1, u2 = u0 + change, u1 + change * time, u2 + change * time**2
        return u0, u1, u2


def crossing(function: Callable[[mpf], tuple[mpf, mpf]], lower: mpf, upper: mpf, start: mpf) -> mpf:
    """Return where a function falls through zero.

    Newton's method, and a bisection wherever a step would leave the bracket or is more than half of
    the step before it. A step of half the working digits leaves an error of all of them.

    Parameters
    ----------
    function
        Gives the value and the slope; positive before the crossing and negative behind it.
    lower, upper
        The bracket of the crossing.
    start
        The first trial point.
    """
    point, reach = start, upper - lower
    while reach > mp.eps * abs(point):
        value, slope = function(point)
        if value == 0:
            break
        lower, upper = (point, upper) if value > 0 else (lower, point)
        newton = point - value / slope if slope < 0 else lower
        if lower < newton < upper and abs(newton - point) <= reach / 2:
            point, reach = newton, abs(newton - point)
            if reach <= mp.sqrt(mp.eps) * abs(point):
                break
        else:
            point, reach = (lower + upper) / 2, (upper - lower) / 2
    return point


def search(problem: Problem) -> list[mpf]:
    """Return the tokens at which the prices reproduce themselves."""
    rate = problem.arrival_rate
    caps = problem.service_times([k.max_tokens for k in problem.types])
    second_moment_cap = problem.mean([t**2 for t in caps])

    def answer(y: mpf) -> tuple[mpf, list[mpf]]:
        load = rate / y

        def shortfall(price1: mpf) -> tuple[mpf, mpf]:
            tokens = problem.responses(price1, load / 2)
            _, u1, _ = problem.sensitivity(tokens, price1, load / 2)
            second_moment = problem.mean([t**2 for t in problem.service_times(tokens)])
            return 1 + load**2 * second_moment / 2 - price1, load**2 * u1 - 1

        price1 = crossing(shortfall, mpf(1), 1 + load**2 * second_moment_cap, mpf(1))
        return price1, problem.responses(price1, load / 2)

    def slack(y: mpf) -> tuple[mpf, mpf]:
        price1, tokens = answer(y)
        load, load_slope = rate / y, -rate / y**2
        times = problem.service_times(tokens)
        u0, u1, u2 = problem.sensitivity(tokens, price1, load / 2)
        second_moment = problem.mean([t**2 for t in times])
        price1_slope = load * load_slope * (second_moment + load * u2) / (1 - load**2 * u1)
        return problem.idle(times) - y, -1 - rate * (u0 * price1_slope + u1 * load_slope)

    # The crossing lies in (0, 1]; the wider bracket keeps it off the end.
    return answer(crossing(slack, mpf(0), mpf(2), mpf(1)))[1]


def prove(problem: Problem, tokens: Sequence[mpf], digits: int) -> list[str]:
    """Return the active set of the optimum, or raise if the tokens are not proven to be it.

    In the norm |x|^2 = sum pi (c x)^2 the Hessian of the mean system time is at least
    kappa = lambda/(1 + lambda sqrt(sum(pi) m2(L)))^2: its quadratic form is
    lambda/y |(I + (lambda/y) t 1') c x|^2, the inverse of that matrix is I - lambda t 1', and
    y <= 1. So the distance from the optimum is at most |v|/kappa, where v is what the gradient, per
    unit of pi c, violates of the optimality conditions: all of it for a free type, and what points
    into the box for a type at a bound.

    Parameters
    ----------
    problem
        The instance.
    tokens : sequence of N mpf
        The point in question.
    digits
        What is to be proven: the violation of each type is at most 10^-digits of its marginal
        price, and the tokens of each free type are within 10^-digits of themselves.

    Returns
    -------
    list of N str
        ``free``, ``lower``, ``upper``, or ``fixed`` where the box is a point.

    Raises
    ------
    ArithmeticError
        If the point is outside the box, or unstable, or not proven to be that close.
    """
    rate = problem.arrival_rate
    times = problem.service_times(tokens)
    y = problem.idle(times)
    if y <= 0 or any(
        not k.min_tokens <= v <= k.max_tokens for k, v in zip(problem.types, tokens, strict=True)
    ):
        raise ArithmeticError("the point is outside the box or the queue is unstable")
    price1 = 1 + rate**2 * problem.mean([t**2 for t in times]) / (2 * y**2)
    price2 = rate / (2 * y)

    tolerance = mpf(10) ** -digits
    violations = []
    for k, value, time in zip(problem.types, tokens, times, strict=True):
        price = price1 + 2 * price2 * time
        worth = problem.accuracy_weight * k.importance * k.gain * k.rate / k.per_token
        gradient = worth * mp.exp(-k.rate * value) - price
        position = k.position(value)
        into_box = {"fixed": mpf(0), "lower": max(gradient, 0), "upper": min(gradient, 0)}
        violations.append(into_box.get(position, gradient))
        if abs(violations[-1]) > tolerance * price:
            raise ArithmeticError(f"not stationary: a {position} type violates {violations[-1]}")

    caps = problem.service_times([k.max_tokens for k in problem.types])
    total = problem.mean([mpf(1)] * len(caps))
    modulus = rate / (1 + rate * mp.sqrt(total * problem.mean([t**2 for t in caps]))) ** 2
    radius = mp.sqrt(problem.mean([v**2 for v in violations])) / modulus
    for k, value in zip(problem.types, tokens, strict=True):
        distance = radius / (k.per_token * mp.sqrt(k.probability))
        if k.position(value) == "free" and distance > tolerance * value:
            raise ArithmeticError(f"{value} tokens are only proven to within {distance}")
    return [k.position(v) for k, v in zip(problem.types, tokens, strict=True)]


def optimum(parameters: Mapping[str, Any], digits: int = 30) -> dict[str, Any]:
    """Solve an instance and prove the digits of its optimum.

    Parameters
    ----------
    parameters
        ``arrival_rate`` and ``accuracy_weight`` (numbers) and the fields of `TYPE_FIELDS` (N
        numbers each), in seconds and tokens. The mix is taken as it stands, not renormalised.
    digits
        Significant digits of the answer; the arithmetic carries twice as many.

    Returns
    -------
    dict
        ``tokens`` (N strings), ``objective``, ``utilization`` and ``mean_system_time`` as decimal
        strings, and ``active``: ``free``, ``lower``, ``upper`` or ``fixed`` for each type.

    Raises
    ------
    ValueError
        If the queue is unstable at the lower bounds.
    ArithmeticError
        If the digits could not be proven.
    """
    with workdps(2 * digits):
        problem = Problem.of(parameters)
        load = 1 - problem.idle(problem.service_times([k.min_tokens for k in problem.types]))
        if load >= 1:
            raise ValueError(f"no stable point: the load at the lower bounds is {nstr(load, 10)}")
        tokens = search(problem)
        active = prove(problem, tokens, digits)
        times = problem.service_times(tokens)
        text = partial(nstr, n=digits, strip_zeros=False)
        return {
            "tokens": [text(v) for v in tokens],
            "objective": text(problem.objective(tokens)),
            "utilization": text(1 - problem.idle(times)),
            "mean_system_time": text(problem.mean_system_time(times)),
            "active": active,
        }
