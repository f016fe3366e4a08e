"""How the package computes: the one place that tells numpy what to do about overflow and its kin.

What overflows becomes infinite, what underflows zero, and what has no value NaN. Formulas and
certificates reckon with all three, so that neither warnings nor the settings of the caller have a
part in any result.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from functools import cached_property, wraps
from types import FunctionType
from typing import Any, TypeVar

import numpy as np

_Any = TypeVar("_Any", bound=Callable[..., Any])
# The caller's context, numpy's settings among it. Entering another costs a microsecond: what is
# called from inside need not.
_caller: ContextVar[Context | None] = ContextVar("caller", default=None)
caller = _caller.get
"""The caller's context inside the package, and ``None`` outside of it."""
_SPECIAL = ("__init__", "__post_init__", "__str__", "__repr__")


def quiet(of: _Any) -> _Any:
    """Have a function, or every public method and property of a class, compute so."""
    if not isinstance(of, type):
        return _quiet_function(of)  # type: ignore[no-any-return]
    for name, member in list(vars(of).items()):
        if name.startswith("_") and name not in _SPECIAL:
            continue
        if isinstance(member, property) and member.fget is not None:
            setattr(of, name, member.getter(_quiet_function(member.fget)))
        elif isinstance(member, cached_property):
            member.func = _quiet_function(member.func)
        elif isinstance(member, FunctionType):
            setattr(of, name, _quiet_function(member))
    return of


class Quiet:
    """Base of classes that compute so, whoever derives them."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        quiet(cls)


def callers_context() -> Context:
    """Return a copy of the caller's context, whose settings hold there; what is set stays there."""
    return (caller() or copy_context()).copy()


def outside(function: _Any) -> _Any:
    """Have a function of the caller's, called from inside, run in the context of the caller."""

    @wraps(function)
    def outer(*arguments: Any, **options: Any) -> Any:
        return callers_context().run(function, *arguments, **options)

    return outer  # type: ignore[return-value]


def _quiet_function(function: Any) -> Any:
    @wraps(function)
    def inner(*arguments: Any, **options: Any) -> Any:
        if caller() is not None:
            return function(*arguments, **options)
        token = _caller.set(copy_context())
        try:
            with np.errstate(all="ignore"):
                return function(*arguments, **options)
        finally:
            _caller.reset(token)

    return inner
