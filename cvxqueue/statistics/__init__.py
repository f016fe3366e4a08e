"""Estimates with intervals, and tests of Poisson arrivals."""

from cvxqueue.statistics.estimate import Estimate, FittedParameter
from cvxqueue.statistics.poisson import PoissonTest, poisson_test

__all__ = ["Estimate", "FittedParameter", "PoissonTest", "poisson_test"]
