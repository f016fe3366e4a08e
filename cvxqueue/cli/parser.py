"""The parser of the command line: help that is wrapped, and complaints that help."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, NoReturn

from cvxqueue.cli.commands import COMMANDS, Argument
from cvxqueue.cli.output import to_stdout, width
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.suggest import nearest

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

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; a command refuses what it does not know itself, and so names its own help."""
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
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    for name, command in COMMANDS.items():
        own = commands.add_parser(
            name,
            help=command.summary,
            description=command.description,
            epilog=command.epilog,
            **layout,
        )
        for given in command.arguments:
            if isinstance(given, Argument):
                own.add_argument(*given.names, **given.settings)
                continue
            group = own.add_mutually_exclusive_group()
            for argument in given:
                group.add_argument(*argument.names, **argument.settings)
        if name != "schema":
            form = own.add_mutually_exclusive_group()
            form.add_argument("--json", action="store_true", help="print one JSON object on stdout")
            form.add_argument("--csv", action="store_true", help=f"print {command.table} as CSV")
    return parser, commands.choices
