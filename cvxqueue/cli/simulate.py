"""``cvxqueue simulate``: an allocation on the simulated server, beside what theory says of it."""

from __future__ import annotations

import argparse
import csv
from io import StringIO
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from cvxqueue.cli.output import progress, write, write_json
from cvxqueue.cli.reading import read_instance
from cvxqueue.errors import InvalidInputError
from cvxqueue.fitting.columns import REQUEST_FIELDS, require_dates, seconds_in_unit
from cvxqueue.fitting.tables import read_text
from cvxqueue.formatting import plural
from cvxqueue.integer import solve_integer
from cvxqueue.model import Instance, LevelMenu
from cvxqueue.model.arrays import FloatArray
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
    if options.trace is not None:
        arrivals = _trace(options.trace, instance.arrival_rate if options.match_rate else None)
    elif options.match_rate:
        raise InvalidInputError("--match-rate needs --trace FILE")
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


def _trace(name: str, rate: float | None) -> FloatArray:
    """Return the arrival times in the first column of a file, from zero, in seconds."""
    try:
        reader = csv.reader(StringIO(read_text(Path(name)), newline=""), strict=True)
        rows = [(reader.line_num, row[0]) for row in reader if row]
    except csv.Error as error:
        raise InvalidInputError(f"--trace {name}: is no CSV file: {error}") from error
    except InvalidInputError as error:
        raise InvalidInputError(f"--trace: {error}") from error
    unit = 1.0
    if rows and _seconds(rows[0][1]) is None and not rows[0][1].strip()[:1].isdigit():
        # The names of the columns.
        unit = seconds_in_unit(rows[0][1])
        rows = rows[1:]
    found = [(number, _seconds(text, unit), text) for number, text in rows]
    for number, time, text in found:
        if time is None:
            raise InvalidInputError(
                f"--trace {name}: line {number}: {text!r} is no arrival time; the first column "
                "must hold seconds, or dates with times as 2026-01-31 12:00:00.5"
            )
    times = np.array([time for _, time, _ in found], dtype=np.float64)
    if len(times) < 2:
        raise InvalidInputError(f"--trace {name}: must have at least two arrivals")
    require_dates(f"--trace {name}", times)
    times -= times[0]
    falls = np.flatnonzero(np.diff(times) < 0)
    if falls.size:
        raise InvalidInputError(
            f"--trace {name}: line {found[falls[0] + 1][0]}: arrives before the one above it"
        )
    if rate is not None and times[-1] > 0:
        times *= (len(times) - 1) / (times[-1] * rate)
    return times


def _seconds(text: str, unit: float = 1.0) -> float | None:
    """Seconds since some beginning, or ``None``."""
    try:
        return float(REQUEST_FIELDS["arrivals"].parse(text, unit))
    except ValueError:
        return None


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
