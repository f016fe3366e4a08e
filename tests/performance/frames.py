"""A batch as a data frame with a row for each variant and type, beside solving it."""

from __future__ import annotations

from functools import partial

import numpy as np

import cvxqueue as cq
from tests.performance.instances import random_servers
from tests.performance.memory import peak
from tests.performance.reporting import Row
from tests.performance.timing import FEW, Spread, Subject, interleave

ROWS, TYPES = 1_000_000, 5


def frames(repeats: int, rows: int = ROWS) -> list[Row]:
    """Measure a frame of so many rows: its time in solves, and its memory in columns."""
    instance = random_servers(np.random.default_rng(3), 1, TYPES).instance()
    rates = instance.arrival_rate * np.linspace(0.5, 1.0, rows // TYPES)
    solve = partial(cq.solve_batch, instance, arrival_rate=rates)
    frame = partial(cq.BatchSolution.to_frame, by_type=True)
    # pandas is imported by the first.
    columns = len(frame(cq.solve_batch(instance, arrival_rate=[instance.arrival_rate])).columns)
    measured = interleave(
        {"solve": Subject(lambda _: solve(), lambda: None), "frame": Subject(frame, solve)},
        min(repeats, FEW),
    )
    held = [peak(partial(frame, solve())) / (8 * rows) for _ in range(min(repeats, FEW))]
    return [
        Row(
            f"{rows:,} rows of {columns} columns: to_frame(by_type=True)",
            Spread.of(measured["frame"] / measured["solve"]),
            "solves of the batch",
            details=f"{float(np.median(measured['frame'])):.2g} s",
        ),
        Row("its memory at the peak", Spread.of(held), "columns of numbers"),
    ]
