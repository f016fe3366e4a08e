"""Simulated queries per second, and how that compares with a general simulator of queues."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import numpy as np

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray
from tests.paths import SERVER
from tests.performance.reporting import Row, Target
from tests.performance.timing import FEW, Spread, Subject, interleave

QUERIES = 10_000_000
# Ciw takes seconds for as many.
CIW_QUERIES = 20_000
_RATE, _RATIO, _SHARED_RATIO = 1e7, 100.0, 5.0


def ciw_system_times(
    instance: cq.Instance, tokens: FloatArray, queries: int, seed: int, *, shares: bool = False
) -> FloatArray:
    """Return the system times of so many queries that Ciw simulates from an empty server."""
    import ciw

    times = instance.service.mean(tokens)
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate=instance.arrival_rate)],
        service_distributions=[ciw.dists.Pmf(times.tolist(), instance.probabilities.tolist())],
        number_of_servers=[np.inf if shares else 1],
    )
    ciw.seed(seed)
    simulated = ciw.Simulation(network, node_class=ciw.PSNode if shares else None)
    simulated.simulate_until_max_customers(queries, method="Finish")
    return np.array([r.exit_date - r.arrival_date for r in simulated.get_all_records()])


def simulation(repeats: int, queries: int = QUERIES, ciw_queries: int = CIW_QUERIES) -> list[Row]:
    """Measure both on the same queue in the same rounds."""
    server = cq.load(SERVER)
    tokens = cq.solve(server).tokens
    shared = server.replace(queue=cq.ProcessorSharing())
    runs: dict[str, Callable[[int], object]] = {
        "FIFO": partial(_simulate, server, tokens, queries),
        "sharing": partial(_simulate, shared, tokens, ciw_queries),
    }
    if find_spec("ciw") is not None:
        runs["FIFO by Ciw"] = partial(ciw_system_times, server, tokens, ciw_queries)
        runs["sharing by Ciw"] = partial(ciw_system_times, shared, tokens, ciw_queries, shares=True)
    seeds = np.random.default_rng(3)
    subjects: dict[str, Subject[int]] = {
        name: Subject(run, lambda: int(seeds.integers(1 << 16)), is_slow=True)
        for name, run in runs.items()
    }
    seconds = interleave(subjects, min(repeats, FEW))
    rates = {
        name: (queries if name == "FIFO" else ciw_queries) / taken
        for name, taken in seconds.items()
    }

    def times(name: str) -> Spread | None:
        rival = rates.get(f"{name} by Ciw")
        return None if rival is None else Spread.of(rates[name] / rival)

    missing = "" if find_spec("ciw") is not None else "Ciw is not installed"
    return [
        Row(
            "FIFO: means with intervals",
            Spread.of(rates["FIFO"]),
            "queries/s",
            Target("≥", _RATE),
            f"{queries:,} queries",
        ),
        Row("FIFO: times Ciw", times("FIFO"), "", Target("≥", _RATIO), missing),
        Row("processor sharing", Spread.of(rates["sharing"]), "queries/s"),
        Row(
            "processor sharing: times Ciw",
            times("sharing"),
            "",
            Target("≥", _SHARED_RATIO),
            missing,
        ),
    ]


def _simulate(instance: cq.Instance, tokens: FloatArray, queries: int, seed: int) -> cq.Simulation:
    return cq.simulate(instance, tokens, queries=queries, seed=seed)
