"""The search for the prices and the multipliers; what they are worth is for certificates to say."""

from cvxqueue.duality.restoration import restored

__all__ = ["restored"]
