"""Ctrl-C ends the command as the system ends a program: at once, whatever compiled code runs."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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


# The package is imported before its command runs, and that takes long enough to be interrupted. The
# name of the program is where the arguments begin; Python's own and ``-m`` stand before it.
_arguments = getattr(sys, "argv", None)  # which a program in another language may not set
if _arguments and Path(sys.orig_argv[-len(_arguments)]).stem == "cvxqueue":
    end_at_once()
