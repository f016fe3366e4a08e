"""The cases by name."""

from __future__ import annotations

from tests.benchmarks.batch import batch
from tests.benchmarks.contraction import contraction
from tests.benchmarks.evaluations import evaluations
from tests.benchmarks.families import families
from tests.benchmarks.growth import growth
from tests.benchmarks.integers import integers
from tests.benchmarks.iterations import iterations
from tests.benchmarks.memory import memory
from tests.benchmarks.reporting import Case
from tests.benchmarks.rivals import rivals
from tests.benchmarks.simulation import simulation

CASES = {
    case.name: case
    for case in (
        Case(
            "evaluations",
            "the time of a certified solve in evaluations of the plain objective",
            evaluations,
        ),
        Case("memory", "the memory that a solve needs at its peak", memory),
        Case("rivals", "other ways to solve the same instance, beside newton", rivals),
        Case("batch", "many small instances in one call", batch),
        Case("growth", "the time of a solve as the number of types grows", growth),
        Case("families", "other queues, curves and service laws, beside the original", families),
        Case("iterations", "the iterations of newton on random instances of all loads", iterations),
        Case("integers", "the exact integer method, beside conic reference solves", integers),
        Case(
            "contraction",
            "how often best responses provably converge, and what the first-order methods need",
            contraction,
        ),
        Case("simulation", "simulated queries per second, beside Ciw", simulation),
    )
}
