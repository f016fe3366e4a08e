"""The referee of a comparison: limits are kept type by type."""

from __future__ import annotations

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.benchmark.judging import Referee


def test_a_great_cap_gives_no_leave_to_pass_a_small_one() -> None:
    planted = cq.references.planted(2, seed=1).instance
    instance = planted.replace(max_tokens=[1.0, 1e8])
    referee = Referee(instance)
    optimum = cq.solve(instance).tokens
    assert referee.judge(optimum).is_feasible
    for excess, is_feasible in ((0.5e-6, True), (2e-6, False), (99.0, False)):
        verdict = referee.judge(np.array([1.0 + excess, optimum[1]]))
        assert verdict.violation == pytest.approx(excess)
        assert verdict.is_feasible is is_feasible


def test_a_queue_that_is_not_stable_is_not_feasible() -> None:
    instance = cq.references.planted(2, seed=1).instance.replace(max_tokens=1e8)
    assert not Referee(instance).judge(instance.upper).is_feasible
