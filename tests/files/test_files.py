"""Instance files: what is written reads back bit for bit, and all of it or nothing is written."""

from __future__ import annotations

import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cvxqueue as cq
from cvxqueue import files
from cvxqueue.files.schema import json_schema
from cvxqueue.files.storage import decode
from cvxqueue.files.text import render
from tests.model.test_instance import arguments, arrays_of
from tests.paths import INSTANCES

FORMATS: tuple[Literal["toml", "json"], ...] = ("toml", "json")

# The least and greatest numbers allowed, neighbours of 1, whole numbers that need an exponent or
# exceed 2^53, and decimals that print long or short.
AWKWARD = (
    1e-30,
    1.0000000000000002e-30,
    1e-7,
    0.1 + 0.2,
    np.nextafter(1.0, 0.0),
    np.nextafter(1.0, 2.0),
    9007199254740991.0,
    9007199254740994.0,
    1e16,
    1e22,
    1e30,
)
POSITIVE = st.one_of(st.sampled_from(AWKWARD), st.floats(min_value=1e-30, max_value=1e30)).map(
    float
)
NONNEGATIVE = st.one_of(st.just(0.0), POSITIVE)
HALF = st.one_of(st.just(0.0), st.floats(min_value=1e-30, max_value=0.5))
# All characters but lone surrogates, which UTF-8 has no bytes for.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def instances(draw: st.DrawFn) -> cq.Instance:
    """Instances of any numbers at all, in both forms: 51 types are written as arrays."""
    size = draw(st.sampled_from((1, 2, 3, 51)))

    def column(numbers: st.SearchStrategy[float]) -> list[float]:
        some = draw(st.lists(numbers, min_size=1, max_size=min(size, 5)))
        return [some[position % len(some)] for position in range(size)]

    mix = np.array(column(st.floats(1e-6, 1.0)))
    bounds = np.sort([column(NONNEGATIVE), column(NONNEGATIVE)], axis=0)
    has_names = draw(st.booleans())
    return cq.Instance(
        arrival_rate=draw(POSITIVE),
        accuracy_weight=draw(NONNEGATIVE),
        min_tokens=bounds[0],
        max_tokens=bounds[1],
        probabilities=mix / mix.sum(),
        importance=column(NONNEGATIVE),
        service=cq.AffineService(base=column(NONNEGATIVE), per_token=column(POSITIVE)),
        accuracy=cq.SaturatingExponential(
            floor=column(HALF), gain=column(HALF), rate=column(POSITIVE)
        ),
        names=[f"{draw(TEXT)} {position}" for position in range(size)] if has_names else None,
        name=draw(TEXT),
        description=draw(TEXT),
        sources=draw(st.lists(TEXT, max_size=3)),
    )


def bits(instance: cq.Instance) -> dict[str, bytes]:
    """Every number of an instance as its bytes."""
    numbers = {"arrival_rate": instance.arrival_rate, "accuracy_weight": instance.accuracy_weight}
    return {
        **{name: np.float64(value).tobytes() for name, value in numbers.items()},
        **{name: array.tobytes() for name, array in arrays_of(instance).items()},
    }


def many_types() -> cq.Instance:
    """51 types with nothing the same for all of them."""
    rng = np.random.default_rng(7)
    mix = rng.random(51)
    return cq.Instance(
        arrival_rate=0.1,
        accuracy_weight=60.0,
        min_tokens=rng.integers(1, 9, 51),
        max_tokens=rng.integers(100, 900, 51),
        importance=rng.random(51),
        probabilities=mix / mix.sum(),
        names=[f"type {position}" for position in range(51)],
        sources=["ours", "drawn at random"],
        service=cq.AffineService(base=rng.random(51), per_token=0.25),
        accuracy=cq.SaturatingExponential(floor=0.0, gain=rng.random(51), rate=0.001),
    )


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=50)
@given(instance=instances())
def test_every_float_comes_back_bit_for_bit(
    format: Literal["toml", "json"], instance: cq.Instance
) -> None:
    text = render(cq.to_dict(instance), format).encode()
    for twin in (files.loads(text, format), files.loads(text)):
        assert twin == instance
        assert bits(twin) == bits(instance)


@settings(max_examples=50)
@given(instance=instances())
def test_plain_values_come_back_equal_and_survive_json(instance: cq.Instance) -> None:
    data = cq.to_dict(instance)
    assert cq.from_dict(data) == instance
    assert json.loads(json.dumps(data)) == data


@pytest.mark.parametrize("value", AWKWARD)
@pytest.mark.parametrize("format", FORMATS)
def test_awkward_floats_survive_a_file(
    tmp_path: Path, format: Literal["toml", "json"], value: float
) -> None:
    instance = cq.Instance(
        **arguments(arrival_rate=float(value), max_tokens=[max(float(value), 1.0), 1e30])
    ).replace(min_tokens=0.0)
    path = tmp_path / f"instance.{format}"
    cq.save(instance, path)
    assert bits(cq.load(path)) == bits(instance)


@pytest.mark.parametrize(
    "text",
    [
        "line\r\nline",
        "line\rline\n",
        "\n\nlines before",
        'three """ and four """"\n',
        "a backslash at the end \\\n   of a line",
        "\ttab \x00 nul \x7f delete \x85 next line \u2028",
        "Größe λ 推理 \U0001f9ee",
        "# no comment\n[no.table]\nkey = 'no value'",
    ],
    ids=["crlf", "cr", "leading", "quotes", "backslash", "control", "unicode", "toml"],
)
@pytest.mark.parametrize("format", FORMATS)
def test_awkward_text_survives_a_file(
    tmp_path: Path, format: Literal["toml", "json"], text: str
) -> None:
    instance = cq.Instance(**arguments(name=text, description=text, sources=[text, "ours"]))
    instance = instance.replace(names=[text, "other"])
    path = tmp_path / f"instance.{format}"
    cq.save(instance, path)
    assert cq.load(path) == instance


def test_whole_tokens_have_no_point_unless_they_need_an_exponent() -> None:
    data = cq.to_dict(cq.Instance(**arguments(max_tokens=[4096.0, 1e22])))
    assert [repr(task["max_tokens"]) for task in data["task"]] == ["4096", "1e+22"]


@pytest.mark.parametrize("name", ["instance.toml", "instance.json", "UPPER.JSON"])
def test_save_and_load_keep_everything(tmp_path: Path, name: str) -> None:
    for instance in (cq.Instance(**arguments()), many_types()):
        cq.save(instance, tmp_path / name)
        twin = cq.load(str(tmp_path / name))
        assert twin == instance
        assert (twin.name, twin.description) == (instance.name, instance.description)
        assert twin.sources == instance.sources
        assert twin.names == instance.names
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_fifty_types_are_tables_and_more_are_arrays() -> None:
    at_most = cq.Instance(
        **arguments(
            probabilities=[0.02] * 50,
            names=None,
            min_tokens=0,
            max_tokens=9,
            importance=1,
            service=cq.AffineService(base=1, per_token=1),
            accuracy=cq.SaturatingExponential(floor=0, gain=1, rate=1),
        )
    )
    assert len(cq.to_dict(at_most)["task"]) == 50
    more = cq.to_dict(many_types())
    assert "task" not in more
    assert len(more["probabilities"]) == 51
    assert more["service"]["per_token"] == 0.25


def test_what_is_left_out_of_arrays_is_the_default() -> None:
    plain = many_types().replace(names=None, sources=[], min_tokens=0, importance=1)
    data = cq.to_dict(plain)
    assert not {"names", "sources", "name", "min_tokens", "importance"} & set(data)
    assert cq.from_dict(data) == plain


def test_toml_is_written_to_be_read(tmp_path: Path) -> None:
    path = tmp_path / "instance.toml"
    cq.save(cq.Instance(**arguments(description="first line\nsecond line\n")), path)
    assert path.read_text(encoding="utf-8") == (
        """\
format = "cvxqueue-instance"
version = 1
name = "two types"
description = \"""
first line
second line
\"""
sources = [
    "ours",
]
arrival_rate = 0.2
accuracy_weight = 60.0

[queue]
kind = "fifo"

[[task]]
name = "proof"
probability = 0.3
min_tokens = 1
max_tokens = 4096
importance = 1.0
service = { kind = "affine", base = 0.5, per_token = 0.002 }
accuracy = { kind = "saturating-exponential", floor = 0.2, gain = 0.6, rate = 0.001 }

[[task]]
name = "lookup"
probability = 0.7
min_tokens = 2
max_tokens = 8192
importance = 2.0
service = { kind = "affine", base = 0.25, per_token = 0.001 }
accuracy = { kind = "saturating-exponential", floor = 0.1, gain = 0.5, rate = 0.004 }
"""
    )


@pytest.mark.parametrize("format", FORMATS)
def test_lines_of_written_numbers_are_short(format: Literal["toml", "json"]) -> None:
    lines = render(cq.to_dict(many_types()), format).splitlines()
    numbers = [line for line in lines if line.startswith("    0.")]
    assert format == "json" or len(numbers) > 10
    assert all(len(line) <= 100 for line in numbers)


ONE_INSTANCE = {
    "tables": """
        min_tokens = 5
        max_tokens = 100
        [[task]]
        name = "a"
        probability = 0.25
        max_tokens = 50
        service = { kind = "affine", base = 1, per_token = 0.5 }
        accuracy = { kind = "saturating-exponential", floor = 0, gain = 0.5, rate = 0.1 }
        [[task]]
        name = "b"
        probability = 0.75
        min_tokens = 0
        importance = 2
        service = { kind = "affine", base = 2, per_token = 0.5 }
        accuracy = { kind = "saturating-exponential", floor = 0, gain = 0.25, rate = 0.1 }
    """,
    "arrays": """
        names = ["a", "b"]
        probabilities = [0.25, 0.75]
        min_tokens = [5, 0]
        max_tokens = [50, 100]
        importance = [1, 2]
        [service]
        kind = "affine"
        base = [1, 2]
        per_token = 0.5
        [accuracy]
        kind = "saturating-exponential"
        floor = 0
        gain = [0.5, 0.25]
        rate = 0.1
        [queue]
        kind = "fifo"
    """,
}


@pytest.mark.parametrize("form", ONE_INSTANCE)
def test_both_forms_say_the_same(form: str) -> None:
    head = """
        format = "cvxqueue-instance"
        version = 1
        arrival_rate = 0.25
        accuracy_weight = 100
    """
    assert files.loads(head + ONE_INSTANCE[form]) == cq.Instance(
        arrival_rate=0.25,
        accuracy_weight=100.0,
        names=["a", "b"],
        probabilities=[0.25, 0.75],
        min_tokens=[5.0, 0.0],
        max_tokens=[50.0, 100.0],
        importance=[1.0, 2.0],
        service=cq.AffineService(base=[1.0, 2.0], per_token=0.5),
        accuracy=cq.SaturatingExponential(floor=0.0, gain=[0.5, 0.25], rate=0.1),
    )


def test_reading_leaves_the_given_values_alone() -> None:
    data = cq.to_dict(cq.Instance(**arguments()))
    before = json.dumps(data)
    cq.from_dict(data)
    assert json.dumps(data) == before


def test_a_byte_order_mark_is_dropped() -> None:
    assert decode(b"\xef\xbb\xbfversion = 1") == "version = 1"


class UnexpectedError(Exception):
    """Not an error of the operating system: nothing in the package expects it."""


def test_save_keeps_the_permissions_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.toml"
    cq.save(cq.Instance(**arguments()), path)
    path.chmod(0o600)
    cq.save(cq.Instance(**arguments(name="new")), path)
    assert cq.load(path).name == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["first.toml", "nul\0.toml"], ids=["circle", "nul"])
def test_names_of_no_file(tmp_path: Path, name: str) -> None:
    """Links that lead in a circle, and a name that holds what none can."""
    (tmp_path / "first.toml").symlink_to("second.toml")
    (tmp_path / "second.toml").symlink_to("first.toml")
    with pytest.raises(cq.InvalidInputError, match="cannot write"):
        cq.save(cq.Instance(**arguments()), tmp_path / name)
    with pytest.raises(cq.InvalidInputError, match="cannot read"):
        cq.load(tmp_path / name)
    assert all(path.is_symlink() for path in tmp_path.iterdir())


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), UnexpectedError()])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_failed_write_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: Exception, is_there: bool
) -> None:
    path = tmp_path / "instance.toml"
    if is_there:
        path.write_text("the old file", encoding="utf-8")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    expected = cq.InvalidInputError if isinstance(error, OSError) else UnexpectedError
    with pytest.raises(expected) as caught:
        cq.save(cq.Instance(**arguments()), path)
    if isinstance(error, OSError):
        assert "instance.toml: No space left on device" in str(caught.value)
    assert list(tmp_path.iterdir()) == ([path] if is_there else [])
    if is_there:
        assert path.read_text(encoding="utf-8") == "the old file"


def test_saving_through_a_link_writes_what_it_points_to(tmp_path: Path) -> None:
    target, link = tmp_path / "target.toml", tmp_path / "link.toml"
    target.write_text("old", encoding="utf-8")
    link.symlink_to(target)
    cq.save(cq.Instance(**arguments()), link)
    assert link.is_symlink()
    assert cq.load(target) == cq.Instance(**arguments())


def test_json_schema_describes_every_key() -> None:
    schema = json_schema()
    json.dumps(schema, allow_nan=False)
    forms = ("TaskDocument", "ArrayDocument")
    assert [form["$ref"] for form in schema["anyOf"]] == [f"#/$defs/{form}" for form in forms]
    for name, table in schema["$defs"].items():
        assert table["additionalProperties"] is False, name
        for key, entry in table["properties"].items():
            assert entry.get("description"), f"{name}.{key}"
            assert "null" not in json.dumps(entry), f"{name}.{key}"
    required = {name: set(schema["$defs"][name]["required"]) for name in forms}
    header = {"format", "version", "arrival_rate", "accuracy_weight"}
    assert required["TaskDocument"] == header | {"task"}
    assert required["ArrayDocument"] == header | {
        "probabilities",
        "max_tokens",
        "service",
        "accuracy",
    }


@dataclass(frozen=True)
class Example:
    """What is known of an example by other means than the code under test."""

    size: int
    tokens: tuple[float, ...]
    objective: float


# The teaching instances by hand, as their descriptions derive it.
BY_HAND = {
    "one-type": Example(1, (1000.0,), 20 * math.e - 17.5),
    "two-types-one-at-zero": Example(2, (0.0, 2000.0), 11.07 * math.e - 9.12),
    "three-types-one-at-cap": Example(3, (250.0, 1000.0, 500.0), 7.368 * math.e - 7.648),
}
REAL = ("qwen3-8b-h100", "qwen3-8b-batched", "deepseek-r1-distill-llama-8b")


def test_the_examples_are_the_six_that_are_tested() -> None:
    assert {path.stem for path in INSTANCES.glob("*.toml")} == {*BY_HAND, *REAL}


@pytest.mark.parametrize("name", [*BY_HAND, *REAL])
def test_an_example_is_feasible_and_names_the_source_of_every_number(name: str) -> None:
    path = INSTANCES / f"{name}.toml"
    instance = cq.load(path)
    assert instance.is_feasible
    assert instance.name == name
    assert instance.description
    assert instance.names is not None
    claims = [entry.partition(":")[0] for entry in instance.sources]
    for number in (
        "arrival_rate",
        "accuracy_weight",
        "min_tokens",
        "max_tokens",
        "importance",
        "queue",
        "task.probability",
        "task.service",
        "task.accuracy",
    ):
        assert any(number in claim for claim in claims), number
    for entry in instance.sources:
        assert "ours" in entry or "arXiv 2608.13315" in entry or "silybench" in entry, entry


@pytest.mark.parametrize("name", BY_HAND)
def test_a_teaching_example_has_the_optimum_that_it_derives(name: str) -> None:
    instance, known = cq.load(INSTANCES / f"{name}.toml"), BY_HAND[name]
    solution = cq.solve(instance)
    # The weight is e times a decimal, rounded to a float: 1e-15 of the objective's two terms. Near
    # the optimum the objective is flat, so the tokens are only good to the root of that.
    assert solution.objective == pytest.approx(known.objective, rel=1e-13)
    assert solution.tokens == pytest.approx(known.tokens, abs=1e-2)
    gradient = instance.gradient(known.tokens)
    free = (np.array(known.tokens) > 0) & (known.tokens < instance.max_tokens)
    # Of marginal worths of 0.004 to 0.01 s per token, to their rounding.
    assert gradient[free] == pytest.approx(0.0, abs=1e-16)
    assert instance.evaluate(known.tokens).utilization == pytest.approx(0.5, rel=1e-15)


# arXiv 2608.13315, tables I and II: D, A, b, t0 in s, c in s per token and answer tokens, in the
# order of the types.
PRINTED = {
    "qwen3-8b": [
        (0, 0.595, 9.25e-05, 0.2706, 0.00076, 159),
        (0, 0.737, 0.000113, 0.1775, 0.000903, 102),
        (0.354, 0.227, 0.000263, 0.0899, 0.001257, 213),
        (0.276, 0.677, 0.00266, 0.0663, 0.000125, 61),
        (0.044, 0.302, 0.000189, 0.5198, 0.001008, 108),
    ],
    "deepseek-r1-distill-llama-8b": [
        (0.011, 0.26, 0.000194, 0.1759, 0.000611, 159),
        (0, 0.309, 0.000251, 0.0878, 0.000679, 102),
        (0.29, 0.185, 0.000211, 0.0057, 0.000356, 213),
        (0.067, 0.822, 0.00303, 0.0118, 0.000128, 61),
        (0.033, 0.223, 0.000141, 0.1787, 0.000738, 108),
    ],
}


@pytest.mark.parametrize("name", REAL)
def test_a_real_example_has_the_published_figures(name: str) -> None:
    instance = cq.load(INSTANCES / f"{name}.toml")
    assert instance.names == ("AIME24", "AIME25", "GPQA-Diamond", "GSM8K", "HMMT25")
    assert instance.probabilities.tolist() == [0.05, 0.05, 0.15, 0.70, 0.05]
    assert instance.max_tokens.tolist() == [32768.0] * 5
    service: Any = instance.service
    accuracy = instance.accuracy
    model = "qwen3-8b" if name.startswith("qwen3") else name
    floor, gain, rate, base, per_token, answers = np.array(PRINTED[model]).T
    assert accuracy == cq.SaturatingExponential(floor=floor, gain=gain, rate=rate)
    if name == "qwen3-8b-h100":
        assert service.per_token.tolist() == [0.00686] * 5
        assert service.base == pytest.approx(0.06 + 0.00686 * answers, rel=1e-12)
    else:
        assert service == cq.AffineService(base=base, per_token=per_token)
