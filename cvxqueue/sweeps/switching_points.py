"""Switching points: where types come to rest and leave as a parameter of the server rises.

Over the arrival rate they are points of `cvxqueue.sweeps.switching_curves`. At a given λ, θ fixes
the tokens of all types when one of them is on the verge (`cvxqueue.sweeps.switching_curves`), h =
λ/(1 − λ m1) and α = ω h/(θ K), and what remains is one equation for θ: P1 θ/(ω h) + θ τ₀ = 1. It
may have several roots, which are looked for on a grid and around the extrema on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import plural, shown
from cvxqueue.model import Instance, assumed, require_feasible, require_instance
from cvxqueue.model.model import LEAST_IDLE
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.array_data import ArrayData
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.roots import bracketed_root
from cvxqueue.solvers.batch_solution import LABELS
from cvxqueue.solvers.variants import BY_VARIANT
from cvxqueue.suggest import nearest
from cvxqueue.sweeps.grid import token_columns
from cvxqueue.sweeps.switching_curves import LEAST, MOST, Rests, rests_of, switching_rates
from cvxqueue.tables import Column, Part, Report, Table

Over = Literal["arrival_rate", "accuracy_weight"]

# Points of the grid of θ, and what θ does to any K (1 + θ (τ − τ₀)) at its first: below that
# nothing turns.
_GRID_POINTS, _FIRST_TURN = 400, 1e-4
# Around an extremum, so many points at a time, so many times: the last are 1e-7 of the first apart.
_AROUND, _ROUNDS = 33, 6


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SwitchingPoints(ArrayData, Report):
    """Where types come to rest and leave, as one parameter rises: all that were found.

    A type rests at an end of its box or at a kink of its curve. At a switching point its multiplier
    there is zero; as the parameter rises through it, the type enters the rest or leaves it.

    Parameters
    ----------
    instance : Instance
        What the types share.
    over : {"arrival_rate", "accuracy_weight"}
        The parameter that rises.
    values : ndarray, shape (M,)
        The values of it at the switching points, increasing, in 1/s or in s.
    types : ndarray of int, shape (M,)
        Which type switches.
    bounds : tuple of str
        Where: at its ``"min tokens"`` or ``"max tokens"``, or at a kink, between which and more
        tokens it moves, ``"kink from above"``, or between which and fewer, ``"kink from below"``.
    directions : tuple of str
        Whether it ``"enters"`` or ``"leaves"``.
    tokens : ndarray, shape (M, N)
        The optimal tokens of all types there.
    """

    instance: Instance
    over: Over
    values: FloatArray
    types: NDArray[np.intp]
    bounds: tuple[str, ...]
    directions: tuple[str, ...]
    tokens: FloatArray

    @property
    def names(self) -> tuple[str, ...]:
        """Name of the type that switches at each point."""
        return tuple(self.instance.type_name(k) for k in self.types)

    @property
    def assumes(self) -> tuple[str, ...]:
        """What is taken for granted: of classes that are not the package's, and of the optimum."""
        instance = self.instance
        # All types meet one price then, and may move along straight pieces against each other.
        is_flat = not (instance.queue.second_weight or instance.model.accuracy.is_smooth)
        unique = "the optimum is unique: on straight pieces under such a queue it may not be"
        return assumed(instance) + (unique,) * is_flat

    def table(self) -> Table:
        """Return a row for each switching point, with the optimal tokens of every type."""
        return Table(
            [
                Column(LABELS[self.over], self.values, "{:.6g}".format),
                Column("task type", list(self.names)),
                Column("switch", list(self.directions)),
                Column("rest", list(self.bounds)),
                *token_columns(self.instance, self.tokens),
            ]
        )

    def _parts(self) -> Iterable[Part]:
        yield f"{plural(len(self), 'switching point')} of {self.instance!r}"
        yield from (f"assumed, and not proven: {sentence}" for sentence in self.assumes)
        if len(self):
            yield ""
            yield self.table()

    def __len__(self) -> int:
        return self.values.size

    def __repr__(self) -> str:
        return f"SwitchingPoints({len(self)} over {self.over} of {self.instance!r})"


@quiet
def switching_points(instance: Instance, *, over: Over = "arrival_rate") -> SwitchingPoints:
    """Return where types begin and stop to think as the arrival rate or accuracy's weight rises.

    No instance is solved: the tokens of all types follow from one number where one of them is on
    the verge, and that number from one equation.

    Parameters
    ----------
    instance : Instance
        Any queue, service law and curve, kinks included; floors on the accuracy of types, too. Its
        own value of the parameter has no part.
    over : {"arrival_rate", "accuracy_weight"}
        The parameter that rises, over all values that it may have.

    Returns
    -------
    SwitchingPoints
        In increasing order, right to some roundings over the idle fraction. Over the arrival rate,
        a type of the package's classes has one at each rest at most, and all are found where the
        optimum is unique: under processor sharing it may not be where curves have straight pieces,
        and then tokens are one optimum of several. Over the accuracy weight it may return: a pair
        of switches so near that a fine grid shows no sign of it may be missed.

    Notes
    -----
    The time grows with the square of N. Over the accuracy weight a thousand types take two minutes,
    a hundred a second; over the arrival rate a thousand take ten seconds.

    Raises
    ------
    InvalidInputError
        If `over` is neither, constraints couple the types, or a curve of one's own has kinks and
        does not say where.
    UnstableQueueError
        Over the accuracy weight, if no allocation is stable.
    InfeasibleError
        If a type cannot reach its accuracy floor.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.references.load("two-types-one-at-zero").instance
    >>> points = cq.switching_points(instance, over="arrival_rate")
    >>> [(round(float(at), 4), who) for at, who in zip(points.values, points.names)]
    [(0.1664, 'lookup'), (0.7563, 'proof')]
    """
    require_instance(instance)
    if over not in BY_VARIANT:
        raise InvalidInputError(f"over: {nearest(over, BY_VARIANT)}, got {shown(over)}")
    rests = rests_of(instance)
    if over == "arrival_rate":
        values, tokens = switching_rates(instance.queue, rests, instance.accuracy_weight)
        rows = np.arange(values.size)
        # The busier the server, the less a type wants.
        is_wanting_more = np.zeros(values.size, dtype=bool)
    else:
        require_feasible(instance)
        rows, values, tokens, is_wanting_more = _over_accuracy_weight(instance, rests)
    order = np.flatnonzero((values >= LEAST) & (values <= MOST))
    order = order[np.argsort(values[order], kind="stable")]
    found = rests.take(rows[order])
    # Whoever wants more leaves a rest for more tokens, and enters one from fewer.
    leaves = is_wanting_more[order] == found.is_above
    return SwitchingPoints(
        instance=instance,
        over=over,
        values=values[order],
        types=found.types,
        bounds=tuple(found.bounds),
        directions=tuple("leaves" if it else "enters" for it in leaves),
        tokens=tokens[order],
    )


_Found = tuple[NDArray[np.intp], FloatArray, FloatArray, NDArray[np.bool_]]
"""Which rest, the value, all tokens, and whether its type wants more and more as that rises."""


def _over_accuracy_weight(instance: Instance, rests: Rests) -> _Found:
    """The roots of P1 θ/(ω h) + θ τ₀ − 1; of P1 − α K where P1 alone is a price."""
    queue, rate, share = instance.queue, instance.arrival_rate, instance.queue.second_weight

    def at(rests: Rests, theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        point = rests.response(theta)
        mean, second = point.mean_service_time, point.service_time_second_moment
        idle = 1.0 - rate * mean
        is_stable = idle > LEAST_IDLE
        idle = np.where(is_stable, idle, 1.0)
        price, half = queue.prices(rate, mean, second, idle)
        excess = price * theta / (2.0 * half) + theta * rests.time - 1.0
        weight = 2.0 * half / (theta * rests.worth) if share else price / rests.worth
        # The waiting time grows without bound towards the region that is not stable.
        excess = np.where(is_stable, excess, np.inf)
        return np.where(is_stable, weight, np.inf), point.tokens, excess

    if not share:
        weights, tokens, _ = at(rests, np.zeros(rests.types.size))
        rows = np.flatnonzero(np.isfinite(weights))
        return rows, weights[rows], tokens[rows], np.ones(rows.size, dtype=bool)
    rows, low, high, is_rising = _brackets(
        rests, _grid(instance, rests), lambda own, theta: at(own, theta)[2]
    )
    own = rests.take(rows)
    ends = bracketed_root(lambda theta: at(own, theta)[2], low, high)
    # The end that is negative is stable.
    weights, tokens, _ = at(own, np.where(is_rising, *ends))
    return rows, weights, tokens, is_rising


def _grid(instance: Instance, rests: Rests) -> FloatArray:
    """Return values of θ, shape (G, M), from 0 to where P1 θ/(ω h) + θ τ₀ exceeds one.

    With y = 1 − ρ, P1 ≥ 1 + ω h² m1²/2 and so P1/(ω h) ≥ (y/ω + (1 − y)²/(2 y))/λ, of which the
    least is (√(1 + 2/ω) − 1)/λ.
    """
    model, rate, share = instance.model, instance.arrival_rate, instance.queue.second_weight
    least = (np.sqrt(1.0 + 2.0 / share) - 1.0) / rate
    most = 1.0 / (least + rests.time)
    # Of a type alone, no more tokens are stable.
    longest = np.minimum(
        model.upper, model.service.inverse_mean(1.0 / (rate * model.probabilities))
    )
    time = model.service.marginal_time(np.maximum(model.lower, longest)).max()
    first = np.minimum(_FIRST_TURN / time, 0.1 * most)
    return np.concatenate([np.zeros((1, most.size)), np.geomspace(first, most, _GRID_POINTS)])


def _brackets(
    rests: Rests, grid: FloatArray, excess: Callable[[Rests, FloatArray], FloatArray]
) -> tuple[NDArray[np.intp], FloatArray, FloatArray, NDArray[np.bool_]]:
    """Return intervals of θ with one end where the excess is positive, and one where it is not.

    Which rest each is of, its ends, and whether it is the upper one that is positive.
    """
    values = np.stack([excess(rests, theta) for theta in grid])
    is_above = values > 0.0
    place, rows = np.nonzero(is_above[1:] != is_above[:-1])
    found = [(rows, grid[place, rows], grid[place + 1, rows], is_above[place + 1, rows])]
    # Between the points of a grid an extremum may reach to the other side.
    size = np.abs(values)
    is_extremum = np.isfinite(values[1:-1]) & (size[1:-1] <= np.minimum(size[:-2], size[2:]))
    is_extremum &= (is_above[1:-1] == is_above[:-2]) & (is_above[1:-1] == is_above[2:])
    place, rows = np.nonzero(is_extremum)
    low, high, was_above = grid[place, rows], grid[place + 2, rows], is_above[place, rows]
    for _ in range(_ROUNDS if rows.size else 0):
        own, each = rests.take(rows), np.arange(rows.size)
        steps = np.linspace(low, high, _AROUND)
        values = np.stack([excess(own, theta) for theta in steps])
        best = np.argmin(np.where(was_above, values, -values), axis=0)
        middle, is_other = steps[best, each], (values[best, each] > 0.0) != was_above
        for ends, is_rising in (((low, middle), ~was_above), ((middle, high), was_above)):
            found.append((rows[is_other], *(end[is_other] for end in ends), is_rising[is_other]))
        low = steps[np.maximum(best - 1, 0), each][~is_other]
        high = steps[np.minimum(best + 1, _AROUND - 1), each][~is_other]
        rows, was_above = rows[~is_other], was_above[~is_other]
    rows, low, high, is_rising = map(np.concatenate, zip(*found, strict=True))
    return rows, low, high, is_rising
