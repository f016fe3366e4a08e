"""How far Clarabel gets with the same program, cut into cones and scaled in several ways.

    python -m tests.benchmarks.conic_scale [N] [--kind server] [--mix log-uniform] [--load 0.9]

Prints the host, then one row for each variant: the certified gap relative to `scale`, and the same
as a multiple of the last row's, iterations, seconds and what the solver said. The last row is what
`cvxqueue.solve(instance, "conic")` does first.
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

import cvxqueue as cq
from cvxqueue.certificates import certified_gap, order_bracket
from cvxqueue.dcp.cones import BLOCK, NARROW, cone_program, cone_unit
from cvxqueue.dcp.disciplined import natural_scale
from cvxqueue.solvers.back_ends import find_back_end
from cvxqueue.solvers.direct import solve_cones
from tests.large import KINDS, LOADS, MIXES, large_instance


class Variant(NamedTuple):
    """One way to write and to solve the program."""

    name: str
    block: int
    """Types to one second-order cone; 0 for one cone."""
    unit: str
    """``"total"``: the cost is of order one. ``"N"``: so is the epigraph variable of each type,
    and the cost is divided by N. ``"method"``: `cone_unit`."""
    is_equilibrated: bool
    regularization: float = 1e-8
    narrow: float = NARROW
    """Types whose box is no wider are constants; −1 for none."""


VARIANTS = (
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
    Variant("blocks of 64, unit, equilibrated", 64, "method", True),
    Variant("blocks of 64, unit, no constants", 64, "method", False, narrow=-1.0),
    Variant("the method", BLOCK, "method", False, 1e-11),
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
    unit = cone_unit(boxed) if variant.unit == "method" else natural_scale(boxed)
    if variant.unit == "N":
        unit /= instance.size
    block = variant.block or instance.size
    program = cone_program(boxed, unit, block=block, narrow=variant.narrow)
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
        gap = certified_gap(point) / float(point.scale) if point.is_stable else np.inf
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
    given = parser.parse_args()
    print(host())
    print(f"N = {given.size}, {given.kind}, {given.mix} mix, utilization {given.load}", end="\n\n")
    instance = large_instance(given.size, given.kind, given.mix, given.load, given.seed)
    rows = []
    for variant in VARIANTS:
        rows.append(measured(instance, variant))
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(f"{'variant':34} {'gap':>8} {'ratio':>8} {'iter.':>5} {'set-up':>7} {'s':>6}  status")
    for variant, row in zip(VARIANTS, rows, strict=True):
        print(
            f"{variant.name:34} {row.gap:8.1e} {row.gap / rows[-1].gap:8.1e} {row.iterations:5d} "
            f"{row.setup_time / row.seconds:7.1%} {row.seconds:6.1f}  {row.words}"
        )


if __name__ == "__main__":
    main()
