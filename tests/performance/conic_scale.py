"""How far Clarabel gets with the same program, cut into cones and scaled in several ways.

    python -m tests.performance.conic_scale [N] [--kind server] [--mix log-uniform] [--load 0.9]
    python -m tests.performance.conic_scale [N] --grid

Prints the host, then one row for each variant: the certified gap relative to `scale`, the same as a
multiple of the first row's, iterations, share of time spent on writing the data, seconds, and what
the solver said. The first row is what `cvxqueue.solve(instance, "conic")` does first.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

# As a script, too, it finds the tests and the package of the clone that it stands in.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import clarabel
import numpy as np
import scipy
from cvxqueue.dcp.cones import NO_INTERIOR, TYPES_PER_CONE, cone_program, cone_unit
from cvxqueue.solvers.direct import solve_cones

import cvxqueue as cq
from cvxqueue.certificates import certified_gap, order_bracket
from cvxqueue.dcp.disciplined import natural_scale
from cvxqueue.solvers.back_ends import find_back_end
from tests.large import GRID, KINDS, LOADS, MIXES, large_instance


class Variant(NamedTuple):
    """One way to write and to solve the program."""

    name: str
    block: int
    """Types to one second-order cone; 0 for one cone."""
    unit: str
    """``"total"``: the cost is of order one. ``"N"``: so is the epigraph variable of each type,
    and the cost is divided by N. ``"method"``: `cone_unit`; ``"sum"`` and ``"terms"``: √N times
    that and less, the two ends between which it lies."""
    is_equilibrated: bool
    regularization: float = 1e-8
    narrow: float = NO_INTERIOR
    """Types whose box is no wider are constants; −1 for none."""


VARIANTS = (
    Variant("the method", TYPES_PER_CONE, "method", False, 1e-11),
    Variant("one cone", 0, "total", True),
    Variant("N cones", 1, "total", True),
    Variant("N cones, weights N", 1, "N", True),
    Variant("blocks of 16, weights N", 16, "N", True),
    Variant("blocks of 64, weights N", 64, "N", True),
    Variant("blocks of 256, weights N", 256, "N", True),
    Variant("one cone, unit", 0, "method", False),
    Variant("N cones, unit", 1, "method", False),
    Variant("blocks of 16, unit", 16, "method", False),
    Variant("blocks of 64, unit", 64, "method", False),
    Variant("blocks of 256, unit", 256, "method", False),
    Variant("blocks of 64, sum one", 64, "sum", False),
    Variant("blocks of 64, terms one", 64, "terms", False),
    Variant("blocks of 64, unit, equilibrated", 64, "method", True),
    Variant("blocks of 64, unit, no constants", 64, "method", False, narrow=-1.0),
)


class Row(NamedTuple):
    """What a variant reached."""

    gap: float
    iterations: int
    setup_time: float
    seconds: float
    words: str


def measured(instance: cq.Instance, variant: Variant) -> Row:
    """Solve once, without the ladder, and certify the answer."""
    started = time.perf_counter()
    bracket = order_bracket(instance)
    boxed = instance.replace(min_tokens=bracket.lower, max_tokens=bracket.upper)
    units = {
        "total": natural_scale(boxed),
        "N": natural_scale(boxed) / instance.size,
        "sum": cone_unit(boxed) * np.sqrt(instance.size),
        "terms": cone_unit(boxed) / np.sqrt(instance.size),
        "method": cone_unit(boxed),
    }
    block = variant.block or instance.size
    program = cone_program(boxed, units[variant.unit], block=block, narrow=variant.narrow)
    if variant.unit == "N":
        program = program._replace(cost=program.cost / instance.size)
    setup_time = time.perf_counter() - started
    options: dict[str, Any] = {
        **find_back_end("CLARABEL").direct_ladder[0].options,
        "equilibrate_enable": variant.is_equilibrated,
        "static_regularization_constant": variant.regularization,
    }
    answer = solve_cones(program, "CLARABEL", options)
    seconds = time.perf_counter() - started
    gap = np.inf
    if answer.tokens is not None and np.all(np.isfinite(answer.tokens)):
        point = instance.evaluate(np.clip(answer.tokens, *bracket))
        gap = float(certified_gap(point) / point.scale) if point.is_stable else np.inf
    words = answer.words.split()[1]
    return Row(gap, answer.iterations, setup_time, seconds, words)


def host() -> str:
    """Facts that the times depend on."""
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, "
        f"clarabel {clarabel.__version__}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("size", nargs="?", type=int, default=10_000, help="number of types")
    parser.add_argument("--kind", choices=KINDS, default="server")
    parser.add_argument("--mix", choices=MIXES, default="log-uniform")
    parser.add_argument("--load", type=float, default=LOADS[1], help="utilization at the optimum")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grid", action="store_true", help="every kind, mix and load at once")
    given = parser.parse_args()
    print(host())
    if given.grid:
        print(f"N = {given.size}, {len(GRID)} instances", end="\n\n")
        print_grid([large_instance(given.size, *row, given.seed) for row in GRID])
    else:
        print(f"N = {given.size}, {given.kind}, {given.mix} mix, utilization {given.load}\n")
        print_one(large_instance(given.size, given.kind, given.mix, given.load, given.seed))


def print_one(instance: cq.Instance) -> None:
    """One row for each variant, as soon as it is measured."""
    print(f"{'variant':34} {'gap':>8} {'ratio':>8} {'iter.':>5} {'set-up':>7} {'s':>6}  status")
    first = None
    for variant in VARIANTS:
        row = measured(instance, variant)
        first = first or row
        print(
            f"{variant.name:34} {row.gap:8.1e} {row.gap / first.gap:8.1e} {row.iterations:5d} "
            f"{row.setup_time / row.seconds:7.1%} {row.seconds:6.1f}  {row.words}",
            flush=True,
        )


def print_grid(instances: list[cq.Instance]) -> None:
    """How many instances each variant certifies, its median and worst gap, and its time."""
    print(f"{'variant':34} {'to 1e-9':>8} {'median':>8} {'worst':>8} {'s':>6}")
    for variant in VARIANTS:
        rows = [measured(instance, variant) for instance in instances]
        gaps = np.array([row.gap for row in rows])
        print(
            f"{variant.name:34} {np.sum(gaps <= 1e-9):5d}/{gaps.size:<2d} {np.median(gaps):8.1e} "
            f"{gaps.max():8.1e} {np.median([row.seconds for row in rows]):6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
