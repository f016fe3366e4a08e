"""Values in messages: bounded, harmless to a terminal, and rounded so that they hold."""

from __future__ import annotations

import pickle
import time
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue import formatting
from cvxqueue.formatting import clipped, printable, shown
from cvxqueue.suggest import nearest


class Broken:
    """A value that cannot say what it is."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def wide(levels: int) -> list[Any]:
    """Eight lists in each of eight lists, and so on: 8^levels of them in little room."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value] * 8
    return value


HOSTILE = {
    "hexadecimal": 16**4000,
    "negative": -(16**4000),
    "a list of them": [16**4000] * 9,
    "deep": deep(100_000),
    "deep in a table": {"a": deep(100_000)},
    "wide": wide(30),
    "long text": "x" * 10**7,
    "long bytes": b"\xff" * 10**7,
    "many numbers": list(range(10**6)),
    "an array": np.arange(10**6),
    "escapes": "\x1b]0;owned\x07",
    "surrogates": "\ud800",
    "escapes in a table": {"\x1b": "\x9b"},
    "broken": Broken(),
}

# What files may hold.
IN_FILES = {
    name: HOSTILE[name]
    for name in ("hexadecimal", "a list of them", "long text", "escapes", "surrogates", "broken")
} | {"deep": deep(900)}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_any_value_is_shown_in_little_room_and_time(value: object) -> None:
    started = time.process_time()
    text = shown(value)
    assert time.process_time() - started < 0.5
    assert 0 < len(text) <= 80
    assert text.replace("\n", "").isprintable()
    text.encode()


@pytest.mark.parametrize("value", [0.1, -1e-300, True, None, 7, "λ ≤ 1", [1, 2.5], {"a": None}, 1j])
def test_an_ordinary_value_is_shown_as_python_does(value: object) -> None:
    assert shown(value) == repr(value)


@pytest.mark.parametrize("entry", [1.0, 7, True, "a", 1j])
def test_an_entry_of_an_array_is_shown_as_the_number_that_it_is(entry: object) -> None:
    array = np.array([entry])
    assert shown(array[0]) == repr(entry)
    assert shown(list(array)) == repr([entry])
    assert shown(np.timedelta64(3, "ns")) == repr(np.timedelta64(3, "ns"))


def test_a_number_that_python_cannot_print_tells_its_length() -> None:
    assert shown(10**5000) == "<a whole number of about 5001 digits>"
    assert shown(10**400).startswith("1000")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain λ ≤ 1\n", "plain λ ≤ 1\n"),
        ("\x1b[31m\x07\x9b", r"\x1b[31m\x07\x9b"),
        ("\u202eevil\ud800", r"\u202eevil\ud800"),
        ("\r\t\x00", r"\r\t\x00"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected
    assert printable(expected) == expected


def test_an_error_is_harmless_and_survives_pickling() -> None:
    for error in (cq.InvalidInputError("a ", "\x1b[31m"), cq.InfeasibleError("a \x1b[31m")):
        assert str(error) == r"a \x1b[31m"
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_clipping_keeps_what_is_short() -> None:
    assert clipped("x" * 80) == "x" * 80
    assert clipped("x" * 81) == "x" * 77 + "..."


def test_the_nearest_name_is_found_among_few_and_many() -> None:
    assert nearest("newtn", ["newton", "conic"]) == ("did you mean 'newton'? known: conic, newton")
    many = [f"column {k:05d}" for k in range(30_000)]
    started = time.process_time()
    text = nearest("x" * 10**6, [*many, "x" * 10**6])
    assert time.process_time() - started < 0.5
    assert text.endswith("column 00039, and 29,961 more")
    assert nearest(deep(1000), [*many, "x"]) == text
    assert nearest("column 00007x", many).startswith("did you mean 'column 00007'? ")


DATA = {
    "format": "cvxqueue-instance",
    "version": 1,
    "arrival_rate": 0.2,
    "accuracy_weight": 60,
    "max_tokens": 4096,
    "probabilities": [1.0],
    "service": {"kind": "affine", "base": 0.5, "per_token": 0.002},
    "accuracy": {"kind": "saturating-exponential", "floor": 0.2, "gain": 0.5, "rate": 0.001},
}


@pytest.mark.parametrize("value", IN_FILES.values(), ids=IN_FILES)
@pytest.mark.parametrize("key", DATA)
def test_a_hostile_value_anywhere_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(cq.InvalidInputError, match=key) as refused:
        cq.from_dict({**DATA, key: value})
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("value", IN_FILES.values(), ids=IN_FILES)
def test_a_hostile_argument_is_taken_or_refused_in_few_words(value: Any) -> None:
    instance = cq.from_dict(DATA)
    calls = (
        lambda: instance.replace(arrival_rate=value),
        lambda: instance.replace(queue=value),
        lambda: cq.MinAccuracy(value),
        lambda: cq.solve(instance, max_iterations=value),
        lambda: cq.simulate(instance, [9.0], seed=value),
    )
    for call in calls:
        message = ""
        try:
            call()  # a whole number of any length is a seed
        except cq.CvxqueueError as error:
            message = str(error)
        assert len(message) < 400
        assert message.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("value", "digits", "up", "down"),
    [
        (1.84e-10, 2, "1.9e-10", "1.8e-10"),
        (0.5, 2, "0.5", "0.5"),
        (0.0, 2, "0", "0"),
        (-1.25, 2, "-1.2", "-1.3"),
        (20.97137984105, 12, "20.9713798411", "20.9713798410"),
        (float("inf"), 2, "inf", "inf"),
    ],
)
def test_printed_bounds_still_hold(value: float, digits: int, up: str, down: str) -> None:
    assert formatting.at_most(value, digits) == up
    assert formatting.at_least(value, digits) == down


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.00004, "0.0 ms"), (0.0123, "12 ms"), (0.9999, "1.0 s"), (61, "61.0 s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("largest", "decimals"), [(3.0, 4), (512.0, 4), (32768.0, 2), (1e6, 0), (1e300, 0)]
)
def test_tokens_have_about_seven_digits(largest: float, decimals: int) -> None:
    assert formatting.token_decimals(largest) == decimals
    assert len(formatting.fixed(largest, decimals, "ROUND_FLOOR")) <= 8
