"""Every time limit is a deadline, and every search looks at it."""

from __future__ import annotations

import dataclasses
import math
import time

import pytest

from cvxqueue.deadline import NEVER, Deadline


class Clock:
    """A clock that advances by one second whenever somebody looks, and counts the looks."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return float(self.looks)


def test_a_deadline_is_over_once_its_clock_has_reached_it() -> None:
    # Set at the first look, 2.5 seconds ahead: the looks at 2 and 3 are before it, that at 4 after.
    deadline = Deadline.after(2.5, clock=Clock())
    assert [deadline.is_over for _ in range(4)] == [False, False, True, True]


def test_no_time_is_left_over_after_a_deadline() -> None:
    deadline = Deadline.after(2.5, clock=Clock())
    assert [deadline.remaining for _ in range(4)] == [1.5, 0.5, 0.0, 0.0]


def test_a_deadline_that_is_reached_exactly_is_over() -> None:
    deadline = Deadline.after(0.0, clock=lambda: 7.0)
    assert deadline.is_over
    assert deadline.remaining == 0.0


@pytest.mark.parametrize("deadline", [NEVER, Deadline.after(math.inf)])
def test_without_a_limit_it_is_never_over(deadline: Deadline) -> None:
    assert not deadline.is_over
    assert deadline.remaining == math.inf


def test_by_default_it_keeps_the_time_of_the_machine() -> None:
    before = time.perf_counter()
    deadline = Deadline.after(60.0)
    assert before + 60.0 <= deadline.at <= time.perf_counter() + 60.0
    assert not deadline.is_over


def test_a_deadline_cannot_be_moved() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        NEVER.at = 0.0  # type: ignore[misc]
