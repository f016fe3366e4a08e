"""Newton beside the other ways to solve the same instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray
from tests.performance.evaluations import solve_and_read
from tests.performance.instances import random_servers
from tests.performance.quasi_newton import Answer, QuasiNewton
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
CONIC_TYPES = 10_000
SMALL_TYPES, SMALL_COUNT = 6, 20
# How each choice of variables is named in the table.
_METRICS = {"rate": "u = rate · tokens", "curvature": "u = √(curvature bound) · tokens"}
# At one load and level of thinking, the numbers of a large instance say little of the draw.
_UTILIZATION = (0.7, 0.7)
_EXPONENT = (1.0, 1.0)


def baselines(
    repeats: int,
    quasi_newton_types: int = QUASI_NEWTON_TYPES,
    conic_types: int = CONIC_TYPES,
    small_count: int = SMALL_COUNT,
) -> list[Row]:
    """Measure how many times as long the others take."""
    with without_warnings():
        return [
            *_quasi_newton(min(repeats, FEW), quasi_newton_types),
            *_large_conic(min(repeats, FEW), conic_types),
            *_small(repeats, small_count),
        ]


def _large(types: int) -> cq.Instance:
    rng = np.random.default_rng((3, types))
    return random_servers(rng, 1, types, _UTILIZATION, _EXPONENT).instance()


def _newton(instance: cq.Instance) -> Subject[cq.Instance]:
    return Subject(solve_and_read, instance.replace)


def _quasi_newton(repeats: int, types: int) -> list[Row]:
    instance = _large(types)
    # Held to its default tolerance, as it is in the rounds.
    gap = cq.solve(instance.replace()).gap
    answers: dict[str, Answer] = {}

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
                f"{answer.iterations:,} iterations; {answer.message.strip()}",
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


def _large_conic(repeats: int, types: int) -> list[Row]:
    instance = _large(types)
    # A first solve loads cvxpy, and that is not to be measured.
    _solve_conic(random_servers(np.random.default_rng(3), 1, SMALL_TYPES).instance())
    gaps: list[float] = []

    def run(fresh: cq.Instance) -> None:
        gaps.append(_solve_conic(fresh).relative_gap)

    seconds = interleave(
        {"newton": _newton(instance), "conic": Subject(run, instance.replace, is_slow=True)},
        repeats,
    )
    details = f"relative gap {gaps[-1]:.2g}"
    return [_ratio(f"N = {types:,}: conic", seconds, "conic", 300.0, details)]


def _solve_conic(instance: cq.Instance) -> cq.Solution:
    return cq.solve(instance, "conic", on_failure="return")


def _small(repeats: int, count: int) -> list[Row]:
    servers = random_servers(np.random.default_rng(3), count, SMALL_TYPES)
    instances = [servers.instance(row) for row in range(count)]
    resolver = Resolver(instances[0])
    found: list[Mapping[str, FloatArray]] = []
    gaps: dict[str, list[float]] = {"resolve": [], "cold": [], "conic": []}
    for instance in instances:
        subjects: dict[str, Subject[cq.Instance]] = {
            "newton": _newton(instance),
            "resolve": Subject(resolver.solve, instance.replace),
            "cold": Subject(solve_cold, instance.replace),
            "conic": Subject(_solve_conic, instance.replace),
        }
        found.append(interleave(subjects, repeats))
        gaps["resolve"].append(resolver.relative_gap(instance))
        gaps["cold"].append(solve_cold(instance.replace()))
        gaps["conic"].append(_solve_conic(instance.replace()).relative_gap)
    what = f"N = {SMALL_TYPES}, {count} instances"
    return [
        _median_ratio(f"{what}: warm re-solves of the DPP form", found, "resolve", 5.0, gaps),
        _median_ratio(f"{what}: cold solves through CVXPY", found, "cold", 40.0, gaps),
        _median_ratio(f"{what}: conic, which hands over cones", found, "conic", None, gaps),
    ]


def _ratio(
    what: str, seconds: Mapping[str, FloatArray], rival: str, bound: float, details: str
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
