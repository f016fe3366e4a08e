"""Demand: how many tokens the types want when a second of service has a price.

At prices P1 of a second and P2 of a squared second the types decouple. Type k wants the tokens at
which its marginal benefit meets its marginal cost P1 m1′ + P2 m2′. In terms of the response R to a
marginal cost this reads l = R(cost(l)); the cost enters by its logarithm, so that Newton's method
needs one logarithm for each type and a step or two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cvxqueue.model.arrays import FloatArray
from cvxqueue.model.data import ModelData
from cvxqueue.model.queue import Prices

__all__ = ["Demand", "demand", "wanted_tokens"]

# A type has settled when its last step changed its marginal cost by no more than this share: what
# remains is half the square of it.
_SETTLED = 0.1
# From anywhere a handful of steps settles a type: they stop being monotone only at the first.
_MOST_STEPS = 40


class Demand(NamedTuple):
    """What the types want at given prices, and how the moments of it answer to the prices."""

    tokens: FloatArray
    """Tokens wanted, in the box, shape (..., N)."""
    change: FloatArray
    """Largest relative change of a marginal cost in the last step, shape (...)."""
    mean: FloatArray
    """First moment of the service time at these tokens, in seconds, shape (...)."""
    second_moment: FloatArray
    """Second moment, in seconds²."""
    mean_by_mean: FloatArray
    """−∂m1/∂P1, in seconds, at fixed active bounds."""
    mean_by_second: FloatArray
    """−∂m1/∂P2 = −∂m2/∂P1, in seconds²."""
    second_by_second: FloatArray
    """−∂m2/∂P2, in seconds³."""


def demand(data: ModelData, tokens: FloatArray, prices: Prices) -> Demand:
    """Return what the types want at given prices.

    Parameters
    ----------
    data : ModelData
        An instance or a batch.
    tokens : ndarray, shape (..., N)
        Where to start from, in the box.
    prices : Prices
        Each of shape (...).
    """
    wanted = np.empty(tokens.shape)
    changes, totals = [], []
    for place, part in data.blocks:
        settled, change = _settle(part, tokens[..., place], prices)
        wanted[..., place] = settled
        changes.append(change)
        totals.append(_moments(part, settled, prices))
    if len(totals) == 1:
        return Demand(wanted, changes[0], *totals[0])
    change = np.max(changes, axis=0)
    return Demand(wanted, change, *(np.sum(total, axis=0) for total in zip(*totals, strict=True)))


def wanted_tokens(data: ModelData, tokens: FloatArray, prices: Prices) -> FloatArray:
    """Return the tokens of `demand` alone."""
    wanted = np.empty(tokens.shape)
    for place, part in data.blocks:
        wanted[..., place] = _settle(part, tokens[..., place], prices)[0]
    return wanted


def _settle(
    data: ModelData, tokens: FloatArray, prices: Prices
) -> tuple[FloatArray, FloatArray]:
    """Take Newton steps until every instance has settled, each as if it were alone."""
    tokens, change = _step(data, tokens, prices)
    for _ in range(_MOST_STEPS):
        is_moving = change > _SETTLED
        if not is_moving.any():
            break
        moved, moved_change = _step(data, tokens, prices)
        tokens = np.where(is_moving[..., np.newaxis], moved, tokens)
        change = np.where(is_moving, moved_change, change)
    return tokens, change


def _step(data: ModelData, tokens: FloatArray, prices: Prices) -> tuple[FloatArray, FloatArray]:
    """One Newton step on l = R(cost(l)), and the relative change of the cost that it makes."""
    cost, rise = data.service.marginal_cost(tokens, *_by_type(prices))
    growth = rise / cost
    response = data.accuracy.inverse_slope(cost / data.accuracy_value)
    sensitivity = data.accuracy.inverse_slope_sensitivity(response, response)
    moved = tokens + (response - tokens) / (1.0 + sensitivity * growth)
    moved = data.boxed(moved)
    return moved, np.abs(growth * (moved - tokens)).max(axis=-1)


def _by_type(prices: Prices) -> tuple[FloatArray, FloatArray]:
    return prices.mean[..., np.newaxis], prices.second_moment[..., np.newaxis]


def _moments(data: ModelData, tokens: FloatArray, prices: Prices) -> tuple[FloatArray, ...]:
    """The moments at `tokens`, and how they answer to the prices: all but the first two fields."""
    service, mix = data.service, data.probabilities
    cost, rise = service.marginal_cost(tokens, *_by_type(prices))
    sensitivity = data.accuracy.inverse_slope_sensitivity(tokens, tokens)
    is_free = (tokens > data.min_tokens) & (tokens < data.max_tokens)
    # dl = −answer · d cost for a free type, so that dm = −π m′ answer (m1′ dP1 + m2′ dP2).
    answer = mix * sensitivity * is_free / (cost + sensitivity * rise)
    first, second = service.mean_slope(tokens), service.second_moment_slope(tokens)
    answer_first = answer * first
    return (
        np.vecdot(mix, service.mean(tokens)),
        np.vecdot(mix, service.second_moment(tokens)),
        np.vecdot(answer_first, first),
        np.vecdot(answer_first, second),
        np.vecdot(answer * second, second),
    )
