"""Newton's method on the two prices, kept in a rectangle that shrinks around the answer.

The unknowns are the idle fraction y and the price P1 of a second of service; the price P2 of a
squared second follows from y. At given prices the types decouple
(`cvxqueue.model.price_response`), and two numbers are left to be made zero,

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

from cvxqueue.duality.kinks import best_between
from cvxqueue.model import Evaluation
from cvxqueue.model.model import Model, take_rows
from cvxqueue.model.price_response import SETTLED, PriceResponse, price_response, response_tokens
from cvxqueue.model.queue_formulas import Prices
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray

# When the prices moved by no more, what is left is about the square of it.
_CLOSE = 2e-4
# Of a change of a marginal cost a tenth of the cube is left, and the largest counts, though few are
# as large.
_CLOSE_TYPES = 0.015
# What is shorter than this is rounding.
STILL = 1e-14

# Longest step in ln y, and half of that in ln P1: the model of a step is good for a few factors e.
_LONGEST_STEP = 4.0
# Across a bound at which a type stops answering, steps can turn to and fro. One that turns back and
# is hardly shorter than the last is halved.
_BARELY_SHORTER, _HALF = 0.7, 0.5
# In so many passes the rectangle or the step is halved, or the next point is its centre.
_REVIEW_EVERY = 5
_LOST_RECTANGLE = 1e-8
# Where curves have kinks, the response may jump between two prices: the rectangle closes on the
# jump, and the responses on its two sides, this far apart, enclose the answer.
_ACROSS = 1e-10
_CLOSED_RECTANGLE = 1e-9
_LOST_AT_A_JUMP = 1e-13
_LEVEL = 1e-15
# From anywhere a handful of steps settles a type.
_MANY_STEPS = 40
# What is proposed keeps this share of the idle fraction that the prices stand for.
_DRAWN_BACK = 0.5
# A mix sums to one within 1e-9; the bounds of the rectangle rest on it.
_RECTANGLE_SLACK = 1.0 - 1e-6


@quiet
class PriceSearch:
    """The state of the search for the two prices, for one instance or each of a batch.

    The types start from `tokens`, shape (..., N), in the box of a feasible model. First guesses of
    the idle fraction and of the price of a second, shape (...), are by default those at the least
    tokens.
    """

    def __init__(
        self,
        model: Model,
        tokens: FloatArray,
        idle: FloatArray | None = None,
        price: FloatArray | None = None,
    ) -> None:
        # Of its own: a pass overwrites them.
        self.model, self.tokens = model, tokens.copy()
        self._start = _rectangle(model)
        self.least_idle, self.most_idle, self.least_price, self.most_price = self._start
        self._is_from_nothing = idle is None
        self.idle, self.price = self.most_idle, self.least_price
        if idle is not None and price is not None:
            self.idle = np.minimum(np.maximum(idle, self.least_idle), self.most_idle)
            self.price = np.minimum(np.maximum(price, self.least_price), self.most_price)
        self.mean = model.lowest.mean_service_time
        self.passes = 0
        self.step = self.change = self._last_step = self._area = np.inf * self.idle
        self._idle_step = self._price_step = 0.0 * self.idle

    @property
    def is_close(self) -> NDArray[np.bool_]:
        """Whether what the types want at today's prices is worth certifying, shape (...)."""
        close: NDArray[np.bool_] = self.step <= _CLOSE
        if not self.model.accuracy.is_smooth:
            # One side may shut, and soon be taken for lost, long before the other.
            close = close | (np.minimum(*self._rooms) <= _CLOSED_RECTANGLE)
        return close & (self.change <= _CLOSE_TYPES)

    @property
    def _rooms(self) -> tuple[FloatArray, FloatArray]:
        """Sides of the rectangle, in logarithms."""
        return (
            np.log(self.most_idle / self.least_idle),
            np.log(self.most_price / self.least_price),
        )

    @property
    def prices(self) -> Prices:
        """Today's prices."""
        rate, idle = self.model.arrival_rate, self.idle
        second = self.model.queue.prices(rate, (1.0 - idle) / rate, 0.0 * idle, idle).second_moment
        return Prices(self.price, second)

    @property
    def _steps(self) -> int:
        # The first passes are far off, wherever the types settle at their prices.
        if self._is_from_nothing:
            return 1 if self.passes < _REVIEW_EVERY else _MANY_STEPS
        return 2 if self.passes == 1 else _MANY_STEPS

    def point(self) -> Evaluation:
        """The response to the prices of the last pass, or less of it: a stable point."""
        idle = 1.0 - self.model.arrival_rate * self.mean
        return _inside(self.model.evaluate(self.tokens.copy()), idle, self.idle)

    def candidate(self, rows: NDArray[np.intp] | None = None) -> Evaluation:
        """What the types want at today's prices, of some instances of a batch or of all."""
        model, tokens, prices, idle = self.model, self.tokens, self.prices, self.idle
        if rows is not None:
            model, tokens, idle = model.rows(rows), take_rows(tokens, rows), idle[rows]
            prices = Prices(prices.mean[rows], prices.second_moment[rows])
        if not model.accuracy.is_smooth:
            return self._between(model, tokens, prices, idle)
        tokens = response_tokens(model, tokens, prices, self._steps)
        point = model.evaluate(tokens)
        return _inside(point, point.idle, idle)

    def _between(
        self, model: Model, tokens: FloatArray, prices: Prices, idle: FloatArray
    ) -> Evaluation:
        """The best point between what the types want at slightly higher and lower prices."""
        more, less = (
            Prices(factor * prices.mean, factor * prices.second_moment)
            for factor in (1.0 + _ACROSS, 1.0 - _ACROSS)
        )
        point = model.evaluate(response_tokens(model, tokens.copy(), more, self._steps))
        return best_between(_inside(point, point.idle, idle), less, self._steps)

    def advance(self) -> None:
        """Make one pass over the types and move the prices.

        Afterwards `tokens` are the response before the move, `mean` is the first moment
        of it, and `step` the length of Newton's step in the logarithms of y and P1.
        """
        self.passes += 1
        prices = self.prices
        response = price_response(self.model, self.tokens, prices, self._steps)
        self.tokens, self.mean, self.change = response.tokens, response.mean, response.change
        self._move(*self._newton_step(prices, response))

    def _newton_step(
        self, prices: Prices, response: PriceResponse
    ) -> tuple[FloatArray, FloatArray]:
        """Newton's step in (ln y, ln P1); on the way, the residuals cut the rectangle."""
        queue, rate, idle = self.model.queue, self.model.arrival_rate, self.idle
        moments = (rate, (1.0 - idle) / rate, response.second_moment, idle)
        implied, slopes = queue.prices(*moments).mean, queue.price_slopes(*moments)
        first = np.log(implied / prices.mean)
        second = 1.0 - rate * response.mean - idle
        # How ln P1 answers to the second moment, and P2 to ln y; how the moments answer to ln P1.
        pull, fall = slopes.mean_second / implied, slopes.mean_second * idle / rate
        mean_by_price = prices.mean * response.mean_by_mean
        second_by_price = prices.mean * response.mean_by_second
        # A type that has not quite settled is off by less than the square of its last change.
        error = response.change * response.change
        noise = (
            error * pull * (second_by_price + prices.second_moment * response.second_by_second),
            error * rate * (mean_by_price + prices.second_moment * response.mean_by_second),
        )
        is_sure = (np.abs(first) > noise[0]) & (np.abs(second) > noise[1])
        is_sure &= response.change <= SETTLED
        if is_sure.any():
            # The signs of both tell one side.
            low, high = is_sure & (first > 0.0), is_sure & ~(first > 0.0)
            is_idle = (first > 0.0) == (second > 0.0)
            self._cut(low & is_idle, high & is_idle, low & ~is_idle, high & ~is_idle)
        if not self.model.accuracy.is_smooth:
            # On the curve where φ1 is zero, φ2 says which way: two sides.
            is_level = (np.abs(first) <= _LEVEL) & (np.abs(second) > noise[1])
            up, down = is_level & (second > 0.0), is_level & ~(second > 0.0)
            self._cut(up, down, down, up)
        first_by_price = -1.0 - pull * second_by_price
        first_by_idle = pull * fall * response.second_by_second - slopes.mean_mean * idle / (
            rate * implied
        )
        second_by_price = rate * mean_by_price
        second_by_idle = -rate * fall * response.mean_by_second - idle
        determinant = first_by_price * second_by_idle - first_by_idle * second_by_price
        return (
            (first * second_by_price - second * first_by_price) / determinant,
            (second * first_by_idle - first * second_by_idle) / determinant,
        )

    def _cut(self, *where: NDArray[np.bool_]) -> None:
        """Move least and most idle, least and most price here, each in some of the instances."""
        # Zero and infinity move nothing.
        self.least_idle = np.maximum(self.least_idle, self.idle * where[0])
        self.most_idle = np.minimum(self.most_idle, self.idle / where[1])
        self.least_price = np.maximum(self.least_price, self.price * where[2])
        self.most_price = np.minimum(self.most_price, self.price / where[3])

    def _move(self, idle_step: FloatArray, price_step: FloatArray) -> None:
        """Move the prices by the step, at most half of the way to a side of the rectangle."""
        idle_length, price_length = np.abs(idle_step), np.abs(price_step)
        length = np.maximum(idle_length, price_length)
        scale = np.minimum(1.0, _LONGEST_STEP / np.maximum(idle_length, 0.5 * price_length))
        has_turned = idle_step * self._idle_step + price_step * self._price_step < 0.0
        scale = scale * (1.0 - _HALF * (has_turned & (length > _BARELY_SHORTER * self.step)))
        self.step, self._idle_step, self._price_step = length, idle_step, price_step
        idle = self.idle * np.exp(scale * idle_step)
        price = self.price * np.exp(scale * price_step)
        idle = np.maximum(idle, np.sqrt(self.idle * self.least_idle))
        self.idle = np.minimum(idle, np.sqrt(self.idle * self.most_idle))
        price = np.maximum(price, np.sqrt(self.price * self.least_price))
        self.price = np.minimum(price, np.sqrt(self.price * self.most_price))
        period = _REVIEW_EVERY if self.model.accuracy.is_smooth else 1
        if self.passes % period == 0 and not self.is_close.all():
            self._review()

    def _review(self) -> None:
        """Go to the centre of the rectangle where neither it nor the step has been halved.

        A rectangle much narrower than the step has lost the answer, through a sign that was
        misjudged before the types had settled: it is opened again.
        """
        idle_room, price_room = self._rooms
        lost = _LOST_RECTANGLE if self.model.accuracy.is_smooth else _LOST_AT_A_JUMP
        # Where the response jumps, the step can be of any length.
        is_lost = np.minimum(idle_room, price_room) < lost * np.minimum(self.step, 1.0)
        sides = (self.least_idle, self.most_idle, self.least_price, self.most_price)
        self.least_idle, self.most_idle, self.least_price, self.most_price = (
            np.where(is_lost, first, today) for first, today in zip(self._start, sides, strict=True)
        )
        area = idle_room * price_room
        is_slow = (area > 0.5 * self._area) & (self.step > 0.5 * self._last_step)
        self._area, self._last_step = area, self.step
        self.idle = np.where(is_slow, np.sqrt(self.least_idle * self.most_idle), self.idle)
        centre = np.sqrt(self.least_price) * np.sqrt(self.most_price)
        self.price = np.where(is_slow, centre, self.price)

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Go on with some of the instances of a batch."""
        self.model = self.model.rows(rows)
        for name in _STATE:
            setattr(self, name, take_rows(getattr(self, name), rows))
        least_idle, most_idle, least_price, most_price = self._start
        self._start = (least_idle[rows], most_idle[rows], least_price[rows], most_price[rows])


# By instance, all but the data and the number of passes.
_STATE = (
    *("tokens", "mean", "idle", "price", "step", "change", "_last_step", "_area"),
    *("_idle_step", "_price_step"),
    *("least_idle", "most_idle", "least_price", "most_price"),
)


def _inside(point: Evaluation, idle: FloatArray, aimed_idle: FloatArray) -> Evaluation:
    """The point, drawn back towards the least tokens where it leaves too little time idle."""
    is_out = idle < _DRAWN_BACK * aimed_idle
    if not is_out.any():
        return point
    model, lowest = point.model, point.model.lowest
    # The mean service time is convex in the tokens: the load falls at least in proportion.
    kept = (lowest.idle - _DRAWN_BACK * aimed_idle) / (lowest.idle - idle)
    drawn = lowest.tokens + kept[..., np.newaxis] * (point.tokens - lowest.tokens)
    return model.evaluate(np.where(is_out[..., np.newaxis], drawn, point.tokens))


def _rectangle(model: Model) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Bounds on the idle fraction and on the price of a second at the optimum.

    The least tokens bound both from one side. As an accuracy lies between zero and one, the mean
    system time at the optimum exceeds that at the least tokens by at most α Σ π w, which bounds
    them from the other.
    """
    queue, rate = model.queue, model.arrival_rate
    point = model.lowest
    worth = sum(np.vecdot(part.probabilities, part.accuracy_value) for _, part in model.blocks)
    most_time = point.mean_system_time + worth
    mean, second = point.mean_service_time, point.service_time_second_moment
    least_idle = queue.least_idle(rate, most_time, mean, second)
    least_idle = np.minimum(least_idle, point.idle) * _RECTANGLE_SLACK
    most_second = queue.greatest_second_moment(rate, most_time, mean, least_idle)
    most_price = queue.prices(rate, (1.0 - least_idle) / rate, most_second, least_idle).mean
    return least_idle, point.idle, point.prices.mean, most_price
