"""Rows of a comparison, one for each run, and the file that holds them as lines of JSON.

A line is written whole, by one process at a time, and is on the disk before the next run begins. A
file that was cut off in a line goes on before it.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from cvxqueue.benchmark.judging import SOLVED_GAP
from cvxqueue.errors import InvalidInputError
from cvxqueue.files.provenance import digest
from cvxqueue.files.storage import read_bytes
from cvxqueue.formatting import shown
from cvxqueue.json_values import json_values
from cvxqueue.whole_files import reason, write_whole

ROWS_FORMAT = "cvxqueue-benchmark"
ROWS_VERSION = 1
Outcome = Literal[
    "answered", "no finite answer", "raised", "no licence", "time limit", "out of memory", "died"
]
OUTCOMES: tuple[str, ...] = get_args(Outcome)
"""What can come of a run."""
# Seconds that clocks tell apart: times are compared by their ratios.
_TICK = 1e-9
# Longest file: a hundred thousand runs.
_LONGEST_FILE = 200_000_000
_KEY = ("instance", "solver", "version", "settings", "time_limit", "memory_limit")
_ROW_BEGINNING = json.dumps({"format": ROWS_FORMAT})[:-1].encode()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One finished run. What is unknown, or no finite number, is ``None``.

    Attributes
    ----------
    instance, instance_digest, types
        Its name, its digest, and the number of its types.
    solver, solver_version, settings
        What was run; the settings are ``"default"`` or ``"tight"``.
    time_limit, memory_limit
        Seconds for the first call and as many for the others; bytes, ``None`` where none can be
        set.
    outcome, words
        One of `OUTCOMES`, and what the solver or the system said.
    claims_optimal, claim_is_true
        Whether the solver calls its answer optimal, and whether that is so.
    is_feasible, objective, relative_gap, violation, token_error, referee
        See `Verdict`; the referee is ``"record"`` or ``"certificate"``.
    cold_seconds, seconds, setup_seconds
        The first call, the calls after it, and the median part of a call that builds a problem.
    iterations, memory
        Of the first call: iterations, and most bytes of resident memory beyond those of before.
    host, load, versions
        Where it ran, and how busy the host was: the load average of a minute.
    """

    instance: str
    instance_digest: str
    types: int
    solver: str
    solver_version: str
    settings: str
    time_limit: float
    memory_limit: float | None
    outcome: Outcome
    words: str
    claims_optimal: bool | None = None
    claim_is_true: bool | None = None
    is_feasible: bool = False
    objective: float | None = None
    relative_gap: float | None = None
    violation: float | None = None
    token_error: float | None = None
    referee: str | None = None
    cold_seconds: float | None = None
    seconds: list[float]
    setup_seconds: float | None = None
    iterations: int | None = None
    memory: int | None = None
    host: str
    load: float | None = None
    versions: dict[str, str | None]

    __pydantic_config__: ClassVar = {"extra": "forbid", "strict": True, "allow_inf_nan": False}

    @property
    def key(self) -> str:
        """What the run was of: rows of one key are of the same run."""
        parts = (self.instance_digest, self.solver, self.solver_version, self.settings)
        return run_key(*parts, *self.limits)

    @property
    def limits(self) -> tuple[float, float | None]:
        """Seconds and bytes that it might take."""
        return self.time_limit, self.memory_limit

    def is_within(self, gap: float) -> bool:
        """Whether the answer is feasible, and proven to be within a relative gap."""
        return self.is_feasible and self.relative_gap is not None and self.relative_gap <= gap

    @property
    def is_solved(self) -> bool:
        """Whether it is within `SOLVED_GAP`."""
        return self.is_within(SOLVED_GAP)

    @property
    def median(self) -> float:
        """Median seconds of the calls after the first, or of that where there are none."""
        if not self.seconds and self.cold_seconds is None:
            return math.nan
        return max(float(np.median(self.seconds or [self.cold_seconds or 0.0])), _TICK)

    @property
    def cost(self) -> float:
        """`median`, or the time limit where the instance is not solved."""
        return self.median if self.is_solved else self.time_limit

    def line(self) -> bytes:
        """Return the row as a line of JSON."""
        head = {"format": ROWS_FORMAT, "version": ROWS_VERSION, "key": self.key}
        return json.dumps(json_values(head | asdict(self)), allow_nan=False).encode() + b"\n"


def run_key(*parts: str | float | None) -> str:
    """Return the SHA-256 of what a run is of: instance, solver, version, settings and limits."""
    return digest(dict(zip(_KEY, parts, strict=True)))


def read_rows(paths: Iterable[Path]) -> list[Row]:
    """Return the rows of files, each run once: the first row of it.

    Raises
    ------
    InvalidInputError
        If a file cannot be read, or a line but a last one that was cut off is no row.
    """
    found: dict[str, Row] = {}
    for path in paths:
        for row in _rows_in(read_bytes(path, _LONGEST_FILE), path)[0]:
            found.setdefault(row.key, row)
    return list(found.values())


def _rows_in(content: bytes, path: Path) -> tuple[list[Row], int]:
    """Return the rows, and the length of what holds them."""
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(Row)
    rows, whole = [], 0
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            # Somebody's file is not cut: a torn row begins as every row does.
            is_torn = line.startswith(_ROW_BEGINNING) or _ROW_BEGINNING.startswith(line)
            if is_torn and not line.endswith(b"\n"):
                break
            raise InvalidInputError(
                f"{path}: line {number} is no row of a comparison, which `cvxqueue benchmark` "
                "writes as JSON"
            )
        head = [data.pop(name, None) for name in ("format", "version", "key")]
        if head[:2] != [ROWS_FORMAT, ROWS_VERSION]:
            raise InvalidInputError(
                f"{path}: line {number} has format {head[0]!r}, version {head[1]!r}, and must have "
                f"{ROWS_FORMAT!r}, version {ROWS_VERSION}"
            )
        try:
            row: Row = adapter.validate_json(json.dumps(data))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InvalidInputError(
                f"{path}: line {number}: {where}: {first['msg'].lower()}"
            ) from None
        for name, value in asdict(row).items():
            entries = value if isinstance(value, list) else [value]
            numbers = [it for it in entries if isinstance(it, int | float)]
            if name != "objective" and not all(0 <= it <= sys.float_info.max for it in numbers):
                raise InvalidInputError(
                    f"{path}: line {number}: {name} = {shown(value)} must be ≥ 0, as a measure is"
                )
        if row.key != head[2]:
            raise InvalidInputError(f"{path}: line {number} was changed: its key is of another run")
        rows.append(row)
        whole += len(line)
    return rows, whole


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as a file of their own, all of them or nothing."""
    write_whole(path, b"".join(row.line() for row in rows))


@contextmanager
def opened_rows(path: Path) -> Iterator[tuple[list[Row], Callable[..., None]]]:
    """Open a file of rows to go on with it, a new one if there is none; a torn last line goes.

    Yields its rows, and what adds more: they are on the disk before that returns.

    Raises
    ------
    InvalidInputError
        If it cannot be written, holds anything else, or another process is writing it.
    """
    with _writing(path):
        if path.exists() and not path.is_file():
            raise OSError("rows go into a regular file, and this is none")
        # With no buffer, which a close on a full disk would fail to write a second time.
        stream = path.open("a+b", buffering=0)
    with stream:
        try:
            _lock(stream)
        except OSError as error:
            raise InvalidInputError(
                f"{path} is being written by another process; wait for it, or give another output"
            ) from error
        try:
            stream.seek(0)
            content = stream.read()
        except OSError as error:
            raise InvalidInputError(f"cannot read {path}: {reason(error)}") from error
        rows, whole = _rows_in(content, path)

        def append(*more: Row) -> None:
            left = b"".join(row.line() for row in more)
            with _writing(path):
                while left:
                    left = left[stream.write(left) :]
                os.fsync(stream.fileno())
            rows.extend(more)

        with _writing(path):
            if whole < len(content):
                stream.truncate(whole)
            elif content and not content.endswith(b"\n"):
                stream.write(b"\n")
        yield rows, append


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say of what fails within that a file cannot be written."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot write {path}: {reason(error)}") from error


def _lock(stream: FileIO) -> None:
    """Lock a file until it is closed, or its process is gone."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        stream.seek(0)
        windows: Any = msvcrt
        windows.locking(stream.fileno(), windows.LK_NBLCK, 1)
    else:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
