"""What the commands share that read measurements: their arguments, and how a file is read."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cvxqueue.cli.argument_types import confidence, fraction, not_negative, positive
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown

if TYPE_CHECKING:
    from cvxqueue.fitting import Requests

__all__ = ["add_diagnose_arguments", "add_fit_arguments", "add_trace_arguments", "pairs", "read"]


def read(options: argparse.Namespace, path: str, needs: tuple[str, ...]) -> Requests:
    """Return the requests of the one file of a command."""
    from cvxqueue.fitting import read_requests

    return read_requests(
        path,
        needs=needs,
        columns=pairs("--column", options.column, "FIELD=NAME"),
        where=pairs("--where", options.where, "NAME=VALUE"),
        max_malformed=options.max_malformed,
    )


def pairs(option: str, texts: Sequence[str], form: str) -> dict[str, str]:
    """Return texts with an equals sign as a mapping."""
    pairs = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not (name and value):
            raise InvalidInputError(f"{option} {shown(text)} must have the form {form}")
        pairs[name] = value
    return pairs


def add_fit_arguments(fit: argparse.ArgumentParser) -> None:
    """Add what ``cvxqueue fit`` takes."""
    fit.add_argument("--service", metavar="FILE", help="tokens and seconds of single requests")
    fit.add_argument(
        "--accuracy", metavar="FILE", help="right answers out of so many, by tokens and type"
    )
    fit.add_argument("--trace", metavar="FILE", help="arrival times, and types if known")
    fit.add_argument(
        "--accuracy-weight",
        metavar="S",
        type=positive,
        help="seconds of mean system time worth one unit of accuracy",
    )
    fit.add_argument(
        "--max-tokens", metavar="L", type=positive, help="cap of the tokens of every type"
    )
    fit.add_argument(
        "-o", "--output", metavar="FILE", help="instance file to write, .toml or .json"
    )
    fit.add_argument("--force", action="store_true", help="replace the output if it exists")
    fit.add_argument("--name", help="what the instance is called (default: the output's name)")
    fit.add_argument(
        "--arrival-rate",
        metavar="R",
        type=positive,
        help="queries per second, instead of those of the trace",
    )
    fit.add_argument(
        "--mix",
        metavar="TYPE=P",
        nargs="+",
        default=[],
        help="probability of each type, instead of those of the trace",
    )
    fit.add_argument(
        "--answer-tokens",
        metavar="L",
        type=not_negative,
        default=0.0,
        help="tokens of an answer beside those of its thinking; their time goes to the base",
    )
    fit.add_argument(
        "--token-scv",
        metavar="V",
        type=not_negative,
        default=0.0,
        help="squared coefficient of variation of the tokens used (see diagnose)",
    )
    fit.add_argument(
        "--confidence", metavar="C", type=confidence, default=0.95, help="of the intervals (0.95)"
    )
    _add_reading(fit, "PART.", "")


def add_diagnose_arguments(diagnose: argparse.ArgumentParser) -> None:
    """Add what ``cvxqueue diagnose`` takes."""
    diagnose.add_argument("file", metavar="FILE", help="requests, in any format that fit reads")
    _add_reading(diagnose, "", "")


def add_trace_arguments(simulate: argparse.ArgumentParser) -> None:
    """Add how ``cvxqueue simulate`` reads a trace."""
    _add_reading(simulate, "", " of the trace")


def _add_reading(parser: argparse.ArgumentParser, part: str, of: str) -> None:
    parts = "; PART is service, accuracy or trace" if part else ""
    parser.add_argument(
        "--column",
        metavar=f"{part}FIELD=NAME",
        action="append",
        default=[],
        help=f"column{of} that holds a field, where its name is not a usual one; a unit of time "
        f"that the name lacks is put behind it, as in timestamp_ms{parts}",
    )
    parser.add_argument(
        "--where",
        metavar=f"{part}NAME=VALUE",
        action="append",
        default=[],
        help=f"use only the rows{of} with this value in this column",
    )
    parser.add_argument(
        "--max-malformed",
        metavar="F",
        type=fraction,
        default=0.01,
        help="largest fraction of malformed rows to leave out (0.01); more are an error",
    )
