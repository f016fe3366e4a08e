"""Solvers that lie, fail, hang and crash, each in a way of its own."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray

_OPEN = os.open(__file__, os.O_RDONLY)


def right(instance: cq.Instance) -> cq.Answer:
    return cq.Answer(
        cq.solve(instance).tokens, iterations=7, backend_status="fine", claims_optimal=True
    )


def lies(instance: cq.Instance) -> cq.Answer:
    return cq.Answer(instance.lower, backend_status="optimal", claims_optimal=True)


def is_modest(instance: cq.Instance) -> cq.Answer:
    return cq.Answer(instance.lower, claims_optimal=False)


def says_what_no_file_holds(instance: cq.Instance) -> cq.Answer:
    return right(instance)._replace(backend_status="\ud800\x00\x1b[2J\n|")


def leaves_the_box(instance: cq.Instance) -> FloatArray:
    tokens = cq.solve(instance).tokens.copy()
    tokens[0] = 2.0 * instance.upper[0]
    return tokens


def yields(instance: cq.Instance) -> Iterator[FloatArray]:
    yield instance.lower
    yield cq.solve(instance).tokens


def answers_nan(instance: cq.Instance) -> FloatArray:
    return np.full(instance.size, np.nan)


def claims_nan(instance: cq.Instance) -> cq.Answer:
    return cq.Answer(None, backend_status="optimal", claims_optimal=True)


def answers_too_few(instance: cq.Instance) -> list[float]:
    return [1.0]


def answers_a_string(instance: cq.Instance) -> str:
    return "tokens"


def raises(instance: cq.Instance) -> FloatArray:
    raise ValueError("it broke\ndown")


def fails_later(instance: cq.Instance) -> FloatArray:
    if os.environ.get("FAILS_LATER"):
        raise ValueError("later")
    os.environ["FAILS_LATER"] = "1"
    return cq.solve(instance).tokens


def leaves(instance: cq.Instance) -> FloatArray:
    sys.exit("I have had enough")


def lacks_a_license(instance: cq.Instance) -> FloatArray:
    raise RuntimeError("License file not found")


def sleeps(instance: cq.Instance) -> FloatArray:
    time.sleep(3600.0)
    return instance.lower


def keeps_the_lock(instance: cq.Instance) -> FloatArray:
    # A call by `PyDLL` holds the lock of the interpreter.
    ctypes.PyDLL(None).sleep(3600)
    return instance.lower


def stops(instance: cq.Instance) -> FloatArray:
    os.kill(os.getpid(), signal.SIGSTOP)
    return instance.lower


def hangs_later(instance: cq.Instance) -> FloatArray:
    if os.environ.get("HANGS_LATER"):
        time.sleep(3600.0)
    os.environ["HANGS_LATER"] = "1"
    return cq.solve(instance).tokens


def aborts(instance: cq.Instance) -> FloatArray:
    os.write(2, b"last words")
    os.abort()


def segfaults(instance: cq.Instance) -> FloatArray:
    ctypes.string_at(0)
    return instance.lower


def quits(instance: cq.Instance) -> FloatArray:
    os._exit(0)


def eats_memory(instance: cq.Instance) -> FloatArray:
    eaten = []
    while True:
        eaten.append(b"x" * 10_000_000)


def eats_memory_in_c(instance: cq.Instance) -> FloatArray:
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def prints_megabytes(instance: cq.Instance) -> cq.Answer:
    for _ in range(20):
        os.write(1, b"loud\n" * 200_000)
        sys.stderr.write("louder\n" * 100_000)
    return right(instance)


def writes_everywhere(instance: cq.Instance) -> cq.Answer:
    for descriptor in range(256):
        with suppress(OSError):
            os.write(descriptor, b'[0, false, ""]\n')
    return right(instance)


def reads_what_its_module_has_opened(instance: cq.Instance) -> cq.Answer:
    os.lseek(_OPEN, 0, os.SEEK_SET)
    assert os.read(_OPEN, 3) == b'"""'
    return right(instance)


def closes_everything(instance: cq.Instance) -> cq.Answer:
    os.closerange(0, 256)
    return right(instance)


def starts_another(instance: cq.Instance) -> cq.Answer:
    subprocess.Popen(["sleep", "3600"])
    return right(instance)


def detaches_another(instance: cq.Instance) -> cq.Answer:
    subprocess.Popen(["sleep", "3600"], start_new_session=True)
    return right(instance)


def detaches_another_and_sleeps(instance: cq.Instance) -> FloatArray:
    detaches_another(instance)
    return sleeps(instance)


def forks_and_raises_there(instance: cq.Instance) -> cq.Answer:
    answer = right(instance)
    if child := os.fork():
        os.waitpid(child, 0)
        return answer
    raise ValueError("in a process that is not waited for")


def kills_the_server(instance: cq.Instance) -> FloatArray:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(3600.0)
    return instance.lower


def clears_the_folder(instance: cq.Instance) -> cq.Answer:
    for folder in Path(tempfile.gettempdir()).glob("cvxqueue-*"):
        shutil.rmtree(folder)
    return right(instance)


def clears_the_folder_and_sleeps(instance: cq.Instance) -> FloatArray:
    clears_the_folder(instance)
    return sleeps(instance)


def cuts_what_is_told(instance: cq.Instance) -> cq.Answer:
    for path in Path(tempfile.gettempdir()).glob("cvxqueue-*/told"):
        os.truncate(path, 0)
    return right(instance)


def tells_lies(instance: cq.Instance) -> cq.Answer:
    changed: Any = json
    changed.dumps = lambda _: "5"
    return right(instance)


def stops_the_server(instance: cq.Instance) -> FloatArray:
    os.kill(os.getppid(), signal.SIGSTOP)
    return sleeps(instance)


class _UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("and nothing more")


def raises_what_has_no_words(instance: cq.Instance) -> FloatArray:
    raise _UnspeakableError


def yields_nothing(instance: cq.Instance) -> Iterator[FloatArray]:
    return iter(())


_KEPT: list[bytearray] = []


def keeps_all_memory(instance: cq.Instance) -> FloatArray:
    with suppress(MemoryError):
        while True:
            _KEPT.append(bytearray(1_000_000))
    # What it takes to look at an answer; to tell of it takes more.
    del _KEPT[-5:]
    return np.full(instance.size, 1.0 / 3.0)


def waits(instance: cq.Instance) -> cq.Answer:
    time.sleep(0.05)
    return right(instance)


_CALLS: list[cq.Instance] = []


def _is_first(instance: cq.Instance) -> bool:
    _CALLS.append(instance)
    return len(_CALLS) == 1


def answers_worse_later(instance: cq.Instance) -> cq.Answer:
    return right(instance) if _is_first(instance) else lies(instance)


def answers_nan_later(instance: cq.Instance) -> FloatArray:
    return cq.solve(instance).tokens if _is_first(instance) else answers_nan(instance)


def answers_a_string_later(instance: cq.Instance) -> FloatArray | str:
    return cq.solve(instance).tokens if _is_first(instance) else "tokens"


class _Lazy:
    def __init__(self, instance: cq.Instance) -> None:
        self._instance = instance

    def __array__(self, dtype: object = None, copy: object = None) -> FloatArray:
        time.sleep(0.1)
        return cq.solve(self._instance).tokens


def works_when_looked_at(instance: cq.Instance) -> object:
    return _Lazy(instance)


def puts_back_the_clock(instance: cq.Instance) -> FloatArray:
    time.perf_counter = lambda: 0.0
    time.sleep(0.1)
    return cq.solve(instance).tokens


def says_much(instance: cq.Instance) -> FloatArray:
    raise ValueError(f"the cause, then {'noise ' * 1000}")
