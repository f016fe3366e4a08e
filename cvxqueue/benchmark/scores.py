"""What rows say of the solvers under the same settings, in numbers: accuracy first, then time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from cvxqueue.benchmark.rows import Row
from cvxqueue.tables import Column, Table

SHIFT = 0.01
"""Seconds added in a shifted geometric mean: what is far below counts as equally fast."""


class Plan(NamedTuple):
    """What was asked for last, by which rows of before are left out."""

    versions: Mapping[str, str]
    """Of each solver that was asked for, the one that there is; of others all rows count."""
    limits: tuple[float, float | None]
    """Seconds and bytes that a run may take."""

    def includes(self, row: Row) -> bool:
        """Whether a row is to be compared."""
        version = self.versions.get(row.solver, row.solver_version)
        return (row.solver_version, row.limits) == (version, self.limits)


@dataclass(frozen=True)
class Comparison:
    """Rows under the same settings and limits, by solver and by instance.

    Parameters
    ----------
    settings : str
        ``"default"`` or ``"tight"``.
    runs : mapping of str to mapping of str to Row
        The rows of each solver, by the digest of the instance, in one order for all: by size and by
        name. Not every solver need have run every instance.
    limits : str
        What it is told apart by from one under other limits, such as ``", within 10 s and 4 GB"``;
        empty where there is none.
    """

    settings: str
    runs: Mapping[str, Mapping[str, Row]]
    limits: str

    @cached_property
    def names(self) -> list[str]:
        """The solvers: those that solve most first, and of these the fastest."""
        return sorted(self.runs, key=lambda it: (-self.solved(it), self.mean_cost(it), it))

    @property
    def rows(self) -> list[Row]:
        """All of them."""
        return [row for name in self.runs for row in self.of(name)]

    @cached_property
    def instances(self) -> dict[str, Row]:
        """A row of each instance that any solver has run, by size and by name."""
        rows = sorted(self.rows, key=lambda row: (row.types, row.instance))
        return {row.instance_digest: row for row in rows}

    @property
    def is_complete(self) -> bool:
        """Whether all solvers have run the same instances."""
        return all(len(found) == len(self.instances) for found in self.runs.values())

    def of(self, name: str) -> list[Row]:
        """The rows of a solver."""
        return list(self.runs[name].values())

    def solved(self, name: str) -> int:
        """Count the instances that a solver has solved."""
        return sum(row.is_solved for row in self.of(name))

    def share_within(self, name: str, gap: float) -> float:
        """Share of its instances with a feasible answer that is proven to be within a gap."""
        return float(np.mean([row.is_within(gap) for row in self.of(name)]))

    @cached_property
    def solved_by_all(self) -> list[str]:
        """The instances that every solver has solved."""
        runs = self.runs.values()
        return [
            digest
            for digest in self.instances
            if all(digest in rows and rows[digest].is_solved for rows in runs)
        ]

    def mean_cost(self, name: str, instances: Iterable[str] | None = None) -> float:
        """Shifted geometric mean of the seconds, those of a failure being the time limit."""
        rows = self.runs[name]
        return shifted_mean([rows[it].cost for it in (rows if instances is None else instances)])

    @cached_property
    def _least(self) -> dict[str, float]:
        """The least seconds of any solver, for each instance that one has solved."""
        found: dict[str, float] = {}
        for row in self.rows:
            if row.is_solved:
                known = found.get(row.instance_digest, math.inf)
                found[row.instance_digest] = min(row.median, known)
        return found

    def ratios(self, name: str) -> list[float]:
        """Seconds over the least of any solver, for each of its rows; infinite if not solved."""
        return [
            row.median / self._least[row.instance_digest] if row.is_solved else math.inf
            for row in self.of(name)
        ]

    def profile(self, name: str, factor: float) -> float:
        """Share of its instances that are solved within a factor of the least time."""
        return float(np.mean([ratio <= factor for ratio in self.ratios(name)]))

    def wins(self, name: str, other: str) -> int:
        """Count the instances that one solved in less time than the other, or the other did not."""
        one, two = self.runs[name], self.runs[other]
        return sum(
            one[it].is_solved and (not two[it].is_solved or one[it].median < two[it].median)
            for it in one.keys() & two.keys()
        )

    def growth(self, name: str, length: int) -> float:
        """Geometric mean of the seconds of what is solved, of so many digits of types."""
        rows = [it for it in self.of(name) if it.is_solved and len(str(it.types)) == length]
        return float(np.exp(np.mean(np.log([it.median for it in rows])))) if rows else math.nan

    def table(self) -> Table:
        """Return one line for each solver."""
        names, shared = self.names, self.solved_by_all
        each = [self.of(name) for name in names]
        wrong = [sum(row.claim_is_true is False for row in own) for own in each]
        fastest = [sum(ratio == 1.0 for ratio in self.ratios(name)) for name in names]
        means = [self.mean_cost(name) for name in names]
        together = [self.mean_cost(name, shared) for name in names]
        first = [middle(row.cold_seconds for row in own) for own in each]
        return Table(
            [
                Column("solver", names),
                Column("runs", list(map(len, each))),
                Column("solved", list(map(self.solved, names))),
                Column("wrong claims", wrong),
                Column("mean time (s)", means, digits),
                Column("on what all solved (s)", together, digits),
                Column("first call (s)", first, digits),
                Column("fastest", fastest),
            ],
            most=len(names),
        )


def compare(rows: Sequence[Row], plan: Plan | None = None) -> list[Comparison]:
    """Return the comparisons of what a plan includes, one for each of the settings that occur.

    A file has no plan, and the order of its rows is none: a run that it has adds no row. Without
    one there is a comparison for each of the limits, too, and each version of a solver that has
    several is a solver of its own, ``name (version)``.
    """
    kept = [row for row in rows if plan is None or plan.includes(row)]
    versions: dict[str, set[str]] = {}
    for row in kept:
        versions.setdefault(row.solver, set()).add(row.solver_version)
    found: dict[tuple[str, float, float | None], dict[str, dict[str, Row]]] = {}
    for row in sorted(
        kept,
        key=lambda it: (
            *(it.settings, it.time_limit, it.memory_limit or 0.0),
            *(it.solver, it.types, it.instance, it.instance_digest),
        ),
    ):
        name = row.solver + f" ({row.solver_version})" * (len(versions[row.solver]) > 1)
        runs = found.setdefault((row.settings, *row.limits), {})
        runs.setdefault(name, {})[row.instance_digest] = row
    is_one = len({row.limits for row in kept}) == 1
    return [
        Comparison(settings, runs, "" if is_one else _within(time, memory))
        for (settings, time, memory), runs in found.items()
    ]


def _within(time: float, memory: float | None) -> str:
    room = "" if memory is None else f" and {memory / 1e9:.15g} GB"
    return f", within {time:.15g} s{room}"


def shifted_mean(seconds: Sequence[float]) -> float:
    """Return the geometric mean of the seconds plus `SHIFT`, less that; NaN of none."""
    if not seconds:
        return math.nan
    return float(np.exp(np.mean(np.log(np.asarray(seconds) + SHIFT))) - SHIFT)


def middle(values: Iterable[float | None]) -> float:
    """Return the median of what is known; NaN of nothing."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else math.nan


def digits(value: float) -> str:
    """Return three digits of a number; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.3g}"
