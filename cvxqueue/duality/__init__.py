"""The search for the prices and the multipliers; what they prove is for certificates to say."""

from cvxqueue.duality.maximum import tightest_tolerance
from cvxqueue.duality.multipliers import estimated_multipliers
from cvxqueue.duality.restoration import restored

__all__ = ["estimated_multipliers", "restored", "tightest_tolerance"]
