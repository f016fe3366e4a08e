"""``cvxqueue diagnose``: whether the model describes a server."""

from __future__ import annotations

import argparse

from rich.table import Table
from rich.text import Text

from cvxqueue.cli.measurements import read
from cvxqueue.cli.output import write, write_json
from cvxqueue.fitting import Diagnosis, diagnose

__all__ = ["run"]

_MARKS = {
    True: ("holds", "green"),
    False: ("does not hold", "red"),
    None: ("not tested", "yellow"),
}


def run(options: argparse.Namespace) -> int:
    """Diagnose and print what was found."""
    found = diagnose(read(options, options.file, ()))
    if options.json:
        write_json({"status": "diagnosed", **found.to_dict()})
    else:
        write(
            Text(f"{found.source}\n", "bold"),
            _table(found),
            *(Text(f"warning: {warning}", "yellow") for warning in found.warnings),
        )
    return 0


def _table(found: Diagnosis) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", max_width=16)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in found.findings:
        table.add_row(
            Text(finding.subject, "bold"),
            Text(*_MARKS[finding.holds]),
            Text(finding.sentence + "\n"),
        )
    return table
