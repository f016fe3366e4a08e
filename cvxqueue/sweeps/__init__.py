"""The trade-off over whole ranges of the parameters: grids, frontiers and switching points."""

from cvxqueue.sweeps.frontier import Frontier
from cvxqueue.sweeps.sweep import Sweep, SweepFile, sweep
from cvxqueue.sweeps.switching_curves import SwitchingCurve, switching_curves
from cvxqueue.sweeps.switching_points import SwitchingPoints, switching_points

__all__ = [
    "Frontier",
    "Sweep",
    "SweepFile",
    "SwitchingCurve",
    "SwitchingPoints",
    "sweep",
    "switching_curves",
    "switching_points",
]
