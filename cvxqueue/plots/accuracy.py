"""Accuracy curves with the chosen tokens marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cvxqueue.model import Instance
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.plots import style
from cvxqueue.solution import Solution

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# More gray curves than this only blacken the picture.
_DRAWN_POINTS = 200


def plot_accuracy(solution: Solution, ax: Axes | None = None) -> Axes:
    """Draw the accuracy curve of every type and mark the chosen tokens.

    Parameters
    ----------
    solution : Solution
        The answer to show.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Of more than ten types the most frequent are named, and the others gray; of more than two
        hundred a part is drawn, and the picture says so.
    """
    ax = style.new_axes() if ax is None else ax
    instance = solution.instance
    named, names = style.named_types(instance)
    others = np.argsort(-instance.probabilities, kind="stable")[named.size :]
    # Of very many types an even sample, from the frequent to the rare.
    unnamed = others[:: -(-others.size // _DRAWN_POINTS)] if others.size else others
    shown = np.concatenate([unnamed, named])

    right = _set_token_axis(ax, solution, shown)
    grid, curves = _curves(instance, shown, right, style.steps_along(ax))
    low, high = float(curves.min()), float(curves.max())
    margin = 0.06 * max(high - low, 0.05)
    ax.set_ylim(max(low - margin, -0.02), min(high + margin, 1.02))

    _draw_unnamed(ax, solution, unnamed, grid[:, : unnamed.size], curves[:, : unnamed.size])
    labels, ends = [], []
    for position, (k, name) in enumerate(zip(named, names, strict=True)):
        look = style.line_style(style.TYPE_COLORS, position)
        column = unnamed.size + position
        label = style.plain(instance.type_name(k))
        ax.plot(grid[:, column], curves[:, column], linewidth=1.8, label=label, **look)
        at = solution.tokens[k], solution.accuracies[k]
        style.dot(ax, *at, look["color"], markersize=8, clip_on=False)
        cap = " (cap)" if at[0] >= instance.upper[k] else ""
        labels.append(style.plain(f"{name}: {at[0]:,.0f}{cap}"))
        ends.append((float(grid[-1, column]), float(curves[-1, column]), look["color"]))
    _label_ends(ax, labels, ends)

    if others.size:
        drawn = "" if unnamed.size == others.size else f", {unnamed.size} of them drawn"
        style.corner_note(ax, f"gray: {others.size:,} more types{drawn}")
    return style.finish(
        ax,
        "Accuracy curve of each task type, and the tokens chosen",
        "thinking tokens per query",
        "probability of a correct answer",
    )


def _set_token_axis(ax: Axes, solution: Solution, shown: NDArray[np.intp]) -> float:
    """Choose the scale and the limits of the token axis; return its right end."""
    instance, tokens = solution.instance, solution.tokens[shown]
    half, full = (_tokens_to_reach(instance, part)[shown] for part in (0.5, 0.99))
    right = float(max(full.max(), 1.15 * tokens.max()))
    left = float(instance.lower[shown].min())
    # Where every box is one point, the axis still needs a length.
    right = max(min(right, float(instance.upper[shown].max())), left + 1.0)
    style.set_token_axis(ax, left, right, half - left)
    return right


def _tokens_to_reach(instance: Instance, part: float) -> FloatArray:
    """Tokens at which each curve has made this part of its rise in the box."""
    lower, upper, curve = instance.lower, instance.upper, instance.accuracy
    target = curve.value(lower) + part * curve.difference(lower, upper)
    # Where the whole rise is lost in the rounding of the target, there is nothing to show.
    tokens = np.where(target < curve.value(upper), curve.inverse_value(target), lower)
    return np.asarray(np.clip(tokens, lower, upper))


def _curves(
    instance: Instance, shown: NDArray[np.intp], right: float, steps: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Tokens and accuracies along the curve of each shown type, shape (grid, shown)."""
    lower = np.minimum(instance.lower, right)
    upper = np.minimum(instance.upper, right)
    # One grid point of all types at a time: a million types fit in memory.
    points = [lower + step * (upper - lower) for step in steps]
    for place, curve in instance.accuracy.groups:
        # Between two points of the grid a kink would be cut off.
        for corner in [] if curve.is_smooth else curve.breakpoints:
            points.append(lower.copy())
            points[-1][place] = np.clip(corner, lower[place], upper[place])
    tokens = np.stack([point[shown] for point in points])
    accuracies = np.stack([instance.accuracy.value(point)[shown] for point in points])
    order = np.argsort(tokens, axis=0, kind="stable")
    return np.take_along_axis(tokens, order, 0), np.take_along_axis(accuracies, order, 0)


def _draw_unnamed(
    ax: Axes, solution: Solution, unnamed: NDArray[np.intp], grid: FloatArray, curves: FloatArray
) -> None:
    """Draw curves in the background, as one artist."""
    from matplotlib.collections import LineCollection

    lines = np.stack([grid.T, curves.T], axis=-1)
    ax.add_collection(
        LineCollection(list(lines), colors=style.GRAY, linewidths=0.6, alpha=0.35), autolim=False
    )
    ax.plot(
        solution.tokens[unnamed], solution.accuracies[unnamed], ".", color=style.GRAY, markersize=4
    )


def _label_ends(ax: Axes, labels: list[str], ends: list[tuple[float, float, str]]) -> None:
    """Write a label for each curve beside its right end."""
    bottom, top = ax.get_ylim()
    heights = style.label_positions([(y - bottom) / (top - bottom) for _, y, _ in ends], ax)
    for label, (x, y, color), height in zip(labels, ends, heights, strict=True):
        ax.annotate(
            label,
            xy=(x, y),
            xytext=(1.03, height),
            textcoords="axes fraction",
            verticalalignment="center",
            color=style.darker(color),
            fontsize=style.FONT_SIZE,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.9,
                # Dotted, so that a curve that ends at its cap does not seem to go on.
                "linestyle": ":",
                "shrinkB": 0.0,
            },
        )
