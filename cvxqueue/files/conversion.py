"""Between an instance and the plain values of a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from cvxqueue.errors import InvalidInputError
from cvxqueue.files.kinds import KINDS, MIXED, Kind
from cvxqueue.files.messages import document_error, task_error
from cvxqueue.files.schema import FORMAT, VERSION, ArrayDocument, TaskDocument
from cvxqueue.model import Constraint, Instance, Integers, MixedAccuracy
from cvxqueue.model.arrays import FloatArray

__all__ = ["from_dict", "to_dict"]

# Tables while a person may still read them all; a table is about five lines.
_MOST_TASK_TABLES = 50


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
        raise InvalidInputError(f"an instance must be a table of keys and values, got {data!r:.80}")
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


def to_dict(instance: Instance) -> dict[str, Any]:
    """Return an instance as plain values, as its file has them.

    Parameters
    ----------
    instance : Instance

    Returns
    -------
    dict
        With ``task`` tables for up to 50 types and arrays for more, or where several curves in a
        mixture are of one class. `from_dict` gives back an equal instance.

    Raises
    ------
    InvalidInputError
        If the service law, the accuracy curve or the queue has no kind in instance files.
    """
    if not isinstance(instance, Instance):
        raise InvalidInputError(f"instance must be an Instance, got {instance!r:.80}")
    data: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    for field in ("name", "description"):
        if getattr(instance, field):
            data[field] = getattr(instance, field)
    if instance.sources:
        data["sources"] = list(instance.sources)
    data["arrival_rate"] = instance.arrival_rate
    data["accuracy_weight"] = instance.accuracy_weight
    if instance.size <= _MOST_TASK_TABLES and _has_one_curve_of_a_class(instance.accuracy):
        return data | _task_form(instance)
    return data | _array_form(instance)


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
            raise InvalidInputError(f"{field} = {value!r:.80} must be {expected!r}")


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
            message = str(error).replace("accuracy.", f"accuracy.curves[{position}].")
            raise InvalidInputError(message) from error
    return MixedAccuracy(curves=curves, which=table["which"])


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
            raise InvalidInputError(_own_entries(str(error), own)) from error
    if len(laws) == 1:
        return laws[0]
    return MixedAccuracy(curves=laws, which=[kinds.index(name) for name in names])


def _own_entries(message: str, own: list[int]) -> str:
    """Number the entries that a message names as those of all types."""
    return re.sub(
        r"(\b(?:service|accuracy)\.\w+\[)(\d+)", lambda m: f"{m[1]}{own[int(m[2])]}", message
    )


def _kind(section: str, law: Any) -> tuple[str, Kind]:
    for name, kind in KINDS[section].items():
        if type(law) is kind.type:
            return name, kind
    known = ", ".join(kind.type.__name__ for kind in KINDS[section].values())
    raise InvalidInputError(
        f"{section} = {law!r:.80} of class {type(law).__name__} has no kind in instance files; "
        f"known: {known}"
    )


def _has_one_curve_of_a_class(accuracy: Any) -> bool:
    """Whether tables for each type tell all: they do not say which types share a curve."""
    if not isinstance(accuracy, MixedAccuracy):
        return True
    return 1 < len(accuracy.curves) == len({type(curve) for curve in accuracy.curves})


def _columns(kind: Kind, law: Any) -> dict[str, list[Any]]:
    """Return the fields of a law, each with an entry for each type."""
    columns: dict[str, list[Any]] = {}
    for field in kind.fields:
        columns[field] = getattr(law, field).tolist()
        if field in kind.lists:
            counts = law.point_counts.tolist()
            columns[field] = [
                row[:count] for row, count in zip(columns[field], counts, strict=True)
            ]
    return columns


def _tables(section: str, law: Any) -> list[dict[str, Any]]:
    """Return a table for each type; what is at its default is left out."""
    if isinstance(law, MixedAccuracy):
        tables: list[dict[str, Any]] = [{}] * law.which.size
        for place, curve in law.groups:
            own = np.arange(law.which.size)[place].tolist()
            for at, table in zip(own, _tables(section, curve), strict=True):
                tables[at] = table
        return tables
    name, kind = _kind(section, law)
    columns = _columns(kind, law)
    return [
        {"kind": name}
        | {
            field: value
            for field, value in zip(columns, values, strict=True)
            if field not in kind.defaults or value != kind.defaults[field]
        }
        for values in zip(*columns.values(), strict=True)
    ]


def _task_form(instance: Instance) -> dict[str, Any]:
    columns: dict[str, list[Any]] = {}
    if instance.names is not None:
        columns["name"] = list(instance.names)
    columns["probability"] = instance.probabilities.tolist()
    shared: dict[str, Any] = {}
    for bound in ("min_tokens", "max_tokens"):
        value = _compact(_whole(getattr(instance, bound)))
        if isinstance(value, list):
            columns[bound] = value
        elif value != 0 or bound == "max_tokens":
            shared[bound] = value
    if (instance.importance != 1.0).any():
        columns["importance"] = instance.importance.tolist()
    for section in ("service", "accuracy"):
        columns[section] = _tables(section, getattr(instance, section))
    tasks = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    domains = _domain_tables(instance)
    if len(domains) > 1:
        tasks = [task | {"domain": own} for task, own in zip(tasks, domains, strict=True)]
    limits = {"domain": domains[0]} if len(domains) == 1 else {}
    limits |= _constraints(instance)
    return shared | {"queue": _queue(instance.queue)} | limits | {"task": tasks}


def _array_form(instance: Instance) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if instance.names is not None:
        data["names"] = list(instance.names)
    data["probabilities"] = instance.probabilities.tolist()
    if instance.min_tokens.any():
        data["min_tokens"] = _compact(_whole(instance.min_tokens))
    data["max_tokens"] = _compact(_whole(instance.max_tokens))
    if (instance.importance != 1.0).any():
        data["importance"] = _compact(instance.importance.tolist())
    data["queue"] = _queue(instance.queue)
    data |= _constraints(instance)
    domains = _domain_tables(instance)
    if domains:
        data |= {"domain": domains[0]} if len(domains) == 1 else {"domains": domains}
    return data | {
        section: _section(section, getattr(instance, section))
        for section in ("service", "accuracy")
    }


def _queue(queue: Any) -> dict[str, Any]:
    name, kind = _kind("queue", queue)
    return {"kind": name, **{field: getattr(queue, field) for field in kind.fields}}


def _domain_tables(instance: Instance) -> list[dict[str, Any]]:
    """Return the domains as tables: none, one for all types, or one for each."""
    if instance.domains is None:
        return []
    tables = []
    for domain in instance.domains:
        name, kind = _kind("domain", domain)
        table: dict[str, Any] = {"kind": name}
        for field in kind.fields:
            value = getattr(domain, field)
            table[field] = value.tolist() if isinstance(value, np.ndarray) else value
        tables.append(table)
    return tables[:1] if all(table == tables[0] for table in tables) else tables


def _constraints(instance: Instance) -> dict[str, Any]:
    """Return a table for each constraint; no key where there are none."""
    tables = []
    for constraint in instance.constraints:
        name, kind = _kind("constraint", constraint)
        table = {"kind": name}
        for field in kind.fields:
            value = getattr(constraint, field)
            if value is not None:
                table[field] = value.tolist() if isinstance(value, np.ndarray) else value
        tables.append(table)
    return {"constraint": tables} if tables else {}


def _section(section: str, law: Any) -> dict[str, Any]:
    """Return one table for all types; what is at its default is left out."""
    if isinstance(law, MixedAccuracy):
        curves = [_section(section, curve) for _, curve in law.groups]
        return {"kind": MIXED, "which": law.which.tolist(), "curves": curves}
    name, kind = _kind(section, law)
    table: dict[str, Any] = {"kind": name}
    for field, values in _columns(kind, law).items():
        entry = _compact(values)
        if field not in kind.defaults or entry != kind.defaults[field]:
            table[field] = entry
    return table


def _compact(values: list[Any]) -> Any:
    """Return one number where all entries are that number. There is no −0.0 to be lost."""
    return values[0] if values.count(values[0]) == len(values) else values


def _whole(array: FloatArray) -> list[float | int]:
    """Return numbers of tokens without a decimal point where they are whole and exact."""
    return [
        int(value) if value.is_integer() and value < 2.0**53 else value for value in array.tolist()
    ]
