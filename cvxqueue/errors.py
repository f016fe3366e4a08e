"""The errors of the package: one base, so that a single ``except`` can catch them all."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple

from cvxqueue.formatting import at_least, printable


class CvxqueueError(Exception):
    """Base of every error that cvxqueue raises on purpose.

    Parameters
    ----------
    message : str
        Names of somebody else's making may be in it: what a terminal would obey is escaped.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class CvxqueueWarning(UserWarning):
    """Something is allowed, and probably not what was meant."""


class Entry(NamedTuple):
    """A field that a message names, or an entry of it, as in ``probabilities[3]``."""

    name: str
    place: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}[{', '.join(map(str, self.place))}]" if self.place else self.name


class InvalidInputError(CvxqueueError, ValueError):
    """An argument, an option or a file holds something that is not allowed.

    Parameters
    ----------
    *parts : str or Entry
        The message. What reads a file has other names for the entries; the text between them may
        be somebody's own, and stays as it is.
    """

    def __init__(self, *parts: str | Entry) -> None:
        self.parts = parts
        super().__init__("".join(map(str, parts)))


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Begin the message of an invalid input with where it is."""
    try:
        yield
    except InvalidInputError as error:
        raise type(error)(f"{where}: {error}") from error


@contextmanager
def renaming(rename: Callable[[Entry], Entry]) -> Iterator[None]:
    """Give the entries in the message of an invalid input other names."""
    try:
        yield
    except InvalidInputError as error:
        parts = (rename(part) if isinstance(part, Entry) else part for part in error.parts)
        raise type(error)(*parts) from error


class InfeasibleError(CvxqueueError, ValueError):
    """No allocation satisfies the constraints of the instance.

    Attributes
    ----------
    bound : AccuracyBound or None
        Where a floor on the mean accuracy is out of reach, what proves it.
    """

    def __init__(self, message: str, bound: Any = None) -> None:
        self.bound = bound
        super().__init__(message)


# Idle fraction that the advised arrival rate leaves: the last digit of a number of six.
_IDLE = 1e-6
# Times in milliseconds that are taken for seconds are so many times too long.
_MILLI = 1000.0


def slow_down(max_arrival_rate: float) -> str:
    """Return the advice of an arrival rate, per second, at which some time is idle."""
    return (
        f"lower arrival_rate to {at_least((1.0 - _IDLE) * max_arrival_rate, 6)} per second or less"
    )


class UnstableQueueError(InfeasibleError):
    """The queue is unstable even when every type thinks for its fewest tokens.

    Attributes
    ----------
    utilization : float
        Utilization at the fewest tokens, at least 1.
    max_arrival_rate : float
        Supremum of the arrival rates (1/s) at which some allocation is stable.
    bounds : str
        What sets the fewest tokens.
    """

    def __init__(
        self, utilization: float, max_arrival_rate: float, bounds: str = "min_tokens"
    ) -> None:
        self.utilization = utilization
        self.max_arrival_rate = max_arrival_rate
        self.bounds = bounds
        unit = "" if utilization >= _MILLI else "; times are in seconds: are these milliseconds?"
        super().__init__(
            f"no stable allocation: the utilization at {bounds} is {utilization:.6g}, and must "
            f"be below 1; {slow_down(max_arrival_rate)}, or the service times at {bounds}{unit}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.utilization, self.max_arrival_rate, self.bounds)


class BackendError(CvxqueueError, RuntimeError):
    """A solver outside the package failed; its own exception is the cause."""


class UnprovenError(CvxqueueError):
    """No record was found that proves the optimum to so many digits."""


class RefusedError(CvxqueueError):
    """A record does not prove what it claims, or is about another instance."""


class MissingDependencyError(CvxqueueError, ImportError):
    """An optional package that the call needs is not installed."""


def require_package(package: str, what: str, extra: str) -> None:
    """Raise an error where a package is not installed that something `what` says needs."""
    if find_spec(package) is None:
        raise MissingDependencyError(
            f"{what} the package {package!r}, which is not installed: {pip_install(package)} (the "
            f"extra {extra!r} has it)"
        )


def pip_install(package: str) -> str:
    """Return the command that installs a package for the interpreter that runs."""
    if find_spec("pip") is None:
        # The environment of the README has none: the pip of another Python installs into it.
        return f"python3 -m pip --python {shlex.quote(sys.prefix)} install {package}"
    return f"{shlex.quote(sys.executable)} -m pip install {package}"
