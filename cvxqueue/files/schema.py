"""The schema: which keys an instance file has, and what each of them means.

There are two forms of one content. ``[[task]]`` tables, one for each type, are for people; arrays
in the shape of the constructors are for many types.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    create_model,
)

from cvxqueue.files.kinds import FORMAT, KINDS, MIXED
from cvxqueue.numerics.checks import LARGEST_COUNT

# One mistake is told; a list may have a million of them, and half a kilobyte would go to each.
_FIRST = Field(fail_fast=True)


class _Table(BaseModel):
    """Base of the tables: nothing unknown, nothing converted, nothing infinite."""

    # Built when a file is first read: it has one of the two forms, and a few of the kinds.
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


def _encodable(text: str) -> str:
    """Refuse lone surrogates, which UTF-8 has no bytes for, by the ValueError of encoding."""
    text.encode()
    return text


_Text = Annotated[str, AfterValidator(_encodable)]

# One number for all types, or one for each. The branch is chosen by hand so that a mistake is
# reported once, not once for each branch.
_PerType = Annotated[
    Annotated[float, Tag("<number>")] | Annotated[list[float], _FIRST, Tag("<list>")],
    Discriminator(lambda value: "<list>" if isinstance(value, list) else "<number>"),
]

_List = Annotated[list[float], _FIRST, Field(min_length=1)]

# One list of numbers for all types, or one list for each.
_ListPerType = Annotated[
    Annotated[_List, Tag("<list>")] | Annotated[list[_List], _FIRST, Tag("<lists>")],
    Discriminator(
        lambda value: (
            "<lists>"
            if isinstance(value, list) and any(isinstance(entry, list) for entry in value)
            else "<list>"
        )
    ),
]


def _optional(meaning: str, **limits: Any) -> Any:
    """A key that a file may leave out, and then it is None; ``null`` in a file is refused."""
    return Field(default_factory=lambda: None, description=meaning, **limits)


def _tables(
    section: str, form: str, number: Any, numbers: Any = None, **special: Any
) -> dict[str, type[BaseModel]]:
    """Return the models of a section's kinds; fields hold what `number` or `numbers` allows."""
    models: dict[str, type[BaseModel]] = {}
    for name, kind in KINDS[section].items():
        fields: dict[str, Any] = {
            "kind": (Literal[name], Field(description=f"which {section} the table describes"))
        }
        for field, meaning in kind.fields.items():
            default = kind.defaults.get(field, ...)
            fields[field] = (
                special.get(field, numbers if field in kind.lists else number),
                _optional(meaning) if default is None else Field(default, description=meaning),
            )
        title = f"{section} {name.replace('-', ' ')} {form}".title().replace(" ", "")
        models[name] = create_model(title, __base__=_Table, **fields)
    return models


def _any_of(tables: Mapping[str, type[BaseModel]]) -> Any:
    return Annotated[Union[tuple(tables.values())], Field(discriminator="kind")]  # noqa: UP007


_QUEUE_TABLES = _tables("queue", "", float)
_CURVE_TABLES = _tables("accuracy", "", _PerType, _ListPerType)

# A name or a position.
_TypeKey = Annotated[
    Annotated[int, Tag("<number>")] | Annotated[_Text, Tag("<name>")],
    Discriminator(lambda value: "<number>" if isinstance(value, int) else "<name>"),
]
_Queue = _any_of(_QUEUE_TABLES)
_Constraint = _any_of(_tables("constraint", "", float, _PerType, type=_TypeKey))
_Domain = _any_of(_tables("domain", "", float, _List))


class _Mixed(_Table):
    """Accuracy curves of several kinds."""

    kind: Literal["mixed"] = Field(description="which accuracy the table describes")
    which: Annotated[list[int], _FIRST] = Field(
        min_length=1, description="for each type the number of its curve, counted from 0"
    )
    curves: Annotated[list[_any_of(_CURVE_TABLES)], _FIRST] = Field(  # type: ignore[valid-type]
        min_length=1,
        description="tables of the other kinds, each with an entry for each of its own types",
    )


_MIN_TOKENS = "fewest thinking tokens, ≥ 0"
_MAX_TOKENS = "most thinking tokens, ≥ min_tokens"
_IMPORTANCE = "weight of the accuracy in the objective, ≥ 0"


class _Document(_Table):
    """What both forms of an instance have."""

    format: Literal["cvxqueue-instance"] = Field(description=f"always {FORMAT!r}")
    version: Literal[1] = Field(description="version of this schema")
    name: _Text = Field(default="", description="what the instance is called")
    description: _Text = Field(default="", description="what the instance shows")
    sources: Annotated[list[_Text], _FIRST] = Field(
        default=[], description="where the numbers come from"
    )
    arrival_rate: float = Field(description="queries of all types per second, > 0")
    accuracy_weight: float = Field(
        description="seconds of mean system time worth one unit of accuracy, ≥ 0"
    )
    queue: _Queue = Field(  # type: ignore[valid-type]
        default=_QUEUE_TABLES["fifo"](kind="fifo"),
        description="how waiting depends on service times",
    )
    domain: _Domain = _optional(  # type: ignore[valid-type]
        "what integer methods may choose from, for types without a domain of their own"
    )
    constraint: Annotated[list[_Constraint], _FIRST] = Field(  # type: ignore[valid-type]
        default=[], description="what an allocation must satisfy besides its bounds and stability"
    )


class _Task(_Table):
    """One task type."""

    name: _Text = _optional("distinct name; given for all tasks or for none")
    probability: float = Field(
        description="probability that a query is of this type, > 0; they sum to 1"
    )
    min_tokens: float = _optional(f"{_MIN_TOKENS}; by default the file's own")
    max_tokens: float = _optional(f"{_MAX_TOKENS}; by default the file's own")
    importance: float = Field(default=1.0, description=_IMPORTANCE)
    service: _any_of(_tables("service", "task", float)) = Field(  # type: ignore[valid-type]
        description="service time of this type"
    )
    accuracy: _any_of(_tables("accuracy", "task", float, _List)) = Field(  # type: ignore[valid-type]
        description="accuracy curve of this type"
    )
    domain: _Domain = _optional(  # type: ignore[valid-type]
        "what integer methods may choose from; by default the file's own domain"
    )


class TaskDocument(_Document):
    """An instance with one table for each task type."""

    min_tokens: float = Field(
        default=0.0, description=f"{_MIN_TOKENS}, for the tasks that have no min_tokens"
    )
    max_tokens: float = _optional(f"{_MAX_TOKENS}, for the tasks that have no max_tokens")
    task: Annotated[list[_Task], _FIRST] = Field(
        min_length=1, description="the task types, at least one"
    )


class ArrayDocument(_Document):
    """An instance with an array for each quantity; one number stands for all types."""

    names: Annotated[list[_Text], _FIRST] = _optional("distinct names of the types, one for each")
    probabilities: Annotated[list[float], _FIRST] = Field(
        min_length=1, description="probability of each type, > 0; they sum to 1"
    )
    min_tokens: _PerType = Field(default=0.0, description=_MIN_TOKENS)
    max_tokens: _PerType = Field(description=_MAX_TOKENS)
    importance: _PerType = Field(default=1.0, description=_IMPORTANCE)
    service: _any_of(_tables("service", "", _PerType)) = Field(  # type: ignore[valid-type]
        description="service times by type"
    )
    accuracy: _any_of({**_CURVE_TABLES, MIXED: _Mixed}) = Field(  # type: ignore[valid-type]
        description="accuracy curves by type"
    )
    domains: Annotated[list[_Domain], _FIRST] = _optional(  # type: ignore[valid-type]
        "what integer methods may choose from, one table for each type", min_length=1
    )


# JSON has no infinities and no NaN; where an answer has them, they are strings.
_Number = Annotated[
    float,
    Field(allow_inf_nan=True),
    BeforeValidator(lambda value: float(value) if value in ("inf", "-inf", "nan") else value),
]


_Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
# An iterate; JSON has lists where Python has tuples.
_Row = Annotated[tuple[_Count, _Number, _Number, _Number, _Number], Field(strict=False)]


class AnswerDocument(BaseModel):
    """What a saved answer is made from again; what else it says is for its readers."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, defer_build=True)

    versions: dict[str, str | None]
    names: Annotated[list[str], _FIRST]
    tokens: Annotated[list[float | None], _FIRST]
    instance: dict[str, Any]
    objective: float | None
    upper_bound: float | None


class CertificateDocument(AnswerDocument):
    """The same of a certificate."""

    allocation: Annotated[list[_Number], _FIRST]
    multipliers: Annotated[list[float], _FIRST] | None
    feasibility_tolerance: float


class SolutionDocument(CertificateDocument):
    """The same of the answer of a method."""

    method: _Text
    ended: _Text
    tolerance: float
    backend_status: _Text
    iterations: _Count
    setup_time: float
    solve_time: float
    history: Annotated[list[_Row], _FIRST]
    options: dict[str, Any] = {}


class IntegerDocument(AnswerDocument):
    """The same of an answer within domains."""

    domain: _Domain = _optional("that of all types")  # type: ignore[valid-type]
    domains: Annotated[list[_Domain], _FIRST] = _optional("those of each")  # type: ignore[valid-type]
    continuous: dict[str, Any] | None
    method: _Text
    ended: _Text
    tolerance: float
    choice: Annotated[list[float], _FIRST]
    neighbors_gap: _Number | None
    is_repaired: bool
    solve_time: float


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of instance files, TOML and JSON alike.

    Ranges of the numbers are in the descriptions; the constructors of the model check them.

    Examples
    --------
    >>> from cvxqueue.files.schema import json_schema
    >>> [form["$ref"] for form in json_schema()["anyOf"]]
    ['#/$defs/TaskDocument', '#/$defs/ArrayDocument']
    """
    adapter: TypeAdapter[Any] = TypeAdapter(TaskDocument | ArrayDocument)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "cvxqueue instance",
        **adapter.json_schema(),
    }
