"""Readers of measurements: units converted, bad rows counted, the rest as arrays."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.files.storage import as_path
from cvxqueue.fitting.columns import (
    ANSWER_FIELDS,
    NUMBER,
    REQUEST_FIELDS,
    Column,
    Field,
    clock_of,
    find_columns,
)
from cvxqueue.fitting.csv_tables import Row, Table, read_table
from cvxqueue.fitting.marks import total_of_marks
from cvxqueue.fitting.records import Answers, Requests, Source
from cvxqueue.fitting.units import require_unit, since_first
from cvxqueue.formatting import shown
from cvxqueue.numerics.arrays import FloatArray, read_only
from cvxqueue.suggest import nearest

__all__ = ["read_answers", "read_requests"]

# More malformed rows than this part are an error unless they are allowed.
_MOST_MALFORMED = 0.01


def read_requests(
    path: str | os.PathLike[str],
    *,
    needs: tuple[str, ...] = ("tokens", "seconds"),
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
    format: str | None = None,
    max_malformed: float = _MOST_MALFORMED,
) -> Requests:
    """Read requests: service times, a trace, or both.

    Parameters
    ----------
    path : path
        A CSV file with a header, JSON Lines, the JSON of ``vllm bench serve --save-detailed``, an
        Azure LLM inference trace, or a Mooncake trace.
    needs : tuple of str, default ``("tokens", "seconds")``
        Fields that must be there; ``("arrivals",)`` for a trace.
    columns : mapping of str to str, optional
        Column of the file for each field (``tokens``, ``seconds``, ``arrivals``,
        ``prompt_tokens``, ``budgets``, ``concurrency``, ``types``) whose name is not a usual one.
        Times are in the unit that the column's name ends in, ``_s``, ``_ms``, ``_us``, ``_ns``,
        ``_min``, ``_h`` or ``_d``, or its name in full, such as ``_hours``. It may be put behind a
        name that is given here: ``{"arrivals": "timestamp_ms"}`` for a column ``timestamp``. Of a
        column without a unit, numbers are in seconds; if all are whole, the unit must be stated.
    where : mapping of str to str, optional
        Keep the rows that have these values in these columns.
    format : {"csv", "jsonl", "vllm", "azure", "mooncake"}, optional
        By default as the file looks.
    max_malformed : float, default 0.01
        Largest fraction of malformed rows that are left out; more are an error.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, a column is missing, too many rows are malformed, or none is
        left; if a unit of time is not stated and cannot be told. The message starts with the path.
    """
    _, values, source = _read(path, REQUEST_FIELDS, needs, columns, where, format, max_malformed)
    arrays = {name: _array(found) for name, found in values.items() if name != "types"}
    if "arrivals" in arrays:
        arrays["arrivals"] = since_first(os.fspath(path), arrays["arrivals"])
    return Requests(source=source, types=_texts(values), **arrays)


def read_answers(
    path: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
    max_malformed: float = _MOST_MALFORMED,
) -> Answers:
    """Read answers: right ones out of so many, by tokens and task type.

    Parameters
    ----------
    path : path
        A CSV file with a header. It has the tokens used, and either right answers (``correct``,
        with ``total`` or one answer a row) or the ``accuracy``, with ``total`` where known.
    columns, where, max_malformed
        As for `read_requests`; the fields are ``tokens``, ``correct``, ``total``, ``accuracy`` and
        ``types``.

    Raises
    ------
    InvalidInputError
        If the file cannot be read, a column is missing, too many rows are malformed, or none is
        left. The message starts with the path.
    """
    table, values, source = _read(
        path, ANSWER_FIELDS, ("tokens",), columns, where, "csv", max_malformed
    )
    total = _array(values["total"]) if "total" in values else None
    if "correct" in values:
        correct = _array(values["correct"])
        if total is None:
            total = total_of_marks(correct)
            if total is None:
                raise InvalidInputError(
                    f"{path}: right answers need their number: "
                    f"{_missing(('total',), ANSWER_FIELDS, table)}"
                )
        accuracy = read_only(correct / total)
    elif "accuracy" in values:
        accuracy = _array(values["accuracy"])
    else:
        raise InvalidInputError(
            f"{path}: {_missing(('correct', 'accuracy'), ANSWER_FIELDS, table)}"
        )
    return Answers(source, _array(values["tokens"]), accuracy, total, _texts(values))


def _read(
    path: str | os.PathLike[str],
    fields: Mapping[str, Field],
    needs: tuple[str, ...],
    columns: Mapping[str, str] | None,
    where: Mapping[str, str] | None,
    format: str | None,
    max_malformed: float,
) -> tuple[Table, dict[str, list[Any]], Source]:
    """Columns of values of the well-formed rows, and where they come from."""
    if not 0.0 <= max_malformed <= 1.0:
        raise InvalidInputError(f"max_malformed = {shown(max_malformed)} must be in [0, 1]")
    file = as_path(path)
    table = read_table(file, format)
    try:
        _require_rows(table)
        found = find_columns(fields, table.columns, columns)
        for name in needs:
            if name not in found:
                raise InvalidInputError(_missing((name,), fields, table))
        rows = _selected(table, where or {})
        # An optional column that is empty throughout is as good as none.
        used = {
            name: column
            for name, column in found.items()
            if name in needs or any(_has(row, column) for row in rows)
        }
        values, malformed, clocks = _values(rows, used)
        count = len(rows) - len(malformed)
        if len(malformed) > max_malformed * len(rows):
            raise InvalidInputError(
                f"{len(malformed)} of {len(rows)} rows {'is' if len(malformed) == 1 else 'are'} "
                f"malformed, more than the fraction of {max_malformed:g} that is allowed "
                f"(max_malformed, --max-malformed); the first: {malformed[0]}"
            )
        if not count:
            raise InvalidInputError("no row is left; measurements were expected below the header")
        for name, column in used.items():
            if column.field.is_time and not column.has_unit and clocks.get(name, NUMBER) == NUMBER:
                is_moment = column.field.is_moment
                require_unit(name, column.name, np.array(values[name]), is_moment=is_moment)
    except InvalidInputError as error:
        raise InvalidInputError(f"{file}: {error}") from error
    source = Source(
        name=table.name,
        format=table.format,
        rows=count,
        malformed=len(malformed),
        first_malformed=malformed[0] if malformed else "",
        failed=table.failed,
        sends=table.sends,
        selection=", ".join(f"{name} = {value}" for name, value in (where or {}).items()),
    )
    return table, values, source


def _require_rows(table: Table) -> None:
    """Say why nothing is left where rows are broken beyond having columns."""
    if not table.columns and table.rows:
        raise InvalidInputError(
            f"all rows are malformed ({len(table.rows)}); the first: {table.rows[0].place}: "
            f"{table.rows[0].problem}"
        )
    if not table.columns and table.failed:
        raise InvalidInputError(f"no row is left: all {table.failed} requests failed")


def _missing(names: tuple[str, ...], fields: Mapping[str, Field], table: Table) -> str:
    """What is wrong where the file has no column for a field, or for none of several."""
    wanted = " or ".join(f"{name} ({fields[name].meaning})" for name in names)
    usual = [fields[name].names[0] for name in names]
    return (
        f"no column for {wanted}; name it {' or '.join(map(repr, usual))}, or say which it is "
        f"(columns, --column): {nearest(usual[0], table.columns)}"
    )


def _selected(table: Table, where: Mapping[str, str]) -> list[Row]:
    """Rows that have the values asked for; broken ones stay, to be counted."""
    rows = list(table.rows)
    for column, value in where.items():
        if column not in table.columns:
            raise InvalidInputError(
                f"where: there is no column {shown(column)}: {nearest(column, table.columns)}"
            )
        present = {str(row.cells[column]).strip() for row in rows if column in row.cells}
        rows = [row for row in rows if row.problem or _equals(row.cells.get(column), value)]
        if all(row.problem for row in rows):
            raise InvalidInputError(
                f"where: no row has {column} = {shown(value)}: {nearest(value, present)}"
            )
    return rows


def _equals(cell: Any, value: str) -> bool:
    if str(cell).strip() == str(value).strip():
        return True
    try:
        return float(cell) == float(value)
    except (TypeError, ValueError):
        return False


def _has(row: Row, column: Column) -> bool:
    cell = row.cells.get(column.name)
    return cell is not None and str(cell).strip() != ""


def _values(
    rows: list[Row], columns: Mapping[str, Column]
) -> tuple[dict[str, list[Any]], list[str], dict[str, str]]:
    """Values of the rows that are well formed, what is wrong with the others, and the clocks."""
    values: dict[str, list[Any]] = {name: [] for name in columns}
    malformed = []
    clocks: dict[str, str] = {}
    for row in rows:
        try:
            parsed = _parse(row, columns, clocks)
        except ValueError as problem:
            malformed.append(f"{row.place}: {problem}")
            continue
        for name, value in parsed.items():
            values[name].append(value)
    return values, malformed, clocks


def _parse(
    row: Row, columns: Mapping[str, Column], clocks: dict[str, str]
) -> dict[str, float | str]:
    """Values of a row; its times must be told by the clocks of those before it."""
    if row.problem:
        raise ValueError(row.problem)
    parsed: dict[str, float | str] = {}
    for name, column in columns.items():
        try:
            cell = row.cells.get(column.name, "")
            parsed[name] = column.field.parse(cell, column.scale)
            if column.field.is_moment:
                clock = clock_of(cell)
                if clock != clocks.setdefault(name, clock):
                    raise ValueError(f"= {shown(cell)} is {clock}, those above {clocks[name]}")
        except ValueError as problem:
            raise ValueError(f"{column.name} {problem}") from problem
    correct, total = parsed.get("correct"), parsed.get("total", math.inf)
    if isinstance(correct, float) and isinstance(total, float) and correct > total:
        raise ValueError(
            f"{columns['correct'].name} = {correct:g} must be at most "
            f"{columns['total'].name} = {total:g}"
        )
    return parsed


def _array(values: list[float]) -> FloatArray:
    return read_only(np.array(values, dtype=np.float64))


def _texts(values: Mapping[str, list[Any]]) -> tuple[str, ...] | None:
    return tuple(values["types"]) if "types" in values else None
