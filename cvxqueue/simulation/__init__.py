"""The simulated server: what an allocation does, with intervals, and whether theory agrees."""

from cvxqueue.simulation.comparison import Comparison
from cvxqueue.simulation.result import Simulation
from cvxqueue.simulation.simulate import compare, simulate, waiting_tail
from cvxqueue.simulation.theory import TheoryCheck, check_simulation

__all__ = [
    "Comparison",
    "Simulation",
    "TheoryCheck",
    "check_simulation",
    "compare",
    "simulate",
    "waiting_tail",
]
