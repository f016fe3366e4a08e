"""Where the commands write: tables and JSON on stdout, errors and progress on stderr."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from shutil import get_terminal_size
from threading import Timer
from typing import TextIO, TypeGuard

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import printable
from cvxqueue.json_values import json_values
from cvxqueue.tables import WIDTH, Part, Report, Table, rendered, width_for

# How Python treats letters that an encoding has not: by an exception, or so in the C locale, which
# it trusts to have come from there.
_RAISING = ("strict", "surrogateescape", "surrogatepass")

# Shorter waits need no bar.
_PATIENCE = 1.0


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
        console = Console(highlight=False)
        # The terminal wraps the lines; rich would cut numbers short.
        console.width = width_for(rendered(parts), width())
        # Captured, because rich would end the process by itself where the reader has left.
        with console.capture() as captured:
            console.print(rendered(parts))
        # Tables are padded to the right; a pipe has no use for that.
        lines = (line.rstrip() for line in captured.get().splitlines())
        sys.stdout.write("\n".join(lines) + "\n")


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
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar on a terminal's stderr where so many steps, told by name, take over a second."""
    if not (_is_open(sys.stderr) and sys.stderr.isatty()):
        yield lambda name: None
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

    def step(name: str) -> None:
        nonlocal begun
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
