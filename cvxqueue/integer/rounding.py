"""Whole tokens next to a continuous optimum: the box that they must lie in, floor and nearest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cvxqueue.errors import InfeasibleError, InvalidInputError
from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.arrays import FloatArray

__all__ = ["Rounding", "floor", "nearest", "whole_box", "whole_neighbors"]

# From here on float64 skips whole numbers.
_LARGEST_COUNT = 2.0**53


class Rounding(NamedTuple):
    """A stable allocation in whole tokens."""

    point: Evaluation
    """The closed forms at the allocation."""
    is_repaired: bool
    """Whether the rounding asked for was unstable, and the floor took its place."""


def whole_box(instance: Instance) -> Instance:
    """Return the instance with its box shrunk to whole numbers, ⌈min_tokens⌉ to ⌊max_tokens⌋.

    It is the instance itself where the bounds are whole numbers already.

    Raises
    ------
    UnstableQueueError
        If no allocation is stable.
    InfeasibleError
        If a type has no whole number in its box, or no allocation in whole tokens is stable.
    """
    instance.require_feasible()
    lower, upper = np.ceil(instance.lower), np.floor(instance.upper)
    if np.any(lower > upper):
        k = int(np.argmax(lower > upper))
        raise InfeasibleError(
            f"{instance.type_name(k)!r} can have no whole number of tokens: there is none between "
            f"min_tokens[{k}] = {float(instance.lower[k])!r} and "
            f"max_tokens[{k}] = {float(instance.upper[k])!r}; widen the box"
        )
    if np.array_equal(lower, instance.lower) and np.array_equal(upper, instance.upper):
        return instance
    whole = instance.replace(min_tokens=lower, max_tokens=upper)
    if not whole.is_feasible:
        raise InfeasibleError(
            "no allocation in whole tokens is stable: with min_tokens rounded up the utilization "
            f"is {whole.least_utilization:.6g}, and must be below 1; lower arrival_rate below "
            f"{whole.max_arrival_rate:.6g} per second, or lower min_tokens"
        )
    return whole


def whole_neighbors(relaxed: Evaluation) -> tuple[FloatArray, FloatArray]:
    """Floor and ceiling of each type's tokens; one number where these are whole.

    Parameters
    ----------
    relaxed : Evaluation
        A stable allocation in a box of whole numbers. Both neighbors are then in the box, and the
        floor is stable, because it asks no more of the server.
    """
    lower, upper = np.floor(relaxed.tokens), np.ceil(relaxed.tokens)
    if np.any(upper > _LARGEST_COUNT):
        k = int(np.argmax(upper))
        raise InvalidInputError(
            f"type {k + 1} has {float(relaxed.tokens[k])!r} tokens at the continuous "
            f"optimum, and must have at most 2^53 to be counted one by one; lower max_tokens[{k}]"
        )
    return lower, upper


def floor(relaxed: Evaluation) -> Rounding:
    """Round every type down."""
    lower, _ = whole_neighbors(relaxed)
    return Rounding(relaxed.instance.evaluate(lower), is_repaired=False)


def nearest(relaxed: Evaluation) -> Rounding:
    """Round every type to the nearest whole number, or all down where that is unstable."""
    lower, upper = whole_neighbors(relaxed)
    up = relaxed.tokens - lower >= 0.5
    point = relaxed.instance.evaluate(np.where(up, upper, lower))
    return (
        Rounding(point, is_repaired=False)
        if point.is_stable
        else Rounding(floor(relaxed).point, is_repaired=True)
    )
