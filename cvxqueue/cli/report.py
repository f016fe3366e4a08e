"""``cvxqueue report``: what the rows of a comparison say, as one page."""

from __future__ import annotations

import argparse

from cvxqueue.benchmark import Benchmark
from cvxqueue.cli.output import show
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.suggest import nearest


def run(options: argparse.Namespace) -> int:
    """Write the report, and print a line for each solver."""
    rows = Benchmark.read(*options.results).rows
    for name in ("solver", "settings") if rows else ():
        known = {getattr(row, name): None for row in rows}
        for each in getattr(options, name) or ():
            if each not in known:
                raise InvalidInputError(f"no row has {name} {shown(each)}: {nearest(each, known)}")
        rows = tuple(row for row in rows if getattr(row, name) in (getattr(options, name) or known))
    found = Benchmark(rows)
    found.report(options.output)
    summary = {"status": "written", "output": options.output, "runs": len(found.rows)}
    show(options, summary, found.table(), found, f"\nWrote {options.output}")
    return 0
