"""From the plain values of a file to an instance."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

from cvxqueue.errors import Entry, InvalidInputError, naming, renaming
from cvxqueue.files.kinds import ANSWER_FORMATS, FORMAT, KINDS, MIXED, VERSION
from cvxqueue.formatting import shown
from cvxqueue.model import Instance, Integers, MixedAccuracy

# What the domain of one type is called in the form of arrays.
_DOMAIN_KEY = "domains[{}]"


def from_dict(data: Mapping[str, Any]) -> Instance:
    """Return the instance that plain values describe, and no answer; see `cvxqueue.from_dict`."""
    from pydantic import ValidationError

    from cvxqueue.files.messages import document_error
    from cvxqueue.files.schema import ArrayDocument, TaskDocument

    if not isinstance(data, Mapping):
        raise InvalidInputError(
            f"an instance must be a table of keys and values, got {shown(data)}"
        )
    given = data.get("format")
    if isinstance(given, str) and given in ANSWER_FORMATS:
        raise InvalidInputError(
            f"format = {given!r} is that of a saved answer, and an instance is needed; "
            "cq.load(path).instance is the one that it answers"
        )
    require_header(data, FORMAT)
    form = TaskDocument if "task" in data else ArrayDocument
    try:
        document = form.model_validate(dict(data))
    except ValidationError as error:
        raise document_error(error, form) from error
    # The warnings would be of the keys that were left out: they hold None, which no file may.
    fields = document.model_dump(exclude={"format", "version"}, warnings=False)
    if form is ArrayDocument:
        for section in ("service", "accuracy"):
            fields[section] = _object(section, fields[section])
        if fields["domain"] is not None and fields["domains"] is not None:
            raise InvalidInputError("domain and domains do not go together: keep one")
        return _instance(fields)
    with renaming(_in_task):
        return _of_tasks(fields)


def require_header(data: Mapping[str, Any], format: str) -> None:
    """Refuse what is not of a format, or of another version, before reading it as such."""
    for field, expected in (("format", format), ("version", VERSION)):
        if field not in data:
            raise InvalidInputError(
                f"{field} is missing: give format = {format!r} and version = {VERSION}"
            )
        value = data[field]
        if type(value) is not type(expected) or value != expected:
            raise InvalidInputError(f"{field} = {shown(value)} must be {expected!r}")


def _of_tasks(fields: dict[str, Any]) -> Instance:
    tasks = fields.pop("task")
    columns = {field: [task[field] for task in tasks] for field in tasks[0]}
    for bound in ("min_tokens", "max_tokens"):
        columns[bound] = [fields[bound] if own is None else own for own in columns[bound]]
        if None in columns[bound]:
            raise InvalidInputError(
                f"task[{columns[bound].index(None)}].{bound} is missing (most thinking tokens, ≥ "
                f"min_tokens); give it there, or above the first [[task]] for all that have none"
            )
    names = columns.pop("name")
    if any(name is not None for name in names):
        if None in names:
            raise InvalidInputError(
                f"task[{names.index(None)}].name is missing; name all tasks or none"
            )
        columns["names"] = names
    domains = columns.pop("domain")
    if any(domain is not None for domain in domains):
        columns["domains"] = domains
    columns["probabilities"] = columns.pop("probability")
    laws = {section: _gathered(section, columns[section]) for section in ("service", "accuracy")}
    return _instance(fields | columns | laws, "task[{}].domain")


def _instance(fields: dict[str, Any], domain_key: str = _DOMAIN_KEY) -> Instance:
    """Return the instance; queue, constraints and domains are still tables."""
    tables = enumerate(fields.pop("constraint"))
    return Instance(
        **fields
        | {
            "queue": _object("queue", fields["queue"]),
            "constraints": [
                _object("constraint", table, f"constraint[{k}]") for k, table in tables
            ],
            "domains": domains(fields.pop("domain"), fields.pop("domains", None), domain_key),
        }
    )


def domains(shared: dict[str, Any] | None, own: list[Any] | None, key: str = _DOMAIN_KEY) -> Any:
    """Return the domain of all types, a list of one for each, or ``None``."""
    domain = None if shared is None else _object("domain", shared, "domain")
    if own is None:
        return domain
    return [
        domain or Integers() if table is None else _object("domain", table, key.format(position))
        for position, table in enumerate(own)
    ]


def _object(section: str, table: dict[str, Any], key: str = "") -> Any:
    """Return what a table describes; where there are several, a mistake is told with the key."""
    name = table.pop("kind")
    with naming(key) if key else nullcontext():
        return _mixture(**table) if name == MIXED else KINDS[section][name].type(**table)


def _mixture(curves: list[dict[str, Any]], which: list[int]) -> MixedAccuracy:
    made = []
    for position, curve in enumerate(curves):
        with renaming(partial(_in_curve, position)):
            made.append(_object("accuracy", curve))
    return MixedAccuracy(curves=made, which=which)


def _in_curve(position: int, entry: Entry) -> Entry:
    return Entry(entry.name.replace("accuracy.", f"accuracy.curves[{position}].", 1), entry.place)


def _gathered(section: str, tables: list[dict[str, Any]]) -> Any:
    """Return the law of all types, from one table for each type."""
    names = [table["kind"] for table in tables]
    kinds = list(dict.fromkeys(names))
    if len(kinds) > 1 and section != "accuracy":
        other = next(position for position, name in enumerate(names) if name != names[0])
        raise InvalidInputError(
            f"task[{other}].{section}.kind = {names[other]!r} must be {names[0]!r} as in task[0]: "
            f"the {section} of all tasks has one kind"
        )
    laws = []
    for name in kinds:
        kind, own = KINDS[section][name], [at for at, other in enumerate(names) if other == name]
        columns = {field: [tables[at][field] for at in own] for field in kind.fields}
        with renaming(partial(_of_all, own)):
            laws.append(kind.type(**columns))
    if len(laws) == 1:
        return laws[0]
    return MixedAccuracy(curves=laws, which=[kinds.index(name) for name in names])


# What an array by type is called where it is a key of each task.
IN_TASK = {"probabilities": "probability", "names": "name"}


def _in_task(entry: Entry) -> Entry:
    if not entry.place:
        return entry
    task, *point = entry.place
    return Entry(f"task[{task}].{IN_TASK.get(entry.name, entry.name)}", tuple(point))


def _of_all(own: list[int], entry: Entry) -> Entry:
    """The entry in the numbering of all types."""
    if not entry.place:
        return entry
    position, *point = entry.place
    return Entry(entry.name, (own[position], *point))
