"""``simulate`` and ``compare``: an allocation on the simulated server."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.model import BatchArrivals, Instance
from cvxqueue.model.arrays import FloatArray, first_place, float_array, real_number, require
from cvxqueue.simulation.estimate import BatchSums, Estimate
from cvxqueue.simulation.histogram import Histogram, quantile
from cvxqueue.simulation.result import Comparison, Simulation
from cvxqueue.simulation.stream import Columns, Plan, Stream, check_queue, starts_stationary

__all__ = ["Progress", "compare", "simulate", "waiting_tail"]

Progress = Callable[[float], object]
"""Called with the fraction of the queries that are done."""

# Replications keep the cores busy; more than these do not shorten the intervals.
_MOST_REPLICATIONS = 8
# Queries that make a replication of its own worth its warm-up.
_LONG = 1 << 18
# Batches: so many relaxation times each, so that the correlation of neighbours is about a percent;
# no fewer than give a usable Student's t, and no more than memory allows.
_RELAXATIONS = 50.0
_FEWEST_BATCHES, _MOST_BATCHES = 20, 256
_MOST_SUMS = 1 << 22
# Relaxation times of warm-up: what is left of the start is e^-10 of it.
_WARM_UP = 10.0
# Groups of batches for the intervals of quantiles.
_GROUPS = 32
# Steps at which progress is told, and those at which the precision is looked at. Looking often
# would stop at lucky moments, and the intervals would cover less often than they say.
STEPS = 32
_LOOKS = (2, 4, 8, 16)


def simulate(
    instance: Instance,
    tokens: ArrayLike,
    *,
    queries: int | None = None,
    seed: int | np.random.Generator = 0,
    confidence: float = 0.95,
    arrivals: float | ArrayLike | None = None,
    relative_half_width: float | None = None,
    quantiles: Sequence[float] = (),
    thresholds: Sequence[float] = (),
    warm_up: int | None = None,
    batches: int | None = None,
    progress: Progress | None = None,
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
        Thinking tokens of each type, ≥ 0.
    queries : int, optional
        Queries to simulate after the warm-up; by default a million, or the whole trace.
    seed : int or numpy.random.Generator, default 0
        Equal seeds give equal results, whatever the number of threads.
    confidence : float, default 0.95
        Of each interval by itself.
    arrivals : float or array_like, optional
        ``None`` for Poisson arrivals; a number ≥ 0 for independent gaps with this squared
        coefficient of variation (gamma distributed); an array for arrival times in seconds to be
        replayed, in order, instead of ``instance.arrival_rate``.
    relative_half_width : float, optional
        Stop as soon as the interval of the mean waiting time is as narrow, relative to the
        estimate. It is looked at after 1/16, 1/8, 1/4 and 1/2 of the queries.
    quantiles : sequence of float
        Probabilities whose quantiles of the waiting and of the system time are wanted.
    thresholds : sequence of float
        Times x, in seconds, whose P(W > x) is wanted.
    warm_up : int, optional
        Queries at the start of each replication that are left out. By default as many as make the
        start forgotten; none where the start is drawn from the stationary distribution, which FIFO
        and batches with Poisson arrivals do, and none for a trace.
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
    >>> simulation.mean_waiting_time.covers(instance.metrics([500.0, 300.0]).mean_waiting_time)
    True
    """
    return _run(
        instance,
        [tokens],
        ["tokens"],
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
    )[0]


def compare(
    instance: Instance,
    allocations: Sequence[ArrayLike],
    *,
    queries: int | None = None,
    seed: int | np.random.Generator = 0,
    confidence: float = 0.95,
    arrivals: float | ArrayLike | None = None,
    thresholds: Sequence[float] = (),
    quantiles: Sequence[float] = (),
    warm_up: int | None = None,
    batches: int | None = None,
    progress: Progress | None = None,
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
    queries, seed, confidence, arrivals, thresholds, quantiles, warm_up, batches, progress, threads
        As for `simulate`.

    Returns
    -------
    Comparison

    Raises
    ------
    InvalidInputError
        As for `simulate`, or if there is no allocation.
    """
    if not len(allocations):
        raise InvalidInputError("allocations must have at least one entry, got none")
    return Comparison(
        simulations=tuple(
            _run(
                instance,
                allocations,
                [f"allocations[{position}]" for position in range(len(allocations))],
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
            )
        )
    )


def waiting_tail(
    instance: Instance,
    tokens: ArrayLike,
    threshold: float,
    *,
    queries: int = 10_000_000,
    seed: int | np.random.Generator = 0,
    confidence: float = 0.95,
) -> Estimate:
    """Estimate P(W > threshold).

    Parameters
    ----------
    instance : Instance
        The server.
    tokens : array_like, shape () or (N,)
        Thinking tokens of each type.
    threshold : float
        Waiting time, in seconds.
    queries, seed, confidence
        As for `simulate`.

    Returns
    -------
    Estimate
        Its interval is two-sided: the lower end alone is a confidence limit of the level
        (1 + confidence)/2.
    """
    simulation = simulate(
        instance,
        tokens,
        queries=queries,
        seed=seed,
        confidence=confidence,
        thresholds=(threshold,),
    )
    return next(iter(simulation.waiting_tail.values()))


def _run(
    instance: Instance,
    allocations: Sequence[ArrayLike],
    names: Sequence[str],
    *,
    queries: int | None,
    seed: int | np.random.Generator,
    confidence: float,
    arrivals: float | ArrayLike | None,
    relative_half_width: float | None,
    quantiles: Sequence[float],
    thresholds: Sequence[float],
    warm_up: int | None,
    batches: int | None,
    progress: Progress | None,
    threads: int | None,
) -> list[Simulation]:
    started = time.perf_counter()
    check_queue(instance)
    scv, trace = _arrivals(arrivals)
    tokens = [_tokens(name, it, instance) for name, it in zip(names, allocations, strict=True)]
    confidence = _fraction("confidence", confidence)
    wanted = tuple(_fraction(f"quantiles[{i}]", q) for i, q in enumerate(quantiles))
    tails = tuple(real_number(f"thresholds[{i}]", x) for i, x in enumerate(thresholds))
    if relative_half_width is not None:
        relative_half_width = real_number("relative_half_width", relative_half_width)
        if relative_half_width <= 0:
            raise InvalidInputError(f"relative_half_width = {relative_half_width!r} must be > 0")
    rate = instance.arrival_rate
    if trace is None:
        queries = _count("queries", 1_000_000 if queries is None else queries, 2)
        for name, it in zip(names, tokens, strict=True):
            _require_stable(name, instance, it)
    else:
        queries = _count("queries", len(trace) if queries is None else queries, 2)
        if queries > len(trace):
            raise InvalidInputError(
                f"queries = {queries} must be at most {len(trace)}, the arrivals of the trace"
            )
        trace = trace[:queries]
        span = float(trace[-1] - trace[0])
        if span <= 0.0:
            raise InvalidInputError("arrivals must not all be at one time")
        rate = (queries - 1) / span
    relaxation = max(_relaxation(instance, it, rate, scv) for it in tokens)
    if warm_up is not None:
        warm_up = _count("warm_up", warm_up, 0)
        if trace is not None and warm_up > queries - 2:
            raise InvalidInputError(
                f"warm_up = {warm_up} must leave two of the {queries} arrivals of the trace"
            )
    replications = 1 if trace is not None else max(1, min(_MOST_REPLICATIONS, queries // _LONG))
    if batches is not None:
        batches = _count("batches", batches, 2)
        replications = math.gcd(replications, batches)
    if warm_up is None:
        at_once = trace is not None or starts_stationary(instance, scv)
        warm_up = 0 if at_once else math.ceil(_WARM_UP * relaxation)
    counted = queries - warm_up if trace is not None else queries
    chosen = batches or _batches(counted, relaxation, instance.size * len(tokens))
    per_stream = max(1, min(chosen, counted) // replications)
    plan = Plan(
        instance=instance,
        allocations=tuple(tokens),
        rate=rate,
        scv=scv,
        trace=trace,
        tails=tails,
        batches=per_stream,
        groups=max(1, min(per_stream, _GROUPS // replications)) if wanted else 0,
        warm_up=warm_up,
    )
    ends = np.arange(replications * per_stream + 1) * counted // (replications * per_stream)
    sizes = np.diff(ends).reshape(replications, per_stream).tolist()
    streams = [Stream(plan, child) for child in _seed(seed).spawn(replications)]
    workers = _count("threads", threads, 1) if threads is not None else os.cpu_count() or 1
    done = _advance(
        streams,
        sizes,
        workers=workers,
        progress=progress,
        is_precise=None
        if relative_half_width is None
        else lambda: _precision(streams, confidence) <= relative_half_width,
    )
    seconds = time.perf_counter() - started
    kind = "trace" if trace is not None else "poisson" if scv == 1.0 else "renewal"
    simulated = sum(sum(row[:done]) for row in sizes)
    results = []
    all_sums = _sums(streams, confidence, merge=batches is None)
    for position, (it, sums) in enumerate(zip(tokens, all_sums, strict=True)):
        kept = _quantiles(streams, position, wanted, confidence)
        results.append(
            Simulation(
                instance=instance,
                tokens=it,
                sums=sums,
                confidence=confidence,
                queries=simulated,
                warm_up=warm_up,
                replications=replications,
                arrivals=kind,
                rate=rate,
                trace=trace,
                thresholds=tails,
                waiting_quantiles=kept[0],
                system_quantiles=kept[1],
                seconds=seconds,
            )
        )
    return results


def _arrivals(given: float | ArrayLike | None) -> tuple[float, FloatArray | None]:
    """Squared coefficient of variation of the gaps, and the trace where there is one."""
    if given is None:
        return 1.0, None
    array = float_array("arrivals", given)
    if array.ndim == 0:
        if array < 0:
            raise InvalidInputError(
                f"arrivals = {float(array)!r} must be ≥ 0: a squared "
                "coefficient of variation, or else an array of times"
            )
        return float(array), None
    if len(array) < 2:
        raise InvalidInputError("arrivals must have at least two times, got one")
    is_back = np.concatenate(([False], np.diff(array) < 0))
    if is_back.any():
        place = first_place(is_back)[0]
        raise InvalidInputError(
            f"arrivals[{place}] = {float(array[place])!r} must be ≥ the time before it, "
            f"{float(array[place - 1])!r} (seconds)"
        )
    return 1.0, array


def _tokens(name: str, given: ArrayLike, instance: Instance) -> FloatArray:
    tokens = float_array(name, given, instance.size)
    require(name, tokens, tokens >= 0, "must be ≥ 0")
    return tokens


def _fraction(name: str, value: float) -> float:
    number = real_number(name, value)
    if not 0.0 < number < 1.0:
        raise InvalidInputError(f"{name} = {number!r} must be between 0 and 1")
    return number


def _count(name: str, value: int, least: int) -> int:
    number = real_number(name, value)
    if number < least or number != int(number):
        raise InvalidInputError(f"{name} = {value!r} must be a whole number ≥ {least}")
    return int(number)


def _seed(seed: object) -> np.random.SeedSequence:
    if isinstance(seed, np.random.Generator):
        return np.random.SeedSequence(seed.integers(0, 1 << 32, size=4).tolist())
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InvalidInputError(
            f"seed = {seed!r:.80} must be a whole number ≥ 0 or a numpy.random.Generator"
        )
    return np.random.SeedSequence(int(seed))


def _require_stable(name: str, instance: Instance, tokens: FloatArray) -> None:
    point = instance.evaluate(tokens)
    if not point.is_stable:
        raise InvalidInputError(
            f"{name} make the queue unstable (utilization {float(point.utilization):.6g}, must be "
            "below 1): waiting times grow without end and have no mean to estimate; use fewer "
            "tokens, or replay a finite trace as `arrivals`"
        )


def _relaxation(instance: Instance, tokens: FloatArray, rate: float, scv: float) -> float:
    """Queries after which the waiting time has mostly forgotten where it started.

    For a reflected Brownian motion of drift −μ and variance σ² to the query it is 2 σ²/μ²; here
    μ = (1 − ρ)/λ, and σ² is the variance of a service time less a gap, or for batches of the work
    of a batch less a gap.
    """
    point = instance.evaluate(tokens)
    mean = float(point.mean_service_time)
    load = rate * mean
    if load >= 1.0:
        return math.inf
    spread = rate**2 * max(float(point.service_time_second_moment) - mean**2, 0.0)
    queue = instance.queue
    if isinstance(queue, BatchArrivals):
        size, square = queue.mean_size, queue.size_second_moment
        spread += load**2 * (square - size**2) / size + scv * size
    else:
        spread += scv
    # Queries that find the server idle forget at once: at least a few queries in any case.
    return 2.0 * max(spread, 1.0) / (1.0 - load) ** 2


def _batches(queries: int, relaxation: float, width: int) -> int:
    """Number of batches that are long against the relaxation time."""
    independent = int(queries / (_RELAXATIONS * relaxation))
    most = max(_FEWEST_BATCHES, min(_MOST_BATCHES, _MOST_SUMS // width))
    return min(max(independent, _FEWEST_BATCHES), most)


def _advance(
    streams: Sequence[Stream],
    sizes: Sequence[Sequence[int]],
    *,
    workers: int,
    progress: Progress | None,
    is_precise: Callable[[], bool] | None,
) -> int:
    """Run the replications side by side; return how many batches each has done."""
    count = len(sizes[0])
    done = 0
    with ThreadPoolExecutor(min(workers, len(streams))) as pool:
        for step in range(1, STEPS + 1):
            end = step * count // STEPS
            if end > done:
                work = (
                    pool.submit(stream.advance, row[done:end])
                    for stream, row in zip(streams, sizes, strict=True)
                )
                for finished in list(work):
                    finished.result()
                done = end
            if progress is not None:
                progress(step / STEPS)
            if is_precise is not None and step in _LOOKS and done >= 2 and is_precise():
                break
    return done


def _sums(streams: Sequence[Stream], confidence: float, *, merge: bool) -> list[BatchSums]:
    """Sums of each allocation, over the same batches."""
    found = [
        BatchSums(
            [np.stack(stream.rows[position]) for stream in streams],
            confidence,
            (Columns.WAIT, Columns.COUNT),
        )
        for position in range(len(streams[0].rows))
    ]
    while merge and any(sums.is_correlated for sums in found):
        found = [sums.joined() for sums in found]
    return found


def _precision(streams: Sequence[Stream], confidence: float) -> float:
    """Relative half width of the mean waiting time so far."""
    sums = _sums(streams, confidence, merge=True)[0]
    return sums.ratio(Columns.WAIT, Columns.COUNT).relative_half_width


def _quantiles(
    streams: Sequence[Stream], position: int, wanted: Sequence[float], confidence: float
) -> tuple[dict[float, Estimate], dict[float, Estimate]]:
    """Quantiles of the waiting and of the system time."""
    found: tuple[dict[float, Estimate], dict[float, Estimate]] = ({}, {})
    for which, kept in enumerate(found):
        groups: list[Histogram] = []
        for stream in streams:
            pair = stream.histograms[position]
            if pair is not None:
                groups.append(pair[which])
        for probability in wanted:
            kept[probability] = quantile(groups, probability, confidence)
    return found
