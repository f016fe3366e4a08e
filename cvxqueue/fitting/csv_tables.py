"""Files of measurements as rows of named cells, each with its place in the file."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cvxqueue.errors import InvalidInputError
from cvxqueue.files.storage import decode, read_bytes
from cvxqueue.formatting import shown
from cvxqueue.suggest import nearest

__all__ = ["FORMATS", "Row", "Table", "read_table", "read_text"]

# A row is a dictionary, of fifty times the size of a short line.
_MOST_BYTES = 200_000_000
_MOST_COLUMNS = 1000
_SPACE = re.compile(r"\s*")

# Formats by name, as they are told to people.
FORMATS = ("csv", "jsonl", "vllm", "azure", "mooncake")
_DELIMITERS = ",\t;"
# Lists of `vllm bench serve --save-detailed` that an answer time needs, in seconds; one entry, and
# for itls one list, for each request.
_VLLM_LISTS = ("output_lens", "ttfts", "itls")
_AZURE_COLUMNS = {"TIMESTAMP", "ContextTokens", "GeneratedTokens"}
_MOONCAKE_KEYS = {"timestamp", "input_length", "output_length", "hash_ids"}


@dataclass(frozen=True)
class Row:
    """One row: where it is, and its cells; a reason instead of cells where it has none."""

    place: str
    cells: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of a file, the columns that they may have, and how many requests had failed.

    `sends` says why the start times are a client's own; it is empty where they are arrivals.
    """

    name: str
    format: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    failed: int = 0
    sends: str = ""


def read_table(path: Path, format: str | None) -> Table:
    """Read a file of measurements.

    Raises
    ------
    InvalidInputError
        If it cannot be read, is empty, not UTF-8, or not of its format. The message starts with
        the path.
    """
    if format is not None and format not in FORMATS:
        raise InvalidInputError(f"format = {shown(format)} is unknown: {nearest(format, FORMATS)}")
    text = read_text(path)
    try:
        if not text.strip():
            raise InvalidInputError("the file is empty; measurements were expected")
        return _table(path, text, format or _guess(path, text))
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error


def read_text(path: Path) -> str:
    """Return the text of a file, without a mark of its byte order.

    Raises
    ------
    InvalidInputError
        If it cannot be read, has more than 200 MB, or is not UTF-8. The message names the path.
    """
    content = read_bytes(path, _MOST_BYTES)
    try:
        return decode(content)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from error


def _guess(path: Path, text: str) -> str:
    """Tell the format by its first line, and JSON Lines by the object that is one of several."""
    first = text.lstrip().partition("\n")[0].strip()
    if not first.startswith("{"):
        return "azure" if _AZURE_COLUMNS.issubset(first.split(",")) else "csv"
    is_lines = path.suffix.lower() == ".jsonl" or (first.endswith("}") and first != text.strip())
    return "jsonl" if is_lines and '"output_lens"' not in text else "vllm"


def _table(path: Path, text: str, format: str) -> Table:
    if format == "vllm":
        return _vllm(path.name, text)
    if format in ("jsonl", "mooncake"):
        return _json_lines(path.name, text, format)
    return _csv(path.name, text, format)


def _csv(name: str, text: str, format: str) -> Table:
    header_line = text.lstrip().partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header_line.count)
    # A strict reader complains of a quote that never ends, and would otherwise take the rest of
    # the file for one cell.
    records = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    rows: list[Row] = []
    for line, record, problem in _records(records):
        if not record and not problem:
            continue
        place = f"line {line}"
        if not header:
            if problem:
                raise InvalidInputError(f"{place}: {problem}")
            header = [column.strip() for column in record]
            _require_columns(place, header)
            repeated = sorted(name for name, count in Counter(header).items() if count > 1)
            if repeated:
                raise InvalidInputError(
                    f"{place}: column {shown(repeated[0])} occurs more than once"
                )
        elif problem:
            rows.append(Row(place, problem=problem))
        elif len(record) != len(header):
            rows.append(Row(place, problem=f"{len(record)} cells for {len(header)} columns"))
        else:
            rows.append(Row(place, dict(zip(header, record, strict=True))))
    return Table(name, format, tuple(header), tuple(rows))


def _require_columns(place: str, columns: Collection[str]) -> None:
    if len(columns) > _MOST_COLUMNS:
        raise InvalidInputError(
            f"{place}: {len(columns):,} columns, and there may be {_MOST_COLUMNS:,}; keep those "
            "that hold measurements"
        )


def _cell(value: object) -> object:
    """Return a value of JSON as a cell: no measurement is a list or an object."""
    return shown(value) if isinstance(value, (list, dict)) else value


def _records(records: Any) -> Iterator[tuple[int, list[str], str]]:
    """Line, cells and problem of each record; a quote that never ends is an error of the file."""
    while True:
        line = records.line_num + 1
        try:
            yield line, next(records), ""
        except StopIteration:
            return
        except csv.Error as error:
            if "end of data" in str(error):
                raise InvalidInputError(
                    f"the quotation mark in line {line} is never closed; close or remove it"
                ) from error
            yield line, [], str(error)


def _json_lines(name: str, text: str, format: str) -> Table:
    """Rows of JSON Lines; a Mooncake trace has just its four keys, and whole milliseconds.

    Others give the same keys seconds, and keys of their own.
    """
    rows = []
    columns: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            rows.append(Row(place, problem=f"not valid JSON: {error}"))
            continue
        if not isinstance(value, dict):
            rows.append(Row(place, problem=f"{shown(value)} is no JSON object"))
            continue
        columns.update(dict.fromkeys(value))
        _require_columns(place, columns)
        rows.append(Row(place, {key: _cell(entry) for key, entry in value.items()}))
    times = [row.cells.get("timestamp") for row in rows]
    if columns.keys() == _MOONCAKE_KEYS and not any(isinstance(time, float) for time in times):
        format = "mooncake"
    if format == "mooncake":
        names = {"timestamp": "timestamp_ms"}
        rows = [
            replace(row, cells={names.get(key, key): cell for key, cell in row.cells.items()})
            for row in rows
        ]
        columns = dict.fromkeys(names.get(key, key) for key in columns)
    return Table(name, format, tuple(columns), tuple(rows))


def _vllm(name: str, text: str) -> Table:
    rows: list[Row] = []
    failed = 0
    runs = _runs(text)
    for number, run in enumerate(runs, 1):
        where = f"run {number}, " if len(runs) > 1 else ""
        lists = _vllm_lists(run, where)
        for index in range(len(lists["output_lens"])):
            place = f"{where}request {index}"
            if "errors" in lists and lists["errors"][index]:
                failed += 1
                continue
            rows.append(_vllm_row(place, run, {key: of[index] for key, of in lists.items()}))
    columns = dict.fromkeys(key for row in rows for key in row.cells)
    return Table(name, "vllm", tuple(columns), tuple(rows), failed, _sends(runs))


def _sends(runs: list[dict[str, Any]]) -> str:
    """Why the start times of a benchmark are not those of queries that came by themselves."""
    rate, limit = runs[0].get("request_rate", "not stated"), runs[0].get("max_concurrency")
    if len(runs) > 1:
        reason = f"the file holds {len(runs)} runs, and the time between them is no gap of arrivals"
    elif not isinstance(rate, int | float) or not 0 < rate < math.inf:
        reason = f"request_rate is {shown(rate)}, no finite number: the client sent without waiting"
    elif limit is not None:
        reason = f"max_concurrency is {shown(limit)}: the client waited for answers before it sent"
    else:
        return ""
    return (
        f"the start times are no arrivals: {reason}; give the arrival rate itself (arrival_rate, "
        "--arrival-rate), or a trace of what a server was sent"
    )


def _runs(text: str) -> list[dict[str, Any]]:
    """Results in a file: one object, or with ``--append-result`` one after the other."""
    decoder, runs = json.JSONDecoder(), []
    position = _beginning(text, 0)
    while position < len(text):
        try:
            run, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"not valid JSON: {error}") from error
        if not isinstance(run, dict):
            raise InvalidInputError("a result of vllm bench serve is a JSON object")
        runs.append(run)
        position = _beginning(text, end)
    return runs


def _beginning(text: str, position: int) -> int:
    """Return where white space ends."""
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _vllm_lists(run: dict[str, Any], where: str) -> dict[str, list[Any]]:
    missing = [key for key in _VLLM_LISTS if key not in run]
    if missing:
        raise InvalidInputError(
            f"{where}no list {missing[0]!r}: run vllm bench serve with --save-result and "
            "--save-detailed"
        )
    names = (*_VLLM_LISTS, "input_lens", "start_times", "errors")
    lists = {key: run[key] for key in names if key in run}
    for key, value in lists.items():
        if not isinstance(value, list) or len(value) != len(lists["output_lens"]):
            raise InvalidInputError(
                f"{where}{key} must be a list of one entry for each request, as output_lens is"
            )
    return lists


def _vllm_row(place: str, run: dict[str, Any], entry: dict[str, Any]) -> Row:
    """Time to the first token plus the times between tokens: the whole time, in seconds."""
    gaps = entry["itls"]
    numbers: list[Any] = [entry["ttfts"], *gaps] if isinstance(gaps, list) else [None]
    if not all(type(number) in (int, float) for number in numbers):
        return Row(place, problem="ttfts and itls must hold numbers of seconds")
    try:
        seconds = float(sum(numbers))
    except OverflowError:
        return Row(place, problem="ttfts and itls must hold finite numbers of seconds")
    cells: dict[str, Any] = {"output_tokens": entry["output_lens"], "seconds": seconds}
    if "input_lens" in entry:
        cells["input_tokens"] = entry["input_lens"]
    if "start_times" in entry:
        cells["start_s"] = entry["start_times"]
    elif run.get("max_concurrency") is not None:
        cells["concurrency"] = run["max_concurrency"]
    return Row(place, {name: _cell(value) for name, value in cells.items()})
