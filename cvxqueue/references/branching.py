"""Proofs in whole tokens: the types are split until a point closes each part.

Nothing here needs rigour: `cvxqueue.references.verify` says what a point proves of a part.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from cvxqueue.errors import InfeasibleError, InvalidInputError, UnprovenError
from cvxqueue.integer.solve import solve_integer
from cvxqueue.model import Instance
from cvxqueue.model.constraints import BoxConstraint
from cvxqueue.model.domains import Domains
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.references import verify as verifier
from cvxqueue.solvers.solve import solve

# Digits of a point: more would be those of its error.
_POINT_DIGITS = 12
# Scales below the objective of the least tokens: where nothing is feasible, prices of constraints
# bring every bound down to there.
_DEEP = Decimal(10) ** 12
# Such prices, relative to the scale: each so often the one before.
_RAISE, _RAISES = 100, 10


def integer_part(instance: Instance, record: dict[str, Any]) -> dict[str, Any]:
    """Return what a record has of whole tokens: the best, and a tree of splits that proves it.

    Raises
    ------
    UnprovenError
        If the tree would have more leaves than a record may.
    InfeasibleError
        If no allocation in whole tokens is stable and keeps the constraints.
    InvalidInputError
        If a type has levels, which are no tokens.
    """
    if Domains.of(instance.domains, instance.size).has_levels:
        raise InvalidInputError("a type has levels of effort, which are no numbers of tokens")
    return _Search(instance, record).run()


class _Part(NamedTuple):
    """A point for a part of the allocations, and the bound that it proves."""

    node: dict[str, list[str]]
    bound: Decimal
    tokens: FloatArray


class _Search:
    """Branch and bound from the best that is known; one that is better begins it anew."""

    def __init__(self, instance: Instance, record: dict[str, Any]) -> None:
        real = verifier.verify(record).proof
        self.instance, self.digits = instance, record["digits"]
        self.precision = verifier.ROUND.digits
        self.whole = verifier.WholeProof(real)
        # The boxes keep the accuracy floors of the types.
        rest = [it for it in instance.constraints if not isinstance(it, BoxConstraint)]
        self.free = instance.replace(constraints=rest, domains=None)
        self.best: tuple[int, ...] = ()
        self.objective = real.objective.low
        self.most = self.objective - _DEEP * real.scale.high
        self.tried: set[tuple[int, ...]] = set()
        self.parts: dict[tuple[tuple[int, int], ...], _Part | None] = {}
        if not rest:
            self._consider(solve_integer(instance).tokens)

    def run(self) -> dict[str, Any]:
        """Return the part of the record."""
        tree = None
        while tree is None:
            tree = self._tree()
        if not self.best:
            raise InfeasibleError("no allocation in whole tokens keeps the constraints")
        return {"tokens": list(self.best), "objective": str(self.objective), "tree": tree}

    def _tree(self) -> list[dict[str, Any]] | None:
        """Return the nodes in the order of a walk, or ``None`` once the best is beaten."""
        best, boxes, leaves = self.best, [self.whole.box], 0
        tree: list[dict[str, Any]] = []
        while boxes:
            box = boxes.pop()
            part = self._part(box)
            if self.best != best:
                return None
            if part is None or part.bound <= self.most:
                tree.append({} if part is None else part.node)
                leaves += 1
            else:
                k, most = self._split(box, part.tokens)
                tree.append({"type": k, "most": most})
                boxes += reversed(self.whole.split(box, k, most))
            if leaves + len(boxes) > verifier.MOST_LEAVES:
                raise UnprovenError(
                    f"a proof in whole tokens would have more than {verifier.MOST_LEAVES} leaves"
                )
        return tree

    def _part(self, box: verifier.Box) -> _Part | None:
        """Return what bounds a part; ``None`` where it is unstable."""
        key = tuple(box)
        verifier.set_digits(self.digits + verifier.MORE_DIGITS)
        if key not in self.parts:
            self.parts[key] = None if self.whole.is_unstable(box) else self._bounded(box)
        part = self.parts[key]
        if part is None or part.bound <= self.most:
            return part
        # The best itself is often the point that proves most about its own part.
        inside = zip(self.best, box, strict=False)
        if not self.best or not all(low <= count <= high for count, (low, high) in inside):
            return part
        return min(part, self._at(box, self.best, part.node["multipliers"]), key=_bound_of)

    def _bounded(self, box: verifier.Box) -> _Part:
        if all(low == high for low, high in box):
            return self._single(box)
        inside = self.free.replace(**dict(zip(("min_tokens", "max_tokens"), _ends(box), strict=True)))
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
        exact = self.whole.instance
        nothing = [Decimal(0)] * len(exact.couplings)
        try:
            found = verifier.Leaf(exact, self.whole.choices, box, [*map(Decimal, counts)], nothing)
        except verifier.Refused:
            return _Part({}, Decimal("inf"), np.array(counts, dtype=np.float64))
        prices = list(nothing)
        for k, excess in enumerate(found.excesses):
            if excess.low > 0:
                prices[k] = 2 * (found.upper.high - self.most) / excess.low
                break
        return self._at(box, counts, prices)

    def _infeasible(self, inside: Instance, box: verifier.Box) -> _Part:
        """Return what bounds a part in which the constraints leave nothing."""
        model, scale = inside.model, float(inside.model.lowest.scale)
        prices = np.array([it.excess(model.lowest) > 0 for it in model.couplings], dtype=np.float64)
        is_floor = np.array([it.is_floor for it in model.couplings])
        tokens = inside.min_tokens
        found = self._at(box, tokens.tolist(), np.zeros(prices.size).tolist())
        for power in range(_RAISES):
            price = scale * _RAISE**power
            if (prices * ~is_floor).any():
                # Fewer tokens do not help: what exceeds a limit has a price.
                tried = prices * ~is_floor * price
            else:
                # The floor of the mean accuracy counts as worth of accuracy.
                tokens, tried = self._for_accuracy(inside, is_floor, price)
            found = min(found, self._at(box, tokens.tolist(), tried.tolist()), key=_bound_of)
            if found.bound <= self.most:
                break
        return found

    def _for_accuracy(
        self, inside: Instance, is_floor: Any, price: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return the best tokens and multipliers at a price of the floor of the mean accuracy."""
        weight = inside.accuracy_weight + price
        caps = [it for it, is_one in zip(inside.model.couplings, is_floor, strict=True) if not is_one]
        raised = inside.replace(
            accuracy_weight=weight,
            importance=(inside.accuracy_weight * inside.importance + price) / weight,
            constraints=caps,
        )
        floors = [getattr(it, "accuracy", 0.0) for it in inside.model.couplings]
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
        try:
            bound = self.whole.bound(box, counts, multipliers)
        except verifier.Refused:
            bound = Decimal("inf")
        node = {"tokens": [*map(str, counts)], "multipliers": [*map(str, multipliers)]}
        return _Part(node, bound, np.array([float(count) for count in counts]))

    def _consider(self, counts: Sequence[Any]) -> bool:
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
        """Consider the allowed tokens next to a point, and those next to the best of these."""
        below, above = self._next_to(box, tokens)
        nearest = np.where(tokens - below < above - tokens, below, above)
        found = [self._consider(it) for it in (nearest, below, above)]
        while any(found):
            now = np.array(self.best, dtype=np.float64)
            moves = np.array([*(now + np.diag(step) for step in self._steps(box, now))])
            moves = moves.reshape(-1, now.size)
            objectives = self.free.model.evaluate(moves).objective
            better = np.flatnonzero(objectives >= float(self.objective))
            found = [self._consider(moves[k]) for k in better[np.argsort(-objectives[better])][:1]]

    def _steps(self, box: verifier.Box, now: FloatArray) -> list[FloatArray]:
        fewer, _ = self._next_to(box, np.maximum(now - 1.0, 0.0))
        _, more = self._next_to(box, now + 1.0)
        return [fewer - now, more - now]

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


def _bound_of(part: _Part) -> Decimal:
    return part.bound


def _few_digits(value: Any) -> Decimal:
    found = Decimal(f"{value:.{_POINT_DIGITS}g}") if not isinstance(value, str) else Decimal(value)
    return found


def _ends(box: verifier.Box) -> tuple[FloatArray, FloatArray]:
    low, high = np.array(box, dtype=np.float64).T
    return low, high
