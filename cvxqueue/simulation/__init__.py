"""The simulated server: what an allocation does, with intervals, and whether theory agrees."""

from cvxqueue.simulation.comparison import Comparison
from cvxqueue.simulation.options import ProgressCallback
from cvxqueue.simulation.recursions import Block, Recursion, Served
from cvxqueue.simulation.result import Simulation
from cvxqueue.simulation.simulate import compare_allocations, simulate
from cvxqueue.simulation.theory import TheoryCheck, check_simulation

__all__ = [
    "Block",
    "Comparison",
    "ProgressCallback",
    "Recursion",
    "Served",
    "Simulation",
    "TheoryCheck",
    "check_simulation",
    "compare_allocations",
    "simulate",
]
