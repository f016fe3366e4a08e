"""Compute ``family_optima.json``: instances of every family and their optima to thirty digits.

Run as ``python -m tests.make_family_optima``, about ten minutes. One instance of one type for each
queue, service law and accuracy curve, and of two or three types for every two of these.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tests.families import FAMILIES, Family, pairwise, planted
from tests.family_oracle import optimum
from tests.generator import UTILIZATIONS

OPTIMA = Path(__file__).with_name("family_optima.json")


def catalogue() -> Iterator[tuple[str, Family]]:
    """Yield every instance with its name."""
    for place, names in enumerate(FAMILIES):
        load = UTILIZATIONS[(3 * place + 5) % len(UTILIZATIONS)]
        rng = np.random.default_rng([1, place])
        yield "one " + " ".join(names), planted(rng, *names, n=1, utilization=load).family
    for place, names in enumerate(pairwise()):
        load = UTILIZATIONS[(5 * place + 3) % len(UTILIZATIONS)]
        rng = np.random.default_rng([2, place])
        size = 2 + place % 2
        yield "pair " + " ".join(names), planted(rng, *names, n=size, utilization=load).family


def load() -> list[dict[str, Any]]:
    """Return the rows of the file."""
    rows: list[dict[str, Any]] = json.loads(OPTIMA.read_text(encoding="utf-8"))
    return rows


def family_of(row: dict[str, Any]) -> Family:
    """Return the instance of a row."""
    described = row["family"]
    return Family(**{**described, "types": tuple(described["types"])})


def main() -> None:
    """Write the file."""
    began = time.perf_counter()
    rows = [
        {"name": name, "family": asdict(family), "optimum": optimum(family)}
        for name, family in catalogue()
    ]
    OPTIMA.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    seconds = time.perf_counter() - began
    print(f"{len(rows)} optima to thirty digits in {OPTIMA.name}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
