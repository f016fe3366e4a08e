"""Instances whose optimum is known."""

from cvxqueue.references.generators import (
    ExactInstance,
    PlantedInstance,
    exact,
    exact_by_hand,
    planted,
)

__all__ = ["ExactInstance", "PlantedInstance", "exact", "exact_by_hand", "planted"]
