"""Sweeps of ten thousand and of a million rows, and the memory of one that goes into a file."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import cvxqueue as cq
from tests.paths import EXAMPLES
from tests.performance.reporting import Row, Target
from tests.performance.timing import FEW, Spread

SERVER = EXAMPLES / "instances" / "qwen3-8b-h100.toml"
ROWS = 1_000_000
_SECONDS = 10.0
# What the process needs beyond what it holds before: arrays of one part, and what waits for the
# collector.
_MEGABYTES = 100.0


def sweeps(repeats: int, rows: int = ROWS) -> list[Row]:
    """Measure seconds and peak memory, each sweep in a process of its own."""
    found = []
    for name, count, is_file in (
        (f"{rows // 100:,} rows", rows // 100, False),
        (f"{rows:,} rows", rows, False),
        (f"{rows:,} rows into a file", rows, True),
    ):
        runs = [_measured(count, is_file=is_file) for _ in range(min(repeats, FEW))]
        seconds, megabytes = zip(*runs, strict=True)
        target = Target("≤", _SECONDS) if count == rows and not is_file else None
        found.append(Row(name, Spread.of(seconds), "s", target, "processor time, N = 5"))
        bound = Target("≤", _MEGABYTES) if is_file else None
        found.append(Row(f"{name}: peak", Spread.of(megabytes), "MB", bound, "of the process"))
    return found


def _measured(rows: int, *, is_file: bool) -> tuple[float, float]:
    command = [sys.executable, "-m", "tests.performance.sweeps", str(rows), str(int(is_file))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def _run(rows: int, *, is_file: bool) -> tuple[float, float]:
    """Sweep over rates times weights; return seconds, and megabytes beyond those before."""
    server, options = cq.load(SERVER), dict[str, Any]()
    # What is loaded at the first call is nobody's peak.
    cq.sweep(server, arrival_rate=[0.1, 0.2])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    side = round(rows**0.5)
    with tempfile.TemporaryDirectory() as folder:
        if is_file:
            options["output"] = Path(folder) / "rows.csv"
        started = time.process_time()
        cq.sweep(
            server,
            arrival_rate=np.linspace(0.01, 0.2, side),
            accuracy_weight=np.geomspace(10.0, 3000.0, rows // side),
            **options,
        )
        seconds = time.process_time() - started
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


if __name__ == "__main__":
    print(*_run(int(sys.argv[1]), is_file=bool(int(sys.argv[2]))))
