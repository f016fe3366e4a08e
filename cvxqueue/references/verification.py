"""Records of proven optima, verified by the one file that needs nothing of the package."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cvxqueue.answers import require_same
from cvxqueue.errors import InvalidInputError, RefusedError, naming
from cvxqueue.files.reading import from_dict
from cvxqueue.files.storage import as_path, read_bytes
from cvxqueue.formatting import shown
from cvxqueue.model import Instance, require_instance
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.references import verify as verifier


@dataclass(frozen=True)
class Verified:
    """What a record was found to prove.

    Attributes
    ----------
    digits : int
        The optimal objective is proven to within 10^−digits of its scale, and the tokens of each
        type, if `proves_tokens`, to within 10^−digits of max(1, tokens).
    objective : tuple of two Decimal
        The optimal objective lies between them; in seconds.
    tokens : tuple of pairs of Decimal
        For each type what its optimal tokens lie between. Where they are not proven both are those
        of the point of the record, which is feasible and has an objective that is optimal to the
        digits.
    proves_tokens : bool
        Whether the tokens are proven.
    integer_tokens : tuple of int, or None
        The best whole tokens, within the domains of the instance: none that are allowed have an
        objective that is better by more than 10^−digits of the scale. ``None`` where the record is
        about real tokens alone.
    integer_objective : tuple of two Decimal, or None
        The optimal objective in whole tokens lies between them; in seconds.
    report : tuple of str
        The lines that ``verify.py`` prints.
    """

    digits: int
    objective: tuple[Decimal, Decimal]
    tokens: tuple[tuple[Decimal, Decimal], ...]
    proves_tokens: bool
    integer_tokens: tuple[int, ...] | None
    integer_objective: tuple[Decimal, Decimal] | None
    report: tuple[str, ...]


@quiet
def verify(
    record: Mapping[str, Any] | str | os.PathLike[str], *, instance: Instance | None = None
) -> Verified:
    """Prove again what a record claims, in interval arithmetic.

    Parameters
    ----------
    record : dict or path
        What `prove` returns, or a JSON file of it.
    instance : Instance, optional
        The instance that it is expected to be about.

    Returns
    -------
    Verified

    Raises
    ------
    RefusedError
        If the record does not prove what it claims, was changed, or is about another instance.
    InvalidInputError
        If there is no such file, it cannot be read, or holds no record.
    """
    if instance is not None:
        require_instance(instance)
    name, plain, found = read_proof(record)
    if instance is not None:
        try:
            with naming(name):
                require_same(instance, from_dict(plain["instance"]))
        except InvalidInputError as error:
            raise RefusedError(str(error)) from error
    whole = found.whole
    ranges = found.tokens or [verifier.of(count) for count in found.proof.tokens]
    return Verified(
        digits=found.digits,
        objective=(found.objective.low, found.objective.high),
        tokens=tuple((it.low, it.high) for it in ranges),
        proves_tokens=found.tokens is not None,
        integer_tokens=whole and tuple(whole.tokens),
        integer_objective=whole and (whole.objective.low, whole.objective.high),
        report=tuple(verifier.report(found)),
    )


def read_proof(
    record: Mapping[str, Any] | str | os.PathLike[str],
) -> tuple[str, dict[str, Any], verifier.Proven]:
    """Return what a record is called, what it has in it, and what it proves."""
    if isinstance(record, Mapping):
        name = "record"
        try:
            content = json.dumps(dict(record)).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInputError(f"record has not the values that JSON has: {error}") from error
    elif isinstance(record, str | os.PathLike):
        name = str(record)
        content = read_bytes(as_path(record), verifier.MOST_RECORD_BYTES)
    else:
        raise InvalidInputError(f"record must be a dict or a path, got {shown(record)}")
    try:
        plain = verifier.parse(content)
        return name, plain, verifier.verify(plain)
    except verifier.Unreadable as error:
        raise InvalidInputError(f"{name}: {error}") from error
    except verifier.Refused as error:
        raise RefusedError(f"{name}: {error}") from error
