"""What rows say of the solvers, in numbers: accuracy first, then time.

A contender is a solver with its settings. Compared are the instances that every contender has run.
"""

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
_TOO_FAR = f"answered, gap above {SOLVED_GAP:g}"


@dataclass(frozen=True)
class Comparison:
    """Rows by contender and by instance.

    Parameters
    ----------
    runs : mapping of str to mapping of str to Row
        The rows of each contender, by the digest of the instance; the same for all.
    left_out : int
        Rows of instances that not every contender has run.
    """

    runs: Mapping[str, Mapping[str, Row]]
    left_out: int

    @property
    def names(self) -> list[str]:
        """The contenders."""
        return list(self.runs)

    @cached_property
    def instances(self) -> list[str]:
        """The digests of the instances, by size and by name."""
        rows = next(iter(self.runs.values()))
        return sorted(rows, key=lambda digest: (rows[digest].types, rows[digest].instance))

    @cached_property
    def rows(self) -> list[Row]:
        """All that are compared."""
        return [self.runs[name][digest] for name in self.names for digest in self.instances]

    def of(self, name: str) -> list[Row]:
        """The rows of a contender, in the order of the instances."""
        return [self.runs[name][digest] for digest in self.instances]

    def share_within(self, name: str, gap: float) -> float:
        """Share of the instances with a feasible answer that is proven to be within a gap."""
        return float(np.mean([row.is_within(gap) for row in self.of(name)]))

    @cached_property
    def solved_by_all(self) -> list[str]:
        """The instances that every contender has solved."""
        return [
            it for it in self.instances if all(rows[it].is_solved for rows in self.runs.values())
        ]

    def mean_cost(self, name: str, instances: Sequence[str] | None = None) -> float:
        """Shifted geometric mean of the seconds, those of a failure being the time limit."""
        chosen = self.instances if instances is None else instances
        return shifted_mean([self.runs[name][digest].cost for digest in chosen])

    @cached_property
    def least_costs(self) -> list[float]:
        """The least seconds of any contender that solved, for each instance; infinite for none."""
        return [
            min(
                (rows[it].median for rows in self.runs.values() if rows[it].is_solved),
                default=math.inf,
            )
            for it in self.instances
        ]

    def ratios(self, name: str) -> list[float]:
        """Seconds over the least of any contender, for each instance; infinite if not solved."""
        pairs = zip(self.of(name), self.least_costs, strict=True)
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
        found = [
            row.median for row in self.of(name) if row.is_solved and _decade(row.types) == decade
        ]
        return float(np.exp(np.mean(np.log(found)))) if found else math.nan

    def ends(self, name: str) -> dict[str, int]:
        """How often each end came, but for what is solved."""
        found = {end: 0 for end in (_TOO_FAR, *OUTCOMES[1:])}
        for row in self.of(name):
            if not row.is_solved:
                found[_TOO_FAR if row.outcome == OUTCOMES[0] else row.outcome] += 1
        return found

    @property
    def wrong_claims(self) -> list[Row]:
        """Rows that call an answer optimal that is not within `SOLVED_GAP`, the worst first."""
        found = [row for row in self.rows if row.claim_is_true is False]
        return sorted(found, key=lambda row: -(row.relative_gap or math.inf))


def compare(rows: Iterable[Row]) -> Comparison:
    """Return the rows by contender and by instance.

    Raises
    ------
    InvalidInputError
        If there are none, no instance was run by all, or the limits of some differ.
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
    runs: dict[str, dict[str, Row]] = {}
    for row in sorted(rows, key=lambda row: (row.solver, row.settings)):
        several = len(versions[row.solver]) > 1
        name = row.contender + f" ({row.solver_version})" * several
        runs.setdefault(name, {})[row.instance_digest] = row
    common = set.intersection(*(set(found) for found in runs.values()))
    if not common:
        raise InvalidInputError("no instance was run by all solvers, so that nothing compares")
    kept = {name: {it: found[it] for it in found if it in common} for name, found in runs.items()}
    return Comparison(kept, len(rows) - len(kept) * len(common))


def shifted_mean(seconds: Sequence[float]) -> float:
    """Return the geometric mean of the seconds plus `SHIFT`, less that; NaN of none."""
    if not seconds:
        return math.nan
    return float(np.exp(np.mean(np.log(np.asarray(seconds) + SHIFT))) - SHIFT)


def _decade(types: int) -> int:
    # Not by the logarithm, which is rounded.
    return len(str(types)) - 1


def summary_table(rows: Sequence[Row]) -> Table:
    """Return one line for each contender."""
    found = compare(rows)
    names = found.names
    wrong = [sum(row.claim_is_true is False for row in found.of(name)) for name in names]
    return Table(
        [
            Column("solver", names),
            Column("instances", [len(found.instances)] * len(names)),
            Column(
                f"solved to {SOLVED_GAP:g}",
                [found.share_within(it, SOLVED_GAP) for it in names],
                _percent,
            ),
            Column("wrong claims", wrong),
            Column("mean time (s)", [found.mean_cost(name) for name in names], "{:.3g}".format),
        ],
        most=len(names),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
