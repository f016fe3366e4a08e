"""What a command is asked about: an instance, or a file of measurements."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cvxqueue.errors import InvalidInputError, naming
from cvxqueue.files import load, loads
from cvxqueue.files.storage import MOST_BYTES, read_bytes
from cvxqueue.formatting import shown
from cvxqueue.model import Instance

if TYPE_CHECKING:
    from cvxqueue.fitting import Requests


def read_instance(name: str) -> Instance:
    """Read a file, or stdin where its name is ``-``."""
    if name != "-":
        return load(name)
    with naming("stdin"):
        if sys.stdin is None:
            raise InvalidInputError("is closed; give the name of a file")
        return loads(read_bytes(sys.stdin.buffer, MOST_BYTES))


def read_measurements(options: argparse.Namespace, path: str, needs: tuple[str, ...]) -> Requests:
    """Return the requests of the one file of a command."""
    from cvxqueue.fitting import read_requests

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
