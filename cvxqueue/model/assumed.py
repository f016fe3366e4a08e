"""What nobody has proven: the promises of classes that are not the package's.

Every proof rests on what the classes of an instance say of themselves: that a curve is concave, a
price the derivative, a bound a bound. The package's own are proven and tested. Of any other class,
one derived from ours included, a certificate says what it takes for granted.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from cvxqueue.model.accuracy import AccuracyCurve
from cvxqueue.model.constraints import Constraint
from cvxqueue.model.queue_formulas import Queue
from cvxqueue.model.service_law import ServiceLaw

_PROMISES: tuple[tuple[type, str, str], ...] = (
    (
        AccuracyCurve,
        "accuracy curve",
        "is nondecreasing and concave, and its slopes, differences, inverses and bounds are right",
    ),
    (
        ServiceLaw,
        "service law",
        "is increasing and convex in the tokens, and its moments, slopes and differences are right",
    ),
    (
        Queue,
        "queue",
        "has a mean system time that is convex in the service times, and its prices, differences "
        "and bounds are right",
    ),
    (Constraint, "constraint", "is convex, and its values, gradients and roundings are right"),
    (object, "class", "says what the class of the package says that it is derived from"),
)


def is_own(kind: type) -> bool:
    """Whether a class is one of the package's, by what the package itself calls so."""
    module = kind.__module__
    named = getattr(sys.modules.get(module), kind.__qualname__, None)
    return module.partition(".")[0] == "cvxqueue" and named is kind


def assumed(model: Any, domains: Any = ()) -> tuple[str, ...]:
    """Return a sentence for each class of an instance or model that is not the package's.

    Its domains count where the proof is about choices.
    """
    limits: Any = getattr(model, "constraints", None) or getattr(model, "couplings", ())
    things = [model, model.accuracy, model.service, model.queue, *limits, *domains]
    # What stands within another, as a queue within one with prices, is asked as well.
    of_model = AccuracyCurve, ServiceLaw, Queue
    seen: set[int] = set()
    for thing in things:
        if isinstance(thing, of_model) and id(thing) not in seen:
            seen.add(id(thing))
            parts = (part for part in vars(thing).values() if not isinstance(part, np.ndarray))
            things += [part for part in parts if isinstance(part, of_model)]
            if isinstance(thing, AccuracyCurve):
                things += [curve for _, curve in thing.groups]
    kinds = dict.fromkeys(type(thing) for thing in things)
    return tuple(_sentence(kind) for kind in kinds if not is_own(kind))


def _sentence(kind: type) -> str:
    what, promise = next((name, said) for base, name, said in _PROMISES if issubclass(kind, base))
    return f"{what} {kind.__module__}.{kind.__qualname__} {promise}"
