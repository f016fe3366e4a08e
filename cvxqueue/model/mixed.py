"""Accuracy curves of several classes, each for some of the types of one instance."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cvxqueue.errors import InvalidInputError
from cvxqueue.model.accuracy import AccuracyCurve, Place
from cvxqueue.model.law import LawData
from cvxqueue.numerics.array_data import unchecked
from cvxqueue.numerics.arrays import FloatArray, frozen, kept
from cvxqueue.numerics.checks import common_shape, float_array, require, require_that


def _by_curve(method: Any) -> Any:
    """Return a method of the mixture that asks the same of each curve, for its own types."""
    # A range has two ends.
    both = (2,) if method is AccuracyCurve.curvature_range else ()

    # Not what marks it as abstract.
    @wraps(method, updated=())
    def gathered(self: MixedAccuracy, *arguments: ArrayLike) -> FloatArray:
        shape = np.broadcast_shapes(self.shape, *map(np.shape, arguments))
        wide = [np.broadcast_to(np.asarray(array, np.float64), shape) for array in arguments]
        result = np.empty((*both, *shape))
        for place, curve in self.groups:
            of_curve = getattr(curve, method.__name__)
            result[..., place] = of_curve(*(array[..., place] for array in wide))
        return result

    return gathered


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class MixedAccuracy(AccuracyCurve):
    """Curves of several classes, and which of them each type has.

    Parameters
    ----------
    curves : sequence of AccuracyCurve
        Each one for all types, with an entry for each of its own types alone, in their order, or
        with an entry for each of the N types, of which those of its own count. They are kept in
        the order of their first types.
    which : array_like of int, shape (N,)
        Position in `curves` of the curve of each type. Every curve has at least one type.

    Raises
    ------
    InvalidInputError
        If a curve is none, is a mixture itself, has no type or the wrong number of entries, or an
        entry of `which` is no position in `curves`.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> curve = cq.MixedAccuracy(
    ...     curves=[
    ...         cq.SaturatingExponential(floor=0.25, gain=0.5, rate=[0.001, 0.002]),
    ...         cq.MichaelisMenten(floor=0.25, gain=0.5, half_saturation=1000.0),
    ...     ],
    ...     which=[0, 1, 0])
    >>> curve.value(1000.0).round(4).tolist()
    [0.5661, 0.5, 0.6823]
    """

    curves: tuple[AccuracyCurve, ...]
    which: NDArray[np.intp]

    def __init__(self, *, curves: Sequence[AccuracyCurve], which: ArrayLike) -> None:
        given = _checked_curves(curves)
        named = _checked_which(which, len(given))
        firsts = np.unique(named, return_index=True)[1]
        order = np.argsort(firsts)
        kinds = [given[position] for position in order]
        places = np.argsort(order)[named]
        spread = tuple(
            _spread(f"accuracy.curves[{order[position]}]", curve, places == position)
            for position, curve in enumerate(kinds)
        )
        vars(self).update(which=frozen(places), curves=spread)
        common_shape({f"accuracy.curves[{order[k]}]": it.shape[:-1] for k, it in enumerate(spread)})

    @kept
    def groups(self) -> tuple[tuple[Place, Any], ...]:
        """Where the types of each curve are, and the curve of these alone."""
        groups: list[tuple[Place, Any]] = []
        for position, curve in enumerate(self.curves):
            own = frozen(np.flatnonzero(self.which == position))
            if own.size == self.which.size:
                return ((slice(None), curve),)
            if own.size:
                groups.append((own, _taken(curve, own)))
        return tuple(groups)

    @kept
    def shape(self) -> tuple[int, ...]:
        """Shape by type: (N,), or (..., N) for a batch."""
        return np.broadcast_shapes(*(curve.shape for curve in self.curves))

    @property
    def is_smooth(self) -> bool:
        """Whether it is in each of the curves."""
        return all(curve.is_smooth for _, curve in self.groups)

    @property
    def ceiling(self) -> FloatArray:
        """Probability of a correct answer with unlimited tokens."""
        ceiling = np.empty(self.shape)
        for place, curve in self.groups:
            ceiling[..., place] = curve.ceiling
        return ceiling

    def broadcast(self, length: int) -> Self:
        """Return the same curves, if there is one for each of `length` types."""
        if self.which.size != length:
            raise InvalidInputError(
                f"accuracy.which must have one entry for each of the {length} types, got "
                f"{self.which.size}"
            )
        return self

    def mapped(self, function: Callable[[FloatArray], FloatArray]) -> Self:
        """Return the same curves with `function` applied to every array by type, unchecked."""
        which = function(self.which.astype(np.float64))
        # The curve of a type is the same in all instances of a batch.
        one = which.reshape(-1, which.shape[-1])[0] if which.size else self.which
        curves = tuple(curve.mapped(function) for curve in self.curves)
        return unchecked(type(self), which=one.astype(np.intp), curves=curves)

    def weighted(self, value: FloatArray) -> Self:
        """Return the curve value · (p − p(0)), unchecked: seconds rather than a probability."""
        worth = np.broadcast_to(value, np.broadcast_shapes(np.shape(value), self.shape))
        groups = tuple((place, curve.weighted(worth[..., place])) for place, curve in self.groups)
        return unchecked(type(self), which=self.which, shape=worth.shape, groups=groups)

    value = _by_curve(AccuracyCurve.value)
    slope = _by_curve(AccuracyCurve.slope)
    curvature = _by_curve(AccuracyCurve.curvature)
    difference = _by_curve(AccuracyCurve.difference)
    inverse_value = _by_curve(AccuracyCurve.inverse_value)
    inverse_slope = _by_curve(AccuracyCurve.inverse_slope)
    inverse_slope_sensitivity = _by_curve(AccuracyCurve.inverse_slope_sensitivity)
    inverse_slope_rounding = _by_curve(AccuracyCurve.inverse_slope_rounding)
    response_loss = _by_curve(AccuracyCurve.response_loss)
    curvature_range = _by_curve(AccuracyCurve.curvature_range)

    def __repr__(self) -> str:
        kinds = ", ".join(type(curve).__name__ for _, curve in self.groups)
        return f"MixedAccuracy({self.which.size} types: {kinds})"


def _checked_curves(curves: Any) -> list[AccuracyCurve]:
    is_list = isinstance(curves, Sequence) and not isinstance(curves, str) and curves
    require_that(is_list, "accuracy.curves", curves, "a list of curves")
    allowed = "an accuracy curve such as SaturatingExponential"
    for position, curve in enumerate(curves):
        is_one = isinstance(curve, AccuracyCurve)
        require_that(is_one, f"accuracy.curves[{position}]", curve, allowed)
        if isinstance(curve, MixedAccuracy):
            raise InvalidInputError(
                f"accuracy.curves[{position}] must not be mixed itself: list all curves in one"
            )
    return list(curves)


def _checked_which(which: ArrayLike, most: int) -> NDArray[np.intp]:
    """Return the position of the curve of each type, every position of which occurs."""
    array = np.atleast_1d(float_array("accuracy.which", which))
    is_position = (array >= 0) & (array < most) & (array == np.floor(array))
    require("accuracy.which", array, is_position, f"must be a whole number from 0 to {most - 1}")
    places: NDArray[np.intp] = array.astype(np.intp)
    unused = np.flatnonzero(np.bincount(places, minlength=most) == 0)
    if unused.size:
        raise InvalidInputError(
            f"accuracy.curves[{unused[0]}] is the curve of no type: no entry of accuracy.which is "
            f"{unused[0]}"
        )
    return places


def _spread(name: str, curve: Any, is_own: NDArray[np.bool_]) -> Any:
    """Return a curve with an entry for every type; those that do not count repeat one that does."""
    own = np.flatnonzero(is_own)
    if not curve.shape:
        return curve.broadcast(is_own.size)
    size = curve.shape[-1]
    if size not in (own.size, is_own.size):
        raise InvalidInputError(
            f"{name} must have an entry for each of its own types ({own.size}) or of all "
            f"{is_own.size}, got {size}"
        )
    alone = curve if size == own.size else _taken(curve, own)
    if isinstance(alone, LawData):
        # Points that only other types needed are left out, so that equal mixtures are equal. Of
        # what there is to warn was warned.
        alone = copy.copy(alone)
    return _taken(alone, np.where(is_own, np.cumsum(is_own) - 1, 0))


def _taken(curve: Any, which: NDArray[np.intp]) -> Any:
    """Return the curve of some types."""
    return curve.mapped(lambda array: array[..., which])
