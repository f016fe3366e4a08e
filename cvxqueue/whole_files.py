"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

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
    with writing_whole(path) as write:
        write(content)


@contextmanager
def writing_whole(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Write a file part by part, as `write_whole` does; whatever is raised within leaves none."""

    def write(content: bytes) -> None:
        with _naming(path):
            stream.write(content)

    with ExitStack() as stack:
        with _naming(path):
            number = _stream_number(path)
            where = _draft(Path(os.path.realpath(path))) if number is None else _behind(number)
            stream = stack.enter_context(where)
        try:
            yield write
            with _naming(path):
                stack.close()
        finally:
            # What is left of a full disk's buffer fails again, and is not what went wrong.
            with suppress(OSError):
                stack.__exit__(*sys.exc_info())


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
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


@contextmanager
def _behind(number: int) -> Iterator[BinaryIO]:
    """A stream behind what was written to another before."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    with os.fdopen(os.dup(number), "wb") as own:
        yield own


@contextmanager
def _draft(file: Path) -> Iterator[BinaryIO]:
    """A stream beside the file, which takes its place at the end."""
    if file.is_symlink():
        # Links that lead in a circle end at one of them.
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if file.exists() and not file.is_file():
        # A device or a pipe has no old content to keep, and is not to be replaced by a file.
        with file.open("wb") as stream:
            yield stream
        return
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    with cleaning_up():
        try:
            with draft.open("xb") as stream:
                if file.exists():
                    # Before there is anything to read.
                    shutil.copymode(file, draft)
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)


def reason(error: Exception) -> str:
    """Return what the system says went wrong, without the name that the message has anyway."""
    return getattr(error, "strerror", None) or str(error)
