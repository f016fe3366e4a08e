"""The optimum under coupling constraints, by an interior point method in sixty digits.

Straight pieces enter as z ≤ each line, with z in place of the accuracy. What the method returns is
judged by `constraints.bound`: a point that keeps every constraint, and multipliers that prove how
little can be better; or multipliers that prove that no point keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from operator import mul
from typing import Any

from tests.campaign.constraints import Coupling, bound, couplings_of, cut, floors_of
from tests.campaign.exact import DIGITS, Point, Problem, digits
from tests.campaign.optimum import Optimum, optimum

__all__ = ["Constrained", "constrained_optimum"]

_ZERO, _ONE = Decimal(0), Decimal(1)
# A second or three; of 162 programs all but one took at most 256. What is found proves a bound.
_MOST_EVALUATED = 1000
_ROUGH = Context(prec=12)
# Of the way to the boundary.
_SHORT = Decimal("0.99")
_LONG = Decimal("0.9")
_END = Decimal("1e-48")
_NEAR = Decimal("1e-4")
# Limits that are exceeded so many times over are exceeded for want of a better start.
_FAR, _LITTLE = Decimal(100), Decimal("1e-40")


@dataclass(frozen=True)
class Constrained:
    """What is proven of an instance with constraints."""

    verdict: str
    """``optimal``, ``infeasible``, or ``borderline``: neither could be proven in sixty digits."""
    problem: Problem
    couplings: Sequence[Coupling]
    best: Optimum | None = None
    multipliers: Sequence[Decimal] = ()
    margin: Decimal | None = None
    """How far all constraints hold at some point, or cannot hold (negative), relative to size."""


def constrained_optimum(whole: Problem, constraints: Sequence[Any]) -> Constrained:
    """Return the optimum under constraints, or a proof that there is none."""
    with digits(DIGITS):
        problem = cut(whole, floors_of(whole, constraints))
        couplings = couplings_of(whole, constraints)
        if problem is None or problem.least_idle() <= 0:
            return Constrained("infeasible", whole, couplings)
        if not couplings:
            return Constrained("optimal", problem, (), optimum(problem))
        return _Solver(problem, couplings).result()


class _Solver:
    def __init__(self, problem: Problem, couplings: Sequence[Coupling]) -> None:
        self.problem, self.couplings = problem, couplings
        # Stability is one of the constraints where T is none of the objective.
        self.all = [*couplings, Coupling("load", _ONE)]

    def result(self) -> Constrained:
        problem, couplings = self.problem, self.couplings
        least = problem.at([k.low for k in problem.types])
        assert least is not None
        # More tokens of any type make every cap tighter.
        caps = [c.value(problem, least) / c.size for c in couplings if c.kind != "accuracy"]
        worst = max(caps, default=-_ONE)
        if worst > 0:
            return Constrained("infeasible", problem, couplings, margin=-worst)
        if worst == 0 or all(k.low == k.high for k in problem.types):
            return self._single(least)
        first = _Program(problem, self.all, phase=1)
        point, prices = first.solve()
        margin = -first.level
        if point is None or margin <= 0:
            at = problem.at(first.tokens())
            assert at is not None
            if bound(problem, at, self.all, prices, _ZERO) < 0:
                return Constrained("infeasible", problem, couplings, margin=margin)
            return Constrained("borderline", problem, couplings, margin=margin)
        second = _Program(problem, self.all, phase=2, start=first)
        at, prices = second.solve()
        assert at is not None
        best = Optimum(at, bound(problem, at, self.all, prices))
        return Constrained("optimal", problem, couplings, best, prices[:-1], margin)

    def _single(self, point: Point) -> Constrained:
        """Only the least tokens are left."""
        worst = max(c.value(self.problem, point) / c.size for c in self.couplings)
        if worst > 0:
            return Constrained("infeasible", self.problem, self.couplings, margin=-worst)
        best = Optimum(point, point.objective)
        zeros = [_ZERO] * len(self.couplings)
        return Constrained("optimal", self.problem, self.couplings, best, zeros, -worst)


class _Program:
    """minimise f(x) subject to g(x) ≤ 0, from a point at which all of g is negative.

    x has the tokens of the types that have room, then the accuracy z of those with corners in their
    box, and in phase 1 the level τ: minimise τ where c ≤ τ · size.
    """

    def __init__(
        self,
        problem: Problem,
        couplings: Sequence[Coupling],
        *,
        phase: int,
        start: _Program | None = None,
    ) -> None:
        self.problem, self.couplings, self.phase = problem, couplings, phase
        types = problem.types
        self.free = [i for i, k in enumerate(types) if k.low < k.high]
        self.kinked = [
            i
            for i in self.free
            # The first piece is continued to 0, so that there is no bend at its start.
            if any(types[i].low < x < types[i].high for x in types[i].curve.corners[1:])
        ]
        self.evaluated = 0
        self.size = len(self.free) + len(self.kinked) + (phase == 1)
        self.place = {i: n for n, i in enumerate(self.free)}
        self.height = {i: len(self.free) + n for n, i in enumerate(self.kinked)}
        self.lines = {i: self._lines(types[i]) for i in self.kinked}
        self.x: list[Decimal] = self._first() if start is None else list(start.x[: self.size])
        self.level = _ZERO
        if phase == 1:
            point = self._point(self.x)
            assert point is not None
            worst = max(self._raw(point, self.x)[:-1])
            self.x[-1] = worst + max(abs(worst), _ONE) / 2

    def _lines(self, k: Any) -> list[tuple[Decimal, Decimal, Decimal]]:
        """Those that the curve has within the box, as (start, height, slope)."""
        lines = list(k.curve.lines())
        starts = [_ZERO, *[x for x, _, _ in lines[1:]]]
        ends = [*starts[1:], None]
        return [
            line
            for line, start, end in zip(lines, starts, ends, strict=True)
            if start < k.high and (end is None or end > k.low)
        ]

    def _first(self) -> list[Decimal]:
        """Inside the box, stable, and with no constraint off by orders of magnitude for nothing."""
        types, share = self.problem.types, Decimal("0.5")
        enough = self.problem.least_idle() / 2
        while True:
            tokens = [k.low + share * (k.high - k.low) for k in types]
            point = self.problem.at(tokens)
            if point is not None and point.idle >= enough:
                heights = [types[i].curve.value(tokens[i]) - self._span(i) / 2 for i in self.kinked]
                x = [*(tokens[i] for i in self.free), *heights, *[_ZERO] * (self.phase == 1)]
                if share < _LITTLE or max(self._raw(point, x)) < _FAR:
                    return x
            share /= 4

    def _span(self, i: int) -> Decimal:
        k = self.problem.types[i]
        span: Decimal = k.curve.value(k.high) - k.curve.value(k.low)
        return span

    def tokens(self) -> list[Decimal]:
        """Those of all types at x."""
        return self._tokens(self.x)

    def _tokens(self, x: Sequence[Decimal]) -> list[Decimal]:
        return [
            x[self.place[i]] if i in self.place else k.low for i, k in enumerate(self.problem.types)
        ]

    def _point(self, x: Sequence[Decimal]) -> Point | None:
        return self.problem.at(self._tokens(x))

    def _accuracies(self, point: Point, x: Sequence[Decimal]) -> list[Decimal]:
        return [
            x[self.height[i]] if i in self.height else p for i, p in enumerate(point.accuracies)
        ]

    def _raw(self, point: Point, x: Sequence[Decimal]) -> list[Decimal]:
        """The couplings, relative to their sizes, with z for the accuracy where there is one."""
        accuracies = self._accuracies(point, x)
        values = []
        for c in self.couplings:
            if c.kind == "accuracy":
                both = zip(self.problem.types, accuracies, strict=True)
                value = c.limit - sum((k.share * p for k, p in both), _ZERO)
            else:
                value = c.value(self.problem, point)
            values.append(value / c.size)
        return values

    def _walls(self, x: Sequence[Decimal]) -> list[tuple[Decimal, list[tuple[int, Decimal]]]]:
        """Linear constraints: value and sparse gradient."""
        walls = []
        for i in self.free:
            k, n = self.problem.types[i], self.place[i]
            walls.append((k.low - x[n], [(n, -_ONE)]))
            walls.append((x[n] - k.high, [(n, _ONE)]))
        for i in self.kinked:
            n, z = self.place[i], self.height[i]
            k = self.problem.types[i]
            for start, height, slope in self.lines[i]:
                value = x[z] - height - slope * (x[n] - start)
                walls.append((value, [(z, _ONE), (n, -slope)]))
            walls.append((k.curve.value(k.low) - self._span(i) - x[z], [(z, -_ONE)]))
        return walls

    def _values(self, x: Sequence[Decimal]) -> list[Decimal] | None:
        """All of g, or ``None`` outside the domain."""
        self.evaluated += 1
        walls = [value for value, _ in self._walls(x)]
        if max(walls) >= 0:
            return None
        point = self._point(x)
        if point is None:
            return None
        raw = self._raw(point, x)
        if self.phase == 1:
            # Without stability there is nothing to constrain.
            raw = [value - x[-1] for value in raw[:-1]] + raw[-1:]
        values = [*walls, *raw]
        return values if max(values) < 0 else None

    def solve(self) -> tuple[Point | None, list[Decimal]]:
        """Return the point and the multipliers of the couplings, of c itself."""
        values = self._values(self.x)
        assert values is not None
        if self.phase == 1:
            # So that the multiplier of the constraint that is furthest off is one.
            size = -max(values[-len(self.couplings) : -1])
        else:
            # From where on the path the multipliers are of the objective's size.
            point = self._point(self.x)
            assert point is not None
            size = max(point.scale, Decimal("1e-300"))
        weights = [-size / value for value in values]
        count = len(values)
        center = Decimal("0.1")
        while self.evaluated < _MOST_EVALUATED:
            gap = -sum((v * u for v, u in zip(values, weights, strict=True)), _ZERO)
            if self._is_over(gap, values):
                break
            step = self._step(values, weights, center * gap / count)
            if step is None:
                break
            dx, du, _ = step
            reach = min(
                [_ONE, *(_SHORT * u / -d for u, d in zip(weights, du, strict=True) if d < 0)]
            )
            for attempt in range(200):
                x = [a + reach * d for a, d in zip(self.x, dx, strict=True)]
                moved = self._values(x)
                heavier = [u + reach * d for u, d in zip(weights, du, strict=True)]
                if moved is not None and (attempt > 60 or _is_near_path(moved, heavier)):
                    break
                moved = None
                reach *= Decimal("0.7")
            if moved is None:
                break
            self.x, values, weights = x, moved, heavier
            # Where steps are long the path is nearly straight. Where they are short the walls are
            # too close, and the way back to the path is the barrier's.
            center = max(center / 10, Decimal("1e-6")) if reach > _LONG else Decimal("0.1")
            if reach < Decimal("0.2"):
                mean = -sum((v * u for v, u in zip(values, weights, strict=True)), _ZERO) / count
                values = self._center(values, mean)
                weights = [-mean / value for value in values]
        self.level = self.x[-1] if self.phase == 1 else _ZERO
        prices = [
            u / c.size for u, c in zip(weights[-len(self.couplings) :], self.couplings, strict=True)
        ]
        return self._point(self.x), prices

    def _center(self, values: list[Decimal], mean: Decimal) -> list[Decimal]:
        """Minimise f − mean Σ ln(−g) by damped Newton steps, roughly; return g there."""
        worth = self._cost(self.x)
        while self.evaluated < _MOST_EVALUATED:
            step = self._step(values, [-mean / value for value in values], mean)
            if step is None:
                break
            dx, fall = step[0], -sum(map(mul, step[2], step[0])) / mean
            if fall < Decimal("0.01"):
                break
            reach = _ONE
            for _ in range(300):
                x = [a + reach * d for a, d in zip(self.x, dx, strict=True)]
                moved = self._values(x)
                if moved is not None:
                    cost = self._cost(x)
                    ratio = _ONE
                    for new, old in zip(moved, values, strict=True):
                        ratio *= new / old
                    if (cost - worth) / mean - _ROUGH.ln(ratio) <= -reach * fall / 4:
                        break
                reach /= 2
            else:
                break
            self.x, values, worth = x, moved, cost
        return values

    def _cost(self, x: Sequence[Decimal]) -> Decimal:
        """What is minimised."""
        if self.phase == 1:
            return x[-1]
        point = self._point(x)
        assert point is not None
        accuracies = zip(self.problem.types, self._accuracies(point, x), strict=True)
        return point.time - sum((k.share * k.worth * p for k, p in accuracies), _ZERO)

    def _is_over(self, gap: Decimal, values: Sequence[Decimal]) -> bool:
        if self.phase == 1:
            level = self.x[-1]
            return (level < 0 and -level > gap / 4) or gap < _END
        point = self._point(self.x)
        assert point is not None
        return gap <= _END * point.scale

    def _step(
        self, values: Sequence[Decimal], weights: Sequence[Decimal], center: Decimal
    ) -> tuple[list[Decimal], list[Decimal], list[Decimal]] | None:
        """Newton's step for the conditions at a point of the central path."""
        problem, n = self.problem, self.size
        point = self._point(self.x)
        assert point is not None
        walls = self._walls(self.x)
        couplings = weights[len(walls) :]
        matrix = [[_ZERO] * n for _ in range(n)]
        right = [_ZERO] * n
        slopes: list[list[Decimal]] = [[_ZERO] * n for _ in self.couplings]
        of_time = _ONE if self.phase == 2 else _ZERO
        p1, p2 = point.prices
        for c, u in zip(self.couplings, couplings, strict=True):
            if c.kind in ("time", "waiting"):
                of_time += u / c.size
        a, b = [_ZERO] * n, [_ZERO] * n
        for i in self.free:
            k, m = problem.types[i], self.place[i]
            _, _, dt, ds, ddt, dds = point.moments[i]
            a[m], b[m] = k.share * dt, k.share * ds
            slope = bend = _ZERO
            z = self.height.get(i)
            if z is None:
                slope, bend = k.curve.slopes(point.tokens[i])
            diagonal = of_time * (p1 * ddt + p2 * dds)
            worth = k.worth if self.phase == 2 else _ZERO
            if self.phase == 2:
                right[m] += k.share * (p1 * dt + p2 * ds - worth * slope)
                diagonal -= worth * bend
                if z is not None:
                    right[z] -= k.share * worth
            for j, (c, u) in enumerate(zip(self.couplings, couplings, strict=True)):
                if c.kind == "time":
                    slopes[j][m] = k.share * (p1 * dt + p2 * ds) / c.size
                elif c.kind == "waiting":
                    slopes[j][m] = k.share * ((p1 - 1) * dt + p2 * ds) / c.size
                    diagonal -= u * ddt / c.size
                elif c.kind == "accuracy":
                    if z is None:
                        slopes[j][m] = -k.share * slope / c.size
                        diagonal -= u * bend / c.size
                    else:
                        slopes[j][z] = -k.share / c.size
                elif c.kind == "tokens":
                    slopes[j][m] = problem.rate * k.share / c.size
                elif c.kind == "tail":
                    power = (c.decay * point.moments[i][0]).exp() * c.decay
                    slopes[j][m] = k.share * power * dt / c.size
                    diagonal += u * power * (c.decay * dt * dt + ddt) / c.size
                else:
                    slopes[j][m] = problem.rate * k.share * dt / c.size
                    diagonal += u * problem.rate * ddt / c.size
            matrix[m][m] += k.share * diagonal
        if of_time:
            queue, rate, y = problem.queue, problem.rate, point.idle
            t11 = of_time * 2 * (p1 - queue.own) * rate / y
            t12 = of_time * queue.second * rate * rate / (2 * y * y)
            for r in range(len(self.free)):
                for s in range(r + 1):
                    matrix[r][s] += t11 * a[r] * a[s] + t12 * (a[r] * b[s] + b[r] * a[s])
        if self.phase == 1:
            right[-1] += _ONE
            for slope_of in slopes[:-1]:
                slope_of[-1] = -_ONE
        # What remains of ∇f + Σ u ∇g once u is replaced by its step.
        for (value, sparse), u in zip(walls, weights, strict=False):
            for r, d in sparse:
                right[r] += center / -value * d
                for s, e in sparse:
                    if s <= r:
                        matrix[r][s] += u / -value * d * e
        for j, u in enumerate(couplings):
            value = values[len(walls) + j]
            row = slopes[j]
            for r in range(n):
                if row[r]:
                    right[r] += center / -value * row[r]
                    push = u / -value * row[r]
                    for s in range(r + 1):
                        matrix[r][s] += push * row[s]
        dx = _solved(matrix, [-value for value in right])
        if dx is None:
            return None
        du = []
        for (value, sparse), u in zip(walls, weights, strict=False):
            along = sum((d * dx[r] for r, d in sparse), _ZERO)
            du.append((center + u * along) / -value - u)
        for j, u in enumerate(couplings):
            along = sum((d * e for d, e in zip(slopes[j], dx, strict=True)), _ZERO)
            du.append((center + u * along) / -values[len(walls) + j] - u)
        return dx, du, right


def _is_near_path(values: Sequence[Decimal], weights: Sequence[Decimal]) -> bool:
    """Whether no product of a multiplier and its room is far below the mean of all."""
    products = [-value * weight for value, weight in zip(values, weights, strict=True)]
    return min(products) >= _NEAR * sum(products, _ZERO) / len(products)


def _solved(matrix: list[list[Decimal]], right: list[Decimal]) -> list[Decimal] | None:
    """Solve with a positive definite matrix, of which the lower triangle is given: L D Lᵀ."""
    n = len(right)
    pivots: list[Decimal] = []
    for r in range(n):
        row = matrix[r]
        for s in range(r):
            held = row[s]
            for q in range(s):
                held -= row[q] * matrix[s][q]
            row[s] = held
        # So far row[s] is L D; the pivot needs L.
        pivot = row[r]
        for s in range(r):
            factor = row[s] / pivots[s]
            pivot -= row[s] * factor
            row[s] = factor
        if pivot <= 0:
            return None
        pivots.append(pivot)
    solution = list(right)
    for r in range(n):
        for s in range(r):
            solution[r] -= matrix[r][s] * solution[s]
    solution = [value / pivot for value, pivot in zip(solution, pivots, strict=True)]
    for r in reversed(range(n)):
        for s in range(r + 1, n):
            solution[r] -= matrix[s][r] * solution[s]
    return solution
