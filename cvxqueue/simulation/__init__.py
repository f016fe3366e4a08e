"""The simulated server: what an allocation does, with intervals, and whether theory agrees."""

from cvxqueue.simulation.comparison import Comparison
from cvxqueue.simulation.estimate import Estimate
from cvxqueue.simulation.result import Simulation
from cvxqueue.simulation.simulate import compare, simulate, waiting_tail
from cvxqueue.simulation.theory import GapTest, TheoryCheck, check_simulation, gap_test

__all__ = [
    "Comparison",
    "Estimate",
    "GapTest",
    "Simulation",
    "TheoryCheck",
    "check_simulation",
    "compare",
    "gap_test",
    "simulate",
    "waiting_tail",
]
