"""From the plain values of a file to an instance."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import ValidationError

from cvxqueue.errors import Entry, InvalidInputError
from cvxqueue.files.kinds import KINDS, MIXED
from cvxqueue.files.messages import document_error, task_error
from cvxqueue.files.schema import FORMAT, VERSION, ArrayDocument, TaskDocument
from cvxqueue.model import Constraint, Instance, Integers, MixedAccuracy
from cvxqueue.shown import shown

__all__ = ["from_dict"]


def from_dict(data: Mapping[str, Any]) -> Instance:
    """Return the instance that plain values describe.

    Parameters
    ----------
    data : dict
        What a file of either form holds: strings, numbers, lists and dictionaries.

    Raises
    ------
    InvalidInputError
        If a key is unknown or missing, or a value is not allowed; tasks count from 0.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> cq.from_dict({
    ...     "format": "cvxqueue-instance", "version": 1, "arrival_rate": 0.2,
    ...     "accuracy_weight": 60, "max_tokens": 4096, "probabilities": [0.3, 0.7],
    ...     "service": {"kind": "affine", "base": 0.5, "per_token": [0.002, 0.001]},
    ...     "accuracy": {"kind": "saturating-exponential", "floor": 0, "gain": 1, "rate": 0.01}})
    Instance(2 types, arrival_rate=0.2, accuracy_weight=60)
    """
    if not isinstance(data, Mapping):
        raise InvalidInputError(
            f"an instance must be a table of keys and values, got {shown(data)}"
        )
    _require_header(data)
    form = TaskDocument if "task" in data else ArrayDocument
    try:
        document = form.model_validate(dict(data))
    except ValidationError as error:
        raise document_error(error, form) from error
    if isinstance(document, TaskDocument):
        try:
            return _instance(document, _task_columns(document))
        except InvalidInputError as error:
            raise task_error(error) from error
    return _instance(document, _array_columns(document))


def _require_header(data: Mapping[str, Any]) -> None:
    """Refuse what is no instance file, or one of another version, before reading it as one."""
    for field, expected in (("format", FORMAT), ("version", VERSION)):
        if field not in data:
            raise InvalidInputError(
                f"{field} is missing: an instance file has format = {FORMAT!r} and "
                f"version = {VERSION}"
            )
        value = data[field]
        if type(value) is not type(expected) or value != expected:
            raise InvalidInputError(f"{field} = {shown(value)} must be {expected!r}")


def _instance(document: TaskDocument | ArrayDocument, columns: dict[str, Any]) -> Instance:
    queue = document.queue.model_dump()
    return Instance(
        name=document.name,
        description=document.description,
        sources=document.sources,
        arrival_rate=document.arrival_rate,
        accuracy_weight=document.accuracy_weight,
        queue=KINDS["queue"][queue.pop("kind")].type(**queue),
        constraints=[_constraint(*entry) for entry in enumerate(document.constraint)],
        domains=_domains(document),
        **columns,
    )


def _constraint(position: int, table: Any) -> Constraint:
    fields = table.model_dump()
    kind = KINDS["constraint"][fields.pop("kind")]
    try:
        constraint: Constraint = kind.type(**fields)
    except InvalidInputError as error:
        raise InvalidInputError(f"constraint[{position}]: {error}") from error
    return constraint


def _domains(document: TaskDocument | ArrayDocument) -> Any:
    """Return the domains that a document has: one for all types, one for each, or ``None``."""
    common: Any = document.domain
    shared = None if common is None else _domain("domain", common)
    if isinstance(document, ArrayDocument):
        listed: Any = document.domains
        if listed is None:
            return shared
        if shared is not None:
            raise InvalidInputError("domain and domains do not go together: keep one")
        return [_domain(f"domains[{k}]", table) for k, table in enumerate(listed)]
    own: list[Any] = [task.domain for task in document.task]
    if all(table is None for table in own):
        return shared
    everything = Integers() if shared is None else shared
    return [
        everything if table is None else _domain(f"task[{k}].domain", table)
        for k, table in enumerate(own)
    ]


def _domain(key: str, table: Any) -> Any:
    fields = table.model_dump()
    kind = KINDS["domain"][fields.pop("kind")]
    try:
        return kind.type(**fields)
    except InvalidInputError as error:
        raise InvalidInputError(f"{key}: {error}") from error


def _array_columns(document: ArrayDocument) -> dict[str, Any]:
    columns = {
        field: getattr(document, field)
        for field in ("names", "probabilities", "min_tokens", "max_tokens", "importance")
    }
    for section in ("service", "accuracy"):
        columns[section] = _law(section, getattr(document, section).model_dump())
    return columns


def _law(section: str, table: dict[str, Any]) -> Any:
    """Return the law of all types that a table describes."""
    name = table.pop("kind")
    if name != MIXED:
        return KINDS[section][name].type(**table)
    curves = []
    for position, curve in enumerate(table["curves"]):
        try:
            curves.append(_law(section, curve))
        except InvalidInputError as error:
            raise error.renamed(partial(_in_curve, position)) from error
    return MixedAccuracy(curves=curves, which=table["which"])


def _in_curve(position: int, entry: Entry) -> Entry:
    return Entry(entry.name.replace("accuracy.", f"accuracy.curves[{position}].", 1), entry.place)


def _task_columns(document: TaskDocument) -> dict[str, Any]:
    tasks = document.task
    columns: dict[str, Any] = {
        "probabilities": [task.probability for task in tasks],
        "importance": [task.importance for task in tasks],
    }
    for bound in ("min_tokens", "max_tokens"):
        shared = getattr(document, bound)
        values = [getattr(task, bound) for task in tasks]
        columns[bound] = [shared if value is None else value for value in values]
        if None in columns[bound]:
            raise InvalidInputError(
                f"task[{columns[bound].index(None)}].{bound} is missing (most thinking tokens, ≥ "
                f"min_tokens); give it there, or above the first [[task]] for all that have none"
            )
    names: list[str | None] = [task.name for task in tasks]
    if any(name is not None for name in names):
        if None in names:
            raise InvalidInputError(
                f"task[{names.index(None)}].name is missing; name all tasks or none"
            )
        columns["names"] = names
    for section in ("service", "accuracy"):
        columns[section] = _gathered(section, [getattr(task, section) for task in tasks])
    return columns


def _gathered(section: str, tables: list[Any]) -> Any:
    """Return the law of all types, from one table for each type."""
    names = [table.kind for table in tables]
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
        columns = {field: [getattr(tables[at], field) for at in own] for field in kind.fields}
        try:
            laws.append(kind.type(**columns))
        except InvalidInputError as error:
            raise error.renamed(partial(_of_all, own)) from error
    if len(laws) == 1:
        return laws[0]
    return MixedAccuracy(curves=laws, which=[kinds.index(name) for name in names])


def _of_all(own: list[int], entry: Entry) -> Entry:
    """The entry in the numbering of all types."""
    if not entry.place:
        return entry
    position, *point = entry.place
    return Entry(entry.name, (own[position], *point))
