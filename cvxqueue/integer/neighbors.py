"""The best combination of the choices next below and next above the continuous optimum."""

from __future__ import annotations

import numpy as np

from cvxqueue.certificates import rounding_allowance
from cvxqueue.deadline import Deadline
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.incumbent import Proof
from cvxqueue.integer.local_search import local_search
from cvxqueue.integer.program import FlipProgram
from cvxqueue.integer.rounding import floor, nearest
from cvxqueue.model import Evaluation
from cvxqueue.model.differences import improvement, separable_gains

# Tangents at the optima of the linear relaxation cost milliseconds each and spare whole programs;
# they end when the bound falls by less than a tenth.
_LINEAR_ROUNDS = 20
_STALLED_BOUND = 0.9
# Beyond, HiGHS overruns its time limit, which its presolve does not know, and the linear relaxation
# has to do (measured, for a limit of 0.1 s: up to 0.5 s with 10 000 open types, 1.5 s with 16 000,
# 4 s with 50 000).
_LARGEST_PROGRAM = 10_000


def best_combination(
    choices: Choices, relaxed: Evaluation, tolerance: float, deadline: Deadline
) -> Proof:
    """Search until no combination gains more than `tolerance` times the loss, or than rounding.

    The loss is against the continuous optimum between the least and the largest choices.
    """
    lower, upper = choices.around(relaxed.tokens)

    def polished(start: Evaluation) -> Evaluation:
        point = local_search(choices, start.tokens, deadline, between=(lower, upper))
        return choices.evaluate(point)

    first, second = (
        polished(rounding(choices, relaxed.tokens).point) for rounding in (nearest, floor)
    )
    base = first if improvement(second, first) >= 0 else second
    slack = float(np.maximum(rounding_allowance(base), rounding_allowance(relaxed)))
    program = FlipProgram(base, lower, upper, slack)

    best, gain = base, 0.0
    # The tangent of T at the relaxation bounds every combination, as the program does.
    gains = np.maximum(separable_gains(relaxed, lower), separable_gains(relaxed, upper))
    bound = max(float(gains.sum() - improvement(relaxed, base)), 0.0)
    bound = min(bound, _linear_bound(program, relaxed, deadline) if program.open.size else 0.0)
    allowed = max(tolerance * float(improvement(base, relaxed)), slack)
    is_tractable = program.open.size <= _LARGEST_PROGRAM
    seen: set[bytes] = set()
    while is_tractable and bound - gain > allowed and not deadline.is_over:
        optimum = program.solve(whole=True, seconds=deadline.remaining)
        bound = min(bound, optimum.bound)
        if optimum.flips is None:
            break
        flips = optimum.flips > 0.5
        point = program.point(flips)
        # A repetition means that HiGHS's tolerances, not the tangents, limit the bound.
        if flips.tobytes() in seen or not point.is_stable:
            break
        seen.add(flips.tobytes())
        program.add_tangent(point)
        # HiGHS does not see flips that matter less than 1e-6 of the largest; single flips do.
        point = polished(point)
        if improvement(best, point) > 0:
            best, gain = point, float(improvement(base, point))
            allowed = max(tolerance * float(improvement(best, relaxed)), slack)
    gap = max(bound - gain, 0.0) + 0.0
    return Proof(best, gap, gap <= allowed)


def _linear_bound(program: FlipProgram, relaxed: Evaluation, deadline: Deadline) -> float:
    """Bound by fractions of flips, with tangents at the relaxation and at what these find."""
    program.add_tangent(relaxed)
    bound = np.inf
    for _ in range(_LINEAR_ROUNDS):
        if deadline.is_over:
            break
        optimum = program.solve(whole=False, seconds=deadline.remaining)
        is_stalled = optimum.bound > _STALLED_BOUND * bound
        bound = min(bound, optimum.bound)
        if is_stalled or optimum.flips is None:
            break
        point = program.point(optimum.flips)
        if not point.is_stable:
            break
        program.add_tangent(point)
    return bound
