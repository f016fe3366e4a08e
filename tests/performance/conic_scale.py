"""How far the disciplined form gets with very many types, and how it must be cut and scaled.

    python -m tests.performance.conic_scale 10000            # method `conic`, on every class
    python -m tests.performance.conic_scale 100000 --commonest
    python -m tests.performance.conic_scale 1000 --variants  # one attempt, written in each way
    python -m tests.performance.conic_scale 50 --random 100  # so many of every class, of any size

Prints the host, then a row for each group of instances or each variant: how many are certified to
1e-9, the median and the worst gap relative to `scale`, iterations, the share of the time that
writing and compiling took, and seconds. The last line is the largest memory that the process had.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

# As a script, too, it finds the tests and the package of the clone that it stands in.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import clarabel
import cvxpy as cp
import numpy as np

import cvxqueue as cq
from tests.families import CURVES, FAMILIES, LAWS, QUEUES, pairwise, planted
from tests.large import GRID, large_instance

CERTIFIED = 1e-9
# Utilization at the optimum of the instances of the further classes.
LOAD = 0.9


class Run(NamedTuple):
    """What came of one instance."""

    gap: float
    iterations: int
    setup_time: float
    seconds: float
    words: str


def commonest(types: int) -> Iterator[cq.Instance]:
    """The commonest class: two kinds, two mixes and three utilizations."""
    for kind, mix, load in GRID:
        yield large_instance(types, kind, mix, load)


def other_classes(types: int, seed: int = 7) -> Iterator[tuple[str, cq.Instance]]:
    """Every two of a queue, a law and a curve."""
    for names in pairwise():
        rng = np.random.default_rng([seed, types])
        mix = rng.dirichlet(np.ones(types))
        case = planted(rng, *names, n=types, utilization=LOAD, pattern="mixed", mix=mix)
        yield " ".join(names), case.family.instance()


def constrained(types: int) -> Iterator[tuple[str, cq.Instance]]:
    """The servers of the commonest class under limits halfway to the least tokens."""
    for load in (0.3, 0.9):
        instance = large_instance(types, "server", "uniform", load)
        free, least = cq.solve(instance), instance.model.lowest
        rate = float(instance.arrival_rate * instance.probabilities @ free.tokens)
        accuracy = float(free.certificate.evaluation.mean_accuracy)
        waiting = 0.5 * (free.mean_waiting_time + float(least.mean_waiting_time))
        system = 0.5 * (free.mean_system_time + float(least.mean_system_time))
        limits = {
            "waiting time": [cq.MaxMeanWaitingTime(waiting)],
            "system time": [cq.MaxMeanSystemTime(system)],
            "token rate": [cq.MaxTokenRate(0.5 * rate)],
            "accuracy": [
                cq.MinMeanAccuracy(accuracy + 0.02 * (accuracy - float(least.mean_accuracy)))
            ],
            "tail": [cq.WaitingTimeTail(4.0 * free.mean_system_time, 0.2)],
            "two of them": [cq.MaxMeanWaitingTime(waiting), cq.MaxTokenRate(0.6 * rate)],
        }
        for name, stated in limits.items():
            yield name, instance.replace(constraints=stated)


def solved(instance: cq.Instance) -> Run:
    """What method `conic` makes of it, with its whole ladder."""
    started = time.perf_counter()
    solution = cq.solve(instance, "conic", on_failure="return")
    seconds = time.perf_counter() - started
    words = solution.backend_status
    return Run(solution.relative_gap, solution.iterations, solution.setup_time, seconds, words)


class Variant(NamedTuple):
    """One way to write and to solve the program."""

    write: Callable[[cq.Instance], cq.Formulation]
    options: dict[str, Any]


def variants(types: int) -> dict[str, Variant]:
    """The method's first attempt, and the same with one thing changed."""
    from cvxqueue.dcp.scaled import scaled
    from cvxqueue.solvers.back_ends import find_back_end

    options = find_back_end("CLARABEL").ladder[0].options
    root = float(np.sqrt(types))

    def cut(rows: int) -> Variant:
        def write(instance: cq.Instance) -> cq.Formulation:
            with mock.patch("cvxqueue.dcp.scaled.ROWS_PER_CONE", rows):
                return scaled(instance)

        return Variant(write, options)

    def count(scaling: float) -> Variant:
        return Variant(lambda it: scaled(it, scaling), options)

    return {
        "the method": Variant(scaled, options),
        "one cone": cut(types + 2),
        "cones of 16": cut(16),
        "cones of 256": cut(256),
        "sum one": count(root),
        "terms one": count(1.0 / root),
        "equilibrated": Variant(scaled, options | {"equilibrate_enable": True}),
        "regularized 1e-8": Variant(scaled, options | {"static_regularization_constant": 1e-8}),
        "as people read it": Variant(
            cq.formulate,
            options | {"equilibrate_enable": True, "static_regularization_constant": 1e-8},
        ),
    }


def tried(instance: cq.Instance, variant: Variant) -> Run:
    """One attempt, certified."""
    started = time.perf_counter()
    bracket = cq.certificates.order_bracket(instance)
    form = variant.write(instance.replace(min_tokens=bracket.lower, max_tokens=bracket.upper))
    written = time.perf_counter() - started
    gap, iterations, words = np.inf, 0, ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            form.problem.solve(solver="CLARABEL", warm_start=False, **variant.options)
        except cp.SolverError as error:
            words = str(error)
    seconds = time.perf_counter() - started
    tokens = form.tokens.value
    if tokens is not None and np.isfinite(tokens).all():
        point = instance.evaluate(np.clip(tokens, *bracket))
        if point.is_stable:
            gap = float(cq.certify(instance, point.tokens).relative_gap)
        iterations = int(form.problem.solver_stats.num_iters or 0)
    return Run(gap, iterations, written + float(form.problem.compilation_time or 0), seconds, words)


def print_row(name: str, runs: list[Run]) -> None:
    """One line for a group of runs."""
    gaps = np.array([run.gap for run in runs])
    seconds = np.array([run.seconds for run in runs])
    share = sum(run.setup_time for run in runs) / seconds.sum()
    print(
        f"{name:34} {np.sum(gaps <= CERTIFIED):5d}/{gaps.size:<4d} {np.median(gaps):8.1e} "
        f"{gaps.max():8.1e} {np.median([run.iterations for run in runs]):5.0f} {share:6.0%} "
        f"{np.median(seconds):8.3f} {seconds.max():8.3f}",
        flush=True,
    )


def groups(types: int) -> Iterator[tuple[str, list[Run]]]:
    """The commonest class, then the others by queue, law and curve, then under constraints."""
    yield "the commonest class", [solved(instance) for instance in commonest(types)]
    found = defaultdict(list)
    for names, instance in other_classes(types):
        run = solved(instance)
        for name in names.split():
            found[name].append(run)
    yield from ((name, found[name]) for name in (*QUEUES, *LAWS, *CURVES))
    limited = defaultdict(list)
    for name, instance in constrained(types):
        limited[name].append(solved(instance))
    yield from limited.items()


def random_groups(types: int, count: int) -> Iterator[tuple[str, list[Run]]]:
    """As many instances of every queue, law and curve, with up to so many types."""
    for names in FAMILIES:
        runs = []
        for number in range(count):
            rng = np.random.default_rng([19, number, FAMILIES.index(names)])
            size, load = int(rng.integers(1, types + 1)), float(rng.uniform(0.05, 0.99))
            case = planted(rng, *names, n=size, utilization=load)
            runs.append(solved(case.family.instance()))
        yield " ".join(names), runs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("size", nargs="?", type=int, default=10_000, help="number of types")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--commonest", action="store_true", help="the commonest class alone")
    what.add_argument("--variants", action="store_true", help="every way to write the program")
    what.add_argument("--random", type=int, metavar="COUNT", help="so many of every class")
    given = parser.parse_args()
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, Python "
        f"{platform.python_version()}, cvxpy {cp.__version__}, clarabel {clarabel.__version__}"
    )
    print(
        f"{'N = ' + str(given.size):34} {'to 1e-9':>10} {'median':>8} {'worst':>8} {'iter.':>5}",
        end="",
    )
    print(f" {'set-up':>6} {'s':>8} {'most':>8}")
    rows: Iterable[tuple[str, list[Run]]]
    if given.variants:
        instances = [*commonest(given.size), *(it for _, it in other_classes(given.size))]
        rows = (
            (name, [tried(instance, variant) for instance in instances])
            for name, variant in variants(given.size).items()
        )
    elif given.random:
        rows = random_groups(given.size, given.random)
    elif given.commonest:
        rows = (
            (" ".join(map(str, row)), [solved(large_instance(given.size, *row))]) for row in GRID
        )
    else:
        rows = groups(given.size)
    for name, runs in rows:
        print_row(name, runs)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"largest memory of the process: {memory:.0f} MB")


if __name__ == "__main__":
    main()
