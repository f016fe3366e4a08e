"""``cvxqueue simulate``: an allocation on the simulated server, beside what theory says of it."""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.cli.inputs import read_instance, read_measurements
from cvxqueue.cli.output import progress, require_picture, show, write_picture
from cvxqueue.errors import InvalidInputError, naming
from cvxqueue.fitting.units import require_arrivals
from cvxqueue.integer import solve_integer
from cvxqueue.model import Instance, LevelMenu
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.simulation import check_simulation, simulate
from cvxqueue.simulation.result import ARRIVALS
from cvxqueue.simulation.simulate import STEPS
from cvxqueue.solvers import solve
from cvxqueue.tables import Part

# Seconds for the best whole tokens.
_ROUNDING_SECONDS = 60.0


def run(options: argparse.Namespace) -> int:
    """Solve, simulate and print."""
    require_picture(options.plot)
    instance = read_instance(options.file)
    arrivals = options.gap_scv
    warnings: tuple[str, ...] = ()
    if options.trace is not None:
        rate = instance.arrival_rate if options.match_rate else None
        arrivals, warnings = _trace(options, rate)
    elif options.match_rate or options.column or options.where:
        raise InvalidInputError("--match-rate, --column and --where need --trace FILE")
    tokens, origin = _tokens(instance, options)
    with progress(STEPS) as step:
        step("simulating")
        simulation = simulate(
            instance,
            tokens,
            queries=options.queries,
            seed=options.seed,
            arrivals=arrivals,
            progress=lambda _: step("simulating"),
        )
    write_picture(options.plot, simulation)
    check = check_simulation(simulation)
    summary = {
        "status": "simulated",
        "instance": instance.name,
        "allocation": origin,
        "warnings": list(warnings),
        **simulation.to_dict(),
        "theory": check.to_dict(),
    }
    heading: Part = [
        (f"{instance.name}: " if instance.name else "", "bold"),
        f"{origin}, {simulation.queries:,} queries, {ARRIVALS[simulation.arrivals]}, "
        f"{simulation.batches} batches\n",
    ]
    notes = [(f"warning: {warning}", "yellow") for warning in warnings]
    show(options, summary, check.table(), heading, check, *notes)
    return 0


def _tokens(instance: Instance, options: argparse.Namespace) -> tuple[ArrayLike, str]:
    """Return the tokens to simulate, and where they come from."""
    if options.tokens is not None:
        given = options.tokens
        return given[0] if len(given) == 1 else given, "given tokens"
    if not options.integer:
        return solve(instance).tokens, "optimal tokens"
    for k, domain in enumerate(instance.domains or ()):
        if isinstance(domain, LevelMenu):
            raise InvalidInputError(
                f"--integer: {instance.type_name(k)} has measured levels of effort, which have no "
                "token counts to simulate; give --tokens, or neither for the continuous optimum"
            )
    return solve_integer(instance, time_limit=_ROUNDING_SECONDS).tokens, "best whole tokens"


def _trace(options: argparse.Namespace, rate: float | None) -> tuple[FloatArray, tuple[str, ...]]:
    """Return the arrival times of a file, from zero on, as `fit` reads them; and its warnings."""
    with naming("--trace"):
        requests = read_measurements(options, options.trace, ("arrivals",))
        times = np.sort(requests.column("arrivals"))
        if len(times) < 2 or times[-1] == 0:
            raise InvalidInputError(f"{options.trace}: must have two different arrival times")
        require_arrivals(f"{options.trace}: arrivals", times)
    if rate is not None:
        times *= (len(times) - 1) / (times[-1] * rate)
    return times, (*requests.source.warnings, *requests.disorder)
