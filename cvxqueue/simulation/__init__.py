"""The simulated server: what an allocation does, with intervals, and whether theory agrees."""

from cvxqueue.simulation.estimate import Estimate
from cvxqueue.simulation.result import Comparison, Simulation
from cvxqueue.simulation.simulate import compare, simulate, waiting_tail

__all__ = ["Comparison", "Estimate", "Simulation", "compare", "simulate", "waiting_tail"]
