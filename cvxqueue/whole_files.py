"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import sys
from pathlib import Path

from cvxqueue.errors import InvalidInputError
from cvxqueue.interrupts import cleaning_up

# What is behind /dev/stdout: of Linux, with the number of the process, and of others.
_STREAM = re.compile(r"/(?:proc/(\d+)/(?:task/\d+/)?|dev/)fd/(\d+)")
# So many links in a row are followed by Linux.
_MOST_LINKS = 40


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the file and rename: a reader sees the old file or the new one, never a part.

    A link goes on pointing where it does, and a file that is replaced passes on its permissions. A
    device, a pipe, or an open stream of the process such as ``/dev/stdout`` is written to as it is.

    Raises
    ------
    InvalidInputError
        If it cannot be written, or no file can have this name. A file that was there before is then
        unchanged.
    """
    try:
        number = _stream_number(path)
        if number is None:
            _write(Path(os.path.realpath(path)), content)
        else:
            _append(number, content)
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot write {path}: {reason(error)}") from error


def _stream_number(path: Path) -> int | None:
    """Return the number of the stream of this process that a path leads to, if it does.

    The link goes on to the file that the stream is redirected to, which is not ours to replace.
    """
    for _ in range(_MOST_LINKS):
        place = Path(os.path.realpath(path.parent)) / path.name
        if found := _STREAM.fullmatch(str(place)):
            return int(found[2]) if found[1] in (None, str(os.getpid())) else None
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


def _append(number: int, content: bytes) -> None:
    """Write to a stream behind what was written to it before."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    with os.fdopen(os.dup(number), "wb") as own:
        own.write(content)


def _write(file: Path, content: bytes) -> None:
    if file.is_symlink():
        # Links that lead in a circle end at one of them.
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if file.exists() and not file.is_file():
        # A device or a pipe has no old content to keep, and is not to be replaced by a file.
        file.write_bytes(content)
        return
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    with cleaning_up():
        try:
            with draft.open("xb") as stream:
                if file.exists():
                    # Before there is anything to read.
                    shutil.copymode(file, draft)
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)


def reason(error: Exception) -> str:
    """Return what the system says went wrong, without the name that the message has anyway."""
    return getattr(error, "strerror", None) or str(error)
