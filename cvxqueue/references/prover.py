"""Points whose proofs are short: Newton's method in as many digits as a record is to have.

Nothing here needs rigour. What is found is a record, which `cvxqueue.references.verify` accepts or
refuses; it computes in intervals, and of those the middle is taken here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import (
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DecimalException,
    DivisionByZero,
    InvalidOperation,
    Overflow,
    localcontext,
)
from typing import Any

from cvxqueue.errors import InvalidInputError, UnprovenError
from cvxqueue.files.writing import to_dict
from cvxqueue.model import Instance, require_instance
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.checks import whole_number
from cvxqueue.references import verify as verifier
from cvxqueue.references.branching import with_whole_tokens
from cvxqueue.solution import Solution
from cvxqueue.solvers.solve import solve

# Digits of the point for one digit of the tokens: the gap is quadratic in their error, and a
# constraint takes as many again for what it is kept with to spare.
_DIGITS_FOR_ONE = 4
_MORE_DIGITS = 20
_ROUGH_DIGITS = 60
# A step of Newton doubles the digits that are right, from eight of a float64 answer; the others are
# for types that come to rest. Too few steps leave an optimum unproven, and prove nothing wrong.
_TRIES = 3
_MOST_NEWTON_STEPS = 60
_MOST_CHANGES = 40


@quiet
def prove(instance: Instance, *, digits: int = 30, integer: bool = False) -> dict[str, Any]:
    """Return a record of the optimum that `verify` accepts, and so does a bare Python.

    Parameters
    ----------
    instance : Instance
        Feasible, and of the package's classes.
    digits : int, default 30
        From 1 to 200. The optimal objective is proven to within 10^−digits of its scale, benefit
        plus mean system time, and the tokens of each type to within 10^−digits of max(1, tokens).
        Where they are not determined the objective alone is proven.
    integer : bool, default False
        Whether to prove the best whole tokens besides, within the domains of the instance: no
        others that are allowed have an objective that is better by more than 10^−digits of the
        scale. Else the record is about real tokens, and domains are no part of what it claims.

    Returns
    -------
    dict
        Plain values, ready for JSON: the ``instance``, a point (``tokens`` and ``multipliers``, as
        decimal numbers), the ``objective``, what is proven, perhaps the part about whole tokens
        (``integer``), and the ``sha256`` of all that.

    Raises
    ------
    UnprovenError
        If no record was found; the message has the reason.
    InfeasibleError
        If no allocation is stable and satisfies the constraints.
    InvalidInputError
        If the digits are out of range, or a class has no kind in files; for whole tokens, if a type
        has levels of effort, or more than 2^53 tokens.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> record = cq.prove(cq.load("examples/instances/one-type.toml"))
    >>> cq.verify(record).digits
    30
    """
    require_instance(instance)
    digits = whole_number("digits", digits, least=1)
    if digits > verifier.MOST_PROVEN_DIGITS:
        raise InvalidInputError(f"digits = {digits} must be at most {verifier.MOST_PROVEN_DIGITS}")
    record = proof_from(solve(instance, on_failure="return"), digits)
    return with_whole_tokens(instance, record) if integer else record


def proof_from(start: Solution, digits: int) -> dict[str, Any]:
    """Return the record that begins with an answer; see `prove`."""
    # The caller's context may round, or trap what is exact.
    traps = [InvalidOperation, DivisionByZero, Overflow]
    with localcontext(Context(rounding=ROUND_HALF_EVEN, traps=traps)):
        return _proof_from(start, digits)


def _proof_from(start: Solution, digits: int) -> dict[str, Any]:
    data = to_dict(start.instance)
    for attempt in range(1, _TRIES + 1):
        search = _Search(data, start, digits, attempt * (_DIGITS_FOR_ONE * digits + _MORE_DIGITS))
        with suppress(_UndeterminedError, verifier.Refused, DecimalException):
            search.run()
        for proves_tokens in (True, False):
            try:
                record = search.record(proves_tokens=proves_tokens)
                verifier.verify(record)
            except verifier.Refused as error:
                reason = str(error)
            else:
                if proves_tokens or attempt == _TRIES:
                    return record
        if obstacle := search.obstacle():
            reason = obstacle
            break
    raise UnprovenError(f"no proof of {digits} digits was found: {reason}")


class _Search:
    """The conditions of optimality, with types that rest at bounds and kinks, by Newton's method.

    The free types decouple at given prices of service (a1, a2) and of the constraints; what they do
    to the moments and the constraints is a small system, and all else is a diagonal.
    """

    def __init__(self, data: dict[str, Any], start: Solution, digits: int, precision: int) -> None:
        self.data, self.digits, self.precision = data, digits, precision
        verifier.set_digits(precision + 10)
        self.instance = verifier.Instance(data)
        self.tokens = [Decimal(count) for count in start.tokens.tolist()]
        given = start.certificate.multipliers
        self.prices = [Decimal(price) for price in ([] if given is None else given.tolist())]
        self.active = [k for k, price in enumerate(self.prices) if price > 0]
        with localcontext() as context:
            context.prec = precision
            # What active constraints are kept with to spare.
            self.spare = Decimal(10) ** -(3 * digits + 10)
            self.floors = [self._floor(k) for k in range(len(self.tokens))]
            self.places = [self._place(k) for k in range(len(self.tokens))]
            self.decays = [
                it.decay(self.instance) if isinstance(it, verifier.Tail) else None
                for it in self.instance.couplings
            ]
            self._settle()

    def _floor(self, k: int) -> tuple[Decimal, Decimal | None]:
        """Least tokens that reach the accuracy floor of a type, and as many that do not."""
        kind, floor = self.instance.types[k], self.instance.floors[k]
        low = kind.lower
        if floor is None or kind.curve.value(verifier.of(low)).low >= floor:
            return low, None
        # Tangents of a concave curve lie above it: their steps come near from below and stay there.
        unit = Decimal(10) ** (5 - self.precision)
        for _ in range(_MOST_NEWTON_STEPS):
            missing = _middle(floor - kind.curve.value(verifier.of(low)))
            slope = _middle(kind.curve.slopes(verifier.of(low))[1])
            if slope <= 0 or missing <= 0:
                break
            step = missing / slope
            low = min(low + step, kind.upper)
            if step <= unit * low:
                break
        while kind.curve.value(verifier.of(low)).high > floor:
            low -= low * unit
        high, step = low, unit * max(verifier.ONE, low)
        while kind.curve.value(verifier.of(high)).low < floor and high < kind.upper:
            high, step = min(high + step, kind.upper), 2 * step
        return high, low

    def _place(self, k: int) -> Decimal | None:
        """Where a type rests at the start, at a bound or a kink; ``None`` where it is free."""
        kind, count, low = self.instance.types[k], self.tokens[k], self.floors[k][0]
        if count <= low or kind.lower == kind.upper or _near(count, low):
            return low
        if count >= kind.upper:
            return kind.upper
        corners = [_exact(x) for x, _ in getattr(kind.curve, "corners", ())]
        return next((x for x in corners if _near(count, x)), None)

    def run(self) -> None:
        """Go to where the conditions hold in all digits, as nearly as that can be had."""
        full = self.precision
        if "constraint" not in self.data:
            # First in few digits, where exponentials take a tenth of the time; what constraints are
            # kept with to spare would be lost there.
            with suppress(_UndeterminedError, verifier.Refused), self._working_in(_ROUGH_DIGITS):
                self._newton()
        with self._working_in(full):
            for _ in range(_MOST_CHANGES):
                self._newton()
                if not self._change_places():
                    return

    @contextmanager
    def _working_in(self, precision: int) -> Iterator[None]:
        self.precision = precision
        verifier.set_digits(precision + 10)
        # A step of differences, and what makes a straight piece bend.
        self.step = Decimal(10) ** -(precision // 3)
        self.ridge = Decimal(10) ** -(precision // 4)
        with localcontext() as context:
            context.prec = precision
            yield

    def _ends(self, k: int) -> tuple[Decimal, Decimal]:
        """The ends of the box of a type, or of the piece of its curve that it is in or between."""
        low, high, count = self.floors[k][0], self.instance.types[k].upper, self.tokens[k]
        for corner in (_exact(x) for x, _ in getattr(self.instance.types[k].curve, "corners", ())):
            if low < corner < count:
                low = corner
            elif count < corner < high:
                high = corner
        return low, high

    def _settle(self) -> None:
        for k, place in enumerate(self.places):
            kind = self.instance.types[k]
            if place is not None:
                self.tokens[k] = place
            self.tokens[k] = +min(max(self.tokens[k], self.floors[k][0]), kind.upper)

    def _proof(self) -> verifier.Proof:
        """All that the verifier computes at the point."""
        return verifier.Proof(
            self.instance, self.tokens, self.prices, [low for _, low in self.floors]
        )

    def _newton(self) -> None:
        """Solve the conditions at today's places, as far as rounding lets it."""
        for _ in range(_MOST_NEWTON_STEPS):
            proof = self._proof()
            steps, price_steps = self._step(proof)
            for k, step in steps.items():
                low, high = self._ends(k)
                moved = self.tokens[k] + step
                if low < moved < high:
                    self.tokens[k] = moved
                    continue
                # It rests at an end that it would still leave outwards, and goes half of the way to
                # one that it would not.
                end, side = (low, 1) if moved <= low else (high, 0)
                is_outward = (self._gain(proof, k, end, side) > 0) == (end == high)
                self.tokens[k] = end if is_outward else (self.tokens[k] + end) / 2
                self.places[k] = end if is_outward else None
            for k, step in price_steps.items():
                self.prices[k] = max(self.prices[k] + step, self.prices[k] / 2)
            sizes = (abs(step) / max(verifier.ONE, self.tokens[k]) for k, step in steps.items())
            if max(sizes, default=Decimal(0)) <= Decimal(10) ** -(self.precision - 15):
                return

    def _gain(self, proof: verifier.Proof, k: int, tokens: Decimal, side: int = 1) -> Decimal:
        """Marginal gain of a type on one side of some tokens, at the prices of the point."""
        kind, count = self.instance.types[k], verifier.of(tokens)
        time, _, slope, bend = kind.service.moments(count)
        first, second = self._of_service(proof)
        gain = proof.worth[k] * kind.curve.slopes(count)[side] - first * slope - second * bend
        limits = zip(self.prices, self.instance.couplings, self.decays, strict=True)
        for price, limit, decay in limits:
            if price and isinstance(limit, verifier.TokenRate):
                gain = gain - price
            elif price and decay is not None:
                gain = gain - (decay * time).exp() * self.instance.rate * slope * price
        return _middle(gain * proof.point.mix[k])

    def _of_service(self, proof: verifier.Proof) -> tuple[Any, Any]:
        """Prices of a second and of a squared second in the Lagrangian."""
        first, second = proof.point.prices
        time, waiting = self._time_prices()
        return first * (1 + time + waiting) - waiting, second * (1 + time + waiting)

    def _time_prices(self) -> tuple[Decimal, Decimal]:
        pairs = list(zip(self.prices, self.instance.couplings, strict=True))
        time = sum(price for price, it in pairs if isinstance(it, verifier.SystemTime))
        waiting = sum(price for price, it in pairs if isinstance(it, verifier.WaitingTime))
        return Decimal(time), Decimal(waiting)

    def _price_slopes(self, point: verifier.Moments) -> tuple[Decimal, Decimal]:
        """∂P1/∂m1, and ∂P1/∂m2 = ∂P2/∂m1."""
        queue, rate, idle = self.instance.queue, self.instance.rate, point.idle
        congested = (queue.by_mean + queue.by_load * rate * point.mean) * point.mean
        congested = congested + queue.by_second * rate * point.second / 2
        slope = queue.by_mean + queue.by_load * rate * point.mean * 2
        bend = queue.by_load * rate * 2 / idle + slope * rate * 2 / idle.square()
        bend = bend + congested * rate.square() * 2 / (idle.square() * idle)
        return _middle(bend), _middle(queue.by_second * rate.square() / (idle.square() * 2))

    def _step(self, proof: verifier.Proof) -> tuple[dict[int, Decimal], dict[int, Decimal]]:
        """Newton's step in the free tokens and in the prices of active constraints.

        At given m1, m2 and prices the types decouple; what they do to these is a small system.
        """
        point, active = proof.point, self.active
        by_mean, by_second = self._price_slopes(point)
        factor = 1 + sum(self._time_prices())
        size = 2 + len(active)
        matrix = [
            [Decimal(row == column and row < 2) for column in range(size)] for row in range(size)
        ]
        right = [Decimal(0)] * size
        for row, j in enumerate(active, 2):
            right[row] = -_middle(proof.excesses[j]) - self.spare
        gains: dict[int, Decimal] = {}
        bends: dict[int, Decimal] = {}
        columns: dict[int, list[Decimal]] = {}
        for k, place in enumerate(self.places):
            if place is not None:
                continue
            gains[k] = self._gain(proof, k, self.tokens[k])
            ahead = self._gain(proof, k, self.tokens[k] + self.step)
            mix, (_, _, slope, bend) = point.mix[k], point.types[k]
            first, second = _middle(mix * slope), _middle(mix * bend)
            # On a straight piece a type has no bend of its own: a little makes the step one.
            least = self.ridge * first / max(verifier.ONE, self.tokens[k])
            bends[k] = min((ahead - gains[k]) / self.step, -least)
            rows = [_middle(self._row(proof, j, k)) for j in active]
            columns[k] = [
                -factor * (by_mean * first + by_second * second),
                -factor * by_second * first,
            ]
            columns[k] += [-row for row in rows]
            for row, weight in enumerate([first, second, *rows]):
                share = weight / bends[k] if row < 2 else -weight / bends[k]
                right[row] -= share * gains[k]
                for column in range(size):
                    matrix[row][column] += share * columns[k][column]
        found = _solved(matrix, right)
        steps = {
            k: -(gains[k] + sum(a * z for a, z in zip(columns[k], found, strict=True))) / bends[k]
            for k in gains
        }
        return steps, dict(zip(active, found[2:], strict=True))

    def _row(self, proof: verifier.Proof, j: int, k: int) -> Any:
        """∂c_j/∂l_k."""
        if isinstance(self.instance.couplings[j], verifier.MeanAccuracy):
            slope = self.instance.types[k].curve.slopes(verifier.of(self.tokens[k]))[1]
            return -(proof.point.mix[k] * slope)
        return proof.slopes[j][k]

    def _change_places(self) -> bool:
        """Free what would rather move, let rest what came to an end; whether any did."""
        proof, changed = self._proof(), False
        for k, place in enumerate(self.places):
            left, right = (_middle(it) for it in proof.gradient(k))
            low, high = self._ends(k)
            near = Decimal(10) ** -(self.precision // 2) * max(verifier.ONE, self.tokens[k])
            if place is None:
                end = next((it for it in (low, high) if abs(self.tokens[k] - it) <= near), None)
                if end is not None:
                    self.places[k] = self.tokens[k] = end
                    changed = True
            elif low < high and ((right > near and place < high) or (left < -near and place > low)):
                self.places[k] = None
                self.tokens[k] += ((high if right > near else low) - place) / 2**20
                changed = True
        for j, limit in enumerate(proof.excesses):
            if j in self.active and self.prices[j] <= self.spare:
                self.active.remove(j)
                self.prices[j] = Decimal(0)
                changed = True
            elif j not in self.active and _middle(limit) > 0:
                self.active.append(j)
                changed = True
        return changed

    def record(self, *, proves_tokens: bool) -> dict[str, Any]:
        """Return the record of the point."""
        with localcontext() as context:
            context.prec = self.precision
            return self._record(proves_tokens=proves_tokens)

    def _record(self, *, proves_tokens: bool) -> dict[str, Any]:
        proof = self._proof()
        optimum = (proof.objective.low + proof.upper.high) / 2
        floors = [None if low is None else str(low) for _, low in self.floors]
        record = {
            "format": verifier.RECORD_FORMAT,
            "version": verifier.RECORD_VERSION,
            "instance": self.data,
            "digits": self.digits,
            "tokens": [str(+it) for it in self.tokens],
            "multipliers": [str(+it) for it in self.prices],
            "least_tokens": floors if any(floors) else None,
            "objective": str(+optimum),
            "proves": {"tokens": proves_tokens},
        }
        return record | {"sha256": verifier.digest(record)}

    def obstacle(self) -> str:
        """Return why there can be no proof, where rounding alone keeps the constraints."""
        instance = self.instance
        floors = zip(instance.types, instance.floors, strict=True)
        for k, (kind, floor) in enumerate(floors):
            most = kind.curve.value(verifier.of(kind.upper)).high
            if floor is not None and most < floor:
                return (
                    f"no tokens of type {k} are proven to reach its accuracy floor exactly: it is "
                    f"missed by {_few_digits(verifier.of(floor) - most)} at max_tokens"
                )
        least = [low for low, _ in self.floors]
        upper = [kind.upper for kind in instance.types]
        try:
            point = verifier.Moments(instance, least)
        except verifier.Refused as error:
            return f"{error}, not even at the least tokens"
        for k, limit in enumerate(instance.couplings):
            is_floor = isinstance(limit, verifier.MeanAccuracy)
            excess = limit.excess(instance, upper if is_floor else least, point)
            if excess.high > 0:
                return (
                    f"no allocation is proven to keep constraint {k} on all types exactly: it is "
                    f"exceeded by {_few_digits(excess)} at the "
                    f"{'most' if is_floor else 'least'} tokens"
                )
        return ""


class _UndeterminedError(Exception):
    """The tokens of a type are not determined, or not by these places."""


def _middle(interval: verifier.Interval) -> Decimal:
    return (interval.low + interval.high) / 2


def _few_digits(interval: verifier.Interval) -> Decimal:
    return Context(prec=2).create_decimal(interval.high)


def _near(count: Decimal, other: Decimal) -> bool:
    return abs(count - other) <= Decimal("1e-9") * abs(other)


def _exact(fraction: Any) -> Decimal:
    return Decimal(fraction.numerator) / Decimal(fraction.denominator)


def _solved(matrix: list[list[Decimal]], right: list[Decimal]) -> list[Decimal]:
    """The solution of a small system, by elimination with the largest pivot of each column."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for place in range(len(rows)):
        pivot = max(range(place, len(rows)), key=lambda row: abs(rows[row][place]))
        rows[place], rows[pivot] = rows[pivot], rows[place]
        if rows[place][place] == 0:
            raise _UndeterminedError
        for row in range(len(rows)):
            if row != place:
                share = rows[row][place] / rows[place][place]
                rows[row] = [a - share * b for a, b in zip(rows[row], rows[place], strict=True)]
    return [row[-1] / row[place] for place, row in enumerate(rows)]
