"""What trials found: figures that add up, and failures, each with the trial that shows it."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Campaign", "Failure", "Report", "add", "report_of"]


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

    def time(self, name: str, began: float) -> None:
        """Keep how long something took since a value of the clock."""
        taken = round(1000.0 * (time.perf_counter() - began))
        self.figures[f"largest ms of {name}"] = taken

    def fail(self, kind: str, detail: object) -> None:
        """Add something wrong."""
        self.failures.append(Failure(kind, str(detail)))


def add(total: Counter[str], figures: Counter[str]) -> None:
    """Add the figures of a trial to those of others."""
    for name, value in figures.items():
        total[name] = max(total[name], value) if name.startswith("largest") else total[name] + value


def report_of(name: str, seed: int, number: int) -> tuple[int, Report]:
    """Run one trial of a campaign; here, where another process finds it."""
    campaign: Any = importlib.import_module(f"tests.campaign.{name}")
    try:
        return number, campaign.trial(seed, number)
    except BaseException as error:
        # The oracle's own fault: a trial reports whatever the package throws.
        error.add_note(f"{name} --seed {seed} --only {number}")
        raise


class Campaign(Protocol):
    """What a module of this folder offers; ``verdict`` may be missing."""

    TRIALS: int

    def trial(self, seed: int, number: int) -> Report:
        """Draw a trial from the two numbers, and say what it found."""
