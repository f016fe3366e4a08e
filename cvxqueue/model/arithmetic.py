"""How the package computes: the one place that tells numpy what to do about overflow and its kin.

What overflows becomes infinite, what underflows zero, and what has no value NaN. Formulas and
certificates reckon with all three, so that neither warnings nor the settings of the caller have a
part in any result.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import cached_property, wraps
from typing import Any, TypeVar

import numpy as np

__all__ = ["outside", "quiet"]

_Any = TypeVar("_Any", bound=Callable[..., Any])
# Entering numpy's context costs a microsecond: what is called from inside need not.
_is_quiet: ContextVar[bool] = ContextVar("is_quiet", default=False)
_SPECIAL = ("__init__", "__post_init__", "__str__", "__repr__")


def quiet(of: _Any) -> _Any:
    """Have a function, or every public method and property of a class, compute so."""
    if not isinstance(of, type):
        return _quiet_function(of)  # type: ignore[no-any-return]
    for name, member in list(vars(of).items()):
        if name.startswith("_") and name not in _SPECIAL:
            continue
        if isinstance(member, property) and member.fget is not None:
            setattr(of, name, property(_quiet_function(member.fget)))
        elif isinstance(member, cached_property):
            member.func = _quiet_function(member.func)
        elif callable(member) and not isinstance(member, type):
            setattr(of, name, _quiet_function(member))
    return of


def outside(function: _Any) -> _Any:
    """Have a function of the caller's, called from inside, enter anew what it calls itself."""

    @wraps(function)
    def inner(*arguments: Any, **options: Any) -> Any:
        token = _is_quiet.set(False)
        try:
            return function(*arguments, **options)
        finally:
            _is_quiet.reset(token)

    return inner  # type: ignore[return-value]


def _quiet_function(function: Any) -> Any:
    @wraps(function)
    def inner(*arguments: Any, **options: Any) -> Any:
        if _is_quiet.get():
            return function(*arguments, **options)
        token = _is_quiet.set(True)
        try:
            with np.errstate(all="ignore"):
                return function(*arguments, **options)
        finally:
            _is_quiet.reset(token)

    return inner
