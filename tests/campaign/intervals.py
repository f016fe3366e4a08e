"""Simulated servers and streams whose truth is known: how often the intervals hold it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.statistics import poisson_test
from tests.campaign.report import Report

# What 95 % intervals may cover, and how often the comparison may say that a right theory differs.
_LEAST, _MOST, _FALSE = 0.92, 0.98, 0.05
# Of so many runs, less those with a caution, what was covered lies within these bounds; of fewer,
# it is no further out than chance takes it once in ten thousand times.
_ENOUGH, _CHANCE = 400, 1e-4
# Long runs have a caution in at most this part.
_FEW_CAUTIONS = 0.1
# Cheap cases run so often in each trial, for a smaller uncertainty.
_OFTEN = 4
_FIFO = cq.FIFO()


@dataclass(frozen=True)
class Server:
    """A server at a load, simulated for so many relaxation times, or queries."""

    name: str
    probabilities: tuple[float, ...]
    times: tuple[float, ...]
    load: float
    relaxations: float
    queue: cq.FIFO | cq.Vacations = _FIFO
    token_scv: float = 0.0
    runs: int = 1

    def run(self, rng: np.random.Generator, report: Report) -> None:
        """Simulate, and count what held."""
        instance, tokens = self.instance()
        relaxation = cq.simulate(instance, tokens, queries=2).relaxation
        queries = math.ceil(self.relaxations * relaxation)
        for _ in range(self.runs):
            simulation = cq.simulate(instance, tokens, queries=queries, seed=rng, threads=1)
            check = cq.check_simulation(simulation)
            report.count(f"{self.name}: {check.outcome}")
            caution = "caution" if simulation.caution else "none"
            for row in check.rows:
                if row.quantity in _SHOWN:
                    held = row.estimate.at(0.95).covers(row.theory)
                    count(report, f"{self.name}: {row.quantity}", held, caution)

    def instance(self) -> tuple[cq.Instance, FloatArray]:
        """The instance, at one query a second, and the tokens."""
        pi = np.array(self.probabilities) / math.fsum(self.probabilities)
        times = np.array(self.times) * self.load / float(pi @ self.times)
        size = len(self.times)
        service = cq.AffineService(base=0.0, per_token=1e-3, token_scv=self.token_scv)
        instance = cq.Instance(
            arrival_rate=1.0,
            accuracy_weight=1.0,
            max_tokens=1e6,
            probabilities=pi,
            service=service,
            accuracy=cq.SaturatingExponential(floor=np.full(size, 0.5), gain=0.3, rate=1e-3),
            queue=self.queue,
        )
        return instance, 1000.0 * times


_SHOWN = ("mean waiting time (s)", "wait variance (s²)")


@dataclass(frozen=True)
class Stream:
    """Independent gaps of a law whose squared coefficient of variation is known."""

    name: str
    scv: float
    arrivals: int
    draw: Callable[[np.random.Generator, int], FloatArray]

    def run(self, rng: np.random.Generator, report: Report) -> None:
        """Draw, test, and count what held."""
        for _ in range(_OFTEN):
            test = poisson_test(np.cumsum(self.draw(rng, self.arrivals)))
            low, high = test.gap_scv.interval
            caution = "caution" if test.caution else "none"
            count(report, f"{self.name}: scv of the gaps", low <= self.scv <= high, caution)


def count(report: Report, what: str, held: bool, caution: str) -> None:
    """Count an interval."""
    report.count(f"{what}, {caution}: {'held' if held else 'missed'}")


def _gamma(scv: float) -> Callable[[np.random.Generator, int], FloatArray]:
    return lambda rng, size: rng.gamma(1.0 / scv, scv, size)


_THREE = ((0.2, 0.5, 0.3), (1.5, 1.0, 4.5))
# Twenty types whose times have the quantiles of a lognormal law, the longest 50 times the shortest.
_TWENTY = ((1.0,) * 20, tuple(np.exp(np.linspace(-2.0, 2.0, 20)).tolist()))
# A type of one query in a thousand holds nine tenths of the third moment.
_RARE = ((0.989, 0.01, 0.001), (1.0, 3.0, 20.0))
_ONE = ((1.0,), (1.0,))
_CASES: tuple[Server | Stream, ...] = (
    Server("three types at 0.95, 43 relaxations", *_THREE, 0.95, 43.0, runs=_OFTEN),
    Server("three types at 0.95, 1,700", *_THREE, 0.95, 1700.0),
    Server("one type at 0.95, 1,250", *_ONE, 0.95, 1250.0),
    Server("one type at 0.8, 1,001", *_ONE, 0.8, 1001.0, runs=_OFTEN),
    Server("exponential at 0.8, 2,500", *_ONE, 0.8, 2500.0, token_scv=1.0),
    Server("scv of 4 at 0.5, 2,500", *_ONE, 0.5, 2500.0, token_scv=4.0),
    Server("twenty types at 0.8, 1,600", *_TWENTY, 0.8, 1600.0),
    Server("a rare long type at 0.02, 990", *_RARE, 0.02, 990.0, runs=_OFTEN),
    Server("vacations at 0.8, 1,100", *_THREE, 0.8, 1100.0, queue=cq.Vacations(2.0, 4.0)),
    *(
        Stream(f"gamma gaps, scv {scv:g}, {arrivals} arrivals", scv, arrivals, _gamma(scv))
        for scv in (0.5, 1.0, 2.0)
        for arrivals in (15, 50, 200)
    ),
)
TRIALS = _ENOUGH * len(_CASES)


def trial(seed: int, number: int) -> Report:
    """Run one of the cases."""
    report = Report()
    _CASES[number % len(_CASES)].run(np.random.default_rng([seed, number]), report)
    return report


def verdict(figures: Counter[str]) -> list[str]:
    """What is covered too rarely or too often, warned of too often, or found wrong."""
    wrong = []
    stems = sorted(
        {name.rpartition(":")[0] for name in figures if name.endswith(("held", "missed"))}
    )
    for stem in stems:
        held, missed = figures[f"{stem}: held"], figures[f"{stem}: missed"]
        line = _share(f"{stem}: held", held, held + missed)
        print(line)
        if stem.endswith("none") and _is_outside(held, held + missed, _LEAST, _MOST):
            wrong.append(line)
    servers = [case for case in _CASES if isinstance(case, Server)]
    total = Counter[str]()
    for case in servers:
        verdicts = Counter(
            {it: figures[f"{case.name}: {it}"] for it in ("agrees", "undecided", "differs")}
        )
        total += verdicts
        line = _share(f"{case.name}: differs", verdicts["differs"], verdicts.total())
        print(f"{line}, undecided {verdicts['undecided']}")
        if _is_unlikely(verdicts["differs"], verdicts.total(), _FALSE):
            wrong.append(line)
        first = f"{case.name}: {_SHOWN[0]}"
        warned = sum(figures[f"{first}, caution: {it}"] for it in ("held", "missed"))
        if case.relaxations > 1000.0 and _is_unlikely(warned, verdicts.total(), _FEW_CAUTIONS):
            wrong.append(_share(f"{case.name}: caution", warned, verdicts.total()))
    line = _share("all servers: differs", total["differs"], total.total())
    print(line)
    if total.total() >= _ENOUGH and total["differs"] > _FALSE * total.total():
        wrong.append(line)
    return wrong


def _share(what: str, events: int, runs: int) -> str:
    share = events / max(runs, 1)
    return f"{what} {share:.3f} ± {math.sqrt(share * (1.0 - share) / max(runs, 1)):.3f} of {runs}"


def _is_outside(held: int, runs: int, least: float, most: float) -> bool:
    """Whether a coverage is out of its bounds, or of few runs, out of them not by chance."""
    if runs >= (1.0 - _FEW_CAUTIONS) * _ENOUGH:
        return not least <= held / runs <= most
    return _is_unlikely(runs - held, runs, 1.0 - least) or _is_unlikely(held, runs, most)


def _is_unlikely(events: int, runs: int, probability: float) -> bool:
    """Whether so many events are more than chance makes of a probability."""
    return bool(binom.sf(events - 1, runs, probability) < _CHANCE)
