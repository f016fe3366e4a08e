"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from cvxqueue.errors import InvalidInputError
from cvxqueue.interrupts import cleaning_up


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the file and rename: a reader sees the old file or the new one, never a part.

    A link goes on pointing where it does, and a file that is replaced passes on its permissions.

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

    with cleaning_up(), ExitStack() as stack:
        with _naming(path):
            stream = stack.enter_context(_draft(Path(os.path.realpath(path))))
        yield write
        with _naming(path):
            stack.close()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot write {path}: {reason(error)}") from error


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
