"""The referee: whether an answer is what it claims to be, claim by claim."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from functools import cached_property
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.certificates import Certificate, certify
from cvxqueue.errors import InfeasibleError, InvalidInputError, UnstableQueueError
from cvxqueue.files.provenance import instance_digest
from cvxqueue.files.reading import from_dict
from cvxqueue.files.storage import as_path, read_bytes
from cvxqueue.findings import Finding, findings_table
from cvxqueue.formatting import at_least, at_most, plural, shown, significant
from cvxqueue.json_values import json_values
from cvxqueue.model import Instance
from cvxqueue.model.instance import type_columns
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray, frozen
from cvxqueue.numerics.checks import text_tuple
from cvxqueue.numerics.float64 import EPSILON
from cvxqueue.references import verify as verifier
from cvxqueue.references.verification import verify
from cvxqueue.solution import Solution, Status, allowed_tolerance
from cvxqueue.solvers.solve import solve
from cvxqueue.tables import Column, Part, Report, Table

TOKENS_TOLERANCE = 1e-5
"""Tokens: solvers of conic programs keep a box and constraints to about so much."""
CLAIMED_TOLERANCE = 1e-6
"""Of tokens alone: by its defaults, Clarabel left certified relative gaps of up to 2.3e-7 on fifty
exported instances of all classes."""

_Range: TypeAlias = tuple[Decimal, Decimal]
# Sums and differences of float64 numbers and of records are exact in so many digits.
_UNROUNDED = Context(prec=2500, Emin=MIN_EMIN, Emax=MAX_EMAX)
_VERDICTS: dict[bool | None, tuple[str, str]] = {
    True: ("right", "green"),
    False: ("wrong", "red"),
    None: ("open", "yellow"),
}


class _Truth(NamedTuple):
    """What is known of the optimum."""

    instance: Instance
    source: str
    optimum: _Range
    """Seconds."""
    tokens: tuple[_Range, ...] | None
    """``None`` where they are not proven."""
    objective: Callable[[Certificate], _Range]
    """What the objective of tokens that satisfy the constraints lies between, in seconds."""


@dataclass(frozen=True, repr=False)
class Grade(Report):
    """What a referee found of an answer.

    Attributes
    ----------
    instance : Instance
        What the answer is about.
    source : str
        Where the optimum is known from.
    findings : tuple of Finding
        Each claim, whether it holds, and a sentence with the numbers.
    optimum : tuple of two Decimal, or None
        The optimal objective lies between them, in seconds; ``None`` where nothing is feasible.
    objective_error : tuple of two Decimal, or None
        What the objective at the tokens falls short of the optimum lies between them, in seconds;
        ``None`` where the tokens are none, or not feasible.
    optimal_tokens : tuple of pairs of Decimal, or None
        What the optimal tokens of each type lie between, where they are proven.
    certificate : Certificate or None
        What is proven of the tokens from the instance alone.
    """

    instance: Instance
    source: str
    findings: tuple[Finding, ...]
    optimum: _Range | None
    objective_error: _Range | None
    optimal_tokens: tuple[_Range, ...] | None
    certificate: Certificate | None

    @property
    def is_right(self) -> bool | None:
        """Whether all claims hold; ``None`` where none is wrong and one could not be decided."""
        found = {finding.holds for finding in self.findings}
        return False if False in found else None if None in found else True

    @property
    def verdict(self) -> str:
        """``"right"``, ``"wrong"`` or ``"open"``: `is_right` in a word."""
        return _VERDICTS[self.is_right][0]

    @cached_property
    def token_errors(self) -> FloatArray | None:
        """Distance of the tokens of each type from the optimal ones, shape (N,).

        The most that it can be, where these are known to lie in an interval.
        """
        if self.certificate is None or self.optimal_tokens is None:
            return None
        pairs = zip(self.certificate.allocation.tolist(), self.optimal_tokens, strict=True)
        return frozen(np.array([_farthest(count, ends) for count, ends in pairs]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; numbers of many digits are strings."""

        def ends(pair: _Range | None) -> list[str] | None:
            return None if pair is None else list(map(str, pair))

        found, proven = self.certificate, self.optimal_tokens or ()
        return json_values(
            {
                "status": self.verdict,
                "instance": self.instance.name,
                "source": self.source,
                "claims": {finding.key: finding.to_dict() for finding in self.findings},
                "optimum": ends(self.optimum),
                "objective_error": ends(self.objective_error),
                "certified_gap": None if found is None else found.gap,
                "certified_relative_gap": None if found is None else found.relative_gap,
                "violation": None if found is None else found.violation,
                "token_errors": self.token_errors,
                "optimal_tokens": list(map(ends, proven)) or None,
            }
        )

    def __repr__(self) -> str:
        return f"Grade({self.verdict}, {plural(len(self.findings), 'claim')})"

    def _parts(self) -> Iterable[Part]:
        wrong = sum(finding.holds is False for finding in self.findings)
        count = plural(len(self.findings), "claim")
        yield [_VERDICTS[self.is_right], f": {wrong} of {count} wrong, by {self.source}"]
        yield ""
        yield findings_table(self.findings, lambda finding: _VERDICTS[finding.holds])
        yield self.table()

    def table(self) -> Table:
        """Return the tokens by type, and how far they are from the optimal ones."""
        columns = type_columns(self.instance)
        if self.certificate is not None:
            columns.append(Column("tokens", self.certificate.allocation))
        if self.optimal_tokens is not None:
            # Machines are handed all digits.
            middle = [float(low + high) / 2.0 for low, high in self.optimal_tokens]
            columns.append(Column("optimal tokens", middle))
        if self.token_errors is not None:
            columns.append(Column("error (tokens)", self.token_errors, at_most))
        return Table(columns)


def _farthest(count: float, ends: _Range) -> float:
    if not math.isfinite(count):
        return math.nan
    return max(abs(float(_UNROUNDED.subtract(Decimal(count), end))) for end in ends)


@quiet
def grade(
    record: Mapping[str, Any] | str | os.PathLike[str] | Instance,
    answer: Mapping[str, Any] | Solution | Certificate | ArrayLike,
    *,
    tolerance: float = CLAIMED_TOLERANCE,
    feasibility_tolerance: float = TOKENS_TOLERANCE,
) -> Grade:
    """Say of each claim of an answer whether it is true.

    Parameters
    ----------
    record : dict, path or Instance
        A record, which is verified first. Of an instance `solve` finds what is known of the
        optimum, to rounding.
    answer : Solution, Certificate, dict, or array_like of shape (N,)
        What is claimed: a dictionary has what ``cvxqueue solve --json`` prints, or some of it:
        ``tokens``, ``status``, ``tolerance``, ``objective``, ``gap``, ``relative_gap``,
        ``upper_bound``, ``token_bounds``, ``instance_digest``, ``names``. Anything else in it is
        not graded, whole tokens beside the others included. Tokens alone claim to be optimal.
    tolerance : float, default 1e-6
        Relative gap within which an answer claims to be optimal, and its objective to be right,
        where it has no ``tolerance`` itself.
    feasibility_tolerance : float, default 1e-5
        Tokens that lie by no more outside the box, or from where the constraints hold, in tokens,
        pass for feasible.

    Returns
    -------
    Grade

    Raises
    ------
    RefusedError
        If the record does not prove what it claims.
    InvalidInputError
        If it cannot be read, or the answer has no tokens, what is no number where one belongs, a
        tolerance above 0.01, a status that is none, or names that are not those of the instance.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.load("examples/instances/one-type.toml")
    >>> cq.grade(cq.prove(instance), {"tokens": [1000.0], "gap": 1e-9})
    Grade(right, 2 claims)
    >>> cq.grade(instance, [900.0]).is_right
    False
    """
    claims = _Claims(answer, tolerance)
    try:
        truth = _solved(record) if isinstance(record, Instance) else _recorded(record)
    except InfeasibleError as error:
        if not isinstance(record, Instance):
            raise
        findings = tuple(_of_nothing_feasible(record, claims, error))
        return Grade(record, "the instance alone", findings, None, None, None, None)
    with localcontext(_UNROUNDED):
        return _Referee(truth, claims, feasibility_tolerance).grade()


def _of_nothing_feasible(
    instance: Instance, claims: _Claims, error: InfeasibleError
) -> Iterator[Finding]:
    """What is claimed of an instance without an allocation that is allowed."""
    yield from _same_instance(instance, claims)
    reason = f"{str(error)[0].upper()}{str(error)[1:]}."
    # Sums of N products are rounded about so often, and exact arithmetic may find it stable.
    rounding = 4.0 * (instance.size + 8) * EPSILON
    is_open = abs(1.0 - instance.least_utilization) <= rounding
    is_open &= isinstance(error, UnstableQueueError)
    if is_open:
        reason += " The idle fraction is within rounding of zero, which decides nothing."
    if claims.status == "infeasible":
        yield Finding("status", None if is_open else True, reason, {})
    finite = ("objective", "upper_bound", "gap", "relative_gap")
    claimed = {
        "feasibility": claims.tokens is not None,
        "interval": any(claims.numbers[name] is not None for name in finite),
        "token intervals": claims.token_bounds is not None,
    }
    for subject, is_claimed in claimed.items():
        if is_claimed:
            yield Finding(subject, None if is_open else False, reason, {})


def _same_instance(instance: Instance, claims: _Claims) -> Iterator[Finding]:
    """Whether the answer is about the instance."""
    names = claims.names
    if names is not None and instance.names is not None and names != instance.names:
        raise InvalidInputError(
            f"answer: names = {shown(list(names))} must be those of the instance, in its order: "
            f"{shown(list(instance.names))}"
        )
    if claims.digest is not None:
        holds = claims.digest == instance_digest(instance)
        word = "this instance" if holds else "another instance: its instance_digest differs"
        yield Finding("instance", holds, f"The answer is about {word}.", {})


def _recorded(record: Mapping[str, Any] | str | os.PathLike[str]) -> _Truth:
    found = verify(record)
    plain = record
    if not isinstance(plain, Mapping):
        plain = verifier.parse(read_bytes(as_path(plain), verifier.MOST_RECORD_BYTES))
    instance = from_dict(plain["instance"])
    exact = verifier.Instance(plain["instance"])

    def objective(point: Certificate) -> _Range:
        verifier.set_digits(4 * found.digits + 50)
        counts = [Decimal(count) for count in point.tokens.tolist()]
        none = [verifier.NOUGHT] * len(exact.couplings)
        value = verifier.Proof(exact, counts, none, [None] * len(counts)).objective
        return value.low, value.high

    return _Truth(
        instance,
        f"the record, proven to {plural(found.digits, 'digit')}",
        found.objective,
        found.tokens if found.proves_tokens else None,
        objective,
    )


def _solved(instance: Instance) -> _Truth:
    found = solve(instance, on_failure="return").certificate
    certified = f"what is certified here, to {at_most(found.relative_gap)} of the scale"

    def objective(point: Certificate) -> _Range:
        return Decimal(point.objective), Decimal(point.objective + 2.0 * point.allowance)

    return _Truth(
        instance,
        "; assumed, and not proven: ".join([certified, *found.assumes]),
        (Decimal(found.objective), Decimal(found.upper_bound)),
        tuple((Decimal(low), Decimal(high)) for low, high in found.token_bounds.tolist()),
        objective,
    )


class _Claims:
    """What an answer claims, in numbers that are numbers."""

    def __init__(self, answer: Any, tolerance: float) -> None:
        if isinstance(answer, Solution | Certificate):
            answer = answer.to_dict()
        table = answer if isinstance(answer, Mapping) else {"tokens": answer}
        if "is_exact" in table:
            raise InvalidInputError("answer is one in whole tokens; real ones are graded")
        self.digest = table.get("instance_digest")
        self.status = table.get("status")
        if not isinstance(self.status, str | None):
            raise InvalidInputError(f"answer: status must be a word, got {shown(self.status)}")
        if self.status is not None:
            word = self.status.casefold()
            if word not in _STATUSES:
                raise InvalidInputError(
                    f"answer: status = {shown(self.status)} must be one of {', '.join(_STATUSES)}"
                )
            self.status = _STATUSES[word]
        names = table.get("names")
        self.names = None if names is None else text_tuple("answer: names", names)
        self.numbers = {name: _number(name, table.get(name)) for name in _NUMBERS}
        bounds = {"gap", "relative_gap", "upper_bound"} & {
            name for name, value in self.numbers.items() if value is not None
        }
        if self.status is None and not bounds:
            # Whoever hands in tokens says that they are the answer.
            self.status = Status.OPTIMAL.value
        given = self.numbers["tolerance"]
        self.tolerance = allowed_tolerance(tolerance if given is None else given)
        self.tokens: FloatArray | None = None
        if table.get("tokens") is not None:
            self.tokens = _array("tokens", table["tokens"])
        elif self.status != "infeasible":
            raise InvalidInputError("answer has no tokens, which are what is graded")
        given = table.get("token_bounds")
        self.token_bounds = None if given is None else _array("token_bounds", given)


_STATUSES = {status.value: status.value for status in Status} | {
    "solved": Status.OPTIMAL.value,
    "infeasible": "infeasible",
}
_NUMBERS = ("tolerance", "objective", "gap", "relative_gap", "upper_bound")


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    with suppress(OverflowError):
        if isinstance(value, Real) and not isinstance(value, bool):
            return float(value)
    raise InvalidInputError(f"answer: {name} must be a number, got {shown(value)}")


def _array(name: str, value: Any) -> FloatArray:
    """Numbers, NaN where there is none."""
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O":
            array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.asarray("")
    if array.dtype.kind not in "iuf":
        raise InvalidInputError(f"answer: {name} must be numbers, got {shown(value)}")
    return array.astype(np.float64)


class _Referee:
    """The claims of one answer beside what is known of the optimum."""

    def __init__(self, truth: _Truth, claims: _Claims, feasibility_tolerance: float) -> None:
        self.truth, self.claims, self.instance = truth, claims, truth.instance
        self.feasibility_tolerance = feasibility_tolerance
        self.point: Certificate | None = None
        self.objective: _Range | None = None

    def grade(self) -> Grade:
        """Return what was found."""
        findings = tuple(self._findings())
        truth, error = self.truth, None
        if self.objective is not None:
            low, high = self.objective
            error = truth.optimum[0] - high, truth.optimum[1] - low
        known = truth.optimum, error, truth.tokens
        return Grade(self.instance, truth.source, findings, *known, self.point)

    def _findings(self) -> Iterator[Finding]:
        claims, instance = self.claims, self.instance
        yield from _same_instance(instance, claims)
        if claims.status == "infeasible":
            best = float(self.truth.optimum[0])
            sentence = f"The best allocation that was found has {significant(best, 9)} s."
            yield Finding("status", False if math.isfinite(best) else None, sentence, {})
        feasibility = None if claims.tokens is None else self._feasibility(claims.tokens)
        yield from self._interval()
        yield from self._token_intervals()
        if feasibility is None:
            return
        yield feasibility
        if feasibility.holds:
            yield from self._of_the_point()

    def _feasibility(self, tokens: FloatArray) -> Finding:
        """Whether the tokens are an allocation that is allowed, with the first reason if not."""

        def wrong(sentence: str) -> Finding:
            return Finding("feasibility", False, sentence, {})

        instance = self.instance
        if tokens.shape != (instance.size,):
            kinds = plural(instance.size, "task type")
            return wrong(f"The tokens have shape {tokens.shape}, and the instance {kinds}.")
        self.point = point = certify(
            instance, tokens, feasibility_tolerance=self.feasibility_tolerance
        )
        if not np.isfinite(tokens).all():
            k = int(np.argmin(np.isfinite(tokens)))
            return wrong(
                f"The tokens of {instance.type_name(k)} are {tokens[k]}, no finite number."
            )
        outside = np.maximum(instance.lower - tokens, tokens - instance.upper)
        k = int(np.argmax(outside))
        if outside[k] > self.feasibility_tolerance:
            return wrong(
                f"{instance.type_name(k)} has {tokens[k]:.9g} tokens, {at_least(outside[k])} "
                f"outside of [{instance.lower[k]:.9g}, {instance.upper[k]:.9g}]."
            )
        given = instance.evaluate(np.clip(tokens, instance.lower, instance.upper))
        if not given.is_stable:
            load = at_least(float(given.utilization), 6)
            return wrong(f"The queue is unstable: the utilization is {load}, and must be below 1.")
        if not point.is_feasible:
            return wrong(
                f"{self._broken(given)}: the nearest found that does is "
                f"{at_least(point.violation)} tokens away."
            )
        try:
            self.objective = self.truth.objective(point)
        except verifier.Refused as error:
            return wrong(f"In exact arithmetic, {error}.")
        sentence = "The allocation is stable, in the box and within the constraints."
        if point.violation > 0.0:
            sentence = (
                f"One that is allowed is {at_most(point.violation)} tokens away, for a tolerance "
                f"of {self.feasibility_tolerance:g}; it is the one that is graded."
            )
        return Finding("feasibility", True, sentence, {"violation": point.violation})

    def _broken(self, given: Any) -> str:
        couplings = self.instance.model.couplings
        broken = [it.label for it in couplings if it.excess(given) > 0.0]
        return f"The allocation does not keep {'; '.join(broken) or 'the constraints'}"

    def _of_the_point(self) -> Iterator[Finding]:
        """What is claimed of the objective at the tokens, which are feasible."""
        point, objective = self.point, self.objective
        if point is None or objective is None:
            return
        claims, optimum, scale = self.claims, self.truth.optimum, Decimal(point.scale)
        short = optimum[0] - objective[1], optimum[1] - objective[0]
        least, most = (max(float(end), 0.0) for end in short)
        tolerance = Decimal(claims.tolerance)
        slack = tolerance * scale + Decimal(2.0 * point.allowance)
        value = claims.numbers["objective"]
        if value is not None:
            nearest, farthest = _away(value, objective)
            yield Finding(
                "objective",
                _decided(farthest <= slack, nearest > slack),
                f"The objective at the tokens is {significant(float(objective[0]), 12)} s, and "
                f"{significant(value, 12)} s is claimed.",
                {"claimed": value, "objective": float(objective[0])},
            )
        # A relative gap is a quotient, which is rounded.
        units = {"gap": 1.0, "relative_gap": point.scale * (1.0 + 4.0 * EPSILON)}
        gaps = [
            number * unit
            for name, unit in units.items()
            if (number := claims.numbers[name]) is not None
        ]
        if gaps:
            gap = math.nan if math.isnan(sum(gaps)) else min(gaps)
            # What is certified of the tokens proves what is claimed, and so does the truth.
            is_wrong = math.isnan(gap) or gap < 0.0 or short[0] > Decimal(gap)
            is_proven = not is_wrong and (point.gap <= gap or short[1] <= Decimal(gap))
            yield Finding(
                "gap",
                _decided(is_proven, is_wrong),
                f"The objective falls short of the optimum by {_between(least, most)} s, and at "
                f"most {significant(gap, 3)} s is claimed; certified is "
                f"{at_most(point.gap, 3)} s.",
                {"claimed": gap, "error": [str(end) for end in short], "certified": point.gap},
            )
        if claims.status in (None, "infeasible"):
            return
        if claims.status != Status.OPTIMAL.value:
            sentence = f"{shown(claims.status)} claims nothing of the optimum."
            yield Finding("status", True, sentence, {})
            return
        is_proven = short[1] <= tolerance * scale or Decimal(point.relative_gap) <= tolerance
        yield Finding(
            "status",
            _decided(is_proven, short[0] > tolerance * scale),
            f"To be optimal, the objective may fall short by {float(tolerance):g} of the "
            f"scale of {significant(float(scale), 3)} s; it does by "
            f"{_between(least / float(scale or 1), most / float(scale or 1))} of it.",
            {"tolerance": float(tolerance)},
        )

    def _interval(self) -> Iterator[Finding]:
        """Whether the optimum lies where it is claimed to."""
        numbers = self.claims.numbers
        low, high = numbers["objective"], numbers["upper_bound"]
        if high is None:
            return
        low = -math.inf if low is None else low
        least, most = self.truth.optimum
        if self.point is not None and self.point.is_feasible:
            # What is certified of the tokens is known as well.
            least = max(least, Decimal(self.point.objective))
            most = min(most, Decimal(self.point.upper_bound))
        holds = _holds((low, high), (least, most))
        yield Finding(
            "interval",
            holds,
            f"The optimum is {significant(float(least), 15)} s, and claimed to lie in "
            f"[{low!r}, {high!r}].",
            {"claimed": [low, high], "optimum": [str(least), str(most)]},
        )

    def _token_intervals(self) -> Iterator[Finding]:
        """Whether the optimal tokens lie where they are claimed to."""
        bounds, proven = self.claims.token_bounds, self.truth.tokens
        if bounds is None:
            return
        size, name = self.instance.size, "token intervals"
        if bounds.shape != (size, 2):
            yield Finding(name, False, f"They have shape {bounds.shape}, not ({size}, 2).", {})
            return
        if proven is None:
            yield Finding(name, None, "The record does not prove the tokens.", {})
            return
        if self.point is not None and self.point.is_feasible:
            own = self.point.token_bounds.tolist()
            proven = tuple(
                (max(ends[0], Decimal(low)), min(ends[1], Decimal(high)))
                for ends, (low, high) in zip(proven, own, strict=True)
            )
        pairs = zip(bounds.tolist(), proven, strict=True)
        found = [_holds(claimed, ends) for claimed, ends in pairs]
        wrong = [k for k, holds in enumerate(found) if holds is False]
        unsure = [k for k, holds in enumerate(found) if holds is None]
        sentence = "The optimal tokens of every type lie where they are claimed to."
        if wrong or unsure:
            k = (wrong or unsure)[0]
            sentence = (
                f"The optimal tokens of {self.instance.type_name(k)} are "
                f"{float(proven[k][0]):.12g}, and claimed to lie in {bounds[k].tolist()}."
            )
            if not wrong:
                sentence = sentence[:-1] + ", which rounding leaves open."
        yield Finding(name, _decided(not unsure, bool(wrong)), sentence, {"wrong": wrong})


def _holds(claimed: Sequence[float], ends: _Range) -> bool | None:
    """Whether an interval contains what is known to lie in another."""
    low, high = claimed
    if math.isnan(low) or math.isnan(high) or low > high:
        return False
    start, stop = Decimal(low), Decimal(high)
    return _decided(start <= ends[0] and ends[1] <= stop, start > ends[1] or stop < ends[0])


def _away(value: float, ends: _Range) -> _Range:
    """The least and the most that a number is from one in an interval; infinity for NaN."""
    if math.isnan(value):
        return Decimal("inf"), Decimal("inf")
    below, above = ends[0] - Decimal(value), Decimal(value) - ends[1]
    return max(below, above, Decimal(0)), max(-below, -above)


def _decided(is_true: bool, is_false: bool) -> bool | None:  # noqa: FBT001
    return False if is_false else True if is_true else None


def _between(least: float, most: float) -> str:
    low, high = at_least(least, 3), at_most(most, 3)
    return high if low == high else f"{low} to {high}"
