"""Promises of a class, and what was found of each on many points."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import CvxqueueError
from cvxqueue.findings import Finding, findings_table
from cvxqueue.json_values import json_values
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import SMALLEST_NORMAL
from cvxqueue.tables import Part, Report

# Formulas of some dozen roundings pass; what is wrong in the ninth digit does not.
ROUNDING = 1e-11
# Two slopes a little apart bound what lies between, and agree to fewer digits.
CLOSE = 1e-9


@dataclass(frozen=True)
class ExtensionReport(Report):
    """What was found of a curve, a law or a queue.

    Parameters
    ----------
    name : str
        Class of what was tested.
    findings : tuple of Finding
        One for each promise, those that were broken first.
    """

    name: str
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The promises that were broken somewhere."""
        return tuple(found for found in self.findings if not found.holds)

    @property
    def holds(self) -> bool:
        """Whether all promises were kept on all points, which proves nothing of others."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        found = {found.key: found.to_dict() for found in self.findings}
        return json_values({"class": self.name, "holds": self.holds, "promises": found})

    def _parts(self) -> Iterable[Part]:
        count = len(self.failures)
        yield [
            (self.name, "bold"),
            f": {count} of {len(self.findings)} promises broken"
            if count
            else f": {len(self.findings)} promises kept on every point (which proves nothing)",
        ]
        yield findings_table(
            self.findings, lambda found: ("holds", "green") if found.holds else ("fails", "red")
        )


class ExtensionError(CvxqueueError, AssertionError):
    """A class breaks what the package asks of it.

    Attributes
    ----------
    report : ExtensionReport
        All findings.
    """

    def __init__(self, report: ExtensionReport) -> None:
        self.report = report
        broken = "".join(f"\n- {found.subject}: {found.sentence}" for found in report.failures)
        super().__init__(f"{report.name} breaks {len(report.failures)} promises:{broken}")

    def __reduce__(self) -> tuple[type[ExtensionError], tuple[ExtensionReport]]:
        return type(self), (self.report,)


Relation = Literal["≤", "≥", "="]


class Promises:
    """Collects what was found; a promise that is looked at twice must be kept both times."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that were looked at, those that were broken first."""
        return tuple(sorted(self._found.values(), key=lambda found: bool(found.holds)))

    def compare(
        self,
        subject: str,
        promise: str,
        got: ArrayLike,
        relation: Relation,
        expected: ArrayLike,
        slack: ArrayLike,
        **at: ArrayLike,
    ) -> None:
        """Find out whether a relation holds, within a slack, on all points.

        Parameters
        ----------
        subject, promise : str
            The promise by name, and in words.
        got, expected, slack : array_like
            Broadcast; what is not a number keeps no promise.
        relation : str
            Of what was got to what was expected.
        **at : array_like
            Where each entry is, by name.
        """
        names = ["got", "expected", "slack", *at]
        parts = np.broadcast_arrays(
            *(np.asarray(part, dtype=np.float64) for part in (got, expected, slack, *at.values()))
        )
        values = dict(zip(names, parts, strict=True))
        excess = values["got"] - values["expected"]
        excess = {"≤": excess, "≥": -excess, "=": np.abs(excess)}[relation]
        allowed = values["slack"] + SMALLEST_NORMAL
        is_kept = (excess <= allowed) | (values["got"] == values["expected"])
        subject_so_far = self._found.get(subject)
        if is_kept.all():
            count = excess.size + (subject_so_far.numbers["points"] if subject_so_far else 0)
            if subject_so_far is None or subject_so_far.holds:
                numbers = {"points": count}
                sentence = f"{promise} ({count} points)"
                self._found[subject] = Finding(subject, True, sentence, numbers)
            return
        size = np.where(is_kept, -1.0, np.where(np.isnan(excess), np.inf, excess / allowed))
        worst = np.unravel_index(int(np.argmax(size)), size.shape)
        numbers = {name: float(part[worst]) for name, part in values.items() if name != "slack"}
        place = ", ".join(f"{name} = {numbers[name]:.12g}" for name in at)
        broken = int(np.count_nonzero(~is_kept))
        sentence = (
            f"{promise}: at {place} got {numbers['got']:.12g}, expected {relation} "
            f"{numbers['expected']:.12g} ({broken} of {is_kept.size} points)"
        )
        if subject_so_far is None or subject_so_far.holds:
            found = {"points": int(is_kept.size), "broken": broken, **numbers}
            self._found[subject] = Finding(subject, False, sentence, found)

    def require(self, subject: str, promise: str, holds: bool) -> None:
        """Note a promise that either holds or does not."""
        self.compare(subject, promise, float(holds), "=", 1.0, 0.0)


def separated(points: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """Pairs of tokens, lower one first: neighbours on the grid, and ever closer ones."""
    pairs = [(points[:-1], points[1:]), (points[: points.shape[0] // 2], points[-1:])]
    pairs += [(points, points + step * (points + 1.0)) for step in (1e-2, 1e-4, 1e-6, 1e-9)]
    return pairs


def jumps(slope: Any, points: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Halve between neighbours, towards the larger change of a slope, down to adjacent floats.

    Returns
    -------
    at, before, after : ndarray
        The last place, and the slope on its two sides.
    """
    low, high = points[:-1].copy(), points[1:].copy()
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        change = [np.abs(np.subtract(*map(slope, ends))) for ends in ((low, middle), (middle, high))]
        is_first = change[0] >= change[1]
        low, high = np.where(is_first, low, middle), np.where(is_first, middle, high)
    return high, slope(low), slope(high)


# From neighbours on a grid of some per decade down to adjacent floats.
_HALVINGS = 60
