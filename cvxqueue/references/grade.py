"""The grade of an answer: which of its claims are true."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.certificates import Certificate
from cvxqueue.errors import InfeasibleError
from cvxqueue.findings import Finding, findings_table
from cvxqueue.formatting import at_most, plural
from cvxqueue.integer.solution import IntegerSolution
from cvxqueue.json_values import json_values
from cvxqueue.model import Instance
from cvxqueue.model.instance import type_columns
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray, frozen
from cvxqueue.references.claims import Claims
from cvxqueue.references.referee import Referee, all_of, of_nothing_feasible
from cvxqueue.references.truth import Range, certified, recorded
from cvxqueue.solution import Solution
from cvxqueue.tables import Column, Part, Report, Table

# Sums and differences of float64 numbers and of records are exact in so many digits.
_UNROUNDED = Context(prec=2500, Emin=MIN_EMIN, Emax=MAX_EMAX)
_VERDICTS: dict[bool | None, tuple[str, str]] = {
    True: ("right", "green"),
    False: ("wrong", "red"),
    None: ("open", "yellow"),
}


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
        What is proven of the tokens from the instance alone; ``None`` where they are not N finite
        numbers.
    """

    instance: Instance
    source: str
    findings: tuple[Finding, ...]
    optimum: Range | None
    objective_error: Range | None
    optimal_tokens: tuple[Range, ...] | None
    certificate: Certificate | None

    @property
    def is_right(self) -> bool | None:
        """Whether all claims hold; ``None`` where none is wrong and one could not be decided."""
        return all_of(finding.holds for finding in self.findings)

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
        with localcontext(_UNROUNDED):
            farthest = [max(abs(Decimal(count) - end) for end in ends) for count, ends in pairs]
        return frozen(np.array(farthest, dtype=np.float64))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; numbers of many digits are strings."""
        found = self.certificate
        return json_values(
            {
                "status": self.verdict,
                "instance": self.instance.name,
                "source": self.source,
                "claims": {finding.key: finding.to_dict() for finding in self.findings},
                "optimum": list(map(str, self.optimum or ())) or None,
                "objective_error": list(map(str, self.objective_error or ())) or None,
                "certified_gap": found and found.gap,
                "certified_relative_gap": found and found.relative_gap,
                "violation": found and found.violation,
                "token_errors": self.token_errors,
                "optimal_tokens": [list(map(str, it)) for it in self.optimal_tokens or ()] or None,
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


@quiet
def grade(
    record: Mapping[str, Any] | str | os.PathLike[str] | Instance,
    answer: Mapping[str, Any] | Solution | IntegerSolution | Certificate | ArrayLike,
    *,
    integer: bool = False,
    tolerance: float = 1e-6,
    feasibility_tolerance: float = 1e-5,
) -> Grade:
    """Say of each claim of an answer whether it is true.

    Parameters
    ----------
    record : dict, path or Instance
        A record, which is verified first. Of an instance `solve` finds what is known of the
        optimum, to rounding.
    answer : Solution, IntegerSolution, Certificate, dict, or array_like of shape (N,)
        What is claimed: a dictionary has what ``cvxqueue solve --json`` prints, or some of it:
        ``tokens``, ``status``, ``tolerance``, ``objective``, ``gap``, ``relative_gap``,
        ``upper_bound``, ``token_bounds``, ``instance_digest``, ``names``. Anything else in it is
        not graded. Tokens alone claim to be optimal. One with ``is_exact``, ``domain`` or
        ``domains`` is about whole tokens.
    integer : bool, default False
        Whether any answer is about whole tokens: of one with whole tokens beside the others, in
        ``integer``, these are graded. The measure is then the best that the record proves in whole
        tokens, and the tokens must keep the constraints without a tolerance.
    tolerance : float, default 1e-6
        Relative gap within which an answer claims to be optimal, and its objective to be right,
        where it has no ``tolerance`` itself. By its defaults, Clarabel left certified gaps of up to
        2.3e-7 on fifty exported instances of all classes.
    feasibility_tolerance : float, default 1e-5
        Tokens that lie by no more outside the box, or from where the constraints hold, in tokens,
        pass for feasible: conic solvers keep limits to about so much.

    Returns
    -------
    Grade

    Raises
    ------
    RefusedError
        If the record does not prove what it claims.
    InvalidInputError
        If it cannot be read, or the answer has no tokens, what is no number where one belongs, a
        tolerance above 0.01, a status that is none, or names that are not those of the instance; if
        the answer is about whole tokens and the record is not, or about those of other domains.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.load("examples/instances/one-type.toml")
    >>> cq.grade(cq.prove(instance), {"tokens": [1000.0], "gap": 1e-9})
    Grade(right, 2 claims)
    >>> cq.grade(instance, [900.0]).is_right
    False
    """
    claims = Claims(answer, tolerance, integer=integer)
    if isinstance(record, Instance):
        try:
            truth = certified(record, claims)
        except InfeasibleError as error:
            findings = tuple(of_nothing_feasible(record, claims, error))
            return Grade(record, "the instance alone", findings, None, None, None, None)
    else:
        truth = recorded(record, claims)
    with localcontext(_UNROUNDED):
        found = Referee(truth, claims, feasibility_tolerance)
    known = truth.optimum, found.short, truth.tokens
    return Grade(truth.instance, truth.source, found.findings, *known, found.point)
