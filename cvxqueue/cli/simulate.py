"""``cvxqueue simulate``: an allocation on the simulated server, beside what theory says of it."""

from __future__ import annotations

import argparse

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from cvxqueue.cli.measurements import read
from cvxqueue.cli.output import progress, write, write_json
from cvxqueue.cli.reading import read_instance
from cvxqueue.errors import InvalidInputError
from cvxqueue.fitting.units import require_arrivals
from cvxqueue.formatting import plural
from cvxqueue.integer import solve_integer
from cvxqueue.model import Instance, LevelMenu
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.simulation import Simulation, TheoryCheck, check_simulation, simulate
from cvxqueue.simulation.simulate import STEPS
from cvxqueue.solvers import solve

__all__ = ["run"]

_ARRIVALS = {
    "poisson": "Poisson arrivals",
    "renewal": "renewal arrivals",
    "trace": "replayed arrivals",
}


_STYLES = {"agrees": "green", "differs": "red", "undecided": "yellow"}


def run(options: argparse.Namespace) -> int:
    """Solve, simulate and print."""
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
    check = check_simulation(simulation)
    if options.json:
        write_json(
            {
                "status": "simulated",
                "instance": instance.name,
                "allocation": origin,
                "warnings": list(warnings),
                **simulation.to_dict(),
                "theory": check.to_dict(),
            }
        )
    else:
        write(
            _heading(simulation, origin),
            "",
            _table(check),
            "",
            *(Text(sentence) for sentence in check.sentences),
            *(Text(f"warning: {warning}", "yellow") for warning in warnings),
        )
    return 0


def _tokens(instance: Instance, options: argparse.Namespace) -> tuple[FloatArray, str]:
    """Return the tokens to simulate, and where they come from."""
    if options.tokens is not None:
        given = options.tokens
        tokens = np.full(instance.size, given[0]) if len(given) == 1 else np.array(given)
        if len(tokens) != instance.size:
            raise InvalidInputError(
                f"--tokens must be one number, or one for each of the "
                f"{plural(instance.size, 'task type')}, got {len(tokens)}"
            )
        return tokens, "given tokens"
    if options.integer:
        _require_token_counts(instance)
        return solve_integer(instance).tokens.astype(np.float64), "best whole tokens"
    return solve(instance).tokens, "optimal tokens"


def _require_token_counts(instance: Instance) -> None:
    for k, domain in enumerate(instance.domains or ()):
        if isinstance(domain, LevelMenu):
            raise InvalidInputError(
                f"--integer: {instance.type_name(k)} has measured levels of effort, which have no "
                "token counts to simulate; give --tokens, or neither for the continuous optimum"
            )


def _trace(options: argparse.Namespace, rate: float | None) -> tuple[FloatArray, tuple[str, ...]]:
    """Return the arrival times of a file, from zero on, as `fit` reads them; and its warnings."""
    try:
        requests = read(options, options.trace, ("arrivals",))
        times = np.sort(requests.column("arrivals"))
        if len(times) < 2 or times[-1] == 0:
            raise InvalidInputError(f"{options.trace}: must have two different arrival times")
        require_arrivals(f"{options.trace}: arrivals", times)
    except InvalidInputError as error:
        raise InvalidInputError(f"--trace: {error}") from error
    if rate is not None:
        times *= (len(times) - 1) / (times[-1] * rate)
    return times, (*requests.source.warnings, *requests.disorder)


def _heading(simulation: Simulation, origin: str) -> Text:
    instance = simulation.instance
    name = f"{instance.name}: " if instance.name else ""
    return Text.assemble(
        (name, "bold"),
        f"{origin}, {simulation.queries:,} queries, {_ARRIVALS[simulation.arrivals]}, "
        f"{simulation.batches} batches",
    )


def _table(check: TheoryCheck) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    table.add_column("quantity", overflow="fold")
    for header in ("theory", "simulated", "interval"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in check.rows:
        low, high = row.estimate.interval
        table.add_row(
            Text(row.quantity),
            f"{row.theory:.5g}",
            f"{row.estimate.value:.5g}",
            f"[{low:.5g}, {high:.5g}]",
            Text(row.verdict, _STYLES[row.verdict]),
        )
    return table
