"""Random numbers for instances, and instances that are stable at their lower bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PATTERNS = ("free", "mixed", "all-zero", "all-lower", "all-capped")
UTILIZATIONS = (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 0.999, 0.9995)

SMALLEST_MIX = 1e-6
# Thirty times a common cap of 2^15, so that curves of the slowest rate, 1e-6, can bend.
LARGEST_TOKENS = 1e6


def random_parameters(rng: np.random.Generator, *, n: int | None = None) -> dict[str, Any]:
    """Draw an instance that is stable at its lower bounds, with no thought of its optimum.

    The load is at most 0.95 at the lower bounds and 0.1 to 1000 at the caps.
    """
    if n is None:
        n = int(rng.integers(1, 51))
    probabilities = random_mix(rng, n, SMALLEST_MIX)
    per_token = log_uniform(rng, 1e-4, 1e-2, n)
    base = log_uniform(rng, 1e-3, 3.0, n) * (rng.random(n) < 0.9)
    max_tokens = log_uniform(rng, 1.0, LARGEST_TOKENS, n)
    min_tokens = max_tokens * np.where(rng.random(n) < 0.8, 0.0, log_uniform(rng, 1e-4, 1.0, n))
    gain = rng.random(n) * (rng.random(n) < 0.9)
    arrival_rate = log_uniform(rng, 0.1, 1e3, 1).item() / float(
        probabilities @ (base + per_token * max_tokens)
    )
    lightest_load = arrival_rate * float(probabilities @ (base + per_token * min_tokens))
    return {
        "arrival_rate": arrival_rate * min(1.0, 0.95 / max(lightest_load, 0.95)),
        "accuracy_weight": log_uniform(rng, 0.1, 1e6, 1).item(),
        "probabilities": probabilities,
        "min_tokens": min_tokens,
        "max_tokens": max_tokens,
        "importance": rng.uniform(0.0, 3.0, n) * (rng.random(n) < 0.9),
        "base": base,
        "per_token": per_token,
        "floor": rng.uniform(0.0, 0.99, n) * (1.0 - gain),
        "gain": gain,
        "rate": log_uniform(rng, 1e-6, 1.0, n),
    }


def log_uniform(
    rng: np.random.Generator, low: float, high: float, size: int
) -> NDArray[np.float64]:
    """Draw numbers whose logarithm is uniform."""
    logarithms: NDArray[np.float64] = rng.uniform(np.log(low), np.log(high), size)
    return np.exp(logarithms)


def random_mix(rng: np.random.Generator, n: int, smallest: float) -> NDArray[np.float64]:
    """Draw N probabilities of all magnitudes, the least of them `smallest` unless N is 1."""
    if n == 1:
        return np.ones(1)
    weights = log_uniform(rng, smallest, 1.0, n)
    weights[rng.integers(n)] = 0.0
    mix: NDArray[np.float64] = smallest + (1.0 - n * smallest) * (weights / weights.sum())
    return mix


def planted_roles(
    rng: np.random.Generator, n: int, pattern: str, extras: Sequence[str]
) -> NDArray[np.str_]:
    """Assign each type its role at the optimum.

    ``free``, ``lower`` or ``upper`` by the pattern; from the back and never for the first type, one
    each of the `extras`: ``ignored`` or ``useless`` (at the lower bound) and ``fixed``.
    """
    if pattern == "mixed":
        roles = list(rng.choice(["free", "lower", "upper"], n, p=[0.5, 0.25, 0.25]))
        roles[:3] = ["free", "lower", "upper"][:n]
    else:
        roles = [{"free": "free", "all-capped": "upper"}.get(pattern, "lower")] * n
    for index, role in zip(range(n - 1, 0, -1), extras, strict=False):
        roles[index] = role
    return np.array(roles)
