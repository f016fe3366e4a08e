"""What the pictures share: matplotlib on demand, the colours, labels that are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import require_package
from cvxqueue.formatting import printable
from cvxqueue.numerics.arrays import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from cvxqueue.model import Instance

# Of task types: Okabe and Ito, "Color universal design", 2008, told apart with every kind of colour
# vision. Their yellow is left out, because it is hard to see on white, and black is for methods.
TYPE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Of methods. With every kind of colour vision they are further from each other, from those of types
# and from gray than the nearest two of types are (tests/plots/test_plots.py).
METHOD_COLORS = ("#000000", "#AA00FF", "#7F4F24", "#1A237E")
# More curves than this cannot be told apart: the most frequent types keep a colour and a name.
NAMED_CURVES = 10
_LINE_STYLES = ("-", "--", ":", "-.")
GRAY = "#8C8C8C"
# Of labels, in points.
FONT_SIZE = 9.0

# Distance between two lines of text, in heights of its letters.
_LINE_HEIGHT = 1.3
# Letters of a name in a label; of one that begins like another so many from the beginning, and so
# many before the two differ: a number is read as a whole.
_NAME_LENGTH = 24
_BEGINNING = 8
_BEFORE = 3
# Where the curves saturate on scales further apart than this, a linear axis hides the fast ones.
_WIDE_SCALES = 8.0
# Points along a curve.
_STEPS = 200


def require_matplotlib() -> None:
    """Raise unless matplotlib is installed."""
    require_package("matplotlib", "plots need", "plot")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, outside pyplot's global state."""
    require_matplotlib()
    from cvxqueue.plots.notebook_figure import NotebookFigure

    return NotebookFigure(figsize=(width, height), dpi=150, layout="constrained")


def new_axes() -> Axes:
    """Return the axes of a new figure."""
    return new_figure(7.0, 4.4).add_subplot()


def finish(ax: Axes, title: str, x: str, y: str) -> Axes:
    """Name the axes, and draw a grid behind what they show."""
    # Wider than axes beside long names, a title has room to its right alone.
    ax.set_title(title, loc="left")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(visible=True, color="#E5E5E5", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def named_types(instance: Instance) -> tuple[NDArray[np.intp], list[str]]:
    """Return the most frequent types, in their order, and what they are called in a picture."""
    frequent = np.argsort(-instance.probabilities, kind="stable")[:NAMED_CURVES]
    named = np.sort(frequent)
    return named, short_names([instance.type_name(k) for k in named])


def show_plain_numbers(ax: Axes) -> None:
    """Show numbers along the axis as they are written, without powers of ten."""
    ax.xaxis.set_major_formatter("{x:,.10g}")


def set_token_axis(ax: Axes, left: float, right: float, scales: FloatArray) -> None:
    """Set the limits of an axis of tokens, on which curves rise on such scales above the left."""
    scales = scales[scales > 0]
    is_wide = scales.size > 0 and scales.max() > _WIDE_SCALES * scales.min()
    # Far from zero a logarithmic axis shows no decades.
    if is_wide and left < 0.5 * scales.min():
        # Linear up to a tenth of the fastest scale, so that zero tokens have a place.
        linear = 10.0 ** np.floor(np.log10(0.2 * scales.min()))
        ax.set_xscale("symlog", linthresh=linear, linscale=0.4)
        ticks = [0.0, *10.0 ** np.arange(np.log10(linear), np.log10(right) + 1e-9)]
        ax.set_xticks([tick for tick in ticks if left <= tick <= right])
    ax.set_xlim(left, right)
    show_plain_numbers(ax)


def steps_along(ax: Axes) -> FloatArray:
    """Return fractions of the way from zero along an axis, dense where it shows every decade."""
    steps = np.linspace(0.0, 1.0, _STEPS)
    return steps if ax.get_xscale() == "linear" else np.expm1(12.0 * steps) / np.expm1(12.0)


def legend_below(ax: Axes, columns: int) -> None:
    """Put the legend below the axes, where there is something to name."""
    look: dict[str, Any] = {"ncols": columns, "frameon": False, "fontsize": FONT_SIZE}
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), **look)


def note(ax: Axes, x: float, y: float, text: str, **options: Any) -> None:
    """Write a remark at a place in fractions of the axes."""
    ax.text(x, y, text, transform=ax.transAxes, fontsize=FONT_SIZE, color="#555555", **options)


def corner_note(ax: Axes, text: str) -> None:
    """Write a remark in the upper left corner, over what is drawn there."""
    behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2.0}
    note(ax, 0.02, 0.98, text, verticalalignment="top", bbox=behind)


def dot(ax: Axes, x: float, y: float, color: str, **look: Any) -> None:
    """Draw a dot that stands out from the lines behind it."""
    ax.plot(x, y, "o", color=color, markeredgecolor="white", zorder=3, **look)


def line_style(colors: Sequence[str], position: int) -> dict[str, Any]:
    """Return the colour of one line of many, and where the colours are used up another dash."""
    turn, place = divmod(position, len(colors))
    return {"color": colors[place], "linestyle": _LINE_STYLES[turn % len(_LINE_STYLES)]}


def plain(text: str) -> str:
    """Return people's text as matplotlib shows it: no formula, and never left out of a legend."""
    text = printable(text.replace("\n", " "))
    return f"{' ' * text.startswith('_')}{text}".replace("$", r"\$")


def short_names(names: Sequence[str], letters: int = _NAME_LENGTH) -> list[str]:
    """Return distinct names in so many letters, distinct again: if need be, by numbers."""
    # In the order of the alphabet, a name has most in common with one of its neighbours.
    ordered = ["", *sorted(names), ""]
    common = [
        sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(*pair, strict=False)))
        for pair in pairwise(ordered)
    ]
    alike = {name: max(common[k : k + 2]) for k, name in enumerate(ordered[1:-1])}
    shown = [_shortened(name, alike[name], letters) for name in names]
    if len(set(shown)) < len(shown):
        shown = [f"{k}. {text}" for k, text in enumerate(shown, 1)]
    return shown


def _shortened(name: str, alike: int, letters: int) -> str:
    """Return a name so that what follows the letters that another has as well is seen."""
    if len(name) <= letters:
        return name
    if alike >= letters - 1:
        rest = letters - _BEGINNING - 1
        start = min(alike - _BEFORE, len(name) - rest)
        name = f"{name[:_BEGINNING]}…{name[start:]}"
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def darker(color: str) -> tuple[float, float, float]:
    """Return a shade in which text is readable on white."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return 0.7 * red, 0.7 * green, 0.7 * blue


def label_positions(heights: Sequence[float], ax: Axes) -> list[float]:
    """Return heights near those given, in fractions of the axes, at which labels do not overlap."""
    from scipy.optimize import isotonic_regression

    distance = _LINE_HEIGHT * FONT_SIZE * ax.figure.dpi / (72.0 * ax.bbox.height)
    order = np.argsort(heights, kind="stable")
    # Least squares under x_(k+1) ≥ x_k + distance is isotonic once the distances are taken out.
    steps = distance * np.arange(order.size)
    placed = np.empty(order.size)
    placed[order] = isotonic_regression(np.asarray(heights)[order] - steps).x + steps
    return placed.tolist()
