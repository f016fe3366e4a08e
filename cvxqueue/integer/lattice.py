"""The numbers that the types may choose from: lattices and tables within the box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InfeasibleError, InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.integer.value_tables import Tables
from cvxqueue.model import Instance
from cvxqueue.model.domains import Domains, Integers, LevelMenu, Menu, Multiples, ZeroOrAtLeast
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.numerics.checks import LARGEST_COUNT


def lattice_and_tables(
    instance: Instance, domains: Domains
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.bool_], Tables]:
    """Return low, high and step of the numbers of each type, where there is zero besides, tables.

    All within the box; a type with a table has a lattice of one number.
    """
    low, high = np.ceil(instance.lower), np.floor(instance.upper)
    step, has_zero = np.ones(instance.size), np.zeros(instance.size, dtype=bool)
    tables: dict[int, FloatArray] = {}
    for k, domain in enumerate(domains):
        if isinstance(domain, Integers):
            continue
        least, most = float(instance.lower[k]), float(instance.upper[k])
        if isinstance(domain, Multiples):
            step[k] = domain.step
            low[k] = step[k] * np.ceil(least / step[k])
            high[k] = step[k] * np.floor(most / step[k])
        elif isinstance(domain, Menu):
            tables[k] = domain.tokens[(domain.tokens >= least) & (domain.tokens <= most)]
            low[k], high[k] = (tables[k][0],) * 2 if tables[k].size else (1.0, 0.0)
        elif isinstance(domain, LevelMenu):
            tables[k] = np.arange(float(domain.size))
            low[k] = high[k] = 0.0
        elif isinstance(domain, ZeroOrAtLeast):
            low[k] = max(low[k], float(domain.minimum))
            has_zero[k] = least == 0.0
            if low[k] > high[k] and has_zero[k]:
                low[k] = high[k] = 0.0
                has_zero[k] = False
    is_empty, is_uncountable = low > high, high > LARGEST_COUNT
    if is_empty.any():
        _refuse(instance, domains, int(np.argmax(is_empty)))
    if is_uncountable.any():
        k = int(np.argmax(is_uncountable))
        raise InvalidInputError(
            f"max_tokens[{k}] = {float(instance.upper[k])!r} must be at most 2^53 for tokens "
            "to be counted one by one; lower it"
        )
    return low, high, step, has_zero, Tables(tables)


def _refuse(instance: Instance, domains: Domains, k: int) -> None:
    is_whole = isinstance(domains[k], Integers)
    what = "no whole number of tokens" if is_whole else f"no tokens of {domains[k]}"
    least, most = float(instance.lower[k]), float(instance.upper[k])
    if least > float(instance.min_tokens[k]):
        start, advice = f"{least!r}, which its least accuracy takes,", "lower that, or widen"
    else:
        start, advice = f"min_tokens[{k}] = {least!r}", "widen"
    raise InfeasibleError(
        f"{shown(instance.type_name(k))} can have {what}: there is none between {start} and "
        f"max_tokens[{k}] = {most!r}; {advice} the box"
    )
