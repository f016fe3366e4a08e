"""The search along a ray: short steps grow, long ones are halved, and it ends where it shall."""

from __future__ import annotations

import numpy as np
import pytest

from cvxqueue.numerics.roots import bracketed_minimum, longest_step


@pytest.mark.parametrize("minimum", [1e-6, 0.3, 1.0, 77.0])
def test_the_minimum_is_enclosed(minimum: float) -> None:
    below, above = bracketed_minimum(lambda x: x - minimum, np.inf, 4.0, 1e-9)
    assert below < minimum <= above
    assert above - below <= 1e-9 * above


def test_the_search_ends_where_it_is_told() -> None:
    asked = []

    def slope(length: float) -> float | None:
        asked.append(length)
        return None if length >= 8.0 else -1.0

    assert bracketed_minimum(slope, np.inf, 2.0) == (8.0, 8.0)
    assert asked == [1.0, 2.0, 4.0, 8.0]


def test_no_step_is_longer_than_allowed() -> None:
    asked = []

    def slope(length: float) -> float:
        asked.append(length)
        return -1.0

    assert bracketed_minimum(slope, 5.0, 2.0) == (5.0, 5.0)
    assert asked == [1.0, 2.0, 4.0, 5.0]
    assert bracketed_minimum(slope, 0.25, 2.0) == (0.25, 0.25)


def test_where_the_slope_never_rises_there_is_no_upper_end() -> None:
    for rtol in (0.0, 1e-9):
        below, above = bracketed_minimum(lambda _: -1.0, np.inf, 2.0, rtol)
        assert (below > 1e20, above) == (True, np.inf)


def test_the_longest_step_meets_the_first_bound() -> None:
    assert longest_step(np.array([1.0, 3.0, 0.0]), np.array([-0.5, -3.0, 1.0])) == 1.0
    assert longest_step(np.array([1.0, 0.0]), np.array([0.0, 2.0])) == np.inf
