"""The arguments of each command."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple, NoReturn

from cvxqueue.cli.arguments import (
    add_benchmark,
    add_certify,
    add_diagnose,
    add_explain,
    add_export,
    add_file,
    add_fit,
    add_prove,
    add_references,
    add_report,
    add_simulate,
    add_solve,
    add_sweep,
    add_verify,
)
from cvxqueue.cli.output import to_stdout, width
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.suggest import nearest

_DONE_OR_REFUSED = """\
exit status:
  0  done
  2  input that is not allowed"""


# Of each group of commands the first, and what the help calls the group.
_HEADINGS = {
    "solve": "allocations",
    "fit": "measurements",
    "references": "research",
    "benchmark": "solver comparison",
    "explain": "teaching",
    "schema": "for other programs, and for reports of bugs",
}


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal, in which lines that begin with two spaces stay as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=width())

    def _format_action(self, action: argparse.Action) -> str:
        heading = _HEADINGS.get(action.dest)
        above = f"\n  {heading}\n" if heading else ""
        return above + super()._format_action(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(map(partial(_wrapped, width), text.split("\n")))


def _wrapped(width: int, line: str) -> str:
    """A line of prose, or the meaning of an exit status; an example is pasted whole."""
    if line.startswith("  ") and not line.lstrip()[:1].isdigit():
        return line
    hanging = " " * (5 if line.startswith("  ") else 0)
    return textwrap.fill(line, width, subsequent_indent=hanging, break_on_hyphens=False)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors of the package, so that one place reports them."""

    def error(self, message: str) -> NoReturn:
        raise InvalidInputError(f"{message}; see {self.prog} --help")

    def refuse(self, argument: str) -> NoReturn:
        """Complain of an argument that is unknown, and name the nearest option."""
        option, *_ = argument.partition("=")
        if option in self._option_string_actions:
            self.error(f"{shown(argument)} stands behind --, where no option is one")
        known = f": {nearest(option, self._option_string_actions)}" if option[:1] == "-" else ""
        self.error(f"unrecognized argument {shown(argument)}{known}")

    def _print_message(self, message: str, file: object = None) -> None:
        """Print the help or the version; argparse would not mind a full disk."""
        with to_stdout():
            sys.stdout.write(message)


class _CommandParser(_Parser):
    """One command, which refuses what it does not know itself, and so names its own help."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, and name the nearest option to the first that is unknown."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.refuse(unknown[0])
        return options, unknown


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; among them is the name of the ``command`` to run."""
    parser, commands = _build_parsers()
    if not arguments:
        # As for any input that is not allowed: no script takes it for an answer.
        parser.print_help()
        parser.exit(2)
    first = arguments[0]
    if first.startswith("-") and first not in parser._option_string_actions:
        if any(first in command._option_string_actions for command in commands.values()):
            parser.error(f"{first} is an option of a command, and comes after it")
        parser.refuse(first)
    if not first.startswith("-") and first not in commands:
        parser.error(f"unknown command {shown(first)}: {nearest(first, commands)}")
    return parser.parse_args(arguments)


def _build_parsers() -> tuple[_Parser, Mapping[str, _Parser]]:
    """Return the parser, and that of each command."""
    layout: dict[str, Any] = {"formatter_class": _Formatter, "allow_abbrev": False}
    parser = _Parser(
        prog="cvxqueue",
        description="Certified convex optimization of reasoning tokens against queueing delay.",
        epilog="example:\n  cvxqueue solve qwen3-8b-h100",
        **layout,
    )
    parser.add_argument("--version", action="version", version=f"cvxqueue {version('cvxqueue')}")
    commands = parser.add_subparsers(
        title="commands",
        dest="command",
        metavar="COMMAND",
        required=True,
        parser_class=_CommandParser,
    )
    for name, command in _COMMANDS.items():
        own = commands.add_parser(
            name,
            help=command.summary,
            description=command.description,
            epilog=command.epilog,
            **layout,
        )
        if command.add_arguments is not None:
            command.add_arguments(own)
        if name != "schema":
            form = own.add_mutually_exclusive_group()
            form.add_argument("--json", action="store_true", help="print one JSON object on stdout")
            form.add_argument("--csv", action="store_true", help=f"print {command.table} as CSV")
    return parser, commands.choices


class _Command(NamedTuple):
    """One command: what it says of itself, and what it takes beside ``--json`` and ``--csv``."""

    summary: str
    description: str
    epilog: str
    table: str = ""
    add_arguments: Callable[[_Parser], None] | None = None


_COMMANDS = {
    "solve": _Command(
        "solve an instance by every method and print the best certified answer",
        "Print the answer with the smallest certified gap, every method beside it, the "
        "certificate, and the integer answer with its loss.",
        "examples:\n"
        "  cvxqueue solve qwen3-8b-h100\n"
        "  cvxqueue solve server.toml --method conic --tolerance 1e-8 --plot server.png\n"
        "  generate-instance | cvxqueue solve - --json\n\n"
        "exit status:\n"
        "  0  a certified answer\n"
        "  1  none: no allocation is stable and keeps the constraints, or no method reached "
        "its tolerance\n"
        "  2  input that is not allowed",
        "the answer by task type",
        add_solve,
    ),
    "check": _Command(
        "validate an instance file and say what can be proven before any method runs",
        "Validate an instance file, and say in plain words whether the queue can be "
        "stable and the constraints be kept, what is certified before any method runs, "
        "and what that means for the methods.",
        "example:\n"
        "  cvxqueue check qwen3-8b-h100\n\n"
        "exit status:\n"
        "  0  some allocation is stable and keeps the constraints\n"
        "  1  none does, or none was found\n"
        "  2  input that is not allowed",
        "the findings",
        add_file,
    ),
    "simulate": _Command(
        "simulate the server at an allocation and compare with theory",
        "Simulate the server at the optimal tokens, or at those given, and print what "
        "theory says beside what was measured, with confidence intervals.",
        "examples:\n"
        "  cvxqueue simulate qwen3-8b-h100 --queries 1e7\n"
        "  cvxqueue simulate server.toml --tokens 512,1024 --seed 7 --json\n"
        "  cvxqueue simulate server.toml --integer --trace arrivals.csv --match-rate\n\n"
        "exit status:\n"
        "  0  the simulation ran; its outcome is in the table\n"
        "  1  no allocation is stable and keeps the constraints, or none is certified\n"
        "  2  input that is not allowed",
        "theory beside the simulation",
        add_simulate,
    ),
    "fit": _Command(
        "fit an instance to measured service times, accuracies and arrivals",
        "Fit the service line, the accuracy curves and the arrivals to measurements, with "
        "intervals and warnings, and write the instance. A file is a CSV table with a "
        "header, JSON Lines, the JSON of `vllm bench serve --save-detailed`, or an Azure "
        "LLM or Mooncake trace.",
        "examples:\n"
        "  cvxqueue fit --service times.csv --accuracy answers.csv --trace trace.csv \\\n"
        "      --accuracy-weight 100 --max-tokens 32768 -o server.toml\n"
        "  cvxqueue fit --trace AzureLLMInferenceTrace_conv.csv --json\n"
        "  cvxqueue fit --service times.csv --where service.concurrency=1 \\\n"
        "      --column service.seconds=wall_ms\n\n"
        f"{_DONE_OR_REFUSED}",
        "the estimates",
        add_fit,
    ),
    "diagnose": _Command(
        "say whether the model describes a server, from its measured requests",
        "Test the assumptions of the model on measured requests: service times linear in "
        "the tokens and regardless of the load, Poisson arrivals, budgets used up.",
        "examples:\n"
        "  cvxqueue diagnose requests.csv\n"
        "  cvxqueue diagnose bench.json --json\n\n"
        f"{_DONE_OR_REFUSED}",
        "the findings",
        add_diagnose,
    ),
    "references": _Command(
        "list the instances whose optimum is proven, and cite one",
        "List the references: instances with a record that proves the optimum. Wherever a "
        "command takes FILE it takes the name of one; a file of that name is before it.",
        "examples:\n"
        "  cvxqueue references\n"
        "  cvxqueue references heavy-traffic-6 --bibtex\n"
        "  cvxqueue references qwen3-8b-h100 --output record.json\n\n"
        f"{_DONE_OR_REFUSED}",
        "the references, or the tokens of one by task type",
        add_references,
    ),
    "prove": _Command(
        "prove the optimum to many digits and write a record that anybody can verify",
        "Find the optimum in decimal arithmetic and write a record of it, with its proof, that "
        "cvxqueue verify accepts, and so does the one file verify.py with a bare Python. Tokens "
        "are real numbers; whole ones, within the domains of the file, are proven besides with "
        "--integer.",
        "example:\n"
        "  cvxqueue prove qwen3-8b-h100 --output record.json\n\n"
        "exit status:\n"
        "  0  proven, and written\n"
        "  1  not: no allocation is stable and keeps the constraints, or no proof was found\n"
        "  2  input that is not allowed",
        "the tokens by task type",
        add_prove,
    ),
    "verify": _Command(
        "verify the record of a proven optimum",
        "Prove again, in interval arithmetic, what a record claims, and say whether it is about "
        "an instance.",
        "examples:\n"
        "  cvxqueue verify heavy-traffic-6\n"
        "  cvxqueue verify record.json qwen3-8b-h100\n\n"
        "exit status:\n"
        "  0  accepted\n"
        "  1  refused\n"
        "  2  unreadable, or input that is not allowed",
        "the tokens by task type",
        add_verify,
    ),
    "certify": _Command(
        "grade an answer: which of its claims are true",
        "Say of an answer, by whatever solver, which of its claims are true: that it is feasible "
        "and optimal, its objective, its gap and its intervals. The truth is proven by a record, "
        "to as many digits as it has, or certified from the instance alone.",
        "examples:\n"
        "  cvxqueue solve server.toml --json | cvxqueue certify server.toml -\n"
        "  cvxqueue certify heavy-traffic-6 answer.json\n"
        "  cvxqueue certify qwen3-8b-h100 --tokens 1048,2147,847,1328,947 --integer\n"
        "  cvxqueue certify server.toml --tokens 512,1024 --tolerance 0.001\n\n"
        "exit status:\n"
        "  0  no claim is wrong; also where the verdict is open\n"
        "  1  one is, or the record is refused\n"
        "  2  input that is not allowed",
        "the tokens by task type",
        add_certify,
    ),
    "export": _Command(
        "write an instance for other solvers: .cbf, .npz or .nl",
        "Write an instance as a conic program, in the Conic Benchmark Format (.cbf) or as NumPy "
        "arrays for Clarabel and SCS (.npz), or as AMPL's nonlinear program (.nl). The least value "
        "of its objective is minus the best objective, in seconds, or in the cost_unit that the "
        "first line of .nl states. Feasibility is decided in "
        "closed form only: constraints that leave nothing only together may be exported.",
        "examples:\n"
        "  cvxqueue export qwen3-8b-h100 --output server.cbf\n"
        "  cvxqueue export server.toml --output server.nl --integer\n\n"
        "exit status:\n"
        "  0  written\n"
        "  1  not: no allocation is stable, or none keeps one of the constraints\n"
        "  2  input that is not allowed",
        "the tokens per unit of each variable",
        add_export,
    ),
    "sweep": _Command(
        "solve an instance at every combination of the values of some parameters",
        "Solve and certify an instance at every combination of the values given; one at which no "
        "allocation is stable, or keeps the constraints, is a row that says so.",
        "examples:\n"
        "  cvxqueue sweep server.toml --arrival-rate 0.01:0.2:200 --plot load.png\n"
        "  cvxqueue sweep server.toml --arrival-rate 0.01:0.2:200 \\\n"
        "      --accuracy-weight 10:3000:50:log --output rows.csv\n\n"
        "exit status:\n"
        "  0  every row that has an allocation has a certified one\n"
        "  1  some have not\n"
        "  2  input that is not allowed",
        "the rows",
        add_sweep,
    ),
    "benchmark": _Command(
        "run solvers on instances, each run in a process of its own",
        "Run solvers on instances, with their own settings and asked for 1e-9, and have every "
        "answer judged by certificate or record. A run has a process of its own, with limits of "
        "time and memory: what hangs or crashes costs one row. Results that are there are not "
        "repeated.",
        "examples:\n"
        "  cvxqueue benchmark heavy-traffic planted:1000 --output results.jsonl\n"
        "  cvxqueue benchmark library --solver newton --solver mine.solvers:fast -o r.jsonl\n"
        "  cvxqueue benchmark library --shard 2/8 --output 2.jsonl\n"
        "  cvxqueue benchmark --merge 1.jsonl 2.jsonl --output results.jsonl\n\n"
        f"{_DONE_OR_REFUSED}",
        "the runs",
        add_benchmark,
    ),
    "report": _Command(
        "write what the results of a comparison say, as one page",
        "Write a page about results: accuracy first, then time, and where each solver fails.",
        f"example:\n  cvxqueue report results.jsonl --output report.html\n\n{_DONE_OR_REFUSED}",
        "the runs",
        add_report,
    ),
    "explain": _Command(
        "explain why the rules of convex programming accept a form, or where they refuse it",
        "Print the tree of the problem as CVXPY sees it: the curvature and the sign of each part, "
        "the rule that gives them, and where one fails, which and why, with a way out.",
        "examples:\n"
        "  cvxqueue explain one-type --form textbook\n"
        "  cvxqueue explain server.toml --form parametric --with-parameters\n"
        "  cvxqueue explain server.toml --svg tree.svg\n\n"
        "exit status:\n"
        "  0  the rules accept the form\n"
        "  1  they refuse it\n"
        "  2  input that is not allowed",
        "the tree",
        add_explain,
    ),
    "schema": _Command(
        "print the JSON Schema of instance files",
        "Print the JSON Schema of instance files, for editors and other programs.",
        "example:\n  cvxqueue schema > cvxqueue-instance.schema.json",
    ),
    "info": _Command(
        "print versions for a bug report",
        "Print the versions of everything that an answer depends on, for a bug report.",
        "example:\n  cvxqueue info",
        "the versions",
    ),
}
