"""Random instances of any queue, service law and accuracy curve, with their optimum planted.

An instance is written out as plain numbers, one record for each type, so that the thirty-digit
arithmetic of `tests.family_oracle` reads the same numbers as the package and nothing of its code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

import cvxqueue as cq
from tests.generator import PATTERNS, UTILIZATIONS, log_uniform, planted_roles, random_mix
from tests.instances import parameters_of

QUEUES = ("FIFO", "ProcessorSharing", "BatchArrivals", "Vacations", "Setups")
LAWS = ("affine", "random", "quadratic")
CURVES = ("exponential", "power", "michaelis", "points", "mixed")
SMOOTH = ("exponential", "power", "michaelis")
FAMILIES = tuple(product(QUEUES, LAWS, CURVES))


def pairwise() -> Iterator[tuple[str, str, str]]:
    """Families in which every two of a queue, a law and a curve meet: a Latin square."""
    for i, queue in enumerate(QUEUES):
        for j, curve in enumerate(CURVES):
            yield queue, LAWS[(i + j) % len(LAWS)], curve


@dataclass(frozen=True)
class Family:
    """An instance in plain numbers: seconds and tokens."""

    arrival_rate: float
    accuracy_weight: float
    queue: Mapping[str, Any]
    """Its class as ``kind``, and the arguments."""
    types: tuple[Mapping[str, Any], ...]
    """For each ``probability``, ``min_tokens``, ``max_tokens``, ``importance``, and the numbers of
    ``service`` and ``accuracy``, the latter with its ``kind``."""

    @property
    def has_kinks(self) -> bool:
        """Whether some curve is made of straight pieces."""
        return any(row["accuracy"]["kind"] == "points" for row in self.types)

    def column(self, name: str) -> list[Any]:
        """One field of every type."""
        return [row[name] for row in self.types]

    def instance(self, **changes: Any) -> cq.Instance:
        """Return it as the package has it."""
        queue = {key: value for key, value in self.queue.items() if key != "kind"}
        values: dict[str, Any] = {
            "arrival_rate": self.arrival_rate,
            "accuracy_weight": self.accuracy_weight,
            "probabilities": self.column("probability"),
            "min_tokens": self.column("min_tokens"),
            "max_tokens": self.column("max_tokens"),
            "importance": self.column("importance"),
            "service": service_of(self.column("service")),
            "accuracy": accuracy_of(self.column("accuracy")),
            "queue": getattr(cq, self.queue["kind"])(**queue),
        }
        return cq.Instance(**{**values, **changes})

    def permuted(self, order: Sequence[int]) -> Family:
        """Return it with its types in another order."""
        return replace(self, types=tuple(self.types[k] for k in order))

    def split(self, share: float) -> Family:
        """Return it with the first type as two of the same kind."""
        first = self.types[0]
        parts = (
            {**first, "probability": first["probability"] * part} for part in (share, 1.0 - share)
        )
        return replace(self, types=(*parts, *self.types[1:]))

    def in_unit(self, factor: float) -> Family:
        """Return it with `factor` units of time for each second."""
        power = {"mean": 1, "second_moment": 2}
        is_time = self.queue["kind"] in ("Vacations", "Setups")
        queue = {
            key: value * factor ** power[key] if is_time and key != "kind" else value
            for key, value in self.queue.items()
        }
        types = tuple(
            {
                **row,
                "service": {
                    key: value if key == "token_scv" else value * factor
                    for key, value in row["service"].items()
                },
            }
            for row in self.types
        )
        return Family(self.arrival_rate / factor, self.accuracy_weight * factor, queue, types)


_KINDS = {
    "saturating-exponential": "exponential",
    "power-law": "power",
    "michaelis-menten": "michaelis",
    "piecewise-linear": "points",
}


def family_of(instance: cq.Instance) -> Family:
    """Return an instance without constraints in plain numbers, those of its file."""
    data = cq.to_dict(instance)
    queue = {**vars(instance.queue), "kind": type(instance.queue).__name__}
    types = tuple(
        {
            "probability": row["probability"],
            "min_tokens": low,
            "max_tokens": high,
            "importance": importance,
            "service": {key: it for key, it in row["service"].items() if key != "kind"},
            "accuracy": {**row["accuracy"], "kind": _KINDS[row["accuracy"]["kind"]]},
        }
        for row, low, high, importance in zip(
            data["task"],
            instance.min_tokens.tolist(),
            instance.max_tokens.tolist(),
            instance.importance.tolist(),
            strict=True,
        )
    )
    return Family(instance.arrival_rate, instance.accuracy_weight, queue, types)


def service_of(rows: Sequence[Mapping[str, float]]) -> Any:
    """Return the service law of the types."""
    columns: dict[str, Any] = {key: [row[key] for row in rows] for key in rows[0]}
    return (cq.QuadraticService if "per_squared_token" in columns else cq.AffineService)(**columns)


def accuracy_of(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return the accuracy curve of the types: of several classes where they differ."""
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    curves = [_curve(kind, [row for row in rows if row["kind"] == kind]) for kind in kinds]
    if len(curves) == 1:
        return curves[0]
    return cq.MixedAccuracy(curves=curves, which=[kinds.index(row["kind"]) for row in rows])


_CLASSES: dict[str, Any] = {
    "exponential": cq.SaturatingExponential,
    "power": cq.PowerLaw,
    "michaelis": cq.MichaelisMenten,
    "points": cq.PiecewiseLinear,
}


def _curve(kind: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    columns = {key: [row[key] for row in rows] for key in rows[0] if key != "kind"}
    return _CLASSES[kind](**columns)


@dataclass(frozen=True)
class Planted:
    """A family and its optimum."""

    family: Family
    tokens: np.ndarray
    is_exact: bool
    """Whether the tokens are the optimum to rounding: not where one lies inside a straight piece,
    whose slope is a difference of two rounded heights."""


def planted(
    rng: np.random.Generator,
    queue: str,
    law: str,
    curve: str,
    *,
    n: int | None = None,
    utilization: float | None = None,
    pattern: str | None = None,
    plain: bool = False,
    mix: np.ndarray | None = None,
) -> Planted:
    """Choose an optimum, then derive an instance of a family that has it.

    Tokens, utilization and active set come first and fix the prices; the gains follow from them, as
    in `cq.references.planted`. Types with straight pieces are planted on a kink or inside a piece.

    Parameters
    ----------
    rng
        The source of everything that is not given.
    queue, law, curve
        From `QUEUES`, `LAWS` and `CURVES`.
    n
        Number of types; by default 1 to 20.
    utilization
        At the optimum, in (0, 1).
    pattern
        One of `tests.generator.PATTERNS`.
    plain
        Leave out vanishing mixes, zero importance, zero gain, zero base times and points for boxes.
    mix
        Shares of the types; by default of all magnitudes.
    """
    n = int(rng.integers(1, 21)) if n is None else n
    utilization = float(rng.choice(UTILIZATIONS)) if utilization is None else utilization
    pattern = (
        str(rng.choice(PATTERNS, p=[0.35, 0.35, 0.1, 0.1, 0.1])) if pattern is None else pattern
    )
    extras = [
        extra for extra in ("ignored", "useless", "fixed") if not plain and rng.random() < 0.25
    ]
    roles = planted_roles(rng, n, pattern, extras)
    if mix is None:
        mix = random_mix(rng, n, 0.02 if plain else float(rng.choice([1e-6, 1e-3])))
    middle = log_uniform(rng, 30.0, 1e4, 1).item()
    spread = 4.0 if plain or rng.random() < 0.5 else 30.0
    size = log_uniform(rng, middle / spread, middle * spread, n)
    is_above = (roles == "free") | (roles == "upper")
    at_zero = ~is_above & ((pattern == "all-zero") | (rng.random(n) < 0.5))
    tokens = np.where(at_zero, 0.0, size)
    below = np.where(rng.random(n) < 0.5, 0.0, tokens * rng.uniform(0.0, 0.9, n))
    above = tokens * rng.uniform(1.1, 20.0, n) + 1.0 + size * (tokens == 0.0)
    min_tokens = np.where(is_above, below, tokens)
    max_tokens = np.where((roles == "upper") | (roles == "fixed"), tokens, above)
    service = _services(rng, law, size, tokens, zero_base=not plain and rng.random() < 0.25)
    kinds = _kinds(rng, curve, n)
    importance = np.where(rng.random(n) < 0.5, 1.0, log_uniform(rng, 0.2, 5.0, n))
    importance[roles == "ignored"] = 0.0

    moments = [_moments(row, count) for row, count in zip(service, tokens.tolist(), strict=True)]
    weights = [Fraction(pi) for pi in mix.tolist()]
    m1, m2 = (
        sum((pi * row[j] for pi, row in zip(weights, moments, strict=True)), Fraction(0))
        for j in (0, 1)
    )
    arrival_rate = utilization / float(m1)
    described = _queue(rng, queue, float(m1))
    price = _prices(described, Fraction(arrival_rate), m1, m2)
    costs = [float(price[0] * row[2] + price[1] * row[3]) for row in moments]
    shapes = [
        _shape(rng, str(kind), str(role), count, reach, cost / (factor or 1.0))
        for kind, role, count, reach, cost, factor in zip(
            kinds, roles, tokens.tolist(), size.tolist(), costs, importance.tolist(), strict=True
        )
    ]
    accuracy_weight = max(shape.worth for shape in shapes) / rng.uniform(0.3, 0.9)
    accuracy_weight = accuracy_weight or 1.0
    types = tuple(
        {
            "probability": pi,
            "min_tokens": low,
            "max_tokens": high,
            "importance": factor,
            "service": row,
            "accuracy": shape.written(accuracy_weight, rng.uniform(0.0, 0.99)),
        }
        for pi, low, high, factor, row, shape in zip(
            mix.tolist(),
            min_tokens.tolist(),
            max_tokens.tolist(),
            importance.tolist(),
            service,
            shapes,
            strict=True,
        )
    )
    family = Family(arrival_rate, float(accuracy_weight), described, types)
    return Planted(family, tokens, not any(shape.is_inside for shape in shapes))


def planted_instance(rng: np.random.Generator, **options: Any) -> tuple[dict[str, Any], np.ndarray]:
    """Return the parameters that `tests.oracle` reads, as arrays, and the planted optimum.

    They are those of the commonest family; the options are of `planted`.
    """
    case = planted(rng, "FIFO", "affine", "exponential", **options)
    plain = parameters_of(case.family.instance())
    assert plain is not None
    parameters = {key: np.array(it) if isinstance(it, list) else it for key, it in plain.items()}
    return parameters, case.tokens


def _kinds(rng: np.random.Generator, curve: str, n: int) -> list[str]:
    if curve != "mixed":
        return [curve] * n
    # Half of the mixtures have kinks; two classes at least where there are two types.
    allowed = [*SMOOTH, "points"] if rng.random() < 0.5 else list(SMOOTH)
    first = list(rng.permutation(allowed))[:n]
    return [*first, *rng.choice(allowed, n - len(first))]


def _services(
    rng: np.random.Generator, law: str, size: Any, tokens: Any, *, zero_base: bool
) -> list[dict[str, float]]:
    n = size.size
    base = log_uniform(rng, 1e-3, 3.0, n)
    if zero_base:
        # Some query must take time.
        base[tokens > 0] = base[1:] = 0.0
    columns = {"base": base, "per_token": log_uniform(rng, 1e-4, 1e-2, n)}
    if law == "random":
        columns["token_scv"] = log_uniform(rng, 0.01, 4.0, n) * (rng.random(n) < 0.9)
        columns["token_scv"][0] = 0.5
    elif law == "quadratic":
        bend = log_uniform(rng, 1e-3, 3.0, n) * (rng.random(n) < 0.9)
        columns["per_squared_token"] = columns["per_token"] / size * bend
    names = list(columns)
    return [
        dict(zip(names, row, strict=True)) for row in np.stack(list(columns.values()), -1).tolist()
    ]


def _moments(row: Mapping[str, float], count: float) -> tuple[Fraction, ...]:
    """Both moments of the service time, and their slopes, as exact rationals."""
    base, per_token, at = Fraction(row["base"]), Fraction(row["per_token"]), Fraction(count)
    scv = Fraction(row.get("token_scv", 0.0))
    bend = Fraction(row.get("per_squared_token", 0.0))
    time = base + per_token * at + bend * at**2
    slope = per_token + 2 * bend * at
    variance = scv * per_token**2
    return time, time**2 + variance * at**2, slope, 2 * time * slope + 2 * variance * at


def _queue(rng: np.random.Generator, kind: str, m1: float) -> dict[str, Any]:
    if kind == "BatchArrivals":
        mean = float(rng.uniform(1.0, 6.0))
        return {
            "kind": kind,
            "mean_size": mean,
            "size_second_moment": mean**2 * float(rng.uniform(1.0, 3.0)),
        }
    if kind in ("Vacations", "Setups"):
        mean = m1 * float(log_uniform(rng, 0.01, 10.0, 1).item())
        return {"kind": kind, "mean": mean, "second_moment": mean**2 * float(rng.uniform(1.0, 3.0))}
    return {"kind": kind}


def _prices(
    queue: Mapping[str, Any], rate: Fraction, m1: Fraction, m2: Fraction
) -> tuple[Fraction, Fraction]:
    """Derivatives of the mean system time, from rational sums."""
    idle = 1 - rate * m1
    if queue["kind"] == "ProcessorSharing":
        return 1 / idle**2, Fraction(0)
    ahead = Fraction(0)
    if queue["kind"] == "BatchArrivals":
        ahead = (Fraction(queue["size_second_moment"]) / Fraction(queue["mean_size"]) - 1) / 2
    work = ahead * m1 + rate * m2 / 2
    return 1 + ahead / idle + rate * work / idle**2, rate / (2 * idle)


@dataclass(frozen=True)
class _Shape:
    """A curve up to its floor, in units of worth: seconds at an importance of one."""

    kind: str
    numbers: Mapping[str, Any]
    worth: float
    """What unlimited tokens are worth."""
    is_inside: bool = False

    def written(self, accuracy_weight: float, share: float) -> dict[str, Any]:
        """The curve at an accuracy weight, its floor a share of what is left of one."""
        gain = self.worth / accuracy_weight
        floor = share * (1.0 - gain)
        if self.kind == "points":
            heights = [floor + rise / accuracy_weight for rise in self.numbers["rises"]]
            return {"kind": "points", "tokens": self.numbers["tokens"], "accuracy": heights}
        return {"kind": self.kind, "floor": floor, "gain": gain, **self.numbers}


def _shape(
    rng: np.random.Generator, kind: str, role: str, tokens: float, size: float, price: float
) -> _Shape:
    """Return a curve whose slope is worth the price of a token, as far as the role has it."""
    if kind == "points":
        return _points_shape(rng, role, tokens, size, price)
    factor = {
        "free": 1.0,
        "useless": 0.0,
        "lower": float(rng.uniform(0.1, 0.95)),
        "upper": float(rng.uniform(1.05, 3.0)),
    }.get(role, float(rng.uniform(0.1, 3.0)))
    reach = float(log_uniform(rng, 0.05, 6.0, 1).item())
    if kind == "exponential":
        rate = reach / size
        return _Shape(kind, {"rate": rate}, factor * price * float(np.exp(rate * tokens)) / rate)
    scale = size / reach
    power = 1.0 if kind == "michaelis" else float(log_uniform(rng, 0.2, 4.0, 1).item())
    worth = factor * price * scale / power * (1.0 + tokens / scale) ** (power + 1.0)
    if kind == "michaelis":
        return _Shape(kind, {"half_saturation": scale}, worth)
    return _Shape(kind, {"scale": scale, "exponent": power}, worth)


def _points_shape(
    rng: np.random.Generator, role: str, tokens: float, size: float, price: float
) -> _Shape:
    """Corners around the tokens, and slopes around the price."""
    steep, steeper = (1.05 + rng.uniform(0.0, 2.0), 3.2 + rng.uniform(0.0, 2.0))
    flat, flatter = (0.95 - rng.uniform(0.0, 0.4), 0.5 - rng.uniform(0.0, 0.5))
    before, after = rng.uniform(0.1, 0.8), rng.uniform(1.2, 3.0)
    is_inside = False
    if role == "useless":
        return _Shape("points", {"tokens": [0.0, size], "rises": [0.0, 0.0]}, 0.0)
    if role == "free" and rng.random() < 0.4:
        is_inside = True
        corners = [0.0, before * tokens, after * tokens, 2.0 * after * tokens]
        slopes = [steep, 1.0, flat]
    elif role in ("free", "fixed", "ignored") and tokens > 0.0:
        corners = [0.0, before * tokens, tokens, after * tokens, 2.0 * after * tokens]
        slopes = [steeper, steep, flat, flatter]
    elif role == "upper":
        corners = [0.0, before * tokens, after * tokens, 3.0 * after * tokens]
        slopes = [steeper, steep, flat]
    else:
        corners = [0.0, *([tokens] if tokens > 0.0 else []), tokens + after * size]
        slopes = [*([steep] if tokens > 0.0 else []), flat]
    rises = np.concatenate([[0.0], np.cumsum(price * np.array(slopes) * np.diff(corners))])
    numbers = {"tokens": [float(x) for x in corners], "rises": rises.tolist()}
    return _Shape("points", numbers, float(rises[-1]), is_inside)
