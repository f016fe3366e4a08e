"""Numbers as people read them."""

from __future__ import annotations

import pytest

from cvxqueue import formatting


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
