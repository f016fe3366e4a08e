"""The arguments of each command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from typing import NoReturn

from cvxqueue.cli.argument_types import not_negative, numbers, positive, whole
from cvxqueue.cli.measurements import (
    add_diagnose_arguments,
    add_fit_arguments,
    add_trace_arguments,
)
from cvxqueue.cli.output import to_stdout
from cvxqueue.errors import InvalidInputError
from cvxqueue.solvers import methods

__all__ = ["build_parser"]

_EXIT_STATUS = """\
exit status:
  0  a certified answer
  1  none: no allocation is stable and keeps the constraints, or no method
     reached its tolerance
  2  input that is not allowed"""

_DONE_OR_REFUSED = """\
exit status:
  0  done
  2  input that is not allowed"""


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors of the package, so that one place reports them."""

    def error(self, message: str) -> NoReturn:
        raise InvalidInputError(f"{message}; see {self.prog} --help")

    def _print_message(self, message: str, file: object = None) -> None:
        """Print the help or the version; argparse would not mind a full disk."""
        with to_stdout():
            sys.stdout.write(message)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; the parsed options hold the command to run as ``run``."""
    parser = _Parser(
        prog="cvxqueue",
        description="Certified convex optimization of reasoning tokens against queueing delay.",
        epilog="example:\n  cvxqueue solve examples/instances/qwen3-8b-h100.toml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"cvxqueue {version('cvxqueue')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_solve(commands)
    _add_check(commands)
    _add_simulate(commands)
    _add_fit(commands)
    _add_diagnose(commands)
    _command(
        commands,
        "schema",
        "print the JSON Schema of instance files",
        "Print the JSON Schema of instance files, for editors and other programs.",
        "example:\n  cvxqueue schema > cvxqueue-instance.schema.json",
    )
    info = _command(
        commands,
        "info",
        "print versions for a bug report",
        "Print the versions of everything that an answer depends on, for a bug report.",
        "example:\n  cvxqueue info",
    )
    _add_json(info)
    return parser


def _add_solve(commands: argparse._SubParsersAction[_Parser]) -> None:
    solve = _command(
        commands,
        "solve",
        "solve an instance by every method and print the best certified answer",
        "Print the answer with the smallest certified gap, every method beside it, the\n"
        "certificate, and the integer answer with its loss.",
        "examples:\n"
        "  cvxqueue solve examples/instances/qwen3-8b-h100.toml\n"
        "  cvxqueue solve server.toml --method conic --tolerance 1e-8 --plot server.png\n"
        "  generate-instance | cvxqueue solve - --json\n\n"
        f"{_EXIT_STATUS}",
    )
    _add_file(solve)
    solve.add_argument(
        "--method",
        metavar="NAME",
        help=f"run only this one of {', '.join(method.name for method in methods())}",
    )
    solve.add_argument(
        "--time-limit",
        metavar="S",
        type=positive,
        help="seconds for each method (default: no limit for the first one, 10 for each of the "
        "others, 3 for the integers)",
    )
    solve.add_argument(
        "--tolerance",
        metavar="T",
        type=positive,
        help="certified relative gap to reach (default: 1e-9, and for newton the least that "
        "double precision can prove)",
    )
    _add_json(solve)
    solve.add_argument(
        "--plot",
        metavar="FILE",
        help="also draw the accuracy curves and the path of each method (.png, .svg or .pdf)",
    )


def _add_check(commands: argparse._SubParsersAction[_Parser]) -> None:
    check = _command(
        commands,
        "check",
        "validate an instance file and say what can be proven before any method runs",
        "Validate an instance file, and say in plain words whether the queue can be\n"
        "stable and the constraints be kept, what is certified before any method runs,\n"
        "and what that means for the methods.",
        "example:\n"
        "  cvxqueue check examples/instances/qwen3-8b-h100.toml\n\n"
        "exit status:\n"
        "  0  some allocation is stable and keeps the constraints\n"
        "  1  none does, or none was found\n"
        "  2  input that is not allowed",
    )
    _add_file(check)
    _add_json(check)


def _add_simulate(commands: argparse._SubParsersAction[_Parser]) -> None:
    simulate = _command(
        commands,
        "simulate",
        "simulate the server at an allocation and compare with theory",
        "Simulate the server at the optimal tokens, or at those given, and print what\n"
        "theory says beside what was measured, with confidence intervals.",
        "examples:\n"
        "  cvxqueue simulate examples/instances/qwen3-8b-h100.toml --queries 10000000\n"
        "  cvxqueue simulate server.toml --tokens 512,1024 --seed 7 --json\n"
        "  cvxqueue simulate server.toml --integer --trace arrivals.csv --match-rate\n\n"
        "exit status:\n"
        "  0  the simulation ran; its outcome is in the table\n"
        "  1  no allocation is stable and keeps the constraints, or none is certified\n"
        "  2  input that is not allowed",
    )
    _add_file(simulate)
    simulate.add_argument(
        "--queries",
        metavar="N",
        type=whole(2),
        help="queries to simulate (default: a million, or the whole trace)",
    )
    simulate.add_argument(
        "--seed", metavar="S", type=whole(0), default=0, help="of the random numbers (default: 0)"
    )
    which = simulate.add_mutually_exclusive_group()
    which.add_argument(
        "--tokens",
        metavar="L",
        type=numbers,
        help="one number for all types, or one for each, commas between (default: the optimum)",
    )
    which.add_argument("--integer", action="store_true", help="the best whole tokens")
    when = simulate.add_mutually_exclusive_group()
    when.add_argument(
        "--gap-scv",
        metavar="C",
        type=not_negative,
        help="squared coefficient of variation of the times between arrivals (default: Poisson)",
    )
    when.add_argument(
        "--trace",
        metavar="FILE",
        help="replay the arrival times of a file, in any format that fit reads",
    )
    simulate.add_argument(
        "--match-rate",
        action="store_true",
        help="stretch the trace to the arrival rate of the instance",
    )
    add_trace_arguments(simulate)
    _add_json(simulate)


def _add_fit(commands: argparse._SubParsersAction[_Parser]) -> None:
    fit = _command(
        commands,
        "fit",
        "fit an instance to measured service times, accuracies and arrivals",
        "Fit the service line, the accuracy curves and the arrivals to measurements, with\n"
        "intervals and warnings, and write the instance. A file is a CSV table with a\n"
        "header, JSON Lines, the JSON of `vllm bench serve --save-detailed`, or an Azure\n"
        "LLM or Mooncake trace.",
        "examples:\n"
        "  cvxqueue fit --service times.csv --accuracy answers.csv --trace trace.csv \\\n"
        "      --accuracy-weight 100 --max-tokens 32768 -o server.toml\n"
        "  cvxqueue fit --trace AzureLLMInferenceTrace_conv.csv --json\n"
        "  cvxqueue fit --service times.csv --where service.concurrency=1 \\\n"
        "      --column service.seconds=wall_ms\n\n"
        f"{_DONE_OR_REFUSED}",
    )
    add_fit_arguments(fit)
    _add_json(fit)


def _add_diagnose(commands: argparse._SubParsersAction[_Parser]) -> None:
    diagnose = _command(
        commands,
        "diagnose",
        "say whether the model describes a server, from its measured requests",
        "Test the assumptions of the model on measured requests: service times linear in\n"
        "the tokens and regardless of the load, Poisson arrivals, budgets used up.",
        "examples:\n"
        "  cvxqueue diagnose requests.csv\n"
        "  cvxqueue diagnose bench.json --json\n\n"
        f"{_DONE_OR_REFUSED}",
    )
    add_diagnose_arguments(diagnose)
    _add_json(diagnose)


def _command(
    commands: argparse._SubParsersAction[_Parser],
    name: str,
    summary: str,
    description: str,
    epilog: str,
) -> _Parser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=_deferred(name))
    return parser


def _deferred(name: str) -> Callable[[argparse.Namespace], int]:
    """Return the command, to be imported when it runs: ``--help`` waits for nothing."""

    def run(options: argparse.Namespace) -> int:
        status: int = import_module(f"cvxqueue.cli.{name}").run(options)
        return status

    return run


def _add_file(parser: _Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="instance file, TOML or JSON; - for stdin")


def _add_json(parser: _Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
