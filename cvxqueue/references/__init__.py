"""Instances whose optimum is known, and proofs of optima that anybody can check again."""

from cvxqueue.references.generators import (
    ExactInstance,
    PlantedInstance,
    exact,
    exact_by_hand,
    planted,
)
from cvxqueue.references.library import Reference, load, names, table

__all__ = [
    "ExactInstance",
    "PlantedInstance",
    "Reference",
    "exact",
    "exact_by_hand",
    "load",
    "names",
    "planted",
    "table",
]
