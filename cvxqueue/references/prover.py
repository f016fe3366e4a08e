"""Records of optima: a search in plain decimals until the verifier accepts what it found.

Nothing here needs rigour. What is found is a record, which `cvxqueue.references.verify` accepts or
refuses.
"""

from __future__ import annotations

from contextlib import suppress
from decimal import Context, Decimal, DecimalException, localcontext
from operator import mul
from typing import Any

from cvxqueue.errors import InvalidInputError, UnprovenError
from cvxqueue.files.writing import to_dict
from cvxqueue.model import Instance, require_instance
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.checks import whole_number
from cvxqueue.references import verify as verifier
from cvxqueue.references.branching import START_SECONDS, missed, with_whole_tokens
from cvxqueue.references.interior import by_barriers
from cvxqueue.references.search import Search, UndeterminedError, plain_context
from cvxqueue.solution import Solution
from cvxqueue.solvers.solve import solve

# How to search, and the digits of the point for one digit of the tokens: the gap is quadratic in
# their error, and where scales differ widely it takes more.
_TRIES = ((Search.by_places, 3), (Search.by_places, 6), (by_barriers, 6))
_MORE_DIGITS = 10


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
        Where they are not determined the objective alone is proven; so it may be also where they
        are unique, on a straight piece.
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
    start = solve(instance, time_limit=START_SECONDS, on_failure="return")
    with localcontext(plain_context()):
        record = _proof_from(start, digits)
    return with_whole_tokens(instance, record) if integer else record


def _proof_from(start: Solution, digits: int) -> dict[str, Any]:
    """Return the record that a search finds from an answer."""
    data = to_dict(start.instance)
    most = max(_TRIES[-1][1] * digits + 2 * _MORE_DIGITS, verifier.FEWEST_DIGITS)
    verifier.set_digits(most)
    instance = verifier.Instance(data)
    fallback: dict[str, Any] = {}
    for find, precision in _TRIES:
        working = max(precision * digits + _MORE_DIGITS, verifier.FEWEST_DIGITS)
        search = Search(instance, start, digits, working)
        with suppress(UndeterminedError, DecimalException):
            find(search)
        for proves_tokens in (True,) if fallback else (True, False):
            try:
                record = _record(data, search, digits, proves_tokens=proves_tokens)
                verifier.verify(record)
            except (UndeterminedError, verifier.Refused) as error:
                reason = str(error)
            except DecimalException as error:
                reason = f"numbers out of range ({type(error).__name__})"
            else:
                if proves_tokens:
                    return record
                fallback = record
        verifier.set_digits(most)
        if not fallback and (obstacle := _obstacle(search)):
            reason = obstacle
            break
    else:
        if fallback:
            return fallback
        with suppress(verifier.Refused, DecimalException):
            least = [low for _, low in search.floors]
            point = verifier.Proof(instance, search.tokens, search.prices, least)
            sizes = (it.limit.low for it in instance.couplings)
            weight = sum(map(mul, search.prices, sizes), verifier.NOUGHT) or verifier.ONE
            if (excess := missed(point).low / weight) > 0:
                reason = (
                    "no allocation keeps all the constraints together exactly: weighed, they are "
                    f"exceeded by {_few_digits(excess)} of their limits everywhere"
                )
    raise UnprovenError(f"no proof of {digits} digits was found: {reason}")


def _record(
    data: dict[str, Any], search: Search, digits: int, *, proves_tokens: bool
) -> dict[str, Any]:
    """Return the record of the point that a search came to."""
    with localcontext() as context:
        context.prec = search.precision
        rests = zip(search.tokens, search.places, strict=True)
        record = {
            "format": verifier.RECORD_FORMAT,
            "version": verifier.RECORD_VERSION,
            "instance": data,
            "digits": digits,
            # Where they rest the tokens are exact, in however many digits.
            "tokens": [str(+it if place is None else it) for it, place in rests],
            "multipliers": [str(+it) for it in search.prices],
            "objective": str(search.objective()),
            "proves": {"tokens": proves_tokens},
        }
    floors = [None if low is None else str(low) for _, low in search.floors]
    record["least_tokens"] = floors if any(floors) else None
    return record | {"sha256": verifier.digest(record)}


def _obstacle(search: Search) -> str:
    """Return why there can be no proof, where rounding alone keeps the constraints."""
    instance = search.instance
    floors = zip(instance.types, instance.floors, strict=True)
    for k, (kind, floor) in enumerate(floors):
        most = kind.curve.value(verifier.of(kind.upper)).high
        if floor is not None and most < floor:
            return (
                f"no tokens of type {k} are proven to reach its accuracy floor exactly: it is "
                f"missed by {_few_digits((verifier.of(floor) - most).high)} at max_tokens"
            )
    least = [low for low, _ in search.floors]
    upper = [kind.upper for kind in instance.types]
    try:
        point = verifier.Moments(instance, least)
    except verifier.Refused as error:
        return f"{error}, not even at the least tokens"
    for k, limit in enumerate(instance.couplings):
        is_floor = isinstance(limit, verifier.MeanAccuracy)
        # Of a floor the tokens alone count, and not the queue.
        point.tokens = upper if is_floor else least
        excess = limit.excess(point)
        if excess.high > 0:
            at = f"at the {'most' if is_floor else 'least'} tokens"
            if excess.low > 0:
                at = f"it is exceeded by {_few_digits(excess.high)} {at}"
            else:
                at = f"to the digits nothing is left {at}, and the feasible set is a point there"
            return f"no allocation is proven to keep constraint {k} on all types exactly: {at}"
    return ""


def _few_digits(value: Decimal) -> Decimal:
    return Context(prec=2).create_decimal(value)
