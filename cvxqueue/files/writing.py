"""From an instance to the plain values of its file."""

from __future__ import annotations

from typing import Any

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.files.kinds import KINDS, MIXED, Kind
from cvxqueue.files.schema import FORMAT, VERSION
from cvxqueue.model import Instance, MixedAccuracy, require_instance
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.shown import shown

__all__ = ["to_dict"]

# Tables while a person may still read them all; a table is about five lines.
_MOST_TASK_TABLES = 50


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
    require_instance(instance)
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


def _kind(section: str, law: Any) -> tuple[str, Kind]:
    for name, kind in KINDS[section].items():
        if type(law) is kind.type:
            return name, kind
    known = ", ".join(kind.type.__name__ for kind in KINDS[section].values())
    raise InvalidInputError(
        f"{section} = {shown(law)} of class {type(law).__name__} has no kind in instance files; "
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
