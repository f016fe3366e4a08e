"""What each command takes, and what each number may be."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import numpy as np

from cvxqueue.formatting import shown
from cvxqueue.numerics.checks import LARGEST_COUNT
from cvxqueue.solvers import methods

_Value = TypeVar("_Value")


def _type(
    convert: Callable[[str], _Value], allows: Callable[[_Value], bool], what: str
) -> Callable[[str], _Value]:
    """Return a type of argument, and say what may be one of any other."""

    def read(text: str) -> _Value:
        with suppress(ValueError):
            if allows(value := convert(text)):
                return value
        raise ArgumentTypeError(f"must be {what}, got {shown(text)}")

    return read


_positive = _type(float, lambda value: 0.0 < value < math.inf, "a finite number > 0")
_not_negative = _type(float, lambda value: 0.0 <= value < math.inf, "a finite number ≥ 0")
_confidence = _type(float, lambda value: 0.0 < value < 1.0, "a number in (0, 1)")
_fraction = _type(float, lambda value: 0.0 <= value <= 1.0, "a number in [0, 1]")


def _whole_number(text: str) -> int:
    """Read a whole number that may be written as a float, such as 1e5."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) <= LARGEST_COUNT else int(text)


def _whole(least: int) -> Callable[[str], int]:
    """Return a type of whole numbers from `least` on."""
    return _type(_whole_number, lambda value: value >= least, f"a whole number ≥ {least}")


def _setting(form: str) -> Callable[[str], tuple[str, str]]:
    """Return a type of texts with an equals sign, as names and values."""
    return _type(lambda text: text.partition("=")[::2], all, f"of the form {form}")


def _parts(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    return int(part), int(parts)


_shard = _type(_parts, lambda parts: 1 <= parts[0] <= parts[1], "I/N with 1 ≤ I ≤ N, such as 2/8")


def _share(text: str) -> tuple[str, float]:
    # A name may hold an equals sign; a probability does not.
    name, _, value = text.rpartition("=")
    return name, float(value)


def _numbers(text: str) -> list[float]:
    """Return numbers ≥ 0 with commas between them."""
    return [_not_negative(part) for part in text.split(",")]


SWEPT = ("arrival_rate", "accuracy_weight", "max_tokens", "min_tokens")
"""What `cvxqueue sweep` takes values of."""
# Ten million rows take a minute or two; more values of one parameter are a slip.
_MOST_VALUES = 10_000_000


def _values(text: str) -> list[float]:
    """Return numbers with commas between them, or evenly spaced ones: START:STOP:COUNT[:log]."""
    first, *rest = text.split(":")
    if not rest:
        return _numbers(text)
    last, many, *how = rest
    count = _whole_number(many)
    low, high = float(first), float(last)
    if not (1 <= count <= _MOST_VALUES and 0.0 <= low < math.inf and 0.0 <= high < math.inf):
        raise ValueError
    if how == ["log"] and min(low, high) > 0.0:
        return list(map(float, np.geomspace(low, high, count)))
    if how:
        raise ValueError
    return list(map(float, np.linspace(low, high, count)))


def add_file(parser: ArgumentParser) -> None:
    """Add the file of an instance."""
    parser.add_argument(
        "file",
        metavar="FILE",
        help="instance file, TOML or JSON; - for stdin; or the name of a reference",
    )


def add_solve(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue solve`` takes."""
    add = parser.add_argument
    add_file(parser)
    names = ", ".join(method.name for method in methods())
    add("--method", metavar="NAME", help=f"run only this one of {names}")
    add(
        "--time-limit",
        metavar="S",
        type=_positive,
        help="seconds for each method (default: no limit for the first one, 10 for each of the "
        "others, 3 for the integers)",
    )
    add(
        "--tolerance",
        metavar="T",
        type=_positive,
        help="certified relative gap to reach (default: 1e-9, and for newton the least that "
        "double precision can prove)",
    )
    add(
        "--sensitivities",
        action="store_true",
        help="print the derivatives of the optimum by every number of the instance, too; with "
        "--csv these instead of the answer",
    )
    _add_plot(parser, "the accuracy curves and the path of each method")


def add_sweep(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue sweep`` takes."""
    add = parser.add_argument
    add_file(parser)
    form = "numbers ≥ 0 as A,B,C or START:STOP:COUNT[:log], COUNT from 1 to 10⁷, log above 0"
    of = {"arrival_rate": "queries per second", "accuracy_weight": "seconds per unit of accuracy"}
    for name in SWEPT:
        add(
            f"--{name.replace('_', '-')}",
            metavar="VALUES",
            type=_type(_values, bool, form),
            help=f"{of.get(name, f'{name[:3]}imum tokens of all types')}: A,B,C or "
            "START:STOP:COUNT[:log]",
        )
    add("-o", "--output", metavar="FILE", help="CSV file to write all rows to")
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="scheduler of a Dask cluster to run on, such as tcp://10.0.0.1:8786",
    )
    _add_plot(parser, "what came of it")


def add_simulate(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue simulate`` takes."""
    add = parser.add_argument
    add_file(parser)
    add(
        "--queries",
        metavar="N",
        type=_whole(2),
        help="queries to simulate, such as 1e7 (default: a million, or the whole trace)",
    )
    add("--seed", metavar="S", type=_whole(0), default=0, help="of the random numbers (default: 0)")
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
    add(
        "--match-rate",
        action="store_true",
        help="stretch the trace to the arrival rate of the instance",
    )
    _add_plot(parser, "how far the simulation is from theory")
    _add_reading(parser, of=" of the trace")


def add_fit(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue fit`` takes."""
    add = parser.add_argument
    add("--service", metavar="FILE", help="tokens and seconds of single requests")
    add("--accuracy", metavar="FILE", help="right answers out of so many, by tokens and type")
    add("--trace", metavar="FILE", help="arrival times, and types if known")
    add(
        "--accuracy-weight",
        metavar="S",
        type=_positive,
        help="seconds of mean system time worth one unit of accuracy",
    )
    add("--max-tokens", metavar="L", type=_positive, help="cap of the tokens of every type")
    add("-o", "--output", metavar="FILE", help="instance file to write, .toml or .json")
    add("--force", action="store_true", help="replace the output if it exists")
    add("--name", metavar="NAME", help="what the instance is called (default: the output's name)")
    add(
        "--arrival-rate",
        metavar="R",
        type=_positive,
        help="queries per second, instead of those of the trace",
    )
    add(
        "--mix",
        metavar="TYPE=P",
        type=_type(_share, lambda share: share[0] != "", "of the form TYPE=PROBABILITY"),
        nargs="+",
        default=[],
        help="probability of each type, instead of those of the trace",
    )
    add(
        "--answer-tokens",
        metavar="L",
        type=_not_negative,
        default=0.0,
        help="tokens of an answer beside those of its thinking; their time goes to the base",
    )
    add(
        "--token-scv",
        metavar="V",
        type=_not_negative,
        default=0.0,
        help="squared coefficient of variation of the tokens used (see diagnose)",
    )
    add("--confidence", metavar="C", type=_confidence, default=0.95, help="of the intervals (0.95)")
    _add_plot(parser, "service times and accuracies, and what was fitted to them")
    _add_reading(parser, part="PART.")


def add_prove(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue prove`` takes."""
    add = parser.add_argument
    add_file(parser)
    add("-o", "--output", metavar="RECORD", required=True, help="record to write, .json")
    add("--digits", metavar="N", type=_whole(1), default=30, help="to prove, up to 200 (30)")
    add("--integer", action="store_true", help="prove the best whole tokens besides")


def add_verify(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue verify`` takes."""
    add = parser.add_argument
    add("record", metavar="RECORD", help="what cvxqueue prove wrote, or a reference")
    add("file", metavar="FILE", nargs="?", help="instance file or reference it should be about")


def add_benchmark(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue benchmark`` takes."""
    add = parser.add_argument
    add(
        "names",
        metavar="FILE|NAME",
        nargs="+",
        help="instance file, reference, the beginning of references (heavy-traffic), library for "
        "all of them, or a random instance as planted:TYPES[:SEED] or exact:TYPES[:SEED]",
    )
    add("-o", "--output", metavar="RESULTS", required=True, help="file of rows, .jsonl; goes on")
    add(
        "--solver",
        metavar="NAME",
        action="append",
        help="a method, cvxpy-NAME, scipy-slsqp, scipy-trust-constr, uno or nlopt-mma, or one of "
        "your own as package.module:function; may be repeated (default: all that are installed)",
    )
    add(
        "--settings",
        choices=["default", "tight"],
        action="append",
        help="what a solver does by itself, or asked for 1e-9; may be repeated (default: both)",
    )
    add("--time-limit", metavar="S", type=_positive, default=10.0, help="seconds for a call (10)")
    add(
        "--memory-limit",
        metavar="BYTES",
        type=_positive,
        default=4e9,
        help="for a run, such as 4e9, the default; on Linux",
    )
    add("--shard", metavar="I/N", type=_shard, default=(1, 1), help="run the I-th of N parts")
    add("--seed", metavar="S", type=_whole(0), default=0, help="of the order of the runs (0)")
    add("--merge", action="store_true", help="run nothing: FILE are results, added to RESULTS")


def add_report(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue report`` takes."""
    add = parser.add_argument
    add("results", metavar="RESULTS", nargs="+", help="what cvxqueue benchmark wrote")
    add("-o", "--output", metavar="PAGE", required=True, help="report to write, .html or .md")
    help_ = "one that is reported; may be repeated (default: all)"
    add("--solver", metavar="NAME", action="append", help=help_)
    add("--settings", choices=["default", "tight"], action="append", help=help_)


def add_references(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue references`` takes."""
    add = parser.add_argument
    add("name", metavar="NAME", nargs="?", help="of one reference (default: all of them)")
    add("--bibtex", action="store_true", help="print an entry to cite it by, or the package")
    add("-o", "--output", metavar="RECORD", help="also write the record of NAME, .json")


def add_certify(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue certify`` takes."""
    add = parser.add_argument
    add("file", metavar="FILE", help="instance file, record or reference; - for stdin")
    add(
        "answer",
        metavar="ANSWER",
        nargs="?",
        help="what cvxqueue solve --json or --csv printed, or tokens alone as JSON or CSV",
    )
    add("--tokens", metavar="L", type=_numbers, help="the tokens, commas between, as the answer")
    add("--integer", action="store_true", help="grade the whole tokens, by a record of such")
    add(
        "--tolerance",
        metavar="T",
        type=_positive,
        default=1e-6,
        help="relative gap within which tokens claim to be optimal that come alone (1e-6)",
    )
    add(
        "--feasibility-tolerance",
        metavar="L",
        type=_not_negative,
        default=1e-5,
        help="tokens by which an allocation may miss the box or a constraint (1e-5)",
    )


def add_export(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue export`` takes."""
    add_file(parser)
    add = parser.add_argument
    add("-o", "--output", metavar="X", required=True, help="file to write, .cbf, .npz or .nl")
    add("--integer", action="store_true", help="tokens are whole numbers (.cbf and .nl)")


def add_explain(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue explain`` takes."""
    add = parser.add_argument
    add_file(parser)
    add("--form", default="dcp", help="dcp, scaled, parametric or textbook (dcp)")
    add(
        "--with-parameters",
        action="store_true",
        help="apply the rules for parameters (DPP), as for the parametric form",
    )
    add("--svg", metavar="FILE", help="also write the tree as a drawing")


def add_diagnose(parser: ArgumentParser) -> None:
    """Add what ``cvxqueue diagnose`` takes."""
    parser.add_argument("file", metavar="FILE", help="requests, in any format that fit reads")
    _add_reading(parser)


def _add_plot(parser: ArgumentParser, what: str) -> None:
    parser.add_argument("--plot", metavar="FILE", help=f"also draw {what} (.png, .svg or .pdf)")


def _add_reading(parser: ArgumentParser, *, part: str = "", of: str = "") -> None:
    """Add how files of measurements are read."""
    add = parser.add_argument
    parts = "; PART is service, accuracy or trace" if part else ""
    add(
        "--column",
        metavar=f"{part}FIELD=NAME",
        type=_setting(f"{part}FIELD=NAME"),
        action="append",
        default=[],
        help=f"column{of} that holds a field, where its name is not a usual one; a unit of time "
        f"that the name lacks is put behind it, as in timestamp_ms{parts}",
    )
    add(
        "--where",
        metavar=f"{part}NAME=VALUE",
        type=_setting(f"{part}NAME=VALUE"),
        action="append",
        default=[],
        help=f"use only the rows{of} with this value in this column",
    )
    add(
        "--max-malformed",
        metavar="F",
        type=_fraction,
        default=0.01,
        help="largest fraction of malformed rows to leave out (0.01); more are an error",
    )
