"""The time of a whole command, its imports included, beside that of ``cvxqueue check``."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np

from tests.paths import SERVER
from tests.performance.reporting import Row, Target
from tests.performance.timing import Spread, Subject, format_seconds, interleave

_BOUND = 1.5
_COMMANDS = {"check": ("check",), "solve": ("solve", "--method", "newton")}


def startup(repeats: int) -> list[Row]:
    """Measure the commands in processes of their own, one after the other in each round."""
    subjects = {
        name: Subject(_run, partial(tuple, arguments), is_slow=True)
        for name, arguments in _COMMANDS.items()
    }
    # Once before the clock starts, so that the files are in the memory of the system.
    interleave(subjects, 1)
    seconds = interleave(subjects, repeats)
    check, solve = (float(np.median(seconds[name])) for name in _COMMANDS)
    return [
        Row(
            "cvxqueue solve --method newton FILE, beside check FILE",
            Spread(solve / check),
            "times as long",
            Target("≤", _BOUND),
            f"{format_seconds(solve)}, check {format_seconds(check)}",
        )
    ]


def _run(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "cvxqueue", *arguments, SERVER]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
