"""The cases by name."""

from __future__ import annotations

from tests.performance.baselines import baselines
from tests.performance.batch import batch
from tests.performance.contraction import contraction
from tests.performance.evaluations import evaluations
from tests.performance.families import families
from tests.performance.frames import frames
from tests.performance.growth import growth
from tests.performance.integers import integers
from tests.performance.iterations import iterations
from tests.performance.lessons import lessons
from tests.performance.memory import memory
from tests.performance.proofs import proofs
from tests.performance.reporting import Case
from tests.performance.sensitivities import sensitivities
from tests.performance.simulation import simulation
from tests.performance.startup import startup
from tests.performance.sweeps import sweeps

CASES = {
    case.name: case
    for case in (
        Case(
            "evaluations",
            "the time of a certified solve in evaluations of the plain objective",
            evaluations,
        ),
        Case("memory", "the memory that a solve needs at its peak", memory),
        Case("baselines", "other ways to solve the same instance, beside newton", baselines),
        Case("batch", "many small instances in one call", batch),
        Case("frames", "a batch as a data frame of a million rows, beside solving it", frames),
        Case("sweeps", "sweeps of up to a million rows, in memory and into a file", sweeps),
        Case("sensitivities", "derivatives of the optimum, beside a solve", sensitivities),
        Case("growth", "the time of a solve as the number of types grows", growth),
        Case("families", "other queues, curves and service laws, beside the original", families),
        Case("iterations", "the iterations of newton on random instances of all loads", iterations),
        Case("integers", "the exact integer method, beside conic reference solves", integers),
        Case(
            "contraction",
            "how often best responses provably converge, and what the first-order methods need",
            contraction,
        ),
        Case("proofs", "proofs of optima to thirty digits", proofs),
        Case("simulation", "simulated queries per second, beside Ciw", simulation),
        Case("startup", "whole commands, beside cvxqueue check", startup),
        Case("lessons", "the notebooks of all lessons, with solutions", lessons),
    )
}
