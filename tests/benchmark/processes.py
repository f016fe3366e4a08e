"""Which processes descend from one that a test has started: they have a mark in their environment.

A child that is reparented keeps it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

MARK = "CVXQUEUE_TEST_MARK"


def marked(value: str) -> list[int]:
    """Return the processes that have the mark, this one and the dead left out."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if f"{MARK}={value}".encode() in environment.split(b"\0"):
            found.append(int(folder.name))
    return found


def left_after(seconds: float, value: str) -> list[int]:
    """Return the marked processes that are still there after so long, or as soon as none is."""
    until = time.monotonic() + seconds
    while (found := marked(value)) and time.monotonic() < until:
        time.sleep(0.02)
    return found
