"""The queues, query by query: waiting times from gaps and service times, block by block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InvalidInputError
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.simulation.laws import GammaLaw


class Block(NamedTuple):
    """The next queries, with one entry for each."""

    gaps: FloatArray
    """Time since the arrival before."""
    arrivals: FloatArray
    """Time since the last arrival of the block before."""
    services: FloatArray
    """Service times."""
    kinds: NDArray[np.int64]
    """Types."""
    samples: FloatArray
    """Times within the block, sorted and one in each of its equal parts, at which the queries in
    the system may be counted."""


class Served(NamedTuple):
    """What happened in a block, with one entry for each query that the block accounts for."""

    waits: FloatArray
    """Seconds in the system without service."""
    services: FloatArray
    """Seconds of service."""
    kinds: NDArray[np.int64]
    """The task type, from 0."""
    work_done: float
    """Seconds of service given."""
    number: float
    """Integral over time of the number of queries in the system."""


class Recursion(ABC):
    """A simulated queue, with its state from block to block."""

    @abstractmethod
    def advance(self, block: Block) -> Served:
        """Serve the next queries, and account for those whose waiting time is known by then.

        Every query is accounted for once, in this block or in a later one. The block ends with its
        last arrival; `Served.work_done` and `Served.number` are of the time until then.
        """


class Ordered(Recursion):
    """First in first out: what the queues have in common that serve one query after another."""

    def __init__(self, workload: float) -> None:
        # Seconds of work left just after the last arrival, that of the server itself included.
        self._left = workload
        self._pending = np.empty(0)

    @abstractmethod
    def _waits(self, block: Block) -> FloatArray:
        """Waiting times, from `_left` and other state of the kind."""

    def advance(self, block: Block) -> Served:
        """Serve the next queries: all of them are accounted for."""
        _, arrivals, services, kinds, samples = block
        before = self._left
        waits = self._waits(block)
        self._left = float(waits[-1] + services[-1])
        done = before + float(services.sum()) - self._left
        departures = arrivals + waits
        departures += services
        end = float(arrivals[-1])
        present = np.searchsorted(arrivals, samples, side="right")
        present -= np.searchsorted(departures, samples, side="right")
        gone = np.searchsorted(self._pending, samples, side="right")
        number = (float((present - gone).mean()) + len(self._pending)) * end
        # Departures are in order, so those still to come are the last ones.
        pending = np.concatenate((self._pending, departures))
        self._pending = pending[np.searchsorted(pending, end, side="right") :] - end
        return Served(waits, services, kinds, done, number)


class Lindley(Ordered):
    """A server that works whenever there is work."""

    def _waits(self, block: Block) -> FloatArray:
        free = _free_path(self._left, block)
        # W_n = x_n − min(0, x_1, ..., x_n): the path with the idle times filled in.
        lowest = np.minimum.accumulate(free)
        np.minimum(lowest, 0.0, out=lowest)
        np.subtract(free, lowest, out=free)
        return free


class VacationRecursion(Ordered):
    """A server that goes away, again and again, while nobody waits.

    A vacation is like work that falls on the server whenever it runs out. So the workload is the
    free path, which only arrivals raise, plus the sum of the vacations begun so far; and one more
    begins each time the running minimum of the free path passes such a sum.
    """

    def __init__(self, law: GammaLaw, generator: np.random.Generator) -> None:
        self._law, self._generator = law, generator
        super().__init__(float(law.draw(generator, 1)[0]))
        # Depth to go until the next vacation begins, where the path starts at `_left`.
        self._to_go = self._left

    def _waits(self, block: Block) -> FloatArray:
        # The workload at the start is above the free minimum by _left, which the path may fall
        # through _to_go of unfinished vacation later; measure depth below that minimum.
        start = self._left - self._to_go
        free = _free_path(start, block)
        depth = np.minimum.accumulate(free)
        np.minimum(depth, 0.0, out=depth)
        np.negative(depth, out=depth)
        levels = np.array([self._to_go])
        while levels[-1] <= depth[-1]:
            to_come = float(depth[-1] - levels[-1]) / self._law.mean
            if to_come + levels.size > _MOST_VACATIONS:
                raise InvalidInputError(
                    f"queue.mean = {self._law.mean!r} s is too short, or queue.second_moment too "
                    f"large, to be simulated: more than {_MOST_VACATIONS} vacations would begin "
                    f"within {len(block.gaps)} arrivals; simulate longer or steadier vacations, or "
                    "cq.FIFO, to whose waiting time they add E[V²]/(2 E[V])"
                )
            # Most of very uneven lengths are next to nothing: what is drawn doubles at least.
            more = self._law.draw(self._generator, max(int(to_come) + 8, levels.size))
            more[0] += levels[-1]
            levels = np.concatenate((levels, np.cumsum(more)))
        reached = np.searchsorted(levels, depth, side="right")
        self._to_go = float(levels[reached[-1]] - depth[-1])
        free += levels[reached]
        return free


class SetupRecursion(Ordered):
    """A server that sets itself up for the first query of a busy period."""

    def __init__(self, law: GammaLaw, generator: np.random.Generator) -> None:
        super().__init__(0.0)
        self._law, self._generator = law, generator
        self._setups: list[float] = []

    def _waits(self, block: Block) -> FloatArray:
        # A setup changes who finds the server idle later, so one query follows another here.
        waits = []
        left = self._left
        for gap, service in zip(block.gaps.tolist(), block.services.tolist(), strict=True):
            wait = left - gap
            if wait <= 0.0:
                if not self._setups:
                    self._setups = self._law.draw(self._generator, _DRAWN).tolist()
                wait = self._setups.pop()
            waits.append(wait)
            left = wait + service
        return np.array(waits)


class SharedServer(Recursion):
    """All queries in the system share the server equally, event by event.

    Virtual time runs at the rate that each query is served at, 1/n with n in the system: a query
    leaves when virtual time has grown by its service time, and those that leave first are first in
    a heap.
    """

    def __init__(self) -> None:
        # (virtual time of the departure, arrival, service time, type) of those in the system.
        self._inside: list[tuple[float, float, float, int]] = []

    def advance(self, block: Block) -> Served:
        """Serve the next queries; those that leave are accounted for."""
        inside = self._inside
        virtual = clock = area = busy = 0.0
        left: list[tuple[float, float, int]] = []
        for gap, service, kind in zip(
            block.gaps.tolist(), block.services.tolist(), block.kinds.tolist(), strict=True
        ):
            while inside:
                count = len(inside)
                needed = (inside[0][0] - virtual) * count
                if needed > gap:
                    virtual += gap / count
                    area += gap * count
                    busy += gap
                    break
                virtual, arrival, length, which = heappop(inside)
                clock += needed
                area += needed * count
                busy += needed
                gap -= needed
                left.append((clock - arrival - length, length, which))
            else:
                virtual = 0.0
            clock += gap
            heappush(inside, (virtual + service, clock, service, kind))
        # Both clocks start again from zero, so that they keep their digits.
        self._inside = [
            (end - virtual, arrival - clock, length, which)
            for end, arrival, length, which in inside
        ]
        waits, lengths, kinds = np.array(left, dtype=np.float64).reshape(-1, 3).T
        # A query that was alone waited for nothing, up to the rounding of the clock.
        waits[waits < _CLOCK_ROUNDING * clock] = 0.0
        return Served(waits, lengths, kinds.astype(np.int64), busy, area)


# Setups that are drawn at a time.
_DRAWN = 1024
# Vacations that are drawn for a block of arrivals, of eight bytes each.
_MOST_VACATIONS = 10_000_000
# A few roundings of a clock, relative to it.
_CLOCK_ROUNDING = 16.0 * float(np.finfo(np.float64).eps)


def _free_path(start: float, block: Block) -> FloatArray:
    """What work would be left at each arrival if the server could work ahead."""
    free = np.cumsum(block.services)
    free -= block.services
    free -= block.arrivals
    free += start
    return free
