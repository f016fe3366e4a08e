"""``cvxqueue check``: what can be said of an instance before any method runs."""

from __future__ import annotations

import argparse

from cvxqueue.check import check
from cvxqueue.cli.inputs import read_instance
from cvxqueue.cli.output import show, write_error


def run(options: argparse.Namespace) -> int:
    """Check an instance and print what was found."""
    found = check(read_instance(options.file))
    show(options, found.to_dict(), found.table(), found)
    if found.obstacle:
        write_error(found.obstacle)
    return 0 if found.is_feasible else 1
