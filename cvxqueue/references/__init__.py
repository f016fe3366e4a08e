"""Instances whose optimum is known, and proofs of optima that anybody can check again."""

from cvxqueue.references.generators import (
    ExactInstance,
    PlantedInstance,
    exact,
    exact_by_hand,
    planted,
)

__all__ = ["ExactInstance", "PlantedInstance", "exact", "exact_by_hand", "planted"]
