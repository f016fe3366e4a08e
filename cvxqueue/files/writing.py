"""From an instance to the plain values of its file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.files.kinds import FORMAT, KINDS, MIXED, VERSION, Kind
from cvxqueue.files.reading import IN_TASK
from cvxqueue.formatting import shown
from cvxqueue.model import Instance, MixedAccuracy, require_instance
from cvxqueue.model.domains import Domain
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import LARGEST_COUNT

# Tables while a person may still read them all; a table is about five lines.
_MOST_TASK_TABLES = 50
_LAWS = ("service", "accuracy")


def to_dict(instance: Instance) -> dict[str, Any]:
    """Return an instance as plain values, as its file has them; see `cvxqueue.to_dict`."""
    require_instance(instance)
    data: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    for field in ("name", "description", "sources"):
        if value := getattr(instance, field):
            data[field] = list(value) if isinstance(value, tuple) else value
    data["arrival_rate"] = instance.arrival_rate
    data["accuracy_weight"] = instance.accuracy_weight
    if instance.size <= _MOST_TASK_TABLES and _has_one_curve_of_a_class(instance.accuracy):
        return data | _task_form(instance)
    laws = {section: _for_all(section, getattr(instance, section)) for section in _LAWS}
    return data | _head(instance) | _limits(instance) | laws


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


def _fields(section: str, law: Any) -> dict[str, Any]:
    """Return the fields of an object as plain values; of a list the points that are its own."""
    _, kind = _kind(section, law)
    parts = {field: getattr(law, field) for field in kind.fields}
    fields = {f: it.tolist() if isinstance(it, np.ndarray) else it for f, it in parts.items()}
    if section == "accuracy" and kind.lists:
        counts = law.point_counts.tolist()
        for field in kind.lists:
            fields[field] = [row[:count] for row, count in zip(fields[field], counts, strict=True)]
    return fields


def _table(section: str, law: Any, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a table of the law's kind; what is at its default is left out."""
    name, kind = _kind(section, law)
    fields = _fields(section, law) if fields is None else fields
    return {"kind": name} | {
        field: value
        for field, value in fields.items()
        if field not in kind.defaults or value != kind.defaults[field]
    }


def _by_type(section: str, law: Any) -> list[dict[str, Any]]:
    """Return a table for each type."""
    if isinstance(law, MixedAccuracy):
        tables: list[dict[str, Any]] = [{}] * law.which.size
        for place, curve in law.groups:
            own = np.arange(law.which.size)[place].tolist()
            for at, table in zip(own, _by_type(section, curve), strict=True):
                tables[at] = table
        return tables
    return [_table(section, law, row) for row in _rows(_fields(section, law))]


def _for_all(section: str, law: Any) -> dict[str, Any]:
    """Return one table for all types."""
    if isinstance(law, MixedAccuracy):
        curves = [_for_all(section, curve) for _, curve in law.groups]
        return {"kind": MIXED, "which": law.which.tolist(), "curves": curves}
    columns = _fields(section, law).items()
    return _table(section, law, {field: _compact(values) for field, values in columns})


def _rows(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _head(instance: Instance) -> dict[str, Any]:
    """Return what each type has besides its laws, as one number where all have the same."""
    head: dict[str, Any] = {}
    if instance.names is not None:
        head["names"] = list(instance.names)
    head["probabilities"] = instance.probabilities.tolist()
    if instance.min_tokens.any():
        head["min_tokens"] = _compact(_whole(instance.min_tokens))
    head["max_tokens"] = _compact(_whole(instance.max_tokens))
    if (instance.importance != 1.0).any():
        head["importance"] = _compact(instance.importance.tolist())
    return head


def _task_form(instance: Instance) -> dict[str, Any]:
    head, limits = _head(instance), _limits(instance)
    shared = {
        bound: head.pop(bound)
        for bound in ("min_tokens", "max_tokens")
        if not isinstance(head.get(bound, []), list)
    }
    columns = {
        IN_TASK.get(name, name): values if isinstance(values, list) else [values] * instance.size
        for name, values in head.items()
    }
    for section in _LAWS:
        columns[section] = _by_type(section, getattr(instance, section))
    if "domains" in limits:
        columns["domain"] = limits.pop("domains")
    return shared | limits | {"task": _rows(columns)}


def _limits(instance: Instance) -> dict[str, Any]:
    """Return the queue, the domains of all types or of each, and the constraints."""
    limits: dict[str, Any] = {"queue": _table("queue", instance.queue)}
    limits |= domain_tables(instance.domains or ())
    constraints = [_table("constraint", constraint) for constraint in instance.constraints]
    return limits | ({"constraint": constraints} if constraints else {})


def domain_tables(domains: Iterable[Domain]) -> dict[str, Any]:
    """Return the domain of all types, or those of each; nothing of none."""
    tables = [_table("domain", domain) for domain in domains]
    if not tables:
        return {}
    is_one = tables.count(tables[0]) == len(tables)
    return {"domain": tables[0]} if is_one else {"domains": tables}


def _compact(values: list[Any]) -> Any:
    """Return one number where all entries are that number. There is no −0.0 to be lost."""
    return values[0] if values.count(values[0]) == len(values) else values


def _whole(array: FloatArray) -> list[float | int]:
    """Return numbers of tokens without a decimal point where they are whole and exact."""
    return [
        int(value) if value.is_integer() and value < LARGEST_COUNT else value
        for value in array.tolist()
    ]
