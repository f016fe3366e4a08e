"""What each command takes, and what each number may be."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import TypeVar

from cvxqueue.formatting import shown
from cvxqueue.solvers import methods

__all__ = ["add_diagnose", "add_file", "add_fit", "add_simulate", "add_solve"]

_Number = TypeVar("_Number", int, float)


def _type(
    convert: Callable[[str], _Number], allows: Callable[[_Number], bool], what: str
) -> Callable[[str], _Number]:
    """Return a type of argument, and say what may be one of any other."""

    def read(text: str) -> _Number:
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not allows(value):
            raise ArgumentTypeError(f"must be {what}, got {shown(text)}")
        return value

    return read


_positive = _type(float, lambda value: 0.0 < value < math.inf, "a finite number > 0")
_not_negative = _type(float, lambda value: 0.0 <= value < math.inf, "a finite number ≥ 0")
_confidence = _type(float, lambda value: 0.0 < value < 1.0, "a number in (0, 1)")
_fraction = _type(float, lambda value: 0.0 <= value <= 1.0, "a number in [0, 1]")


def _whole(least: int) -> Callable[[str], int]:
    """Return a type of whole numbers from `least` on."""
    return _type(int, lambda value: value >= least, f"a whole number ≥ {least}")


def _numbers(text: str) -> list[float]:
    """Return numbers ≥ 0 with commas between them."""
    return [_not_negative(part) for part in text.split(",")]


def add_file(parser: ArgumentParser) -> None:
    """Add the file of an instance."""
    parser.add_argument("file", metavar="FILE", help="instance file, TOML or JSON; - for stdin")


def add_solve(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue solve`` takes."""
    add_file(parser)
    names = ", ".join(method.name for method in methods())
    parser.add_argument("--method", metavar="NAME", help=f"run only this one of {names}")
    parser.add_argument(
        "--time-limit",
        metavar="S",
        type=_positive,
        help="seconds for each method (default: no limit for the first one, 10 for each of the "
        "others, 3 for the integers)",
    )
    parser.add_argument(
        "--tolerance",
        metavar="T",
        type=_positive,
        help="certified relative gap to reach (default: 1e-9, and for newton the least that "
        "double precision can prove)",
    )
    parser.add_argument(
        "--plot",
        metavar="FILE",
        help="also draw the accuracy curves and the path of each method (.png, .svg or .pdf)",
    )


def add_simulate(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue simulate`` takes."""
    add_file(parser)
    parser.add_argument(
        "--queries",
        metavar="N",
        type=_whole(2),
        help="queries to simulate (default: a million, or the whole trace)",
    )
    parser.add_argument(
        "--seed", metavar="S", type=_whole(0), default=0, help="of the random numbers (default: 0)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--tokens",
        metavar="L",
        type=_numbers,
        help="one number for all types, or one for each, commas between (default: the optimum)",
    )
    which.add_argument("--integer", action="store_true", help="the best whole tokens")
    when = parser.add_mutually_exclusive_group()
    when.add_argument(
        "--gap-scv",
        metavar="C",
        type=_not_negative,
        help="squared coefficient of variation of the times between arrivals (default: Poisson)",
    )
    when.add_argument(
        "--trace",
        metavar="FILE",
        help="replay the arrival times of a file, in any format that fit reads",
    )
    parser.add_argument(
        "--match-rate",
        action="store_true",
        help="stretch the trace to the arrival rate of the instance",
    )
    _add_reading(parser, of=" of the trace")


def add_fit(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue fit`` takes."""
    parser.add_argument("--service", metavar="FILE", help="tokens and seconds of single requests")
    parser.add_argument(
        "--accuracy", metavar="FILE", help="right answers out of so many, by tokens and type"
    )
    parser.add_argument("--trace", metavar="FILE", help="arrival times, and types if known")
    parser.add_argument(
        "--accuracy-weight",
        metavar="S",
        type=_positive,
        help="seconds of mean system time worth one unit of accuracy",
    )
    parser.add_argument(
        "--max-tokens", metavar="L", type=_positive, help="cap of the tokens of every type"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="instance file to write, .toml or .json"
    )
    parser.add_argument("--force", action="store_true", help="replace the output if it exists")
    parser.add_argument(
        "--name", metavar="NAME", help="what the instance is called (default: the output's name)"
    )
    parser.add_argument(
        "--arrival-rate",
        metavar="R",
        type=_positive,
        help="queries per second, instead of those of the trace",
    )
    parser.add_argument(
        "--mix",
        metavar="TYPE=P",
        nargs="+",
        default=[],
        help="probability of each type, instead of those of the trace",
    )
    parser.add_argument(
        "--answer-tokens",
        metavar="L",
        type=_not_negative,
        default=0.0,
        help="tokens of an answer beside those of its thinking; their time goes to the base",
    )
    parser.add_argument(
        "--token-scv",
        metavar="V",
        type=_not_negative,
        default=0.0,
        help="squared coefficient of variation of the tokens used (see diagnose)",
    )
    parser.add_argument(
        "--confidence", metavar="C", type=_confidence, default=0.95, help="of the intervals (0.95)"
    )
    _add_reading(parser, part="PART.")


def add_diagnose(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue diagnose`` takes."""
    parser.add_argument("file", metavar="FILE", help="requests, in any format that fit reads")
    _add_reading(parser)


def _add_reading(parser: ArgumentParser, *, part: str = "", of: str = "") -> None:
    """Add how files of measurements are read."""
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
        type=_fraction,
        default=0.01,
        help="largest fraction of malformed rows to leave out (0.01); more are an error",
    )
