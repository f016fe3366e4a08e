"""The instance that a command is asked about."""

from __future__ import annotations

import sys

from cvxqueue.errors import InvalidInputError
from cvxqueue.files import load, loads
from cvxqueue.files.storage import MOST_BYTES, read_bytes
from cvxqueue.model import Instance

__all__ = ["read_instance"]


def read_instance(name: str) -> Instance:
    """Read a file, or stdin where its name is ``-``.

    Raises
    ------
    InvalidInputError
        If there is no such file, or it holds what is not allowed. The message starts with its name.
    """
    if name != "-":
        return load(name)
    try:
        if sys.stdin is None:
            raise InvalidInputError("is closed; give the name of a file")
        return loads(read_bytes(sys.stdin.buffer, MOST_BYTES))
    except InvalidInputError as error:
        raise InvalidInputError(f"stdin: {error}") from error
