"""Files and streams, read and written whole, or one error that says why not."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from cvxqueue.errors import InvalidInputError, naming
from cvxqueue.files.reading import from_dict
from cvxqueue.files.text import Format, parse, render
from cvxqueue.formatting import shown
from cvxqueue.model import Instance
from cvxqueue.suggest import nearest
from cvxqueue.whole_files import reason, write_whole

_Read = TypeVar("_Read")

MOST_BYTES = 50_000_000
"""Longest file: 10^5 types take 12 MB. Plain values take up to fifteen times the room."""

_FORMATS: dict[str, Format] = {".toml": "toml", ".json": "json"}


def load(path: str | os.PathLike[str]) -> Instance:
    """Read an instance file, and no answer; see `cvxqueue.load`."""
    return read_file(path, from_dict)


def read_file(
    path: str | os.PathLike[str], read: Callable[[Any], _Read], expected: str = "an instance"
) -> _Read:
    """Return what is read from the plain values of a file; errors name the path."""
    file = as_path(path)
    content = read_bytes(file, MOST_BYTES)
    format = format_of(file)
    with naming(str(file)):
        return read(parse(decode(content), format, expected))


def loads(content: str | bytes, format: Format | None = None) -> Instance:
    """Return the instance that the content of a file describes; bytes are UTF-8.

    By default it is JSON if the first character that is not white space is ``{``, which begins no
    TOML; TOML otherwise.

    Raises
    ------
    InvalidInputError
        If the content is not UTF-8, not valid TOML or JSON, or holds what is not allowed.
    """
    if not isinstance(content, str | bytes):
        raise InvalidInputError(f"content must be a string or bytes, got {shown(content)}")
    if format not in (None, *_FORMATS.values()):
        raise InvalidInputError(
            f"format = {shown(format)} is unknown: {nearest(format, _FORMATS.values())}"
        )
    text = content if isinstance(content, str) else decode(content)
    if format is None:
        format = "json" if text.lstrip().startswith("{") else "toml"
    return from_dict(parse(text, format))


def write_values(file: Path, data: Mapping[str, Any]) -> None:
    """Write plain values in the format that the name ends in, all of them or nothing.

    Raises
    ------
    InvalidInputError
        If the file would be too long to be read again, or cannot be written. A file that was there
        before is then unchanged.
    """
    content = render(data, format_of(file)).encode()
    if len(content) > MOST_BYTES:
        raise InvalidInputError(
            f"{file} would have {len(content) / 1e6:,.0f} MB, and at most {MOST_BYTES // 10**6} MB "
            "are read"
        )
    write_whole(file, content)


def format_of(file: Path) -> Format:
    """Return the format that a name ends in, or say that it ends in none."""
    suffix = file.suffix.lower()
    if suffix not in _FORMATS:
        raise InvalidInputError(
            f"{file}: the suffix is {shown(file.suffix)}, and must be one of {', '.join(_FORMATS)}"
        )
    return _FORMATS[suffix]


def as_path(path: str | os.PathLike[str]) -> Path:
    """Return a path, or say that it is none."""
    if not isinstance(path, str | os.PathLike):
        raise InvalidInputError(f"path must be a string or a path, got {shown(path)}")
    return Path(path)


def read_bytes(source: Path | BinaryIO, most: int) -> bytes:
    """Return the content of a file or of a stream, of at most so many bytes."""
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
