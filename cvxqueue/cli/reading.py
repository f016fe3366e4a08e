"""The instance that a command is asked about."""

from __future__ import annotations

import sys

from cvxqueue.errors import InvalidInputError
from cvxqueue.files import load, loads
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
        return loads(sys.stdin.buffer.read())
    except InvalidInputError as error:
        raise InvalidInputError(f"stdin: {error}") from error
