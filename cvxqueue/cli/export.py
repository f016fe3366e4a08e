"""``cvxqueue export``: an instance as other solvers read it."""

from __future__ import annotations

import argparse

from cvxqueue.cli.inputs import read_instance
from cvxqueue.cli.output import show
from cvxqueue.dcp import export
from cvxqueue.model.instance import type_columns
from cvxqueue.tables import Column, Table


def run(options: argparse.Namespace) -> int:
    """Export, and print what the first variables are."""
    instance = read_instance(options.file)
    unit = export(instance, options.output, integer=options.integer)
    table = Table([*type_columns(instance), Column("tokens per unit", unit)])
    data = {"status": "written", "output": options.output, "tokens_per_unit": unit}
    words = "Wrote {}; tokens are the first variables times their tokens per unit:\n"
    show(options, data, table, words.format(options.output), table)
    return 0
