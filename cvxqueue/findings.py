"""What was found out, of an instance or of measurements, with a sentence for each subject."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cvxqueue.json_values import json_values
from cvxqueue.tables import Cell, Column, Table

# Columns of the subjects.
_SUBJECT_WIDTH = 16


@dataclass(frozen=True)
class Finding:
    """One thing found out.

    Attributes
    ----------
    subject : str
        What it is about.
    holds : bool or None
        Whether it holds; ``None`` where nothing can be said.
    sentence : str
        The outcome in plain words, with its number.
    numbers : dict
        The numbers behind it, by name.
    """

    subject: str
    holds: bool | None
    sentence: str
    numbers: dict[str, Any]

    @property
    def key(self) -> str:
        """The subject as a key of JSON."""
        return self.subject.replace(" ", "_")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; ``None`` for what is not finite."""
        return json_values({"holds": self.holds, "meaning": self.sentence, **self.numbers})


def findings_table(findings: Iterable[Finding], mark: Callable[[Finding], Cell]) -> Table:
    """Return a table of subjects, marks and sentences."""
    listed = list(findings)
    marks = dict(map(_with_words, map(mark, listed)))
    columns = [
        Column(
            "subject",
            [it.subject for it in listed],
            lambda subject: (textwrap.fill(subject, _SUBJECT_WIDTH), "bold"),
        ),
        Column("outcome", [_with_words(mark(it))[0] for it in listed], marks.__getitem__),
        Column("meaning", [it.sentence for it in listed], lambda sentence: f"{sentence}\n"),
    ]
    return Table(columns, has_names=False, most=len(listed))


def _with_words(cell: Cell) -> tuple[str, Cell]:
    return cell if isinstance(cell, str) else cell[0], cell
