"""Formats of measurements: text as rows of named cells, each with its place in the file."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cvxqueue.errors import InvalidInputError, naming
from cvxqueue.files.storage import decode, read_bytes
from cvxqueue.formatting import shown
from cvxqueue.suggest import nearest

# A row is a dictionary, of fifty times the size of a short line.
_MOST_BYTES = 200_000_000
# A log has tens of columns; what knows no bound took 8 s for a header of 30,000.
_MOST_COLUMNS = 1000
_SPACE = re.compile(r"\s*")

_DELIMITERS = ",\t;"
_AZURE_COLUMNS = {"TIMESTAMP", "ContextTokens", "GeneratedTokens"}
_MOONCAKE_KEYS = {"timestamp", "input_length", "output_length", "hash_ids"}
# Lists of `vllm bench serve --save-detailed`, of one entry for each request; those that an answer
# time needs, in seconds, and the columns that the others are.
_VLLM_NEEDS = ("output_lens", "ttfts", "itls")
_VLLM_COLUMNS = {
    "output_lens": "output_tokens",
    "input_lens": "input_tokens",
    "start_times": "start_s",
}


class Row(NamedTuple):
    """One row: where it is, and its cells; a reason instead of cells where it has none."""

    place: str
    cells: Mapping[str, Any] = {}
    problem: str = ""


class Table(NamedTuple):
    """Rows of a file, the columns that they may have, and how many requests had failed.

    `not_arrivals` says why the start times are a client's own; it is empty where they are arrivals.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    failed: int = 0
    not_arrivals: str = ""


def read_table(path: Path, format: Any) -> tuple[Table, str]:
    """Read a file of measurements, and tell its format; a message names the path."""
    if format is not None and not (isinstance(format, str) and format in _READERS):
        raise InvalidInputError(f"format = {shown(format)} is unknown: {nearest(format, _READERS)}")
    content = read_bytes(path, _MOST_BYTES)
    with naming(str(path)):
        text = decode(content)
        if not text.strip():
            raise InvalidInputError("the file is empty; measurements were expected")
        format = format or _guess(path, text)
        table = _READERS[format](text)
    return table, "mooncake" if format == "jsonl" and _is_mooncake(table) else format


def _guess(path: Path, text: str) -> str:
    """Tell the format by its first line, and JSON Lines by the object that is one of several."""
    first = text.lstrip().partition("\n")[0].strip()
    if not first.startswith("{"):
        return "azure" if _AZURE_COLUMNS.issubset(first.split(",")) else "csv"
    is_lines = path.suffix.lower() == ".jsonl" or (first.endswith("}") and first != text.strip())
    return "jsonl" if is_lines and '"output_lens"' not in text else "vllm"


def _is_mooncake(table: Table) -> bool:
    """Whether there are just a Mooncake trace's four keys, and whole milliseconds, not seconds."""
    times = (row.cells.get("timestamp") for row in table.rows)
    return set(table.columns) == _MOONCAKE_KEYS and not any(isinstance(t, float) for t in times)


def _csv(text: str) -> Table:
    delimiter = max(_DELIMITERS, key=text.lstrip().partition("\n")[0].count)
    # A strict reader complains of a quote that never ends, and would otherwise take the rest of
    # the file for one cell.
    records = _records(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    place, names, problem = next(records)
    if problem:
        raise InvalidInputError(f"{place}: {problem}")
    header = [column.strip() for column in names]
    _require_columns(place, header)
    if repeated := sorted(name for name in set(header) if header.count(name) > 1):
        raise InvalidInputError(f"{place}: column {shown(repeated[0])} occurs more than once")
    rows = []
    for place, record, problem in records:
        if not problem and len(record) != len(header):
            problem = f"{len(record)} cells for {len(header)} columns"
        rows.append(Row(place, {} if problem else dict(zip(header, record, strict=True)), problem))
    return Table(tuple(header), tuple(rows))


def _records(records: Any) -> Iterator[tuple[str, list[str], str]]:
    """Place, cells and problem of each record; a quote that never ends is an error of the file."""
    while True:
        place = f"line {records.line_num + 1}"
        try:
            record = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            if "end of data" in str(error):
                raise InvalidInputError(
                    f"the quotation mark in {place} is never closed; close or remove it"
                ) from error
            yield place, [], str(error)
        else:
            if record:
                yield place, record, ""


def _require_columns(place: str, columns: Collection[str]) -> None:
    if len(columns) > _MOST_COLUMNS:
        raise InvalidInputError(
            f"{place}: {len(columns):,} columns, and there may be {_MOST_COLUMNS:,}; keep those "
            "that hold measurements"
        )


def _scalars(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Cells from JSON; no measurement is a list or an object, which are kept as text."""
    return {
        name: shown(value) if isinstance(value, list | dict) else value
        for name, value in cells.items()
    }


def _json_lines(text: str) -> Table:
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
        rows.append(Row(place, _scalars(value)))
    return Table(tuple(columns), tuple(rows))


def _vllm(text: str) -> Table:
    rows: list[Row] = []
    failed = 0
    runs = _runs(text)
    for number, run in enumerate(runs, 1):
        where = f"run {number}, " if len(runs) > 1 else ""
        lists = _vllm_lists(run, where)
        for index in range(len(lists["output_lens"])):
            entry = {key: values[index] for key, values in lists.items()}
            if entry.get("errors"):
                failed += 1
            else:
                rows.append(_vllm_row(f"{where}request {index}", run, entry))
    columns = dict.fromkeys(key for row in rows for key in row.cells)
    return Table(tuple(columns), tuple(rows), failed, _not_arrivals(runs))


def _not_arrivals(runs: list[dict[str, Any]]) -> str:
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
    position = 0
    while (position := _SPACE.match(text, position).end()) < len(text):  # type: ignore[union-attr]
        try:
            run, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"not valid JSON: {error}") from error
        if not isinstance(run, dict):
            raise InvalidInputError("a result of vllm bench serve is a JSON object")
        runs.append(run)
    return runs


def _vllm_lists(run: dict[str, Any], where: str) -> dict[str, list[Any]]:
    if missing := [key for key in _VLLM_NEEDS if key not in run]:
        raise InvalidInputError(
            f"{where}no list {missing[0]!r}: run vllm bench serve with --save-result and "
            "--save-detailed"
        )
    lists = {key: run[key] for key in (*_VLLM_NEEDS, *_VLLM_COLUMNS, "errors") if key in run}
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
        cells: dict[str, Any] = {"seconds": float(sum(numbers))}
    except OverflowError:
        return Row(place, problem="ttfts and itls must hold finite numbers of seconds")
    cells |= {name: entry[key] for key, name in _VLLM_COLUMNS.items() if key in entry}
    if "start_times" not in entry and run.get("max_concurrency") is not None:
        cells["concurrency"] = run["max_concurrency"]
    return Row(place, _scalars(cells))


# Formats by name, as they are told to people.
_READERS: dict[str, Callable[[str], Table]] = {
    "csv": _csv,
    "jsonl": _json_lines,
    "vllm": _vllm,
    "azure": _csv,
    "mooncake": _json_lines,
}
