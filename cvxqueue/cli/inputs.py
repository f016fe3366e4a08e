"""What a command is asked about: an instance, or a file of measurements."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from cvxqueue.errors import InvalidInputError, naming
from cvxqueue.files import load, loads
from cvxqueue.files.storage import MOST_BYTES, read_bytes
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
        columns=dict(options.column),
        where=dict(options.where),
        max_malformed=options.max_malformed,
    )
