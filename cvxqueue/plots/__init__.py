"""Pictures of an answer and of how the methods found it: functions on matplotlib axes."""

from cvxqueue.plots.accuracy import plot_accuracy
from cvxqueue.plots.convergence import plot_convergence
from cvxqueue.plots.overview import figure

__all__ = ["figure", "plot_accuracy", "plot_convergence"]
