"""What is wrong with a document, in its own words: the key, the value and what is allowed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from cvxqueue.errors import Entry, InvalidInputError
from cvxqueue.files.schema import ArrayDocument, TaskDocument, fields_at, kinds_at
from cvxqueue.shown import clipped, shown
from cvxqueue.suggest import nearest

__all__ = ["document_error", "task_error"]

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
# What an array by type is called where it is a key of each task.
_OF_ONE = {"probabilities": "probability", "names": "name"}


def document_error(error: ValidationError, document: type[BaseModel]) -> InvalidInputError:
    """Translate what pydantic says about a document of the given form."""
    # A misspelt key is reported before the key that is missing because of it.
    problem = min(
        error.errors(include_url=False), key=lambda found: found["type"] != "extra_forbidden"
    )
    return InvalidInputError(_message(dict(problem), document))


def task_error(error: InvalidInputError) -> InvalidInputError:
    """Translate what a constructor says about its arrays into the keys of [[task]] tables."""
    return error.renamed(_in_task)


def _in_task(entry: Entry) -> Entry:
    if not entry.place:
        return entry
    task, *point = entry.place
    return Entry(f"task[{task}].{_OF_ONE.get(entry.name, entry.name)}", tuple(point))


def _message(problem: dict[str, Any], document: type[BaseModel]) -> str:
    location, kind, value = problem["loc"], problem["type"], problem["input"]
    key = _key(location, document)
    if kind == "extra_forbidden":
        return _unknown_key(location, document)
    if kind == "invalid_key":
        return f"key {shown(location[-1])} must be a string"
    if kind == "string_unicode":
        # Only a key is read as text of its own; the location is that of its table.
        table = f" of {key}" if key else ""
        return f"key {shown(value)}{table} {_REQUIREMENTS['value_error']}"
    if kind == "union_tag_not_found":
        return f"{key}.kind is missing; known: {', '.join(kinds_at(document, location))}"
    if kind == "union_tag_invalid":
        given = value["kind"]
        hint = nearest(given, kinds_at(document, location))
        return f"{key}.kind = {shown(given)} is unknown: {hint}"
    names = [step for step in location if isinstance(step, str) and not step.startswith("<")]
    meaning = _meaning(location, names[-1], document)
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


def _key(location: tuple[str | int, ...], document: type[BaseModel]) -> str:
    """Return a location as a reader of the file would write it: ``task[2].service.base``."""
    key = ""
    for place, step in enumerate(location):
        is_kind = step in kinds_at(document, location[:place])
        if isinstance(step, int):
            key += f"[{step}]"
        elif not is_kind and not step.startswith("<"):
            key += f".{clipped(step)}" if key else clipped(step)
    return key


def _meaning(location: tuple[str | int, ...], name: str, document: type[BaseModel]) -> str:
    table = location[: location.index(name)] if name in location else location
    meaning = fields_at(document, table).get(name, "")
    return f" ({meaning})" if meaning else ""


def _unknown_key(location: tuple[str | int, ...], document: type[BaseModel]) -> str:
    name = str(location[-1])
    known = fields_at(document, location[:-1])
    if len(location) == 1:
        both = {**fields_at(TaskDocument, ()), **fields_at(ArrayDocument, ())}
        if name in both and document is TaskDocument:
            in_task = ", ".join(fields_at(document, ["task"]))
            return (
                f"{name} and task do not go together: give arrays for all types or [[task]] "
                f"tables, whose keys are {in_task}"
            )
        known = both
    return f"{_key(location, document)} is no known key: {nearest(name, known)}"
