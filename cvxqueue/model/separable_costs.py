"""Costs of tokens beside the time of the server, type by type: what some multipliers add."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from cvxqueue.model.service_law import ServiceLaw
from cvxqueue.numerics.arrays import FloatArray


class SeparableCost(ABC):
    """A convex, nondecreasing cost of the tokens of a type, in seconds per query."""

    @abstractmethod
    def value(self, service: ServiceLaw, tokens: FloatArray) -> FloatArray:
        """The cost, in seconds, shape (..., N)."""

    @abstractmethod
    def marginal_cost(
        self, service: ServiceLaw, tokens: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """First and second derivative with respect to the tokens, shape (..., N)."""

    def magnification(self, service: ServiceLaw, tokens: FloatArray) -> float:
        """Relative error of the marginal cost, in units of that of its argument: of a product."""
        return 1.0


@dataclass(frozen=True)
class TokenCost(SeparableCost):
    """So many seconds for each token."""

    price: float
    """Seconds per token, ≥ 0."""

    def value(self, service: ServiceLaw, tokens: FloatArray) -> FloatArray:
        """The price times the tokens."""
        return self.price * tokens

    def marginal_cost(
        self, service: ServiceLaw, tokens: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """The price, and zero."""
        return np.full_like(tokens, self.price), np.zeros_like(tokens)


@dataclass(frozen=True)
class ServiceCost(SeparableCost):
    """So many seconds for each second of service."""

    price: float
    """Dimensionless, ≥ 0."""

    def value(self, service: ServiceLaw, tokens: FloatArray) -> FloatArray:
        """The price times the mean service time."""
        return self.price * service.mean(tokens)

    def marginal_cost(
        self, service: ServiceLaw, tokens: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """The price times the derivatives of the mean service time."""
        rise = np.broadcast_to(service.mean_curvature(tokens), tokens.shape)
        return self.price * service.mean_slope(tokens), self.price * rise


@dataclass(frozen=True)
class TailCost(SeparableCost):
    """So many seconds times exp(θ t), for a service time t that is not random."""

    price: float
    """Seconds, ≥ 0."""
    decay: float
    """θ, per second, > 0."""

    def value(self, service: ServiceLaw, tokens: FloatArray) -> FloatArray:
        """The price times exp(θ t) − 1."""
        cost: FloatArray = self.price * np.expm1(self.decay * service.mean(tokens))
        return cost

    def marginal_cost(
        self, service: ServiceLaw, tokens: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """The derivatives price θ t′ exp(θ t) and price θ (t″ + θ t′²) exp(θ t)."""
        slope = service.mean_slope(tokens)
        # Far beyond its limit a tail costs more than any number.
        size = self.price * self.decay * np.exp(self.decay * service.mean(tokens))
        rise = service.mean_curvature(tokens) + self.decay * np.square(slope)
        return size * slope, size * rise

    def magnification(self, service: ServiceLaw, tokens: FloatArray) -> float:
        """The largest exponent: its rounding is the relative error of the exponential."""
        return 1.0 + self.decay * float(np.max(service.mean(tokens)))
