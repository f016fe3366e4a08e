"""One run, one process: limited, captured, and gone when the one that asked for it is.

On Linux a server process that has the imports forks a process for each run, and watches it; see
`Isolation`. Elsewhere each run is a fresh interpreter, and memory is not limited.

A run's process has none of its parents' descriptors: it gets a folder, and leaves its report there
under a name that it opens when the solver is done. What a solver prints goes into a pipe of which
the end is kept. The system ends it with the server, even where compiled code holds Python's lock.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import pickle
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

# By name, so that no solver that is loaded later can put another clock in their place.
from time import monotonic, perf_counter
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np

from cvxqueue.benchmark.solvers import Solver
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import printable
from cvxqueue.model import Instance
from cvxqueue.solvers.open_method import CheckedAnswer, checked

FORKS = sys.platform == "linux"
"""Whether runs are forked, and their memory is limited."""
# The environment in which numerical libraries start no threads; read when they are loaded.
_THREADS = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM", "NUMEXPR", "RAYON")
_ONE_THREAD = {f"{name}_NUM_THREADS".replace("MAXIMUM_NUM", "MAXIMUM"): "1" for name in _THREADS}
# Seconds that a process may take to import somebody's module; no part of what is measured.
_LOADING = 60.0
# Characters kept of what a solver said.
_WORDS = 500
_OUTPUT = 2000
# From sys/prctl.h: the signal that this process gets when its parent ends.
_PR_SET_PDEATHSIG = 1
# Windows has no name for it.
_SIGKILL = 9
# What an interpreter does first, so that it does not outlive its parent while it imports.
_DIE_TOGETHER = (
    f"import ctypes, os, sys; ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {_SIGKILL}); "
    "os.getppid() == int(sys.argv[1]) or os._exit(1)"
)
_WATCH_STDIN = (
    "import os, sys, threading; "
    "threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()"
)
# How libraries in C++ and Rust say that there is no memory, before they abort.
_OUT_OF_MEMORY = ("bad_alloc", "memory allocation of", "cannot allocate memory", "out of memory")

# What says so of a licence; a path or a sentence may have the word, too.
_LICENCE = re.compile(
    r"\b(?:no|missing|invalid|expired|without|requires?|find|limited|obtain)"
    r"(?: (?:an?|any|the|valid|active|found))* licen[cs]e\b"
    r"|(?<![/\\.\w-])licen[cs]e"
    r"(?: (?:file|key|server|token|check|is|was|has|been|could|does|did))*:?"
    r" (?:not|cannot|no longer|missing|invalid|expired|failed|failure|error|required|denied)\b",
    re.IGNORECASE,
)

REPEATS = 5
"""Calls after the first one."""


class Limits(NamedTuple):
    """What one run may take."""

    time: float
    """Seconds for the first call, and as many for all others."""
    memory: float
    """Bytes of address space beyond those of a process with the imports."""


@dataclass(frozen=True)
class Run:
    """What came of one run, as far as its process knows and those that watched it."""

    outcome: str
    words: str
    answers: tuple[CheckedAnswer, ...] = ()
    """That of the first call, and each of a later one that is another, to the bit."""
    seconds: tuple[float, ...] = ()
    """Of each call, the first one first."""
    setup_seconds: tuple[float, ...] = ()
    memory: float | None = None
    """Most resident memory beyond what the process had before, in bytes; where it is known."""


class Isolation:
    """Runs solvers in processes of their own, one after the other.

    Parameters
    ----------
    imports : iterable of str
        Modules that a run's process has from the beginning.
    forks : bool
        Whether it is forked; otherwise it is a fresh interpreter.

    Notes
    -----
    A context manager: its server, and whatever that has started, is gone when it is left, or within
    moments of the end of this process.
    """

    def __init__(self, imports: Iterable[str] = (), *, forks: bool = FORKS) -> None:
        self.imports, self.forks = sorted(set(imports)), forks
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Isolation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def run(
        self, solver: Solver, instance: Instance, settings: Mapping[str, Any], limits: Limits
    ) -> Run:
        """Call a solver in a process of its own, and again if it answers."""
        task = {"solver": solver, "instance": instance, "settings": dict(settings)}
        task |= {"limits": limits, "path": sys.path}
        with tempfile.TemporaryDirectory(prefix="cvxqueue-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            try:
                (folder / "task").write_bytes(pickle.dumps(task))
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise InvalidInputError(
                    f"instance {instance!r} cannot be sent to another process: {error}"
                ) from error
            watched = self._ask(folder, limits) if self.forks else _spawned(folder, limits)
            return _run_of(folder, watched)

    def _ask(self, folder: Path, limits: Limits) -> _Watched:
        """Have the server fork, and wait for what it says of the end."""
        for _ in range(2):
            server = self._server = self._server or _started_server(self.imports)
            pipes: Any = server
            try:
                pipes.stdin.write(json.dumps([str(folder), limits.time]).encode() + b"\n")
                pipes.stdin.flush()
                reply = pipes.stdout.readline()
            except BrokenPipeError:
                reply = b""
            if reply:
                return _Watched(*json.loads(reply))
            # Somebody ended it, with the run; what has started already is not run again.
            self._end()
            if (folder / "since").exists():
                break
        return _Watched(None, is_late=False, output="the process that runs the solvers was ended")

    def _end(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            with suppress(BrokenPipeError), server:
                # That it reads the end of its input is what ends it, and its runs.
                pass


class _Watched(NamedTuple):
    """What can be seen of a run from outside."""

    status: int | None
    """As `subprocess` has it: negative for a signal."""
    is_late: bool
    output: str
    """The end of what was printed."""


def _interpreter(first: str, call: str, *arguments: str) -> list[str]:
    """Return the command that calls a function of this module with the modules of this process."""
    code = f"{first}; sys.path[:] = {sys.path!r}; from {__name__} import {call}; {call}()"
    return [sys.executable, "-c", code, *arguments]


def _started_server(imports: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        _interpreter(_DIE_TOGETHER, "serve", str(os.getpid()), *imports),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | _ONE_THREAD,
        # Ctrl-C in a terminal is for the process that asks.
        start_new_session=True,
    )


def serve() -> None:
    """Fork a process for each line on stdin, and say on stdout how it ended."""
    requests, replies = os.dup(0), os.dup(1)
    # Nothing that an import prints is a reply.
    os.dup2(2, 1)
    for name in sys.argv[2:]:
        with suppress(ImportError):
            import_module(name)
    # From now on it sees for itself that nobody asks, and can end a run with all that it started.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 0)
    with open(requests, "rb", buffering=0, closefd=False) as lines:
        for line in lines:
            folder, seconds = json.loads(line)
            status, is_late, output = _forked(Path(folder), seconds, requests)
            os.write(replies, json.dumps([status, is_late, output]).encode() + b"\n")


def _forked(folder: Path, seconds: float, requests: int) -> _Watched:
    """Fork a run, and wait for its end or put one to it."""
    reading, writing = os.pipe()
    server, system = os.getpid(), ctypes.CDLL(None)
    child = os.fork()
    if child == 0:
        os.setsid()
        system.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
        if os.getppid() == server:
            _only_output(writing)
            _run(folder, is_limited=True)
        os._exit(1)
    os.close(writing)
    handle = os.pidfd_open(child)
    output, is_late, forked = b"", False, monotonic()
    os.set_blocking(reading, False)
    watched = [handle, reading, requests]
    while True:
        left = _deadline(folder, forked, seconds) - monotonic()
        # It may have begun since, and be late sooner.
        ready, _, _ = select.select(watched, [], [], min(max(left, 0.0), seconds))
        if reading in ready:
            with suppress(BlockingIOError):
                chunk = os.read(reading, 1 << 16)
                output = (output + chunk)[-_OUTPUT:]
                if not chunk:
                    # The solver has closed it.
                    watched.remove(reading)
        is_orphan = requests in ready
        is_late = _deadline(folder, forked, seconds) <= monotonic() and handle not in ready
        if handle in ready or is_late or is_orphan:
            break
    with suppress(ProcessLookupError):
        # With whatever it has started.
        os.killpg(child, _SIGKILL)
    # It may not have come to lead a group yet.
    os.kill(child, _SIGKILL)
    _, status = os.waitpid(child, 0)
    with suppress(BlockingIOError):
        while chunk := os.read(reading, 1 << 16):
            output = (output + chunk)[-_OUTPUT:]
    os.close(reading)
    os.close(handle)
    if is_orphan:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)
    return _Watched(os.waitstatus_to_exitcode(status), is_late, output.decode(errors="replace"))


def _only_output(writing: int) -> None:
    """Leave a process no descriptor but an empty stdin, and the pipe for what it prints."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _spawned(folder: Path, limits: Limits) -> _Watched:
    """Run in a fresh interpreter, which ends itself when its stdin does."""
    with (folder / "output").open("w+b") as output:
        process = subprocess.Popen(
            _interpreter(_WATCH_STDIN, "run_alone", str(folder)),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | _ONE_THREAD,
        )
        begun, is_late = monotonic(), False
        while process.poll() is None and not is_late:
            left = _deadline(folder, begun, limits.time) - monotonic()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=min(max(left, 0.0), limits.time))
            is_late = _deadline(folder, begun, limits.time) <= monotonic()
        is_late = is_late and process.poll() is None
        process.kill()
        status = process.wait()
        if process.stdin is not None:
            process.stdin.close()
        return _Watched(status, is_late, _end_of(output))


def _end_of(output: BinaryIO) -> str:
    output.seek(max(output.seek(0, os.SEEK_END) - _OUTPUT, 0))
    return output.read().decode(errors="replace")


def run_alone() -> None:
    """Run in this interpreter, which is there for that."""
    _run(Path(sys.argv[1]), is_limited=False)


def _deadline(folder: Path, begun: float, seconds: float) -> float:
    """The moment at which a run is late: with its first call, with the others, or with loading."""
    with suppress(FileNotFoundError):
        return float((folder / "since").read_text()) + seconds
    return begun + _LOADING


def _leave(folder: Path, name: str, content: str) -> None:
    """Write a file that others see whole or not at all."""
    (folder / "draft").write_text(content)
    (folder / "draft").replace(folder / name)


def _run(folder: Path, *, is_limited: bool) -> NoReturn:
    """Call the solver, leave a report of the first call and one of all, and end."""
    calls: list[tuple[float, CheckedAnswer]] = []
    answers: dict[tuple[bytes, bool | None], CheckedAnswer] = {}
    has_returned = False
    try:
        task = pickle.loads((folder / "task").read_bytes())
        sys.path[:] = task["path"]
        call, limits = task["solver"].function, task["limits"]
        # What a library warns of belongs to nobody's answer.
        warnings.simplefilter("ignore")
        before = _memory() if is_limited else None
        if is_limited:
            _limit_memory(limits.memory)
        _leave(folder, "since", repr(monotonic()))
        left = math.inf
        while len(calls) <= REPEATS and left > 0.0:
            # What an instance has computed once, it keeps.
            instance = task["instance"].replace()
            begun = perf_counter()
            given = call(instance, **task["settings"])
            # Of a generator the last answer counts.
            given = deque(given, maxlen=1).pop() if isinstance(given, Iterator) else given
            has_returned = True
            # What is handed over may compute when it is looked at.
            answer = checked(task["solver"].name, instance, given)
            seconds = perf_counter() - begun
            has_returned = False
            calls.append((seconds, answer))
            known = len(answers)
            answers.setdefault((answer.tokens.tobytes(), answer.claims_optimal), answer)
            left = limits.time - sum(each for each, _ in calls[1:]) - seconds
            if len(answers) > known:
                _leave(folder, "report", _summary(calls, list(answers.values()), before))
            if len(calls) == 1:
                _leave(folder, "since", repr(monotonic()))
            if not np.isfinite(answer.tokens).all():
                break
        _leave(folder, "report", _summary(calls, list(answers.values()), before))
    # Somebody else's code, whatever it raises: an exit and a panic as well.
    except BaseException as error:  # noqa: BLE001
        if is_limited:
            _limit_memory(None)
        # A later call that raises takes back no answer; one that returns what is none does.
        if has_returned or not calls:
            words = _one_line(f"{type(error).__name__}: {error}")
            outcome = "no licence" if _LICENCE.search(words.replace("_", " ")) else "raised"
            if has_returned:
                outcome = "no finite answer"
            elif isinstance(error, MemoryError):
                outcome = "out of memory"
            _leave(folder, "report", json.dumps({"outcome": outcome, "words": words[:_WORDS]}))
    os._exit(0)


def _summary(
    calls: Sequence[tuple[float, CheckedAnswer]],
    answers: Sequence[CheckedAnswer],
    before: int | None,
) -> str:
    return json.dumps(
        {
            # NaN and infinities as Python's JSON has them.
            "answers": [
                answer._replace(tokens=answer.tokens.tolist(), multipliers=None)
                for answer in answers
            ],
            "seconds": [seconds for seconds, _ in calls],
            "setup_seconds": [answer.setup_time for _, answer in calls],
            "memory": None if before is None else max(_memory(is_peak=True) - before, 0),
        }
    )


def _memory(*, is_peak: bool = False) -> int:
    """Return the resident memory in bytes, or the most since it was last asked for."""
    if not is_peak:
        # So that the peak is what it is now.
        Path("/proc/self/clear_refs").write_text("5")
    name = "VmHWM:" if is_peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def _limit_memory(more: float | None) -> None:
    """Limit the address space to so many bytes beyond what it has; ``None`` for no limit."""
    # Not on every system.
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft = hard if more is None else pages * resource.getpagesize() + int(more)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _run_of(folder: Path, watched: _Watched) -> Run:
    """Say what came of a run, from its report and from what was seen of it."""
    try:
        report = json.loads((folder / "report").read_text())
    except FileNotFoundError:
        return _without_report(watched)
    if "outcome" in report:
        return Run(**report)
    if not np.isfinite(report["seconds"] + report["setup_seconds"]).all():
        return Run("no finite answer", "its times are no finite numbers")
    found = [CheckedAnswer(*each) for each in report.pop("answers")]
    answers = [it._replace(tokens=np.asarray(it.tokens, dtype=np.float64)) for it in found]
    is_finite = all(np.isfinite(answer.tokens).all() for answer in answers)
    words = "repeats differ " * (len(answers) > 1) + answers[0].backend_status
    return Run(
        outcome="answered" if is_finite else "no finite answer",
        words=_one_line(words)[:_WORDS],
        answers=tuple(answers),
        **report,
    )


def _without_report(watched: _Watched) -> Run:
    if watched.is_late:
        return Run("time limit", _one_line(watched.output)[-_WORDS:])
    code = watched.status
    how = f"exit status {code}"
    if code is not None and code < 0:
        how = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    words = _one_line(watched.output)[-_WORDS:]
    if code is not None:
        words = f"{how} {words}".rstrip()
    is_memory = any(each in watched.output.lower() for each in _OUT_OF_MEMORY)
    return Run("out of memory" if is_memory else "died", words)


def _one_line(text: str) -> str:
    """Return what somebody said in one line that every file can hold."""
    return printable(" ".join(text.split()))
