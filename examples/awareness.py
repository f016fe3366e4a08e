"""What does queueing awareness gain? Budgets by type beside the best uniform one, over load.

    python examples/awareness.py [--plot awareness.png]

The best uniform budget gives every type the same number of tokens, and knows the queue as well.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cvxqueue as cq

SERVER = Path(__file__).parent / "instances" / "qwen3-8b-h100.toml"
RATES = np.geomspace(0.01, 1.3, 120)


def objectives(rates: NDArray[np.float64] = RATES) -> tuple[cq.Sweep, list[cq.Evaluation]]:
    """Return the optimum at each arrival rate, and the best uniform allocation."""
    server = cq.load(SERVER)
    swept = cq.sweep(server, arrival_rate=rates)
    uniform = [cq.best_uniform(server.replace(arrival_rate=float(rate))) for rate in rates]
    return swept, [certificate.evaluation for certificate in uniform]


def compare(rates: NDArray[np.float64] = RATES[::24]) -> tuple[list[float], list[float]]:
    """Return the gains at some rates, in seconds, and the certified gaps of uniform budgets.

    A gap bounds the gain from above, and knows nothing of the optimum.
    """
    swept, uniform = objectives(rates)
    server = cq.load(SERVER)
    gains = swept.rows.objective - [float(it.objective) for it in uniform]
    gaps = [
        cq.certify(server.replace(arrival_rate=float(rate)), it.tokens).gap
        for rate, it in zip(rates, uniform, strict=True)
    ]
    return gains.tolist(), gaps


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args(arguments)
    swept, uniform = objectives()
    gains = swept.rows.objective - [float(it.objective) for it in uniform]
    for place in range(0, RATES.size, 24):
        accuracy, at = swept.rows.mean_accuracy[place], uniform[place]
        print(
            f"{RATES[place]:.3f} queries/s: awareness gains {gains[place]:6.2f} s; accuracy "
            f"{accuracy:.3f} against {float(at.mean_accuracy):.3f}, "
            f"{swept.rows.mean_system_time[place]:.2f} s against {float(at.mean_system_time):.2f} s"
        )
    if options.plot:
        draw(swept, uniform, gains).savefig(options.plot)


def draw(swept: cq.Sweep, uniform: list[cq.Evaluation], gains: NDArray[np.float64]) -> Any:
    """Return the figure: the gain on the left, tokens of both on the right."""
    from cvxqueue import plots
    from cvxqueue.plots.style import GRAY, finish, new_figure

    figure = new_figure(12.0, 4.8)
    left, right = figure.subplots(1, 2)
    left.plot(RATES, gains, color="#0072B2", linewidth=1.8)
    left.set_ylim(bottom=0.0)
    left.set_xscale("log")
    left.xaxis.set_major_formatter("{x:,.10g}")
    title = "What budgets by type gain over the best uniform one"
    finish(left, title, "arrival rate (1/s)", "gain (s)")
    plots.plot_tokens(swept, right)
    right.plot(RATES, [it.tokens[0] for it in uniform], color=GRAY, label="uniform", linewidth=1.8)
    right.set_yscale("symlog", linthresh=100.0)
    right.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
