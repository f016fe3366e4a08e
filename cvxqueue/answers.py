"""Instances and answers that people keep: written whole, and certified anew when they are read."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from cvxqueue.certificates import Certificate
from cvxqueue.errors import InvalidInputError, naming
from cvxqueue.files import reading, writing
from cvxqueue.files.kinds import (
    ANSWER_FORMATS,
    CERTIFICATE_FORMAT,
    FORMAT,
    INTEGER_FORMAT,
    SOLUTION_FORMAT,
    VERSION,
)
from cvxqueue.files.provenance import digest, type_names
from cvxqueue.files.storage import as_path, format_of, read_file, write_values
from cvxqueue.formatting import shown
from cvxqueue.integer.solution import IntegerSolution
from cvxqueue.model import Instance, require_instance
from cvxqueue.model.domains import Domains
from cvxqueue.numerics.array_data import is_equal
from cvxqueue.solution import Ended, Solution
from cvxqueue.suggest import nearest

if TYPE_CHECKING:
    from cvxqueue.files.schema import AnswerDocument, IntegerDocument

_READABLE = (FORMAT, *ANSWER_FORMATS)
# Constraints move the tokens, elsewhere to another rounding; of a real difference people see more.
_TOKENS_APART = 1e-6
_Kind = TypeVar("_Kind", Solution, IntegerSolution)
_Answer = Solution | Certificate | IntegerSolution
_FORMAT_OF: dict[type[Any], str] = {
    Solution: SOLUTION_FORMAT,
    Certificate: CERTIFICATE_FORMAT,
    IntegerSolution: INTEGER_FORMAT,
}


def to_dict(x: Instance | _Answer) -> dict[str, Any]:
    """Return an instance or an answer as plain values, as its file has them.

    Parameters
    ----------
    x : Instance, Solution, Certificate or IntegerSolution

    Returns
    -------
    dict
        Of an instance with ``task`` tables for up to 50 types and arrays for more, or where several
        curves in a mixture are of one class. Of an answer what its own ``to_dict`` has, its
        ``instance``, what it was certified from (``allocation`` and ``multipliers``, and of a
        solution the ``history``; within domains these, the ``choice`` and the ``continuous``
        answer), where a number that is not finite is a string, and the ``sha256`` of all that.
        `from_dict` gives back an equal object.

    Raises
    ------
    InvalidInputError
        If the service law, the accuracy curve or the queue has no kind in instance files.
    """
    if isinstance(x, Instance):
        return writing.to_dict(x)
    if not isinstance(x, _Answer):
        raise InvalidInputError(
            "only an Instance, a Solution, a Certificate or an IntegerSolution has a file, got "
            f"{shown(x)}"
        )
    data = {
        "format": next(form for kind, form in _FORMAT_OF.items() if isinstance(x, kind)),
        "version": VERSION,
        "instance": writing.to_dict(x.instance),
        **x.to_dict(),
        **_made_of(x),
    }
    return data | {"sha256": digest(data)}


def _made_of(answer: _Answer) -> dict[str, Any]:
    """What is read again of an answer, besides its instance and what its `to_dict` has."""
    if isinstance(answer, IntegerSolution):
        relaxed, gap = answer.continuous, answer.neighbors_gap
        return {
            **writing.domain_tables(answer.domains),
            "choice": answer.choice.tolist(),
            "continuous": None if relaxed is None else relaxed.to_dict() | _made_of(relaxed),
            "neighbors_gap": None if gap is None else _exact(gap),
        }
    certificate = answer.certificate if isinstance(answer, Solution) else answer
    multipliers = certificate.multipliers
    data = {
        "allocation": [_exact(entry) for entry in certificate.allocation.tolist()],
        "multipliers": None if multipliers is None else multipliers.tolist(),
    }
    if isinstance(answer, Solution):
        data["history"] = [[_exact(entry) for entry in row[:5]] for row in answer.history]
    return data


def _exact(number: float) -> float | str:
    """JSON has no infinities and no NaN; those of what is read again are strings."""
    return number if math.isfinite(number) else repr(number)


def from_dict(data: Mapping[str, Any], *, instance: Instance | None = None) -> Any:
    """Return the instance or the answer that plain values describe.

    Parameters
    ----------
    data : dict
        What a file holds: strings, numbers, lists and dictionaries.
    instance : Instance, optional
        The instance that they are expected to be of.

    Returns
    -------
    Instance, Solution, Certificate or IntegerSolution
        An answer is certified anew: nothing that it claims is taken from the data, and
        `Solution.is_optimal` follows from what is proven now. The bound of an `IntegerSolution` is
        searched again when it is first asked for, for at most a minute, so that one that took
        longer may come back with less proven. Options, history, times, iterations, what a back end
        said and `IntegerSolution.neighbors_gap` are as they were recorded.

    Raises
    ------
    InvalidInputError
        If a key is unknown or missing, or a value is not allowed; tasks count from 0. Of an answer
        also if anything in it was changed, if it is not of `instance`, or if what is certified here
        contradicts the names, tokens, objective or upper bound that were saved. What else was saved
        is for readers, and not looked at.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> cq.from_dict({
    ...     "format": "cvxqueue-instance", "version": 1, "arrival_rate": 0.2,
    ...     "accuracy_weight": 60, "max_tokens": 4096, "probabilities": [0.3, 0.7],
    ...     "service": {"kind": "affine", "base": 0.5, "per_token": [0.002, 0.001]},
    ...     "accuracy": {"kind": "saturating-exponential", "floor": 0, "gain": 1, "rate": 0.01}})
    Instance(2 types, arrival_rate=0.2, accuracy_weight=60)
    """
    if instance is not None:
        require_instance(instance)
    form: object = FORMAT
    if isinstance(data, Mapping):
        form = data.get("format", FORMAT)
    if not (isinstance(form, str) and form in _READABLE):
        raise InvalidInputError(f"format = {shown(form)} is unknown: {nearest(form, _READABLE)}")
    if form == FORMAT:
        return require_same(instance, reading.from_dict(data))
    reading.require_header(data, form)
    _require_unchanged(data)
    return _answer(data, form, instance)


def _require_unchanged(data: Mapping[str, Any]) -> None:
    found = digest({key: value for key, value in data.items() if key != "sha256"})
    if data.get("sha256") != found:
        raise InvalidInputError(
            f"was changed after it was saved, or is not whole: sha256 = "
            f"{shown(data.get('sha256'))}, and that of the rest is {found!r}; take another copy, "
            "or solve again"
        )


def _answer(data: Mapping[str, Any], form: str, instance: Instance | None) -> _Answer:
    saved: Any = _document(data, form)
    with naming("instance"):
        own = reading.from_dict(saved.instance)
    own = require_same(instance, own)
    if form == INTEGER_FORMAT:
        return _within_domains(saved, own)
    certificate = Certificate(own, saved.allocation, saved.multipliers, saved.feasibility_tolerance)
    _require_agreeing(saved, certificate, certificate.objective, certificate.upper_bound)
    if form == CERTIFICATE_FORMAT:
        return certificate
    return _made(Solution, saved, certificate=certificate)


def _document(data: Mapping[str, Any], form: str) -> AnswerDocument:
    from pydantic import ValidationError

    from cvxqueue.files.messages import document_error
    from cvxqueue.files.schema import CertificateDocument, IntegerDocument, SolutionDocument

    documents: dict[str, type[AnswerDocument]] = {
        SOLUTION_FORMAT: SolutionDocument,
        CERTIFICATE_FORMAT: CertificateDocument,
        INTEGER_FORMAT: IntegerDocument,
    }
    document = documents[form]
    try:
        return document.model_validate(dict(data))
    except ValidationError as error:
        raise document_error(error, document) from error


def _within_domains(saved: IntegerDocument, instance: Instance) -> IntegerSolution:
    continuous = None
    if saved.continuous is not None:
        with naming("continuous"):
            data = saved.continuous | {"instance": saved.instance}
            continuous = _answer(data, SOLUTION_FORMAT, instance)
    tables = saved.model_dump(include={"domain", "domains"}, warnings=False)
    domains = Domains.of(reading.domains(tables["domain"], tables["domains"]), instance.size)
    answer = _made(
        IntegerSolution, saved, instance=instance, domains=domains, continuous=continuous
    )
    # The search for a sharper bound is for those who ask for it.
    most = (
        math.inf if continuous is None else answer.objective + answer.loss_bound + answer.allowance
    )
    _require_agreeing(saved, answer, answer.objective, most)
    return answer


def _made(kind: type[_Kind], saved: Any, **parts: Any) -> _Kind:
    """Return an answer of parts that are made again, and otherwise of what was recorded."""
    reasons = {reason.value: reason for reason in Ended}
    if saved.ended not in reasons:
        raise InvalidInputError(
            f"ended = {shown(saved.ended)} is unknown: {nearest(saved.ended, reasons)}"
        )
    names = {field.name for field in fields(kind)} - set(parts) - {"ended"}
    return kind(**saved.model_dump(include=names), **parts, ended=reasons[saved.ended])


def require_same(expected: Instance | None, found: Instance) -> Instance:
    """Return the instance that is expected, if it is the one that was found, or say what differs.

    Raises
    ------
    InvalidInputError
        If they differ; the message has the first field that does.
    """
    if expected is None or found == expected:
        return found if expected is None else expected
    pairs = ((it.name, getattr(found, it.name), getattr(expected, it.name)) for it in fields(found))
    name, there, here = next(
        (pair for pair in pairs if not is_equal(*pair[1:])), ("class", type(found), type(expected))
    )
    raise InvalidInputError(
        f"is of another instance: its {name} is {shown(there)}, and that of the instance given is "
        f"{shown(here)}"
    )


def _require_agreeing(
    saved: AnswerDocument,
    made_again: Certificate | IntegerSolution,
    objective: float,
    upper_bound: float,
) -> None:
    """Refuse an answer whose saved words or proof contradict what is made now."""
    tokens = np.array(saved.tokens, dtype=np.float64)
    found = made_again.tokens
    same = tokens.shape == found.shape and np.allclose(
        tokens, found, rtol=_TOKENS_APART, atol=_TOKENS_APART, equal_nan=True
    )
    names = type_names(made_again.instance)
    for key, is_same, here in (("names", saved.names == names, names), ("tokens", same, found)):
        if not is_same:
            said = shown(getattr(saved, key))
            raise InvalidInputError(f"{key} = {said} but those of the answer are {shown(here)}")
    least = -math.inf if saved.objective is None else saved.objective
    most = math.inf if saved.upper_bound is None else saved.upper_bound
    if least > upper_bound or objective > most:
        made = ", ".join(f"{package} {version}" for package, version in saved.versions.items())
        raise InvalidInputError(
            f"the optimum was said to lie in [{least!r}, {most!r}] by {made}, and here in "
            f"[{objective!r}, {upper_bound!r}]: one of the two is wrong; "
            "please report it with this file"
        )


def load(path: str | os.PathLike[str], *, instance: Instance | None = None) -> Any:
    """Read the file of an instance or of an answer.

    Parameters
    ----------
    path : path
        A file whose name ends in ``.toml`` or ``.json``.
    instance : Instance, optional
        The instance that it is expected to be of.

    Returns
    -------
    Instance, Solution, Certificate or IntegerSolution
        An answer is certified anew: see `from_dict`.

    Raises
    ------
    InvalidInputError
        If there is no such file, it cannot be read, has more than 50 MB, is not UTF-8, not valid
        TOML or JSON, or holds what `from_dict` refuses. The message names the path.
    """
    return read_file(path, partial(from_dict, instance=instance), "an instance or an answer")


def save(x: Instance | _Answer, path: str | os.PathLike[str]) -> None:
    """Write the file of an instance or of an answer, all of it or nothing.

    Every number reads back bit for bit. Up to 50 types are written as one table each, more as
    arrays.

    Parameters
    ----------
    x : Instance, Solution, Certificate or IntegerSolution
        What to write, with the name, description and sources of the instance.
    path : path
        A name that ends in ``.json``, or of an instance in ``.toml``: TOML has no word for a number
        that an answer has not. A file of this name is replaced, and passes on its permissions.

    Raises
    ------
    InvalidInputError
        If `x` holds what files have no word for, its file would have more than 50 MB, or the file
        cannot be written. A file that was there before is then unchanged.
    """
    file = as_path(path)
    data = to_dict(x)
    if format_of(file) != "json" and not isinstance(x, Instance):
        raise InvalidInputError(f"{file}: the file of an answer is JSON; let its name end in .json")
    from_dict(data)  # refuses text that no file can hold, by the name of its key
    write_values(file, data)
