"""Random instances, with their optimum planted in them or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

PATTERNS = ("free", "mixed", "all-zero", "all-lower", "all-capped")
UTILIZATIONS = (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 0.999, 0.9995)

SMALLEST_MIX = 1e-6
# Thirty times a common cap of 2^15, so that curves of the slowest rate, 1e-6, can bend.
LARGEST_TOKENS = 1e6


def planted_instance(
    rng: np.random.Generator,
    *,
    n: int | None = None,
    utilization: float | None = None,
    pattern: str | None = None,
    rates: tuple[float, float] | None = None,
    smallest_mix: float | None = None,
    mix: NDArray[np.float64] | None = None,
    zero_base: bool | None = None,
    zero_importance: bool | None = None,
    zero_gain: bool | None = None,
    single_point: bool | None = None,
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Choose an optimum, then derive an instance that has it.

    The tokens, the utilization and the active set come first. They fix the prices P1 and P2, hence
    the marginal price c (P1 + 2 P2 t) of a token of each type. The gain of a free type equates its
    marginal worth with that price; that of a type at its lower bound falls short by at least 5 %,
    that of a type at its cap exceeds it by at least 5 %.

    The prices are those of the rounded parameters, so only the rounding of the gains separates the
    planted tokens from the optimum: they agree to about 1e-11, relative to the larger of the tokens
    and one, and exactly where a type is at a bound.

    Parameters
    ----------
    rng
        The source of everything that is not given.
    n
        Number of types; by default 1 to 50.
    utilization
        At the optimum, in (0, 1).
    pattern
        One of `PATTERNS`. ``all-lower`` has lower bounds of any size, ``all-zero`` only zeros.
    rates
        Range of the accuracy rates, within 1e-6 to 1.
    smallest_mix
        The least probability, unless N is 1.
    mix
        The probabilities themselves, in place of random ones.
    zero_base
        Whether the base times are zero; the first type keeps its own if it is to have no tokens.
    zero_importance, zero_gain, single_point
        Whether one type has no importance, no gain, or a box of one point. The first type never
        does, so a single type is left as it is.

    Returns
    -------
    parameters : dict
        ``arrival_rate`` and ``accuracy_weight`` (floats), and (N,) arrays ``probabilities``,
        ``min_tokens``, ``max_tokens``, ``importance``, ``base``, ``per_token``, ``floor``, ``gain``
        and ``rate``.
    tokens : (N,) array
        The planted optimum.
    """

    def choice(given: bool | None) -> bool:
        return bool(rng.random() < 0.25) if given is None else given

    if n is None:
        n = int(rng.integers(1, 51))
    if utilization is None:
        utilization = float(rng.choice(UTILIZATIONS))
    if pattern is None:
        pattern = str(rng.choice(PATTERNS, p=[0.35, 0.35, 0.1, 0.1, 0.1]))
    if rates is None:
        # Half of the instances have similar types, half have types of every kind.
        middle = log_uniform(rng, 1e-5, 0.1, 1).item()
        rates = (middle / 10, middle * 10) if rng.random() < 0.5 else (1e-6, 1.0)
    if smallest_mix is None:
        smallest_mix = float(rng.choice([SMALLEST_MIX, 1e-3]))
    flags = {"ignored": zero_importance, "useless": zero_gain, "fixed": single_point}
    roles = planted_roles(rng, n, pattern, [role for role, flag in flags.items() if choice(flag)])

    rate = log_uniform(rng, *rates, n)
    tokens, min_tokens, max_tokens = planted_box(rng, roles, rate, all_zero=pattern == "all-zero")
    base = log_uniform(rng, 1e-3, 3.0, n)
    if choice(zero_base):
        base[tokens > 0] = base[1:] = 0.0
    per_token = log_uniform(rng, 1e-4, 1e-2, n)
    probabilities = random_mix(rng, n, smallest_mix) if mix is None else mix
    parameters: dict[str, Any] = {
        "arrival_rate": utilization / float(probabilities @ (base + per_token * tokens)),
        "probabilities": probabilities,
        "min_tokens": min_tokens,
        "max_tokens": max_tokens,
        "base": base,
        "per_token": per_token,
        "rate": rate,
    }
    return parameters | planted_accuracy(rng, roles, parameters, tokens), tokens


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


def planted_box(
    rng: np.random.Generator, roles: NDArray[np.str_], rate: NDArray[np.float64], *, all_zero: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Draw the tokens and the bounds that the roles allow around them."""
    n = roles.size
    # Between almost linear (0.01) and almost saturated (8) accuracy, as far as the cap allows.
    tokens = np.minimum(
        log_uniform(rng, 0.01, 8.0, n) / rate, log_uniform(rng, 10.0, LARGEST_TOKENS, n)
    )
    above_zero = (roles == "free") | (roles == "upper")
    tokens[~above_zero & (all_zero | (rng.random(n) < 0.5))] = 0.0
    below = np.where(rng.random(n) < 0.5, 0.0, tokens * rng.uniform(0.0, 0.9, n))
    above = tokens * rng.uniform(1.1, 20.0, n) + 1.0
    min_tokens = np.where(above_zero, below, tokens)
    max_tokens = np.where((roles == "upper") | (roles == "fixed"), tokens, above)
    return tokens, min_tokens, max_tokens


def planted_accuracy(
    rng: np.random.Generator,
    roles: NDArray[np.str_],
    parameters: Mapping[str, Any],
    tokens: NDArray[np.float64],
) -> dict[str, Any]:
    """Derive curves, importance and accuracy weight that make the tokens optimal."""
    n = roles.size
    base, per_token, rate = (parameters[name] for name in ("base", "per_token", "rate"))
    importance = np.where(rng.random(n) < 0.5, 1.0, log_uniform(rng, 0.2, 5.0, n))
    importance[roles == "ignored"] = 0.0
    mean_price, second_moment_price = exact_prices(parameters, tokens)
    price = per_token * (mean_price + 2 * second_moment_price * (base + per_token * tokens))
    # The gain times the accuracy weight, first as for a free type.
    worth = price * np.exp(rate * tokens) / (rate * np.where(importance > 0, importance, 1.0))
    worth *= np.where(roles == "lower", rng.uniform(0.1, 0.95, n), 1.0)
    worth *= np.where(roles == "upper", rng.uniform(1.05, 3.0, n), 1.0)
    worth[roles == "useless"] = 0.0
    # The weight that makes the largest gain a probability.
    accuracy_weight = float(worth.max() / rng.uniform(0.3, 0.9))
    gain = worth / accuracy_weight
    return {
        "accuracy_weight": accuracy_weight,
        "importance": importance,
        "floor": rng.uniform(0.0, 0.99, n) * (1.0 - gain),
        "gain": gain,
    }


def exact_prices(parameters: Mapping[str, Any], tokens: NDArray[np.float64]) -> tuple[float, float]:
    """Return the prices of a second and of a squared second, from rational sums.

    In floating point a load near one would cost them the digits that 1 - rho loses.
    """
    arrival_rate = Fraction(parameters["arrival_rate"])
    first = second = Fraction(0)
    columns = (parameters["probabilities"], parameters["base"], parameters["per_token"], tokens)
    for row in zip(*(column.tolist() for column in columns), strict=True):
        probability, base, per_token, count = map(Fraction, row)
        time = base + per_token * count
        first += probability * time
        second += probability * time**2
    load = arrival_rate / (1 - arrival_rate * first)
    return float(1 + load**2 * second / 2), float(load / 2)
