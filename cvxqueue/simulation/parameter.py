"""A fitted number: its value, its standard error and its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.json_values import json_values

__all__ = ["FittedParameter", "require_confidence"]


@dataclass(frozen=True)
class FittedParameter:
    """A number estimated from data.

    Attributes
    ----------
    value : float
        The estimate.
    standard_error : float
        Of the estimate; NaN where the value lies on a bound or the data do not determine it.
    interval : tuple of float
        Confidence interval, within the bounds of the parameter; an end may be infinite.
    confidence : float
        Probability that such an interval holds the true value, in (0, 1).
    """

    value: float
    standard_error: float
    interval: tuple[float, float]
    confidence: float

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.4g} [{low:.4g}, {high:.4g}]"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; what is not finite becomes ``None``."""
        return json_values(
            {
                "value": self.value,
                "standard_error": self.standard_error,
                "interval": list(self.interval),
                "confidence": self.confidence,
            }
        )


def require_confidence(confidence: float) -> float:
    """Return a confidence level, or say what is wrong with it."""
    if isinstance(confidence, bool) or not isinstance(confidence, int | float):
        raise InvalidInputError(f"confidence = {shown(confidence)} must be a number in (0, 1)")
    if not 0.0 < confidence < 1.0:
        raise InvalidInputError(f"confidence = {shown(confidence)} must be in (0, 1)")
    return float(confidence)
