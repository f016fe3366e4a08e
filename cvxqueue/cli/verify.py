"""``cvxqueue verify``: whether a record proves what it claims, and of which instance."""

from __future__ import annotations

import argparse
from typing import Any

from cvxqueue.cli.inputs import read_instance, record_path
from cvxqueue.cli.output import progress, show
from cvxqueue.errors import InvalidInputError
from cvxqueue.model import Instance
from cvxqueue.references.verification import Verified, verify
from cvxqueue.tables import Column, Table


def run(options: argparse.Namespace) -> int:
    """Verify a record, and print what it proves."""
    if options.record == "-":
        raise InvalidInputError("RECORD is a file or a reference; only FILE may be - for stdin")
    instance = None if options.file is None else read_instance(options.file)
    with progress(1) as step:
        step("verify")
        found = verify(record_path(options.record), instance=instance)
    about = [] if instance is None else [f"the record is about {options.file}"]
    data = {"status": "accepted", **summary(found), "about": options.file}
    show(options, data, token_table(found, instance), *found.report, *about)
    return 0


def summary(found: Verified) -> dict[str, Any]:
    """Return what is proven as plain values; numbers of so many digits are strings."""
    return {
        "digits": found.digits,
        "objective": [str(end) for end in found.objective],
        "tokens": [[str(end) for end in ends] for ends in found.tokens],
        "proves_tokens": found.proves_tokens,
        "integer_tokens": found.integer_tokens and list(found.integer_tokens),
        "integer_objective": found.integer_objective and list(map(str, found.integer_objective)),
    }


def token_table(found: Verified, instance: Instance | None) -> Table:
    """Return what the tokens of each type lie between."""
    names = None if instance is None else instance.names
    lows, highs = zip(*found.tokens, strict=True)
    columns = [
        Column("task type", list(names or map(str, range(len(lows))))),
        Column("tokens at least", list(map(str, lows))),
        Column("tokens at most", list(map(str, highs))),
    ]
    if found.integer_tokens:
        columns.append(Column("whole tokens", list(found.integer_tokens)))
    return Table(columns)
