"""``cvxqueue sweep``: an instance at every combination of the values of some parameters."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from cvxqueue.cli.arguments import SWEPT
from cvxqueue.cli.inputs import read_instance
from cvxqueue.cli.output import progress, require_picture, show, write_picture
from cvxqueue.errors import InvalidInputError, naming, require_package
from cvxqueue.sweeps import Sweep, SweepFile, sweep
from cvxqueue.sweeps.grid import grid_of
from cvxqueue.whole_files import writing_whole


def run(options: argparse.Namespace) -> int:
    """Sweep and print what was found, or write it."""
    require_picture(options.plot)
    grids = {name: getattr(options, name) for name in SWEPT if getattr(options, name) is not None}
    if not grids:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in SWEPT)
        raise InvalidInputError(f"nothing to sweep over: give one or more of {names}")
    if options.output == "-":
        raise InvalidInputError("-o -: name a file; --csv prints all rows to stdout")
    instance = read_instance(options.file)
    grid = grid_of(instance, grids)
    if options.plot is not None:
        from cvxqueue.plots.overview import require_drawable

        with naming("--plot"):
            require_drawable(grid)
    # A picture needs the rows at hand; what cannot be written is refused before any work.
    is_both = options.output is not None and options.plot is not None
    writing = writing_whole(Path(options.output)) if is_both else nullcontext()
    found: Sweep | SweepFile
    with writing as write, _executor(options.scheduler) as executor, progress(len(grid)) as step:
        found = sweep(
            instance,
            output=None if is_both else options.output,
            executor=executor,
            callback=lambda done, total: step(f"{done:,} of {total:,} rows", done),
            **grids,
        )
        if write is not None and isinstance(found, Sweep):
            write((found.to_csv() or "").encode(errors="backslashreplace"))
    if isinstance(found, Sweep):
        write_picture(options.plot, found)
        if is_both:
            found = SweepFile(Path(options.output), found.counts)
    summary: dict[str, Any] = {"status": "swept", "instance": instance.name, "counts": found.counts}
    if isinstance(found, Sweep):
        summary["columns"] = found.table().machine_columns() if options.json else None
    else:
        summary["output"] = str(found.path)
    show(options, summary, found.table(), found)
    return 1 if found.counts["not certified"] else 0


@contextmanager
def _executor(scheduler: str | None) -> Iterator[Executor | None]:
    """The workers of a Dask cluster, or none."""
    if scheduler is None:
        yield None
        return
    require_package("distributed", "--scheduler needs", "dask")
    from distributed import Client

    try:
        client: Any = Client(scheduler)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"--scheduler {scheduler}: {error}") from error
    with client:
        yield client.get_executor()
