"""The library: instances by name, each with the record that proves its optimum."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache, cached_property
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

from cvxqueue.errors import InvalidInputError
from cvxqueue.files.reading import from_dict
from cvxqueue.formatting import shown
from cvxqueue.model import Instance
from cvxqueue.suggest import nearest
from cvxqueue.tables import Column, Table

_RECORDS = Path(__file__).with_name("records")
# In which the records were made. No metadata of a package have it; CITATION.cff does.
_YEAR = 2026


@dataclass(frozen=True)
class Reference:
    """An instance with a name and a proven optimum.

    Attributes
    ----------
    name : str
        By which it is loaded and cited; that of its instance.
    record : dict
        What `cvxqueue.prove` returned once and `cvxqueue.verify` accepts.
    """

    name: str
    record: dict[str, Any] = field(repr=False)

    @cached_property
    def instance(self) -> Instance:
        """What the record is about."""
        return from_dict(self.record["instance"])

    @property
    def reason(self) -> str:
        """What it is there for: the first line of the description of its instance."""
        text: str = self.record["instance"]["description"]
        return text.strip().partition("\n")[0]

    @property
    def sha256(self) -> str:
        """Digest of the record, by which it is cited beside its name."""
        digest: str = self.record["sha256"]
        return digest

    def bibtex(self) -> str:
        """Return an entry for BibTeX, in which name and digest say which record is meant."""
        note = (
            f"{self.record['digits']} digits, proven by the record with SHA-256\n    {self.sha256}"
        )
        return _entry(f"cvxqueue-{self.name}", f"Reference solution {self.name}", note)


@cache
def names() -> tuple[str, ...]:
    """Return the names of all references, in order."""
    return tuple(sorted(path.stem for path in _RECORDS.glob("*.json")))


def path_of(name: str) -> Path:
    """Return the file of a record; there need be none."""
    return _RECORDS / f"{name}.json"


def load(name: str) -> Reference:
    """Return the reference of a name.

    Parameters
    ----------
    name : str
        One of `names`.

    Returns
    -------
    Reference
        Its record as it was released: none ever changes, and a correction has another name.

    Raises
    ------
    InvalidInputError
        If there is none of this name; the message has the nearest one.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> reference = cq.references.load("heavy-traffic-6")
    >>> cq.verify(reference.record, instance=reference.instance).digits
    30
    """
    if name not in names():
        raise InvalidInputError(f"name = {shown(name)} is no reference: {nearest(name, names())}")
    return Reference(name, json.loads(path_of(name).read_text(encoding="utf-8")))


def table() -> Table:
    """Return all references, a row for each."""
    found = [load(name) for name in names()]
    records = [it.record for it in found]
    return Table(
        [
            Column("name", names()),
            Column("types", [len(it["tokens"]) for it in records]),
            Column("optimal objective (s)", [it["objective"] for it in records], _short),
            Column("tokens proven", [it["proves"]["tokens"] for it in records], _yes_or_no),
            Column("whole tokens proven", ["integer" in it for it in records], _yes_or_no),
            Column("reason", [it.reason for it in found]),
            Column("SHA-256", [it.sha256 for it in found], lambda digest: digest[:16]),
        ],
        most=len(found),
    )


def _short(number: str) -> str:
    """Show twelve digits to people, more than a solver in double precision is relied on for."""
    return f"{Decimal(number):.12g}"


def _yes_or_no(value: bool) -> str:  # noqa: FBT001 (a cell of a table)
    return "yes" if value else "no"


def package_bibtex() -> str:
    """Return an entry for BibTeX of the package with all its references."""
    about = metadata("cvxqueue")
    return _entry("cvxqueue", f"cvxqueue: {about['Summary']}", f"Version {about['Version']}")


def _entry(key: str, title: str, note: str) -> str:
    about = metadata("cvxqueue")
    # The only one that there is.
    address = about["Project-URL"].rpartition(", ")[2]
    return (
        f"@misc{{{key},\n"
        f"  author = {{{{{about['Author']}}}}},\n"
        f"  title = {{{{{title}}}}},\n"
        f"  year = {{{_YEAR}}},\n"
        f"  url = {{{address}}},\n"
        f"  note = {{{note}.\n"
        "    The address is that of the paper that poses the problem.},\n"
        "}"
    )
