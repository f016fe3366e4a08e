"""An interior point method: the optimum where no answer shows the places at which types rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import chain
from operator import mul, sub
from typing import TypeAlias

from cvxqueue.references.search import Point, Search, UndeterminedError
from cvxqueue.references.verify import NOUGHT, ONE

# Every one gains; a few were enough.
_MOST_SETS_OF_PIECES = 40
# Steps of the interior point method; of 700 hostile instances none took more than 114.
_MOST_INTERIOR_STEPS = 400
# Part of the way to the boundary that no step does.
_LEFT_OF_THE_WAY = Decimal("0.01")
# Relative to the scale: the gap at which limits that are exceeded become dearer, and the most that
# a multiplier comes to, in units of its limit.
_ROUGH, _DEARER, _DEAREST = Decimal("1e-12"), Decimal("1e10"), Decimal("1e40")

# Something positive, and its step.
_Change: TypeAlias = tuple[Decimal, Decimal]


def by_barriers(search: Search) -> None:
    """Come from inside, on one piece of each curve after the other."""
    with search.working_in(search.precision):
        pieces = [_piece(search, k) for k in range(search.size)]
        for _ in range(_MOST_SETS_OF_PIECES):
            search.places = [None] * search.size
            _Interior(search, pieces).run()
            if not _next_pieces(search, pieces):
                return


def _piece(search: Search, k: int) -> tuple[Decimal, Decimal]:
    low, high = search.ends(k)
    # At a kink, the piece to its left.
    return (low, search.tokens[k]) if low < search.tokens[k] in search.corners[k] else (low, high)


def _next_pieces(search: Search, pieces: list[tuple[Decimal, Decimal]]) -> bool:
    """Go on to the pieces that types would rather be on; whether any does."""
    point, changed = search.point(), False
    prices = search.charged(point)
    for k, (low, high) in enumerate(pieces):
        if search.places[k] is None or low == high:
            continue
        left, right = search.sides(k, point, prices)
        floor, upper = search.floors[k][0], search.instance.types[k].upper
        if search.tokens[k] == high < upper and right > 0:
            after = [x for x in search.corners[k] if high < x < upper]
            pieces[k], changed = (high, min(after, default=upper)), True
        elif search.tokens[k] == low > floor and left < 0:
            before = [x for x in search.corners[k] if floor < x < low]
            pieces[k], changed = (max(before, default=floor), low), True
    return changed


class _Interior:
    """A primal-dual interior point method between the ends of one piece of each curve.

    What a type has to both ends, and what a constraint is kept with to spare, times their prices
    come down together; where the limits leave room as narrow as it may be, they find it. A limit
    may be exceeded at a price of its own, the cap of the multiplier, which rises as long as that
    pays: so there is always an inside, and where nothing keeps the limits the prices show it.
    """

    def __init__(self, search: Search, pieces: Sequence[tuple[Decimal, Decimal]]) -> None:
        self.search, self.pieces = search, pieces
        self.moving = [k for k, (low, high) in enumerate(pieces) if low < high]
        tokens = search.tokens
        for k, (low, high) in enumerate(pieces):
            inside = (high - low) / 10**8
            tokens[k] = min(max(tokens[k], low + inside), high - inside) if low < high else low
        point = self._stable()
        self.scale = (search.benefit(point) + point.time) or ONE
        self.target = self.scale / 1000
        self.below = {k: self.target / (tokens[k] - pieces[k][0]) for k in self.moving}
        self.above = {k: self.target / (pieces[k][1] - tokens[k]) for k in self.moving}
        sizes = [it.limit.low for it in search.instance.couplings]
        self.slacks = [
            max(-it, size / 1000) for it, size in zip(point.excesses, sizes, strict=True)
        ]
        self.extras = [
            max(it + slack, size / 10**6)
            for it, slack, size in zip(point.excesses, self.slacks, sizes, strict=True)
        ]
        self.caps = [1000 * self.scale / size for size in sizes]
        search.prices = [
            min(max(price, self.target / slack), cap / 4)
            for price, slack, cap in zip(search.prices, self.slacks, self.caps, strict=True)
        ]
        self.dearest = _DEAREST * max(self.caps, default=ONE)

    def _stable(self) -> Point:
        search = self.search
        while True:
            try:
                return search.point()
            except UndeterminedError:
                if all(search.tokens[k] <= self.pieces[k][0] for k in self.moving):
                    raise
            for k in self.moving:
                low = self.pieces[k][0]
                search.tokens[k] = low + (search.tokens[k] - low) / 8

    def run(self) -> None:
        """Come down to the end, and to rest at the ends of pieces that are next to the tokens."""
        least = self.scale * Decimal(10) ** -(self.search.precision // 2)
        for _ in range(_MOST_INTERIOR_STEPS):
            way = self._move()
            mean = self._mean()
            if mean <= self.scale * _ROUGH and self._raise_caps():
                mean = self._mean()
            elif mean <= least:
                break
            shrink = min(Decimal("0.1"), (mean / self.scale).sqrt())
            self.target = max(mean * (shrink if way > Decimal("0.9") else 1 - way / 2), least / 10)
        self._rest()
        for _ in range(8):
            self._move()
        near = Decimal(10) ** -(self.search.precision // 3)
        for j, limit in enumerate(self.search.instance.couplings):
            size = limit.limit.low
            if self.slacks[j] > near * size and self.search.prices[j] * size < near * self.scale:
                self.search.prices[j] = NOUGHT

    def _raise_caps(self) -> bool:
        """Make limits dearer where it pays to exceed some, and all prices with them."""
        prices = self.search.prices
        if not any(2 * price > cap for price, cap in zip(prices, self.caps, strict=True)):
            return False
        if max(self.caps) >= self.dearest:
            return False
        self.caps = [cap * _DEARER for cap in self.caps]
        self.search.prices = [price * _DEARER for price in prices]
        for pushes in (self.below, self.above):
            pushes.update((k, push * _DEARER) for k, push in pushes.items())
        return True

    def _mean(self) -> Decimal:
        search = self.search
        products = chain(
            (self.below[k] * (search.tokens[k] - self.pieces[k][0]) for k in self.moving),
            (self.above[k] * (self.pieces[k][1] - search.tokens[k]) for k in self.moving),
            map(mul, self.slacks, search.prices),
            map(mul, self.extras, map(sub, self.caps, search.prices)),
        )
        return sum(products, NOUGHT) / max(1, 2 * len(self.moving) + 2 * len(self.slacks))

    def _move(self) -> Decimal:
        """Do one step; the part of it that was done."""
        search, target = self.search, self.target
        point = search.point()
        prices = search.charged(point)
        margins, rooms = {}, {}
        for k in self.moving:
            low, high = self.pieces[k]
            count = search.tokens[k]
            left, right = rooms[k] = count - low, high - count
            curve = search.curve(k, (low + high) / 2) if search.corners[k] else point.curves[k]
            gain, bend = search.margins(k, point, prices, curve)
            margins[k] = (
                gain + target / left - target / right,
                bend - self.below[k] / left - self.above[k] / right,
            )
        left_of = list(map(sub, self.caps, search.prices))
        limits = zip(search.prices, left_of, self.slacks, self.extras, strict=True)
        spares = {
            j: (target / price - target / left, slack / price + extra / left)
            for j, (price, left, slack, extra) in enumerate(limits)
        }
        steps, price_steps = search.step(point, margins, prices.factor, spares)
        changes: list[_Change] = []
        pushes = {}
        for k, step in steps.items():
            left, right = rooms[k]
            pushes[k] = below, above = (
                (target - self.below[k] * step) / left - self.below[k],
                (target + self.above[k] * step) / right - self.above[k],
            )
            changes += [
                (left, step),
                (right, -step),
                (self.below[k], below),
                (self.above[k], above),
            ]
        for j, step in price_steps.items():
            price, left, slack, extra = search.prices[j], left_of[j], self.slacks[j], self.extras[j]
            pushes[-1 - j] = slack_step, extra_step = (
                (target - slack * step) / price - slack,
                (target + extra * step) / left - extra,
            )
            changes += [(price, step), (left, -step), (slack, slack_step), (extra, extra_step)]
        way = self._length(steps, changes)
        for k in steps:
            self.below[k] += way * pushes[k][0]
            self.above[k] += way * pushes[k][1]
        for j, step in price_steps.items():
            search.prices[j] += way * step
            self.slacks[j] += way * pushes[-1 - j][0]
            self.extras[j] += way * pushes[-1 - j][1]
        return way

    def _length(self, steps: Mapping[int, Decimal], changes: list[_Change]) -> Decimal:
        """Go on to the tokens as far along steps as all stays positive and the queue stable."""
        search = self.search
        short = 1 - min(_LEFT_OF_THE_WAY, self.target / self.scale)
        way = min((-short * it / step for it, step in changes if step < 0), default=ONE)
        way = min(way, ONE)
        before = list(search.tokens)
        while True:
            for k, step in steps.items():
                search.tokens[k] = before[k] + way * step
            times = (search.service(k).time for k in range(search.size))
            if search.mean(times) * search.rate < 1:
                return way
            way /= 2

    def _rest(self) -> None:
        """Let types rest at ends that are next to them, and hold them."""
        search = self.search
        point = search.point()
        prices = search.charged(point)
        for k in list(self.moving):
            count = search.tokens[k]
            _, bend = search.margins(k, point, prices, point.curves[k])
            bend = max(-bend, search.ridge(k, point))
            near = Decimal(10) ** -(search.precision // 3) * max(ONE, count)
            for end, push in zip(self.pieces[k], (self.below[k], self.above[k]), strict=True):
                room = abs(count - end)
                if room < near and push > bend * room and search.places[k] is None:
                    search.tokens[k] = search.places[k] = end
                    self.moving.remove(k)
