"""Readers of measurements: units converted, bad rows counted, the rest as arrays."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from cvxqueue.errors import InvalidInputError, naming
from cvxqueue.files.storage import as_path
from cvxqueue.fitting.columns import answers_from, is_in_memory, requests_from
from cvxqueue.fitting.fields import (
    ANSWER_FIELDS,
    NUMBER,
    REQUEST_FIELDS,
    Column,
    Field,
    find_columns,
    missing_column,
    require_field,
)
from cvxqueue.fitting.formats import Row, Table, read_table
from cvxqueue.fitting.records import Answers, Requests, Source, one_answer_each
from cvxqueue.fitting.units import require_unit, since_first
from cvxqueue.formatting import shown
from cvxqueue.numerics.arrays import read_only
from cvxqueue.numerics.checks import real_number, require_that, text_tuple
from cvxqueue.numerics.frames import Frame
from cvxqueue.suggest import nearest

# A file, what a reader made of one, or columns in memory.
Requestlike = str | os.PathLike[str] | Requests | Mapping[str, Any] | Frame
Answerlike = str | os.PathLike[str] | Answers | Mapping[str, Any] | Frame

# More malformed rows than this part are an error unless they are allowed.
_MOST_MALFORMED = 0.01
_WHICH = "say which it is (columns, --column)"


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
    values, source, _ = _read(path, REQUEST_FIELDS, needs, columns, where, format, max_malformed)
    if "arrivals" in values:
        values["arrivals"] = since_first(os.fspath(path), values["arrivals"])
    return Requests(source=source, **values)


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
    values, source, present = _read(
        path, ANSWER_FIELDS, ("tokens",), columns, where, "csv", max_malformed
    )
    total, share = values.get("total"), values.get("accuracy")
    if "correct" in values:
        if total is None:
            total = one_answer_each(values["correct"])
        if total is None:
            missing = missing_column(("total",), ANSWER_FIELDS, present, _WHICH)
            raise InvalidInputError(f"{path}: right answers need their number: {missing}")
        share = read_only(values["correct"] / total)
    elif share is None:
        missing = missing_column(("correct", "accuracy"), ANSWER_FIELDS, present, _WHICH)
        raise InvalidInputError(f"{path}: {missing}")
    return Answers(source, values["tokens"], share, total, values.get("types"))


def as_requests(
    given: Any, argument: str, needs: tuple[str, ...], max_malformed: float
) -> Requests:
    """Return requests that have what is needed, wherever they are."""
    if is_in_memory(given):
        return requests_from(given, argument, needs)
    if not isinstance(given, Requests):
        _require_file(argument, given)
        return read_requests(given, needs=needs, max_malformed=max_malformed)
    with naming(argument):
        for name in needs:
            given.column(name)
    return given


def as_answers(given: Any, max_malformed: float) -> Answers:
    """Return answers, wherever they are."""
    if is_in_memory(given):
        return answers_from(given)
    if isinstance(given, Answers):
        return given
    _require_file("accuracy", given)
    return read_answers(given, max_malformed=max_malformed)


def _require_file(argument: str, given: Any) -> None:
    if isinstance(given, str | os.PathLike):
        return
    has_length = hasattr(type(given), "__len__") and getattr(given, "shape", True)
    is_empty = has_length and len(given) == 0
    got = "and has no rows" if is_empty else f"got {shown(given)}"
    raise InvalidInputError(
        f"{argument} must be the path of a file, a frame, or columns by the names of the fields, "
        f"{got}"
    )


def _read(
    path: str | os.PathLike[str],
    fields: Mapping[str, Field],
    needs: tuple[str, ...],
    columns: Mapping[str, str] | None,
    where: Mapping[str, str] | None,
    format: str | None,
    max_malformed: float,
) -> tuple[dict[str, Any], Source, tuple[str, ...]]:
    """Arrays of the well-formed rows (types as text), where they come from, and the columns."""
    if not 0.0 <= real_number("max_malformed", max_malformed) <= 1.0:
        raise InvalidInputError(f"max_malformed = {shown(max_malformed)} must be in [0, 1]")
    for name in text_tuple("needs", needs):
        require_field("needs: ", name, fields)
    for option, names in {"columns": columns, "where": where}.items():
        require_that(isinstance(names, Mapping | None), option, names, "a mapping by name")
    file = as_path(path)
    table, format = read_table(file, format)
    given, where = dict(columns or {}), where or {}
    if format == "mooncake" and "timestamp" in table.columns:
        given.setdefault("arrivals", "timestamp_ms")
    with naming(str(file)):
        _require_rows(table)
        found = find_columns(fields, table.columns, given)
        for name in needs:
            if name not in found:
                raise InvalidInputError(missing_column((name,), fields, table.columns, _WHICH))
        rows = _selected(table, where)
        # An optional column that is empty throughout is as good as none.
        used = {
            name: column
            for name, column in found.items()
            if name in needs or not all(column.is_empty(row.cells) for row in rows)
        }
        lists, malformed, clocks = _values(rows, used)
        count = len(rows) - len(malformed)
        if len(malformed) > max_malformed * len(rows):
            raise InvalidInputError(
                f"{len(malformed)} of {len(rows)} rows {'is' if len(malformed) == 1 else 'are'} "
                f"malformed, more than the fraction of {max_malformed:g} that is allowed "
                f"(max_malformed, --max-malformed); the first: {malformed[0]}"
            )
        if not count:
            raise InvalidInputError("no row is left; measurements were expected below the header")
        values = _arrays(lists, used, clocks)
    source = Source(
        name=file.name,
        format=format,
        rows=count,
        malformed=len(malformed),
        first_malformed=malformed[0] if malformed else "",
        failed=table.failed,
        not_arrivals=table.not_arrivals,
        selection=", ".join(f"{name} = {value}" for name, value in where.items()),
    )
    return values, source, table.columns


def _arrays(
    lists: Mapping[str, list[Any]], columns: Mapping[str, Column], clocks: Mapping[str, str]
) -> dict[str, Any]:
    """Arrays of numbers, whose unit is stated or can be told, and tuples of text."""
    values: dict[str, Any] = {}
    for name, column in columns.items():
        if column.field.is_text:
            values[name] = tuple(lists[name])
            continue
        values[name] = read_only(np.array(lists[name]))
        if column.field.is_time and column.unit is None and clocks[name] == NUMBER:
            require_unit(name, column.name, values[name], is_moment=column.field.is_moment)
    return values


def _require_rows(table: Table) -> None:
    """Say why nothing is left where rows are broken beyond having columns."""
    if not table.columns and table.rows:
        raise InvalidInputError(
            f"all rows are malformed ({len(table.rows)}); the first: {table.rows[0].place}: "
            f"{table.rows[0].problem}"
        )
    if not table.columns and table.failed:
        raise InvalidInputError(f"no row is left: all {table.failed} requests failed")


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
    """Values of a row; its times must be told by the clocks of the well-formed ones before it."""
    if row.problem:
        raise ValueError(row.problem)
    parsed: dict[str, float | str] = {}
    told = dict(clocks)
    for name, column in columns.items():
        try:
            cell = row.cells.get(column.name, "")
            parsed[name], clock = column.field.parse(cell, column.unit or 1.0)
            if clock != told.setdefault(name, clock):
                raise ValueError(f"= {shown(cell)} is {clock}, those above {told[name]}")
        except ValueError as problem:
            raise ValueError(f"{column.name} {problem}") from problem
    correct, total = parsed.get("correct"), parsed.get("total", math.inf)
    if isinstance(correct, float) and isinstance(total, float) and correct > total:
        raise ValueError(
            f"{columns['correct'].name} = {correct:g} must be at most "
            f"{columns['total'].name} = {total:g}"
        )
    clocks.update(told)
    return parsed
