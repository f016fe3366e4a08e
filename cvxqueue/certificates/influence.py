"""How the Lagrangian at an optimum, and its gradient, answer to each number of the instance.

L = Σ π v p − τ m1 − ω W(m1, m2) − Σ π s, where v is what a type's accuracy is worth, and τ, ω and s
are what a second of service, a second of waiting and the tokens of a type cost. A number by type
acts on its own type, and on the others by way of the two moments; one of the queue by way of the
two prices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from cvxqueue.certificates.optimality import NO_KINK, Optimum
from cvxqueue.errors import InvalidInputError
from cvxqueue.model import CouplingConstraint, Instance, MinAccuracy, WaitingTimeTail
from cvxqueue.model.accuracy import Place
from cvxqueue.model.assumed import is_own
from cvxqueue.model.constraints import ACCURACY_ROUNDINGS
from cvxqueue.model.partials import curve_partials, field_partials, kink_partials, number_partials
from cvxqueue.numerics.arrays import FloatArray


class Influence(NamedTuple):
    """What one field of an instance does: entries by type have the shape of the field."""

    at: Any
    """The field itself: a number, or an array by type."""
    values: Any
    """∂ of L, and of less each active constraint, at fixed tokens, along the first axis."""
    gradient: Any = 0.0
    """∂(∇L) at fixed prices: by type, and of one number shape (N,)."""
    moments: tuple[Any, Any] = (0.0, 0.0)
    """∂m1 and ∂m2, by type."""
    prices: tuple[Any, Any] = (0.0, 0.0)
    """∂P1 and ∂P2 of one number, at fixed moments."""
    rests: Any = 0.0
    """∂ of the tokens of the types that rest: by type, and of one number shape (N,)."""


def influences(optimum: Optimum) -> dict[str, Influence]:
    """Return what every number of an instance does at an optimum, by the name of its field."""
    instance, point, tokens = optimum.instance, optimum.point, optimum.point.tokens
    mix, rate = instance.probabilities, instance.arrival_rate
    law, queue = instance.service, instance.queue
    # By row, L and less each active constraint: multipliers, what is worth and what costs.
    active = [it.terms(1.0, rate) for it in optimum.active]
    counts = np.vstack([optimum.multipliers[optimum.is_active], np.eye(len(active))])
    is_objective = np.append(1.0, np.zeros(len(active)))
    of_time = is_objective + counts @ np.array([it.time for it in active])
    of_waiting = of_time + counts @ np.array([it.waiting for it in active])
    worths = np.outer(is_objective, instance.model.accuracy_value)
    worths += (counts @ np.array([it.accuracy for it in active]))[:, np.newaxis]
    base = point.prices
    prices = of_time + of_waiting * (base.mean - 1.0), of_waiting * base.second_moment
    weights = np.column_stack([*prices, counts])

    def paid(parts: Any) -> FloatArray:
        """Of two moments, and of what each active constraint makes a type pay besides."""
        rows = np.array([np.broadcast_to(it, tokens.shape) for it in parts])
        by_row: FloatArray = weights @ rows
        return by_row

    def costs(of: Any) -> tuple[Any, ...]:
        own = [[it.value(of, tokens) for it in each.separable_costs] for each in active]
        return of.mean(tokens), of.second_moment(tokens), *map(sum, own)

    def slopes(of: Any) -> tuple[Any, ...]:
        own = [[it.marginal_cost(of, tokens)[0] for it in each.separable_costs] for each in active]
        return of.mean_slope(tokens), of.second_moment_slope(tokens), *map(sum, own)

    def queueing(rate: Any, queue: Any) -> tuple[Any, ...]:
        """Mean waiting time and both prices, at the moments of the point."""
        mean, second = point.mean_service_time, point.service_time_second_moment
        moments = rate, mean, second, point.idle - (rate - instance.arrival_rate) * mean
        return queue.mean_waiting_time(*moments), *queue.prices(*moments)

    def of_queue(at: Any, parts: Any) -> Influence:
        waiting, *both = map(float, parts)
        return Influence(
            at, -of_waiting * waiting, prices=(of_waiting[0] * both[0], of_waiting[0] * both[1])
        )

    times, accuracy = costs(law), point.accuracies
    slope, gain = instance.accuracy.slope(tokens), instance.accuracy_weight * mix
    by_weight = mix * instance.importance
    nothing = np.zeros((len(counts), instance.size))
    by_rate = number_partials(
        queue, "arrival_rate", rate, lambda it: queueing(it, queue), float(point.idle)
    )
    found = {
        "arrival_rate": of_queue(rate, by_rate),
        "accuracy_weight": Influence(
            instance.accuracy_weight, is_objective * (by_weight @ accuracy), by_weight * slope
        ),
        "probabilities": Influence(
            mix,
            worths * accuracy - paid(times),
            optimum.priced.marginal_benefit - optimum.priced.marginal_cost,
            (times[0], times[1]),
        ),
        "importance": Influence(
            instance.importance, np.outer(is_objective, gain * accuracy), gain * slope
        ),
        "min_tokens": Influence(instance.min_tokens, nothing),
        "max_tokens": Influence(instance.max_tokens, nothing),
    }
    by_cost, by_slope = field_partials(law, costs), field_partials(law, slopes)
    for name, parts in by_cost.items():
        found[f"service.{name}"] = Influence(
            getattr(law, name),
            -mix * paid(parts),
            -mix * paid(by_slope[name])[0],
            (mix * parts[0], mix * parts[1]),
        )
    for prefix, place, curve, whole in _curves(instance):
        for name, (value, change) in curve_partials(curve, tokens[place]).items():
            at = getattr(whole, name)
            each = (slice(None), place, *(np.newaxis,) * (at.ndim - 1))
            values, gradient = np.zeros((2, len(counts), *at.shape))
            values[:, place] = product((mix * worths)[each], value)
            gradient[:, place] = product((mix * worths)[each], change)
            found[f"{prefix}.{name}"] = Influence(at, values, gradient[0])
    for name, parts in field_partials(queue, lambda it: queueing(rate, it)).items():
        found[f"queue.{name}"] = of_queue(getattr(queue, name), parts)
    _add_limits(optimum, counts, found)
    _add_rests(optimum, found)
    return found


def _curves(instance: Instance) -> Iterator[tuple[str, Place, Any, Any]]:
    """Of each class of curves its name, its types, and its curve of these and of all types."""
    whole: Any = instance.accuracy
    for number, (place, curve) in enumerate(whole.groups):
        if curve is whole:
            yield "accuracy", place, curve, curve
        else:
            yield f"accuracy.curves[{number}]", place, curve, whole.curves[number]


def _add_limits(optimum: Optimum, counts: FloatArray, found: dict[str, Influence]) -> None:
    """Add the numbers of the constraints that couple the types, and what else is in them."""
    numbered = enumerate(optimum.instance.constraints)
    couplings = [(n, it) for n, it in numbered if isinstance(it, CouplingConstraint)]
    columns = np.zeros((len(counts), len(couplings)))
    columns[:, optimum.is_active] = counts
    for column, (number, coupling) in zip(columns.T, couplings, strict=True):
        if isinstance(coupling, WaitingTimeTail):
            # It is not available where the use of tokens is random at all.
            found.pop("service.token_scv", None)
        kind = type(coupling)
        # What one that is derived inherits says nothing of what it computes.
        says_how = kind if is_own(kind) or "partials" in vars(kind) else CouplingConstraint
        for field, (change, bend) in says_how.partials(coupling, optimum.point).items():
            values, gradient = -column * change, -column[0] * np.asarray(bend)
            if field == "arrival_rate":
                known = found[field]
                values, gradient = known.values + values, known.gradient + gradient
                found[field] = known._replace(values=values, gradient=gradient)
            else:
                at = getattr(coupling, field)
                found[f"constraints[{number}].{field}"] = Influence(at, values, gradient)


def _add_rests(optimum: Optimum, found: dict[str, Influence]) -> None:
    """Add what moves the bounds and the kinks that types rest at; NaN where two hold one type.

    Of two that hold a type, one alone lets it go one way, and both the other way. A floor is where
    rounding may have put it: what is as near to it holds the type as well.
    """
    instance, rests, lower = optimum.instance, optimum.rests, optimum.lower
    curve, near = instance.accuracy, instance.model.lower_rounding
    near = np.zeros(instance.size) if near is None else near
    is_kink = np.isfinite(rests.kink)
    is_lower = rests.is_lower | (np.abs(rests.kink - lower) <= near)
    holds = {"min_tokens": instance.min_tokens >= lower - near}
    for number, least in optimum.floors.items():
        floor: Any = instance.constraints[number]
        # One derived from it may compute anything.
        if type(floor) is not MinAccuracy:
            raise InvalidInputError(
                f"constraints[{number}]: {type(floor).__name__} does not say how the least tokens "
                "change with its numbers"
            )
        # A floor of zero is none, and one below the accuracy at no tokens holds nobody.
        floors, start = floor.floors(instance), curve.value(np.zeros(instance.size))
        is_held = (floors > 0.0) & (floors * (1.0 + ACCURACY_ROUNDINGS) >= start)
        holds[f"constraints[{number}].accuracy"] = is_held & (least >= lower - near)
        shape = len(found["min_tokens"].values), *floor.accuracy.shape
        found[f"constraints[{number}].accuracy"] = Influence(floor.accuracy, np.zeros(shape))
    is_tied = is_kink | (np.sum(list(holds.values()), axis=0) > 1)
    # Whatever accuracy is worth, tokens that reach a floor have a kink where the curve has one.
    corner = _corners(instance, lower, near)
    slope = np.where(np.isfinite(corner), 0.0, curve.slope(lower))
    per_accuracy = np.where(slope > 0.0, 1.0 / slope, np.nan)
    by_floor = np.zeros(instance.size)
    for name, is_held in holds.items():
        rate = np.where(is_tied, np.nan, 1.0 if name == "min_tokens" else per_accuracy)
        moved = np.where(is_lower & is_held, rate, 0.0)
        by_floor = by_floor + (moved if name != "min_tokens" else 0.0)
        found[name] = found[name]._replace(rests=moved)
    moved = np.where(rests.is_upper, np.where(is_kink, np.nan, 1.0), 0.0)
    found["max_tokens"] = found["max_tokens"]._replace(rests=moved)
    kink = np.where(~is_kink & (by_floor != 0.0), corner, rests.kink)
    is_kink = np.isfinite(kink)
    for prefix, place, part, _ in _curves(instance):
        moves: list[tuple[Any, dict[str, Any]]] = []
        if by_floor[place].any():
            at = np.where(np.isfinite(corner), corner, lower)[place]
            of_floor = curve_partials(part, at)
            moves.append((-by_floor[place], {name: it[0] for name, it in of_floor.items()}))
        if is_kink[place].any():
            rate = np.where(is_lower | rests.is_upper, np.nan, 1.0)[place]
            moves.append((np.where(is_kink[place], rate, 0.0), kink_partials(part, kink[place])))
        for weights, by_field in moves:
            for field, change in by_field.items():
                known = found[f"{prefix}.{field}"]
                moved = np.zeros_like(known.at) + known.rests
                each = weights.reshape(-1, *(1,) * (known.at.ndim - 1))
                moved[place] += product(each, change)
                found[f"{prefix}.{field}"] = known._replace(rests=moved)


def _corners(instance: Instance, tokens: FloatArray, near: FloatArray) -> FloatArray:
    """Where the curve of a type has a kink as near to some tokens as given; NaN elsewhere."""
    found = np.full(instance.size, np.nan)
    for _, place, part, _ in _curves(instance):
        for corner in part.breakpoints:
            left, right = part.slope(np.nextafter(corner, 0.0)), part.slope(corner)
            is_kink = left - right > NO_KINK * (left + right)
            is_at = is_kink & (np.abs(corner - tokens[place]) <= near[place])
            found[place] = np.where(is_at, corner, found[place])
    return found


def product(factor: Any, by: Any) -> Any:
    """A product in which nothing times NaN is nothing."""
    return np.where(np.equal(by, 0.0) | np.equal(factor, 0.0), 0.0, factor * by)
