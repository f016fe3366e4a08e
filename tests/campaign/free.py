"""Instances without coupling constraints: what is claimed of them, against the exact optimum."""

from __future__ import annotations

import time
import warnings

import numpy as np

from tests.campaign.asked import ask
from tests.campaign.claims import Truth, built
from tests.campaign.exact import DIGITS, Problem, digits
from tests.campaign.hostile import draw
from tests.campaign.optimum import PROVEN, optimum
from tests.campaign.report import Report
from tests.families import Family

TRIALS = 20_000


def trial(seed: int, number: int) -> Report:
    """Draw an instance and hold all that is claimed of it to its exact optimum."""
    rng = np.random.default_rng([seed, number, 1])
    what, family = draw(rng)
    return judged(rng, what, family)


def judged(rng: np.random.Generator, what: str, family: Family) -> Report:
    """Ask the package about an instance."""
    report = Report()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        instance = built(report, what, family.instance)
        if instance is None:
            return report
        with digits(DIGITS):
            problem = Problem.of(family)
        began = time.perf_counter()
        best = optimum(problem)
        report.time("the oracle", began)
        if best is not None:
            report.count("optima proven" if best.gap <= PROVEN else "optima NOT proven")
        ask(Truth(report, what, problem, best), rng, instance)
    return report
