"""Proofs of optima to thirty digits: to find them, and to verify them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

import cvxqueue as cq
from tests.performance.instances import random_servers
from tests.performance.memory import peak
from tests.performance.reporting import Row
from tests.performance.timing import Spread, format_seconds

SIZES = (5, 1000, 10_000)


def proofs(
    repeats: int, sizes: Sequence[int] = SIZES, names: Sequence[str] = cq.references.names()
) -> list[Row]:
    """Measure the seconds that `prove` and `verify` take, and the memory that they need."""
    rows = []
    for types in sizes:
        instance = random_servers(np.random.default_rng(types), 1, types, (0.3, 0.9)).instance()
        # Minutes for many types.
        times = np.array([_times(instance) for _ in range(1 if types > 100 else repeats)])
        record = cq.prove(instance)
        held: dict[str, Callable[[], object]] = {
            "prove": partial(cq.prove, instance),
            "verify": partial(cq.verify, record),
        }
        for (what, call), seconds in zip(held.items(), times.T, strict=True):
            # Decimal numbers are traced one by one: that takes longer than the proof.
            detail = f"{format_seconds(float(np.median(seconds)))}, {peak(call) / 1e6:.3g} MB"
            rows.append(Row(f"N = {types:,}: {what}", Spread.of(seconds), "s", details=detail))
    began = time.perf_counter()
    for name in names:
        cq.verify(cq.references.load(name).record)
    seconds = np.array([time.perf_counter() - began])
    what = f"the library, {len(names)} references: verify"
    rows.append(Row(what, Spread.of(seconds), "s", details=format_seconds(float(seconds[0]))))
    return rows


def _times(instance: cq.Instance) -> tuple[float, float]:
    began = time.perf_counter()
    record = cq.prove(instance)
    found = time.perf_counter()
    cq.verify(record)
    return found - began, time.perf_counter() - found
