"""Random instances of any size with a known optimum: the same bits on every machine.

All that is random comes from `random.Random.random`, the one method whose numbers are promised for
every version of Python. What follows is sums, products and quotients of float64, and `decimal`,
whose exponential is correctly rounded. No sum of floats by ``sum``: from Python 3.12 on that is
compensated. No power, exponential or logarithm of a C library: their last bits differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from fractions import Fraction
from operator import mul
from random import Random
from typing import NamedTuple

from cvxqueue.errors import InvalidInputError
from cvxqueue.model import AffineService, Instance, MichaelisMenten, SaturatingExponential
from cvxqueue.numerics.checks import real_number, whole_number

# Beyond, the bits of q and one of a half-saturation do not fit into the 53 of a float64.
_LARGEST_POWER = 24
# Beyond either, the accuracy weight may pass 1e30, and no instance takes that.
_LARGEST_SPREAD = 1e6
_UTILIZATIONS = 1e-6, 1.0 - 1e-6
# A float64 needs 17 digits, and the least idle fraction costs 6.
_PRECISION = 30
_CAP = 8192.0  # tokens of an exact instance are fewer
# Weights and times of the parts of a mix with mean time 1, for 1, 2, and 3 or more types. Eight
# times the second moments, and twice the times, are whole.
_MIXTURES = (((1.0, 1.0),), ((0.5, 0.5), (0.5, 1.5)), ((0.5, 0.5), (0.25, 1.0), (0.25, 2.0)))


class ExactInstance(NamedTuple):
    """An instance and its optimum as rational numbers."""

    instance: Instance
    """FIFO queue, affine service and Michaelis–Menten curves."""
    tokens: tuple[Fraction, ...]
    """The only optimum; all of it whole, so that it is the optimum over whole tokens, too."""
    objective: Fraction
    """J at the tokens, in seconds."""


class PlantedInstance(NamedTuple):
    """An instance and the tokens that it was built around."""

    instance: Instance
    """FIFO queue, affine service and saturating exponentials."""
    tokens: tuple[float, ...]
    """The optimum up to the rounding of the gains; exactly where a type is at a bound."""


class _ExactType(NamedTuple):
    """What is chosen of a type before its gain."""

    probability: float
    time: float
    tokens: float
    half_saturation: float
    per_token: float
    floor_share: float
    """Part of what the gain leaves of one."""


class _PlantedType(NamedTuple):
    """What is chosen of a type before its gain."""

    probability: float
    rate: float
    tokens: float
    cap: float
    base: float
    per_token: float
    ratio: float
    """What the next token is worth, over its price."""
    floor_share: float
    """Part of what the gain leaves of one."""


def exact(types: int, *, idle: float = 0.25, seed: int = 0) -> ExactInstance:
    """Return a random instance whose optimum is rational, and known exactly.

    Parameters
    ----------
    types : int
        Number of types N ≥ 1.
    idle : float, default 1/4
        Idle fraction 1 − ρ at the optimum: a power of two from 2^-24 to 1/2.
    seed : int, default 0
        Of the random numbers, ≥ 0.

    Returns
    -------
    ExactInstance

    Raises
    ------
    InvalidInputError
        If an argument is out of range.

    Notes
    -----
    With y = 1 − λ m1, service times t and half-saturations s the derivatives of the objective are

        ∂J/∂l = π (α gain s/(s + l)² − c q),    q = 1 + λ² m2/(2 y²) + λ t/y,

    so that all are zero where gain = c q (s + l)²/(α s). The objective is strictly concave and
    0 < l < max_tokens: such tokens are the only optimum. These gains are float64 numbers, with
    no rounding. Times are 1/2, 1 and 2 with weights 1/2, 1/4 and 1/4, hence m1 = 1 and m2 = 11/8
    (one type has time 1, two have 1/2 and 3/2). With y = 2^-p and n = 2^p − 1, λ = n/2^p and
    q = 1 + m2 n²/2 + n t, where 16 q is whole and below 2^(2p + 4). With l = (2^j − 1) s, where c
    and α are powers of two and s has at most 49 − 2p bits, gain = c q 4^j s/α has at most 53.
    Exponential curves allow nothing of the kind: exp(−b l) is transcendental.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance, tokens, objective = cq.references.exact(3, idle=2.0**-10)
    >>> solution = cq.solve(instance)
    >>> solution.objective <= objective <= solution.upper_bound
    True
    """
    size = whole_number("types", types, least=1)
    seed = whole_number("seed", seed, least=0)
    idle = real_number("idle", idle)
    mantissa, exponent = math.frexp(idle)
    power = 1 - exponent
    if mantissa != 0.5 or not 1 <= power <= _LARGEST_POWER:
        raise InvalidInputError(
            f"idle = {idle!r} must be a power of two from 2^-{_LARGEST_POWER} to 1/2"
        )
    source = f"cvxqueue.references.exact({size}, idle=2.0**-{power}, seed={seed})"
    rng = Random(seed)
    parts = _MIXTURES[min(size, 3) - 1]
    probabilities = [0.0] * size
    for part, (weight, _) in enumerate(parts):
        members = range(part, size, len(parts))
        shares = _shares([_log_uniform(rng, 16.0) for _ in members], weight)
        for member, share in zip(members, shares, strict=True):
            probabilities[member] = share
    bits = min(7, 2 * _LARGEST_POWER + 1 - 2 * power)
    rows = []
    for position, probability in enumerate(probabilities):
        time = parts[position % len(parts)][1]
        leading = int(math.ldexp(1.0 + rng.random(), bits - 1))
        half_saturation = math.ldexp(leading, 7 - bits + int(5.0 * rng.random()))
        tokens = half_saturation * (1.0 if rng.random() < 0.5 else 3.0)
        # The largest power of two that leaves a base time ≥ 0, or half of it.
        per_token = math.ldexp(0.5, math.frexp(time / tokens)[1] - int(2.0 * rng.random()))
        rows.append(_ExactType(probability, time, tokens, half_saturation, per_token, rng.random()))
    return _exact_instance(
        rows,
        Fraction(idle),
        name=f"exact-{size}-{power}-{seed}",
        description=f"Its optimum is rational, at an idle fraction of 2^-{power}.",
        source=source,
    )


def exact_by_hand() -> ExactInstance:
    """Return three types of the family of `exact`, in numbers for pencil and paper.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance, tokens, objective = cq.references.exact_by_hand()
    >>> [int(count) for count in tokens], str(objective)
    ([768, 512, 1024], '215/4')
    """
    return _exact_instance(
        [
            _ExactType(1 / 2, 4.0, 768.0, 256.0, 1 / 256, 0.0),
            _ExactType(1 / 4, 4.0, 512.0, 512.0, 1 / 256, 0.0),
            _ExactType(1 / 4, 4.0, 1024.0, 1024.0, 1 / 1024, 0.0),
        ],
        Fraction(1, 4),
        name="exact-by-hand",
        description="""
Three types whose optimum takes pencil and paper, and fractions.

At 768, 512 and 1024 tokens every query takes 4 s, so that m1 = 4 s and m2 = 16 s^2. The utilization
is 3/16 * 4 = 3/4, the waiting time (Pollaczek-Khinchine) 3/16 * 16 / (2 * 1/4) = 6 s and the system
time 10 s. One more second of service costs 1 + (3/16)^2 * 16 / (2 * (1/4)^2) + 3/16 * 4 / (1/4)
= 17/2 s.

What the next token costs, per_token * 17/2, and what it is worth, 256 * gain * s / (s + l)^2 with
s = half_saturation:
- first: 17/512 s; 256 * 17/32 * 256 / 1024^2 = 17/512 s.
- second: 17/512 s; 256 * 17/64 * 512 / 1024^2 = 17/512 s.
- third: 17/2048 s; 256 * 17/128 * 1024 / 2048^2 = 17/2048 s.

Worth equals cost, and the objective is strictly concave: this is the only optimum. Its value is
256 * (1/2 * 17/32 * 3/4 + 1/4 * 17/64 * 1/2 + 1/4 * 17/128 * 1/2) - 10 = 255/4 - 10 = 215/4 s.
""",
        source="cvxqueue.references.exact_by_hand()",
    )


def planted(
    types: int,
    *,
    utilization: float = 0.8,
    spread: float = 16.0,
    zero_share: float = 0.0,
    cap_share: float = 0.0,
    seed: int = 0,
) -> PlantedInstance:
    """Return a random instance that was built around its optimum.

    The tokens come first. They fix the price of a token of each type, and its gain makes the next
    token worth that price; of a type at zero at most 7/8 of it, of one at its cap at least 9/8.

    Parameters
    ----------
    types : int
        Number of types N ≥ 1.
    utilization : float, default 0.8
        ρ at the optimum, from 1e-6 to 1 − 1e-6, kept to the rounding of the arrival rate.
    spread : float, default 16
        Rates of the curves, times per token and probabilities are spread over so many times the
        least of them, from 1 to 1e6. What is badly conditioned has a large spread.
    zero_share, cap_share : float, default 0
        Share of the types that are at 0, and at their cap, at the optimum, to the nearest number
        of types; together at most 1.
    seed : int, default 0
        Of the random numbers, ≥ 0.

    Returns
    -------
    PlantedInstance

    Raises
    ------
    InvalidInputError
        If an argument is out of range.

    Notes
    -----
    The gain of a free type is α gain = c q exp(b l)/b with rate b, time per token c, and q as in
    `exact`, of the data as they are in the instance. The only rounding is that of the gains, to
    within 2^-53 of each, and what it moves the tokens by is of the order of 2^-53/b.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> instance, tokens = cq.references.planted(20, utilization=0.99, zero_share=0.25, seed=1)
    >>> solution = cq.solve(instance)
    >>> abs(solution.tokens - tokens).max() < 1e-3, (solution.tokens == 0).sum()
    (np.True_, np.int64(5))
    """
    size = whole_number("types", types, least=1)
    seed = whole_number("seed", seed, least=0)
    utilization = _within("utilization", utilization, *_UTILIZATIONS)
    spread = _within("spread", spread, 1.0, _LARGEST_SPREAD)
    zero_share = _within("zero_share", zero_share, 0.0, 1.0)
    cap_share = _within("cap_share", cap_share, 0.0, 1.0)
    if zero_share + cap_share > 1.0:
        raise InvalidInputError(
            f"zero_share + cap_share = {zero_share!r} + {cap_share!r} must be ≤ 1"
        )
    source = (
        f"cvxqueue.references.planted({size}, utilization={utilization!r}, spread={spread!r}, "
        f"zero_share={zero_share!r}, cap_share={cap_share!r}, seed={seed})"
    )
    rng = Random(seed)
    roles = _roles(rng, size, zero_share, cap_share)
    shares = _shares([_log_uniform(rng, spread) for _ in range(size)], 1.0)
    rows = [
        _planted_type(rng, role, share, spread) for role, share in zip(roles, shares, strict=True)
    ]
    arrival_rate, accuracy_weight, gains = _planted_gains(rows, utilization)
    instance = Instance(
        arrival_rate=arrival_rate,
        accuracy_weight=accuracy_weight,
        probabilities=shares,
        max_tokens=[row.cap for row in rows],
        service=AffineService(
            base=[row.base for row in rows], per_token=[row.per_token for row in rows]
        ),
        accuracy=SaturatingExponential(
            floor=[row.floor_share * (1.0 - gain) for row, gain in zip(rows, gains, strict=True)],
            gain=gains,
            rate=[row.rate for row in rows],
        ),
        name=f"planted-{size}-{seed}",
        description="Built around its optimum, which is off by the rounding of the gains.",
        sources=[source],
    )
    return PlantedInstance(instance, tuple(row.tokens for row in rows))


def _within(name: str, value: float, least: float, most: float) -> float:
    number = real_number(name, value)
    if not least <= number <= most:
        raise InvalidInputError(f"{name} = {number!r} must be between {least!r} and {most!r}")
    return number


def _planted_type(rng: Random, role: str, probability: float, spread: float) -> _PlantedType:
    rate = 1 / 256 / _log_uniform(rng, spread)
    # From almost linear to almost saturated accuracy.
    tokens = 0.125 * _log_uniform(rng, 64.0) / rate
    cap = tokens * (1.25 + 3.0 * rng.random())
    base = 0.125 * _log_uniform(rng, 16.0)
    per_token = 1 / 512 / _log_uniform(rng, spread)
    random, floor_share = rng.random(), 0.75 * rng.random()
    ratio = 1.0
    if role == "zero":
        tokens, ratio = 0.0, 0.125 + 0.75 * random
    elif role == "cap":
        cap, ratio = tokens, 1.125 + 2.0 * random
    return _PlantedType(probability, rate, tokens, cap, base, per_token, ratio, floor_share)


def _planted_gains(
    rows: Sequence[_PlantedType], utilization: float
) -> tuple[float, float, list[float]]:
    """Return arrival rate and accuracy weight, and the gains that give each token its ratio.

    The prices are those of the arrival rate as it is rounded.
    """
    # Nothing of the caller's context: its rounding and traps are whatever they are.
    with localcontext(Context(prec=_PRECISION, rounding=ROUND_HALF_EVEN, traps=[])):
        times = [Decimal(row.base) + Decimal(row.per_token) * Decimal(row.tokens) for row in rows]
        weighted = [Decimal(row.probability) * time for row, time in zip(rows, times, strict=True)]
        first = sum(weighted, Decimal(0))
        second = sum(map(mul, weighted, times), Decimal(0))
        arrival_rate = Decimal(float(Decimal(utilization) / first))
        pressure = arrival_rate / (1 - arrival_rate * first)
        fixed = 1 + pressure * pressure * second / 2
        worth = [
            Decimal(row.per_token)
            * (fixed + pressure * time)
            * (Decimal(row.rate) * Decimal(row.tokens)).exp()
            / Decimal(row.rate)
            * Decimal(row.ratio)
            for row, time in zip(rows, times, strict=True)
        ]
        # The largest gain is 3/4.
        accuracy_weight = Decimal(float(max(worth) / Decimal("0.75")))
        gains = [float(value / accuracy_weight) for value in worth]
    return float(arrival_rate), float(accuracy_weight), gains


def _roles(rng: Random, size: int, zero_share: float, cap_share: float) -> list[str]:
    """Return ``"zero"``, ``"cap"`` or ``"free"`` of each type."""
    zeros, caps = (int(share * size + 0.5) for share in (zero_share, cap_share))
    kinds = (["zero"] * zeros + ["cap"] * caps + ["free"] * size)[:size]
    return [kind for _, kind in sorted(zip([rng.random() for _ in kinds], kinds, strict=True))]


def _log_uniform(rng: Random, spread: float) -> float:
    """Draw a number from 1 to `spread`: uniform within an octave, and no octave more likely."""
    mantissa, exponent = math.frexp(spread)
    # Octaves, and the part of one that remains.
    place = rng.random() * (exponent - 1 + (2.0 * mantissa - 1.0))
    octave = int(place)
    return math.ldexp(1.0 + (place - octave), octave)


def _shares(weights: Sequence[float], total: float) -> list[float]:
    """Divide `total`, a multiple of 2^-53, into such multiples near `weights`, with no rest."""
    whole = [int(math.ldexp(weight, 20)) for weight in weights]
    units, parts = int(math.ldexp(total, 53)), sum(whole)
    shares = [units * weight // parts for weight in whole]
    # Less than one unit for each.
    shares[0] += units - sum(shares)
    return [math.ldexp(share, -53) for share in shares]


def _exact_instance(
    rows: Sequence[_ExactType], idle: Fraction, *, name: str, description: str, source: str
) -> ExactInstance:
    """Choose the arrival rate that leaves `idle`, and the gains that make the tokens optimal.

    The least power of two is the accuracy weight that makes all gains probabilities.
    """
    # Probabilities are multiples of 2^-53: no sum of them is rounded.
    weights = dict.fromkeys((row.time for row in rows), 0.0)
    for row in rows:
        weights[row.time] += row.probability
    moments = [(Fraction(weight), Fraction(time)) for time, weight in weights.items()]
    first = sum((weight * time for weight, time in moments), Fraction(0))
    second = sum((weight * time * time for weight, time in moments), Fraction(0))
    rate = (1 - idle) / first
    fixed = 1 + rate * rate * second / (2 * idle * idle)
    prices = {time: float(fixed + rate * Fraction(time) / idle) for time in weights}
    # From left to right, no product is rounded.
    worth = [
        (row.half_saturation + row.tokens)
        * (row.half_saturation + row.tokens)
        / row.half_saturation
        * prices[row.time]
        * row.per_token
        for row in rows
    ]
    accuracy_weight = math.ldexp(1.0, math.frexp(max(worth))[1])
    gains = [value / accuracy_weight for value in worth]
    # Multiples of 1/64, so that the objective is short.
    floors = [
        math.ldexp(int(64.0 * row.floor_share * (1.0 - gain)), -6)
        for row, gain in zip(rows, gains, strict=True)
    ]
    accuracy = 0
    for row, floor, gain in zip(rows, floors, gains, strict=True):
        reached = row.tokens / (row.tokens + row.half_saturation)
        accuracy += _units(row.probability) * (
            4 * _units(floor) + int(4.0 * reached) * _units(gain)
        )
    worth_of_all = Fraction(accuracy_weight) * Fraction(accuracy, 4 * _units(1.0) * _units(1.0))
    waiting = rate * second / (2 * idle)
    instance = Instance(
        arrival_rate=float(rate),
        accuracy_weight=accuracy_weight,
        probabilities=[row.probability for row in rows],
        max_tokens=_CAP,
        service=AffineService(
            base=[row.time - row.per_token * row.tokens for row in rows],
            per_token=[row.per_token for row in rows],
        ),
        accuracy=MichaelisMenten(
            floor=floors, gain=gains, half_saturation=[row.half_saturation for row in rows]
        ),
        name=name,
        description=description,
        sources=[source],
    )
    tokens = tuple(Fraction(int(row.tokens)) for row in rows)
    return ExactInstance(instance, tokens, worth_of_all - first - waiting)


def _units(value: float) -> int:
    """Return a multiple of 2^-64 in such units: integers add up faster than fractions.

    Probabilities are multiples of 2^-53. A gain has 53 bits and is above 2^-7, the largest being
    1/2 or more: c l is from a quarter of t to all of it, t and q are from 1 to 4 and to 1.7 times
    their least, and (s + l)²/(s l) is 4 or 16/3.
    """
    return int(math.ldexp(value, 64))
