"""``cvxqueue diagnose``: whether the model describes a server."""

from __future__ import annotations

import argparse

from cvxqueue.cli.inputs import read_measurements
from cvxqueue.cli.output import show
from cvxqueue.fitting import diagnose


def run(options: argparse.Namespace) -> int:
    """Diagnose and print what was found."""
    found = diagnose(read_measurements(options, options.file, ()))
    show(options, {"status": "diagnosed", **found.to_dict()}, found.table(), found)
    return 0
