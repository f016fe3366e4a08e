"""What the referee says of each claim, beside what is known of the optimum."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from decimal import Decimal

import numpy as np

from cvxqueue.certificates import Certificate, certify
from cvxqueue.errors import InfeasibleError, InvalidInputError, UnstableQueueError
from cvxqueue.files.provenance import instance_digest
from cvxqueue.findings import Finding
from cvxqueue.formatting import at_least, at_most, plural, shown, significant
from cvxqueue.model import Instance
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import EPSILON
from cvxqueue.references import verify as verifier
from cvxqueue.references.claims import Claims
from cvxqueue.references.truth import Range, Truth
from cvxqueue.solution import Status


class Referee:
    """The claims of one answer, found right, wrong or open."""

    def __init__(self, truth: Truth, claims: Claims, feasibility_tolerance: float) -> None:
        self.truth, self.claims, self.tolerance = truth, claims, feasibility_tolerance
        self.instance = truth.instance
        self.point: Certificate | None = None
        """What is graded, of N finite tokens."""
        self.objective: Range | None = None
        """At the point, where that is feasible, in seconds."""
        self.short: Range | None = None
        """What that falls short of the optimum."""
        self.findings = tuple(self._findings())

    def _findings(self) -> Iterator[Finding]:
        claims, truth, tokens = self.claims, self.truth, self.claims.tokens
        yield from same_instance(self.instance, claims)
        if claims.status == "infeasible":
            best = float(truth.optimum.low)
            sentence = f"The best allocation that was found has {significant(best, 9)} s."
            yield Finding("status", False if math.isfinite(best) else None, sentence, {})
        obstacle = "" if tokens is None else self._obstacle(tokens)
        found = [Finding("feasibility", False, obstacle, {})] if obstacle else []
        optimum, known = truth.optimum, truth.tokens
        if self.point is not None and self.objective is not None and tokens is not None:
            found = list(self._of_the_point(self.point, self.objective, tokens))
            # What is certified of the tokens is known as well.
            optimum = optimum.and_within(self.point.objective, self.point.upper_bound)
            pairs = zip(known or (), self.point.token_bounds.tolist(), strict=known is not None)
            known = known and tuple(ends.and_within(*own) for ends, own in pairs)
        if claims.upper_bound is not None:
            low = -math.inf if claims.objective is None else claims.objective
            claimed = [low, claims.upper_bound]
            value = significant(float(optimum.low), 15)
            yield Finding(
                "interval",
                optimum.within(*claimed),
                f"The optimum is {value} s, and claimed to lie in {claimed}.",
                {"claimed": claimed, "optimum": list(map(str, optimum))},
            )
        if claims.token_bounds is not None:
            yield self._token_intervals(claims.token_bounds, None if claims.is_whole else known)
        yield from found

    def _obstacle(self, tokens: FloatArray) -> str:
        """Why the tokens are no allocation that is allowed; nothing if they are."""
        instance, is_whole = self.instance, self.claims.is_whole
        if tokens.shape != (instance.size,):
            kinds = plural(instance.size, "task type")
            return f"The tokens have shape {tokens.shape}, and the instance {kinds}."
        k = int(np.argmin(np.isfinite(tokens)))
        if not np.isfinite(tokens[k]):
            return f"The tokens of {instance.type_name(k)} are {tokens[k]}, no finite number."
        self.point = certify(instance, tokens, feasibility_tolerance=self.tolerance)
        if is_whole:
            k = int(np.argmax(away := np.abs(tokens - np.round(tokens))))
            if away[k] > self.point.feasibility_tolerance:
                return f"{instance.type_name(k)} has {tokens[k]} tokens, which is no whole number."
            self.point = certify(instance, np.round(tokens), feasibility_tolerance=self.tolerance)
        inside = np.clip(tokens, instance.lower, instance.upper)
        k = int(np.argmax(away := np.abs(tokens - inside)))
        if away[k] > self.tolerance:
            return (
                f"{instance.type_name(k)} has {tokens[k]:.9g} tokens, {at_least(away[k])} "
                f"outside of [{instance.lower[k]:.9g}, {instance.upper[k]:.9g}]."
            )
        given = instance.evaluate(inside)
        if not given.is_stable:
            load = at_least(float(given.utilization), 6)
            return f"The queue is unstable: the utilization is {load}, and must be below 1."
        moved = instance.model.lower_rounding
        # Whole tokens keep limits themselves; a floor as far as rounding can tell.
        most = 0.0 if moved is None else float(moved.max())
        if not self.point.is_feasible or (is_whole and self.point.violation > most):
            broken = [it.label for it in instance.model.couplings if it.excess(given) > 0.0]
            return (
                f"The allocation does not keep {'; '.join(broken) or 'the constraints'}: the "
                f"nearest found that does is {at_least(self.point.violation)} tokens away."
            )
        try:
            self.objective = self.truth.objective(self.point)
        except verifier.Refused as error:
            return f"In exact arithmetic, {error}."
        return ""

    def _of_the_point(
        self, point: Certificate, objective: Range, tokens: FloatArray
    ) -> Iterator[Finding]:
        """What is claimed of the objective at the tokens, which are feasible."""
        claims, optimum, scale, none = self.claims, self.truth.optimum, point.scale, Decimal(0)
        # The optimum is no worse than they are, and no better than what is certified of them.
        most = min(optimum.high - objective.low, Decimal(point.gap))
        self.short = short = Range(max(optimum.low - objective.high, none), max(most, none))
        sentence = "The allocation is stable, in the box and within the constraints."
        if (violation := float(np.max(np.abs(tokens - point.tokens)))) > 0.0:
            sentence = (
                f"One that is allowed is {at_most(violation)} tokens away, for a tolerance of "
                f"{self.tolerance:g}; it is the one that is graded."
            )
        yield Finding("feasibility", True, sentence, {"violation": violation})
        # A relative gap is a quotient, which is rounded.
        unit = scale * (1.0 + 4.0 * EPSILON)
        allowed = claims.tolerance * unit
        if (value := claims.objective) is not None:
            slack = allowed + 2.0 * point.allowance
            yield Finding(
                "objective",
                objective.within(value - slack, value + slack),
                f"The objective at the tokens is {significant(float(objective.low), 12)} s, and "
                f"{significant(value, 12)} s is claimed.",
                {"claimed": value, "objective": float(objective.low)},
            )
        relative = None if claims.relative_gap is None else claims.relative_gap * unit
        if given := [it for it in (claims.gap, relative) if it is not None]:
            gap = float(np.min(given))
            yield Finding(
                "gap",
                short.within(-math.inf, gap),
                f"The objective falls short of the optimum by {_between(short)} s, and at most "
                f"{significant(gap, 3)} s is claimed; certified is {at_most(point.gap, 3)} s.",
                {"claimed": gap, "error": list(map(str, short)), "certified": point.gap},
            )
        if claims.is_whole:
            yield from self._best_tokens(point, short)
        if claims.status == Status.OPTIMAL.value:
            yield Finding(
                "status",
                short.within(-math.inf, allowed),
                f"To be optimal, the objective may fall short by {claims.tolerance:g} of the scale "
                f"of {significant(scale, 3)} s; it does by {_between(short, scale or 1.0)} of it.",
                {"tolerance": claims.tolerance},
            )

    def _best_tokens(self, point: Certificate, short: Range) -> Iterator[Finding]:
        """Whether whole tokens are the best ones, where they are or claim it."""
        known, digits = self.truth.tokens or (), self.truth.digits
        differing = [k for k, count in enumerate(point.tokens.tolist()) if count != known[k].low]
        is_tie = short.low <= Decimal(point.scale).scaleb(-digits)
        if not differing:
            sentence = "The tokens are the proven ones."
        elif is_tie:
            sentence = f"The tokens tie with the proven ones, to {plural(digits, 'digit')}."
        elif self.claims.is_exact:
            k = differing[0]
            sentence = (
                f"{self.instance.type_name(k)} has {point.tokens[k]:g} tokens; others are proven "
                f"to be better by {_between(short)} s, with {known[k].low} of this type."
            )
        else:
            return
        # What rounding can have done: see `IntegerSolution.is_exact`.
        holds = is_tie or short.within(-math.inf, 5.0 * point.allowance)
        yield Finding("best tokens", holds, sentence, {"differing": differing})

    def _token_intervals(self, bounds: FloatArray, known: tuple[Range, ...] | None) -> Finding:
        """Whether the optimal tokens lie where they are claimed to."""
        size, name, claimed = self.instance.size, "token intervals", bounds.tolist()
        if bounds.shape != (size, 2):
            sentence = f"They have shape {bounds.shape}, not ({size}, 2)."
            return Finding(name, False, sentence, {})
        if known is None:
            sentence = "The record does not prove that no other tokens are optimal."
            return Finding(name, None, sentence, {})
        found = [ends.within(*pair) for ends, pair in zip(known, claimed, strict=True)]
        holds = all_of(found)
        sentence = "The optimal tokens of every type lie where they are claimed to."
        if not holds:
            k = found.index(holds)
            sentence = (
                f"The optimal tokens of {self.instance.type_name(k)} are "
                f"{float(known[k].low):.12g}, and claimed to lie in {claimed[k]}."
            )
        return Finding(
            name, holds, sentence, {"wrong": [k for k, it in enumerate(found) if it is False]}
        )


def same_instance(instance: Instance, claims: Claims) -> Iterator[Finding]:
    """Whether the answer is about the instance."""
    own = instance.names
    if claims.names is not None and own is not None and claims.names != own:
        raise InvalidInputError(
            f"answer: names = {shown(list(claims.names))} must be those of the instance, in its "
            f"order: {shown(list(own))}"
        )
    if claims.digest is not None:
        holds = claims.digest == instance_digest(instance)
        word = "this instance" if holds else "another instance: its instance_digest differs"
        yield Finding("instance", holds, f"The answer is about {word}.", {})


def of_nothing_feasible(
    instance: Instance, claims: Claims, error: InfeasibleError
) -> Iterator[Finding]:
    """What is claimed of an instance without an allocation that is allowed."""
    yield from same_instance(instance, claims)
    reason = f"{str(error)[0].upper()}{str(error)[1:]}."
    # Sums of N products are rounded about so often, and exact arithmetic may find it stable.
    rounding = 4.0 * (instance.size + 8) * EPSILON
    is_near = abs(1.0 - instance.least_utilization) <= rounding
    if is_open := is_near and isinstance(error, UnstableQueueError):
        reason += " The idle fraction is within rounding of zero, which decides nothing."
    numbers = claims.objective, claims.upper_bound, claims.gap, claims.relative_gap
    claimed = any(it is not None for it in (*numbers, claims.tokens, claims.token_bounds))
    yield Finding("feasibility", None if is_open else not claimed, reason, {})


def all_of(found: Iterable[bool | None]) -> bool | None:
    """Whether all hold; ``None`` where none is wrong and one could not be decided."""
    known = set(found)
    return False if False in known else None if None in known else True


def _between(short: Range, unit: float = 1.0) -> str:
    low, high = at_least(float(short.low) / unit, 3), at_most(float(short.high) / unit, 3)
    return high if low == high else f"{low} to {high}"
