"""What trials found: figures that add up, and failures, each with the trial that shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Campaign", "Failure", "Report"]


@dataclass(frozen=True)
class Failure:
    """Something wrong, of a kind by which failures are sorted."""

    kind: str
    detail: str


@dataclass
class Report:
    """What one trial found."""

    figures: Counter[str] = field(default_factory=Counter)
    """Counts by name. Of names that begin with ``largest`` the greatest value counts."""
    failures: list[Failure] = field(default_factory=list)

    def count(self, name: str) -> None:
        """Add one to a figure."""
        self.figures[name] += 1

    def fail(self, kind: str, detail: object) -> None:
        """Add something wrong."""
        self.failures.append(Failure(kind, str(detail)))


def add(total: Counter[str], figures: Counter[str]) -> None:
    """Add the figures of a trial to those of others."""
    for name, value in figures.items():
        total[name] = max(total[name], value) if name.startswith("largest") else total[name] + value


class Campaign(Protocol):
    """What a module of this folder offers; ``verdict`` may be missing."""

    TRIALS: int

    def trial(self, seed: int, number: int) -> Report:
        """Draw a trial from the two numbers, and say what it found."""
