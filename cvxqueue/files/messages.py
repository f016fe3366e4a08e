"""What is wrong with a document, in its own words: the key, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from cvxqueue.errors import InvalidInputError
from cvxqueue.files.schema import ArrayDocument, TaskDocument
from cvxqueue.formatting import one_line, shown
from cvxqueue.suggest import nearest

# What pydantic found, by its name for it, and what a file must have there.
_REQUIREMENTS = {
    "finite_number": "must be finite",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "list_type": "must be a list",
    "model_attributes_type": "must be a table",
    "model_type": "must be a table",
    "string_type": "must be a string",
    "too_short": "must have at least one entry",
    "value_error": "must be valid Unicode, without lone surrogates",
}


def document_error(error: ValidationError, document: type[BaseModel]) -> InvalidInputError:
    """Translate what pydantic says about a document of the given form."""
    # A misspelt key is reported before the key that is missing because of it.
    problem = min(
        error.errors(include_url=False), key=lambda found: found["type"] != "extra_forbidden"
    )
    return InvalidInputError(_message(dict(problem), document))


def _message(problem: dict[str, Any], document: type[BaseModel]) -> str:
    location, kind, value = problem["loc"], problem["type"], problem["input"]
    if kind == "extra_forbidden":
        return _unknown_key(location, document)
    place = _place(location, document)
    key, meaning = place.key, f" ({place.meaning})" if place.meaning else ""
    if kind == "invalid_key":
        return f"key {shown(location[-1])} must be a string"
    if kind == "string_unicode":
        # Only a key is read as text of its own; the location is that of its table.
        table = f" of {key}" if key else ""
        return f"key {shown(value)}{table} {_REQUIREMENTS['value_error']}"
    if kind == "union_tag_not_found":
        return f"{key}.kind is missing; known: {', '.join(place.kinds)}"
    if kind == "union_tag_invalid":
        given = value["kind"]
        return f"{key}.kind = {shown(given)} is unknown: {nearest(given, place.kinds)}"
    if kind == "missing":
        return f"{key} is missing{meaning}"
    requirement = _REQUIREMENTS.get(kind, f"is not allowed: {problem['msg']}")
    if kind == "float_type" and type(value) is int:
        requirement = "must be finite, and is beyond the range of float64"
    elif kind == "list_type" and location[-1] == "<list>":
        requirement += " of numbers, or one for each type"
    elif kind == "float_type" and location[-1] == "<number>":
        requirement += " or a list of numbers, one for each type"
    return f"{key} = {shown(value)} {requirement}{meaning}"


def _unknown_key(location: Sequence[Any], document: type[BaseModel]) -> str:
    *table, name = location
    place = _place(table, document)
    known: Iterable[str] = place.table.model_fields
    if not table:
        known = {**TaskDocument.model_fields, **ArrayDocument.model_fields}
        if name in known and document is TaskDocument:
            in_task = ", ".join(_place(["task"], document).table.model_fields)
            return (
                f"{name} and task do not go together: give arrays for all types or [[task]] "
                f"tables, whose keys are {in_task}"
            )
    return f"{_joined(place.key, one_line(name))} is no known key: {nearest(name, known)}"


class _Place(NamedTuple):
    """Where in a document a mistake is."""

    key: str  # as a reader of the file would write it: task[2].service.base
    meaning: str  # of the last key
    table: type[BaseModel]  # that the location leads to, or that its last key is in
    kinds: Mapping[str, type[BaseModel]]  # tables that the last key may hold


def _place(location: Sequence[Any], document: type[BaseModel]) -> _Place:
    """Follow a location of pydantic's, in which the kind of a table comes after its key."""
    place = _Place("", "", document, {})
    for step in location:
        if isinstance(step, int):
            place = place._replace(key=f"{place.key}[{step}]")
        elif step in place.kinds:
            place = place._replace(table=place.kinds[step], kinds={})
        elif step in place.table.model_fields:
            field = place.table.model_fields[step]
            tables = _tables_in(field.annotation)
            kinds = {
                get_args(table.model_fields["kind"].annotation)[0]: table
                for table in tables
                if "kind" in table.model_fields
            }
            table = tables[0] if tables and not kinds else place.table
            place = _Place(_joined(place.key, step), field.description or "", table, kinds)
    return place


def _joined(key: str, step: str) -> str:
    return f"{key}.{step}" if key else step


def _tables_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for part in get_args(annotation) for table in _tables_in(part)]
