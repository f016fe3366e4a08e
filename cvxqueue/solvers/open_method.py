"""Somebody's own method: what a callable returns or yields, as proposals for the driver.

It comes from a stranger: what it hands over is checked, copied and graded like every proposal. It
runs in the context of the caller, whose settings of numpy hold there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import partial
from inspect import iscoroutine
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.certificates.certificate import allocation_array, multiplier_array
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import Instance
from cvxqueue.numerics.arithmetic import callers_context
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import float_array, require, require_that, whole_number
from cvxqueue.solvers.driver import Answer, Proposal

Returned = ArrayLike | Answer | None
OpenMethod = Callable[..., Returned | Iterator[Returned]]
"""Of an instance and of settings by name."""


class CheckedAnswer(NamedTuple):
    """An `Answer` of whose entries each is what it should be."""

    tokens: FloatArray
    multipliers: FloatArray | None
    iterations: int
    setup_time: float
    backend_status: str
    claims_optimal: bool | None


# Where others keep the numbers that they found: this package, CVXPY, SciPy.
_PLACES = ("tokens", "value", "x")


def own_name(method: object) -> str:
    """Return the name that a callable has, otherwise that of its function or of its class."""
    while isinstance(method, partial) and not hasattr(method, "__name__"):
        method = method.func
    name = getattr(method, "__name__", None)
    return name if isinstance(name, str) and name else type(method).__name__


def proposals(
    name: str, method: OpenMethod, instance: Instance, /, **settings: Any
) -> Generator[Proposal, None, None]:
    """Propose what a callable returns, or all that the iterator has that it returns."""
    # One context throughout: what a generator sets before an answer, it takes back after it.
    run = callers_context().run
    returned: Any = run(method, instance, **settings)
    if not isinstance(returned, Iterator):
        yield _proposal(name, instance, returned)
        return
    end = object()
    try:
        while (answer := run(next, returned, end)) is not end:
            yield _proposal(name, instance, answer)
    finally:
        if isinstance(returned, Generator):
            run(returned.close)


def _proposal(name: str, instance: Instance, given: Any) -> Proposal:
    answer = checked(name, instance, given)
    point = instance.model.evaluate(answer.tokens)
    return Proposal(point, *answer[2:5], multipliers=answer.multipliers)


def checked(name: str, instance: Instance, given: Any) -> CheckedAnswer:
    """Return what a method handed over, with copies of its arrays; its tokens may be NaN."""
    if iscoroutine(given):
        given.close()
    answer = given if isinstance(given, Answer) else Answer(given)
    try:
        tokens = allocation_array(answer.tokens, instance.size)
        if not np.isfinite(tokens).all():
            # The method failed, and so did whatever it knows beside.
            words = answer.backend_status or f"{name} returned {shown(answer.tokens)}"
            answer = answer._replace(multipliers=None, backend_status=words)
        seconds = float_array("setup_time", answer.setup_time, axes=0)
        require("setup_time", seconds, seconds >= 0.0, "must be ≥ 0 (seconds)")
        iterations = whole_number("iterations", answer.iterations, least=0)
        multipliers = multiplier_array(answer.multipliers, len(instance.model.couplings))
        claim: Any = answer.claims_optimal
        is_claim = isinstance(claim, bool | np.bool_ | None)
        require_that(is_claim, "claims_optimal", claim, "True, False or None")
    except InvalidInputError as error:
        place = next((each for each in _PLACES if hasattr(answer.tokens, each)), None)
        hint = f"; hand over its {place}" if place else ""
        raise InvalidInputError(
            f"method {shown(name)} must return or yield tokens or a cvxqueue.Answer: {error}{hint}"
        ) from None
    claim = None if claim is None else bool(claim)
    words = str(answer.backend_status)
    return CheckedAnswer(tokens, multipliers, iterations, float(seconds), words, claim)
