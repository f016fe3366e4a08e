"""Service laws: how long a query occupies the server, as a function of its thinking tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, Self

from cvxqueue.numerics.arrays import FloatArray


class Moments(NamedTuple):
    """Moments of the service time by type, and what one more token adds to them."""

    mean: FloatArray
    second_moment: FloatArray
    mean_slope: FloatArray
    second_moment_slope: FloatArray


class ServiceLaw(Protocol):
    """What the rest of the package asks of a service law, type by type.

    Means are in seconds, second moments in seconds squared; slopes and curvatures are the first
    and second derivatives with respect to the tokens, and broadcast against them. The service time
    t must be increasing and convex in the tokens for every query, so that the mean system time is.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the arrays by type: (), (N,), or (B, N) for a batch."""

    def broadcast(self, length: int) -> Self:
        """Return the same law with one entry for each of `length` types."""

    def mapped(self, function: Callable[[FloatArray], FloatArray]) -> Self:
        """Return the same law with `function` applied to every array by type, unchecked."""

    @property
    def is_random(self) -> bool:
        """Whether the service time of a type varies from query to query."""

    def inverse_mean(self, times: FloatArray) -> FloatArray:
        """Tokens at which the mean service time has the value `times`; negative below all."""

    def mean(self, tokens: FloatArray) -> FloatArray:
        """Mean service time."""

    def mean_slope(self, tokens: FloatArray) -> FloatArray:
        """First derivative of the mean."""

    def mean_curvature(self, tokens: FloatArray) -> FloatArray:
        """Second derivative of the mean."""

    def second_moment(self, tokens: FloatArray) -> FloatArray:
        """Second moment of the service time."""

    def second_moment_slope(self, tokens: FloatArray) -> FloatArray:
        """First derivative of the second moment."""

    def moments(self, tokens: FloatArray) -> Moments:
        """Both moments and their first derivatives at once."""

    def marginal_cost(
        self, tokens: FloatArray, mean_price: FloatArray, second_price: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Price of one more token, P1 m1′ + P2 m2′, and its derivative; prices broadcast."""

    def mean_square_slope(self, tokens: FloatArray) -> FloatArray:
        """E[(dt/dl)²], in seconds squared per token squared; largest at the largest tokens."""

    def mean_square_distance(
        self, tokens: FloatArray, to: FloatArray, ratio: FloatArray
    ) -> FloatArray:
        """E[(t(to) − ratio · t(tokens))²], in seconds squared."""

    def bend(
        self, tokens: FloatArray, to: FloatArray, mean_price: FloatArray, second_price: FloatArray
    ) -> FloatArray:
        """E[(P1 + 2 P2 t) e] with e = t(to) − t − t′ (to − tokens) ≥ 0, without cancellation."""

    def marginal_time(self, tokens: FloatArray) -> FloatArray:
        """Half the ratio of m2′ to m1′, in seconds: t itself where it is not random."""

    def marginal_time_slope(self, tokens: FloatArray) -> FloatArray:
        """Its first derivative; largest at the largest tokens."""
