"""Every time limit is a deadline, and every search looks at it."""

from __future__ import annotations

import dataclasses
import math
import time
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.deadline import NEVER, Deadline
from cvxqueue.duality import estimated_multipliers
from cvxqueue.integer import branch_and_bound, cells
from cvxqueue.integer.cell_search import Proven
from cvxqueue.integer.cells import Bounds
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.incumbent import Base, Incumbent
from cvxqueue.integer.solve import solve_within
from cvxqueue.model.domains import Domains, Menu, Multiples
from cvxqueue.solvers import driver
from cvxqueue.solvers.driver import Limits, Proposal, drive
from cvxqueue.solvers.registry import METHODS

pytestmark = pytest.mark.usefixtures("inside")


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


# Looks that a search may still take once its time is up, while it leaves its loops.
MOST_LATE_LOOKS = 12


def similar() -> cq.Instance:
    rng = np.random.default_rng(12)
    return cq.Instance(
        arrival_rate=0.1,
        accuracy_weight=100.0,
        max_tokens=32768.0,
        probabilities=rng.dirichlet(np.ones(12)),
        service=cq.AffineService(base=0.5, per_token=rng.uniform(0.5, 1.5, 12) * 7e-3),
        accuracy=cq.SaturatingExponential(
            floor=0.0, gain=rng.random(12), rate=10 ** rng.uniform(-5.0, -2.5, 12)
        ),
    )


@pytest.mark.parametrize("method", ["exact", "neighbors", "descent", "nearest", "floor"])
@pytest.mark.parametrize("late", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
def test_an_integer_search_ends_within_a_few_looks_and_its_bound_holds(
    method: str, late: int
) -> None:
    instance, domains = similar(), Domains.of(Multiples(256), 12)
    best = cq.solve_integer(instance, domains=domains)
    clock = Clock()
    answer = solve_within(instance, method, domains, 1e-9, Deadline(float(late), clock))
    assert clock.looks <= late + MOST_LATE_LOOKS or answer.gap <= 1e-9 * answer.evaluation.scale
    assert answer.evaluation.is_stable
    assert np.isfinite(answer.gap)
    assert best.objective <= answer.upper_bound
    assert answer.objective <= best.upper_bound


@pytest.mark.parametrize("method", ["exact", "descent"])
def test_levels_have_a_bound_even_without_any_time(method: str) -> None:
    instance = similar()
    domains = Domains.of(cq.LevelMenu([0.2, 0.6, 0.7], [1.0, 2.0, 3.0]), 12)
    best = solve_within(instance, "exact", domains, 1e-9, NEVER)
    answer = solve_within(instance, method, domains, 1e-9, Deadline(0.0, Clock()))
    assert best.objective <= answer.upper_bound < np.inf


@pytest.mark.parametrize("method", ["newton", "fixed-point", "projected-gradient", "conic"])
@pytest.mark.parametrize("late", [1, 4])
def test_the_driver_ends_a_method_within_a_few_looks(method: str, late: int) -> None:
    instance, clock = similar(), Clock()
    limits = Limits(1e-16, 10_000, Deadline(float(late), clock), None)
    chosen = METHODS[method]
    options = {"limits": limits} if "limits" in chosen.parameters else {}
    solution = drive(instance, method, chosen.load()(instance, **options), limits)
    assert clock.looks <= late + MOST_LATE_LOOKS
    assert not solution.is_optimal
    assert cq.solve(instance).objective <= solution.upper_bound


def test_a_method_that_gives_up_after_its_time_was_stopped_by_it() -> None:
    instance = similar()
    for at, ended in ((0.0, cq.Ended.TIME_LIMIT), (1.0, cq.Ended.STALLED)):
        limits = Limits(1e-9, 100, Deadline(at, lambda: 0.5), None)
        assert drive(instance, "gives up", iter(()), limits).ended is ended


def test_the_multipliers_of_a_proposal_are_searched_within_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    instance = similar()
    point = instance.evaluate(cq.solve(instance).tokens)
    cap = cq.MaxMeanSystemTime(0.9 * float(point.mean_system_time))
    capped = instance.replace(constraints=[cap])
    limits = Limits(1e-9, 100, Deadline.after(60.0), None)
    given, original = [], estimated_multipliers

    def seen(moved: Any, deadline: Deadline = NEVER) -> Any:
        given.append(deadline)
        return original(moved, deadline)

    monkeypatch.setattr(driver, "estimated_multipliers", seen)
    proposals = iter([Proposal(capped.evaluate(point.tokens))])
    drive(capped, "without multipliers", proposals, limits)
    assert given
    assert all(deadline is limits.deadline for deadline in given)


def test_better_multipliers_than_those_of_the_method_are_looked_for_at_the_end() -> None:
    instance = similar()
    cap = cq.MaxMeanSystemTime(0.9 * cq.solve(instance).mean_system_time)
    capped = instance.replace(constraints=[cap])
    best = cq.solve(capped)
    assert best.constraint_multipliers[0] > 0.0
    proposal = Proposal(capped.evaluate(best.tokens), multipliers=np.zeros(1))
    limits = Limits(1e-9, 100, NEVER, None)
    assert cq.Certificate(capped, best.tokens, np.zeros(1)).relative_gap > 1e-6
    assert drive(capped, "poor multipliers", iter([proposal]), limits).is_optimal


@pytest.mark.parametrize("weight", [1e15, 1e17, 1e20])
@pytest.mark.parametrize("menu", [[0, 500, 3000], [0, 500, 999, 3000]])
def test_next_to_saturation_cells_end_where_float64_does(weight: float, menu: list[int]) -> None:
    # The least idle fraction is below one ulp of the base's: a step towards it can vanish.
    rate, per_token, gain, decay = 0.7, 1e-3 / 0.7, 0.9, 1e-3
    instance = cq.Instance(
        arrival_rate=rate,
        accuracy_weight=weight,
        max_tokens=4000.0,
        probabilities=1.0,
        service=cq.AffineService(base=0.0, per_token=per_token),
        accuracy=cq.SaturatingExponential(floor=0.0, gain=gain, rate=decay),
    )
    domains = Domains.of(Menu(menu), 1)
    clock = Clock()
    answer = solve_within(instance, "exact", domains, 1e-9, Deadline(5000.0, clock))
    with localcontext() as context:
        context.prec = 50
        arrivals, objectives = Decimal(rate), {}
        for tokens in menu:
            time_of_one = Decimal(per_token) * tokens
            idle = 1 - arrivals * time_of_one
            if idle > 0:
                accuracy = Decimal(gain) * (1 - (-Decimal(decay) * tokens).exp())
                waiting = arrivals * time_of_one**2 / (2 * idle)
                objectives[tokens] = Decimal(weight) * accuracy - time_of_one - waiting
        best = max(objectives, key=lambda tokens: objectives[tokens])
        assert answer.tokens.tolist() == [best]
        assert Decimal(answer.objective) <= objectives[best] <= Decimal(answer.upper_bound)
    assert answer.is_optimal


def test_a_cell_without_a_number_inside_is_not_halved_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    instance = similar()
    choices = Choices(instance, Domains.of(Multiples(256), 12))
    base = Base(choices, choices.evaluate(choices.lowest))
    incumbent = Incumbent(base, 1e-12, Deadline(2000.0, Clock()))
    # Nothing is ever proven of the cell, and its width counts as what its bound suffers from.
    monkeypatch.setattr(branch_and_bound, "search_cell", lambda *_, **__: Proven())
    monkeypatch.setattr(branch_and_bound, "_run_heuristic", lambda *_: None)
    first = np.array([1.0])
    cell = Bounds(first, np.nextafter(first, 2.0), *np.ones((3, 1)), *np.full((4, 1), 5.0))
    cell = cell._replace(at_middle=np.zeros(1))
    assert not cell.is_divisible.any()
    assert branch_and_bound._search_cells(choices, incumbent, cell) == 5.0
    assert not incumbent.deadline.is_over


@pytest.mark.parametrize("method", ["exact", "nearest"])
@pytest.mark.parametrize("late", [1, 2, 4, 7, 20, 45])
def test_no_pass_over_the_types_begins_once_the_time_is_up(
    method: str, late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that advances with each pass; each cell is a block of its own, as of many types.
    passes, best = [0], Choices.best

    def counted(*arguments: Any) -> Any:
        passes[0] += 1
        return best(*arguments)

    monkeypatch.setattr(Choices, "best", counted)
    monkeypatch.setattr(cells, "_LARGEST_BLOCK", 1)
    deadline = Deadline(float(late), lambda: float(passes[0]))
    answer = solve_within(similar(), method, Domains.of(Multiples(256), 12), 1e-9, deadline)
    assert np.isfinite(answer.gap)
    # A cell that was begun still gets its two ends.
    assert late <= passes[0] <= late + 5
