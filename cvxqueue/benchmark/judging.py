"""The referee: what is proven of an answer, by certificates and by records of proven optima.

The optimum lies between what is certified of the best known point and its upper bound, so that an
answer's gap is proven by that bound as well as by its own certificate. What a solver says of its
answer is compared with the gap, and is not evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from cvxqueue.certificates import certify, relative_gap
from cvxqueue.model import Instance
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.references.verification import Verified, verify
from cvxqueue.solution import Solution
from cvxqueue.solvers.solve import solve

SOLVED_GAP = 1e-6
"""Relative gap up to which an instance counts as solved, and a claim of optimality as true.

A hundred times what Clarabel, ECOS and MOSEK stop at by default, and what SLSQP does.
"""
KEPT = 1e-6
"""Distance from feasible tokens, of each type relative to its cap, up to which limits are kept."""


class Verdict(NamedTuple):
    """What is proven of an answer."""

    objective: float
    """In seconds, after the move into what is feasible; −inf where nothing is."""
    relative_gap: float
    """Proven bound on what the objective is below the optimum by, over benefit plus time."""
    violation: float
    """Largest distance to tokens that are feasible, in tokens."""
    token_error: float
    """Largest distance to the optimal tokens, in tokens: by record, or as far as is proven."""
    is_feasible: bool
    """Whether each type is within `KEPT` of tokens that are feasible."""


@quiet
@dataclass(frozen=True)
class Referee:
    """What is known of the optimum of one instance, found when it is first asked for."""

    instance: Instance
    record: Mapping[str, Any] | None = None

    @cached_property
    def _verified(self) -> Verified | None:
        return None if self.record is None else verify(self.record, instance=self.instance)

    @cached_property
    def _solution(self) -> Solution:
        return solve(self.instance, on_failure="return")

    @property
    def source(self) -> str:
        """Whose word counts: a record's, or a certificate's."""
        return "certificate" if self._verified is None else "record"

    @cached_property
    def upper_bound(self) -> float:
        """No allocation has a greater objective, in seconds."""
        if self._verified is not None:
            # Rounded up, as the end of an interval is.
            return float(np.nextafter(float(self._verified.objective[1]), np.inf))
        return self._solution.upper_bound

    @cached_property
    def token_bounds(self) -> FloatArray:
        """Between these are the optimal tokens, shape (N, 2)."""
        if self._verified is not None and self._verified.proves_tokens:
            return np.array([[float(low), float(high)] for low, high in self._verified.tokens])
        return self._solution.token_bounds

    def require_attainable(self) -> None:
        """Raise an `InfeasibleError` where no allocation is feasible."""
        _ = self._solution

    def judge(self, tokens: FloatArray) -> Verdict:
        """Return what is proven of tokens that are finite numbers."""
        found = certify(self.instance, tokens)
        gap = min(found.gap, max(self.upper_bound - found.objective, 0.0))
        relative = float(relative_gap(gap, found.scale))
        low, high = self.token_bounds.T
        # A cap of 1e8 is no leave to pass another of 1.
        allowed = KEPT * np.maximum(1.0, self.instance.upper)
        is_near = bool(np.all(np.abs(tokens - found.tokens) <= allowed))
        return Verdict(
            objective=found.objective,
            relative_gap=relative,
            violation=found.violation,
            token_error=float(np.max(np.maximum(low - tokens, tokens - high).clip(min=0.0))),
            is_feasible=is_near and found.objective > -np.inf,
        )
