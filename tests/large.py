"""Instances of many types, for the methods whose accuracy depends on the size."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

import cvxqueue as cq
from tests.families import planted_instance
from tests.generator import log_uniform
from tests.instances import instance_of

KINDS = ("planted", "server")
MIXES = ("uniform", "log-uniform")
LOADS = (0.3, 0.9, 0.99)
GRID = tuple(product(KINDS, MIXES, LOADS))


def large_instance(n: int, kind: str, mix: str, utilization: float, seed: int = 0) -> cq.Instance:
    """Return an instance of `n` types with this utilization at its optimum.

    Parameters
    ----------
    n
        Number of types.
    kind
        ``"planted"``: an optimum chosen first, half of the types at a bound. ``"server"``: every
        accuracy gains 0.05 to 0.6 at once, so that nearly all types are free and start far from
        their optimum.
    mix
        ``"uniform"`` on the simplex, or ``"log-uniform"`` down to 1e-9 of the largest.
    utilization
        At the optimum.
    seed
        Of the generator.
    """
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(n)) if mix == "uniform" else log_uniform(rng, 1e-9, 1.0, n)
    shares /= shares.sum()
    if kind == "planted":
        parameters, _ = planted_instance(
            rng, n=n, utilization=utilization, pattern="mixed", mix=shares
        )
        return instance_of(parameters)
    return server(rng, shares, utilization)


def server(
    rng: np.random.Generator, shares: NDArray[np.float64], utilization: float
) -> cq.Instance:
    """Draw a server, and value accuracy so that it is used that much."""
    n = shares.size
    gain = rng.uniform(0.05, 0.6, n)
    instance = cq.Instance(
        arrival_rate=0.2,
        accuracy_weight=1.0,
        probabilities=shares,
        max_tokens=32768.0,
        service=cq.AffineService(
            base=log_uniform(rng, 0.01, 1.0, n), per_token=log_uniform(rng, 1e-3, 2e-2, n)
        ),
        accuracy=cq.SaturatingExponential(
            floor=rng.uniform(0.0, 0.9, n) * (1.0 - gain),
            gain=gain,
            rate=log_uniform(rng, 1e-4, 1e-2, n),
        ),
    )
    low, high = -2.0, 10.0
    while high - low > 1e-3:
        middle = 0.5 * (low + high)
        instance = instance.replace(accuracy_weight=10.0**middle)
        if cq.solve(instance, on_failure="return").utilization < utilization:
            low = middle
        else:
            high = middle
    return instance
