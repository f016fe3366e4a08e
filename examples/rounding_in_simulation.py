"""What rounding costs, and what the optimum gains, on the simulated server.

Two questions about the published server of examples/instances/qwen3-8b-h100.toml. What is lost when
every budget must be a whole number of chunks of tokens, measured by simulation, and does it stay
below the proven bound? And how much better is the optimal allocation than one budget for all types?
Both are answered over a grid of arrival rates and of what accuracy is worth.

    python examples/rounding_in_simulation.py --plot rounding.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cvxqueue as cq

SERVER = Path(__file__).parent / "instances" / "qwen3-8b-h100.toml"
# Tokens of a chunk. The loss grows with the square: of single tokens it is 2e-7 s, far below what
# any simulation can see.
CHUNKS = (64, 256, 1024)
LOADS = (0.02, 0.05, 0.08)
WEIGHTS = (100.0, 300.0, 900.0)
BUDGETS = (0, 256, 512, 1024, 1536, 2048, 3072, 4096, 8192, 16384, 32768)


@dataclass(frozen=True)
class Loss:
    """Rounding to whole chunks at one arrival rate and weight, in seconds of the objective."""

    chunk: int
    arrival_rate: float
    accuracy_weight: float
    exact: float
    bound: float
    simulated: cq.Estimate


@dataclass(frozen=True)
class Budget:
    """One budget for all types against the optimum: loss of the objective in seconds."""

    tokens: int
    exact: float
    simulated: cq.Estimate


def in_chunks(instance: cq.Instance, chunk: int) -> cq.Instance:
    """Return the same server with budgets counted in chunks of so many tokens."""
    service, accuracy = instance.service, instance.accuracy
    return instance.replace(
        min_tokens=instance.min_tokens / chunk,
        max_tokens=instance.max_tokens / chunk,
        service=cq.AffineService(base=service.base, per_token=service.per_token * chunk),
        accuracy=cq.SaturatingExponential(
            floor=accuracy.floor, gain=accuracy.gain, rate=accuracy.rate * chunk
        ),
    )


def rounding_loss(instance: cq.Instance, chunk: int, queries: int, seed: int) -> Loss:
    """Measure the loss of rounding with the same queries before and after."""
    counted = in_chunks(instance, chunk)
    rounded = cq.solve_integer(counted)
    comparison = cq.compare_allocations(
        counted, [rounded.tokens, rounded.continuous.tokens], queries=queries, seed=seed
    )
    return Loss(
        chunk,
        instance.arrival_rate,
        instance.accuracy_weight,
        exact=rounded.loss,
        bound=rounded.loss_bound,
        simulated=comparison.objective[1],
    )


def uniform_budgets(
    instance: cq.Instance, budgets: Sequence[int], queries: int, seed: int
) -> list[Budget]:
    """Measure how much worse each stable uniform budget is than the optimum."""
    best = cq.solve(instance)
    stable = [
        budget
        for budget in budgets
        if instance.evaluate(np.full(instance.size, float(budget))).is_stable
    ]
    found = []
    for budget in stable:
        same = np.full(instance.size, float(budget))
        comparison = cq.compare_allocations(
            instance, [same, best.tokens], queries=queries, seed=seed
        )
        exact = best.objective - float(instance.objective(same))
        found.append(Budget(budget, exact, comparison.objective[1]))
    return found


def figure(losses: Sequence[Loss], budgets: Sequence[Budget], instance: cq.Instance) -> Any:
    """Draw the losses of rounding against their bounds, and the uniform budgets."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(10.0, 4.2), layout="constrained")
    left, right = drawn.subplots(1, 2)
    for chunk, marker in zip(CHUNKS, "os^", strict=True):
        mine = [loss for loss in losses if loss.chunk == chunk]
        if mine:
            values = np.array([max(loss.simulated.value, 0.0) for loss in mine])
            lows = np.array([loss.simulated.interval[0] for loss in mine])
            highs = np.array([loss.simulated.interval[1] for loss in mine])
            left.errorbar(
                [loss.bound for loss in mine],
                values,
                yerr=[np.maximum(values - np.maximum(lows, 0.0), 0.0), highs - values],
                fmt=marker,
                markersize=5,
                capsize=2,
                label=f"chunks of {chunk} tokens",
            )
    ends = [min(loss.bound for loss in losses) / 2, 2 * max(loss.bound for loss in losses)]
    left.plot(ends, ends, color="0.4", linewidth=1, label="the bound itself")
    left.set(
        xscale="log",
        yscale="log",
        ylim=(ends[0], 2 * ends[1]),
        xlabel="proven bound on the loss (s)",
        ylabel="simulated loss (s), 95 % intervals",
        title="What rounding costs",
    )
    left.legend(frameon=False)
    tokens = [budget.tokens for budget in budgets]
    line = np.linspace(0.0, tokens[-1], 200)
    best = cq.solve(instance).objective
    exact = best - instance.objective(np.tile(line[:, np.newaxis], instance.size))
    right.plot(line, exact, color="0.4", linewidth=1, label="theory")
    values = np.array([budget.simulated.value for budget in budgets])
    right.errorbar(
        tokens,
        values,
        yerr=[
            values - [budget.simulated.interval[0] for budget in budgets],
            [budget.simulated.interval[1] for budget in budgets] - values,
        ],
        fmt="o",
        markersize=5,
        capsize=2,
        label="simulated, 95 % intervals",
    )
    right.set(
        ylim=(0, None),
        xlabel="tokens of every type",
        ylabel="loss against the optimum (s)",
        title=f"One budget for all, {instance.arrival_rate:g} queries/s",
    )
    right.legend(frameon=False)
    return drawn


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="also draw both answers")
    parser.add_argument("--quick", action="store_true", help="fewer queries and a smaller grid")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    queries = 200_000 if options.quick else 2_000_000
    grid = [(rate, weight) for rate in LOADS for weight in WEIGHTS]
    server = cq.load(SERVER)
    losses = [
        rounding_loss(
            server.replace(arrival_rate=rate, accuracy_weight=weight), chunk, queries, options.seed
        )
        for chunk in CHUNKS
        for rate, weight in (grid[4:5] if options.quick else grid)
    ]
    print("Rounding to whole chunks: loss of the objective (s)")
    print(f"{'chunk':>6} {'rate':>6} {'weight':>7} {'exact':>11} {'bound':>11}  simulated")
    for loss in losses:
        low, high = loss.simulated.interval
        print(
            f"{loss.chunk:>6} {loss.arrival_rate:>6g} {loss.accuracy_weight:>7g} "
            f"{loss.exact:>11.4g} {loss.bound:>11.4g}  {loss.simulated.value:.4g} "
            f"in [{low:.4g}, {high:.4g}]"
        )
    above = sum(loss.simulated.interval[0] > loss.bound for loss in losses)
    print(f"intervals that lie above the bound: {above} of {len(losses)}")
    budgets = uniform_budgets(server, BUDGETS, queries, options.seed)
    print("\nOne budget for all types: loss against the optimum (s)")
    print(f"{'tokens':>6} {'exact':>11}  simulated")
    for budget in budgets:
        low, high = budget.simulated.interval
        print(
            f"{budget.tokens:>6} {budget.exact:>11.5g}  {budget.simulated.value:.5g} "
            f"in [{low:.5g}, {high:.5g}]"
        )
    left_out = [str(budget) for budget in BUDGETS if budget > budgets[-1].tokens]
    print(f"unstable, and so without a mean: {', '.join(left_out)}")
    if options.plot:
        figure(losses, budgets, server).savefig(options.plot, dpi=120)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
