"""Ctrl-C ends the command as the system ends a program: at once, whatever compiled code runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread


def end_at_once() -> None:
    """Have Ctrl-C end this process, and the shell see that it did.

    An exception of Python's would have to wait for the end of a solver. A process in the background
    that is told to take no notice goes on taking none.
    """
    is_raised = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_raised and current_thread() is main_thread():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def cleaning_up() -> Iterator[None]:
    """Where Ctrl-C ends the process at once, let it be an exception first for what is inside."""
    is_at_once = signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    if not is_at_once or current_thread() is not main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _is_program(arguments: list[str], started: list[str]) -> bool:
    """Whether the process is the command line, and not somebody's program that imports the package.

    Python puts those of a program at the end of its own. Elsewhere the two differ: in the
    workers of `multiprocessing`, in a notebook that sets them, inside another language.
    """
    own = started[-len(arguments) :] if arguments else []
    return (
        len(own) == len(arguments) > 0
        and own[1:] == arguments[1:]
        and arguments[0] in ("-m", own[0])
        and own[0].rpartition(os.sep)[2] in ("cvxqueue", "cvxqueue.exe")
    )


# The package is imported before its command runs, and that takes long enough to be interrupted.
if _is_program(list(getattr(sys, "argv", [])), sys.orig_argv):
    end_at_once()
