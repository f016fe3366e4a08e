"""One picture for one result."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import plural, shown
from cvxqueue.plots.accuracy import plot_accuracy
from cvxqueue.plots.agreement import plot_simulation
from cvxqueue.plots.convergence import plot_convergence
from cvxqueue.plots.measurements import plot_accuracy_fit, plot_service_fit
from cvxqueue.plots.style import NAMED_CURVES, new_figure, plain, short_names
from cvxqueue.solvers import CrossValidation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cvxqueue.fitting import Fit
    from cvxqueue.simulation import Simulation
    from cvxqueue.sweeps import Sweep
    from cvxqueue.sweeps.grid import Grid


def figure(result: CrossValidation | Fit | Simulation | Sweep) -> Figure:
    """Return a figure of a result, which the commands draw with ``--plot``.

    Parameters
    ----------
    result : CrossValidation, Fit, Simulation or Sweep
        From `cross_validate`, of which it shows the best answer and the path of each method; from
        `fit`, with service times or answers or both; from `simulate`, beside theory; or from
        `sweep` over one parameter, or over arrival rates and accuracy weights.

    Returns
    -------
    matplotlib Figure
        To be saved with its ``savefig``; it belongs to no window, and a notebook shows it.

    Raises
    ------
    InvalidInputError
        If the result is none of these, the fit has neither service times nor answers, or no row of
        the sweep is certified.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> from cvxqueue import plots
    >>> instance = cq.references.load("one-type").instance
    >>> len(plots.figure(cq.cross_validate(instance, ["newton"])).axes)
    2
    """
    if isinstance(result, CrossValidation):
        return _answer(result)
    from cvxqueue.fitting import Fit
    from cvxqueue.simulation import Simulation
    from cvxqueue.sweeps import Sweep

    if isinstance(result, Sweep):
        return _sweep(result)
    if isinstance(result, Fit):
        return _fit(result)
    if isinstance(result, Simulation):
        return cast("Figure", plot_simulation(result).figure)
    raise InvalidInputError(
        f"result must be a CrossValidation, a Fit, a Simulation or a Sweep, got {shown(result)}"
    )


def _answer(cross_validation: CrossValidation) -> Figure:
    """The best answer on the left, the way there on the right."""
    drawn = new_figure(12.0, 4.8)
    left, right = drawn.subplots(1, 2, width_ratios=(1.2, 1.0))
    best = cross_validation.best
    plot_accuracy(best, left)
    plot_convergence(cross_validation.solutions, right)
    (name,) = short_names([best.instance.name or plural(best.instance.size, "task type")], 40)
    title = (
        f"{name}: mean accuracy {best.mean_accuracy:.3f}, mean system time "
        f"{best.mean_system_time:.3g} s, utilization {best.utilization:.3f}"
    )
    drawn.suptitle(plain(title), fontsize=13)
    return drawn


def _fit(fit: Fit) -> Figure:
    """Service times on the left, accuracies on the right, or one of them alone."""
    parts = [plot_service_fit] * bool(fit.service) + [plot_accuracy_fit] * bool(fit.curves)
    if not parts:
        raise InvalidInputError("nothing to draw: fit with service= or accuracy=")
    # A line of the legend for each service line, and for two curves.
    height = 4.6 + 0.17 * min(len(fit.service), NAMED_CURVES)
    return _side_by_side([partial(draw, fit) for draw in parts], 6.0, height)


def _sweep(sweep: Sweep) -> Figure:
    """Tokens, accuracy and time along one parameter; frontiers and who thinks where over two."""
    from cvxqueue.plots import trade_off

    require_drawable(sweep.grid)
    if not sweep.rows.is_optimal.any():
        raise InvalidInputError(f"nothing to draw: no row is certified in {sweep!r}")
    instance, weights = sweep.instance, sweep.parameters.get("accuracy_weight")
    parts: list[Callable[[Axes], object]] = []
    if not _is_plane(sweep.grid):
        parts += [
            partial(draw, sweep) for draw in (trade_off.plot_tokens, trade_off.plot_trade_off)
        ]
    if weights is not None:
        parts.append(partial(trade_off.plot_frontier, sweep.frontiers()))
        positive = np.unique(weights[weights > 0.0])
        # Under constraints on all types together there are none.
        if _is_plane(sweep.grid) and positive.size > 1 and not instance.model.couplings:
            parts.append(partial(trade_off.plot_switching_curves, instance, positive))
    return _side_by_side(parts, 6.2, 4.8)


def _side_by_side(parts: list[Callable[[Axes], object]], width: float, height: float) -> Figure:
    """One row of axes, each so many inches wide."""
    drawn = new_figure(width * len(parts), height)
    for draw, ax in zip(parts, drawn.subplots(1, len(parts), squeeze=False)[0], strict=True):
        draw(ax)
    return drawn


def require_drawable(grid: Grid) -> None:
    """Refuse a sweep that has no figure, before it is solved."""
    from cvxqueue.plots.trade_off import require_one_axis

    if not _is_plane(grid):
        require_one_axis(grid)


def _is_plane(grid: Grid) -> bool:
    return set(grid.axes) == {"arrival_rate", "accuracy_weight"}
