"""The answer within domains: what it does, what it loses, and how far it can be from optimal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cvxqueue.certificates import (
    certified_objective,
    kept_by_rounding,
    relative_gap,
    rounding_allowance,
)
from cvxqueue.deadline import Deadline
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import at_least, at_most, clipped, shown
from cvxqueue.integer.branch_and_bound import best_choice
from cvxqueue.integer.choices import Choices
from cvxqueue.integer.incumbent import Base
from cvxqueue.integer.level_model import level_model
from cvxqueue.integer.rounding import uncoupled_domains
from cvxqueue.json_values import json_attributes
from cvxqueue.model import Evaluation, Instance, assumed
from cvxqueue.model.differences import improvement
from cvxqueue.model.domains import Domains, LevelMenu
from cvxqueue.numerics.array_data import unchecked
from cvxqueue.numerics.arrays import FloatArray, frozen
from cvxqueue.numerics.checks import float_array, real_number, require
from cvxqueue.solution import (
    LARGEST_TOLERANCE,
    MEANS,
    AllocationData,
    Ended,
    Solution,
    allowed_tolerance,
    assumption_lines,
    require_ended,
)
from cvxqueue.tables import Column, Part, Table

# For the bound of an answer that comes without its search, as from a file: a user waits for it.
_BOUND_SECONDS = 60.0
# What bounds and their rounding may come to, in allowances: see `target_of`.
_ALLOWANCES = 5.0


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class IntegerSolution(AllocationData):
    """A stable allocation that its domains allow, with what is proven of it.

    Nothing that is claimed is taken from whoever makes one: what a copy, a pickle or a file brings
    back has its bound searched again, when it is asked for, for at most a minute.

    Parameters
    ----------
    instance : Instance
        The instance that was solved.
    domains : Domains
        What each type may choose from.
    continuous : Solution or None
        The continuous answer that it is compared with; ``None`` where a type has levels, which have
        no tokens.
    method : str
        ``"exact"``, ``"neighbors"``, ``"descent"``, ``"nearest"`` or ``"floor"``.
    ended : Ended
        Why the method ended.
    tolerance : float
        Tolerance on the gap, relative to α Σ π w p + T: what was asked for, or what rounding can do
        to the objective where that is more; at most 0.01.
    choice : ndarray, shape (N,)
        Thinking tokens of each type, or the position of its level.
    neighbors_gap : float or None
        What any other combination of neighbors gains at most over `tokens`, in seconds, as the
        search that compared them proved it. That is a record of the search, on which no status
        rests. ``None`` for other methods.
    is_repaired : bool
        Whether the nearest choices were unstable and the floor took their place.
    solve_time : float
        Seconds.
    """

    instance: Instance
    domains: Domains
    continuous: Solution | None
    method: str
    ended: Ended
    tolerance: float
    choice: FloatArray
    neighbors_gap: float | None
    is_repaired: bool
    solve_time: float

    def __post_init__(self) -> None:
        require_ended(self.ended)
        # What couples the types is for no bound of these, and no choice is checked against it.
        domains = uncoupled_domains("IntegerSolution", self.instance, self.domains)
        choice = float_array("choice", self.choice, self.instance.size)
        choices = Choices(self.instance, domains)
        below, _ = choices.around(choice)
        require("choice", choice, choice == below, "is not allowed by the domain of its type")
        if not choices.evaluate(choice).is_stable:
            raise InvalidInputError("choice makes the queue unstable: nothing is proven of it")
        if self.continuous is not None and self.continuous.instance != self.instance:
            raise InvalidInputError("continuous must be the answer to the same instance")
        gap = self.neighbors_gap
        if gap is not None:
            if self.method != "neighbors":
                raise InvalidInputError(
                    f"neighbors_gap must be None for method {shown(self.method)}, got {shown(gap)}"
                )
            gap = real_number("neighbors_gap", gap)
            if gap < 0.0:
                raise InvalidInputError(f"neighbors_gap = {gap!r} must be ≥ 0 (seconds)")
        tolerance = allowed_tolerance(self.tolerance)
        vars(self).update(domains=domains, choice=choice, tolerance=tolerance, neighbors_gap=gap)

    @cached_property
    def domain_gap(self) -> float:
        """Bound on what any allocation that the domains allow gains, in seconds, with rounding."""
        choices = Choices(self.instance, self.domains)
        deadline = Deadline.after(_BOUND_SECONDS)
        proof = best_choice(choices, self.choice, self.continuous, self.tolerance, deadline)
        moved = choices.increments(self.choice, proof.point.tokens).totals()
        gain = float(Base(choices, choices.evaluate(self.choice)).gain(moved))
        return proof.gap + max(gain, 0.0)

    @property
    def assumes(self) -> tuple[str, ...]:
        """What the proof takes for granted: see `Certificate.assumes`."""
        told = kept_by_rounding(self.evaluation, self.tokens)
        return assumed(self.instance, self.domains) + told

    @property
    def is_exact(self) -> bool:
        """Whether no allocation is better: the gap is within what rounding can do."""
        return self.gap <= _ALLOWANCES * self.allowance

    @cached_property
    def tokens(self) -> NDArray[np.int64]:
        """Thinking tokens of each type, shape (N,); −1 for a type that has levels instead."""
        return self._counts(is_level=False)

    @cached_property
    def levels(self) -> NDArray[np.int64]:
        """Position of the level of each type, shape (N,); −1 for a type that has tokens."""
        return self._counts(is_level=True)

    def _counts(self, *, is_level: bool) -> NDArray[np.int64]:
        has_level = np.array([isinstance(domain, LevelMenu) for domain in self.domains])
        return frozen(np.where(has_level == is_level, self.choice, -1.0).astype(np.int64))

    @cached_property
    def evaluation(self) -> Evaluation:  # type: ignore[override]
        """The closed forms at the allocation."""
        return level_model(self.instance, self.domains).evaluate(self.choice)

    @property
    def objective(self) -> float:
        """Objective J in seconds, rounded down by `allowance`."""
        return float(certified_objective(self.evaluation))

    @cached_property
    def loss(self) -> float:
        """Continuous optimum less the objective, in seconds, without cancellation.

        Where the continuous tokens are in the domains it is zero up to `allowance`, of either sign.
        NaN without a continuous answer.
        """
        if self.continuous is None:
            return math.nan
        return float(improvement(self.evaluation, self.continuous.certificate.evaluation))

    @property
    def loss_bound(self) -> float:
        """Proven bound on the loss against the true continuous optimum, in seconds, or NaN."""
        if self.continuous is None:
            return math.nan
        return max(self.loss, 0.0) + self.continuous.gap

    @property
    def gap(self) -> float:
        """`upper_bound` − `objective`, in seconds: the most that any other allocation gains."""
        if self.continuous is None:
            return self.domain_gap
        return min(self.domain_gap, self.loss_bound + self.allowance)

    @property
    def upper_bound(self) -> float:
        """Proven upper bound on the objective of every allocation in the domains, in seconds."""
        return self.objective + self.gap

    @property
    def allowance(self) -> float:
        """What rounding can have done to the objective, in seconds."""
        return float(rounding_allowance(self.evaluation))

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON; ``None`` for what is not finite.

        The domains are those of the answer, as a file has them: ``domain`` of all types, or
        ``domains`` of each, ``None`` where files have no word for one.
        """
        # Loaded when first used, as all that reads and writes files.
        from cvxqueue.files.provenance import about
        from cvxqueue.files.writing import domain_tables

        names = (
            *("method", "status", "ended", "tolerance", "tokens", "levels", "objective"),
            *("upper_bound", "gap", "assumes", "relative_gap", "loss", "loss_bound"),
            *("neighbors_gap", "is_exact", "is_repaired", *MEANS, "solve_time"),
        )
        levels = {} if self.domains.has_levels else {"levels": None}
        try:
            domains = domain_tables(self.domains)
        except InvalidInputError:  # a class that is not the package's
            domains = {"domains": None}
        return about(self.instance) | domains | json_attributes(self, names) | levels

    def __repr__(self) -> str:
        loss = f"loss={self.loss:.3g}, " if math.isfinite(self.loss_bound) else ""
        return (
            f"IntegerSolution(method={self.method!r}, objective={self.objective:.9g}, "
            f"{loss}gap={self.gap:.3g})"
        )

    def _outcome(self) -> str:
        if self.method == "exact":
            if self.is_exact:
                return "no allocation in the domains is better"
            within = "within the tolerance" if self.is_optimal else self._advice()
            return f"the best found; none gains more than {at_most(self.gap)} s ({within})"
        if self.neighbors_gap is not None:
            gap = at_most(self.neighbors_gap)
            within = "within the tolerance" if self.ended is Ended.CONVERGED else self._advice()
            return f"its search left no combination of neighbors that gains over {gap} s ({within})"
        if self.is_repaired:
            return "rounded down, because the nearest choices are unstable"
        found = {
            "floor": "rounded down",
            "nearest": "rounded to the nearest",
            "descent": "no single type can do better by moving to a neighbor",
        }
        return found.get(self.method, self.status.value)

    def _advice(self) -> str:
        is_hasty = self.ended is Ended.TIME_LIMIT
        return "raise time_limit" if is_hasty else "no further progress; loosen the tolerance"

    def _loss_line(self) -> str:
        objective = f"objective {at_least(self.objective, 9)} s"
        if not math.isfinite(self.loss_bound):
            return objective
        most = f"(at most {at_most(self.loss_bound)} s)"
        return f"{objective}, loss {at_most(self.loss)} s against the continuous optimum {most}"

    def _parts(self) -> Iterable[Part]:
        yield f"{self.method}: {self._outcome()}"
        if self.domains != Domains.of(self.instance.domains, self.instance.size):
            kinds = clipped(", ".join(map(shown, dict.fromkeys(self.domains))))
            yield f"within domains other than the instance's own: {kinds}"
        yield self._loss_line()
        yield f"no allocation in the domains gains more than {at_most(self.gap)} s"
        yield from assumption_lines(self)
        yield self._means_line()
        yield ""
        yield self.table()

    def table(self) -> Table:
        """Return the answer by task type."""
        columns = [self.choice_column()]
        if self.continuous is not None:
            columns.append(Column("continuous tokens", self.continuous.tokens, "{:.3f}".format))
        return self._by_type(*columns)

    def choice_column(self) -> Column:
        """Tokens of each type, or its level, for a table."""
        if not self.domains.has_levels:
            return Column("tokens", self.tokens, str)
        pairs = zip(self.tokens.tolist(), self.levels.tolist(), strict=True)
        return Column("choice", [f"level {n}" if n >= 0 else str(count) for count, n in pairs])


def proven_answer(
    point: Evaluation, domain_gap: float, *, tolerance: float, **fields: Any
) -> IntegerSolution:
    """Return the answer of a method that has just proven its bound: it is not searched again."""
    # No bound is sharper than rounding allows, and none is held to that.
    rounding = float(relative_gap(_ALLOWANCES * float(rounding_allowance(point)), point.scale))
    held_to = min(max(tolerance, rounding), LARGEST_TOLERANCE)
    known = {"choice": point.tokens, "evaluation": point, "domain_gap": domain_gap}
    return unchecked(IntegerSolution, tolerance=held_to, **(fields | known))
