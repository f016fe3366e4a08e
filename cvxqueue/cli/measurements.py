"""How the commands read a file of measurements."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cvxqueue.errors import InvalidInputError
from cvxqueue.fitting import Requests, read_requests
from cvxqueue.shown import shown

__all__ = ["pairs", "read"]


def read(options: argparse.Namespace, path: str, needs: tuple[str, ...]) -> Requests:
    """Return the requests of the one file of a command."""
    return read_requests(
        path,
        needs=needs,
        columns=pairs("--column", options.column, "FIELD=NAME"),
        where=pairs("--where", options.where, "NAME=VALUE"),
        max_malformed=options.max_malformed,
    )


def pairs(option: str, texts: Sequence[str], form: str) -> dict[str, str]:
    """Return texts with an equals sign as a mapping."""
    pairs = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not (name and value):
            raise InvalidInputError(f"{option} {shown(text)} must have the form {form}")
        pairs[name] = value
    return pairs
