"""Solvers × instances × settings: what is to be run, and the running of it."""

from __future__ import annotations

import os
import pickle
import platform
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from hashlib import sha256
from itertools import product
from random import Random
from typing import Any, NamedTuple

import numpy as np

from cvxqueue.benchmark.child import Limits
from cvxqueue.benchmark.isolation import FORKS, Isolation, Run
from cvxqueue.benchmark.judging import SOLVED_GAP, Referee
from cvxqueue.benchmark.report import heading, write_report
from cvxqueue.benchmark.rows import Row, opened_rows, read_rows, run_key, write_rows
from cvxqueue.benchmark.scores import Plan, compare
from cvxqueue.benchmark.solvers import SETTINGS, Solver, find_solvers
from cvxqueue.errors import InvalidInputError
from cvxqueue.files.provenance import installed_version, instance_digest, processor
from cvxqueue.files.storage import as_path
from cvxqueue.formatting import plural, printable, shown
from cvxqueue.json_values import json_values
from cvxqueue.model import Instance, require_feasible, require_instance
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.checks import positive_number, require_that, whole_number
from cvxqueue.solvers.open_method import OpenMethod
from cvxqueue.suggest import nearest
from cvxqueue.tables import Column, Part, Report, Table

TIME_LIMIT = 10.0
"""Seconds; the library with the solvers of the extra ``test`` takes less than fifteen minutes."""
MEMORY_LIMIT = 4e9
"""Bytes of address space, of which a solver of dense matrices needs 1e8 at 1000 types."""
_COMPUTE_WITH = ("cvxqueue", "numpy", "scipy", "cvxpy")
# What a table has of a row beside its fields, and what its lists have in numbers.
_MORE = ("is_solved", "median")
_LISTS = ("seconds", "versions")
_QUARTILES = {"lower quartile (s)": 0.25, "upper quartile (s)": 0.75}
_UNITS = dict.fromkeys(("objective", "median", "time_limit"), " (s)")
_UNITS |= {"violation": " (tokens)", "token_error": " (tokens)"}
_UNITS |= dict.fromkeys(("memory", "memory_limit"), " (bytes)")


@dataclass(frozen=True, eq=False, repr=False)
class Benchmark(Report):
    """Finished runs, and what they say of the solvers.

    Parameters
    ----------
    rows : tuple of Row
        One for each run.
    plan : Plan, optional
        What `run_benchmark` was asked for, which is what is shown. Rows of a file have none: each
        version of a solver is shown as one of its own, and each of several limits apart.
    """

    rows: tuple[Row, ...]
    plan: Plan | None = None

    @classmethod
    def read(cls, *paths: str | os.PathLike[str]) -> Benchmark:
        """Return what one or several files hold, each run once.

        Raises
        ------
        InvalidInputError
            If a file cannot be read, or holds what is no row. A last line that was cut off is left
            out.
        """
        return cls(tuple(read_rows(map(as_path, paths))))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the rows as lines of JSON, all of them or nothing."""
        write_rows(as_path(path), self.rows)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write a report for people, as one page of HTML or as Markdown.

        Parameters
        ----------
        path : str or path
            Its name ends in ``.html`` or ``.md``.

        Raises
        ------
        InvalidInputError
            If it ends in anything else, cannot be written, or there are no rows.
        """
        write_report(as_path(path), self.rows, self.plan)

    def table(self) -> Table:
        """Return the fields of each row as a table, and the quartiles of its times."""
        names = [field.name for field in fields(Row) if field.name not in _LISTS]
        columns = [
            Column(
                name.replace("_", " ") + _UNITS.get(name, ""),
                [getattr(it, name) for it in self.rows],
            )
            for name in (*names, *_MORE)
        ]
        columns += [
            Column(name, [float(np.quantile(it.seconds or [np.nan], at)) for it in self.rows])
            for name, at in _QUARTILES.items()
        ]
        return Table(columns)

    def _parts(self) -> Iterable[Part]:
        yield f"{plural(len(self.rows), 'run')}"
        for found in compare(self.rows, self.plan):
            yield from ("", heading(found), "", found.table())

    def __repr__(self) -> str:
        return f"Benchmark({plural(len(self.rows), 'run')})"


class _Planned(NamedTuple):
    """One run that is to be."""

    referee: Referee
    digest: str
    solver: Solver
    settings: str
    limits: Limits

    @property
    def key(self) -> str:
        solver = self.solver
        parts = (self.digest, solver.name, solver.version, self.settings)
        return run_key(*parts, self.limits.time, self.memory_limit)

    @property
    def memory_limit(self) -> float | None:
        return self.limits.memory if FORKS else None

    @property
    def name(self) -> str:
        name = self.referee.instance.name or f"{self.referee.instance.size} types"
        return f"{self.solver.name}, {self.settings}: {name}"


@quiet
def run_benchmark(
    instances: Iterable[Any],
    solvers: Sequence[str | OpenMethod] | None = None,
    *,
    settings: Sequence[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    time_limit: float = TIME_LIMIT,
    memory_limit: float = MEMORY_LIMIT,
    shard: tuple[int, int] = (1, 1),
    seed: int = 0,
    progress: Callable[[str, int], None] | None = None,
) -> Benchmark:
    """Run solvers on instances, each run in a process of its own, and judge every answer.

    Parameters
    ----------
    instances : iterable of Instance
        Feasible. What has an ``instance``, as a reference and a planted instance have, stands for
        that; its ``record``, if it has one, is the referee.
    solvers : sequence of str or callable, optional
        Names of the methods (``"newton"``) and of other solvers (``"cvxpy-scs"``,
        ``"scipy-slsqp"``), and solvers of one's own: ``f(instance, **settings)`` that returns
        tokens or an `Answer`, as a function of a module or of a script, or by its name,
        ``"package.module:function"``. By default all that are installed.
    settings : sequence of str, optional
        ``"default"``, what a solver does by itself, and ``"tight"``, what it does asked for 1e-9;
        by default both. A solver of one's own has the second if it takes a `tolerance`.
    output : str or path, optional
        File of rows, one line of JSON for each run. Runs that it has are not repeated.
    time_limit : float, default 10
        Seconds for the first call of a run; up to five more take as much together.
    memory_limit : float, default 4e9
        Bytes of address space beyond those of a process with the imports; on Linux.
    shard : tuple of two int, default (1, 1)
        ``(i, n)`` runs the i-th of n parts of the instances, each on a machine of its own.
    seed : int, default 0
        Of the order of the runs.
    progress : callable, optional
        Called with the name of each run before it, and with how many there are.

    Returns
    -------
    Benchmark
        What the output holds in the end. It shows the solvers as they are now, and runs under
        these limits.

    Raises
    ------
    InvalidInputError
        If an argument is not allowed, a callable or an instance cannot be imported by another
        process, no process can be started, the output cannot be written or holds anything else.
    InfeasibleError
        If an instance has no feasible allocation.
    MissingDependencyError
        If a solver that is named is not installed.

    Notes
    -----
    What a script defines, a callable or the class of an instance, is imported from it again, under
    another name than ``__main__``: let it call this below ``if __name__ == "__main__":``.
    """
    limits = Limits(
        positive_number("time_limit", time_limit, "seconds"),
        positive_number("memory_limit", memory_limit, "bytes"),
    )
    planned = _planned(instances, find_solvers(solvers), _checked_settings(settings), limits)
    pair: Any = shard
    is_pair = isinstance(pair, Sequence) and len(pair) == 2
    require_that(is_pair, "shard", pair, "two whole numbers, (i, n)")
    part, parts = (whole_number("shard", each, least=1) for each in pair)
    if part > parts:
        raise InvalidInputError(f"shard = ({part}, {parts}) must be one of the {parts} parts")
    # All solvers of an instance on one machine: their times are compared.
    order = [each for each in planned if int(each.digest[:8], 16) % parts == part - 1]
    Random(whole_number("seed", seed, least=0)).shuffle(order)
    kept: list[Row] = []
    opened = nullcontext((kept, kept.append)) if output is None else opened_rows(as_path(output))
    with opened as (known, append):
        has = {row.key for row in known}
        left = [each for each in order if each.key not in has]
        with Isolation(name for each in left for name in each.solver.imports) as isolation:
            for each in left:
                if progress is not None:
                    progress(each.name, len(left))
                settings_of = each.solver.settings(each.settings) or {}
                run = isolation.run(each.solver, each.referee.instance, settings_of, each.limits)
                append(_row(each, run))
        versions = {each.solver.name: each.solver.version for each in planned}
        return Benchmark(tuple(known), Plan(versions, (limits.time, planned[0].memory_limit)))


def _checked_settings(given: Sequence[str] | None) -> list[str]:
    settings = SETTINGS if given is None else given
    is_list = not isinstance(settings, str) and isinstance(settings, Sequence)
    require_that(is_list, "settings", settings, "a list")
    for each in settings:
        if each not in SETTINGS:
            raise InvalidInputError(f"unknown settings {shown(each)}: {nearest(each, SETTINGS)}")
    return list(dict.fromkeys(settings))


def _planned(
    instances: Iterable[Any], solvers: Sequence[Solver], settings: Sequence[str], limits: Limits
) -> list[_Planned]:
    """Every run once, in an order that is the same on every machine."""
    is_list = not isinstance(instances, str) and isinstance(instances, Iterable)
    require_that(is_list, "instances", instances, "a list of instances")
    found: dict[str, _Planned] = {}
    referees = list(map(_referee, instances))
    digests = [_digest(referee.instance) for referee in referees]
    pairs = zip(referees, digests, strict=True)
    for (referee, digest), solver, name in product(pairs, solvers, settings):
        if solver.settings(name) is not None:
            each = _Planned(referee, digest, solver, name, limits)
            found.setdefault(each.key, each)
    if not found:
        raise InvalidInputError("there is nothing to run: give an instance, a solver and settings")
    return list(found.values())


def _referee(given: Any) -> Referee:
    instance = given if isinstance(given, Instance) else getattr(given, "instance", given)
    require_instance(instance)
    require_feasible(instance)
    referee = Referee(instance, getattr(given, "record", None))
    referee.require_attainable()
    return referee


def _digest(instance: Instance) -> str:
    return instance_digest(instance) or sha256(pickle.dumps(instance)).hexdigest()


def _row(planned: _Planned, run: Run) -> Row:
    """Judge a run."""
    instance, solver = planned.referee.instance, planned.solver
    found: dict[str, Any] = {}
    if run.answers:
        claimed = {answer.claims_optimal for answer in run.answers}
        claims = True if True in claimed else run.answers[0].claims_optimal
        found = {"claims_optimal": claims, "iterations": run.answers[0].iterations}
        found |= {"memory": run.memory, "cold_seconds": run.seconds[0]}
        found["setup_seconds"] = float(np.median(run.setup_seconds))
        is_true = False
        if run.outcome == "answered":
            # The worst of what the calls answered counts.
            verdict = max(
                (planned.referee.judge(answer.tokens) for answer in run.answers),
                key=lambda it: (not it.is_feasible, it.relative_gap),
            )
            found |= verdict._asdict() | {"referee": planned.referee.source}
            is_true = verdict.is_feasible and verdict.relative_gap <= SOLVED_GAP
        found["claim_is_true"] = is_true if claims else None
    return Row(
        instance=printable(instance.name or "") or f"{instance.size} types, {planned.digest[:8]}",
        instance_digest=planned.digest,
        types=instance.size,
        solver=solver.name,
        solver_version=solver.version,
        settings=planned.settings,
        time_limit=planned.limits.time,
        memory_limit=planned.memory_limit,
        outcome=run.outcome,  # type: ignore[arg-type]
        # What was cut may end in a blank.
        words=run.words.strip(),
        seconds=list(run.seconds[1:]),
        host=_host(),
        # Windows has none.
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        versions=_versions(),
        **json_values(found),
    )


def _host() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{processor()}, {plural(cores or 1, 'core')}, {platform.system()} {platform.release()}"


def _versions() -> dict[str, str | None]:
    found = {package: installed_version(package) for package in _COMPUTE_WITH}
    return {**found, "python": platform.python_version()}
