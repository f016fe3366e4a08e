"""Once the time is up no loop of the integer methods goes on: each is entered late, by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.deadline import NEVER, Deadline, TimeIsUp
from cvxqueue.integer import branch_and_bound, cell_search, cells, enumeration, partition
from cvxqueue.integer import solve as methods
from cvxqueue.integer.cells import Bounds, cell_bounds, price_guesses
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.enumeration import Tangents
from cvxqueue.integer.incumbent import Base, Incumbent
from cvxqueue.integer.local_search import local_search
from cvxqueue.integer.partition import first_ceiling
from cvxqueue.integer.solve import solve_within
from cvxqueue.model.domains import Domains, Multiples
from cvxqueue.numerics.arrays import FloatArray
from tests.test_deadline import similar

pytestmark = pytest.mark.usefixtures("inside")

OVER = Deadline(0.0, lambda: 1.0)
SIZE = 12


class Work:
    """A clock that advances by one with each call of the functions that it counts."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self) -> float:
        return float(self.done)

    def count(self, patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            self.done += 1
            return original(*arguments, **options)

        patch.setattr(owner, name, counted)


@pytest.fixture(scope="module")
def choices() -> Choices:
    return Choices(similar(), Domains.of(Multiples(256), SIZE))


@pytest.fixture(scope="module")
def start(choices: Choices) -> FloatArray:
    below, _ = choices.around(cq.solve(choices.instance).tokens)
    return below


def incumbent_at(choices: Choices, start: FloatArray, deadline: Deadline) -> Incumbent:
    return Incumbent(Base(choices, choices.evaluate(start)), 1e-6, deadline)


@pytest.fixture
def crowded(choices: Choices, start: FloatArray) -> Bounds:
    """A cell in which every type has several choices, too many combinations to list."""
    bounds = partition._first_bounds(incumbent_at(choices, start, NEVER))
    cell = bounds.take(np.array([int(np.argmax(bounds.value))]))
    lists, _ = cell_search._lists(incumbent_at(choices, start, NEVER), cell)
    assert lists is not None
    assert len(lists) == SIZE
    return cell


@pytest.mark.parametrize("name", ["search_cell", "primal_heuristic"])
def test_no_loop_over_the_types_of_a_cell_goes_on(
    name: str, choices: Choices, start: FloatArray, crowded: Bounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    for owner, each in (
        (Choices, "listed"),
        (Choices, "increments_of"),
        (Tangents, "net_benefit"),
        (enumeration, "_good_enough"),
    ):
        work.count(monkeypatch, owner, each)
    run = getattr(cell_search, name)
    run(incumbent_at(choices, start, NEVER), crowded)
    everything = work.done
    assert everything > 5 * SIZE
    for late in range(0, everything, 4):
        work.done = 0
        incumbent = incumbent_at(choices, start, Deadline(float(late), work))
        run(incumbent, crowded)
        # What is done for one type, and what is done once between two loops.
        assert work.done <= late + 7


def test_lists_that_are_too_long_are_not_cut_any_more(
    choices: Choices, start: FloatArray, crowded: Bounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    work.count(monkeypatch, Choices, "best")
    monkeypatch.setattr(cell_search, "_LONGEST_LIST", -1e9)
    cell_search.primal_heuristic(incumbent_at(choices, start, OVER), crowded)
    assert work.done == 0
    cell_search.primal_heuristic(incumbent_at(choices, start, NEVER), crowded)
    assert work.done == len(cell_search._LIST_SHARES)


def test_of_a_cell_that_was_not_searched_nothing_is_proven(
    choices: Choices, start: FloatArray, crowded: Bounds
) -> None:
    found = cell_search.search_cell(incumbent_at(choices, start, OVER), crowded)
    assert found == (np.inf, False)
    with pytest.raises(TimeIsUp):
        cell_search._lists(incumbent_at(choices, start, OVER), crowded)


def test_nobody_climbs_any_more(choices: Choices, start: FloatArray) -> None:
    lowest = choices.lowest
    late = local_search(choices, lowest, OVER, is_thorough=True)
    np.testing.assert_array_equal(late, lowest)
    assert not np.array_equal(local_search(choices, lowest, NEVER), lowest)


def test_prices_of_cells_are_not_made_better_any_more(
    choices: Choices, start: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, work = Base(choices, choices.evaluate(start)), Work()
    work.count(monkeypatch, Choices, "best")
    edges = np.linspace(-1.0, 1.0, 5)
    nu = np.full(4, 50.0 * base.mean_price)

    def passes(deadline: Deadline) -> int:
        work.done = 0
        block = cells._Block(Incumbent(base, 0.0, deadline), edges[:-1], edges[1:], -1e9)
        block._centered(nu)
        return work.done

    assert passes(OVER) == 1
    assert passes(NEVER) > 3
    work.done = 0
    assert (price_guesses(base, edges, OVER) == base.mean_price).all()
    incumbent = Incumbent(base, 0.0, OVER)
    bounds = cell_bounds(incumbent, edges[:-1], edges[1:], nu)
    assert work.done == 0
    # Nothing is known of cells that were not reached.
    assert (bounds.value == np.inf).all()
    assert incumbent.gain == 0.0


class Hands:
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_no_part_of_the_tree_is_closed_any_more(
    choices: Choices, start: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Hands()
    ceiling = first_ceiling(choices, choices.evaluate(start), None)
    incumbent = incumbent_at(choices, start, NEVER)
    unrefined = incumbent, partition._first_bounds(incumbent)
    monkeypatch.setattr(branch_and_bound, "bounded", lambda *_: unrefined)
    tree = branch_and_bound._Tree(choices, start, ceiling, 1e-12, Deadline(1.0, clock))
    gap = tree.nodes[0].gap
    assert tree.target < gap < ceiling
    work = Work()
    for owner, name in (
        (Choices, "best"),
        (branch_and_bound, "_search_cells"),
        (branch_and_bound, "_split"),
    ):
        work.count(monkeypatch, owner, name)
    clock.at = 1.0
    tree.search()
    assert work.done == 0
    # What is left of it counts.
    assert tree.gap == gap
    # Nor is a search begun at all: what was known of it before is all there is.
    assert branch_and_bound._Tree(choices, start, ceiling, 1e-12, OVER).gap == ceiling
    assert work.done == 0


def test_no_cell_of_a_part_is_searched_any_more(
    choices: Choices, start: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    incumbent = incumbent_at(choices, start, NEVER)
    bounds = partition._first_bounds(incumbent)
    largest = float(bounds.value.max())
    work = Work()
    for owner, name in (
        (branch_and_bound, "search_cell"),
        (branch_and_bound, "halved"),
        (partition, "cell_bounds"),
    ):
        work.count(monkeypatch, owner, name)
    incumbent.deadline = OVER
    gap = branch_and_bound._search_cells(choices, incumbent, bounds)
    assert gap == largest - incumbent.gain
    refined = partition._refined(incumbent, bounds, 0.0)
    assert refined.value.max() == largest
    assert work.done == 0
    # A halving that was too late for its halves leaves the cell as it was.
    assert partition.halved(incumbent, bounds) is bounds


def test_what_is_proven_is_kept_where_the_time_is_up_before_a_better_base(
    choices: Choices, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, first = Hands(), partition._first_bounds
    proven: list[Bounds] = []

    def last_in_time(incumbent: Incumbent) -> Bounds:
        proven.append(first(incumbent))
        clock.at = 1.0
        return proven[-1]

    monkeypatch.setattr(partition, "_first_bounds", last_in_time)
    deadline = Deadline(1.0, clock)
    incumbent, bounds = partition.bounded(choices, choices.lowest, lambda base: 1e-6, deadline)
    # There is a much better choice, which would become the base.
    assert incumbent.gain > 0.1 * partition.worst(bounds, incumbent)
    assert len(proven) == 1
    assert bounds.value.max() == proven[0].value.max() < np.inf
    partition.bounded(choices, choices.lowest, lambda base: 1e-6, NEVER)
    assert len(proven) > 2


def test_a_part_gains_no_more_than_what_it_is_a_part_of(
    choices: Choices, start: FloatArray
) -> None:
    incumbent = incumbent_at(choices, start, NEVER)
    bounds = partition._first_bounds(incumbent)
    own = partition.worst(bounds, incumbent) - incumbent.gain
    assert branch_and_bound._Node(incumbent, bounds, 2.0 * own).gap == own
    assert branch_and_bound._Node(incumbent, bounds, 0.5 * own).gap == 0.5 * own


def test_a_cell_without_a_number_inside_is_not_cut(
    choices: Choices, start: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    work.count(monkeypatch, partition, "cell_bounds")
    incumbent = incumbent_at(choices, start, NEVER)
    narrow = np.array([1.0])
    # Its width seems to be all that its bound suffers from.
    cell = Bounds(narrow, np.nextafter(narrow, 2.0), *np.ones((3, 1)), *np.full((4, 1), 5.0))
    cell = cell._replace(at_middle=np.zeros(1))
    kept = partition._refined(incumbent, cell, partition.NARROW_SHARE)
    assert work.done == 0
    assert (kept.first, kept.last) == (cell.first, cell.last)
    # A wider one is.
    partition._refined(incumbent, cell._replace(last=np.array([1.5])), partition.NARROW_SHARE)
    assert work.done > 0


@pytest.mark.parametrize("method", ["descent", "neighbors"])
def test_a_part_of_the_time_is_left_for_the_bound(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Deadline] = []
    name = {"descent": "local_search", "neighbors": "best_choice"}[method]
    original = getattr(methods, name)

    def seen(*arguments: Any, **options: Any) -> Any:
        given.append(options.get("deadline", arguments[-1]))
        return original(*arguments, **options)

    monkeypatch.setattr(methods, name, seen)
    clock = Hands()
    solve_within(similar(), method, Domains.of(Multiples(4096), SIZE), 1e-9, Deadline(100.0, clock))
    assert given[0].clock is clock
    assert given[0].at == 75.0
