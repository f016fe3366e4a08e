"""Times measured side by side: one round after another, everything once in each round."""

from __future__ import annotations

import gc
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.numerics.arrays import FloatArray

# A thousand times what reading the clock costs and ten times what a timer interrupt does.
_BLOCK = 2e-3
_LONGEST_BLOCK = 1000
# Rounds of what takes a minute: enough for a median that one disturbance does not move.
FEW = 3

_Input = TypeVar("_Input")


@dataclass(frozen=True)
class Spread:
    """A median and the quartiles beside it, or one number without any."""

    median: float
    lower: float | None = None
    upper: float | None = None

    @classmethod
    def of(cls, samples: ArrayLike) -> Spread:
        """Return the spread of samples."""
        lower, median, upper = np.quantile(np.asarray(samples, dtype=np.float64), (0.25, 0.5, 0.75))
        return cls(float(median), float(lower), float(upper))


@dataclass(frozen=True)
class Subject(Generic[_Input]):
    """Something to be timed.

    Parameters
    ----------
    run
        What is timed.
    prepare
        Makes the argument of one run, before the clock starts.
    is_slow
        Whether a run takes so long that it is timed once in a round, and is not tried first.
    """

    run: Callable[[_Input], object]
    prepare: Callable[[], _Input]
    is_slow: bool = False


def interleave(subjects: Mapping[str, Subject[Any]], repeats: int) -> dict[str, FloatArray]:
    """Time all subjects in each of several rounds.

    A host that slows down or speeds up does so for all of them, so that ratios within a round hold
    where the times themselves do not. Every other round goes backwards, so that none of them always
    finds the caches as the same other one leaves them.

    Returns
    -------
    dict
        Seconds for one run of each subject, shape (repeats,).
    """
    sizes = {name: 1 if it.is_slow else _block_size(it) for name, it in subjects.items()}
    seconds: dict[str, FloatArray] = {name: np.empty(repeats) for name in subjects}
    for position in range(repeats):
        for name in list(subjects)[:: -1 if position % 2 else 1]:
            seconds[name][position] = _time_block(subjects[name], sizes[name])
    return seconds


def _block_size(subject: Subject[Any]) -> int:
    """Return how many runs fill a block; the first run warms up what the later ones find warm."""
    _time_block(subject, 1)
    return min(math.ceil(_BLOCK / _time_block(subject, 1)), _LONGEST_BLOCK)


def _time_block(subject: Subject[Any], size: int) -> float:
    arguments = [subject.prepare() for _ in range(size)]
    # A collection belongs to whoever made the garbage, and that need not be the run it falls into.
    gc.collect()
    gc.disable()
    try:
        started = time.perf_counter()
        for argument in arguments:
            subject.run(argument)
        elapsed = time.perf_counter() - started
    finally:
        gc.enable()
    return max(elapsed, time.get_clock_info("perf_counter").resolution) / size


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep quiet what a solver says of its own answer; certificates grade it here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def format_seconds(seconds: float) -> str:
    """Return a time with its unit, to three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{1e6 * seconds:.3g} µs"
