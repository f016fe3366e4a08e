"""A cvxpy problem together with the names of its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
from cvxpy.reductions.solution import Solution

from cvxqueue.dcp.explain import Explanation, explained
from cvxqueue.errors import InvalidInputError
from cvxqueue.model import Instance
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import require_that


@dataclass
class FixedData:
    """The data of a program, written into it as constants."""

    instance: Instance
    scale: float
    """Seconds in one unit of the objective."""
    build: Callable[[Instance], Formulation]
    """What states the same form of an instance."""
    further: list[Callable[[Instance], FloatArray]] = field(default_factory=list)
    """What `hold` was given since, for parameters of further constraints."""

    def __post_init__(self) -> None:
        # The shapes of parameters are its own: a later instance may have fewer segments.
        self.first = self.instance

    @property
    def parameters(self) -> list[cp.Parameter]:
        """The parameters that hold the data, if any; those of further constraints come last."""
        return []

    def hold(self, function: Callable[[Instance], FloatArray]) -> FloatArray | cp.Parameter:
        """Return a function of the instance that stays true when another is put in its place."""
        return function(self.instance)

    def refill(self, instance: Instance) -> None:
        """Put another instance in its place, or raise an `InvalidInputError`: constants stay."""
        raise InvalidInputError(
            "only the parametric form can be updated; use formulate(instance, 'parametric'), or "
            "formulate the new instance"
        )


class StatedConstraint(NamedTuple):
    """A constraint of the instance in a problem, and what its dual value says of its multiplier."""

    row: cp.Constraint
    rate: Callable[[Instance], float]
    """How often the constraint's own excess goes into the row's, but for the unit."""
    unit: float
    """What the row is divided by."""


# How the names of further constraints begin.
_ADDED = "added "


@quiet
@dataclass(frozen=True, eq=False, repr=False)
class Formulation:
    """An instance as a cvxpy problem, with its variables, constraints and expressions by name.

    Solve `problem` as any cvxpy problem; every expression then has a ``value``. Its objective is
    counted in units of `scale` seconds, because solvers work best near one; `objective` is in
    seconds.

    Parameters
    ----------
    form : str
        ``"dcp"``, ``"scaled"``, ``"parametric"`` or ``"textbook"``.
    problem : cvxpy.Problem
        The problem.
    variables : mapping of str to cvxpy.Variable
        The decision.
    constraints : mapping of str to cvxpy.Constraint
        The constraints of `problem`, in its order.
    data : FixedData
        The data behind it, shared with every formulation derived by `with_constraints`.
    tokens, accuracies, service_times : cvxpy.Expression, shape (N,)
        Thinking tokens of each type, affine; its probability of a correct answer, concave; and its
        mean service time in seconds, affine or convex.
    mean_accuracy : cvxpy.Expression
        Plain mean accuracy Σ π p; concave.
    token_rate : cvxpy.Expression
        Thinking tokens that the server makes per second, λ Σ π l; affine.
    mean_service_time : cvxpy.Expression
        Mean service time, in seconds; affine, or convex as the service times.
    mean_waiting_time, mean_system_time : cvxpy.Expression
        Means in seconds; convex.
    utilization : cvxpy.Expression
        Fraction of time that the server works; affine, or convex as the service times.
    objective : cvxpy.Expression
        Objective J, in seconds; concave.
    stated : tuple of StatedConstraint
        The constraints of the instance, as they stand in `problem`.

    Notes
    -----
    A pickle or a deep copy is the same program in variables of its own, by itself: with the values
    that were found, further constraints and data from `hold`, which a pickle takes where it can be
    imported by its name. A constraint or a formulation beside it does not come to share its
    variables. A pickle is for the versions of cvxqueue and cvxpy that wrote it.
    """

    form: str
    problem: cp.Problem
    variables: Mapping[str, cp.Variable]
    constraints: Mapping[str, cp.Constraint]
    data: FixedData
    tokens: cp.Expression
    accuracies: cp.Expression
    mean_accuracy: cp.Expression
    service_times: cp.Expression
    token_rate: cp.Expression
    mean_service_time: cp.Expression
    mean_waiting_time: cp.Expression
    mean_system_time: cp.Expression
    utilization: cp.Expression
    objective: cp.Expression
    stated: tuple[StatedConstraint, ...] = ()

    @property
    def instance(self) -> Instance:
        """The instance that the problem states."""
        return self.data.instance

    @property
    def scale(self) -> float:
        """Seconds in one unit of the objective of `problem`; a power of ten unless scaled."""
        return self.data.scale

    @property
    def multipliers(self) -> FloatArray:
        """Multipliers of the instance's constraints that the last solve found, shape (M,).

        Of their excess, in seconds, as `Certificate` takes them; NaN where there is no solution.
        """
        found = np.full(len(self.stated), np.nan)
        for place, (row, rate, unit) in enumerate(self.stated):
            if row.dual_value is not None:
                # Of one entry, and not always a number.
                dual = np.sum(row.dual_value)
                found[place] = max(dual * rate(self.instance) * self.scale / unit, 0.0)
        return found

    @property
    def is_dcp(self) -> bool:
        """Whether the problem obeys the rules of disciplined convex programming."""
        return bool(self.problem.is_dcp())

    @property
    def is_dpp(self) -> bool:
        """Whether it obeys the rules for parameters too, so that it is canonicalised only once."""
        return bool(self.problem.is_dpp())

    def explain(self, *, with_parameters: bool = False) -> Explanation:
        """Explain how the rules accept the problem, or where they refuse it; see `cq.explain`.

        Parameters
        ----------
        with_parameters : bool, default False
            Whether to apply the rules for parameters (DPP).

        Returns
        -------
        Explanation
            Its nodes have the names of the expressions and constraints of this formulation.
        """
        named = {
            key: value for key, value in vars(self).items() if isinstance(value, cp.Expression)
        }
        names = {id(part): name for name, part in (named | dict(self.constraints)).items()}
        return explained(self.problem, names, with_parameters=with_parameters)

    def with_constraints(self, *constraints: cp.Constraint) -> Formulation:
        """Return the same problem under further constraints.

        Parameters
        ----------
        *constraints : cvxpy.Constraint
            On the expressions of this formulation.

        Returns
        -------
        Formulation
            Shares variables and data with this one; its constraints have the further names
            ``"added 1"``, ``"added 2"``, and so on.

        Raises
        ------
        InvalidInputError
            If an argument is not a cvxpy constraint.

        Examples
        --------
        >>> import cvxqueue as cq
        >>> instance = cq.references.load("two-types-one-at-zero").instance
        >>> form = cq.formulate(instance)
        >>> list(form.with_constraints(form.mean_waiting_time <= 2.0).constraints)
        ['min_tokens', 'max_tokens', 'added 1']
        """
        kept = dict(self.constraints)
        added = sum(name.startswith(_ADDED) for name in kept)
        for position, constraint in enumerate(constraints, start=1):
            allowed = "a cvxpy constraint such as form.mean_waiting_time <= 2.0"
            is_one = isinstance(constraint, cp.Constraint)
            require_that(is_one, f"constraint {position}", constraint, allowed)
            kept[f"{_ADDED}{added + position}"] = constraint
        problem = cp.Problem(self.problem.objective, list(kept.values()))
        return replace(self, problem=problem, constraints=MappingProxyType(kept))

    def hold(self, function: Callable[[Instance], FloatArray]) -> FloatArray | cp.Parameter:
        """Return data of the instance for use in a further constraint.

        Parameters
        ----------
        function : callable
            From an instance to an array. It may raise for an instance that it is not meant for,
            and an update to that is then refused.

        Returns
        -------
        ndarray or cvxpy.Parameter
            A parameter in the parametric form: `update` refills it too.
        """
        return self.data.hold(function)

    def update(self, instance: Instance) -> None:
        """Refill a parametric form with another instance, without a new canonicalisation.

        Every formulation derived by `with_constraints` is refilled with it.

        Parameters
        ----------
        instance : Instance
            Feasible; of the same size, and with queue, service law and accuracy curve of the same
            classes. Anything else may differ.

        Raises
        ------
        InvalidInputError
            If the form is not parametric, or the instance is of another shape; nothing is changed.
        UnstableQueueError, InfeasibleError
            If no allocation is stable, or none satisfies the constraints; nothing is changed.
        """
        self.data.refill(instance)

    def __copy__(self) -> Formulation:
        return replace(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # What cvxpy keeps in its expressions once they are solved holds the numbers of variables,
        # which are those of one process: with others its compiled part ends the process. So a copy
        # is formulated again, and the further constraints are put on its variables.
        data, rows = self.data, self.constraints
        leaves = [*self.variables.values(), *data.parameters]
        added = [row for name, row in rows.items() if name.startswith(_ADDED)]
        duals = [[dual.value for dual in row.dual_variables] for row in rows.values()]
        outcome = self.problem.status, self.problem.value
        start = data.build, data.first, data.instance
        return _rebuilt, (*start, leaves, data.further, added, duals, outcome)

    def __repr__(self) -> str:
        return f"Formulation(form={self.form!r}, {self.instance!r})"


def _rebuilt(
    build: Callable[[Instance], Formulation],
    first: Instance,
    instance: Instance,
    leaves: list[cp.Variable | cp.Parameter],
    further: list[Callable[[Instance], FloatArray]],
    added: list[cp.Constraint],
    duals: list[list[FloatArray | None]],
    outcome: tuple[str | None, float | None],
) -> Formulation:
    """Return a formulation anew, with what the last solve of another has found."""
    form = build(first)
    for function in further:
        form.hold(function)
    if instance is not first:
        form.update(instance)
    own = [*form.variables.values(), *form.data.parameters]
    if [leaf.shape for leaf in own] != [leaf.shape for leaf in leaves]:
        raise InvalidInputError(
            "the formulation is of another version of cvxqueue; formulate its instance again"
        )
    places = {id(old): new for old, new in zip(leaves, own, strict=True)}
    for variable, old in zip(form.variables.values(), leaves, strict=False):
        variable.save_value(old.value)
    for constraint in added:
        for leaf in (*constraint.variables(), *constraint.parameters()):
            if id(leaf) not in places:
                # Somebody's own.
                places[id(leaf)] = type(leaf)(leaf.shape, leaf.name(), **leaf.attributes)
                places[id(leaf)].save_value(leaf.value)
    copies = [constraint.tree_copy(places) for constraint in added]
    for copied, constraint in zip(copies, added, strict=True):
        # It has the number of what it is a copy of, and not its label.
        copied.id, copied.label = cp.Variable().id, constraint.label
    form = form.with_constraints(*copies)
    if outcome[0] is not None:
        values = {variable.id: variable.value for variable in form.problem.variables()}
        form.problem.unpack(Solution(*outcome, values, {}, {}))
    for row, found in zip(form.constraints.values(), duals, strict=True):
        for dual, value in zip(row.dual_variables, found, strict=True):
            dual.save_value(value)
    return form
