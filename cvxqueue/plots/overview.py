"""One picture for one comparison: the answer on the left, the way there on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cvxqueue.formatting import plural
from cvxqueue.plots.accuracy import plot_accuracy
from cvxqueue.plots.convergence import plot_convergence
from cvxqueue.plots.style import new_figure
from cvxqueue.solvers import CrossValidation

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(cross_validation: CrossValidation) -> Figure:
    """Return a figure of the best answer and of the path of each method.

    Parameters
    ----------
    cross_validation : CrossValidation
        From `cross_validate`.

    Returns
    -------
    matplotlib Figure
        To be saved with its ``savefig``; it belongs to no window.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> from cvxqueue import plots
    >>> instance = cq.Instance(
    ...     arrival_rate=0.2, accuracy_weight=60.0, max_tokens=4096, probabilities=[1.0],
    ...     service=cq.AffineService(base=0.5, per_token=0.002),
    ...     accuracy=cq.SaturatingExponential(floor=0.2, gain=0.6, rate=0.001))
    >>> len(plots.figure(cq.cross_validate(instance, ["newton"])).axes)
    2
    """
    drawn = new_figure(12.0, 4.8)
    left, right = drawn.subplots(1, 2, width_ratios=(1.2, 1.0))
    best = cross_validation.best
    plot_accuracy(best, left)
    plot_convergence(cross_validation.solutions, right)
    size = best.instance.size
    name = best.instance.name or plural(size, "task type")
    drawn.suptitle(
        f"{name}: mean accuracy {best.mean_accuracy:.3f}, mean system time "
        f"{best.mean_system_time:.3g} s, utilization {best.utilization:.3f}".replace("$", r"\$"),
        fontsize=13,
    )
    return drawn
