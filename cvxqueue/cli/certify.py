"""``cvxqueue certify``: which claims of an answer are true."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import Any

from cvxqueue.cli.inputs import read_content, read_instance, record_path
from cvxqueue.cli.output import progress, show
from cvxqueue.errors import InvalidInputError, naming
from cvxqueue.files.storage import decode
from cvxqueue.files.text import parse
from cvxqueue.formatting import shown
from cvxqueue.model import Instance
from cvxqueue.references.grade import grade
from cvxqueue.references.verify import MOST_RECORD_BYTES, RECORD_FORMAT


def run(options: argparse.Namespace) -> int:
    """Grade an answer, and print what was found of each claim."""
    if (options.answer is None) == (options.tokens is None):
        raise InvalidInputError("give either ANSWER or --tokens")
    if options.file == options.answer == "-":
        raise InvalidInputError("FILE and ANSWER cannot both be stdin")
    answer = options.tokens
    if answer is None:
        answer = _read_answer(options.answer, "integer tokens" if options.integer else "tokens")
    reference = _read_reference(options.file)
    with progress(1) as step:
        step("certify")
        found = grade(
            reference,
            answer,
            integer=options.integer,
            tolerance=options.tolerance,
            feasibility_tolerance=options.feasibility_tolerance,
        )
    show(options, found.to_dict(), found.table(), found)
    return 1 if found.is_right is False else 0


def _read_reference(name: str) -> Instance | Path:
    """Return the path of a record, that of a reference included, or an instance."""
    file = Path(record_path(name))
    if file.suffix.lower() == ".json" and file.is_file():
        with naming(name):
            content = parse(decode(read_content(str(file), MOST_RECORD_BYTES)), "json")
        if isinstance(content, dict) and content.get("format") == RECORD_FORMAT:
            return file
    return read_instance(name)


def _read_answer(name: str, column: str) -> Any:
    """Return what JSON says, or the tokens of a table, where one has no other column for them."""
    content = read_content(name, MOST_RECORD_BYTES)
    with naming("stdin" if name == "-" else name):
        text = decode(content)
        if text.lstrip()[:1] in ("{", "["):
            return parse(text, "json")
        try:
            rows = list(csv.reader(io.StringIO(text, newline="")))
        except csv.Error as error:
            raise InvalidInputError(f"is neither JSON nor a table: {error}") from error
        return _column(rows, column)


def _column(rows: list[list[str]], name: str) -> list[float]:
    """Return the column of tokens, by its name or the only one; NaN where it has no entry."""
    rows = [row for row in rows if row]
    heading = rows[0] if rows else []
    place, name = 0, name if name in heading else "tokens"
    if name in heading:
        place, rows = heading.index(name), rows[1:]
    elif len(heading) != 1:
        raise InvalidInputError(
            f"is neither JSON nor a table with a column 'tokens': {shown(heading)}"
        )
    found = []
    for row in rows:
        entry = row[place].strip() if place < len(row) else ""
        try:
            found.append(float(entry or "nan"))
        except ValueError:
            raise InvalidInputError(f"tokens must be numbers, got {shown(entry)}") from None
    return found
