"""The optimum of an instance of any family to thirty digits: mpmath, and nothing of the package.

The search is that of `tests.oracle`, for the idle fraction y and the price of a second of service,
with every slope taken as a difference quotient of thirty more digits: the formulas of the queues,
laws and curves are all that is written down. What it finds is not believed but proven, by the
separable bound: for every l' in the box

    J(l') - J(l) <= sum_k max_v [alpha pi w (p(v) - p(l)) - (v - l) dT/dl_k].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from mpmath import mp, mpf, nstr, workdps

from tests.families import Family
from tests.oracle import crossing

# Relative step of a difference quotient, and what it leaves at twice thirty digits.
_STEP = mpf(10) ** -30


def exact(value: Any) -> Any:
    """Every float as the rational that it denotes, in nested records too."""
    if isinstance(value, Mapping):
        return {key: exact(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [exact(part) for part in value]
    return value if isinstance(value, str) else mpf(float(value))


def service_moments(row: Mapping[str, mpf], tokens: mpf) -> tuple[mpf, mpf]:
    """Both moments of the service time of a type."""
    thinking = row["per_token"] * tokens
    time = row["base"] + thinking + row.get("per_squared_token", mpf(0)) * tokens**2
    return time, time**2 + row.get("token_scv", mpf(0)) * thinking**2


def service_slopes(row: Mapping[str, mpf], tokens: mpf) -> tuple[mpf, mpf]:
    """What one more token adds to the two moments."""
    time = service_moments(row, tokens)[0]
    slope = row["per_token"] + 2 * row.get("per_squared_token", mpf(0)) * tokens
    spread = row.get("token_scv", mpf(0)) * row["per_token"] ** 2 * tokens
    return slope, 2 * (time * slope + spread)


def accuracy(row: Mapping[str, Any], tokens: mpf) -> mpf:
    """Probability of a correct answer."""
    if row["kind"] == "exponential":
        return row["floor"] + row["gain"] * (1 - mp.exp(-row["rate"] * tokens))
    if row["kind"] == "power":
        return row["floor"] + row["gain"] * (1 - (1 + tokens / row["scale"]) ** -row["exponent"])
    if row["kind"] == "michaelis":
        return row["floor"] + row["gain"] * tokens / (row["half_saturation"] + tokens)
    places, heights = row["tokens"], row["accuracy"]
    for place, (start, end) in enumerate(pairwise(places)):
        if tokens < end:
            rise = (heights[place + 1] - heights[place]) / (end - start)
            return heights[place] + rise * (tokens - start)
    return heights[-1]


def accuracy_slope(row: Mapping[str, Any], tokens: mpf) -> mpf:
    """Derivative of the accuracy, from the right."""
    if row["kind"] == "exponential":
        return row["gain"] * row["rate"] * mp.exp(-row["rate"] * tokens)
    if row["kind"] == "power":
        base, power = 1 + tokens / row["scale"], row["exponent"]
        return row["gain"] * power / row["scale"] * base ** (-power - 1)
    if row["kind"] == "michaelis":
        half = row["half_saturation"]
        return row["gain"] * half / (half + tokens) ** 2
    places, heights = row["tokens"], row["accuracy"]
    for place, (start, end) in enumerate(pairwise(places)):
        if tokens < end:
            return (heights[place + 1] - heights[place]) / (end - start)
    return mpf(0)


def mean_waiting_time(queue: Mapping[str, Any], rate: mpf, m1: mpf, m2: mpf) -> mpf:
    """Mean waiting time of a stable queue."""
    idle = 1 - rate * m1
    if queue["kind"] == "ProcessorSharing":
        return m1 / idle - m1
    waiting = rate * m2 / (2 * idle)
    if queue["kind"] == "BatchArrivals":
        ahead = queue["size_second_moment"] / queue["mean_size"] - 1
        return waiting + ahead * m1 / (2 * idle)
    if queue["kind"] == "Vacations":
        return waiting + queue["second_moment"] / (2 * queue["mean"])
    if queue["kind"] == "Setups":
        mean, second = queue["mean"], queue["second_moment"]
        return waiting + (2 * mean + rate * second) / (2 * (1 + rate * mean))
    return waiting


def falling(function: Callable[[mpf], mpf]) -> Callable[[mpf], tuple[mpf, mpf]]:
    """A function with its slope, as a difference quotient."""

    def both(point: mpf) -> tuple[mpf, mpf]:
        step = _STEP * (abs(point) or mpf(1))
        value = function(point)
        return value, (function(point + step) - value) / step

    return both


class Exact:
    """A family in exact arithmetic."""

    def __init__(self, family: Family) -> None:
        self.rate, self.weight = exact(family.arrival_rate), exact(family.accuracy_weight)
        self.queue, self.types = exact(family.queue), [exact(row) for row in family.types]
        # Where the last answers were: the next ones are near, mostly.
        self.near = [row["min_tokens"] for row in self.types]

    def moments(self, tokens: Sequence[mpf]) -> tuple[mpf, mpf]:
        """Both moments of the mixture."""
        first = second = mpf(0)
        for row, count in zip(self.types, tokens, strict=True):
            mean, square = service_moments(row["service"], count)
            first += row["probability"] * mean
            second += row["probability"] * square
        return first, second

    def idle(self, tokens: Sequence[mpf]) -> mpf:
        """One minus the utilization."""
        return 1 - self.rate * self.moments(tokens)[0]

    def mean_waiting_time(self, tokens: Sequence[mpf]) -> mpf:
        """Mean waiting time."""
        return mean_waiting_time(self.queue, self.rate, *self.moments(tokens))

    def mean_system_time(self, tokens: Sequence[mpf]) -> mpf:
        """Mean waiting plus service time."""
        return self.mean_waiting_time(tokens) + self.moments(tokens)[0]

    def benefit(self, tokens: Sequence[mpf]) -> mpf:
        """What accuracy is worth."""
        return self.weight * sum(
            row["probability"] * row["importance"] * accuracy(row["accuracy"], count)
            for row, count in zip(self.types, tokens, strict=True)
        )

    def objective(self, tokens: Sequence[mpf]) -> mpf:
        """The objective."""
        return self.benefit(tokens) - self.mean_system_time(tokens)

    def prices(self, idle: mpf, second_moment: mpf) -> tuple[mpf, mpf]:
        """Derivatives of the mean system time by the moments, as difference quotients."""
        m1 = (1 - idle) / self.rate
        with mp.extradps(mp.dps):
            # The square of a central step is what it leaves: all digits of the caller's.
            steps = _STEP * idle / self.rate, _STEP

            def time(first: mpf, second: mpf) -> mpf:
                return first + mean_waiting_time(self.queue, self.rate, first, second)

            by_first = time(m1 + steps[0], second_moment) - time(m1 - steps[0], second_moment)
            by_second = time(m1, second_moment + steps[1]) - time(m1, second_moment - steps[1])
            return by_first / (2 * steps[0]), by_second / (2 * steps[1])

    def response(self, row: Mapping[str, Any], excess: Callable[[mpf], mpf], near: mpf) -> mpf:
        """Where an excess of worth over price, from the right, falls through zero in the box."""
        lower, upper = row["min_tokens"], row["max_tokens"]
        corners = row["accuracy"].get("tokens", [])
        stops = [lower, *(corner for corner in corners if lower < corner < upper), upper]
        if excess(lower) <= 0:
            return lower
        for start, end in pairwise(stops):
            # The slope at the end of a piece is that of the piece, from the left.
            below = end - (end - start) * mp.eps * 4
            if excess(below) > 0:
                if end < upper and excess(end) > 0:
                    continue
                return end
            first = near if start < near < below else start
            return crossing(falling(excess), start, below, first)
        return upper

    def responses(self, price1: mpf, price2: mpf) -> list[mpf]:
        """The best answer of each type to the prices."""
        found = []
        for row, near in zip(self.types, self.near, strict=True):
            worth = self.weight * row["importance"]

            def excess(tokens: mpf, row: Any = row, worth: mpf = worth) -> mpf:
                first, second = service_slopes(row["service"], tokens)
                price = price1 * first + price2 * second
                return worth * accuracy_slope(row["accuracy"], tokens) / price - 1

            found.append(self.response(row, excess, near))
        self.near = found
        return found

    def gap(self, tokens: Sequence[mpf]) -> mpf:
        """Bound on what any point of the box gains over a stable one."""
        first, second = self.moments(tokens)
        prices = self.prices(1 - self.rate * first, second)
        total = mpf(0)
        for row, count in zip(self.types, tokens, strict=True):
            slopes = service_slopes(row["service"], count)
            price = prices[0] * slopes[0] + prices[1] * slopes[1]
            worth = self.weight * row["importance"]

            def excess(v: mpf, row: Any = row, worth: mpf = worth, price: mpf = price) -> mpf:
                return worth * accuracy_slope(row["accuracy"], v) / price - 1

            best = self.response(row, excess, count)
            rise = accuracy(row["accuracy"], best) - accuracy(row["accuracy"], count)
            total += row["probability"] * (worth * rise - price * (best - count))
        return total


def search(problem: Exact) -> list[mpf]:
    """Return the tokens at which the prices reproduce themselves."""
    most = problem.moments([row["max_tokens"] for row in problem.types])[1]
    near = mpf(0)

    def answer(idle: mpf) -> list[mpf]:
        nonlocal near
        # T is linear in the second moment, and so is its slope in the first one.
        least_price, second_price = problem.prices(idle, mpf(0))
        rise = problem.prices(idle, mpf(1))[0] - least_price
        most_price = least_price + rise * most

        def shortfall(price: mpf) -> mpf:
            second = problem.moments(problem.responses(price, second_price))[1]
            return least_price + rise * second - price

        start = near if least_price < near < most_price else least_price
        near = crossing(falling(shortfall), least_price, most_price, start)
        return problem.responses(near, second_price)

    def slack(idle: mpf) -> mpf:
        return problem.idle(answer(idle)) - idle

    idle = crossing(falling(slack), mpf(0), mpf(2), mpf(1))
    low, high = (idle * (1 + side * 10**5 * _STEP) for side in (-1, 1))
    if abs(slack(low) - slack(high)) <= 10**10 * _STEP:
        return answer(idle)
    # Where tokens at one price are worth just that, the answers jump: halve down to the jump, and
    # let the load tell how far between them.
    while high - low > 10 * mp.eps * high:
        middle = (low + high) / 2
        low, high = (middle, high) if slack(middle) > 0 else (low, middle)
    ends = [answer(low), answer(high)]
    loads = [problem.idle(tokens) for tokens in ends]
    share = (low - loads[0]) / (loads[1] - loads[0])
    return [first + share * (last - first) for first, last in zip(*ends, strict=True)]


def optimum(family: Family, digits: int = 30) -> dict[str, Any]:
    """Solve an instance and prove the digits of its objective.

    Raises
    ------
    ArithmeticError
        If the digits could not be proven.
    """
    with workdps(2 * digits):
        problem = Exact(family)
        tokens = search(problem)
        gap = problem.gap(tokens)
        scale = problem.benefit(tokens) + problem.mean_system_time(tokens)
        if not -(mpf(10) ** -digits) * scale <= gap <= mpf(10) ** -digits * scale:
            raise ArithmeticError(f"the optimum is only proven to within {nstr(gap / scale, 3)}")
        text = partial(nstr, n=digits, strip_zeros=False)
        return {
            "tokens": [text(count) for count in tokens],
            "objective": text(problem.objective(tokens)),
            "utilization": text(1 - problem.idle(tokens)),
            "mean_system_time": text(problem.mean_system_time(tokens)),
        }
