"""The conditions of optimality as one system of equations: where types rest, and what moves them.

Let L = J − Σ μ c with the constraints c that hold with equality. The types that are free have
∇L = 0, the others rest at an end of their box or at a kink of their curve. −∇²L is diagonal, D,
plus the rank two of the prices P1 and P2 of the two moments. With a = ∇m1 and b = ∇m2, a step has

    D dl + a dP1 + b dP2 + Σ ∇c dμ = right,    dP = P′ (a·dl, b·dl),    ∇c·dl = rows,

in which dl is eliminated type by type: a handful of equations are left, however many types.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InvalidInputError
from cvxqueue.model import Evaluation, Instance
from cvxqueue.model.constraints import BoxConstraint, CouplingConstraint
from cvxqueue.model.couplings import excesses, lagrangian
from cvxqueue.model.differences import COST_ERRORS, marginal_error
from cvxqueue.model.model import Model
from cvxqueue.numerics.arrays import FloatArray

# Newton's method squares its error; it starts from a certified answer.
_NEWTON_STEPS = 50
# A type within a straight piece is this far from its ends, relatively, or counts as at one.
_INSIDE = 1e-9
# Prices of an answer are off by less: its gap is about the square of that.
_CLEAR = 1e-3
# Slopes on the two sides of a kink differ by more.
NO_KINK = 1e-9
# A constraint that is broken by no more than its allowance has as much again to be off.
_TIGHT = 2.0
# Equations that are closer to dependent have no solution that float64 can tell.
_WORST_CONDITION = 1e12
_NOT_UNIQUE = (
    "solution: the optimum, or a multiplier of its constraints, is not unique, and its value need "
    "not have a derivative"
)
_NOT_FOUND = (
    "solution: the conditions of optimality hold to rounding neither at its tokens nor nearby; "
    "solve to a tighter tolerance"
)


class Rests(NamedTuple):
    """Where types rest at the prices of a point, each of shape (N,)."""

    is_lower: NDArray[np.bool_]
    is_upper: NDArray[np.bool_]
    kink: FloatArray
    """Tokens of the kink that a type rests at, or that is at the bound where it does; else NaN."""
    is_degenerate: NDArray[np.bool_]
    """Whether rounding hides the sign of a multiplier: the type may be about to leave."""

    @property
    def is_free(self) -> NDArray[np.bool_]:
        """Whether a type moves with its prices."""
        return ~(self.is_lower | self.is_upper | np.isfinite(self.kink))

    def tokens(self, lower: FloatArray, upper: FloatArray, free: FloatArray) -> FloatArray:
        """Return the tokens at the rests, and given ones of the free types."""
        tokens = np.where(np.isfinite(self.kink), self.kink, free)
        return np.where(self.is_lower, lower, np.where(self.is_upper, upper, tokens))


def _rests(point: Evaluation, lower: FloatArray, upper: FloatArray) -> Rests:
    """Return where types rest at the prices of a point of a Lagrangian.

    At given prices each type has a concave problem of its own, and the sign of its marginal gain at
    a bound, and on the two sides of a kink, says whether it rests there. A gain within what the
    certificate allows the marginal cost to be off by has no sign.
    """
    mean, second = point.prices.by_type
    shape = point.tokens.shape
    flags, kinks = np.zeros((3, *shape), dtype=bool), np.full(shape, np.nan)
    sure = COST_ERRORS * marginal_error(point)
    for place, model in point.model.groups:
        low, high, tokens = lower[place], upper[place], point.tokens[place]

        def gain(at: FloatArray, side: float = np.inf, model: Model = model) -> FloatArray:
            """What a token more is worth beyond its cost, relative to it; from one side."""
            beside = at if model.accuracy.is_smooth or side > 0.0 else np.nextafter(at, 0.0)
            cost = model.marginal_cost(at, mean, second)[0]
            return model.benefit.slope(beside) / cost - 1.0

        # Within a straight piece whose tokens have one price, no gain tells where a type is.
        rise = model.marginal_cost(tokens, mean, second)[1] - model.benefit.curvature(tokens)
        clear = np.where(rise > 0.0, sure, _CLEAR)
        at_low, at_high, near = gain(low), gain(high, -1.0), _INSIDE * high
        is_low = (at_low < 0.0) & ((at_low < -clear) | (tokens - low <= near))
        is_high = (at_high > 0.0) & ((at_high > clear) | (high - tokens <= near)) & ~is_low
        unsure = (np.abs(at_low) <= sure) & (tokens - low <= near)
        unsure |= (np.abs(at_high) <= sure) & (high - tokens <= near)
        kink = np.full(tokens.shape, np.nan)
        if not model.accuracy.is_smooth:
            if not len(model.accuracy.breakpoints):
                raise InvalidInputError(
                    f"accuracy: {type(model.accuracy).__name__} has kinks and says nothing of "
                    "where they are: give it breakpoints, shape (C, N)"
                )
            for corner in model.accuracy.breakpoints:
                left, right = gain(corner, -1.0), gain(corner)
                is_kink = left - right > NO_KINK * (2.0 + left + right)
                is_inside = (corner > low) & (corner < high) & is_kink
                is_near = np.abs(tokens - corner) <= _INSIDE * corner
                is_clear = (left > clear) & (right < -clear)
                is_at = is_inside & (left >= -sure) & (right <= sure) & (is_clear | is_near)
                unsure |= is_at & ~((left > sure) & (right < -sure))
                is_bound = ((corner == low) & is_low) | ((corner == high) & is_high)
                kink = np.where(is_at | (is_bound & is_kink), corner, kink)
        flags[0, place], flags[1, place] = is_low, is_high
        flags[2, place], kinks[place] = unsure & (high > low), kink
    return Rests(flags[0], flags[1], kinks, flags[2])


class Optimum:
    """An optimum to rounding: the tokens of an answer, moved by Newton's method.

    Parameters
    ----------
    instance : Instance
    tokens : ndarray, shape (N,)
        Near the optimum.
    multipliers : ndarray, shape (M,)
        Of the coupling constraints, near the optimal ones.

    Raises
    ------
    InvalidInputError
        If the method does not end where all conditions hold to rounding, or where the optimum or
        its multipliers are not unique.
    """

    def __init__(self, instance: Instance, tokens: FloatArray, multipliers: FloatArray) -> None:
        self.instance = instance
        # The caps that couplings imply are none of the box: the couplings themselves say it better.
        self.floors = {
            place: it.least_tokens(instance)
            for place, it in enumerate(instance.constraints)
            if isinstance(it, BoxConstraint)
        }
        self.upper = instance.max_tokens
        least = np.max([instance.min_tokens, *self.floors.values()], axis=0)
        self.lower = np.minimum(least, self.upper)
        self._evaluate(tokens, np.array(multipliers, dtype=np.float64))
        # Active is what pushes tokens by more, relatively, than it has room.
        room = np.maximum(-self.excesses, 0.0) / (np.abs(self.gradients) @ tokens)
        self.is_active = self.pushes > room
        did_hold = False
        for _ in range(_NEWTON_STEPS):
            holds = self._holds()
            if holds and did_hold:
                self._require_one_multiplier()
                return
            did_hold = holds
            self._step()
        raise InvalidInputError(_NOT_FOUND)

    def _evaluate(self, tokens: FloatArray, multipliers: FloatArray) -> None:
        self.multipliers, self.point = multipliers, self.instance.evaluate(tokens)
        if not self.point.is_stable:
            raise InvalidInputError(_NOT_FOUND)
        # Without constraints the objective is its own Lagrangian.
        self.priced = lagrangian(self.point, multipliers) if multipliers.size else self.point
        self.rests = _rests(self.priced, self.lower, self.upper)
        self.excesses = excesses(self.point)
        couplings = self.instance.model.couplings
        self.allowances = np.array([it.allowance(self.point) for it in couplings])
        self.gradients = np.array([it.gradient(self.point) for it in couplings])
        self.gradients = self.gradients.reshape(len(couplings), self.instance.size)

    @property
    def active(self) -> list[CouplingConstraint]:
        """The constraints that hold with equality."""
        couplings = zip(self.instance.model.couplings, self.is_active, strict=True)
        return [it for it, is_active in couplings if is_active]

    @property
    def pushes(self) -> FloatArray:
        """What each constraint adds to a marginal cost at most, relative to it, shape (M,)."""
        cost = self.priced.model.probabilities * self.priced.marginal_cost
        pushes: FloatArray = np.max(np.abs(self.gradients) / cost, axis=1, initial=0.0)
        return self.multipliers * pushes

    def _holds(self) -> bool:
        """Whether all conditions hold, to what each can be computed to."""
        rests, active, point = self.rests, self.is_active, self.priced
        sure = COST_ERRORS * marginal_error(point) * point.model.probabilities * point.marginal_cost
        return bool(
            (self._rest_tokens == point.tokens).all()
            and (np.abs(point.gradient) <= sure)[rests.is_free].all()
            and (np.where(active, np.abs(self.excesses), self.excesses) <= self.allowances).all()
        )

    @property
    def _is_just_kept(self) -> NDArray[np.bool_]:
        """Which constraints hold with equality, as far as rounding can tell, shape (M,)."""
        is_just_kept: NDArray[np.bool_] = self.excesses >= -_TIGHT * self.allowances
        return is_just_kept

    def _require_one_multiplier(self) -> None:
        """Refuse a limit that is just kept, and could take over from what else holds the types.

        With a multiplier of zero it could have another where the types that move do not mind: as
        far as those that rest stay where they are. If they stay however large it is, nothing less
        is feasible, and zero is right on the side that is.
        """
        rests, gradients = self.rests, self.gradients / self.priced.marginal_cost
        active = gradients[self.is_active]
        for gradient in gradients[self._is_just_kept & ~self.is_active]:
            share = np.linalg.lstsq(active[:, rests.is_free].T, gradient[rests.is_free])[0]
            rest = gradient - share @ active
            size = np.linalg.norm(gradient)
            is_unnoticed = np.linalg.norm(rest[rests.is_free]) * _WORST_CONDITION <= size
            is_at_kink = ~(rests.is_free | rests.is_lower | rests.is_upper)
            stays = (
                (share <= 0.0).all()
                and (rest[rests.is_lower] >= 0.0).all()
                and (rest[rests.is_upper] <= 0.0).all()
                and (rest[is_at_kink] == 0.0).all()
            )
            if is_unnoticed and not stays:
                raise InvalidInputError(_NOT_UNIQUE)

    @property
    def _rest_tokens(self) -> FloatArray:
        return self.rests.tokens(self.lower, self.upper, self.point.tokens)

    def _step(self) -> None:
        """Take a step of Newton's method."""
        active, tokens = self.is_active, self.point.tokens
        move = self._rest_tokens - tokens
        step, change = self.solve(self.priced.gradient, -self.excesses[active], move)
        multipliers = np.where(active, self.multipliers, 0.0)
        multipliers[active] += change
        # A multiplier below zero leaves, and a constraint that is broken enters with one of zero.
        is_broken = self.excesses > self.allowances
        self.is_active = np.where(active, multipliers > 0.0, is_broken)
        moved = self.rests.tokens(self.lower, self.upper, tokens + step)
        self._evaluate(np.clip(moved, self.lower, self.upper), np.maximum(multipliers, 0.0))

    @property
    def degenerate(self) -> Iterator[str]:
        """Names of the types and constraints whose multiplier rounding cannot tell from zero."""
        instance = self.instance
        yield from map(instance.type_name, np.flatnonzero(self.rests.is_degenerate).tolist())
        unsure = COST_ERRORS * float(marginal_error(self.priced)[..., 0])
        is_unsure = self._is_just_kept & (self.pushes <= unsure)
        for coupling, is_it in zip(instance.model.couplings, is_unsure, strict=True):
            if is_it:
                yield coupling.label

    @property
    def slopes(self) -> FloatArray:
        """Derivatives of P1 and P2 by m1 and m2, shape (2, 2)."""
        slopes = self.priced.price_slopes
        mixed = float(slopes.mean_second)
        return np.array([[float(slopes.mean_mean), mixed], [mixed, float(slopes.second_second)]])

    def pull(self, tokens: FloatArray) -> FloatArray:
        """Off-diagonal part of −∇²L times a direction, shape (N,)."""
        moments = np.array(self.priced.moment_slopes)
        return (self.slopes @ (moments @ tokens)) @ moments

    def solve(
        self, right: FloatArray, rows: FloatArray, move: FloatArray | float = 0.0
    ) -> tuple[FloatArray, FloatArray]:
        """Return the step of tokens and multipliers where the types that rest move as given.

        Parameters
        ----------
        right, move : ndarray, shape (N,)
            Right side of the equations of the free types, and the move of the others.
        rows : ndarray, shape (active constraints,)
            What the active constraints shall change by.
        """
        is_free, point = self.rests.is_free, self.priced
        columns = np.concatenate([point.moment_slopes, self.gradients[self.is_active]])
        move = np.where(is_free, 0.0, move)
        if move.any():
            right, rows = right - self.pull(move), rows - columns[2:] @ move
        # What a type at rest has there is not asked for, and may be NaN.
        right = np.where(is_free, right, 0.0)
        bend = point.cost_curvature - point.model.benefit.curvature(point.tokens)
        # Within a straight piece, at a price that is the same everywhere, nothing bends.
        is_straight = is_free & ~(bend > 0.0)
        pliancy = np.where(is_free & ~is_straight, 1.0 / (point.model.probabilities * bend), 0.0)
        # In units in which columns have length one.
        units = np.sqrt(np.square(columns) @ pliancy)
        units = np.where(units > 0.0, units, 1.0)
        columns = columns / units[:, np.newaxis]
        straight = columns[:, is_straight]
        count, size = len(columns), len(columns) + straight.shape[1]
        # Prices answer to the moments, and constraints are met; straight types balance both.
        answer = np.eye(count)
        answer[:2, :2] = self.slopes * np.outer(units[:2], units[:2])
        system, target = np.zeros((size, size)), np.zeros(size)
        system[:count, :count] = answer @ (columns * pliancy) @ columns.T
        system[:2, :2] += np.eye(2)
        system[:count, count:] = -answer @ straight
        system[count:, :count] = straight.T
        target[:count] = answer @ columns @ (pliancy * right)
        target[2:count] -= rows / units[2:]
        target[count:] = right[is_straight]
        heights = _largest(system, 1)
        widths = _largest(system / heights, 0)
        system = system / heights / widths
        if not (size <= 2 * count and np.linalg.cond(system) < _WORST_CONDITION):
            raise InvalidInputError(_NOT_UNIQUE)
        found = np.linalg.solve(system, target / heights[:, 0]) / widths[0]
        step = pliancy * (right - found[:count] @ columns) + move
        step[is_straight] = found[count:]
        return step, found[2:count] / units[2:]


def _largest(matrix: FloatArray, axis: int) -> FloatArray:
    """Largest size of an entry along an axis, or one where all are zero."""
    largest: FloatArray = np.abs(matrix).max(axis=axis, keepdims=True)
    return np.where(largest > 0.0, largest, 1.0)
