"""The certified gap along the path of each method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cvxqueue.certificates import relative_gap
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import plural
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.plots import style
from cvxqueue.solution import Solution, run_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Below half of float64's resolution a certified gap is zero but for its place on a log axis.
_FLOOR = 1e-17
# Longer paths are thinned: more points than pixels only swell the file.
_POINTS = 600
# Paths up to this long show each of their iterates.
_MARKED = 40
# Letters of a method and its options in the legend.
_RUN_LENGTH = 60
# Two columns have room for names up to this long.
_SHORT_RUN = 24
# Longer paths are drawn over the logarithm of the iterations.
_LONG_PATH = 30


def plot_convergence(solutions: Solution | Sequence[Solution], ax: Axes | None = None) -> Axes:
    """Draw the certified relative gap along the path of each method.

    Parameters
    ----------
    solutions : Solution or sequence of Solution
        Answers to one instance; of several by one method the legend has the options that differ.
        A circle ends a path that reached its tolerance, a cross one that did not. ``"newton"`` has
        a path where `solve` was given a callback, as by `cross_validate`, and otherwise an end;
        so has an answer of a batch. Where nothing is proven of the last iterate, as of one that
        diverged, the path ends with the gap of the answer.
    ax : matplotlib Axes, optional

    Raises
    ------
    InvalidInputError
        If there is no solution.
    """
    answers = [solutions] if isinstance(solutions, Solution) else list(solutions)
    if not answers:
        raise InvalidInputError("solutions must hold at least one Solution, got an empty sequence")
    ax = style.new_axes() if ax is None else ax
    ax.set_yscale("log")
    longest = max(answer.iterations for answer in answers)
    if longest > _LONG_PATH:
        ax.set_xscale("log")
        style.show_plain_numbers(ax)
    else:
        ax.locator_params(axis="x", integer=True)
    names = style.short_names(run_names(answers), _RUN_LENGTH)
    for position, (answer, name) in enumerate(zip(answers, names, strict=True)):
        _draw_path(ax, answer, name, style.line_style(style.METHOD_COLORS, position))
    _draw_tolerances(ax, answers)

    style.legend_below(ax, columns=2 if max(map(len, names)) <= _SHORT_RUN else 1)
    return style.finish(
        ax, "Certified gap along the path of each method", "iterations", "certified relative gap"
    )


def _draw_path(ax: Axes, solution: Solution, name: str, look: dict[str, Any]) -> None:
    iterations, gaps = _path(solution)
    ended = "" if solution.is_optimal else ", not certified"
    label = style.plain(f"{name}: {plural(solution.iterations, 'iteration')}{ended}")
    marker = "." if len(solution.history) <= _MARKED else ""
    ax.plot(iterations, gaps, linewidth=1.8, label=label, marker=marker, markersize=5, **look)
    end: dict[str, Any] = {"marker": "o" if solution.is_optimal else "X", "markersize": 8}
    colors = [look["color"], "white"]
    # An end alone shows no dashes.
    inside, edge = colors if look["linestyle"] == "-" else colors[::-1]
    end |= {"markerfacecolor": inside, "markeredgecolor": edge, "zorder": 3}
    ax.plot(iterations[-1:], gaps[-1:], color=look["color"], **end)


def _path(solution: Solution) -> tuple[FloatArray, FloatArray]:
    """Iteration numbers and relative gaps, thinned evenly for a logarithmic axis."""
    points = [(row.iteration, row.gap) for row in solution.history]
    if not points or points[-1][0] < solution.iterations:
        points.append((solution.iterations, solution.gap))
    iterations, found = np.array(points, dtype=np.float64).T
    # One scale for the whole path, that of the answer, so that its last point is the gap reported.
    gaps = relative_gap(found, solution.certificate.scale)
    if iterations.size > _POINTS:
        spaced = np.geomspace(1.0, iterations.size, _POINTS).round().astype(np.intp) - 1
        kept = np.unique(spaced)
        iterations, gaps = iterations[kept], gaps[kept]
    return iterations, np.maximum(gaps, _FLOOR)


def _draw_tolerances(ax: Axes, answers: list[Solution]) -> None:
    """One dashed line for each tolerance that a method was held to, named beside the axes."""
    tolerances = sorted({float(f"{answer.tolerance:.1e}") for answer in answers})
    for tolerance in tolerances:
        ax.axhline(tolerance, color=style.GRAY, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    from matplotlib.ticker import ScalarFormatter

    bottom, top = np.log10(ax.get_ylim())
    formula = ScalarFormatter(useMathText=True).format_data
    own = [float((np.log10(value) - bottom) / (top - bottom)) for value in tolerances]
    heights = style.label_positions(own, ax)
    for tolerance, height in zip(tolerances, heights, strict=True):
        text = f"tolerance ${formula(tolerance)}$"
        style.note(ax, 1.015, height, text, verticalalignment="center")
