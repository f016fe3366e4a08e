"""``cvxqueue benchmark``: solvers on instances, each run in a process of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cvxqueue.benchmark import Benchmark, run_benchmark
from cvxqueue.benchmark.rows import opened_rows, read_rows
from cvxqueue.benchmark.scores import compare
from cvxqueue.cli.inputs import read_instance
from cvxqueue.cli.output import progress, show
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.references import exact, library, planted

_GENERATORS: dict[str, Callable[..., Any]] = {"exact": exact, "planted": planted}
# All references.
_LIBRARY = "library"


def run(options: argparse.Namespace) -> int:
    """Run what is not in the output yet, or join outputs, and print a line for each solver."""
    if options.merge:
        for name, is_given in (("--solver", options.solver), ("--shard", options.shard != (1, 1))):
            if is_given:
                raise InvalidInputError(f"--merge runs nothing: leave {name} out")
        found = _merged(options.names, Path(options.output))
    else:
        # A solver may be in a module of the directory, which is to stand before no other.
        sys.path.append(str(Path.cwd()))
        with ExitStack() as bars:
            steps: list[Any] = []

            def show_run(name: str, runs: int) -> None:
                if not steps:
                    steps.append(bars.enter_context(progress(runs)))
                steps[0](name)

            found = run_benchmark(
                [instance for name in options.names for instance in _instances(name)],
                options.solver,
                settings=options.settings,
                output=options.output,
                time_limit=options.time_limit,
                memory_limit=options.memory_limit,
                shard=options.shard,
                seed=options.seed,
                progress=show_run,
            )
    summary = {"status": "complete", "output": options.output, "runs": len(found.rows)}
    summary["solvers"] = [
        {"settings": it.settings}
        | dict(zip(("time_limit", "memory_limit"), it.rows[0].limits, strict=True))
        | dict(zip(columns, line, strict=True))
        for it in compare(found.rows, found.plan)
        for columns in [it.table().machine_columns()]
        for line in zip(*columns.values(), strict=True)
    ]
    next_step = f"\nWrote {options.output}; next: cvxqueue report {options.output} -o report.html"
    show(options, summary, found.table(), found, next_step)
    return 0


def _merged(names: Sequence[str], output: Path) -> Benchmark:
    """Add to the output what rows of other files it does not have."""
    given = read_rows(map(Path, names))
    with opened_rows(output) as (rows, append):
        has = {row.key for row in rows}
        append(*(row for row in given if row.key not in has))
        return Benchmark(tuple(rows))


def _instances(name: str) -> Iterator[Any]:
    """What a name stands for: a file, references, or a random instance of a size."""
    kind, *numbers = name.split(":")
    if kind in _GENERATORS and numbers:
        if len(numbers) > 2 or not all(it.isdecimal() and len(it) < 20 for it in numbers):
            raise InvalidInputError(
                f"{shown(name)} must be {kind}:TYPES or {kind}:TYPES:SEED, such as {kind}:1000:7"
            )
        types, seed = (*map(int, numbers), 0)[:2]
        yield _GENERATORS[kind](types, seed=seed)
        return
    family = [it for it in library.names() if name == _LIBRARY or it.startswith(f"{name}-")]
    if name in library.names() and not Path(name).exists():
        yield library.load(name)
    elif family and not Path(name).exists():
        yield from map(library.load, family)
    else:
        yield read_instance(name)
