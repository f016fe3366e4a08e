"""What was found out, of an instance or of measurements, with a sentence for each subject."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cvxqueue.json_values import json_values
from cvxqueue.tables import Cell, Table

__all__ = ["Finding", "findings_table"]

# Columns of the subjects.
_WIDTH = 16


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
    return Table(
        (),
        [
            ((textwrap.fill(found.subject, _WIDTH), "bold"), mark(found), f"{found.sentence}\n")
            for found in findings
        ],
    )
