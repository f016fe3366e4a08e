"""What happens in the process of one run: the calls of a solver, and what is told of them.

Somebody else's code ends here, whatever it raises, prints, closes or kills. It is told of in memory
that the process shares with those that wait for it: no descriptor can be closed or written to, and
no disk can be full, as the file behind it has its room before the run begins.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BytesIO, FileIO
from mmap import mmap
from multiprocessing.spawn import prepare
from pathlib import Path
from struct import Struct

# By name, so that no solver that is loaded later can put another clock in their place.
from time import monotonic, perf_counter
from typing import Any, NamedTuple, NoReturn

import numpy as np

from cvxqueue.benchmark.solvers import MAIN, Solver, main_script
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import printable
from cvxqueue.model import Instance
from cvxqueue.solvers.open_method import checked

REPEATS = 5
"""Calls after the first one."""
WORDS = 500
"""Characters kept of what a solver said."""
# What is told of a call beside the tokens, each of which is at most 25 characters and a comma.
_CALL, _TOKEN = 1 << 14, 26
# The moment at which the first call began, then that of the others; zero before.
_SINCE = Struct("d")

# What says so of a licence; a path or a sentence may have the word, too.
_LICENCE = re.compile(
    r"\b(?:no|missing|invalid|expired|without|requires?|find|limited|obtain)"
    r"(?: (?:an?|any|the|valid|active|found))* licen[cs]e\b"
    r"|(?<![/\\.\w-])licen[cs]e"
    r"(?: (?:file|key|server|token|check|is|was|has|been|could|does|did))*:?"
    r" (?:not|cannot|no longer|missing|invalid|expired|failed|failure|error|required|denied)\b",
    re.IGNORECASE,
)


class Limits(NamedTuple):
    """What one run may take."""

    time: float
    """Seconds for the first call, and as many for all others."""
    memory: float
    """Bytes of address space beyond those of a process with the imports."""


def write_task(
    folder: Path, solver: Solver, instance: Instance, settings: Mapping[str, Any], limits: Limits
) -> None:
    """Write what a process is to do, and room for all that it can tell of it."""
    task = pickle.dumps((solver, instance, dict(settings), limits))
    # The script itself is run again only for what it alone has.
    main = main_script() if MAIN.encode() in task else {}
    (folder / "task").write_bytes(pickle.dumps((sys.path, main)) + task)
    (folder / "told").write_bytes(bytes((REPEATS + 2) * (_CALL + _TOKEN * instance.size)))


def began(file: FileIO) -> float:
    """Return the moment since which the time of a run counts; zero before."""
    file.seek(0)
    moment: float = _SINCE.unpack(file.read(_SINCE.size).ljust(_SINCE.size, b"\0"))[0]
    return moment


def told(file: FileIO) -> list[dict[str, Any]]:
    """Return what a process has told, whole lines alone.

    Raises
    ------
    ValueError
        If it is none of that, as a solver has written over it.
    """
    file.seek(_SINCE.size)
    if not (room := file.read()):
        raise ValueError("nothing is left of it")
    return [json.loads(line) for line in room.rstrip(b"\0").split(b"\n")[:-1]]


def run_here(folder: Path, *, is_limited: bool) -> NoReturn:
    """Call a solver, again if it answers, tell of each call, and end the process."""
    with (folder / "told").open("r+b") as room:
        shared = mmap(room.fileno(), 0)
    shared.seek(_SINCE.size)
    process = os.getpid()

    def tell(**words: Any) -> None:
        if os.getpid() != process:
            # One that the solver has forked, and that came back.
            os._exit(1)
        # NaN and infinities as Python's JSON has them. A line is whole when its end is there.
        shared.write(json.dumps(words).encode())
        shared.write(b"\n")

    has_begun = has_returned = False
    number = 0
    try:
        task = BytesIO((folder / "task").read_bytes())
        if is_limited:
            # What the module of a solver opens comes after. The mapping keeps a descriptor, too.
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        sys.path[:], main = pickle.load(task)
        prepare(main)
        solver, instance, settings, limits = pickle.load(task)
        call = solver.function
        # What a library warns of belongs to nobody's answer.
        warnings.simplefilter("ignore")
        before, most = (_memory(), _room(limits.memory)) if is_limited else (None, None)
        has_begun, left = True, limits.time
        _SINCE.pack_into(shared, 0, monotonic())
        while number <= REPEATS and left > 0.0:
            # What an instance has computed once, it keeps.
            fresh = instance.replace()
            if is_limited:
                _limit_memory(most)
            begun = perf_counter()
            given = call(fresh, **settings)
            # Of a generator the last answer counts.
            if isinstance(given, Iterator):
                given = next(iter(deque(given, maxlen=1)), None)
            has_returned = True
            # What is handed over may compute when it is looked at.
            answer = checked(solver.name, fresh, given)
            seconds = perf_counter() - begun
            has_returned = False
            # What is told takes memory, too, which is not the solver's.
            if is_limited:
                _limit_memory(None)
            memory = None if before is None else max(_memory(is_peak=True) - before, 0)
            tell(
                tokens=answer.tokens.tolist(),
                claims_optimal=answer.claims_optimal,
                iterations=answer.iterations,
                words=one_line(answer.backend_status)[:WORDS],
                seconds=seconds,
                setup_seconds=answer.setup_time,
                memory=memory,
            )
            number += 1
            if not np.isfinite(answer.tokens).all():
                break
            if number == 1:
                _SINCE.pack_into(shared, 0, monotonic())
            else:
                left -= seconds
    # Whatever it is: an exit and a panic as well.
    except BaseException as error:  # noqa: BLE001
        if has_begun and is_limited:
            _limit_memory(None)
        words = type(error).__name__
        # What it says is its own code, too.
        with suppress(BaseException):
            words = one_line(f"{words}: {error}")[:WORDS]
        if not has_begun:
            tell(refused=words)
        # A later call that raises takes back no answer; one that returns what is none does.
        elif has_returned or number == 0:
            outcome = "no licence" if _LICENCE.search(words.replace("_", " ")) else "raised"
            if has_returned:
                outcome = "no finite answer"
            elif isinstance(error, MemoryError):
                outcome = "out of memory"
            tell(outcome=outcome, words=words)
    os._exit(0)


def one_line(text: str) -> str:
    """Return what somebody said in one line that every file can hold."""
    return printable(" ".join(text.split()))


def _memory(*, is_peak: bool = False) -> int:
    """Return the resident memory in bytes, or the most since it was last asked for."""
    if not is_peak:
        # So that the peak is what it is now; some containers cannot.
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    name = "VmHWM:" if is_peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def _room(more: float) -> int:
    """Return the bytes of address space with so many beyond what this process has."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    left = (sys.maxsize if hard == resource.RLIM_INFINITY else hard) - has
    if more > left:
        raise InvalidInputError(
            f"memory_limit = {more:g} must be at most {left // 10**7}e7 bytes, as the system has it"
        )
    return has + int(more)


def _limit_memory(soft: int | None) -> None:
    """Limit the address space to so many bytes; ``None`` for as many as the system allows."""
    # Not on every system.
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard if soft is None else soft, hard))
