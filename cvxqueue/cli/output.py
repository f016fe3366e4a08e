"""Where the commands write: tables and JSON on stdout, errors and progress on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING

from cvxqueue.errors import InvalidInputError
from cvxqueue.model.plain import plain

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["drop_output", "progress", "to_stdout", "write", "write_error", "write_json"]

# The tables need so many columns.
_NARROWEST = 80
# Shorter waits need no bar.
_PATIENCE = 1.0


def write(*parts: RenderableType) -> None:
    """Write tables and text on stdout, in colour on a terminal that has it."""
    from rich.console import Console

    with to_stdout():
        console = Console(highlight=False)
        if console.width < _NARROWEST:
            # The terminal wraps the lines; rich would cut numbers short.
            console = Console(highlight=False, width=_NARROWEST)
        # Captured, because rich would end the process by itself where the reader has left.
        with console.capture() as captured:
            for part in parts:
                console.print(part)
        # Tables are padded to the right; a pipe has no use for that.
        lines = (line.rstrip() for line in captured.get().splitlines())
        sys.stdout.write("\n".join(lines) + "\n")


def write_json(data: object, indent: int | None = None) -> None:
    """Write one JSON value on stdout; what is not finite becomes null."""
    with to_stdout():
        sys.stdout.write(json.dumps(plain(data), indent=indent, allow_nan=False) + "\n")


@contextmanager
def to_stdout() -> Iterator[None]:
    """Write on stdout, all of it before going on.

    Raises
    ------
    InvalidInputError
        If it takes no more, as on a full disk.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_output()
        raise InvalidInputError(f"cannot write standard output: {error.strerror}") from error


def drop_output() -> None:
    """Send stdout nowhere: what is still buffered would fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_error(message: str, kind: str = "error") -> None:
    """Write what is wrong on stderr."""
    sys.stderr.write(f"cvxqueue: {kind}: {message}\n")


@contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar on a terminal's stderr where something takes over a second.

    Parameters
    ----------
    total : int
        Number of steps.

    Yields
    ------
    callable
        To be called with the name of each step before it begins.
    """
    if not sys.stderr.isatty():
        yield lambda name: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("", total=total)
    begun = 0

    def step(name: str) -> None:
        nonlocal begun
        bar.update(task, description=name, completed=begun)
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
