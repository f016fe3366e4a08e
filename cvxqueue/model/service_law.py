"""Service laws: how long a query occupies the server, as a function of its thinking tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.model.law import LawData, turning_tokens
from cvxqueue.numerics.arrays import FloatArray


class Moments(NamedTuple):
    """Moments of the service time by type, and what one more token adds to them."""

    mean: FloatArray
    second_moment: FloatArray
    mean_slope: FloatArray
    second_moment_slope: FloatArray


class ServiceLaw(LawData, ABC):
    """What the rest of the package asks of a service law, type by type.

    Means are in seconds, second moments in seconds squared; slopes and curvatures are the first
    and second derivatives with respect to the tokens, and broadcast against them. The service time
    t must be increasing and convex in the tokens for every query, with a continuous slope, so that
    the mean system time is; and its second derivative must not fall, so that marginal costs are
    convex as well, and bounds on them hold at the most tokens of a box.

    Four formulas make a law whose times are the same for all queries of a type, and the rest
    follows from them. One with random times gives `is_random`, `second_moment`, `marginal_time`
    and its slope, `mean_square_slope` and `mean_square_distance` as well, and `bend` where the
    times are not affine.
    """

    _part = "service"

    @abstractmethod
    def mean(self, tokens: ArrayLike) -> FloatArray:
        """Mean service time t(l), in seconds."""

    @abstractmethod
    def mean_slope(self, tokens: ArrayLike) -> FloatArray:
        """First derivative of the mean, in seconds per token."""

    @abstractmethod
    def mean_curvature(self, tokens: ArrayLike) -> FloatArray:
        """Second derivative of the mean, in seconds per token squared."""

    @abstractmethod
    def mean_bend(self, tokens: ArrayLike, to: ArrayLike) -> FloatArray:
        """t(to) − t − t′ (to − tokens) ≥ 0 of the mean, in seconds, without cancellation."""

    @property
    def is_random(self) -> bool:
        """Whether the service time of a type varies from query to query; by default not."""
        return False

    def inverse_mean(self, times: ArrayLike) -> FloatArray:
        """Tokens at which the mean service time has the value `times`; negative below all."""
        given = np.asarray(times, dtype=np.float64)
        shape = np.broadcast_shapes(given.shape, self.shape)
        tokens = turning_tokens(lambda tokens: self.mean(tokens) - given, shape)[1]
        return np.where(self.mean(0.0) > given, -1.0, tokens)

    def second_moment(self, tokens: ArrayLike) -> FloatArray:
        """Second moment of the service time: the square of the mean where it is not random."""
        return np.square(self.mean(tokens))

    def second_moment_slope(self, tokens: ArrayLike) -> FloatArray:
        """First derivative of the second moment, 2 τ t′."""
        return 2.0 * self.marginal_time(tokens) * self.mean_slope(tokens)

    def moments(self, tokens: ArrayLike) -> Moments:
        """Both moments and their first derivatives at once."""
        times, slope = self.mean(tokens), self.mean_slope(tokens)
        if self.is_random:
            second, second_slope = self.second_moment(tokens), self.second_moment_slope(tokens)
            return Moments(times, second, slope, second_slope)
        return Moments(times, times * times, slope, (times + times) * slope)

    def marginal_cost(
        self, tokens: FloatArray, mean_price: FloatArray, second_price: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Price of one more token, (P1 + 2 P2 τ) t′, and its derivative; prices broadcast."""
        slope, twice = self.mean_slope(tokens), 2.0 * second_price
        price = mean_price + twice * self.marginal_time(tokens)
        rise = twice * slope * self.marginal_time_slope(tokens)
        return price * slope, price * self.mean_curvature(tokens) + rise

    def mean_square_slope(self, tokens: ArrayLike) -> FloatArray:
        """E[(dt/dl)²], in seconds squared per token squared; largest at the largest tokens."""
        return np.square(self.mean_slope(tokens))

    def mean_square_distance(
        self, tokens: FloatArray, to: FloatArray, ratio: FloatArray
    ) -> FloatArray:
        """E[(t(to) − ratio · t(tokens))²], in seconds squared."""
        return np.square(self.mean(to) - ratio * self.mean(tokens))

    def bend(
        self, tokens: FloatArray, to: FloatArray, mean_price: FloatArray, second_price: FloatArray
    ) -> FloatArray:
        """E[(P1 + 2 P2 t) e] with e = t(to) − t − t′ (to − tokens) ≥ 0, without cancellation."""
        price = mean_price + 2.0 * second_price * self.mean(tokens)
        return price * self.mean_bend(tokens, to)

    def marginal_time(self, tokens: ArrayLike) -> FloatArray:
        """Half the ratio τ of m2′ to m1′, in seconds: t itself where it is not random."""
        return self.mean(tokens)

    def marginal_time_slope(self, tokens: ArrayLike) -> FloatArray:
        """Its first derivative; largest at the largest tokens."""
        return self.mean_slope(tokens)
