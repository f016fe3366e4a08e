"""What the pictures share: matplotlib on demand, the palette, labels that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from cvxqueue.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "GRAY",
    "PALETTE",
    "darker",
    "label_positions",
    "new_axes",
    "new_figure",
    "power_of_ten",
    "require_matplotlib",
]

# Okabe and Ito, "Color universal design", 2008: told apart with every kind of colour vision. Their
# yellow is left out, because it is hard to see on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GRAY = "#8C8C8C"

# Distance between two lines of text, in heights of its letters.
_LINE_HEIGHT = 1.3


def require_matplotlib() -> None:
    """Raise unless matplotlib is installed.

    Raises
    ------
    MissingDependencyError
        If it is not.
    """
    if find_spec("matplotlib") is None:
        raise MissingDependencyError(
            "plots need the package 'matplotlib', which is not installed: pip install matplotlib "
            "(the extra 'plot' has it)"
        )


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, outside pyplot's global state.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def new_axes() -> Axes:
    """Return the axes of a new figure."""
    return new_figure(7.0, 4.4).add_subplot()


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


def label_positions(wanted: Sequence[float], ax: Axes, font_size: float) -> list[float]:
    """Return heights, in fractions of the axes, at which labels do not overlap.

    Parameters
    ----------
    wanted : sequence of float
        Height of each label where it alone mattered, in fractions of the axes.
    ax : Axes
        The axes.
    font_size : float
        In points.

    Returns
    -------
    list of float
        In the order of `wanted`, and as near to it as the labels allow.
    """
    points = ax.bbox.height * 72.0 / ax.figure.dpi
    distance = _LINE_HEIGHT * font_size / points
    order = np.argsort(wanted, kind="stable")
    # Labels that touch form a block, which is centred on what its members want.
    blocks: list[list[float]] = []
    for index in order:
        blocks.append([wanted[index]])
        while len(blocks) > 1 and _bottom(blocks[-1], distance) < _top(blocks[-2], distance):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    placed = [
        _bottom(block, distance) + distance * (position + 0.5)
        for block in blocks
        for position in range(len(block))
    ]
    heights = [0.0] * len(placed)
    for index, height in zip(order, placed, strict=True):
        heights[index] = height
    return heights


def _bottom(block: list[float], distance: float) -> float:
    return float(np.mean(block)) - 0.5 * distance * len(block)


def _top(block: list[float], distance: float) -> float:
    return float(np.mean(block)) + 0.5 * distance * len(block)
