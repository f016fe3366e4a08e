"""``simulate`` and ``compare_allocations``: an allocation on the simulated server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import Instance, require_instance
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import float_array, require
from cvxqueue.simulation.comparison import Comparison
from cvxqueue.simulation.histogram import quantile
from cvxqueue.simulation.options import Options, ProgressCallback
from cvxqueue.simulation.plan import Columns, check_queue, planned
from cvxqueue.simulation.result import Simulation
from cvxqueue.simulation.stream import Stream
from cvxqueue.statistics.batch_means import BatchSums

# Steps at which progress is told, and those at which the precision is looked at. Looking often
# would stop at lucky moments, and the intervals would cover less often than they say.
STEPS = 32
_QUANTILE_LOOKS = (2, 4, 8, 16)
# Of fewer batches the spread itself is too uncertain to stop by.
_FEWEST_TO_STOP = 10


@quiet
def simulate(
    instance: Instance,
    tokens: ArrayLike,
    *,
    queries: float | None = None,
    seed: int | np.random.Generator = 0,
    confidence: float = 0.95,
    arrivals: float | ArrayLike | None = None,
    relative_half_width: float | None = None,
    quantiles: float | Sequence[float] = (),
    thresholds: float | Sequence[float] = (),
    warm_up: int | None = None,
    batches: int | None = None,
    progress: ProgressCallback | None = None,
    threads: int | None = None,
) -> Simulation:
    """Simulate the queue at an allocation.

    Parameters
    ----------
    instance : Instance
        The server. Where the use of tokens is random, gamma distributed tokens are drawn; lengths
        of vacations and setups too are gamma distributed, and batch sizes follow a law on at most
        four whole numbers: the model states two moments of each, and these laws have them.
    tokens : array_like, shape () or (N,)
        Thinking tokens of each type, ≥ 0. They may lie outside ``min_tokens`` and ``max_tokens``:
        what is served is simulated, whether it is allowed or not.
    queries : whole number, optional
        Queries to simulate after the warm-up, such as 1e7; by default a million, or the whole
        trace.
    seed : int or numpy.random.Generator, default 0
        Equal seeds give equal results, whatever the number of threads.
    confidence : float, default 0.95
        Of each interval by itself.
    arrivals : float or array_like, optional
        ``None`` for Poisson arrivals; a number ≥ 0 for independent gaps with this squared
        coefficient of variation (gamma distributed); an array for arrival times, in seconds or as
        dates and times, to be replayed, in order, instead of ``instance.arrival_rate``.
    relative_half_width : float, optional
        Stop as soon as the interval of the mean waiting time is as narrow, relative to the
        estimate. It is looked at after 1/16, 1/8, 1/4 and 1/2 of the queries.
    quantiles : float or sequence of float, optional
        Probabilities, to estimate these quantiles of the waiting and of the system time.
    thresholds : float or sequence of float, optional
        Times x, in seconds, to estimate P(W > x).
    warm_up : int, optional
        Queries at the start of each replication that are left out. By default as many as make the
        start forgotten, and at most as many as are counted; none where the start is drawn from the
        stationary distribution, which FIFO and batches with Poisson arrivals do, and none for a
        trace.
    batches : int, optional
        Batches for the intervals, fixed; by default as many as are long enough to be independent,
        and neighbours are joined while they are found to be correlated.
    progress : callable, optional
        Called with the fraction of the queries that are done.
    threads : int, optional
        Threads that the replications are spread over; by default one for each core.

    Returns
    -------
    Simulation

    Raises
    ------
    InvalidInputError
        If an argument is not allowed, or the allocation is unstable and the arrivals are not a
        trace: there is nothing stationary to estimate then. A trace is finite, and is replayed as
        it is; estimates are averages over it, and their intervals take it for a stationary piece.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.Instance(
    ...     arrival_rate=0.2, accuracy_weight=60.0, max_tokens=4096, probabilities=[0.3, 0.7],
    ...     service=cq.AffineService(base=0.5, per_token=0.002),
    ...     accuracy=cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=[0.001, 0.004]))
    >>> simulation = cq.simulate(instance, [500.0, 300.0], queries=100_000, seed=1)
    >>> simulation.mean_waiting_time.covers(instance.evaluate([500.0, 300.0]).mean_waiting_time)
    True
    """
    return _run(
        instance,
        [tokens],
        ["tokens"],
        Options(
            queries=queries,
            seed=seed,
            confidence=confidence,
            arrivals=arrivals,
            relative_half_width=relative_half_width,
            quantiles=quantiles,
            thresholds=thresholds,
            warm_up=warm_up,
            batches=batches,
            progress=progress,
            threads=threads,
        ),
    )[0]


@quiet
def compare_allocations(
    instance: Instance,
    allocations: Sequence[ArrayLike],
    *,
    queries: float | None = None,
    seed: int | np.random.Generator = 0,
    confidence: float = 0.95,
    arrivals: float | ArrayLike | None = None,
    quantiles: float | Sequence[float] = (),
    thresholds: float | Sequence[float] = (),
    warm_up: int | None = None,
    batches: int | None = None,
    progress: ProgressCallback | None = None,
    threads: int | None = None,
) -> Comparison:
    """Simulate several allocations on the same queries.

    They meet the same arrivals, types and luck (common random numbers), so that the differences
    have far narrower intervals than the estimates themselves.

    Parameters
    ----------
    instance : Instance
        The server.
    allocations : sequence of array_like, each of shape () or (N,)
        Tokens of each type; differences are to the first.
    queries, seed, confidence, arrivals, quantiles, thresholds, warm_up, batches, progress, threads
        As for `simulate`.

    Returns
    -------
    Comparison

    Raises
    ------
    InvalidInputError
        As for `simulate`, or if there is no allocation.
    """
    if isinstance(allocations, np.ndarray):
        allocations = list(np.atleast_1d(allocations))
    if isinstance(allocations, str) or not isinstance(allocations, Sequence):
        raise InvalidInputError(
            f"allocations must be a list of allocations, [first, second], got {shown(allocations)}"
        )
    if not allocations:
        raise InvalidInputError("allocations must have at least one entry, got none")
    return Comparison(
        simulations=tuple(
            _run(
                instance,
                allocations,
                [f"allocations[{position}]" for position in range(len(allocations))],
                Options(
                    queries=queries,
                    seed=seed,
                    confidence=confidence,
                    arrivals=arrivals,
                    relative_half_width=None,
                    quantiles=quantiles,
                    thresholds=thresholds,
                    warm_up=warm_up,
                    batches=batches,
                    progress=progress,
                    threads=threads,
                ),
            )
        )
    )


def _run(
    instance: Instance, allocations: Sequence[ArrayLike], names: Sequence[str], options: Options
) -> list[Simulation]:
    """Simulate the same queries under each allocation."""
    started = time.perf_counter()
    require_instance(instance)
    check_queue(instance)
    tokens = [
        _tokens(name, it, instance, is_replayed=options.trace is not None)
        for name, it in zip(names, allocations, strict=True)
    ]
    plan, sizes = planned(instance, tokens, options)
    streams = [Stream(plan, seed) for seed in options.seed.spawn(len(sizes))]
    done = _advance(streams, sizes, options)
    seconds = time.perf_counter() - started
    results = []
    for position, sums in enumerate(_sums(streams, options)):
        clustering = min(plan.relaxation, float(sum(map(sum, sizes))))
        waiting, system = (
            {q: quantile(histograms, q, options.confidence, clustering) for q in options.quantiles}
            for histograms in zip(*(stream.histograms[position] for stream in streams), strict=True)
        )
        results.append(
            Simulation(
                instance=instance,
                tokens=tokens[position],
                sums=sums,
                confidence=options.confidence,
                queries=sum(sum(row[:done]) for row in sizes),
                warm_up=plan.warm_up,
                replications=len(sizes),
                arrivals=options.arrivals,
                rate=plan.rate,
                relaxation=plan.relaxation,
                trace=options.trace,
                thresholds=options.thresholds,
                waiting_quantiles=waiting,
                system_quantiles=system,
                seconds=seconds,
            )
        )
    return results


def _tokens(name: str, given: ArrayLike, instance: Instance, *, is_replayed: bool) -> FloatArray:
    tokens = float_array(name, given, instance.size)
    require(name, tokens, tokens >= 0, "must be ≥ 0")
    point = instance.evaluate(tokens)
    if not (is_replayed or point.is_stable):
        raise InvalidInputError(
            f"{name} make the queue unstable (utilization {float(point.utilization):.6g}, must be "
            "below 1): waiting times grow without end and have no mean to estimate; use fewer "
            "tokens, or replay a finite trace as `arrivals`"
        )
    return tokens


def _advance(streams: Sequence[Stream], sizes: Sequence[Sequence[int]], options: Options) -> int:
    """Run the replications side by side; return how many batches each has done."""
    count = len(sizes[0])
    done = 0
    with ThreadPoolExecutor(min(options.threads, len(streams))) as pool:
        for step in range(1, STEPS + 1):
            end = step * count // STEPS
            if end > done:
                list(pool.map(Stream.advance, streams, [row[done:end] for row in sizes]))
                done = end
            if options.progress is not None:
                options.progress(step / STEPS)
            if step in _QUANTILE_LOOKS and _is_precise(streams, options):
                break
    return done


def _is_precise(streams: Sequence[Stream], options: Options) -> bool:
    """Whether the mean waiting time is known as precisely as was asked for."""
    if options.relative_half_width is None or not streams[0].rows[0]:
        return False
    sums = _sums(streams, options)[0]
    width = sums.ratio(Columns.WAIT, Columns.COUNT).relative_half_width
    return sums.count >= _FEWEST_TO_STOP and width <= options.relative_half_width


def _sums(streams: Sequence[Stream], options: Options) -> list[BatchSums]:
    """Sums of each allocation, over the same batches; fixed ones are left as they are."""
    found = [
        BatchSums(
            [np.stack(stream.rows[position]) for stream in streams],
            options.confidence,
            (Columns.WAIT, Columns.COUNT),
        )
        for position in range(len(streams[0].rows))
    ]
    while options.batches is None and any(sums.is_correlated for sums in found):
        found = [sums.joined() for sums in found]
    return found
