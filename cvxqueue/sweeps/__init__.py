"""The trade-off over whole ranges of the parameters: grids, frontiers and switching points."""

from cvxqueue.sweeps.switching_points import SwitchingPoints, switching_points

__all__ = ["SwitchingPoints", "switching_points"]
