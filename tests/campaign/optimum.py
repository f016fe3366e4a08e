"""The optimum of a problem without coupling constraints, found by its two prices and proven.

The types meet in m1 and m2 alone. Let y = 1 − λ m1 be the idle fraction. At a trial y the price of
a squared second is P2 = ω λ/(2 y), and that of a second the P1 at which what the types then ask for
has the price P1: one such, because they ask for less where it is higher. The optimum is where
1 − y − λ m1 falls through zero, once, because φ(y) = max J at λ m1 ≤ 1 − y is concave and its slope
has this sign.

What the search finds is not believed: an upper bound on the optimum is computed from the tokens
alone (`proven`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, getcontext
from typing import Any

from tests.campaign.exact import DIGITS, Point, Problem, TaskType, digits

__all__ = ["Optimum", "optimum", "proven"]

_ZERO = Decimal(0)
# Three stages: near, nearer by two steps of Newton's method, and to the end.
_COARSE, _MIDDLE = 20, 32
_ROUGH = Context(prec=8)
# A place is found when what is left, relative to it, is this little.
_NARROW = {_COARSE: Decimal("1e-6"), _MIDDLE: Decimal("1e-12"), DIGITS: Decimal("1e-56")}
_MOST = 2000
_POLISHES = 12
# Relative to α Σ π w p + T. What the package claims is some 1e-16 of it.
PROVEN = Decimal("1e-30")


@dataclass(frozen=True)
class Optimum:
    """Tokens, and a proof of how good they are."""

    point: Point
    """In the box, stable and within the constraints: its objective is a lower bound."""
    upper: Decimal
    """No allocation has more."""

    @property
    def lower(self) -> Decimal:
        """What the point reaches."""
        with digits(DIGITS):
            return self.point.objective

    @property
    def gap(self) -> Decimal:
        """How far the point can be from optimal, relative to the scale."""
        with digits(DIGITS):
            gap, scale = self.upper - self.lower, self.point.scale
            return gap / scale if scale else gap


def proven(problem: Problem, point: Point, worths: Sequence[Decimal] | None = None) -> Decimal:
    """Return an upper bound on J over the box, from the tangent of T at a point.

    J(l′) ≤ Σ π α w p(l′) − T(l) − ∇T(l) · (l′ − l), the best of which is known type by type.
    """
    bound = point.objective
    first, second = point.prices
    for k, v, p, moments in zip(
        problem.types, point.tokens, point.accuracies, point.moments, strict=True
    ):
        cost = first * moments[2] + second * moments[3]
        bound += k.share * gain(k, v, p, k.worth, cost)
    return bound


def gain(k: TaskType, tokens: Decimal, accuracy: Decimal, worth: Decimal, cost: Decimal) -> Decimal:
    """Return the most of worth (p(v) − p) − cost (v − tokens) over the box."""
    best = k.low if worth == 0 else k.curve.best(cost / worth)
    best = min(max(best, k.low), k.high)
    better: Decimal = k.curve.value(best) - accuracy
    return worth * better - cost * (best - tokens)


def optimum(problem: Problem) -> Optimum | None:
    """Return the optimum, or ``None`` where no allocation is stable."""
    with digits(DIGITS):
        if problem.least_idle() <= 0:
            return None
        if all(k.low == k.high for k in problem.types):
            return _graded(problem, [k.low for k in problem.types])
    with digits(_COARSE):
        search = _Search(problem)
        search.solve()
    with digits(_MIDDLE):
        search.polished()
    with digits(DIGITS):
        polished = search.polished()
        if polished is not None:
            found = _graded(problem, polished)
            if found is not None and found.gap <= PROVEN:
                return found
        search = _Search(problem)
        search.solve()
        return _between(problem, search.few, search.many)


def _graded(problem: Problem, tokens: Sequence[Decimal]) -> Optimum | None:
    point = problem.at(tokens)
    return None if point is None else Optimum(point, proven(problem, point))


def _between(problem: Problem, few: list[Decimal], many: list[Decimal]) -> Optimum | None:
    """The best on the line between two vectors of tokens, which differ where a response jumps."""
    found = _graded(problem, few)
    step = [b - a for a, b in zip(few, many, strict=True)]

    def rise(share: Decimal) -> Decimal:
        point = problem.at([a + share * d for a, d in zip(few, step, strict=True)])
        if point is None:
            return Decimal(-1)
        first, second = point.prices
        return sum(
            (
                k.share * d * (k.worth * k.curve.slopes(v)[0] - first * m[2] - second * m[3])
                for k, d, v, m in zip(problem.types, step, point.tokens, point.moments, strict=True)
            ),
            _ZERO,
        )

    low, high = _ZERO, Decimal(1)
    if rise(low) > 0:
        if rise(high) >= 0:
            low = high
        else:
            low, high = bracketed(rise, low, high)
    for share in (low, high):
        other = _graded(problem, [a + share * d for a, d in zip(few, step, strict=True)])
        if other is not None and (found is None or other.gap < found.gap):
            found = other
    return found


def bracketed(
    function: Callable[[Decimal], Decimal], low: Decimal, high: Decimal
) -> tuple[Decimal, Decimal]:
    """Narrow a bracket of the root of a falling function: Illinois steps, and halves."""
    below, above = function(low), function(high)
    narrow = _NARROW[getcontext().prec]
    width = high - low
    for step in range(_MOST):
        if high - low <= narrow * abs(high):
            break
        place = (low * above - high * below) / (above - below)
        # Two steps that did not halve the bracket are answered by one that does.
        if step % 3 == 2:
            if high - low > width / 2:
                place = (low + high) / 2
            width = high - low
        if not low < place < high:
            place = (low + high) / 2
        value = function(place)
        if value > 0:
            low, below = place, value
            above /= 2
        elif value < 0:
            high, above = place, value
            below /= 2
        else:
            return place, place
    return low, high


class _Search:
    """The two searches, one within the other, by Newton's method within brackets."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.narrow = _NARROW[getcontext().prec]
        self.tokens = [k.low for k in problem.types]
        """The last answers: where the next search for answers begins."""
        least = [k.share * k.law.moments(k.low)[1] for k in problem.types]
        self.least_m2 = sum(least, _ZERO)
        self.idle = problem.least_idle()
        self.price = _ZERO
        self.few: list[Decimal] = []
        """Answers on the side of the root where they are too few, and too many."""
        self.many: list[Decimal] = []

    def solve(self) -> None:
        """Find the idle fraction."""
        high = self.idle
        slack, slope = self._slack(high)
        self.few = self.many = self.tokens
        if slack >= 0:
            # Nobody wants more than the least.
            return
        # Down by ever larger factors, until the types ask for too little.
        factor, low = Decimal("0.5"), high
        while slack < 0:
            high, self.many = low, self.tokens
            low *= factor
            factor *= factor
            slack, slope = self._slack(low)
        self.few, place = self.tokens, low
        for step in range(_MOST):
            if high - low <= self.narrow * high or slack == 0:
                break
            change = -slack / slope
            goal = place + change
            if abs(change) <= self.narrow * place:
                if getcontext().prec == _COARSE:
                    break
                # A little beyond, so that the root is enclosed from the other side as well.
                goal += change.copy_sign(self.narrow * place / 2)
            if step % 4 == 3 or not low < goal < high:
                goal = _middle(low, high)
            place = goal
            slack, slope = self._slack(place)
            if slack > 0:
                low, self.few = place, self.tokens
            else:
                high, self.many = place, self.tokens
        self.idle = place

    def polished(self) -> list[Decimal] | None:
        """Go on by Newton's method for both prices, in more digits, where that converges."""
        rate, y, price = self.problem.rate, self.idle, self.price
        self.narrow = narrow = _NARROW[getcontext().prec]
        for _ in range(_POLISHES):
            m1, wanted, (s11, s12, s22) = self._answers(price, y)
            first, second = 1 - y - rate * m1, wanted - price
            bend, p2 = self._bend(y)
            a, b = rate * s11, -1 - rate * s12 * p2 / y
            c, d = -bend * s12 - 1, (bend * s22 * p2 - 2 * (wanted - self.problem.queue.own)) / y
            determinant = a * d - b * c
            if determinant == 0:
                return None
            change = (b * second - d * first) / determinant
            shift = (c * first - a * second) / determinant
            price, y = price + change, y + shift
            if y <= 0 or price < 0:
                return None
            self.price, self.idle = price, y
            if abs(change) <= narrow * price and abs(shift) <= narrow * y:
                return self.tokens
        return None

    def _bend(self, idle: Decimal) -> tuple[Decimal, Decimal]:
        """ω λ²/(2 y²), by which P1 rises with m2, and P2."""
        pressure = self.problem.queue.second * self.problem.rate / (2 * idle)
        return pressure * self.problem.rate / idle, pressure

    def _slack(self, idle: Decimal) -> tuple[Decimal, Decimal]:
        """1 − y − λ m1 at the answers to the prices of an idle fraction y, and its slope."""
        problem = self.problem
        bend, p2 = self._bend(idle)
        low, high = problem.prices(self.least_m2, idle)[0], None
        price = max(self.price, low)
        for step in range(_MOST):
            m1, wanted, (s11, s12, s22) = self._answers(price, idle)
            if wanted == price:
                break
            if wanted > price:
                low = price
            else:
                high = price
            goal = price + (wanted - price) / (1 + bend * s12)
            top = wanted if high is None else high
            if not low <= goal <= top or step % 6 == 5:
                goal = _middle(low, top)
            is_last = abs(goal - price) <= self.narrow * goal
            price = goal
            if is_last:
                break
        self.price = price
        direct = (bend * s22 * p2 - 2 * (wanted - problem.queue.own)) / idle
        rise = -s11 * direct / (1 + bend * s12) + s12 * p2 / idle
        return 1 - idle - problem.rate * m1, -1 - problem.rate * rise

    def _answers(self, p1: Decimal, idle: Decimal) -> tuple[Decimal, Decimal, Any]:
        """m1 at the answers to prices, the P1 at their m2, and Σ π (t′, s′)(t′, s′)ᵀ/K.

        K is by how much the marginal cost of a type rises with a token beyond its marginal worth,
        so that its answer changes by −(t′ dP1 + s′ dP2)/K.
        """
        _, p2 = self._bend(idle)
        m1 = m2 = s11 = s12 = s22 = _ZERO
        answers = []
        for k, before in zip(self.problem.types, self.tokens, strict=True):
            tokens, stiffness = answer(k, p1, p2, before)
            answers.append(tokens)
            t, s, dt, ds, _, _ = k.law.moments(tokens)
            m1 += k.share * t
            m2 += k.share * s
            if stiffness > 0:
                s11 += k.share * dt * dt / stiffness
                s12 += k.share * dt * ds / stiffness
                s22 += k.share * ds * ds / stiffness
        self.tokens = answers
        return m1, self.problem.prices(m2, idle)[0], (s11, s12, s22)


def _middle(low: Decimal, high: Decimal) -> Decimal:
    """Half way, in magnitude where the ends are far apart."""
    return (low * high).sqrt() if high > 4 * low > 0 else (low + high) / 2


def answer(k: TaskType, p1: Decimal, p2: Decimal, start: Decimal) -> tuple[Decimal, Decimal]:
    """Return what maximises α w p − P1 t − P2 E t², and K there; zero where nothing moves it."""
    if k.low == k.high or k.worth == 0:
        return k.low, _ZERO
    if k.curve.corners:
        return _straight_answer(k, p1, p2)
    near = Decimal(10) ** (-(getcontext().prec // 2))
    left: Decimal | None = None
    right: Decimal | None = None
    tokens = min(max(start, k.low), k.high)
    for step in range(_MOST):
        slope, bend = k.curve.slopes(tokens)
        cost, rise = _cost(k, p1, p2, tokens)
        worth = k.worth * slope
        if worth > cost:
            left = tokens
        else:
            right = tokens
        if (worth >= cost and tokens == k.high) or (worth <= cost and tokens == k.low):
            return tokens, _ZERO
        stiffness = rise - k.worth * bend
        pull = rise - cost * bend / slope if slope else stiffness
        # Newton's step for ln(worth/cost), which is nearly straight where the curves are.
        goal = tokens + _logarithm(worth / cost) * cost / pull if worth else k.low
        low, high = k.low if left is None else left, k.high if right is None else right
        if goal >= high:
            goal = high if right is None else _middle(low, high)
        elif goal <= low:
            goal = low if left is None else _middle(low, high)
        elif step % 12 == 11:
            goal = _middle(low, high)
        if abs(goal - tokens) <= near * tokens:
            return goal, stiffness
        tokens = goal
    return tokens, _ZERO


def _cost(k: TaskType, p1: Decimal, p2: Decimal, tokens: Decimal) -> tuple[Decimal, Decimal]:
    """P1 t′ + P2 s′ and its slope."""
    _, _, dt, ds, ddt, dds = k.law.moments(tokens)
    return p1 * dt + p2 * ds, p1 * ddt + p2 * dds


def _logarithm(ratio: Decimal) -> Decimal:
    """ln, to the third order where the ratio is near one, and roughly where it is not."""
    if abs(ratio - 1) < Decimal("0.5"):
        return 2 * (ratio - 1) / (ratio + 1)
    return _ROUGH.ln(ratio)


def _straight_answer(k: TaskType, p1: Decimal, p2: Decimal) -> tuple[Decimal, Decimal]:
    """The answer of a type whose curve is made of straight pieces."""
    starts = (_ZERO, *k.curve.corners[1:])
    for place, rise in enumerate(k.curve.rises):
        worth = k.worth * rise
        start = starts[place]
        if worth <= _cost(k, p1, p2, start)[0]:
            return min(max(start, k.low), k.high), _ZERO
        end = starts[place + 1]
        if worth < _cost(k, p1, p2, end)[0]:
            break
    # The marginal cost is a polynomial with coefficients ≥ 0: from the right no step overshoots.
    tokens = end
    for _ in range(_MOST):
        cost, slope = _cost(k, p1, p2, tokens)
        if slope == 0:
            break
        goal = tokens - (cost - worth) / slope
        if goal >= tokens:
            break
        tokens = goal
    return (tokens, slope) if k.low < tokens < k.high else (min(max(tokens, k.low), k.high), _ZERO)
