"""Cells that cover every choice better than a base, fine around it, and the bounds of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cvxqueue.certificates import rounding_allowance
from cvxqueue.deadline import Deadline
from cvxqueue.integer.cells import Bounds, cell_bounds, joined, price_guesses
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.incumbent import Base, Incumbent, target_of
from cvxqueue.integer.local_search import local_search
from cvxqueue.model import Evaluation
from cvxqueue.model.differences import improvement
from cvxqueue.model.model import LEAST_IDLE
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.solution import Solution

# Rounds of cuts, and where so few types are left that a search is soon done.
_MOST_CUTS, _FEW_CUTS, _FEW_TYPES = 40, 4, 8
_REBASES = 6
# Cells grow by this factor away from the base (2 or 8: within 10 % of the time).
_CELL_GROWTH = 4.0
# A cell whose tangents cost less than this part of the gap is narrow enough to be searched.
NARROW_SHARE = 0.25
# So many open cells are searched before they are cut further: with 4, 5 of 21 instances are left.
_MOST_CELLS = 16
# What rounding may have cost an end of a range, relative to its size.
_MARGIN = 1e-9


def upper_gain(
    choices: Choices, point: Evaluation, ceiling: float, effort: float, deadline: Deadline
) -> float:
    """Bound on what any choice gains over a stable one, in seconds, rounding included.

    The ceiling is a bound that is known already; cells are cut until their width costs less than
    `effort`, a part of the bound.
    """
    incumbent = Incumbent(Base(choices, point), target_of(point, 0.0), deadline)
    bounds = _refined(incumbent, _first_bounds(incumbent), effort)
    gain = min(max(worst(bounds, incumbent), 0.0), ceiling)
    return gain + 2.0 * float(rounding_allowance(point))


def first_ceiling(choices: Choices, point: Evaluation, relaxed: Solution | None) -> float:
    """Bound on what any choice gains over a stable one, in seconds, that takes no search.

    It is that of a continuous answer over a box that has all choices. Without one, no choice has
    more benefit than the most, nor a shorter system time than the least service.
    """
    if relaxed is not None:
        certificate = relaxed.certificate
        return max(float(improvement(point, certificate.evaluation)), 0.0) + relaxed.gap
    benefit = float(choices.evaluate(choices.best_accuracy).benefit)
    time = float(choices.evaluate(choices.lowest).mean_service_time)
    return (benefit - time - float(point.objective)) + _MARGIN * (benefit + time)


def bounded(
    choices: Choices, point: FloatArray, target_at: Callable[[Base], float], deadline: Deadline
) -> tuple[Incumbent, Bounds]:
    """Cells around a good base, and what is proven of those that are not pruned.

    The first base is a stable choice that no neighbor improves; a cell is pruned within the seconds
    that `target_at` says of a base.
    """
    for _ in range(_REBASES):
        base = Base(choices, choices.evaluate(point))
        incumbent = Incumbent(base, target_at(base), deadline)
        bounds = _first_bounds(incumbent)
        if incumbent.deadline.is_over or worst(bounds, incumbent) <= incumbent.cutoff:
            break
        # Cells are fine around the base only: a much better choice becomes the base.
        if incumbent.gain <= max(incumbent.target, 0.1 * worst(bounds, incumbent)):
            break
        point = local_search(choices, incumbent.best, deadline)
    return incumbent, _refined(incumbent, bounds, NARROW_SHARE)


def _first_bounds(incumbent: Incumbent) -> Bounds:
    first, last = _cells(incumbent)
    guesses = price_guesses(incumbent.base, 0.5 * (first + last), incumbent.deadline)
    return cell_bounds(incumbent, first, last, guesses)


def _cells(incumbent: Incumbent) -> tuple[FloatArray, FloatArray]:
    """Cells that cover every change of m1 of a choice better than the base, finer around it."""
    base = incumbent.base
    choices, origin, queue = base.choices, base.point.tokens, base.choices.instance.queue
    least = choices.evaluate(choices.lowest)
    down, up, most = (
        choices.increments(origin, point).totals()
        for point in (choices.lowest, choices.highest, choices.best_accuracy)
    )
    # Where nothing takes any time there is still a cell, around no change at all.
    unit = base.mean or base.idle / base.rate
    margin = _MARGIN * max(unit, float(up.mean))
    start = float(down.mean) - margin
    # A better choice has T = benefit − J below this, whatever its accuracies.
    longest = float(base.point.mean_system_time) + float(most.benefit)
    longest += _MARGIN * float(base.point.scale)
    moments = float(least.mean_service_time), float(least.service_time_second_moment)
    if choices.domains.has_levels:
        # The fewest seconds need not be the fewest squared.
        moments = moments[0], moments[0] ** 2
    idle = float(queue.least_idle(base.rate, longest, *moments)) * (1.0 - _MARGIN)
    end = min(float(up.mean) + margin, (base.idle - max(idle, LEAST_IDLE)) / base.rate)
    bend = float(base.point.price_slopes.mean_mean)
    width = 2.0 * np.sqrt(incumbent.target / bend) if bend > 0.0 else unit
    width = max(float(width), _MARGIN * unit)
    cuts = np.array([*reversed(_edges(base, -width, start)), *_edges(base, width, end)[1:]])
    return cuts[:-1], cuts[1:]


def _edges(base: Base, width: float, end: float) -> list[float]:
    """Ends of cells from the base to `end`, each wider than the one before."""
    edges, sign = [0.0], np.sign(width)
    while (end - edges[-1]) * sign > 0.0:
        at = edges[-1]
        # No cell has more than twice the idle fraction at one end than at the other.
        room = (base.idle - base.rate * at) / base.rate
        width = sign * min(abs(width), 0.5 * room if sign > 0.0 else room)
        # Up to an idle fraction of LEAST_IDLE, half of the room is several ulp of `at`.
        edges.append(sign * min(sign * (at + width), sign * end))
        width *= _CELL_GROWTH
    return edges


def _refined(incumbent: Incumbent, bounds: Bounds, effort: float) -> Bounds:
    """Cut cells until all are pruned, or the width of the others costs no more than that part."""
    kept: list[Bounds] = []
    for _ in range(_MOST_CUTS if incumbent.best.size > _FEW_TYPES else _FEW_CUTS):
        is_pruned = bounds.value <= incumbent.cutoff
        incumbent.pruned = float(np.max(bounds.value[is_pruned], initial=incumbent.pruned))
        bounds = bounds.take(~is_pruned)
        if incumbent.deadline.is_over or bounds.first.size > _MOST_CELLS:
            break
        gap = bounds.value - incumbent.gain
        is_narrow = ~bounds.is_divisible | (bounds.value - bounds.at_middle <= effort * gap)
        kept.append(bounds.take(is_narrow))
        bounds = bounds.take(~is_narrow)
        if not bounds.first.size:
            break
        bounds = halved(incumbent, bounds)
    return joined([*kept, bounds])


def halved(incumbent: Incumbent, bounds: Bounds) -> Bounds:
    """Cut each cell in two: first halves, then second ones; or none, where the time is up."""
    halves = cell_bounds(
        incumbent,
        np.concatenate([bounds.first, bounds.middle]),
        np.concatenate([bounds.middle, bounds.last]),
        np.tile(bounds.mean_price, 2),
    )
    return bounds if incumbent.deadline.is_over else halves


def worst(bounds: Bounds, incumbent: Incumbent) -> float:
    """Bound on what any choice gains over the base, in seconds."""
    return float(np.max(bounds.value, initial=max(incumbent.gain, incumbent.pruned)))
