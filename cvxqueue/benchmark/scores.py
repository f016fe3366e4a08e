"""What rows say of the solvers under the same settings, in numbers: accuracy first, then time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cvxqueue.benchmark.judging import SOLVED_GAP
from cvxqueue.benchmark.rows import OUTCOMES, Row
from cvxqueue.errors import InvalidInputError
from cvxqueue.tables import Column, Table

GAPS = (1e-3, 1e-6, 1e-9, 1e-12)
"""Relative gaps at which shares are told."""
FACTORS = (1.0, 2.0, 10.0, 100.0)
"""Factors of the least time at which profiles are told."""
SHIFT = 0.01
"""Seconds added in a shifted geometric mean: what is far below counts as equally fast."""
_TOO_FAR = "answered, too far from it"


@dataclass(frozen=True)
class Comparison:
    """Rows under the same settings, by solver and by instance.

    Parameters
    ----------
    settings : str
        ``"default"`` or ``"tight"``.
    runs : mapping of str to mapping of str to Row
        The rows of each solver, by the digest of the instance; the same for all.
    left_out : mapping of str to list of Row
        Those of each solver on instances that not every solver has run: they compare nothing, and
        are looked at one by one.
    """

    settings: str
    runs: Mapping[str, Mapping[str, Row]]
    left_out: Mapping[str, list[Row]]

    @cached_property
    def names(self) -> list[str]:
        """The solvers: those that solve most first, and of these the fastest."""
        return sorted(
            self.runs, key=lambda it: (-self.share_within(it, SOLVED_GAP), self.mean_cost(it), it)
        )

    @cached_property
    def instances(self) -> list[str]:
        """The digests of the instances, by size and by name."""
        rows = next(iter(self.runs.values()))
        return sorted(rows, key=lambda digest: (rows[digest].types, rows[digest].instance))

    @cached_property
    def rows(self) -> list[Row]:
        """All that are compared."""
        return [row for name in self.names for row in self.of(name)]

    def of(self, name: str) -> list[Row]:
        """The rows of a solver, in the order of the instances."""
        return [self.runs[name][digest] for digest in self.instances]

    def every(self, name: str) -> list[Row]:
        """All rows of a solver, what is left out of the comparison last."""
        return [*self.of(name), *self.left_out[name]]

    def share_within(self, name: str, gap: float) -> float:
        """Share of the instances with a feasible answer that is proven to be within a gap."""
        return float(np.mean([row.is_within(gap) for row in self.of(name)]))

    @cached_property
    def solved_by_all(self) -> list[str]:
        """The instances that every solver has solved."""
        return [
            it for it in self.instances if all(rows[it].is_solved for rows in self.runs.values())
        ]

    def mean_cost(self, name: str, instances: Sequence[str] | None = None) -> float:
        """Shifted geometric mean of the seconds, those of a failure being the time limit."""
        chosen = self.instances if instances is None else instances
        return shifted_mean([self.runs[name][digest].cost for digest in chosen])

    @cached_property
    def _least(self) -> list[float]:
        """The least seconds of any solver, for each instance; infinite where none has solved."""
        runs = self.runs.values()
        return [
            min((rows[it].median for rows in runs if rows[it].is_solved), default=math.inf)
            for it in self.instances
        ]

    def ratios(self, name: str) -> list[float]:
        """Seconds over the least of any solver, for each instance; infinite if not solved."""
        pairs = zip(self.of(name), self._least, strict=True)
        return [row.median / least if row.is_solved else math.inf for row, least in pairs]

    def profile(self, name: str, factor: float) -> float:
        """Share of the instances solved within a factor of the least time."""
        return float(np.mean([ratio <= factor for ratio in self.ratios(name)]))

    def wins(self, name: str, other: str) -> int:
        """Count the instances that one solved in less time than the other, or the other did not."""
        return sum(
            one.is_solved and (not two.is_solved or one.median < two.median)
            for one, two in zip(self.of(name), self.of(other), strict=True)
        )

    @cached_property
    def decades(self) -> list[int]:
        """Powers of ten of the numbers of types."""
        return sorted({_decade(row.types) for row in self.rows})

    def growth(self, name: str, decade: int) -> float:
        """Geometric mean of the seconds of what is solved among instances of a size; or NaN."""
        chosen = [row for row in self.of(name) if row.is_solved and _decade(row.types) == decade]
        return (
            float(np.exp(np.mean(np.log([row.median for row in chosen])))) if chosen else math.nan
        )

    def ends(self, name: str) -> dict[str, int]:
        """How often each end came, but for what is solved."""
        found = dict.fromkeys((_TOO_FAR, *OUTCOMES[1:]), 0)
        for row in self.of(name):
            if not row.is_solved:
                found[_TOO_FAR if row.outcome == OUTCOMES[0] else row.outcome] += 1
        return found


def compare(rows: Iterable[Row]) -> list[Comparison]:
    """Return the comparisons, one for each of the settings that occur.

    Raises
    ------
    InvalidInputError
        If there are no rows, no instance was run by all, or the limits of some differ.
    """
    rows = list(rows)
    if not rows:
        raise InvalidInputError("there are no rows to report: run `cvxqueue benchmark` first")
    limits = {(row.time_limit, row.memory_limit) for row in rows}
    if len(limits) > 1:
        raise InvalidInputError(
            f"rows under different limits ({', '.join(map(str, sorted(limits, key=str)))}) cannot "
            "be compared; report them apart"
        )
    versions: dict[str, set[str]] = {}
    for row in rows:
        versions.setdefault(row.solver, set()).add(row.solver_version)
    names = sorted({row.settings for row in rows})
    return [_compared(it, [row for row in rows if row.settings == it], versions) for it in names]


def _compared(settings: str, rows: list[Row], versions: Mapping[str, set[str]]) -> Comparison:
    runs: dict[str, dict[str, Row]] = {}
    for row in rows:
        several = len(versions[row.solver]) > 1
        name = row.solver + f" ({row.solver_version})" * several
        runs.setdefault(name, {})[row.instance_digest] = row
    common = set.intersection(*(set(found) for found in runs.values()))
    if not common:
        raise InvalidInputError(
            f"settings {settings!r}: no instance was run by all solvers, so that nothing compares"
        )
    kept = {name: {it: found[it] for it in common} for name, found in runs.items()}
    left_out = {
        name: [row for digest, row in found.items() if digest not in common]
        for name, found in runs.items()
    }
    return Comparison(settings, kept, left_out)


def shifted_mean(seconds: Sequence[float]) -> float:
    """Return the geometric mean of the seconds plus `SHIFT`, less that; NaN of none."""
    if not seconds:
        return math.nan
    return float(np.exp(np.mean(np.log(np.asarray(seconds) + SHIFT))) - SHIFT)


def _decade(types: int) -> int:
    # Not by the logarithm, which is rounded.
    return len(str(types)) - 1


def middle(values: Iterable[float | None]) -> float:
    """Return the median of what is known; NaN of nothing."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else math.nan


def summary_table(rows: Sequence[Row]) -> Table:
    """Return one line for each solver under each of the settings, whatever it has run."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.settings, row.solver)):
        found.setdefault((row.solver, row.settings), []).append(row)
    each = list(found.values())
    means = [shifted_mean([row.cost for row in own]) for own in each]
    wrong = [sum(row.claim_is_true is False for row in own) for own in each]
    return Table(
        [
            Column("solver", [solver for solver, _ in found]),
            Column("settings", [settings for _, settings in found]),
            Column("runs", list(map(len, each))),
            Column("solved", [sum(row.is_solved for row in own) for own in each]),
            Column("wrong claims", wrong),
            Column("mean time (s)", means, "{:.3g}".format),
        ],
        most=len(found),
    )


def power(value: float) -> str:
    """Return a number as a sentence has it, such as 1e-9."""
    return f"{value:g}".replace("e-0", "e-")


def percent(share: float) -> str:
    """Return a share rounded down: what is not all is not printed as all."""
    # Of a hundredth that a float64 has a little too small, all of it.
    return f"{math.floor(100.0 * share + 1e-9)} %"
