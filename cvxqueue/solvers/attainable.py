"""Whether a floor on the mean accuracy can be had, decided by a point or by a proof.

The search is that of the most accuracy: of an instance in which it is worth nearly everything. Each
of its points, moved to where the other constraints hold, may reach the floor; and proves a bound on
what any reaches (`cvxqueue.certificates.attainable`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cvxqueue.certificates import AccuracyBound, restored
from cvxqueue.deadline import NEVER, Deadline
from cvxqueue.errors import InfeasibleError
from cvxqueue.model import Evaluation
from cvxqueue.model.data import ModelData
from cvxqueue.solvers.dual_search import dual_search

__all__ = ["require_attainable"]

# What a unit of accuracy is worth, in mean service times. Where nothing but stability limits it,
# the idle fraction that is left falls with the root of it.
_NEARLY_EVERYTHING = (1e4, 1e7, 1e10)
# What may be had is known well enough to be advised.
_KNOWN = 1e-6
# Share of the way to the least tokens that what is advised leaves to everything else.
_SPARED = 1e-5


def require_attainable(instance: ModelData, deadline: Deadline = NEVER) -> None:
    """Raise an error if the other constraints are proven to leave too little for a floor.

    Parameters
    ----------
    instance : ModelData
        Whose constraints hold at the least tokens, but for floors.
    deadline : Deadline, optional
        When to give up what is not decided by then.

    Raises
    ------
    InfeasibleError
        With the floor that can be had, and the proof that this one cannot.
    """
    best = instance.lowest
    floors = [coupling for coupling in instance.couplings if coupling.is_floor]
    if not floors:
        return
    floor = max(floors, key=lambda each: each.excess(best))
    proof, known = None, np.inf
    for found, bound in _most_accurate(instance, deadline):
        inside = restored(found)
        if inside is not None and inside.mean_accuracy > best.mean_accuracy:
            best = instance.evaluate(inside.tokens)
        if floor.excess(best) <= floor.allowance(best):
            return
        if bound.value < known:
            proof, known = bound, bound.value
        if known - best.mean_accuracy <= _KNOWN:
            break
    # How far the best falls short, less how far the bound is above it, and twice the rounding:
    # what a certificate takes for feasible is not called infeasible.
    beyond = known - float(best.mean_accuracy) + 2.0 * floor.allowance(best)
    if floor.excess(best) > beyond:
        raise InfeasibleError(_message(instance, floor.label, floor.remedy(_spared(best))), proof)


def _message(instance: ModelData, label: str, remedy: str) -> str:
    caps = [coupling.label for coupling in instance.couplings if not coupling.is_floor]
    others = "; ".join(caps) or "a stable queue"
    return (
        f"constraints: no allocation has {label} together with {others}; {remedy}, or relax the "
        "others"
    )


def _spared(best: Evaluation) -> Evaluation:
    """A point next to the best one that leaves some room within every constraint."""
    least = best.instance.lower
    return best.instance.evaluate(best.tokens + _SPARED * (least - best.tokens))


def _most_accurate(
    instance: ModelData, deadline: Deadline
) -> Iterator[tuple[Evaluation, AccuracyBound]]:
    """Yield stable points of ever more accuracy that all constraints but floors allow, or nearly.

    Next to each the bound that its multipliers prove. Of the accuracy that a second is worth, the
    price of a second of service becomes that of stability.
    """
    rate = float(instance.arrival_rate)
    time = min(float(instance.evaluate(instance.upper).mean_service_time), 1.0 / rate)
    caps = tuple(coupling for coupling in instance.couplings if not coupling.is_floor)
    # Of a unit of accuracy, in it.
    start = np.zeros(len(caps))
    for worth in _NEARLY_EVERYTHING:
        greedy = instance.priced(np.zeros(len(instance.couplings)))
        greedy.importance = np.ones(instance.size)
        greedy.accuracy_weight = worth * time
        greedy.couplings = caps
        for found in dual_search(greedy, deadline, start * greedy.accuracy_weight):
            point, start = (
                greedy.evaluate(found.point.tokens),
                found.multipliers / greedy.accuracy_weight,
            )
            stability = float(point.prices.mean) / (rate * greedy.accuracy_weight)
            bound = AccuracyBound(instance, point.tokens, np.append(stability, start))
            # Where curves have kinks, Newton's method does not help.
            if found.is_settled and instance.accuracy.is_smooth:
                bound = bound.sharpened(deadline)
            yield point, bound
            if deadline.is_over:
                return
