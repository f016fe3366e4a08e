"""Files and streams as text, or one error that says why there is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from cvxqueue.errors import InvalidInputError
from cvxqueue.shown import shown

__all__ = ["as_path", "decode", "read_bytes", "reason"]


def as_path(path: str | os.PathLike[str]) -> Path:
    """Return a path, or say that it is none."""
    if not isinstance(path, str | os.PathLike):
        raise InvalidInputError(f"path must be a string or a path, got {shown(path)}")
    return Path(path)


def read_bytes(source: Path | BinaryIO, most: int) -> bytes:
    """Return the content of a file or of a stream, of at most so many bytes.

    Raises
    ------
    InvalidInputError
        If it cannot be read, or is longer: a device has no end. The message names the path.
    """
    name = str(source) if isinstance(source, Path) else "the stream"
    try:
        if isinstance(source, Path):
            with source.open("rb") as stream:
                content = stream.read(most + 1)
        else:
            content = source.read(most + 1)
    except IsADirectoryError as error:
        raise InvalidInputError(f"{name} is a directory; give a file in it") from error
    # A ValueError says that no file can have this name.
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot read {name}: {reason(error)}") from error
    if len(content) > most:
        raise InvalidInputError(
            f"{name} has more than {most // 10**6} MB, the most that is read; give the part that "
            "matters"
        )
    return content


def decode(content: bytes) -> str:
    """Return UTF-8 as text; a byte order mark is dropped."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(
            f"byte {content[error.start]:#04x} in line {line} is not UTF-8; save the file as UTF-8 "
            "text"
        ) from error


def reason(error: Exception) -> str:
    """Return what the system says went wrong, without the name that the message has anyway."""
    return getattr(error, "strerror", None) or str(error)
