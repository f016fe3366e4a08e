"""The command line: ``cvxqueue solve``, ``check``, ``simulate``, ``fit`` and so on."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

from cvxqueue.cli.output import prepare_streams, write_error, write_json
from cvxqueue.cli.parser import parse
from cvxqueue.errors import (
    CvxqueueError,
    InfeasibleError,
    InvalidInputError,
    MissingDependencyError,
    RefusedError,
    UnprovenError,
)
from cvxqueue.interrupts import end_at_once

__all__ = ["main"]

# What a shell reports of a program that the signal SIGINT ended: the command line inside another
# program, where Ctrl-C is for that to handle.
_INTERRUPTED = 130
_STATUS_OF = {
    RefusedError: "refused",
    UnprovenError: "unproven",
    InfeasibleError: "infeasible",
    InvalidInputError: "invalid_input",
    MissingDependencyError: "missing_dependency",
    CvxqueueError: "error",
}


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
        constraints, or no method reached its tolerance), 2 for input that is not allowed or an
        answer that could not be written. A reader that leaves before the end changes nothing.
    """
    if argv is None:
        end_at_once()
        argv = sys.argv[1:]
    arguments = list(argv)
    prepare_streams()
    try:
        return _command(arguments)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except CvxqueueError as error:
        return _failed(error, arguments)
    except OSError as error:
        # Of a file that the arguments name, such as one with too long a name.
        if error.filename is None:
            raise
        return _failed(InvalidInputError(f"{error.filename}: {error.strerror}"), arguments)


def _failed(error: CvxqueueError, arguments: list[str]) -> int:
    write_error(str(error))
    if "--json" in arguments:
        # Where stdout is what failed, the line above has to do.
        with suppress(CvxqueueError):
            status = next(status for kind, status in _STATUS_OF.items() if isinstance(error, kind))
            write_json({"status": status, "error": str(error)})
    return 2 if isinstance(error, (InvalidInputError, MissingDependencyError)) else 1


def _command(arguments: list[str]) -> int:
    try:
        options = parse(arguments)
    except SystemExit as finished:
        # After the help or the version.
        return finished.code if isinstance(finished.code, int) else 0
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: write_error(str(message), "warning")
        # Imported when it runs: ``--help`` waits for nothing.
        status: int = import_module(f"cvxqueue.cli.{options.command}").run(options)
    return status
