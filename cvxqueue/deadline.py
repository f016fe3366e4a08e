"""The moment at which a search has to end, on a clock of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

_Item = TypeVar("_Item")


class TimeIsUp(Exception):  # noqa: N818 - it is no error, and never leaves the package
    """A deadline passed in the middle of something that is worth nothing unless it is complete."""


@dataclass(frozen=True)
class Deadline:
    """A moment on a clock, handed to every loop that must not go on beyond it."""

    at: float
    """Reading of the clock at which the time is up, in seconds; infinite for never."""
    clock: Callable[[], float] = time.perf_counter
    """Reads the clock, in seconds; it must never go backwards."""

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.perf_counter) -> Deadline:
        """Return the moment so many seconds from now; a time limit may be infinite."""
        return cls(clock() + seconds, clock)

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.clock() >= self.at

    @property
    def remaining(self) -> float:
        """Seconds that are left, and none once the time is up."""
        return max(self.at - self.clock(), 0.0)

    def each(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yield the items, and raise `TimeIsUp` in place of the next one once the time is up."""
        for item in items:
            if self.is_over:
                raise TimeIsUp
            yield item


NEVER = Deadline(math.inf)
"""For a search without a time limit."""
