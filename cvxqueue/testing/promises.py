"""Promises of a class, and what was found of each on many points."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import CvxqueueError
from cvxqueue.findings import Finding, findings_table
from cvxqueue.json_values import json_values
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.float64 import SMALLEST_NORMAL
from cvxqueue.tables import Part, Report, Table

# Formulas of some dozen roundings pass; what is wrong in the ninth digit does not.
ROUNDING = 1e-11
# Two slopes a little apart bound what lies between, and agree to fewer digits.
CLOSE = 1e-9


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        return f"ExtensionReport({self.name!r}, holds={self.holds})"

    def _parts(self) -> Iterable[Part]:
        count = len(self.failures)
        yield [
            (self.name, "bold"),
            f": {count} of {len(self.findings)} promises broken"
            if count
            else f": {len(self.findings)} promises kept on every point (which proves nothing)",
        ]
        yield self.table()

    def table(self) -> Table:
        """Return the findings."""
        return findings_table(
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

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.report,)


Slope = Callable[[FloatArray], FloatArray]
Compare = Callable[..., None]
"""`Promises.compare` of given points: subject, promise, got, least, most, slack."""


class Promises:
    """Collects what was found; a promise that is looked at twice must be kept both times."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that were looked at, those that were broken first."""
        return tuple(sorted(self._found.values(), key=lambda found: bool(found.holds)))

    def on(self, **at: ArrayLike) -> Compare:
        """Return `compare` for the points that are given by name."""
        return partial(self.compare, at)

    def compare(
        self,
        at: Mapping[str, ArrayLike],
        subject: str,
        promise: str,
        got: ArrayLike,
        least: ArrayLike = -np.inf,
        most: ArrayLike = np.inf,
        slack: ArrayLike = 0.0,
    ) -> None:
        """Find out whether something lies between two ends, within a slack, on all points.

        `at` says where each entry is, by name. All broadcast; what is not a number keeps no
        promise, which has a name, its `subject`, and words.
        """
        given = (got, least, most, slack, *at.values())
        arrays = np.broadcast_arrays(*(np.asarray(part, dtype=np.float64) for part in given))
        value, low, high, allowed = arrays[:4]
        allowed = allowed + SMALLEST_NORMAL
        short = np.where(value == low, 0.0, low - value)
        over = np.where(value == high, 0.0, value - high)
        excess = np.maximum(short, over)
        is_kept, before = excess <= allowed, self._found.get(subject)
        if before is not None and not before.holds:
            return
        points = is_kept.size + (before.numbers["points"] if before is not None else 0)
        if is_kept.all():
            sentence = f"{promise} ({points} points)"
            self._found[subject] = Finding(subject, True, sentence, {"points": points})
            return
        size = np.where(is_kept, -1.0, np.where(np.isnan(excess), np.inf, excess / allowed))
        worst = np.unravel_index(int(np.argmax(size)), size.shape)
        end, relation = (low, "≥") if short[worst] >= over[worst] else (high, "≤")
        numbers = {name: float(part[worst]) for name, part in zip(at, arrays[4:], strict=True)}
        place = ", ".join(f"{name} = {number:.12g}" for name, number in numbers.items())
        outcome = {"got": float(value[worst]), "expected": float(end[worst])}
        broken = int(np.count_nonzero(~is_kept))
        sentence = (
            f"{promise}: at {place} got {outcome['got']:.12g}, expected {relation} "
            f"{outcome['expected']:.12g} ({broken} of {is_kept.size} points)"
        )
        numbers |= {"points": points, "broken": broken, **outcome}
        self._found[subject] = Finding(subject, False, sentence, numbers)


def separated(points: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """Pairs of tokens, lower one first: neighbours on the grid, and ever closer ones."""
    pairs = [(points[:-1], points[1:]), (points[: points.shape[0] // 2], points[-1:])]
    return pairs + [(points, points + step * (points + 1.0)) for step in (1e-2, 1e-4, 1e-6, 1e-9)]


def smooth(slope: Slope, points: FloatArray, promises: Promises) -> FloatArray:
    """Look for jumps of a slope; return the places of those that were found, else zero.

    Halving between neighbours, towards the larger change, leads down to adjacent floats.
    """
    low, high = points[:-1], points[1:]
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        is_first = np.abs(slope(middle) - slope(low)) >= np.abs(slope(high) - slope(middle))
        low, high = np.where(is_first, low, middle), np.where(is_first, middle, high)
    before, after = slope(low), slope(high)
    # Between adjacent floats a continuous slope changes by no more than this of the largest.
    allowed = 1e-7 * np.max(slope(points), axis=0)
    words = "the slope is continuous (or is_smooth says that it is not)"
    promises.on(tokens=high)("smooth", words, after, before, before, allowed)
    return np.where(np.abs(after - before) > allowed, high, 0.0)


def bent(
    tell: Compare, slopes: tuple[FloatArray, FloatArray], bends: list[FloatArray], step: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Compare what a slope changes by with the curvature at both ends and between them.

    Return the curvature by Simpson's rule, and what it may be off by.
    """
    mean = (bends[0] + 4.0 * bends[1] + bends[2]) / 6.0
    spread = np.abs(bends[0] - bends[1]) + np.abs(bends[2] - bends[1]) + CLOSE * np.abs(mean)
    slack = spread * step + 10.0 * ROUNDING * np.maximum(*map(np.abs, slopes))
    words = "the curvature is the derivative of the slope"
    tell("curvature", words, slopes[1] - slopes[0], mean * step, mean * step, slack)
    return mean, spread


# From neighbours on a grid of some per decade down to adjacent floats.
_HALVINGS = 60
