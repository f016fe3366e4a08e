"""Where the commands write: tables, JSON and pictures, errors and progress on stderr."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO, TextIOWrapper
from pathlib import Path
from shutil import get_terminal_size
from threading import Timer
from typing import Any, TextIO, TypeGuard

from cvxqueue.errors import InvalidInputError, naming
from cvxqueue.formatting import printable, shown
from cvxqueue.json_values import json_values
from cvxqueue.suggest import nearest
from cvxqueue.tables import WIDTH, Part, Report, Table, printed, rendered
from cvxqueue.whole_files import write_whole

# How Python treats letters that an encoding has not: by an exception, or so in the C locale, which
# it trusts to have come from there.
_RAISING = ("strict", "surrogateescape", "surrogatepass")

# Shorter waits need no bar.
_PATIENCE = 1.0
_PICTURES = (".pdf", ".png", ".svg")


def prepare_streams() -> None:
    """Make the streams of the process safe: one may be closed, or know no Greek letters."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if stream is None:
            # This takes its number, the lowest that is free. A file opened later would take it
            # otherwise, and what a library prints would go into that file.
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        # What a person has chosen instead, such as "replace", stays.
        if isinstance(stream, TextIOWrapper) and stream.errors in _RAISING:
            stream.reconfigure(errors="backslashreplace")


def width() -> int:
    """Return the columns to write in: of ``COLUMNS``, else of the terminal that stdout is."""
    return get_terminal_size((WIDTH, 0)).columns


def show(options: argparse.Namespace, summary: object, table: Table, *parts: Part | Report) -> None:
    """Write what a command found: as one JSON object or one table of CSV if asked for, or text."""
    if options.json:
        write_json(summary)
    elif options.csv:
        with to_stdout():
            text = table.to_csv() or ""
            # A file or a pipe has it exactly; a terminal would obey what is in a name.
            sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
    else:
        write(*parts)


def write(*parts: Part | Report) -> None:
    """Write tables and text on stdout, in colour on a terminal that has it."""
    from rich.console import Console

    with to_stdout():
        # Rich would end the process by itself where the reader has left.
        text = printed(rendered(parts), Console(highlight=False), width())
        sys.stdout.write(f"{text}\n")


def write_json(data: object, indent: int | None = None) -> None:
    """Write one JSON value on stdout; what is not finite becomes null."""
    with to_stdout():
        sys.stdout.write(json.dumps(json_values(data), indent=indent, allow_nan=False) + "\n")


@contextmanager
def to_stdout() -> Iterator[None]:
    """Write on stdout, all of it before going on; where the reader has left, that is no error."""
    if not _is_open(sys.stdout):
        raise InvalidInputError("cannot write standard output: it is closed")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _drop(sys.stdout)
    except OSError as error:
        _drop(sys.stdout)
        raise InvalidInputError(f"cannot write standard output: {error.strerror}") from error


def write_error(message: str, kind: str = "error") -> None:
    """Write what is wrong on stderr; where that takes nothing, the exit status has to do."""
    if _is_open(sys.stderr):
        try:
            sys.stderr.write(f"cvxqueue: {kind}: {printable(message)}\n")
            sys.stderr.flush()
        except OSError:
            _drop(sys.stderr)


def _is_open(stream: TextIO | None) -> TypeGuard[TextIO]:
    return stream is not None and not stream.closed


def _drop(stream: TextIO) -> None:
    """Send a stream nowhere: what is still buffered would fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def progress(total: int) -> Iterator[Callable[..., None]]:
    """Show a bar on a terminal's stderr where so many steps, told by name, take over a second."""
    if not (_is_open(sys.stderr) and sys.stderr.isatty()):
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    # Names are somebody's, and no markup.
    words = TextColumn("{task.description}", markup=False)
    columns = SpinnerColumn(), words, BarColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    # Ctrl-C ends the process where it is, and a hidden cursor would stay so.
    console.show_cursor = lambda show=True: False  # type: ignore[method-assign]
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("", total=total)
    begun = 0

    def step(name: str, done: int | None = None) -> None:
        nonlocal begun
        begun = begun if done is None else done
        bar.update(task, description=printable(name), completed=begun)
        begun += 1

    timer = Timer(_PATIENCE, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield step
    finally:
        timer.cancel()
        timer.join()
        bar.stop()


def require_picture(name: str | None) -> None:
    """Refuse before any work what could not be drawn or written after it; ``None`` is nothing."""
    if name is not None:
        # With the solvers, which a fit does not need.
        from cvxqueue.plots.style import require_matplotlib

        with naming(f"--plot {name}"):
            _require_writable(name)
        require_matplotlib()


def write_picture(name: str | None, result: Any) -> None:
    """Draw a result and write it, whole or not at all; ``None`` is nothing."""
    if name is None:
        return
    from cvxqueue import plots

    path, drawn = Path(name), BytesIO()
    plots.figure(result).savefig(drawn, format=path.suffix.lower()[1:])
    with naming("--plot"):
        write_whole(path, drawn.getvalue())


def _require_writable(name: str) -> None:
    """Refuse what is no picture's name, or is in no place for one."""
    if "\0" in name:
        raise InvalidInputError("must be the name of a file")
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix not in _PICTURES:
        raise InvalidInputError(
            f"unknown picture format {shown(suffix)}: {nearest(suffix, _PICTURES)}"
        )
    if path.is_dir():
        raise InvalidInputError("is a directory; name a file in it")
    if not path.parent.is_dir():
        raise InvalidInputError(f"there is no directory {path.parent}")
    # It is written beside its place, which for a link is where that points, and then put there.
    place = Path(os.path.realpath(path))
    if not all(os.access(part, os.W_OK) for part in (place.parent, place) if part.exists()):
        raise InvalidInputError(
            "cannot be written; check its permissions and those of its directory"
        )
