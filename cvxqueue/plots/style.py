"""What the pictures share: matplotlib on demand, the palette, labels that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from cvxqueue.errors import MissingDependencyError, pip_install

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, "Color universal design", 2008: told apart with every kind of colour vision. Their
# yellow is left out, because it is hard to see on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GRAY = "#8C8C8C"
# Of labels, in points.
FONT_SIZE = 9.0

# Distance between two lines of text, in heights of its letters.
_LINE_HEIGHT = 1.3


def require_matplotlib() -> None:
    """Raise unless matplotlib is installed."""
    if find_spec("matplotlib") is None:
        raise MissingDependencyError(
            "plots need the package 'matplotlib', which is not installed: "
            f"{pip_install('matplotlib')} (the extra 'plot' has it)"
        )


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, outside pyplot's global state."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def new_axes() -> Axes:
    """Return the axes of a new figure."""
    return new_figure(7.0, 4.4).add_subplot()


def finish(ax: Axes, title: str, x: str, y: str) -> Axes:
    """Name the axes, and draw a grid behind what they show."""
    ax.set_title(title)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(visible=True, color="#E5E5E5", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def show_plain_numbers(ax: Axes) -> None:
    """Show numbers along the axis as they are written, without powers of ten."""
    ax.xaxis.set_major_formatter(lambda tick, _: f"{tick:,.10g}")


def note(ax: Axes, x: float, y: float, text: str, **options: Any) -> None:
    """Write a remark at a place in fractions of the axes."""
    ax.text(x, y, text, transform=ax.transAxes, fontsize=FONT_SIZE, color="#555555", **options)


def darker(color: str) -> tuple[float, float, float]:
    """Return a shade in which text is readable on white."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return 0.7 * red, 0.7 * green, 0.7 * blue


def power_of_ten(value: float) -> str:
    """Return a number as matplotlib's formulas show it on a logarithmic axis."""
    mantissa, exponent = f"{value:.1e}".split("e")
    factor = "" if mantissa == "1.0" else rf"{float(mantissa):g} \times "
    return rf"${factor}10^{{{int(exponent)}}}$"


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
