"""The command line: ``cvxqueue solve``, ``check``, ``simulate``, ``fit`` and so on."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper

from cvxqueue.cli.output import drop_output, to_stdout, write_error, write_json
from cvxqueue.cli.parser import build_parser
from cvxqueue.errors import (
    CvxqueueError,
    InfeasibleError,
    InvalidInputError,
    MissingDependencyError,
)

__all__ = ["main"]

# What a shell reports of a program that the signals SIGINT and SIGPIPE ended.
_INTERRUPTED = 130
_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the name of the program; by default those of the process.

    Returns
    -------
    int
        Exit status: 0 for a certified answer, 1 for none (no allocation is stable and keeps the
        constraints, or no method reached its tolerance), 2 for input that is not allowed.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no Greek letters gets escapes, not a traceback.
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run(arguments)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has left.
        drop_output()
        return _BROKEN_PIPE
    return status


def _run(arguments: list[str]) -> int:
    try:
        return _command(arguments)
    except CvxqueueError as error:
        write_error(str(error))
        if "--json" in arguments:
            # Where stdout is what failed, the line above has to do.
            with suppress(CvxqueueError):
                write_json({"status": _status(error), "error": str(error)})
        return 2 if isinstance(error, (InvalidInputError, MissingDependencyError)) else 1


def _command(arguments: list[str]) -> int:
    try:
        options = build_parser().parse_args(arguments)
    except SystemExit as finished:
        # argparse prints the help or the version, and flushes nothing.
        with to_stdout():
            return finished.code if isinstance(finished.code, int) else 0
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: write_error(str(message), "warning")
        status: int = options.run(options)
    return status


def _status(error: CvxqueueError) -> str:
    if isinstance(error, InfeasibleError):
        return "infeasible"
    if isinstance(error, InvalidInputError):
        return "invalid_input"
    return "missing_dependency" if isinstance(error, MissingDependencyError) else "error"
