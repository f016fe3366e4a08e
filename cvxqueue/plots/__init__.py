"""Pictures of results and of how the methods found them: functions on matplotlib axes.

They draw on the axes ``ax``, by default those of a new figure, and return them. Without matplotlib
they raise `MissingDependencyError`.
"""

from cvxqueue.plots.accuracy import plot_accuracy
from cvxqueue.plots.agreement import plot_simulation
from cvxqueue.plots.convergence import plot_convergence
from cvxqueue.plots.measurements import plot_accuracy_fit, plot_service_fit
from cvxqueue.plots.overview import figure
from cvxqueue.plots.trade_off import (
    plot_frontier,
    plot_switching_curves,
    plot_tokens,
    plot_trade_off,
)

__all__ = [
    "figure",
    "plot_accuracy",
    "plot_accuracy_fit",
    "plot_convergence",
    "plot_frontier",
    "plot_service_fit",
    "plot_simulation",
    "plot_switching_curves",
    "plot_tokens",
    "plot_trade_off",
]
