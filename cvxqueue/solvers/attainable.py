"""Whether a floor on the mean accuracy can be had, decided by a point or by a proof.

The search is that of the most accuracy: of an instance in which it is worth nearly everything. Each
of its points, moved to where the other constraints hold, may reach the floor; and proves a bound on
what any reaches (`cvxqueue.certificates.accuracy_bound`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cvxqueue.certificates import AccuracyBound, accuracy_model
from cvxqueue.deadline import NEVER, Deadline
from cvxqueue.duality import restored
from cvxqueue.duality.dual_search import dual_search
from cvxqueue.errors import InfeasibleError
from cvxqueue.model import Evaluation
from cvxqueue.model.model import Model
from cvxqueue.numerics.arithmetic import quiet

# What a unit of accuracy is worth, in mean service times. Where nothing but stability limits it,
# the idle fraction that is left falls with the root of it.
_NEARLY_EVERYTHING = (1e4, 1e7, 1e10)
# What may be had is known well enough to be advised.
_KNOWN = 1e-6
# Share of the accuracy beyond that of the least tokens that is not advised: the last of it takes an
# endless time, beside which the rounding of a floor is worth more than a certificate may leave.
_SPARED = 4e-5


@quiet
def require_attainable(model: Model, deadline: Deadline = NEVER) -> bool:
    """Raise an error if the other constraints are proven to leave too little for a floor.

    The `InfeasibleError` has the floor that can be had, and the proof that this one cannot. Return
    whether a point was found that keeps them all; if not, neither is known by the deadline. The
    least tokens keep all constraints but floors.
    """
    best = model.lowest
    floors = [coupling for coupling in model.couplings if coupling.is_floor]
    if not floors:
        return True
    floor = max(floors, key=lambda each: each.excess(best))
    proof, is_proven = None, False
    for found, bound in _most_accurate(model, deadline):
        inside = restored(found)
        if inside is not None and inside.mean_accuracy > best.mean_accuracy:
            best = model.evaluate(inside.tokens)
        if floor.excess(best) <= floor.allowance(best):
            return True
        if proof is None or bound.value < proof.value:
            proof = bound
        # The best falls short by more than the bound is above it, and by more than twice the
        # rounding: what a certificate takes for feasible is not called infeasible.
        beyond = proof.value - float(best.mean_accuracy)
        is_proven = floor.excess(best) > beyond + 2.0 * floor.allowance(best)
        if is_proven and beyond <= _KNOWN:
            break
    if is_proven:
        caps = [coupling.label for coupling in model.couplings if not coupling.is_floor]
        raise InfeasibleError(
            f"constraints: no allocation has {floor.label} together with "
            f"{'; '.join(caps) or 'a stable queue'}; {floor.remedy(_spared(best))}, or relax the "
            "others",
            proof,
        )
    return False


def _spared(best: Evaluation) -> Evaluation:
    """A point on the way from the best one to the least tokens that gives up a little accuracy."""
    model = best.model
    spare = _SPARED * (best.mean_accuracy - model.lowest.mean_accuracy)
    point, share = best, _SPARED
    while best.mean_accuracy - point.mean_accuracy < spare:
        point = model.evaluate(best.tokens + share * (model.lower - best.tokens))
        share = min(2.0 * share, 1.0)
    return point


def _most_accurate(model: Model, deadline: Deadline) -> Iterator[tuple[Evaluation, AccuracyBound]]:
    """Yield stable points of ever more accuracy that all constraints but floors allow, or nearly.

    Next to each the bound that its multipliers prove. Of the accuracy that a second is worth, the
    price of a second of service becomes that of stability.
    """
    rate = float(model.arrival_rate)
    # Where no service takes time, whatever accuracy is worth is more.
    time = min(float(model.evaluate(model.upper).mean_service_time) or np.inf, 1.0 / rate)
    # Multipliers of a search in which a unit of accuracy is worth one second.
    start = None
    for worth in _NEARLY_EVERYTHING:
        weight = worth * time
        greedy = accuracy_model(model, weight)
        for found in dual_search(greedy, deadline, None if start is None else weight * start):
            point, start = greedy.evaluate(found.point.tokens), found.multipliers / weight
            stability = float(point.prices.mean) / (rate * weight)
            bound = AccuracyBound(model, point.tokens, np.append(stability, start))
            # Where curves have kinks, Newton's method does not help.
            if found.is_settled and model.accuracy.is_smooth:
                bound = bound.sharpened(deadline)
            yield point, bound
            if deadline.is_over:
                return
