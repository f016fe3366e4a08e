"""What was measured, and the lines and curves that were fitted to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import plural, significant
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.plots import style
from cvxqueue.statistics.estimate import FittedParameter, normal_quantile, wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cvxqueue.fitting import CurveFit, Fit

# Of more rows an even part is drawn: more dots than this only blacken the picture.
_DOTS = 2000
# Of more levels neighbours are drawn as one, as where every answer has its own number of tokens.
_LEVELS = 12


def plot_service_fit(fit: Fit, ax: Axes | None = None) -> Axes:
    """Draw the measured service times and the line fitted to those of each type.

    Parameters
    ----------
    fit : Fit
        From `fit`, with service times.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        Of more than ten types those after the tenth are gray, and of more than two thousand rows
        of a type an even part is drawn: the picture says so.

    Raises
    ------
    InvalidInputError
        If the fit has no service times.
    """
    if not fit.service:
        raise InvalidInputError("there is no service line to draw: fit with service=")
    ax = style.new_axes() if ax is None else ax
    names, drawn = _names(fit), 0
    for name, line in fit.service.items():
        step = -(-line.rows // _DOTS)
        color = _look(names, name)["color"]
        dots = line.tokens[::step], line.seconds[::step]
        ax.plot(*dots, "o", color=color, alpha=0.5, markersize=4, markeredgewidth=0.0)
        drawn += dots[0].size
        ends = np.array([0.0, line.tokens.max()])
        base, per_token = _shown(line.base), _shown(line.per_token, 1e3)
        label = f"{names[name]}: {base} s + {per_token} ms per token" if name in names else "_"
        fitted = line.base.value + line.per_token.value * ends
        ax.plot(ends, fitted, linewidth=1.8, label=label, **_look(names, name))
    rows = sum(line.rows for line in fit.service.values())
    confidence = next(iter(fit.service.values())).base.confidence
    notes = [f"[ ]: {100 * confidence:g} % intervals of base and slope"]
    notes += [f"{drawn:,} of {rows:,} rows drawn"] * (drawn < rows)
    _note(ax, len(fit.service.keys() - names), notes)
    ax.set_xlim(left=0.0)
    ax.set_ylim(bottom=0.0)
    style.show_plain_numbers(ax)
    style.legend_below(ax, columns=1)
    return style.finish(ax, "Service times and fitted lines", "tokens", "service time (s)")


def plot_accuracy_fit(fit: Fit, ax: Axes | None = None) -> Axes:
    """Draw the accuracies seen, with their intervals, and the curve fitted to those of each type.

    Parameters
    ----------
    fit : Fit
        From `fit`, with answers.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        The intervals are Wilson's, at the confidence of the fit, where the answers are counted. Of
        more than ten types those after the tenth are gray, and of more than twelve levels of tokens
        neighbours are drawn as one, at their mean: the picture says so.

    Raises
    ------
    InvalidInputError
        If the fit has no accuracy curves.
    """
    if not fit.curves:
        raise InvalidInputError("there is no accuracy curve to draw: fit with accuracy=")
    ax = style.new_axes() if ax is None else ax
    names, curves = _names(fit), list(fit.curves.values())
    right = max(1.05 * float(curve.tokens.max()) for curve in curves)
    # Tokens to half of the rise.
    scales = [np.log(2.0) / curve.rate.value for curve in curves if curve.rate.value > 0]
    style.set_token_axis(ax, 0.0, right, np.array([*scales, right]))
    tokens = right * style.steps_along(ax)
    for name, curve in fit.curves.items():
        look = _look(names, name)
        label = f"{names[name]}: {curve.goodness.outcome}" if name in names else "_"
        fitted = curve.curve.value(tokens[:, np.newaxis])[:, 0]
        ax.plot(tokens, fitted, linewidth=1.8, label=label, **look)
        dots: dict[str, Any] = {"fmt": "o", "markersize": 5, "elinewidth": 1.0, "clip_on": False}
        ax.errorbar(*_seen(curve), color=look["color"], **dots)
    notes = [f"bars: {100 * curves[0].floor.confidence:g} % intervals of the accuracy seen"]
    if np.isnan(curves[0].total).any():
        notes = ["no intervals: the answers are not counted"]
    if any(curve.tokens.size > _LEVELS for curve in curves):
        notes.append("neighbouring numbers of tokens are drawn as one")
    _note(ax, len(fit.curves.keys() - names), notes)
    ax.set_ylim(-0.02, 1.02)
    style.legend_below(ax, columns=2)
    return style.finish(
        ax, "Accuracies and fitted curves", "thinking tokens", "fraction of correct answers"
    )


def _names(fit: Fit) -> dict[str, str]:
    """What the first types are called in both pictures, in the order of their colours."""
    names = list(dict.fromkeys([*fit.service, *fit.curves]))[: style.NAMED_CURVES]
    short = style.short_names([name or "all types" for name in names])
    return {name: style.plain(text) for name, text in zip(names, short, strict=True)}


def _look(names: dict[str, str], name: str) -> dict[str, Any]:
    if name not in names:
        return {"color": style.GRAY, "linestyle": "-"}
    return style.line_style(style.TYPE_COLORS, list(names).index(name))


def _shown(parameter: FittedParameter, factor: float = 1.0) -> str:
    values = (significant(factor * it, 3) for it in (parameter.value, *parameter.interval))
    return "{} [{}, {}]".format(*values)


def _seen(curve: CurveFit) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """Tokens, accuracies and how far their intervals reach below and above, shape (2, M)."""
    is_counted = not np.isnan(curve.total).any()
    weights = curve.total if is_counted else np.ones(curve.tokens.size)
    group = np.arange(curve.tokens.size)
    if group.size > _LEVELS:
        # Neighbours with about as many answers in each group.
        group = (_LEVELS * (weights.cumsum() - 0.5 * weights) / weights.sum()).astype(np.intp)
        group = np.unique(group, return_inverse=True)[1]
    total = np.bincount(group, weights)
    tokens = np.bincount(group, weights * curve.tokens) / total
    seen = np.bincount(group, weights * curve.observed) / total
    if not is_counted:
        return tokens, seen, None
    z = normal_quantile(curve.floor.confidence)
    ends = np.array([wilson(*each, z) for each in zip(seen.tolist(), total.tolist(), strict=True)])
    return tokens, seen, np.stack([seen - ends[:, 0], ends[:, 1] - seen])


def _note(ax: Axes, unnamed: int, notes: list[str]) -> None:
    """Say in the picture what its signs mean, and what is not drawn as it was measured."""
    if unnamed:
        notes = [f"gray: {plural(unnamed, 'more type')}", *notes]
    style.corner_note(ax, "\n".join(notes))
