"""Redirect standard output while compiled code runs."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# A second thread would save the redirected descriptor, and restore that.
_REDIRECTING = threading.Lock()


@contextmanager
def standard_output_discarded() -> Iterator[None]:
    """Discard what compiled code writes to standard output, and other threads meanwhile.

    HiGHS 1.8 to 1.12 print a line for their developers whenever they repair a solution, which would
    break JSON. It is in the buffer of the C library, so this is flushed on both sides.
    """
    if os.name != "posix":
        yield
        return
    flush = ctypes.CDLL(None).fflush
    with _REDIRECTING:
        flush(None)
        try:
            kept = os.dup(1)
        except OSError:  # there is no standard output
            yield
            return
        sink = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(sink, 1)
            yield
        finally:
            flush(None)
            os.dup2(kept, 1)
            os.close(kept)
            os.close(sink)
