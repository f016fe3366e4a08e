"""Newton's method on the two prices, kept in a rectangle that shrinks around the answer.

The unknowns are the idle fraction y and the price P1 of a second of service; the price P2 of a
squared second follows from y. At given prices the types decouple (`cvxqueue.model.demand`), and two
numbers are left to be made zero,

    φ1 = ln P1(m2, y) − ln P1     and     φ2 = 1 − λ m1 − y,

with the moments m1 and m2 of what the types want. In the logarithms of y and P1 both are almost
linear, so that Newton's method on them takes a few passes over the types.

What makes it safe is a saddle point. With ν = (P1 − 1)/λ as the multiplier of y ≤ 1 − λ m1, the
Lagrangian, maximised over the tokens, is concave in y and convex in ν, and φ1 and φ2 have the signs
of its two derivatives. The first falls in both y and ν, the second rises in ν and falls in y. Hence
the zeros of φ1 form a falling curve in the plane, those of φ2 a rising one, and wherever the two
signs are known, one side of the rectangle can be moved to the current point:

    φ1 > 0, φ2 > 0: y is too small        φ1 > 0, φ2 < 0: P1 is too small
    φ1 < 0, φ2 < 0: y is too large        φ1 < 0, φ2 > 0: P1 is too large.

Everything is vectorised over the instances of a batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cvxqueue.model.arrays import FloatArray
from cvxqueue.model.data import ModelData
from cvxqueue.model.demand import Demand, demand, wanted_tokens
from cvxqueue.model.queue import Prices

__all__ = ["PriceSearch"]

# Beyond this change of what the types want, the linear model of them says little.
_SETTLED = 0.1
# Longest step in ln y, and half of that in ln P1: the model of a step is good for a few factors e.
_LONGEST = 4.0
# A step that leads out of the rectangle goes half of the way to its side,
_INSIDE = 0.5
# and where that would all but stop it, each of the two unknowns goes its own way.
_STOPPED = 0.02
# Across a bound at which a type stops answering, steps can turn to and fro. One that is hardly
# shorter than the last is halved.
_STUBBORN, _HALF = 0.7, 0.5
# In so many passes the rectangle or the step is halved, or the next point is its centre.
_PATIENCE = 5


class PriceSearch:
    """The state of the search for the two prices, for one instance or each of a batch.

    Parameters
    ----------
    data : ModelData
        One instance, or a batch with a leading axis; feasible.
    tokens : ndarray, shape (..., N)
        Where to start from, in the box.
    idle, price : ndarray, shape (...)
        First guesses of the idle fraction and of the price of a second; moved into the rectangle.
    """

    def __init__(
        self,
        data: ModelData,
        tokens: FloatArray,
        idle: FloatArray | None = None,
        price: FloatArray | None = None,
    ) -> None:
        self.data = data
        self.tokens = tokens
        self.least_idle, self.most_idle, self.least_price, self.most_price = _rectangle(data)
        self.idle = self.most_idle if idle is None else idle
        self.idle = np.minimum(np.maximum(self.idle, self.least_idle), self.most_idle)
        self.price = self.least_price if price is None else price
        self.price = np.minimum(np.maximum(self.price, self.least_price), self.most_price)
        self.passes = 0
        self.step = np.full(np.shape(self.idle), np.inf)
        self._area, self._last_step = self._log_area(), self.step

    @property
    def prices(self) -> Prices:
        """Today's prices."""
        data, idle = self.data, self.idle
        mean = (1.0 - idle) / data.arrival_rate
        second = data.queue.prices(data.arrival_rate, mean, np.zeros_like(idle), idle)
        return Prices(self.price, second.second_moment)

    def wanted(self) -> FloatArray:
        """Tokens that the types want at today's prices, shape (..., N)."""
        with np.errstate(all="ignore"):
            return wanted_tokens(self.data, self.tokens, self.prices)

    def advance(self) -> None:
        """Make one pass over the types and move the prices.

        Afterwards `tokens` and `mean` are what the types wanted before the move, and `step` its
        length in the logarithms of y and P1, had it not been cut.
        """
        with np.errstate(all="ignore"):
            self.passes += 1
            prices = self.prices
            wanted = demand(self.data, self.tokens, prices)
            self.tokens, self.mean = wanted.tokens, wanted.mean
            price_step, idle_step = self._newton_step(prices, wanted)
            length = np.maximum(np.abs(idle_step), np.abs(price_step))
            share = np.where(length > _STUBBORN * self.step, _HALF, 1.0)
            self.step = length
            self._move(share * idle_step, share * price_step)

    def _newton_step(self, prices: Prices, wanted: Demand) -> tuple[FloatArray, FloatArray]:
        """Newton step in (ln P1, ln y); the signs of the two residuals cut the rectangle."""
        data, idle, price = self.data, self.idle, self.price
        rate = data.arrival_rate
        moments = (rate, (1.0 - idle) / rate, wanted.second_moment, idle)
        implied, slopes = data.queue.prices(*moments).mean, data.queue.price_slopes(*moments)
        price_residual = np.log(implied / price)
        idle_residual = 1.0 - rate * wanted.mean - idle
        # P2 along ln y, and the logarithm of P1 along the second moment.
        second_rise = -slopes.mean_second * idle / rate
        pull = slopes.mean_second / implied
        price_by_price = -1.0 - pull * price * wanted.mean_by_second
        price_by_idle = -slopes.mean_mean * idle / (rate * implied)
        price_by_idle = price_by_idle - pull * second_rise * wanted.second_by_second
        idle_by_price = rate * price * wanted.mean_by_mean
        idle_by_idle = rate * second_rise * wanted.mean_by_second - idle
        determinant = price_by_price * idle_by_idle - price_by_idle * idle_by_price
        price_step = idle_residual * price_by_idle - price_residual * idle_by_idle
        idle_step = price_residual * idle_by_price - idle_residual * price_by_price
        # A type that has not quite settled is off by less than the square of its last change. Where
        # that could turn a sign, the sign says nothing.
        error = np.square(wanted.change)
        second_price = prices.second_moment
        first_error = price * wanted.mean_by_second + second_price * wanted.second_by_second
        second_error = price * wanted.mean_by_mean + second_price * wanted.mean_by_second
        self._cut(
            price_residual,
            idle_residual,
            (wanted.change <= _SETTLED)
            & (np.abs(price_residual) > error * pull * first_error)
            & (np.abs(idle_residual) > error * rate * second_error),
        )
        return price_step / determinant, idle_step / determinant

    def _cut(
        self, price_residual: FloatArray, idle_residual: FloatArray, is_sure: NDArray[np.bool_]
    ) -> None:
        """Move one side of the rectangle to the current point."""
        is_low = price_residual > 0.0
        is_idle = is_low == (idle_residual > 0.0)
        self.least_idle = np.where(is_sure & is_idle & is_low, self.idle, self.least_idle)
        self.most_idle = np.where(is_sure & is_idle & ~is_low, self.idle, self.most_idle)
        self.least_price = np.where(is_sure & ~is_idle & is_low, self.price, self.least_price)
        self.most_price = np.where(is_sure & ~is_idle & ~is_low, self.price, self.most_price)

    def _move(self, idle_step: FloatArray, price_step: FloatArray) -> None:
        """Move the prices by the step, cut where it is too long or leads out of the rectangle."""
        length = np.minimum(1.0, _LONGEST / np.maximum(np.abs(idle_step), 0.5 * np.abs(price_step)))
        idle_step, price_step = length * idle_step, length * price_step
        idle_share = _share(idle_step, self.idle, self.least_idle, self.most_idle)
        price_share = _share(price_step, self.price, self.least_price, self.most_price)
        share = np.minimum(idle_share, price_share)
        is_stopped = share <= _STOPPED
        idle_step = np.where(is_stopped, idle_share, share) * idle_step
        price_step = np.where(is_stopped, price_share, share) * price_step
        self.idle, self.price = self.idle * np.exp(idle_step), self.price * np.exp(price_step)
        if self.passes % _PATIENCE == 0:
            area = self._log_area()
            is_slow = (area > 0.5 * self._area) & (self.step > 0.5 * self._last_step)
            self._area, self._last_step = area, self.step
            self.idle = np.where(is_slow, np.sqrt(self.least_idle * self.most_idle), self.idle)
            centre = np.sqrt(self.least_price) * np.sqrt(self.most_price)
            self.price = np.where(is_slow, centre, self.price)

    def _log_area(self) -> FloatArray:
        area: FloatArray = np.log(self.most_idle / self.least_idle) * np.log(
            self.most_price / self.least_price
        )
        return area

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Go on with some of the instances of a batch."""
        self.data = self.data.rows(rows)
        for name in _STATE:
            setattr(self, name, getattr(self, name)[rows])


_SLACK = 1.0 - 1e-6

_STATE = (
    "tokens",
    "mean",
    "idle",
    "price",
    "step",
    "least_idle",
    "most_idle",
    "least_price",
    "most_price",
    "_area",
    "_last_step",
)


def _rectangle(data: ModelData) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Bounds on the idle fraction and on the price of a second at the optimum.

    The least tokens bound both from one side. As an accuracy lies between zero and one, the mean
    system time at the optimum exceeds that at the least tokens by at most α Σ π w, which bounds
    them from the other.
    """
    queue, rate = data.queue, data.arrival_rate
    point = data.lowest
    worth = sum(np.vecdot(part.probabilities, part.accuracy_value) for _, part in data.blocks)
    most_time = point.mean_system_time + worth
    mean, second = point.mean_service_time, point.service_time_second_moment
    # A mix sums to one within 1e-9.
    least_idle = np.minimum(queue.least_idle(rate, most_time, mean, second), point.idle) * _SLACK
    most_second = queue.greatest_second_moment(rate, most_time, mean, least_idle)
    most_price = queue.prices(rate, mean, most_second, least_idle).mean
    return least_idle, point.idle, point.prices.mean, most_price


def _share(
    step: FloatArray, value: FloatArray, least: FloatArray, most: FloatArray
) -> FloatArray:
    """Share of a step in the logarithm that stays inside: all of it, or half of the way out."""
    room = np.where(step < 0.0, np.log(value / least), np.log(most / value))
    length = np.abs(step)
    return np.where(length > room, _INSIDE * room / length, 1.0)
