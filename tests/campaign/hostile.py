"""Instances that nobody would choose: log-uniform over everything, and structures that hurt."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tests.families import Family

__all__ = ["STRUCTURES", "draw"]

Rng = np.random.Generator
Row = dict[str, Any]

QUEUES = ("FIFO", "FIFO", "ProcessorSharing", "BatchArrivals", "Vacations", "Setups")
LAWS = ("affine", "affine", "random", "quadratic")
CURVES = ("exponential", "power", "michaelis", "points")


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def draw(rng: Rng, *, has_kinks: bool | None = None) -> tuple[str, Family]:
    """Draw an instance, and say what it is made of.

    The numbers are either of all magnitudes, or such that the optimum lies within the box; then a
    structure or two are pressed on them.
    """
    curves = CURVES[:3] if has_kinks is False else CURVES
    count = int(rng.choice([1, 2, 3, 4, 6, 8], p=[0.25, 0.25, 0.15, 0.15, 0.1, 0.1]))
    is_wild = bool(rng.random() < 0.5)
    law = str(rng.choice(LAWS))
    mixed = rng.random() < 0.3
    one = str(rng.choice(curves))
    kinds = [str(rng.choice(curves)) if mixed else one for _ in range(count)]
    if has_kinks:
        kinds[0] = "points"
    reach = (1e-3, 1e9) if is_wild else (1.0, 1e6)
    rows = [_row(rng, law, kind, reach, is_wild=is_wild) for kind in kinds]
    mix = _mix(rng, count)
    for row, share in zip(rows, mix, strict=True):
        row["probability"] = share
    queue = _queue(rng, rows)
    rate = _arrival_rate(rng, rows, is_wild=is_wild)
    weight = log_uniform(rng, 1e-12, 1e12) if is_wild else _balanced_weight(rng, rows, rate)
    family = Family(rate, weight, queue, tuple(rows))
    names = ["wild" if is_wild else "balanced", queue["kind"], law, "+".join(sorted(set(kinds)))]
    known = [name for name in STRUCTURES if has_kinks is not False or name not in _WITH_KINKS]
    for _ in range(int(rng.choice([0, 1, 2], p=[0.3, 0.5, 0.2]))):
        name = str(rng.choice(known))
        family = STRUCTURES[name](rng, family)
        names.append(name)
    return ", ".join(names), family


def _row(rng: Rng, law: str, kind: str, reach: tuple[float, float], *, is_wild: bool) -> Row:
    size = log_uniform(rng, *reach)
    least = 0.0 if rng.random() < 0.7 else size * float(rng.random())
    most = size * log_uniform(rng, 1.0, 100.0)
    per_token = log_uniform(rng, 1e-9, 1e3) if is_wild else log_uniform(rng, 1e-5, 1e-1)
    base = log_uniform(rng, 1e-9, 1e3) if is_wild else log_uniform(rng, 1e-3, 10.0)
    service: Row = {"base": base if rng.random() < 0.8 else 0.0, "per_token": per_token}
    if law == "random":
        service["token_scv"] = log_uniform(rng, 1e-3, 1e3) if rng.random() < 0.8 else 0.0
    elif law == "quadratic":
        bend = per_token / size * log_uniform(rng, 1e-6, 1e3)
        service["per_squared_token"] = bend if rng.random() < 0.8 else 0.0
    return {
        "min_tokens": min(least, most),
        "max_tokens": most,
        "importance": 1.0 if rng.random() < 0.6 else log_uniform(rng, 1e-3, 1e3),
        "service": service,
        "accuracy": _accuracy(rng, kind, size, is_wild=is_wild),
    }


def _accuracy(rng: Rng, kind: str, size: float, *, is_wild: bool) -> Row:
    gain = log_uniform(rng, 1e-12, 1.0) if is_wild else float(rng.uniform(0.05, 1.0))
    floor = float(rng.random()) * (1.0 - gain) if rng.random() < 0.8 else 0.0
    turn = size / log_uniform(rng, 1e-2, 1e2)
    if kind == "exponential":
        return {"kind": kind, "floor": floor, "gain": gain, "rate": 1.0 / turn}
    if kind == "michaelis":
        return {"kind": kind, "floor": floor, "gain": gain, "half_saturation": turn}
    if kind == "power":
        power = log_uniform(rng, 0.1, 10.0)
        return {"kind": kind, "floor": floor, "gain": gain, "scale": turn, "exponent": power}
    count = int(rng.integers(1, 8))
    places = np.sort(rng.random(count) * size)
    if rng.random() < 0.5:
        places[0] = 0.0
    places = np.unique(places)
    style = rng.random()
    if style < 0.5:
        heights = floor + gain * places / (turn + places)
    elif style < 0.7:
        heights = np.sort(rng.random(places.size))
    elif style < 0.85:
        heights = rng.random(places.size)
    else:
        # To a few digits, as people type them: lines that are parallel but for rounding.
        places = np.unique(np.round(places))
        heights = np.round(0.3 + 0.6 * places / max(float(places[-1]), 1.0), 3)
    if places.size > 1 and _is_negative_at_zero(places, heights):
        places, heights = np.append(0.0, places), np.append(0.0, heights)
    heights = np.clip(heights, 0.0, 1.0)
    return {"kind": kind, "tokens": places.tolist(), "accuracy": heights.tolist()}


def _is_negative_at_zero(places: Any, heights: Any) -> bool:
    """Whether the line through any point and the first one is: such a curve is refused."""
    x, p = Fraction(float(places[0])), Fraction(float(heights[0]))
    others = zip(
        map(Fraction, places[1:].tolist()), map(Fraction, heights[1:].tolist()), strict=True
    )
    return any(p * (other - x) < (height - p) * x for other, height in others)


def _mix(rng: Rng, count: int) -> list[float]:
    least = float(rng.choice([1e-12, 1e-6, 1e-2]))
    weights = np.exp(rng.uniform(np.log(least), 0.0, count))
    weights[rng.integers(count)] = 1.0
    mix = weights / weights.sum()
    return [float(share) for share in mix]


def _queue(rng: Rng, rows: Sequence[Row]) -> Row:
    kind = str(rng.choice(QUEUES))
    if kind == "BatchArrivals":
        mean = 1.0 + log_uniform(rng, 1e-3, 1e2)
        square = mean * mean * (1.0 + log_uniform(rng, 1e-3, 1e1))
        return {"kind": kind, "mean_size": mean, "size_second_moment": square}
    if kind in ("Vacations", "Setups"):
        mean = log_uniform(rng, 1e-6, 1e3)
        square = mean * mean * (1.0 + log_uniform(rng, 1e-3, 1e1))
        return {"kind": kind, "mean": mean, "second_moment": square}
    return {"kind": kind}


def service_time(row: Mapping[str, Any], tokens: float) -> Fraction:
    """The exact mean service time of a type."""
    law, count = row["service"], Fraction(tokens)
    squared = Fraction(law.get("per_squared_token", 0.0))
    return Fraction(law["base"]) + (Fraction(law["per_token"]) + squared * count) * count


def least_time(rows: Sequence[Mapping[str, Any]]) -> Fraction:
    """The exact mean service time of the mix at the least tokens."""
    return sum(
        (Fraction(row["probability"]) * service_time(row, row["min_tokens"]) for row in rows),
        Fraction(0),
    )


def _arrival_rate(rng: Rng, rows: Sequence[Row], *, is_wild: bool) -> float:
    """Mostly such that the least load is below one."""
    least = float(least_time(rows))
    top = float(
        sum(row["probability"] * float(service_time(row, row["max_tokens"])) for row in rows)
    )
    if is_wild:
        rate = log_uniform(rng, 1e-12, 1e3)
    else:
        rate = log_uniform(rng, 0.05, 50.0) / max(top, 1e-300)
    if least > 0.0 and rate * least >= 1.0 and rng.random() < 0.95:
        rate = float(rng.uniform(0.01, 0.999)) / least
    return rate


def _balanced_weight(rng: Rng, rows: Sequence[Row], rate: float) -> float:
    """What makes the worth of a token about its price, at some tokens of the first type."""
    row = rows[0]
    law, curve = row["service"], row["accuracy"]
    tokens = row["max_tokens"] * log_uniform(rng, 1e-3, 1.0)
    low, high = _value(curve, tokens), _value(curve, 1.01 * tokens)
    slope = (high - low) / (0.01 * tokens)
    price = law["per_token"] * log_uniform(rng, 1.0, 1e3)
    weight = price / max(slope, 1e-30)
    return float(min(weight, 1e15))


def _value(curve: Mapping[str, Any], tokens: float) -> float:
    if curve["kind"] == "points":
        return float(np.interp(tokens, curve["tokens"], curve["accuracy"]))
    if curve["kind"] == "exponential":
        lost = math.expm1(-curve["rate"] * tokens)
    elif curve["kind"] == "michaelis":
        lost = -tokens / (tokens + curve["half_saturation"])
    else:
        lost = math.expm1(-curve["exponent"] * math.log1p(tokens / curve["scale"]))
    return -float(curve["gain"]) * lost


def _changed(family: Family, rows: Sequence[Mapping[str, Any]], **numbers: Any) -> Family:
    values = {
        "arrival_rate": family.arrival_rate,
        "accuracy_weight": family.accuracy_weight,
        "queue": family.queue,
        "types": tuple(rows),
    }
    return Family(**{**values, **numbers})


def _equal_types(rng: Rng, family: Family) -> Family:
    """All types alike, but for their shares."""
    first = family.types[0]
    rows = [{**first, "probability": row["probability"]} for row in family.types]
    return _bearable(_changed(family, rows))


def _bearable(family: Family) -> Family:
    """With an arrival rate that the least tokens bear, as far as a structure changed them."""
    least = least_time(family.types)
    if least * Fraction(family.arrival_rate) >= 1:
        return _changed(family, family.types, arrival_rate=0.5 / float(least))
    return family


def _straight_or_flat(rng: Rng, family: Family) -> Family:
    """The curvature over the box from next to nothing to all of it at its first token."""
    rows = []
    for row in family.types:
        curve, most = dict(row["accuracy"]), max(row["max_tokens"], 1e-300)
        bent = log_uniform(rng, 1e-12, 1e6)
        if curve["kind"] == "exponential":
            curve["rate"] = bent / most
        elif curve["kind"] == "michaelis":
            curve["half_saturation"] = most / bent
        elif curve["kind"] == "power":
            curve["scale"] = most / bent
        rows.append({**row, "accuracy": curve})
    return _changed(family, rows)


def _next_to_one(rng: Rng, family: Family) -> Family:
    """The least load next to one: an idle fraction from 1e-3 down to 1e-12."""
    least = least_time(family.types)
    if not least:
        return family
    idle = Fraction(log_uniform(rng, 1e-12, 1e-3))
    rate = float((1 - idle) / least)
    while Fraction(rate) * least >= 1:
        rate = math.nextafter(rate, 0.0)
    return _changed(family, family.types, arrival_rate=rate)


def _each(change: Callable[[Rng, Row], Row]) -> Callable[[Rng, Family], Family]:
    """A structure that is pressed on some of the types."""

    def press(rng: Rng, family: Family) -> Family:
        rows = [
            {**row, **change(rng, dict(row))} if rng.random() < 0.6 else row for row in family.types
        ]
        return _bearable(_changed(family, rows))

    return press


def _no_gain(rng: Rng, row: Row) -> Row:
    curve = dict(row["accuracy"])
    if curve["kind"] == "points":
        curve["accuracy"] = [curve["accuracy"][0]] * len(curve["accuracy"])
    else:
        curve["gain"] = 0.0
    return {"accuracy": curve}


def _narrow(rng: Rng, row: Row) -> Row:
    """A box of no width, or of some ulps."""
    place = row["min_tokens"] if rng.random() < 0.5 else row["max_tokens"]
    top = place
    for _ in range(int(rng.integers(0, 3))):
        top = math.nextafter(top, math.inf)
    return {"min_tokens": place, "max_tokens": top}


def _no_base(rng: Rng, row: Row) -> Row:
    return {"min_tokens": 0.0, "service": {**row["service"], "base": 0.0}}


def _no_importance(rng: Rng, row: Row) -> Row:
    return {"importance": 0.0}


def _no_room(rng: Rng, row: Row) -> Row:
    return {"min_tokens": 0.0, "max_tokens": 0.0}


def _no_weight(rng: Rng, family: Family) -> Family:
    return _changed(family, family.types, accuracy_weight=0.0)


def _scale_zero(rng: Rng, family: Family) -> Family:
    """No base times, floors of zero, and little to gain from the first token: T = J = 0."""
    rows = []
    for row in family.types:
        curve = dict(row["accuracy"])
        if curve["kind"] == "points":
            most = row["max_tokens"] or 1.0
            curve = {"kind": "points", "tokens": [0.0, most], "accuracy": [0.0, 1e-3]}
        else:
            curve["floor"] = 0.0
        rows.append({**row, **_no_base(rng, dict(row)), "accuracy": curve})
    first = [_slope_at_zero(row) / row["service"]["per_token"] for row in rows]
    share = 1.0 if rng.random() < 0.3 else float(rng.random())
    weight = share / max(*first, 1e-300)
    return _changed(family, rows, accuracy_weight=weight)


def _slope_at_zero(row: Mapping[str, Any]) -> float:
    curve = row["accuracy"]
    if curve["kind"] == "points":
        slope = (curve["accuracy"][1] - curve["accuracy"][0]) / curve["tokens"][1]
    elif curve["kind"] == "exponential":
        slope = curve["gain"] * curve["rate"]
    elif curve["kind"] == "michaelis":
        slope = curve["gain"] / curve["half_saturation"]
    else:
        slope = curve["gain"] * curve["exponent"] / curve["scale"]
    return float(slope * row["importance"])


def _kink_at_optimum(rng: Rng, family: Family) -> Family:
    """Curves with a corner where the prices of chosen tokens put the optimum.

    Now and then the slope on one side of it is worth just what the token costs.
    """
    tokens, loads = [], []
    for row in family.types:
        least, most = row["min_tokens"], row["max_tokens"]
        place = float(rng.choice([least, most, least + (most - least) * float(rng.random())]))
        tokens.append(place)
        loads.append(row["probability"] * float(service_time(row, place)))
    load = float(rng.choice([0.01, 0.5, 0.9, 1.0 - 1e-6]))
    if sum(loads) <= 0.0:
        return family
    rate = load / sum(loads)
    times = [load / row["probability"] for row, load in zip(family.types, loads, strict=True)]
    m2 = sum(row["probability"] * t * t for row, t in zip(family.types, times, strict=True))
    idle = 1.0 - load
    p1, p2 = 1.0 + rate * rate * m2 / (2.0 * idle * idle), rate / (2.0 * idle)
    prices = []
    for row, place, time in zip(family.types, tokens, times, strict=True):
        law = row["service"]
        slope = law["per_token"] + 2.0 * law.get("per_squared_token", 0.0) * place
        noise = law.get("token_scv", 0.0) * law["per_token"] ** 2 * place
        prices.append(p1 * slope + 2.0 * p2 * (time * slope + noise))
    weight = 1.0
    for place, price in zip(tokens, prices, strict=True):
        weight = max(weight, 5.0 * price * max(place, 1.0))
    rows = []
    for row, place, price in zip(family.types, tokens, prices, strict=True):
        width = place if place > 0.0 else max(row["max_tokens"], 1.0)
        steep, flat = (1.0 if rng.random() < 0.2 else float(x) for x in (1.5, 0.5))
        corners = [0.0, place, place + width] if place > 0.0 else [0.0, width]
        slopes = [steep, flat] if place > 0.0 else [flat]
        rises = np.concatenate([[0.0], np.cumsum(np.array(slopes) * np.diff(corners))])
        heights = (price / weight * rises).clip(0.0, 1.0)
        curve = {"kind": "points", "tokens": corners, "accuracy": heights.tolist()}
        rows.append({**row, "importance": 1.0, "accuracy": curve})
    changed = _changed(family, rows, arrival_rate=rate, accuracy_weight=weight)
    return _bearable(_changed(changed, rows, queue={"kind": "FIFO"}))


def _points_far_right(rng: Rng, family: Family) -> Family:
    """Measured points far beyond the cap, on lines that pass near nothing at 0 tokens."""
    rows = []
    for row in family.types:
        first = log_uniform(rng, 10.0, 1e6)
        places = first * np.cumprod(np.append(1.0, 1.0 + 0.3 * rng.random(int(rng.integers(1, 5)))))
        heights = places / places[-1] * float(rng.uniform(0.05, 0.9))
        if rng.random() < 0.7:
            # As people write them.
            places = np.unique(np.round(places))
            heights = np.round(heights[: places.size], 3)
        while places.size > 1 and _is_negative_at_zero(places, heights):
            heights = 0.5 * (heights + heights[-1])
        most = first * log_uniform(rng, 1e-6, 2.0)
        curve = {"kind": "points", "tokens": places.tolist(), "accuracy": heights.tolist()}
        rows.append({**row, "min_tokens": 0.0, "max_tokens": most, "accuracy": curve})
    return _bearable(_changed(family, rows))


def _extreme_units(rng: Rng, family: Family) -> Family:
    """A unit of time, and a weight, far from what anybody has."""
    changed = family.in_unit(10.0 ** rng.uniform(-12.0, 12.0))
    weight = changed.accuracy_weight * 10.0 ** rng.uniform(-25.0, 25.0)
    return _bearable(_changed(changed, changed.types, accuracy_weight=weight))


_WITH_KINKS = ("kink at the optimum", "points far to the right")
STRUCTURES: dict[str, Callable[[Rng, Family], Family]] = {
    "equal types": _equal_types,
    "straight or flat": _straight_or_flat,
    "least load next to one": _next_to_one,
    "gain zero": _each(_no_gain),
    "narrow boxes": _each(_narrow),
    "base zero": _each(_no_base),
    "importance zero": _each(_no_importance),
    "boxes at zero": _each(_no_room),
    "weight zero": _no_weight,
    "scale zero": _scale_zero,
    "kink at the optimum": _kink_at_optimum,
    "points far to the right": _points_far_right,
    "extreme units": _extreme_units,
}
