"""Instances and answers that people keep: written whole, and certified anew when they are read."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cvxqueue.certificates import Certificate
from cvxqueue.errors import InvalidInputError, naming
from cvxqueue.files import reading, writing
from cvxqueue.files.kinds import CERTIFICATE_FORMAT, FORMAT, SOLUTION_FORMAT, VERSION
from cvxqueue.files.provenance import digest
from cvxqueue.files.storage import as_path, format_of, read_file, write_values
from cvxqueue.formatting import shown
from cvxqueue.model import Instance, require_instance
from cvxqueue.solution import Ended, Solution
from cvxqueue.suggest import nearest

if TYPE_CHECKING:
    from cvxqueue.files.schema import CertificateDocument

_READABLE = (FORMAT, SOLUTION_FORMAT, CERTIFICATE_FORMAT)


def to_dict(x: Instance | Solution | Certificate) -> dict[str, Any]:
    """Return an instance or an answer as plain values, as its file has them.

    Parameters
    ----------
    x : Instance, Solution or Certificate

    Returns
    -------
    dict
        Of an instance with ``task`` tables for up to 50 types and arrays for more, or where several
        curves in a mixture are of one class. Of an answer what its own ``to_dict`` has, its
        ``instance``, what it was certified from (``allocation`` and ``multipliers``, and of a
        solution the ``history``), where a number that is not finite is a string, and the ``sha256``
        of all that. `from_dict` gives back an equal object.

    Raises
    ------
    InvalidInputError
        If the service law, the accuracy curve or the queue has no kind in instance files.
    """
    if not isinstance(x, Instance | Solution | Certificate):
        raise InvalidInputError(
            f"only an Instance, a Solution or a Certificate has a file, got {shown(x)}"
        )
    if isinstance(x, Instance):
        return writing.to_dict(x)
    certificate = x.certificate if isinstance(x, Solution) else x
    multipliers = certificate.multipliers
    data = {
        "format": SOLUTION_FORMAT if isinstance(x, Solution) else CERTIFICATE_FORMAT,
        "version": VERSION,
        "instance": writing.to_dict(certificate.instance),
        **x.to_dict(),
        "allocation": [_exact(entry) for entry in certificate.allocation.tolist()],
        "multipliers": None if multipliers is None else multipliers.tolist(),
    }
    if isinstance(x, Solution):
        data["history"] = [[_exact(entry) for entry in row[:5]] for row in x.history]
    return data | {"sha256": digest(data)}


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
    Instance, Solution or Certificate
        An answer is certified anew: nothing that it claims is taken from the data, and
        `Solution.is_optimal` follows from what is proven now. History, times, iterations and what
        the back end said are as they were recorded.

    Raises
    ------
    InvalidInputError
        If a key is unknown or missing, or a value is not allowed; tasks count from 0. Of an answer
        also if anything in it was changed, if it is not of `instance`, or if what is certified here
        contradicts what was saved.

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
    return _answer(_document(data, form), instance)


def _require_unchanged(data: Mapping[str, Any]) -> None:
    found = digest({key: value for key, value in data.items() if key != "sha256"})
    if data.get("sha256") != found:
        raise InvalidInputError(
            f"was changed after it was saved, or is not whole: sha256 = "
            f"{shown(data.get('sha256'))}, and that of the rest is {found!r}; take another copy, "
            "or solve again"
        )


def _document(data: Mapping[str, Any], form: str) -> CertificateDocument:
    from pydantic import ValidationError

    from cvxqueue.files.messages import document_error
    from cvxqueue.files.schema import CertificateDocument, SolutionDocument

    document = SolutionDocument if form == SOLUTION_FORMAT else CertificateDocument
    try:
        return document.model_validate(dict(data))
    except ValidationError as error:
        raise document_error(error, document) from error


def _answer(saved: CertificateDocument, instance: Instance | None) -> Solution | Certificate:
    from cvxqueue.files.schema import SolutionDocument

    with naming("instance"):
        own = reading.from_dict(saved.instance)
    given: Any = (saved.allocation, saved.multipliers, saved.feasibility_tolerance)
    certificate = Certificate(require_same(instance, own), *given)
    _require_agreeing(saved, certificate)
    if not isinstance(saved, SolutionDocument):
        return certificate
    reasons = {reason.value: reason for reason in Ended}
    if saved.ended not in reasons:
        raise InvalidInputError(
            f"ended = {shown(saved.ended)} is unknown: {nearest(saved.ended, reasons)}"
        )
    about = saved.model_dump(include={field.name for field in fields(Solution)})
    return Solution(**about | {"certificate": certificate, "ended": reasons[saved.ended]})


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
    name, there, here = next(pair for pair in pairs if _differ(*pair[1:]))
    raise InvalidInputError(
        f"is of another instance: its {name} is {shown(there)}, and that of the instance given is "
        f"{shown(here)}"
    )


def _differ(there: Any, here: Any) -> bool:
    return not (np.array_equal(there, here) if isinstance(there, np.ndarray) else there == here)


def _require_agreeing(saved: CertificateDocument, certificate: Certificate) -> None:
    """Refuse an answer whose saved proof and the one that is made now contradict each other."""
    least = -math.inf if saved.objective is None else saved.objective
    most = math.inf if saved.upper_bound is None else saved.upper_bound
    if least > certificate.upper_bound or certificate.objective > most:
        made = ", ".join(f"{package} {version}" for package, version in saved.versions.items())
        raise InvalidInputError(
            f"the optimum was said to lie in [{least!r}, {most!r}] by {made}, and here in "
            f"[{certificate.objective!r}, {certificate.upper_bound!r}]: one of the two is wrong; "
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
    Instance, Solution or Certificate
        An answer is certified anew: see `from_dict`.

    Raises
    ------
    InvalidInputError
        If there is no such file, it cannot be read, has more than 50 MB, is not UTF-8, not valid
        TOML or JSON, or holds what `from_dict` refuses. The message names the path.
    """
    return read_file(path, partial(from_dict, instance=instance))


def save(x: Instance | Solution | Certificate, path: str | os.PathLike[str]) -> None:
    """Write the file of an instance or of an answer, all of it or nothing.

    Every number reads back bit for bit. Up to 50 types are written as one table each, more as
    arrays.

    Parameters
    ----------
    x : Instance, Solution or Certificate
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
