"""``cvxqueue diagnose``: whether the model describes a server."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from cvxqueue.cli.output import write, write_json
from cvxqueue.errors import InvalidInputError
from cvxqueue.fitting import Diagnosis, diagnose, read_requests

__all__ = ["run"]

_MARKS = {
    True: ("holds", "green"),
    False: ("does not hold", "red"),
    None: ("not tested", "yellow"),
}


def run(options: argparse.Namespace) -> int:
    """Diagnose and print what was found."""
    columns = _pairs("--column", options.column, "FIELD=NAME")
    where = _pairs("--where", options.where, "NAME=VALUE")
    found = diagnose(
        read_requests(
            options.file,
            needs=(),
            columns=columns,
            where=where,
            max_malformed=options.max_malformed,
        )
    )
    if options.json:
        write_json({"status": "diagnosed", **found.to_dict()})
    else:
        write(
            Text(f"{found.source}\n", "bold"),
            _table(found),
            *(Text(f"warning: {warning}", "yellow") for warning in found.warnings),
        )
    return 0


def _pairs(option: str, texts: Sequence[str], form: str) -> dict[str, str]:
    """Return texts with an equals sign as a mapping; of one file, they need no part before them."""
    pairs = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not (name and value):
            raise InvalidInputError(f"{option} {text!r:.80} must have the form {form}")
        pairs[name] = value
    return pairs


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
