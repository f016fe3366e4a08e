"""What is known of an optimum: from a record, or from what is certified of an instance."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from cvxqueue.certificates import Certificate
from cvxqueue.errors import InvalidInputError
from cvxqueue.files.reading import from_dict
from cvxqueue.files.writing import domain_tables
from cvxqueue.formatting import at_most, plural, shown
from cvxqueue.model import Instance
from cvxqueue.model.domains import Domains
from cvxqueue.references import verify as verifier
from cvxqueue.references.claims import Claims
from cvxqueue.references.verification import read_proof
from cvxqueue.solvers.solve import solve

_NO_PROOF = (
    "the answer is about whole tokens, of which {} proves nothing; give a record of "
    "prove(instance, integer=True), or of cvxqueue prove --integer"
)


class Range(NamedTuple):
    """What a number is known to lie between."""

    low: Decimal
    high: Decimal

    def within(self, low: float, high: float) -> bool | None:
        """Whether the number is between two others; ``None`` where that is open."""
        if not low <= high:  # in reverse, or NaN
            return False
        if low <= self.low and self.high <= high:
            return True
        return False if low > self.high or high < self.low else None

    def and_within(self, low: float, high: float) -> Range:
        """Return what is known where the number is known to be between two others, too."""
        return Range(max(self.low, Decimal(low)), min(self.high, Decimal(high)))


class Truth(NamedTuple):
    """What is known of the optimum."""

    instance: Instance
    source: str
    optimum: Range
    """Seconds."""
    tokens: tuple[Range, ...] | None
    """``None`` where they are not proven; whole ones may tie with others."""
    objective: Callable[[Certificate], Range]
    """The objective of tokens that satisfy the constraints, in seconds."""
    digits: int = 0
    """Of the proof, if there is one."""


def recorded(record: Mapping[str, Any] | str | os.PathLike[str], claims: Claims) -> Truth:
    """Return what a record proves, of whole tokens where the claims are about these."""
    name, plain, found = read_proof(record)
    instance, proof, whole = from_dict(plain["instance"]), found.proof, found.whole
    optimum, tokens = found.objective, found.tokens
    if claims.is_whole:
        if whole is None:
            raise InvalidInputError(_NO_PROOF.format(name))
        own = [domain_tables([it])["domain"] for it in Domains.of(instance.domains, instance.size)]
        stated = claims.domains
        if stated is None and claims.domain is not None:
            stated = [claims.domain] * instance.size
        if stated not in (None, own):
            raise InvalidInputError(
                f"answer: domains = {shown(stated)} must be those that {name} proves, {shown(own)}"
            )
        optimum, tokens = whole.objective, list(map(verifier.of, whole.tokens))

    def objective(point: Certificate) -> Range:
        verifier.set_digits(4 * found.digits + 50)
        counts = point.tokens.tolist()
        if claims.is_whole:
            at = verifier.WholeProof(proof).at(list(map(int, counts)))
        else:
            prices = [verifier.NOUGHT] * len(proof.excesses)
            reals = list(map(Decimal, counts))
            at = verifier.Proof(proof.instance, reals, prices, [None] * len(reals))
        return Range(at.objective.low, at.objective.high)

    source = f"the record, proven to {plural(found.digits, 'digit')}"
    known = None if tokens is None else tuple(Range(it.low, it.high) for it in tokens)
    best = Range(optimum.low, optimum.high)
    return Truth(instance, source, best, known, objective, found.digits)


def certified(instance: Instance, claims: Claims) -> Truth:
    """Return what `solve` finds, in real tokens, to rounding."""
    if claims.is_whole:
        raise InvalidInputError(_NO_PROOF.format("an instance alone"))
    found = solve(instance, on_failure="return").certificate
    source = f"what is certified here, to {at_most(found.relative_gap)} of the scale"
    return Truth(
        instance,
        "; assumed, and not proven: ".join([source, *found.assumes]),
        Range(Decimal(found.objective), Decimal(found.upper_bound)),
        tuple(Range(Decimal(low), Decimal(high)) for low, high in found.token_bounds.tolist()),
        lambda at: Range(Decimal(at.objective), Decimal(at.objective + 2.0 * at.allowance)),
    )
