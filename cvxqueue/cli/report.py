"""``cvxqueue report``: what the rows of a comparison say, as one page."""

import argparse

from cvxqueue.benchmark import Benchmark
from cvxqueue.cli.output import show


def run(options: argparse.Namespace) -> int:
    """Write the report, and print a line for each solver."""
    found = Benchmark.read(*options.results)
    found.report(options.output)
    summary = {"status": "written", "output": options.output, "runs": len(found.rows)}
    show(options, summary, found.table(), found, f"\nWrote {options.output}")
    return 0
