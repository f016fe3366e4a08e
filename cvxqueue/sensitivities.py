"""Sensitivities: what the optimum does when a number of the instance changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.certificates.influence import Influence, influences, product
from cvxqueue.certificates.optimality import Optimum
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import plural, shown
from cvxqueue.json_values import json_values
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.array_data import ArrayData
from cvxqueue.numerics.arrays import FloatArray, frozen
from cvxqueue.numerics.checks import float_array
from cvxqueue.solution import Solution, assumption_lines
from cvxqueue.suggest import nearest
from cvxqueue.tables import Column, Part, Report, Table

# Rows that people are shown: the numbers that matter most come first.
_ROWS = 40
# What to give instead of other answers.
_INSTEAD = {
    "IntegerSolution": (
        "whole tokens do not move with a parameter, and the continuous answer of solve does"
    ),
    "BatchSolution": "take one of its answers, batch[k]",
}


@dataclass(frozen=True, eq=False, repr=False)
class Sensitivity(ArrayData, Report):
    """Derivatives of an optimum with respect to the numbers of its instance.

    Fields have the names that messages give them: ``"arrival_rate"``, ``"service.base"``,
    ``"accuracy.gain"``, ``"queue.mean"``, ``"constraints[0].seconds"``, and of several classes of
    curves ``"accuracy.curves[0].gain"``. All of an instance are there but its domains.

    Parameters
    ----------
    solution : Solution
        What `sensitivity` takes.

    Notes
    -----
    ``"probabilities"`` are renormalised: the derivative is that of one type asked for more often at
    the expense of all, in proportion, and the mix keeps its sum. NaN where a derivative is another
    one up than down: where two things hold a type in its place, as a cap at a kink, and where a
    point of a table lies on the line between two others.

    At the edge of what is allowed, and of what is feasible, a number goes one way alone, and its
    derivative is that of the formulas on this side, where it is not NaN.
    """

    solution: Solution

    def __post_init__(self) -> None:
        answer: Any = self.solution
        kind = type(answer).__name__
        if not isinstance(answer, Solution):
            raise InvalidInputError(
                f"solution must be a Solution, got {shown(kind)}: "
                f"{_INSTEAD.get(kind, 'give it what solve returns')}"
            )
        if not answer.is_optimal:
            raise InvalidInputError(
                f"solution must be optimal, and is {answer.status.value}: {answer.advice}"
            )
        _ = self._influences

    @cached_property
    def _optimum(self) -> Optimum:
        certificate = self.solution.certificate
        none = np.zeros(len(certificate.instance.model.couplings))
        found = certificate.multipliers
        return Optimum(certificate.instance, certificate.tokens, none if found is None else found)

    @cached_property
    def _influences(self) -> dict[str, Influence]:
        return influences(self._optimum)

    @cached_property
    def value(self) -> Mapping[str, Any]:
        """Derivative of the optimal objective by each field, in seconds per unit of the field.

        Of a number a float, of an array one of its shape, and so for a table of points.
        """
        return self._gathered(lambda field: field.values[0], self._optimum.priced.gradient)

    @cached_property
    def degenerate(self) -> tuple[str, ...]:
        """The types that are about to leave where they rest, and constraints about to let go.

        What holds them has a multiplier that rounding cannot tell from zero: a change one way moves
        them, and one the other way does not. The tokens have no derivative then, and the value has.
        """
        return tuple(self._optimum.degenerate)

    def tokens(self, direction: Mapping[str, ArrayLike]) -> FloatArray:
        """Return the derivative of the optimal tokens along a direction.

        Parameters
        ----------
        direction : mapping of str to array_like
            The change of each field, by name; one number for a field by type changes all types. A
            change of the probabilities that does not sum to zero is renormalised.

        Returns
        -------
        ndarray, shape (N,)
            Tokens of each type for one unit of the direction.

        Raises
        ------
        InvalidInputError
            If a name or a shape is not that of a field, or a type or a constraint is `degenerate`.
        """
        if not isinstance(direction, Mapping):
            raise InvalidInputError(
                f"direction must be a mapping of names to changes, got {shown(direction)}"
            )
        self._require_derivatives()
        optimum, fields = self._optimum, self._influences
        right, rests, prices = np.zeros(self._size), np.zeros(self._size), np.zeros(2)
        rows = np.zeros(len(optimum.active))
        for name, given in direction.items():
            if name not in fields:
                raise InvalidInputError(
                    f"direction: no field is called {shown(name)}: {nearest(name, fields)}"
                )
            field = fields[name]
            change = _shaped(f"direction[{name!r}]", given, np.shape(field.at))
            if name == "probabilities":
                change = change - field.at * (change.sum() / field.at.sum())
            right += _by_type(product(field.gradient, change))
            rests += _by_type(product(field.rests, change))
            rows += product(field.values[1:], change).sum(axis=tuple(range(1, field.values.ndim)))
            prices += optimum.slopes @ [np.sum(it * change) for it in field.moments]
            prices += [float(np.sum(it * change)) for it in field.prices]
        right -= prices @ np.array(optimum.priced.moment_slopes)
        return frozen(optimum.solve(right, rows, rests)[0])

    def gradient(self, weights: ArrayLike) -> Mapping[str, Any]:
        """Return the derivative of a weighted sum of the optimal tokens by every field.

        It is what reverse differentiation asks for: with ∂f/∂l as weights, the derivative of f, a
        function of the tokens, at the optimum.

        Parameters
        ----------
        weights : array_like, shape (N,)

        Returns
        -------
        mapping of str to float or ndarray
            By name, as in `value`.

        Raises
        ------
        InvalidInputError
            If the weights have another shape, or a type or a constraint is `degenerate`.
        """
        self._require_derivatives()
        optimum = self._optimum
        given = float_array("weights", weights, self._size)
        step, change = optimum.solve(given, np.zeros(len(optimum.active)))
        moments = np.array(optimum.priced.moment_slopes) @ step
        answer = optimum.slopes @ moments

        def of(field: Influence) -> Any:
            each = change.reshape(-1, *(1,) * np.ndim(field.at))
            own = product(each, field.values[1:]).sum(axis=0)
            if np.ndim(field.at) == 0:
                return own + np.sum(field.gradient * step) - np.dot(field.prices, moments)
            own = own + product(field.gradient, _like(step, field.at))
            return own - answer[0] * field.moments[0] - answer[1] * field.moments[1]

        limits = optimum.gradients[optimum.is_active]
        return self._gathered(of, given - optimum.pull(step) - change @ limits)

    @property
    def _size(self) -> int:
        return self.solution.instance.size

    def _gathered(self, own: Callable[[Influence], Any], pull: FloatArray) -> Mapping[str, Any]:
        """What each field does by itself, and by moving the rests, which pull so much."""
        found = {}
        for name, field in self._influences.items():
            if np.ndim(field.at) == 0:
                found[name] = float(own(field) + np.sum(product(field.rests, pull)))
                continue
            by_type = own(field) + product(field.rests, _like(pull, field.at))
            if name == "probabilities":
                by_type = by_type - (field.at @ by_type) / field.at.sum()
            found[name] = frozen(by_type)
        return MappingProxyType(found)

    def _require_derivatives(self) -> None:
        if self.degenerate:
            raise InvalidInputError(
                f"the tokens have no derivative: {shown(list(self.degenerate))} have a multiplier "
                "of zero, and are about to leave where they rest; the value has one"
            )

    def table(self) -> Table:
        """Return a row for each number, those first of which a percent changes the optimum most."""
        instance = self.solution.instance
        every = np.array([instance.type_name(k) for k in range(self._size)], dtype=object)
        rows = []
        for name, slope in self.value.items():
            count = np.shape(slope)[1] if np.ndim(slope) == 2 else 1
            points = [f", point {k + 1}" for k in range(count)] if count > 1 else [""]
            names = np.array([name + point for point in points], dtype=object)
            types = np.repeat(every, count) if np.ndim(slope) else np.array([""], dtype=object)
            at = np.ravel(self._influences[name].at)
            rows.append((np.resize(names, at.size), types, at, np.ravel(slope)))
        names, types, numbers, slopes = map(np.concatenate, zip(*rows, strict=True))
        # A zero has no sign.
        percent = 0.01 * numbers * slopes + 0.0
        order = np.argsort(-np.abs(percent), kind="stable")
        columns = [
            Column("field", names[order].tolist()),
            Column("task type", types[order].tolist()),
            Column("value", numbers[order], "{:.6g}".format),
            Column("derivative (s per unit)", slopes[order], "{:.6g}".format),
            Column("one percent (s)", percent[order], "{:.3g}".format),
        ]
        return Table(columns, most=_ROWS)

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON; ``None`` where there is no derivative."""
        value = {name: np.asarray(it).tolist() for name, it in self.value.items()}
        return json_values({"value": value, "degenerate": list(self.degenerate)})

    def _parts(self) -> Iterable[Part]:
        yield f"derivatives of the optimal objective, {self.solution.objective:.9g} s"
        yield from assumption_lines(self.solution)
        yield from (
            f"{name} is about to leave where it rests: the tokens have no derivative"
            for name in self.degenerate
        )
        yield ""
        yield self.table()

    def __repr__(self) -> str:
        return f"Sensitivity({plural(len(self.value), 'field')} of {self.solution.instance!r})"


def _shaped(name: str, value: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    array = float_array(name, value, axes=len(shape))
    if array.ndim and array.shape != shape:
        raise InvalidInputError(f"{name} must be a number or of shape {shape}, got {array.shape}")
    return np.broadcast_to(array, shape)


def _like(by_type: FloatArray, at: FloatArray) -> FloatArray:
    """Numbers by type, for a field that may have a row for each."""
    return by_type.reshape(-1, *(1,) * (at.ndim - 1))


def _by_type(array: Any) -> Any:
    return array.sum(axis=1) if np.ndim(array) == 2 else array


@quiet
def sensitivity(solution: Solution) -> Sensitivity:
    """Return the derivatives of an optimum with respect to the numbers of its instance.

    Parameters
    ----------
    solution : Solution
        A certified answer of any method. Its tokens are moved to the optimum by Newton's method,
        until all conditions of optimality hold to rounding, and the derivatives are those there.

    Returns
    -------
    Sensitivity
        With `value`, `tokens` along a direction, and `gradient` backwards.

    Raises
    ------
    InvalidInputError
        If the answer is not optimal or has whole tokens; if the conditions cannot be met, or the
        optimum, or its multipliers, are not unique; if a class that is not the package's has no
        derivatives, or inherits them.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.Instance(
    ...     arrival_rate=0.2, accuracy_weight=60.0, max_tokens=4096, probabilities=[0.3, 0.7],
    ...     service=cq.AffineService(base=0.5, per_token=0.002),
    ...     accuracy=cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=[0.001, 0.004]))
    >>> sensitivity = cq.sensitivity(cq.solve(instance))
    >>> round(sensitivity.value["arrival_rate"], 4)
    -16.7401
    """
    return Sensitivity(solution)
