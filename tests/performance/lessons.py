"""The lessons as notebooks with their exercises solved: each alone, in a folder with no file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbclient

from tests.performance.reporting import Row, Target
from tests.performance.timing import Spread, format_seconds
from tests.test_lessons import LESSONS, SOLUTION

# So that a reader who changes something, and a build, does not wait.
_BOUND = 120.0  # seconds


def lessons(repeats: int, paths: Sequence[Path] = LESSONS) -> list[Row]:
    """Measure the seconds that all lessons take, one after the other, their kernels included."""
    seconds = {path.stem: _run(path) for path in paths}
    longest = max(seconds, key=seconds.__getitem__)
    details = f"{longest} the longest, {format_seconds(seconds[longest])}"
    measure = f"{len(paths)} lessons with their solutions"
    return [Row(measure, Spread(sum(seconds.values())), "s", Target("≤", _BOUND), details)]


def _run(path: Path) -> float:
    notebook = jupytext.read(path)
    solutions = (path.parent / "solutions" / path.name).read_text(encoding="utf-8")
    answers = iter(SOLUTION.findall(solutions))
    for cell in notebook.cells:
        tags = cell.metadata.pop("tags", [])  # checks run, too
        if "exercise" in tags:
            cell.source = next(answers)
    with tempfile.TemporaryDirectory() as empty:
        began = time.perf_counter()
        nbclient.NotebookClient(
            notebook, timeout=120, resources={"metadata": {"path": empty}}
        ).execute()
        return time.perf_counter() - began
