"""What a command is asked about: an instance, a record, or a file of measurements."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cvxqueue.errors import InvalidInputError, naming
from cvxqueue.files import load, loads
from cvxqueue.files.storage import MOST_BYTES, as_path, read_bytes
from cvxqueue.formatting import shown
from cvxqueue.model import Instance
from cvxqueue.references import library
from cvxqueue.suggest import near_miss

if TYPE_CHECKING:
    from cvxqueue.fitting import Requests


def read_instance(name: str) -> Instance:
    """Read a file, stdin where its name is ``-``, or the reference of that name."""
    if name != "-":
        return library.load(name).instance if _is_reference(name) else load(name)
    with naming("stdin"):
        return loads(read_content(name, MOST_BYTES))


def read_content(name: str, most: int) -> bytes:
    """Read at most so many bytes of a file, or of stdin where its name is ``-``."""
    if name != "-":
        return read_bytes(Path(name), most)
    if sys.stdin is None:
        raise InvalidInputError("is closed; give the name of a file")
    return read_bytes(sys.stdin.buffer, most)


def record_path(name: str) -> str:
    """Return the file of a record: that of this name, or of the reference of this name."""
    return str(library.path_of(name)) if _is_reference(name) else name


def new_record(name: str) -> Path:
    """Return the path of a record that is to be written."""
    path = as_path(name)
    if path.suffix.lower() != ".json":
        raise InvalidInputError(f"{path}: a record is JSON; let its name end in .json")
    return path


def _is_reference(name: str) -> bool:
    """Whether a reference is meant, or a file; a near miss of either is an error that names it."""
    if not name:
        raise InvalidInputError("the name of a file is empty")
    file, names = Path(name), library.names()
    if name in names:
        # A file wins, for nobody's script is to change its meaning by a later release.
        return not file.exists() or file.is_dir()
    # Of a path none is near, but ./heavy-traffic-6 would be told of without its beginning.
    near = near_miss(name, names) if file.name == name else str(file)
    if near in names and not file.exists():
        raise InvalidInputError(
            f"{shown(name)} is neither a file nor a reference: did you mean {shown(near)}? "
            "cvxqueue references lists them"
        )
    return False


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
