"""Proofs in whole tokens: the types are split until a point closes each part.

Nothing here needs rigour: `cvxqueue.references.verify` says what a point proves of a part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from decimal import Decimal, DecimalException, localcontext
from fractions import Fraction
from operator import attrgetter, mul
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InfeasibleError, InvalidInputError, UnprovenError
from cvxqueue.integer.solve import solve_integer
from cvxqueue.model import Instance
from cvxqueue.model.constraints import BoxConstraint
from cvxqueue.model.domains import Domains
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import LARGEST_COUNT
from cvxqueue.references import verify as verifier
from cvxqueue.references.search import plain_context
from cvxqueue.solution import ConvergenceError
from cvxqueue.solvers.solve import solve

# Digits of a point: more would be those of its error.
_POINT_DIGITS = 12
# For an answer to begin with: of 10^5 types a tenth of one, and its own proof is not needed.
START_SECONDS = 10.0
# Scales below the objective of real tokens: where nothing is known to be feasible, prices of
# constraints are to bring the bound of one allocation down to there.
_DEEP = Decimal("1e12")
# What accuracies lose by rounding, and some more.
_ROUNDED = Decimal("1e-12")
# Prices where constraints leave nothing, relative to the scale: each so often the one before.
_RAISE, _RAISES = 100, 10


def with_whole_tokens(instance: Instance, record: dict[str, Any]) -> dict[str, Any]:
    """Return a record that proves the best whole tokens besides.

    Raises
    ------
    UnprovenError
        If the tree would have more leaves than a record may, or constraints are not proven to be
        kept or missed where it matters; where they are missed by rounding alone, too.
    InfeasibleError
        If it is proven that no allocation in whole tokens is stable and keeps the constraints.
    InvalidInputError
        If a type has levels, which are no tokens, or may have more than 2^53 of these.
    """
    if Domains.of(instance.domains, instance.size).has_levels:
        raise InvalidInputError("integer: a type has levels of effort, which are no tokens")
    try:
        with localcontext(plain_context()):
            found = record | {"integer": _Search(instance, record).part()}
            found["sha256"] = verifier.digest(found)
            verifier.verify(found)
    except (verifier.Refused, DecimalException) as error:
        raise UnprovenError(f"no proof in whole tokens was found: {error}") from error
    return found


class _Part(NamedTuple):
    """A point for a part of the allocations, and the bound that it proves."""

    node: dict[str, list[str]]
    bound: Decimal
    tokens: FloatArray
    is_missed: bool = False
    """Whether it proves that all there miss the constraints, by more than rounding."""


class _Search:
    """Branch and bound from the best that is known; one that is better begins it anew."""

    def __init__(self, instance: Instance, record: dict[str, Any]) -> None:
        real = verifier.verify(record).proof
        self.digits = record["digits"]
        self.precision = verifier.ROUND.digits
        try:
            self.whole = verifier.WholeProof(real)
        except verifier.Refused as error:
            _require_no_near_miss(real)
            raise InfeasibleError(f"in whole tokens: {error}") from error
        self.real = real
        if any(high > LARGEST_COUNT for _, high in self.whole.box):
            raise InvalidInputError("max_tokens must be at most 2^53 for tokens to be counted")
        # The boxes keep the accuracy floors of the types.
        rest = [it for it in instance.constraints if not isinstance(it, BoxConstraint)]
        self.free = instance.replace(constraints=rest, domains=None)
        self.best: tuple[int, ...] = ()
        self.objective = real.objective.low
        self.most = self.objective - _DEEP * real.scale.high
        self.tried: set[tuple[int, ...]] = set()
        self.parts: dict[tuple[tuple[int, int], ...], _Part | None] = {}
        if not rest:
            # What is infeasible by its rounding is left to the proof.
            with suppress(ConvergenceError, InfeasibleError):
                self._consider(solve_integer(instance, time_limit=START_SECONDS).tokens)

    def part(self) -> dict[str, Any]:
        """Return the part of the record: the best, and the tree that proves it."""
        tree = None
        while tree is None:
            tree = self._tree()
        if not self.best:
            _require_no_near_miss(self.real)
            raise InfeasibleError("no allocation in whole tokens keeps the constraints")
        return {"tokens": list(self.best), "objective": str(self.objective), "tree": tree}

    def _tree(self) -> list[dict[str, Any]] | None:
        """Return the nodes in the order of a walk, or ``None`` once the best is beaten."""
        best, boxes, leaves = self.best, [self.whole.box], 0
        tree: list[dict[str, Any]] = []
        near: verifier.Box = []
        while boxes:
            box = boxes.pop()
            part = self._part(box)
            if self.best != best:
                return None
            if part is None or self._is_closed(part):
                tree.append({} if part is None else part.node)
                leaves += 1
            elif not best and all(low == high for low, high in box):
                near = near or box
                leaves += 1
            else:
                k, most = self._split(box, part.tokens)
                tree.append({"type": k, "most": most})
                boxes += reversed(self.whole.split(box, k, most))
            if leaves + len(boxes) > verifier.MOST_LEAVES:
                raise UnprovenError(
                    f"a proof in whole tokens would have more than {verifier.MOST_LEAVES} leaves"
                )
        if near:
            raise UnprovenError(self._near_miss(near))
        return tree

    def _is_closed(self, part: _Part) -> bool:
        """Whether nothing in a part matters; a deep bound does not say that nothing is feasible."""
        return part.bound <= self.most if self.best else part.is_missed

    def _near_miss(self, box: verifier.Box) -> str:
        """Say by how much one allocation misses the constraints."""
        counts = [low for low, _ in box]
        what = (
            f"whole tokens {counts} are not proven to keep the constraints exactly, nor to miss "
            "them by more than rounding"
        )
        with suppress(verifier.Refused):
            found = self.whole.leaf(box, [*map(Decimal, counts)], self._no_prices())
            excesses = [it.high for it in found.excesses]
            if excesses and max(excesses) > 0:
                k = excesses.index(max(excesses))
                what += f": constraint {k} on all types is exceeded by {excesses[k]:.2g}"
        return what

    def _no_prices(self) -> list[Decimal]:
        return [Decimal(0)] * len(self.whole.instance.couplings)

    def _part(self, box: verifier.Box) -> _Part | None:
        """Return what bounds a part; ``None`` where it is unstable."""
        key = tuple(box)
        verifier.set_digits(max(self.digits + verifier.MORE_DIGITS, verifier.FEWEST_DIGITS))
        if key not in self.parts:
            self.parts[key] = None if self.whole.is_unstable(box) else self._bounded(box)
        part = self.parts[key]
        if part is None or self._is_closed(part):
            return part
        # The best itself is often the point that proves most about its own part.
        inside = zip(self.best, box, strict=False)
        if not self.best or not all(low <= count <= high for count, (low, high) in inside):
            return part
        prices = [Decimal(price) for price in part.node["multipliers"]]
        return min(part, self._at(box, self.best, prices), key=attrgetter("bound"))

    def _bounded(self, box: verifier.Box) -> _Part:
        if all(low == high for low, high in box):
            return self._single(box)
        least, most = _ends(box)
        inside = self.free.replace(min_tokens=least, max_tokens=most)
        try:
            found = solve(inside, on_failure="return")
        except InfeasibleError:
            return self._infeasible(inside, box)
        self._round(box, found.tokens)
        given = found.certificate.multipliers
        return self._at(box, found.tokens.tolist(), [] if given is None else given.tolist())

    def _single(self, box: verifier.Box) -> _Part:
        """Return what bounds a part of one allocation: its objective, unless it is infeasible."""
        counts = [low for low, _ in box]
        self._consider(counts)
        prices = self._no_prices()
        try:
            found = self.whole.leaf(box, [*map(Decimal, counts)], prices)
        except verifier.Refused:
            return _Part({}, Decimal("inf"), np.array(counts, dtype=np.float64))
        limits = self.whole.instance.couplings
        parts = [it.low / by.limit.low for it, by in zip(found.excesses, limits, strict=True)]
        if parts and max(parts) > 0:
            k = parts.index(max(parts))
            prices[k] = 2 * (found.upper.high - self.most) / found.excesses[k].low
        return self._at(box, counts, prices)

    def _infeasible(self, inside: Instance, box: verifier.Box) -> _Part:
        """Return what bounds a part in which the constraints leave nothing."""
        model = inside.model
        is_floor = np.array([it.is_floor for it in model.couplings], dtype=bool)
        # Fewer tokens than the least do not help against what exceeds a limit there.
        excesses = np.array([it.excess(model.lowest) for it in model.couplings], dtype=np.float64)
        over = ~is_floor & (excesses > 0)
        self._consider(low for low, _ in box)
        best = self._at(box, model.lower.tolist(), np.zeros(over.size).tolist())
        scale = float(model.lowest.scale)
        for power in range(_RAISES if np.isfinite(scale) and (over.any() or is_floor.any()) else 0):
            price = scale * _RAISE**power
            tokens, prices = model.lower, over * price
            if not over.any():
                try:
                    tokens, prices = self._for_accuracy(inside, is_floor, price)
                except InfeasibleError:
                    break
            found = self._at(box, tokens.tolist(), prices.tolist())
            best = min(best, found, key=attrgetter("bound"))
            if self._is_closed(found):
                return found
        return best

    def _for_accuracy(
        self, inside: Instance, is_floor: NDArray[np.bool_], price: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return the best tokens and multipliers at a price of the floor of the mean accuracy."""
        weight = inside.accuracy_weight + price
        couplings = inside.model.couplings
        raised = inside.replace(
            accuracy_weight=weight,
            importance=(inside.accuracy_weight * inside.importance + price) / weight,
            constraints=[it for it in couplings if not it.is_floor],
        )
        # The highest floor, where there are several.
        floors = [it.excess(inside.model.lowest) if it.is_floor else -np.inf for it in couplings]
        prices = np.where(np.arange(len(floors)) == np.argmax(floors), price, 0.0)
        found = solve(raised, on_failure="return")
        given = found.certificate.multipliers
        if given is not None:
            prices[~is_floor] = given
        return found.tokens, prices

    def _at(self, box: verifier.Box, tokens: Sequence[Any], prices: Sequence[Any]) -> _Part:
        """Return what a point proves of a part, in few digits and within the box."""
        counts = [
            min(max(_few_digits(count), Decimal(low)), Decimal(high))
            for count, (low, high) in zip(tokens, box, strict=True)
        ]
        multipliers = [max(_few_digits(price), Decimal(0)) for price in prices]
        bound, is_missed = Decimal("inf"), False
        near = np.array([float(count) for count in counts])
        with suppress(verifier.Refused):
            leaf = self.whole.leaf(box, counts, multipliers)
            bound = leaf.upper.high
            if not self.best and any(multipliers):
                is_missed = float(missed(leaf).low) > self._rounding(near, multipliers)
        node = {"tokens": [*map(str, counts)], "multipliers": [*map(str, multipliers)]}
        return _Part(node, bound, near, is_missed)

    def _rounding(self, tokens: FloatArray, prices: Iterable[Decimal]) -> float:
        """Return what float64 may have done to the constraints at a point, at their prices."""
        model = self.free.model
        point = model.evaluate(tokens)
        roundings = [it.allowance(point) for it in model.couplings]
        return float(np.dot(np.array([*map(float, prices)]), roundings))

    def _consider(self, counts: Iterable[Any]) -> bool:
        """Take an allocation as the best, if it is proven to be feasible and better."""
        found = tuple(int(count) for count in counts)
        if found in self.tried:
            return False
        self.tried.add(found)
        before = verifier.ROUND.digits
        verifier.set_digits(self.precision)
        try:
            proof = self.whole.at(found)
        except verifier.Refused:
            return False
        finally:
            verifier.set_digits(before)
        if self.best and proof.objective.low <= self.objective:
            return False
        self.best, self.objective = found, proof.objective.low
        self.most = verifier.reach(proof, self.digits)[1]
        return True

    def _round(self, box: verifier.Box, tokens: FloatArray) -> None:
        """Consider the allowed tokens next to a point, and what is around the best of these."""
        below, above = self._next_to(box, tokens)
        nearest = np.where(tokens - below < above - tokens, below, above)
        points = np.array([nearest, below, above])
        while self._consider_best_of(points):
            # Other tokens of one type, or of two.
            now = np.array(self.best, dtype=np.float64)
            fewer, _ = self._next_to(self.whole.box, now - 1.0)
            _, more = self._next_to(self.whole.box, now + 1.0)
            steps = np.concatenate([np.diag(fewer - now), np.diag(more - now)])
            pairs = np.stack(np.triu_indices(len(steps), 1))
            points = now + np.concatenate([steps, steps[pairs].sum(axis=0)])

    def _consider_best_of(self, points: FloatArray) -> bool:
        """Consider the better ones of some points, shape (M, N), until one is taken."""
        model = self.free.model
        objectives = model.evaluate(points).objective
        least = float(self.objective) if self.best else -np.inf
        for k in np.argsort(-objectives):
            if not objectives[k] >= least or objectives[k] == -np.inf:
                break
            point = model.evaluate(points[k])
            is_kept = all(it.excess(point) <= it.allowance(point) for it in model.couplings)
            if is_kept and self._consider(points[k]):
                return True
        return False

    def _next_to(self, box: verifier.Box, tokens: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the allowed tokens in a box next to some: the most below, the fewest above."""
        pairs = []
        rows = zip(self.whole.choices, tokens.tolist(), box, strict=True)
        for choices, count, (low, high) in rows:
            at = Fraction(min(max(count, low), high))
            pairs.append((choices.below(at), choices.above(at)))
        below, above = np.array(pairs, dtype=np.float64).T
        return below, above

    def _split(self, box: verifier.Box, tokens: FloatArray) -> tuple[int, int]:
        """Return the type that loses most by allowed tokens next to the point, and where."""
        below, above = self._next_to(box, tokens)
        sides = [np.where(np.eye(tokens.size, dtype=bool), it, tokens) for it in (below, above)]
        model = self.free.model
        kept = np.maximum(*(model.evaluate(side).objective for side in sides))
        losses = np.where(below < above, model.evaluate(tokens).objective - kept, -np.inf)
        k = int(np.argmax(losses))
        if below[k] < above[k]:
            return k, int(below[k])
        low, high = _ends(box)
        k = int(np.argmax(high - low))
        if low[k] == high[k]:
            raise UnprovenError(
                f"whole tokens {[it for it, _ in box]} are not proven to be worse than the best, "
                "nor to keep the constraints"
            )
        # Everything is allowed at the point, and the widest is halved.
        middle = self.whole.choices[k].below((box[k][0] + box[k][1]) // 2)
        return k, box[k][0] if middle is None else max(middle, box[k][0])


def missed(leaf: verifier.Proof) -> verifier.Interval:
    """Return what constraints at their prices are exceeded by at least, all over the box.

    The sum is convex, and above its tangents at the point.
    """
    prices, mix, limits = leaf.multipliers, leaf.point.mix, leaf.instance.couplings
    found = verifier.total(map(mul, leaf.excesses, prices))
    slopes = [it.slopes(leaf.point) for it in limits]
    floors = zip(prices, limits, strict=True)
    accuracy = sum((it for it, by in floors if isinstance(by, verifier.MeanAccuracy)), Decimal(0))
    for k, (kind, count) in enumerate(zip(leaf.instance.types, leaf.tokens, strict=True)):
        cost = verifier.total(it[k] * price for it, price in zip(slopes, prices, strict=True))
        left, right = kind.curve.slopes(verifier.of(count))
        rise = (cost - mix[k] * accuracy * right) * (verifier.of(kind.upper) - count)
        fall = (cost - mix[k] * accuracy * left) * (verifier.of(leaf.lower[k]) - count)
        found += verifier.Interval(min(Decimal(0), rise.low, fall.low))
    return found


def _require_no_near_miss(real: verifier.Proof) -> None:
    """Refuse to call infeasible what misses the accuracy floor of a type by rounding alone."""
    instance = real.instance
    rows = zip(instance.types, instance.floors, real.lower, strict=True)
    for k, (kind, floor, lower) in enumerate(rows):
        count = verifier.Choices(kind.domain, f"domain of type {k}").below(Fraction(lower))
        if floor is None or count is None or not kind.lower <= count < lower:
            continue
        short = verifier.of(floor) - kind.curve.value(verifier.of(Decimal(count)))
        if short.low <= _ROUNDED:
            raise UnprovenError(
                f"{count} tokens of type {k} are not proven to reach its accuracy floor exactly: "
                f"it is missed by {short.high:.2g}"
            )


def _few_digits(value: Any) -> Decimal:
    return Decimal(value if isinstance(value, int) else f"{value:.{_POINT_DIGITS}g}")


def _ends(box: verifier.Box) -> tuple[FloatArray, FloatArray]:
    low, high = np.array(box, dtype=np.float64).T
    return low, high
