"""The trade-off over a range of a parameter: frontiers, tokens, accuracy and time, who thinks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import Instance, require_instance
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import float_array, require
from cvxqueue.plots import style
from cvxqueue.solvers.batch_solution import LABELS, parameter_label
from cvxqueue.solvers.variants import BY_VARIANT
from cvxqueue.sweeps import Frontier, Sweep, switching_curves, switching_points
from cvxqueue.sweeps.grid import Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of an axis whose values are further apart than this, a logarithm shows more.
_WIDE_RANGE = 20.0
# From here on powers of ten are ticks enough.
_MANY_DECADES = 300.0
# Frontiers that can be told apart, from one end of a colour map to the other.
_FRONTIERS = 6
# Points of a switching curve.
_CURVE_POINTS = 200
# So many weights are written beside a frontier.
_WEIGHTS = 5


def plot_frontier(frontiers: Frontier | Iterable[Frontier], ax: Axes | None = None) -> Axes:
    """Draw accuracy against mean system time, with the accuracy weight at some places.

    Parameters
    ----------
    frontiers : Frontier or iterable of Frontier
        From `Sweep.frontiers`. Of more than six an even choice is drawn.
    ax : matplotlib Axes, optional

    Raises
    ------
    InvalidInputError
        If one is no frontier, or none has a certified allocation.
    """
    given = list(frontiers) if isinstance(frontiers, Iterable) else [frontiers]
    if not all(isinstance(each, Frontier) for each in given):
        raise InvalidInputError(
            f"frontiers must be a Frontier or several, from Sweep.frontiers, got {shown(frontiers)}"
        )
    given = [each for each in given if len(each)]
    if not given:
        raise InvalidInputError("frontiers: none has a certified allocation")
    ax = style.new_axes() if ax is None else ax
    places = np.unique(np.linspace(0, len(given) - 1, _FRONTIERS).round().astype(int))
    for position, place in enumerate(places):
        each, look = given[place], style.line_style(style.TYPE_COLORS, position)
        at = ", ".join(f"{name} {value:.3g}" for name, value in each.at.items())
        look |= {"label": style.plain(at), "marker": _marker(len(each))}
        ax.plot(each.mean_system_time, each.accuracy, linewidth=1.8, **look)
    _write_weights(ax, given[places[0]])
    if given[0].at:
        style.legend_below(ax, columns=2)
    _log_if_wide(ax, "x", np.concatenate([each.mean_system_time for each in given]))
    ax.margins(x=0.1)
    title = "Frontier; at the dots, the accuracy weight"
    return style.finish(ax, title, "mean system time (s)", given[0].accuracy_label)


def _write_weights(ax: Axes, frontier: Frontier) -> None:
    """Mark some weights along a frontier, evenly by accuracy."""
    rise = np.linspace(frontier.accuracy[0], frontier.accuracy[-1], _WEIGHTS)
    for place in np.unique(np.abs(frontier.accuracy - rise[:, np.newaxis]).argmin(axis=1)):
        at = frontier.mean_system_time[place], frontier.accuracy[place]
        style.dot(ax, *at, style.TYPE_COLORS[0], markersize=5)
        weight = frontier.accuracy_weight[place]
        ax.annotate(
            f"{weight:,.0f} s" if weight >= 100.0 else f"{weight:.3g} s",
            at,
            (-5, 4),
            textcoords="offset points",
            horizontalalignment="right",
            fontsize=style.FONT_SIZE,
            color="#555555",
        )


def plot_tokens(sweep: Sweep, ax: Axes | None = None) -> Axes:
    """Draw the optimal tokens of each type along a sweep, with its switching points.

    Parameters
    ----------
    sweep : Sweep
        Over one parameter with one value for all types.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        With a dot where a type comes to rest or leaves, unless constraints couple the types. Of
        more than ten types the most frequent are drawn.

    Raises
    ------
    InvalidInputError
        If it is no sweep, or more than one parameter varies.
    """
    name, values = _one_axis(sweep)
    ax = style.new_axes() if ax is None else ax
    instance = sweep.instance
    named, names = style.named_types(instance)
    looks = {k: style.line_style(style.TYPE_COLORS, place) for place, k in enumerate(named)}
    is_known = sweep.rows.is_optimal
    along, tokens = values, np.where(is_known[:, np.newaxis], sweep.rows.tokens, np.nan)
    if name in BY_VARIANT and not instance.model.couplings:
        points = switching_points(instance, over=name)
        is_seen = (points.values >= values.min()) & (points.values <= values.max())
        for place in np.flatnonzero(is_seen & np.isin(points.types, named)):
            k = points.types[place]
            at = points.values[place], points.tokens[place, k]
            style.dot(ax, *at, looks[k]["color"], markersize=7)
        # The lines bend there, wherever the points of the sweep are.
        along = np.concatenate([values, points.values[is_seen]])
        tokens = np.concatenate([tokens, points.tokens[is_seen]])
    order = np.argsort(along, kind="stable")
    marker = _marker(np.isfinite(tokens[:, 0]).sum())
    for k, label in zip(named, names, strict=True):
        look = {**looks[k], "label": style.plain(label), "marker": marker}
        ax.plot(along[order], tokens[order, k], linewidth=1.8, **look)
    _log_if_wide(ax, "x", values)
    style.legend_below(ax, columns=3)
    title = f"Optimal tokens by {name.replace('_', ' ')}; dots where a type switches"
    return style.finish(ax, title, parameter_label(name), "thinking tokens per query")


def plot_trade_off(sweep: Sweep, ax: Axes | None = None) -> Axes:
    """Draw mean accuracy and mean system time along a sweep.

    Parameters
    ----------
    sweep : Sweep
        Over one parameter with one value for all types.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        That of the accuracy, on the left; the time has an axis of its own on the right.

    Raises
    ------
    InvalidInputError
        If it is no sweep, or more than one parameter varies.
    """
    name, values = _one_axis(sweep)
    ax = style.new_axes() if ax is None else ax
    order, is_known = np.argsort(values, kind="stable"), sweep.rows.is_optimal
    right, marker = ax.twinx(), _marker(is_known.sum())
    for axes, found, color, line in (
        (ax, sweep.rows.mean_accuracy, style.TYPE_COLORS[0], "-"),
        (right, sweep.rows.mean_system_time, style.TYPE_COLORS[1], "--"),
    ):
        kept = np.where(is_known, found, np.nan)[order]
        # Of one row both are in the middle: one circle around the other.
        size = 6 if axes is ax else 10
        look: dict[str, Any] = {"marker": marker, "markersize": size, "fillstyle": "none"}
        axes.plot(values[order], kept, line, color=color, linewidth=1.8, **look)
        axes.tick_params(axis="y", labelcolor=style.darker(color))
    _log_if_wide(ax, "x", values)
    _log_if_wide(right, "y", sweep.rows.mean_system_time[is_known])
    right.set_ylabel("mean system time (s), dashed", color=style.darker(style.TYPE_COLORS[1]))
    right.spines["top"].set_visible(False)
    title = f"Accuracy and time by {name.replace('_', ' ')}"
    style.finish(ax, title, parameter_label(name), "mean accuracy")
    ax.yaxis.label.set_color(style.darker(style.TYPE_COLORS[0]))
    return ax


def plot_switching_curves(
    instance: Instance, accuracy_weight: ArrayLike, ax: Axes | None = None
) -> Axes:
    """Draw who thinks where: for each type the arrival rates below which it does, by weight.

    Parameters
    ----------
    instance : Instance
        As in `switching_curves`.
    accuracy_weight : array_like
        Two weights > 0 or more, in seconds; the curves are drawn from the least to the largest.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Left of its line a type has more than its least tokens; a thin line is where it reaches its
        cap. Of more than ten types the most frequent are drawn.

    Raises
    ------
    InvalidInputError
        As `switching_curves`; if the weights are all equal.
    """
    require_instance(instance)
    given = np.atleast_1d(float_array("accuracy_weight", accuracy_weight))
    require("accuracy_weight", given, given > 0.0, "must be > 0 (s)")
    if given.min() == given.max():
        raise InvalidInputError(
            f"accuracy_weight must have two weights or more to draw between, got {shown(given[0])}"
        )
    weights = np.geomspace(given.min(), given.max(), _CURVE_POINTS)
    curves = switching_curves(instance, accuracy_weight=weights)
    ax = style.new_axes() if ax is None else ax
    named, names = style.named_types(instance)
    for place, (k, label) in enumerate(zip(named, names, strict=True)):
        look = style.line_style(style.TYPE_COLORS, place)
        for curve in curves:
            if curve.type != k or curve.bound.startswith("kink"):
                continue
            if curve.bound == "min tokens":
                look |= {"linewidth": 1.8, "label": style.plain(label)}
            else:
                look |= {"linewidth": 0.8, "label": None}
            ax.plot(curve.arrival_rate, weights, **look)
    own = instance.arrival_rate, instance.accuracy_weight
    if weights[0] <= own[1] <= weights[-1]:
        look = {"color": style.GRAY, "markeredgecolor": "white", "label": "this instance"}
        ax.plot(*own, "X", markersize=8, **look)
    _log_if_wide(ax, "y", weights)
    rates = np.concatenate([curve.arrival_rate for curve in curves] or [np.array([own[0]])])
    _log_if_wide(ax, "x", rates[np.isfinite(rates)])
    style.legend_below(ax, columns=3)
    title = "Who thinks where: left of its line a type does"
    return style.finish(ax, title, LABELS["arrival_rate"], LABELS["accuracy_weight"])


def _one_axis(sweep: Sweep) -> tuple[Any, FloatArray]:
    """The parameter that varies, and its values."""
    if not isinstance(sweep, Sweep):
        raise InvalidInputError(f"sweep must be a Sweep, from cvxqueue.sweep, got {shown(sweep)}")
    require_one_axis(sweep.grid)
    return next(iter(sweep.parameters.items()))


def require_one_axis(grid: Grid) -> None:
    """Refuse what does not vary along one line."""
    names, values = list(grid.axes), list(grid.axes.values())
    if len(names) > 1 or getattr(values[0], "ndim", 0) != 1:
        raise InvalidInputError(
            f"the sweep must be over one parameter with one value for all types, got "
            f"{shown(names)} of shape {grid.shape}"
        )


def _marker(count: int) -> str:
    """One point alone has no line to be seen by."""
    return "o" if count == 1 else "None"


def _log_if_wide(ax: Axes, which: str, values: FloatArray) -> None:
    """Take the logarithm along an axis, "x" or "y", where values are far apart."""
    if values.size and 0.0 < values.min() * _WIDE_RANGE < values.max():
        from matplotlib.ticker import LogLocator, NullFormatter

        ax.set(**{f"{which}scale": "log"})
        axis = getattr(ax, f"{which}axis")
        if values.max() < _MANY_DECADES * values.min():
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:,.10g}")
        # They would be written over each other.
        axis.set_minor_formatter(NullFormatter())
