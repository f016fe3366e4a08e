"""Sweeps: every combination of the values of some parameters, solved and certified."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates import Certificate, certify
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import plural, shown
from cvxqueue.model import Instance
from cvxqueue.numerics.arithmetic import outside, quiet
from cvxqueue.numerics.array_data import ReadOnlyArrays
from cvxqueue.numerics.arrays import frozen
from cvxqueue.numerics.checks import require_that, whole_number
from cvxqueue.solution import allowed_tolerance
from cvxqueue.solvers.batch_solution import ENTRIES, TYPES_IN_PRINT
from cvxqueue.sweeps.frontier import Frontier
from cvxqueue.sweeps.grid import STATUSES, Grid, Rows, grid_of, solve_rows, table_of, text_of
from cvxqueue.tables import Column, Part, Report, Table, csv_text
from cvxqueue.whole_files import writing_whole

_Found = TypeVar("_Found")
# Rows of an instance whose constraints couple the types: they are solved one by one, at some
# milliseconds each.
_COUPLED_ROWS = 64
# Parts that are handed to an executor before the first of them is taken back: enough for as many
# workers, and all that is held at a time.
_AHEAD = 32


@dataclass(frozen=True, repr=False, eq=False)
class Sweep(ReadOnlyArrays, Report):
    """Every combination of a sweep: a row for each, the last parameter fastest.

    Parameters
    ----------
    grid : Grid
        The instance, and the values of what varies.
    rows : Rows
        What was found: arrays of one entry for each row.
    """

    grid: Grid
    rows: Rows

    def __post_init__(self) -> None:
        for array in self.rows:
            frozen(array)

    @property
    def instance(self) -> Instance:
        """What the rows share."""
        return self.grid.instance

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The values of each parameter that varies, by name, in the order of the rows."""
        return MappingProxyType(self.grid.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each parameter has: ``sweep.rows.gap.reshape(sweep.shape)``."""
        return self.grid.shape

    @property
    def status(self) -> NDArray[np.str_]:
        """Of each row: optimal, unstable, infeasible or not certified."""
        return np.asarray(STATUSES)[self.rows.status]

    @property
    def counts(self) -> dict[str, int]:
        """Rows by status."""
        counts = np.bincount(self.rows.status, minlength=len(STATUSES)).tolist()
        return dict(zip(STATUSES, counts, strict=True))

    @quiet
    def certificate(self, row: int) -> Certificate:
        """Return what can be proven of the tokens of one row: the instance is in it, too.

        Raises
        ------
        InvalidInputError
            If there is no such row.
        """
        place = whole_number("row", row, least=0)
        if place >= len(self):
            raise InvalidInputError(f"row = {shown(row)} must be below {len(self)}")
        return certify(self.grid.instance_at(place), self.rows.tokens[place])

    @quiet
    def frontiers(self) -> tuple[Frontier, ...]:
        """Return the frontier of each combination of the other parameters.

        Raises
        ------
        InvalidInputError
            If the accuracy weight does not vary.
        """
        if "accuracy_weight" not in self.parameters:
            raise InvalidInputError(
                "a frontier is traced by the accuracy weight: sweep over accuracy_weight"
            )
        axis = list(self.parameters).index("accuracy_weight")
        rows = np.moveaxis(np.arange(len(self)).reshape(self.shape), axis, -1)
        return tuple(
            Frontier.of(self.grid, self.rows, which) for which in rows.reshape(-1, rows.shape[-1])
        )

    def table(self) -> Table:
        """Return a row for each combination, with names and units."""
        return table_of(self.grid, 0, self.rows)

    def _parts(self) -> Iterable[Part]:
        yield f"{plural(len(self), 'row')} of {self.instance!r}: {_in_words(self.counts)}"
        yield from (f"assumed, and not proven: {sentence}" for sentence in self.grid.assumes)
        yield ""
        table = self.table()
        # So many columns can be read in print.
        few = self.instance.size <= TYPES_IN_PRINT
        yield table if few else Table([it for it in table.columns if it.name[:7] != "tokens "])

    def __len__(self) -> int:
        return len(self.grid)

    def __repr__(self) -> str:
        return f"Sweep({plural(len(self), 'row')}: {_in_words(self.counts)})"


@dataclass(frozen=True)
class SweepFile(Report):
    """A sweep in a file of comma-separated values: a row for each combination.

    Parameters
    ----------
    path : Path
        The file.
    counts : mapping
        Rows by status.
    """

    path: Path
    counts: Mapping[str, int]

    def table(self) -> Table:
        """Return how many rows have each status."""
        return Table([Column("status", list(self.counts)), Column("rows", [*self.counts.values()])])

    def _parts(self) -> Iterable[Part]:
        yield f"{plural(len(self), 'row')} in {self.path}: {_in_words(self.counts)}"

    def __len__(self) -> int:
        return sum(self.counts.values())


def _in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in counts.items() if count)


@overload
def sweep(instance: Instance, *, output: None = None, **grids: Any) -> Sweep: ...
@overload
def sweep(instance: Instance, *, output: str | Path, **grids: Any) -> SweepFile: ...
@quiet
def sweep(
    instance: Instance,
    *,
    output: str | Path | None = None,
    executor: Executor | None = None,
    callback: Callable[[int, int], object] | None = None,
    tolerance: float | None = None,
    **grids: Any,
) -> Sweep | SweepFile:
    """Solve an instance at every combination of the values of some parameters.

    Parameters
    ----------
    instance : Instance
        What all rows share, constraints included.
    output : str or path, optional
        A file of comma-separated values to write the rows to, whole or not at all. The memory that
        this takes does not grow with the rows.
    executor : concurrent.futures.Executor, optional
        What runs the parts of the sweep, some thousand rows each: a pool of processes, or a Dask
        cluster's ``Client.get_executor()``. By default they run here, one after another. The rows
        are the same, in the same order; what a worker raises is raised.
    callback : callable, optional
        Called after each part with the rows that are done and with all there are.
    tolerance : float, optional
        Certified gap of each row to reach, as in `solve_batch`.
    **grids
        The values of each parameter that varies; the last one varies fastest. M values of
        `arrival_rate` or `accuracy_weight`; of `max_tokens`, `min_tokens` or `importance` M values
        for all types, or an array of shape (M, N); of `probabilities` an array of shape (M, N); for
        `service` or `accuracy` a law of such arrays.

    Returns
    -------
    Sweep or SweepFile
        The rows, or where an output is given the file and how many rows have each status. A row at
        which no allocation is stable, or keeps the constraints, is a row that says so.

    Raises
    ------
    InvalidInputError
        If nothing varies, a parameter or a value is not allowed, or the output cannot be written.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.references.load("two-types-one-at-zero").instance
    >>> swept = cq.sweep(instance, arrival_rate=[0.2, 3.0], accuracy_weight=[30.0, 60.0])
    >>> swept.status.tolist(), swept.rows.tokens[1].round(2).tolist()
    (['optimal', 'optimal', 'unstable', 'unstable'], [92.78, 2475.68])
    """
    grid = grid_of(instance, grids)
    given = None if tolerance is None else allowed_tolerance(tolerance)
    if executor is not None and not isinstance(executor, Executor):
        raise InvalidInputError(
            f"executor must be a concurrent.futures.Executor, got {shown(executor)}; of a Dask "
            "client it is client.get_executor()"
        )
    require_that(callback is None or callable(callback), "callback", callback, "callable")
    told = None if callback is None else outside(callback)
    name: Any = output
    is_name = name is None or (isinstance(name, str | Path) and str(name))
    require_that(is_name, "output", name, "the name of a file")
    if output is None:
        parts = list(_in_order(solve_rows, grid, given, executor, told))
        return Sweep(grid, Rows(*map(np.concatenate, zip(*parts, strict=True))))
    path, counts = Path(output), np.zeros(len(STATUSES), dtype=np.int64)
    with writing_whole(path) as write:
        names = table_of(grid, 0, solve_rows(grid, 0, 1, given)).machine_columns()
        write(csv_text([names]).encode(errors="backslashreplace"))
        for text, part in _in_order(text_of, grid, given, executor, told):
            write(text.encode())
            counts += part
    return SweepFile(path, dict(zip(STATUSES, counts.tolist(), strict=True)))


def _in_order(
    work: Callable[[Grid, int, int, float | None], _Found],
    grid: Grid,
    tolerance: float | None,
    executor: Executor | None,
    callback: Callable[[int, int], object] | None,
) -> Iterator[_Found]:
    """Yield what is found of each part, in the order of the rows."""
    count, size = len(grid), grid.instance.size
    rows = _COUPLED_ROWS if grid.instance.model.couplings else max(1, ENTRIES // size)
    bounds = ((first, min(first + rows, count)) for first in range(0, count, rows))

    def tell(last: int) -> None:
        if callback is not None:
            callback(last, count)

    if executor is None:
        for first, last in bounds:
            yield work(grid, first, last, tolerance)
            tell(last)
        return
    pending: deque[tuple[int, Future[_Found]]] = deque()
    try:
        for first, last in bounds:
            if len(pending) == _AHEAD:
                done, future = pending.popleft()
                yield future.result()
                tell(done)
            pending.append((last, executor.submit(work, grid, first, last, tolerance)))
        while pending:
            done, future = pending.popleft()
            yield future.result()
            tell(done)
    finally:
        for _, future in pending:
            future.cancel()
