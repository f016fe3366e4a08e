"""A frontier with its switching points: what the next point of accuracy costs, and who gets it.

    python examples/frontier.py

Along the frontier of accuracy and mean system time the accuracy weight is the slope. Where it
passes a switching point, a type of task begins to think, or stops.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

import cvxqueue as cq

SERVER = Path(__file__).parent / "instances" / "qwen3-8b-h100.toml"
# At this load, a type of task that thinks for a while stops again as accuracy gains weight.
ARRIVAL_RATE = 0.12


def frontier() -> tuple[cq.Frontier, cq.SwitchingPoints]:
    """Return the frontier of the server, and the weights at which types switch."""
    server = cq.load(SERVER).replace(arrival_rate=ARRIVAL_RATE)
    swept = cq.sweep(server, accuracy_weight=np.geomspace(3.0, 1e5, 400))
    return swept.frontiers()[0], cq.switching_points(server, over="accuracy_weight")


def compare() -> tuple[list[float], list[float]]:
    """Return the slope of the frontier between neighbours, and the weights halfway between."""
    found, _ = frontier()
    slopes, weights = [], []
    rows = zip(found.accuracy, found.mean_system_time, found.accuracy_weight, strict=True)
    for (accuracy, time, weight), (more, longer, next_weight) in pairwise(rows):
        if more > accuracy:
            slopes.append(float((longer - time) / (more - accuracy)))
            weights.append(float(np.sqrt(weight * next_weight)))
    return slopes, weights


def main() -> None:
    found, points = frontier()
    print(points)
    print()
    for accuracy in (0.3, 0.5, 0.6, 0.7, 0.71):
        place = int(np.searchsorted(found.accuracy, accuracy))
        time, price = found.mean_system_time[place], found.accuracy_weight[place]
        print(f"accuracy {accuracy:.2f}: {time:6.2f} s; one point more for {price / 100:.3g} s")


if __name__ == "__main__":
    main()
