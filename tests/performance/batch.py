"""Many small instances in one call, beside re-solving them one by one through CVXPY."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import cvxqueue as cq
from tests.performance.instances import Servers, random_servers
from tests.performance.reporting import Row, Target
from tests.performance.resolving import Resolver
from tests.performance.timing import Spread, Subject, interleave, without_warnings

COUNT, TYPES = 20_000, 6
# So many re-solves are timed in each round: enough for the mean of instances of all kinds.
RESOLVED = 100
# Name, utilization at the optimum, and the instances per second wanted.
LOADS = (("moderate load", (0.3, 0.9), 300_000.0), ("heavy load", (0.9, 0.99), 150_000.0))
_RESOLVE_RATIO = 300.0


def batch(repeats: int, count: int = COUNT, resolved: int = RESOLVED) -> list[Row]:
    """Measure throughput, the share that is certified, and the ratio to re-solves."""
    # The package may be older than the function.
    solve_batch: Any = getattr(cq, "solve_batch", None)
    rows: list[Row] = []
    shares: list[float] = []
    for name, utilization, wanted in LOADS:
        what = f"B = {count:,}, N = {TYPES}, {name}"
        throughput = Row(what, None, "instances/s", Target("≥", wanted), _MISSING)
        ratio = Row(
            f"{what}: beside warm re-solves of the DPP form",
            None,
            "times as many",
            Target("≥", _RESOLVE_RATIO),
            _MISSING,
        )
        if solve_batch is not None:
            servers = random_servers(np.random.default_rng(4), count, TYPES, utilization)
            with without_warnings():
                measured, share = _measure(solve_batch, servers, repeats, resolved)
            ours, theirs = measured["batch"] / count, measured["resolve"] / resolved
            shares.append(share)
            per_second = 1.0 / float(np.median(theirs))
            throughput = replace(throughput, spread=Spread.of(1.0 / ours), details="")
            ratio = replace(
                ratio,
                spread=Spread.of(theirs / ours),
                details=f"{per_second:,.0f} re-solves/s, {resolved} of them in each round",
            )
        rows += [throughput, ratio]
    least = Row(
        "least share that is certified",
        Spread(100.0 * min(shares)) if shares else None,
        "%",
        Target("≥", 100.0),
        "" if shares else _MISSING,
    )
    return [*rows, least]


_MISSING = "this version has no cvxqueue.solve_batch"


def _measure(
    solve_batch: Any, servers: Servers, repeats: int, resolved: int
) -> tuple[dict[str, Any], float]:
    """Return the seconds of both, and the least share of certified instances of a call."""
    template = servers.instance(0)
    arguments = {
        "arrival_rate": servers.arrival_rate,
        "accuracy_weight": servers.accuracy_weight,
        "probabilities": servers.probabilities,
        "service": cq.AffineService(base=servers.base, per_token=servers.per_token),
        "accuracy": cq.SaturatingExponential(
            floor=servers.floor, gain=servers.gain, rate=servers.rate
        ),
    }
    shares: list[float] = []

    def run(instance: cq.Instance) -> None:
        answer = solve_batch(instance, **arguments)
        # All of it may be computed when asked for.
        shares.append(float(np.mean(answer.is_optimal)))
        _ = answer.tokens, answer.objective, answer.gap

    instances = [servers.instance(row) for row in range(min(resolved, len(servers.base)))]
    resolver = Resolver(template)
    measured = interleave(
        {
            "batch": Subject(run, template.replace),
            "resolve": Subject(
                resolver.solve_all,
                lambda: [instances[k % len(instances)].replace() for k in range(resolved)],
            ),
        },
        repeats,
    )
    return measured, min(shares)
