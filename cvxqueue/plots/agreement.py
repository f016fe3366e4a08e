"""A simulation beside theory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cvxqueue.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cvxqueue.simulation import Simulation

_COLORS = {"agrees": style.TYPE_COLORS[0], "differs": style.TYPE_COLORS[1], "undecided": style.GRAY}
_SECONDS = " (s)"
# Letters of a quantity: "system time of" and a name.
_QUANTITY_LENGTH = 39


def plot_simulation(simulation: Simulation, ax: Axes | None = None) -> Axes:
    """Draw how far a simulation is from theory, with intervals, for what has a closed form.

    Parameters
    ----------
    simulation : Simulation
        From `simulate`.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        The rows of `check_simulation`, in percent of theory; of Little's law, whose theory is
        zero, in percent of the mean number in the system. Intervals hold together. Those of rows
        that are undecided may leave the picture. Where the arrivals are not Poisson, the title says
        what that does to the wait.
    """
    from cvxqueue.simulation import check_simulation

    check = check_simulation(simulation)
    rows = check.rows
    ax = style.new_figure(8.5, 1.8 + 0.28 * len(rows)).add_subplot() if ax is None else ax
    number = simulation.mean_number.value
    found = np.array([(row.estimate.value, *row.estimate.interval) for row in rows])
    theory = np.array([row.theory for row in rows])
    # What is zero in theory and not by Little's law is so exactly.
    scales = np.where(theory != 0.0, np.abs(theory), number if number > 0.0 else 1.0)
    differences = 100.0 * (found - theory[:, None]) / scales[:, None]
    finite = np.isfinite(differences).all(axis=1)
    decided = finite & np.array([row.is_decided for row in rows])
    judged = differences[decided if decided.any() else finite]
    reach = 1.1 * float(np.abs(judged).max(initial=1e-9))
    ax.set_xlim(-reach, reach)
    ax.axvline(0.0, color=style.GRAY, linewidth=1.0)
    for outcome, color in _COLORS.items():
        places = [k for k, row in enumerate(rows) if row.outcome == outcome]
        # An end at infinity is far outside the picture.
        value, low, high = np.clip(differences[places], -1e9, 1e9).T
        ax.hlines(places, low, high, color=color, linewidth=1.8)
        ax.plot(value, places, "o", color=color, markersize=6)
    quantities = [row.quantity.removesuffix(_SECONDS) for row in rows]
    short = style.short_names(quantities, _QUANTITY_LENGTH)
    units = [_SECONDS * row.quantity.endswith(_SECONDS) for row in rows]
    names = [style.plain(f"{name}{unit}") for name, unit in zip(short, units, strict=True)]
    ax.set_yticks(range(len(rows)), names, fontsize=style.FONT_SIZE)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    for place, row in enumerate(rows):
        text = f"{row.estimate.value:.4g}, theory {row.theory:.4g}: {row.outcome}"
        height = 1.0 - (place + 0.5) / len(rows)
        style.note(ax, 1.015, height, text, verticalalignment="center")
    level = f"{100 * check.confidence:g} %"
    title = f"Simulation of {simulation.queries:,} queries, and theory"
    if check.poisson_ratio is not None:
        value, low, high = check.poisson_ratio.value, *check.poisson_ratio.interval
        title += f"\nmean wait: {value:.3g} [{low:.3g}, {high:.3g}] times that of Poisson arrivals"
    return style.finish(
        ax,
        title,
        f"simulated less theory, in % of theory; the intervals hold together at {level}",
        "",
    )
