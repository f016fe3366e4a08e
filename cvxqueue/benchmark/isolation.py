"""One run, one process: limited, captured, and gone when the one that asked for it is.

On Linux a server process that has the imports forks a process for each run, and watches it; see
`Isolation`. Elsewhere each run is a fresh interpreter, and memory is not limited.

Not the server of `multiprocessing`: that is one for all that a program does with it, started with
the environment and the threads of whoever came first, and it leaves what a run has started.
"""

from __future__ import annotations

import ctypes
import json
import os
import pickle
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import TIMEOUT_MAX
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from cvxqueue.benchmark.child import WORDS, Limits, began, one_line, run_here, told, write_task
from cvxqueue.benchmark.solvers import MAIN, Solver
from cvxqueue.errors import InvalidInputError
from cvxqueue.model import Instance
from cvxqueue.solvers.open_method import CheckedAnswer
from cvxqueue.whole_files import reason

FORKS = sys.platform == "linux"
"""Whether runs are forked, held to one core, and their memory is limited."""
# The environment in which numerical libraries start no threads; read when they are loaded.
_THREADS = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM", "NUMEXPR", "RAYON")
_ONE_THREAD = {f"{name}_NUM_THREADS".replace("MAXIMUM_NUM", "MAXIMUM"): "1" for name in _THREADS}
# Seconds that a process may take to import somebody's module; no part of what is measured.
_LOADING = 60.0
# Bytes kept of what a solver printed.
_OUTPUT = 2000
# From sys/prctl.h: the signal that this process gets when its parent ends, and whether it becomes
# the parent of what its children leave.
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
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
    memory: int | None = None
    """Most resident memory of the first call beyond that of before, in bytes; where it is known."""


class Isolation(AbstractContextManager["Isolation"]):
    """Runs solvers in processes of their own, one after the other.

    Parameters
    ----------
    imports : iterable of str
        Modules that a run's process has from the beginning.
    forks : bool
        Whether it is forked; otherwise it is a fresh interpreter.

    Raises
    ------
    InvalidInputError
        Within a run that imports the script which makes comparisons.

    Notes
    -----
    A context manager: its server, and whatever that has started, is gone when it is left, or within
    moments of the end of this process.
    """

    def __init__(self, imports: Iterable[str] = (), *, forks: bool = FORKS) -> None:
        # As `multiprocessing` calls a script that is imported; later that is ``__main__``, too.
        if sys.modules.get("__mp_main__", main := sys.modules[MAIN]) is not main:
            raise InvalidInputError(
                "a run imports the script that compares solvers: let it do so below "
                f'`if __name__ == "{MAIN}":`'
            )
        self.imports, self.forks = sorted(set(imports)), forks
        self._server: subprocess.Popen[bytes] | None = None

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            with suppress(BrokenPipeError), server:
                # That it reads the end of its input is what ends it, and its runs.
                pass

    def run(
        self, solver: Solver, instance: Instance, settings: Mapping[str, Any], limits: Limits
    ) -> Run:
        """Call a solver in a process of its own, and again if it answers.

        Raises
        ------
        InvalidInputError
            If no process can be started, or none can load the solver and the instance: that says
            nothing of how it solves.
        """
        with _folder() as folder:
            try:
                write_task(folder, solver, instance, settings, limits)
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise InvalidInputError(
                    f"instance {instance!r} cannot be sent to another process: {error}"
                ) from error
            # Open from here on: a solver may clear the folder.
            with (folder / "told").open("rb", buffering=0) as file:
                watch = self._ask if self.forks else _spawned
                watched = watch(folder, file, limits)
                has_begun = began(file) > 0.0
                try:
                    calls = told(file)
                    if has_begun:
                        return _run_of(calls, watched)
                except (KeyError, TypeError, ValueError):
                    return Run("died", "it has written over what is told of it")
            words = calls[-1]["refused"] if calls else _without_words(watched).words
            raise InvalidInputError(
                f"solver {solver.name!r} and its instance cannot start in a process of their "
                f"own: {words or f'that takes over {_LOADING:g} s'}"
            )

    def _ask(self, folder: Path, _: FileIO, limits: Limits) -> _Watched:
        """Have the server fork, and wait for what it says of the end."""
        pipes: Any = self._server or _started_server(self.imports)
        self._server = pipes
        try:
            pipes.stdin.write(json.dumps([str(folder), limits.time]).encode() + b"\n")
            pipes.stdin.flush()
            # With as much for its own imports. A solver may have stopped it.
            most = min(2.0 * (_LOADING + limits.time), TIMEOUT_MAX)
            if not select.select([pipes.stdout], [], [], most)[0]:
                pipes.kill()
            reply = pipes.stdout.readline()
        except BrokenPipeError:
            reply = b""
        if reply:
            return _Watched(*json.loads(reply))
        # Somebody ended it, and the run with it.
        self.__exit__()
        return _Watched(None, is_late=False, output="the server of the runs was ended")


class _Watched(NamedTuple):
    """What can be seen of a run from outside."""

    status: int | None
    """As `subprocess` has it: negative for a signal."""
    is_late: bool
    output: str
    """The end of what was printed."""


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder for one run; what the system refuses is an error, and no word on the solver."""
    try:
        with TemporaryDirectory(prefix="cvxqueue-", ignore_cleanup_errors=True) as name:
            yield Path(name)
    except OSError as error:
        raise InvalidInputError(
            f"a run has no process or no temporary file: {reason(error)}; TMPDIR names another "
            "folder for such files"
        ) from error


def _interpreter(first: str, call: str, *arguments: str) -> list[str]:
    """Return the command that calls a function of this module with the modules of this process."""
    code = f"{first}; sys.path[:] = {sys.path!r}; from {__name__} import {call}; {call}()"
    return [sys.executable, "-c", code, *arguments]


def _started_server(imports: Iterable[str]) -> subprocess.Popen[bytes]:
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
    system = ctypes.CDLL(None)
    system.prctl(_PR_SET_PDEATHSIG, 0)
    system.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    with open(requests, "rb", buffering=0, closefd=False) as lines:
        for line in lines:
            folder, seconds = json.loads(line)
            reply = _forked(Path(folder), seconds, requests)
            os.write(replies, json.dumps(reply).encode() + b"\n")


def _forked(folder: Path, seconds: float, requests: int) -> _Watched:
    """Fork a run, and wait for its end or put one to it."""
    told_in = (folder / "told").open("rb", buffering=0)
    reading, writing = os.pipe()
    server, forked = os.getpid(), monotonic()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            system = ctypes.CDLL(None)
            system.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
            # Threads and processes that a solver starts share the core that it has.
            os.sched_setaffinity(0, {system.sched_getcpu()})
            if os.getppid() == server:
                run_here(folder, is_limited=True)
        finally:
            os._exit(1)
    os.close(writing)
    os.set_blocking(reading, False)
    handle = os.pidfd_open(child)
    watched, output, is_late = [handle, reading, requests], b"", False
    ready: list[int] = []
    while not (handle in ready or requests in ready or is_late):
        left = _deadline(told_in, forked, seconds) - monotonic()
        # It may have begun since, and be late sooner.
        ready, _, _ = select.select(watched, [], [], min(max(left, 0.0), seconds, TIMEOUT_MAX))
        if reading in ready:
            output, is_open = _read(reading, output, 1)
            if not is_open:
                # The solver has closed it.
                watched.remove(reading)
        is_late = _deadline(told_in, forked, seconds) <= monotonic() and handle not in ready
    told_in.close()
    os.close(handle)
    status = _end(child)
    output, _ = _read(reading, output)
    os.close(reading)
    if requests in ready:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)
    return _Watched(status, is_late, output.decode(errors="replace"))


def _read(reading: int, output: bytes, times: int = sys.maxsize) -> tuple[bytes, bool]:
    """Return the end of what is printed, and whether more may be."""
    with suppress(BlockingIOError):
        for _ in range(times):
            chunk = os.read(reading, 1 << 16)
            output = (output + chunk)[-_OUTPUT:]
            if not chunk:
                return output, False
    return output, True


def _end(child: int) -> int:
    """End a run with all that it has started, and return its exit status."""
    for end in (os.killpg, os.kill):
        # It may not have come to lead a group yet.
        with suppress(ProcessLookupError):
            end(child, _SIGKILL)
    _, status = os.waitpid(child, 0)
    # What has left its group is now a child of this process.
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    with suppress(ChildProcessError):
        while children.exists():
            for each in children.read_text().split():
                os.kill(int(each), _SIGKILL)
            os.waitpid(-1, 0)
    return os.waitstatus_to_exitcode(status)


def _spawned(folder: Path, file: FileIO, limits: Limits) -> _Watched:
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
        with process:
            try:
                while process.poll() is None and not is_late:
                    left = _deadline(file, begun, limits.time) - monotonic()
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=min(max(left, 0.0), limits.time, TIMEOUT_MAX))
                    is_late = _deadline(file, begun, limits.time) <= monotonic()
                is_late = is_late and process.poll() is None
            finally:
                process.kill()
        output.seek(max(output.seek(0, os.SEEK_END) - _OUTPUT, 0))
        return _Watched(process.returncode, is_late, output.read().decode(errors="replace"))


def run_alone() -> None:
    """Run in this interpreter, which is there for that."""
    run_here(Path(sys.argv[1]), is_limited=False)


def _deadline(file: FileIO, begun: float, seconds: float) -> float:
    """The moment at which a run is late: with its first call, with the others, or with loading."""
    since = began(file)
    return since + seconds if since else begun + _LOADING


def _run_of(calls: list[dict[str, Any]], watched: _Watched) -> Run:
    """Say what came of a run, from what it told and from what was seen of it."""
    if not calls:
        return _without_words(watched)
    if "outcome" in calls[-1]:
        return Run(**calls[-1])
    seconds, setup = (tuple(it[name] for it in calls) for name in ("seconds", "setup_seconds"))
    if not np.isfinite(seconds + setup).all():
        return Run("no finite answer", "its times are no finite numbers")
    answers: dict[tuple[bytes, bool | None], CheckedAnswer] = {}
    for it in calls:
        tokens, claim = np.asarray(it["tokens"], dtype=np.float64), it["claims_optimal"]
        answer = CheckedAnswer(
            tokens, None, it["iterations"], it["setup_seconds"], it["words"], claim
        )
        answers.setdefault((tokens.tobytes(), claim), answer)
    is_finite = all(np.isfinite(answer.tokens).all() for answer in answers.values())
    return Run(
        outcome="answered" if is_finite else "no finite answer",
        words=("repeats differ " * (len(answers) > 1) + calls[0]["words"])[:WORDS],
        answers=tuple(answers.values()),
        seconds=seconds,
        setup_seconds=setup,
        memory=calls[0]["memory"],
    )


def _without_words(watched: _Watched) -> Run:
    words = one_line(watched.output)[-WORDS:]
    if watched.is_late:
        return Run("time limit", words)
    code = watched.status
    how = f"exit status {code}"
    if code is not None and code < 0:
        how = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    is_memory = any(each in watched.output.lower() for each in _OUT_OF_MEMORY)
    return Run(
        outcome="out of memory" if is_memory else "died",
        words=words if code is None else f"{how} {words}".rstrip(),
    )
