"""The referee: what can be proven of anybody's tokens, from the instance alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.certificates.box_multipliers import lower_multipliers, upper_multipliers
from cvxqueue.certificates.gap import (
    certified_gap,
    certified_objective,
    relative_gap,
    rounding_allowance,
)
from cvxqueue.certificates.lagrangian_gap import kept_by_rounding, lagrangian_gap
from cvxqueue.certificates.token_bounds import token_bounds
from cvxqueue.duality import estimated_multipliers, restored
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import at_least, at_most, enclosing, fixed, shown, token_decimals
from cvxqueue.json_values import json_attributes, json_values
from cvxqueue.model import Evaluation, Instance, assumed, require_instance
from cvxqueue.model.couplings import excesses, is_satisfied, lagrangian
from cvxqueue.model.feasibility import missed_floor
from cvxqueue.model.instance import type_columns
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.array_data import ArrayData, unchecked
from cvxqueue.numerics.arrays import FloatArray, frozen, is_frozen, kept, read_only
from cvxqueue.numerics.checks import float_array, number_array, real_number, require
from cvxqueue.numerics.frames import column_array
from cvxqueue.tables import Column, Part, Report, Table, facts


@dataclass(frozen=True, eq=False, repr=False)
class Certificate(ArrayData, Report):
    """Proven statements about an allocation.

    Everything is stated of `tokens`: the allocation asked about, moved to where the constraints
    hold if it lay outside. `violation` says by how much, and `is_feasible` whether that is no more
    than `feasibility_tolerance`. Nothing that is claimed is stored: it is computed from the fields
    below.

    Parameters
    ----------
    instance, allocation, multipliers, feasibility_tolerance
        As for `certify`. Where an entry of the allocation, shape (N,), is no finite number, the
        objective is −inf, the gap and the violation are infinite. Nothing but `is_feasible` depends
        on the tolerance: objective, gap and bounds are those of the tokens that were moved.
    """

    instance: Instance
    allocation: FloatArray
    multipliers: FloatArray | None = None
    feasibility_tolerance: float = 0.0

    def __post_init__(self) -> None:
        require_instance(self.instance)
        vars(self)["allocation"] = allocation_array(self.allocation, self.instance.size)
        vars(self)["multipliers"] = _multipliers(
            self.multipliers, self.instance, lambda: self.evaluation
        )
        name = "feasibility_tolerance"
        vars(self)[name] = real_number(name, self.feasibility_tolerance)
        if self.feasibility_tolerance < 0.0:
            raise InvalidInputError(f"{name} = {self.feasibility_tolerance!r} must be ≥ 0 (tokens)")

    @classmethod
    def of(
        cls, instance: Instance, point: Evaluation, multipliers: FloatArray | None = None
    ) -> Certificate:
        """Return the certificate of a point of the instance whose closed forms are known.

        A solver has moved it to where the constraints hold.
        """
        require_instance(instance)
        tokens, model = point.tokens, instance.model
        is_own = point.model is model and is_frozen(tokens)
        if not is_own or not model.contains(tokens):
            return cls(instance, tokens, multipliers)
        return unchecked(
            cls,
            instance=instance,
            allocation=tokens,
            multipliers=_multipliers(multipliers, instance, lambda: point),
            feasibility_tolerance=0.0,
            tokens=tokens,
            evaluation=point,
        )

    @kept
    def tokens(self) -> FloatArray:
        """Thinking tokens of each type, shape (N,), of which all is stated; NaN where none given.

        Where no point nearby satisfies the constraints, it is the one in the box, and `excesses`
        tell.
        """
        instance = self.instance
        inside = np.clip(self.allocation, instance.lower, instance.upper)
        inside = np.where(np.isfinite(self.allocation), inside, np.nan)
        if not instance.model.couplings:
            return inside
        point = restored(instance.evaluate(inside))
        return inside if point is None else point.tokens

    @cached_property
    def violation(self) -> float:
        """Largest distance of the allocation asked about from `tokens`, in tokens."""
        distance = float(np.max(np.abs(self.allocation - self.tokens)))
        return distance if np.isfinite(distance) else np.inf

    @cached_property
    def evaluation(self) -> Evaluation:
        """The closed forms at `tokens`."""
        return self.instance.evaluate(self.tokens)

    @cached_property
    def lagrangian(self) -> Evaluation:
        """The same of the Lagrangian: the objective with the constraints at their multipliers."""
        if self.multipliers is None:
            return self.evaluation
        return lagrangian(self.evaluation, self.multipliers)

    @property
    def is_stable(self) -> bool:
        """Whether the queue is stable."""
        return self.evaluation.is_stable

    @property
    def is_feasible(self) -> bool:
        """Whether the allocation asked about is stable, in the box, and within the constraints.

        Or no farther from tokens that are than `feasibility_tolerance`, and `violation` says how
        far.
        """
        return self.violation <= self.feasibility_tolerance and self._proves

    @cached_property
    def _proves(self) -> bool:
        """Whether the tokens satisfy everything, so that the optimum is no worse."""
        return is_satisfied(self.evaluation) and not missed_floor(self.instance)

    @cached_property
    def objective(self) -> float:
        """Objective J in seconds, rounded down by its allowance; −inf if unstable or violated.

        The optimum lies in [objective, upper_bound] to the last bit, while the plain value,
        ``instance.objective(tokens)``, can exceed it by rounding. Tokens that violate a constraint
        by no more than rounding explains pass for tokens that keep it: their objective may then be
        one of a limit looser by so much, and `assumes` says so. Those of a `Solution` keep it
        beyond rounding, where such tokens are found.
        """
        return float(certified_objective(self.evaluation)) if self._proves else -np.inf

    @cached_property
    def gap(self) -> float:
        """Proven bound on max J − objective, in seconds, rounding included."""
        if not self._proves:
            return np.inf
        if self.multipliers is None:
            return float(certified_gap(self.evaluation))
        return lagrangian_gap(self.evaluation, self.multipliers)

    @cached_property
    def allowance(self) -> float:
        """What rounding can have done to the objective, in seconds; `gap` has it twice."""
        return float(rounding_allowance(self.evaluation)) if self.is_stable else np.inf

    @property
    def upper_bound(self) -> float:
        """Proven upper bound on the optimum, in seconds; infinite if unstable or violated."""
        return self.objective + self.gap if self._proves else np.inf

    @cached_property
    def constraint_multipliers(self) -> tuple[float, ...]:
        """What one unit more of each coupling constraint's limit gains at the optimum, in seconds.

        In the order of ``instance.model.couplings``. The unit is that of the limit: a second, a
        probability, a token per second; of a floor, one unit less. A limit on the tail of the
        waiting time is one of seconds, at its probability.
        """
        if self.multipliers is None or not self.is_stable:
            return ()
        pairs = zip(self.instance.model.couplings, self.multipliers.tolist(), strict=True)
        return tuple(coupling.price(value, self.evaluation) for coupling, value in pairs)

    @property
    def excesses(self) -> FloatArray:
        """How far each coupling constraint is exceeded, negative where there is room."""
        if not self.is_stable:
            return np.full(len(self.instance.model.couplings), np.inf)
        return excesses(self.evaluation)

    @property
    def scale(self) -> float:
        """α Σ π w p + T, in seconds: what gaps are relative to. See `Evaluation.scale`."""
        return float(self.evaluation.scale)

    @property
    def relative_gap(self) -> float:
        """`gap` / `scale`, free of units; infinite where nothing is proven."""
        return float(relative_gap(self.gap, self.scale))

    @kept
    def token_bounds(self) -> FloatArray:
        """Interval of each type that contains the optimal tokens, shape (N, 2)."""
        return token_bounds(self.lagrangian, self.gap)

    @kept
    def lower_multipliers(self) -> FloatArray:
        """Multipliers of tokens ≥ min_tokens, ≥ 0, in seconds per token, shape (N,)."""
        return lower_multipliers(self._stable)

    @kept
    def upper_multipliers(self) -> FloatArray:
        """Multipliers of tokens ≤ max_tokens, ≥ 0, in seconds per token, shape (N,)."""
        return upper_multipliers(self._stable)

    @cached_property
    def stationarity(self) -> float:
        """Largest ``|∇J + lower − upper|`` of a type, relative to its marginal cost ∂T/∂l.

        At a kink of its curve a type has a whole interval of slopes, of which the best one counts.
        """
        last = first = self._stable.gradient + self.lower_multipliers - self.upper_multipliers
        mix, point = self.instance.probabilities, self.lagrangian
        if not self.instance.accuracy.is_smooth:
            # The gradient has the slope from the right; at a kink the one from the left is larger.
            slope = point.model.benefit.slope(np.nextafter(self.tokens, 0.0))
            first = last + mix * (slope - point.marginal_benefit)
        residual = np.maximum(last, 0.0) + np.maximum(-first, 0.0)
        return float(np.max(residual / (mix * point.marginal_cost)))

    @cached_property
    def complementarity(self) -> float:
        """Σ lower (tokens − min_tokens) + upper (max_tokens − tokens), in seconds."""
        lower_slack = self.tokens - self.instance.lower
        upper_slack = self.instance.upper - self.tokens
        return float(self.lower_multipliers @ lower_slack + self.upper_multipliers @ upper_slack)

    @cached_property
    def assumes(self) -> tuple[str, ...]:
        """What is taken for granted, and not proven; usually empty.

        Of classes that are not the package's, which `cvxqueue.testing.check_extension` tests on
        samples; of constraints on all types that only rounding lets the tokens keep; and of
        accuracy floors whose least tokens rounding moves by more than the objective counts.
        """
        return assumed(self.instance) + kept_by_rounding(self.evaluation)

    @property
    def _stable(self) -> Evaluation:
        if not self.is_stable:
            reason = (
                f"the queue is unstable at these tokens (utilization "
                f"{float(self.evaluation.utilization):.6g}, must be below 1)"
                if np.isfinite(self.tokens).all()
                else "an entry of the tokens is no finite number"
            )
            raise InvalidInputError(f"{reason}, so there are no multipliers")
        return self.lagrangian

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, token intervals included; ``None`` for what is not finite.

        The ``instance_digest`` is the same in every process; ``None`` where a class of the instance
        is not the package's.
        """
        # Loaded when first used, as all that reads and writes files.
        from cvxqueue.files.provenance import about

        summary = about(self.instance)
        names = [
            *("is_feasible", "violation", "feasibility_tolerance", "tokens", "objective", "gap"),
            *("relative_gap", "upper_bound", "token_bounds", "assumes"),
        ]
        if self.is_stable:
            names += ["stationarity", "complementarity", "lower_multipliers", "upper_multipliers"]
        summary |= json_attributes(self, names)
        if self.instance.model.couplings:
            labels = [coupling.label for coupling in self.instance.model.couplings]
            prices = self.constraint_multipliers or [None] * len(labels)
            summary["constraints"] = [
                {"constraint": label, "excess": excess, "multiplier": price}
                for label, excess, price in zip(labels, self.excesses.tolist(), prices, strict=True)
            ]
        return json_values(summary)

    def token_columns(self) -> list[Column]:
        """Tokens of each type, and the interval of the optimal ones, for a table."""
        decimals = token_decimals(float(np.max(self.token_bounds)))
        return [
            Column("tokens", self.tokens, lambda count: fixed(count, decimals)),
            Column("optimal tokens", self.token_bounds, partial(enclosing, decimals=decimals)),
        ]

    def table(self) -> Table:
        """Return what is proven of each type."""
        columns = [*type_columns(self.instance), *self.token_columns()]
        if self.is_stable:
            columns += [
                Column("worth of min_tokens (s/token)", self.lower_multipliers, "{:.3g}".format),
                Column("worth of max_tokens (s/token)", self.upper_multipliers, "{:.3g}".format),
            ]
        return Table(columns)

    def claims(self) -> list[tuple[str, str]]:
        """Return what is proven in numbers, as labels with text beside them."""
        is_moved = (
            f", {at_most(self.violation)} tokens from those given" if self.violation > 0.0 else ""
        )
        rows = [
            ("objective", f"{at_least(self.objective, 12)} s{is_moved}"),
            ("upper bound", f"{at_most(self.upper_bound, 12)} s: no allocation is better"),
            ("gap", f"{at_most(self.gap)} s, relative {at_most(self.relative_gap)}"),
        ]
        if self.is_stable:
            of = "largest imbalance of a type's marginal benefit and cost"
            rows.append(("stationarity", f"{at_most(self.stationarity)}: {of}"))
        return rows

    def _parts(self) -> Iterable[Part]:
        yield facts(self.claims())
        yield from (f"assumed, and not proven: {sentence}" for sentence in self.assumes)
        yield ""
        yield self.table()

    def __repr__(self) -> str:
        return (
            f"Certificate(objective={self.objective:.9g}, gap={self.gap:.3g}, "
            f"relative_gap={self.relative_gap:.3g}, violation={self.violation:.3g}"
            + f", feasibility_tolerance={self.feasibility_tolerance:.3g}"
            * (self.feasibility_tolerance > 0.0)
            + (f", assumes={self.assumes})" if self.assumes else ")")
        )


@quiet
def certify(
    instance: Instance,
    tokens: ArrayLike | None,
    *,
    multipliers: ArrayLike | None = None,
    feasibility_tolerance: float = 0.0,
) -> Certificate:
    """Return what can be proven of an allocation, whoever found it.

    Parameters
    ----------
    instance : Instance
        The instance.
    tokens : array_like, shape (N,)
        The allocation. Where it lies outside the box, or violates a constraint, a point nearby
        that does not is certified, and the distance reported. Where a method failed to give a
        number, by NaN, an infinity, ``None`` or a masked entry, nothing is claimed.
    multipliers : array_like, shape () or (C,), optional
        One ≥ 0 for each constraint on all types together, ``instance.model.couplings``, of its
        excess, as in `Formulation.multipliers`; by default those that prove about the best bound.
        Any are valid, and good ones make the gap small.
    feasibility_tolerance : float, default 0.0
        Tokens that had to be moved by no more, in tokens, pass for feasible ones. Solvers of conic
        programs keep a box and constraints to about 1e-5.

    Returns
    -------
    Certificate
        Of the tokens where they had to be moved to, with the move as `Certificate.violation`. With
        an infinite gap where an entry is no finite number, the queue is unstable, or no point
        nearby satisfies the constraints.

    Raises
    ------
    InvalidInputError
        If the tokens are no numbers, or there is not one entry for each type; if a multiplier or
        the tolerance is negative or no finite number.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance = cq.references.load("two-types-one-at-zero").instance
    >>> certificate = cq.certify(instance, [0.0, 1000.0])
    >>> bool(certificate.objective < cq.solve(instance).objective < certificate.upper_bound)
    True
    """
    return Certificate(instance, tokens, multipliers, feasibility_tolerance)  # type: ignore[arg-type]


def _multipliers(
    given: FloatArray | None, instance: Instance, point: Callable[[], Evaluation]
) -> FloatArray | None:
    """Multipliers as somebody gave them, or those that prove about the best bound of a point."""
    couplings = instance.model.couplings
    found = multiplier_array(given, len(couplings))
    if found is None and couplings:
        found = read_only(estimated_multipliers(point()))
    return found


def multiplier_array(given: ArrayLike | None, count: int) -> FloatArray | None:
    """One ≥ 0 for each constraint on all types together; none may be an empty list."""
    if given is None:
        return None
    raw = number_array("multipliers", given, "a number or a flat list of numbers")
    if raw.size == count == 0:
        return None
    array = float_array("multipliers", raw, count, of="constraints on all types together")
    require("multipliers", array, array >= 0.0, "must be ≥ 0: others prove nothing")
    return array


def allocation_array(given: ArrayLike | None, size: int) -> FloatArray:
    """Return an allocation as somebody gave it; NaN where it has no entry."""
    raw = column_array(np.full(size, np.nan) if given is None else given)
    if raw.dtype.kind not in "iuf":
        raise InvalidInputError(f"tokens must be numbers of shape ({size},), got {shown(given)}")
    if raw.shape != (size,):
        raise InvalidInputError(
            f"tokens must have shape ({size},), one entry for each type, got shape {raw.shape}"
        )
    # Adding zero turns −0.0 into 0.0, so that equal arrays have equal bytes.
    return frozen(np.ma.filled(raw.astype(np.float64), np.nan) + 0.0)
