"""Newton beside the other ways to solve the same instance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.solvers.open_method import OpenMethod
from cvxqueue.solvers.registry import find_method
from tests.performance.evaluations import solve_and_read
from tests.performance.instances import random_servers
from tests.performance.quasi_newton import QuasiNewton
from tests.performance.reporting import Row, Target
from tests.performance.resolving import Resolver, solve_cold
from tests.performance.timing import (
    FEW,
    Spread,
    Subject,
    format_seconds,
    interleave,
    without_warnings,
)

QUASI_NEWTON_TYPES = 100_000
METHOD_TYPES = 10_000
# Methods beside newton, by name or of one's own, and how many times its time we expect of them.
METHODS = ("conic",)
TARGETS = {"conic": 300.0}
SMALL_TYPES, SMALL_COUNT = 6, 20
Solve = Callable[[cq.Instance], cq.Solution]
# How each choice of variables is named in the table.
_METRICS = {"rate": "u = rate · tokens", "curvature": "u = √(curvature bound) · tokens"}
# At one load and level of thinking, the numbers of a large instance say little of the draw.
_UTILIZATION = (0.7, 0.7)
_EXPONENT = (1.0, 1.0)


def baselines(
    repeats: int,
    quasi_newton_types: int = QUASI_NEWTON_TYPES,
    method_types: int = METHOD_TYPES,
    small_count: int = SMALL_COUNT,
    methods: Sequence[str | OpenMethod] = METHODS,
) -> list[Row]:
    """Measure how many times as long the others take."""
    named = {find_method(method).name: partial(_solve, method) for method in methods}
    with without_warnings():
        return [
            *_quasi_newton(min(repeats, FEW), quasi_newton_types),
            *_large(min(repeats, FEW), method_types, named),
            *_small(repeats, small_count, named),
        ]


def _solve(method: str | OpenMethod, instance: cq.Instance) -> cq.Solution:
    return cq.solve(instance, method, on_failure="return")


def _drawn(types: int) -> cq.Instance:
    rng = np.random.default_rng((3, types))
    return random_servers(rng, 1, types, _UTILIZATION, _EXPONENT).instance()


def _newton(instance: cq.Instance) -> Subject[cq.Instance]:
    return Subject(solve_and_read, instance.replace)


def _quasi_newton(repeats: int, types: int) -> list[Row]:
    instance = _drawn(types)
    # Held to its default tolerance, as it is in the rounds.
    gap = cq.solve(instance.replace()).gap
    answers: dict[str, cq.Answer] = {}

    def run(problem: QuasiNewton) -> None:
        answers[problem.metric] = problem.solve()

    subjects: dict[str, Subject[Any]] = {
        metric: Subject(run, partial(QuasiNewton, instance, metric), is_slow=True)
        for metric in _METRICS
    }
    seconds = interleave({"newton": _newton(instance), **subjects}, repeats)
    rows = []
    for metric, name in _METRICS.items():
        answer = answers[metric]
        certificate = cq.certify(instance, answer.tokens)
        rows += [
            _ratio(
                f"N = {types:,}: L-BFGS-B, {name}",
                seconds,
                metric,
                100.0,
                f"{answer.iterations:,} iterations; {answer.backend_status}",
            ),
            Row(
                f"N = {types:,}: its certified gap, {name}",
                Spread(certificate.gap / gap),
                "gaps of newton",
                Target("≥", 1.0),
                f"relative gap {certificate.relative_gap:.2g}, "
                f"newton {gap / certificate.scale:.2g}",
            ),
        ]
    return rows


def _large(repeats: int, types: int, methods: Mapping[str, Solve]) -> list[Row]:
    instance = _drawn(types)
    gaps: dict[str, float] = {}

    def run(name: str, fresh: cq.Instance) -> None:
        gaps[name] = methods[name](fresh).relative_gap

    # A first solve loads what it needs, and that is not to be measured.
    for solve in methods.values():
        solve(random_servers(np.random.default_rng(3), 1, SMALL_TYPES).instance())
    others: dict[str, Subject[cq.Instance]] = {
        name: Subject(partial(run, name), instance.replace, is_slow=True) for name in methods
    }
    seconds = interleave({"newton": _newton(instance), **others}, repeats)
    return [
        _ratio(
            f"N = {types:,}: {name}",
            seconds,
            name,
            TARGETS.get(name),
            f"relative gap {gaps[name]:.2g}",
        )
        for name in methods
    ]


def _small(repeats: int, count: int, methods: Mapping[str, Solve]) -> list[Row]:
    servers = random_servers(np.random.default_rng(3), count, SMALL_TYPES)
    instances = [servers.instance(row) for row in range(count)]
    resolver = Resolver(instances[0])
    found: list[Mapping[str, FloatArray]] = []
    gaps: dict[str, list[float]] = {name: [] for name in ("re-solve", "cold solve", *methods)}
    for instance in instances:
        subjects: dict[str, Subject[cq.Instance]] = {
            "newton": _newton(instance),
            "re-solve": Subject(resolver.solve, instance.replace),
            "cold solve": Subject(solve_cold, instance.replace),
            **{name: Subject(solve, instance.replace) for name, solve in methods.items()},
        }
        found.append(interleave(subjects, repeats))
        gaps["re-solve"].append(resolver.relative_gap(instance))
        gaps["cold solve"].append(solve_cold(instance.replace()))
        for name, solve in methods.items():
            gaps[name].append(solve(instance.replace()).relative_gap)
    what = f"N = {SMALL_TYPES}, {count} instances"
    return [
        _median_ratio(f"{what}: warm re-solves of the DPP form", found, "re-solve", 5.0, gaps),
        _median_ratio(f"{what}: cold solves through CVXPY", found, "cold solve", 40.0, gaps),
        *(_median_ratio(f"{what}: {name}", found, name, None, gaps) for name in methods),
    ]


def _ratio(
    what: str, seconds: Mapping[str, FloatArray], rival: str, bound: float | None, details: str
) -> Row:
    ratios = seconds[rival] / seconds["newton"]
    return _row(what, ratios, [seconds], rival, bound, details)


def _median_ratio(
    what: str,
    found: Sequence[Mapping[str, FloatArray]],
    rival: str,
    bound: float | None,
    gaps: Mapping[str, Sequence[float]],
) -> Row:
    ratios = [float(np.median(seconds[rival] / seconds["newton"])) for seconds in found]
    details = f"median relative gap {np.median(gaps[rival]):.2g}"
    return _row(what, ratios, found, rival, bound, details)


def _row(
    what: str,
    ratios: ArrayLike,
    found: Sequence[Mapping[str, FloatArray]],
    rival: str,
    bound: float | None,
    details: str,
) -> Row:
    its, ours = (
        format_seconds(float(np.median([np.median(seconds[name]) for seconds in found])))
        for name in (rival, "newton")
    )
    return Row(
        what,
        Spread.of(ratios),
        "times newton's time",
        None if bound is None else Target("≥", bound),
        f"{its}, newton {ours}; {details}",
    )
