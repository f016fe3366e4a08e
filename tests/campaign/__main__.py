"""A campaign: ``python -m tests.campaign NAME --seed N`` from the root of the repository."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

# One thread for each process, as in the tests. The libraries read this when they are loaded.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from tests.campaign.report import Failure, Report, add, report_of  # noqa: E402 (the environment comes first)

_SECONDS_BETWEEN_LINES = 20.0
# A failure of one kind is shown so often; the rest is counted.
_SHOWN = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a campaign, print its figures and failures, and return 1 where there are any."""
    options = _parser().parse_args(arguments)
    campaign: Any = importlib.import_module(f"tests.campaign.{options.name}")
    if options.only is not None:
        numbers: Iterable[int] = [options.only]
    elif options.seconds is not None:
        numbers = count()
    else:
        numbers = range(campaign.TRIALS if options.trials is None else options.trials)
    started = time.monotonic()
    figures: Counter[str] = Counter()
    failures: list[tuple[int | None, Failure]] = []
    shown, done = started, 0
    for number, report in _reports(options, numbers):
        done += 1
        add(figures, report.figures)
        failures += [(number, failure) for failure in report.failures]
        now = time.monotonic()
        if options.seconds is not None and now - started >= options.seconds:
            break
        if now - shown >= _SECONDS_BETWEEN_LINES:
            shown = now
            print(f"{done} trials in {now - started:.0f} s, {len(failures)} failures", flush=True)
    if options.only is None and hasattr(campaign, "verdict"):
        failures += [(None, Failure("verdict", text)) for text in campaign.verdict(figures)]
    seconds = time.monotonic() - started
    print(f"{options.name}, seed {options.seed}: {done} trials in {seconds:.0f} s")
    for name, value in sorted(figures.items()):
        print(f"{value:>12.6g}  {name}")
    _print_failures(failures, options)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaign", description="Hostile trials against an oracle."
    )
    parser.add_argument("name", choices=_names())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--trials", type=int, help="by default those of a full run")
    which.add_argument("--seconds", type=float, help="begin no trial after so many")
    which.add_argument("--only", type=int, metavar="NUMBER", help="one trial again")
    return parser


def _names() -> list[str]:
    """The modules of this folder that are campaigns."""
    here = Path(__file__).parent
    return sorted(
        path.stem
        for path in here.glob("*.py")
        if "\ndef trial(" in path.read_text(encoding="utf-8")
    )


def _reports(options: argparse.Namespace, numbers: Iterable[int]) -> Iterator[tuple[int, Report]]:
    """The reports of trials, in any order."""
    one = partial(report_of, options.name, options.seed)
    if options.processes == 1 or options.only is not None:
        yield from map(one, numbers)
        return
    # A fresh interpreter for each: what a trial changes of a process stays there.
    with get_context("spawn").Pool(options.processes) as pool:
        # In portions, because a pool takes all the numbers at once and there may be no end of them.
        source = iter(numbers)
        while portion := list(islice(source, 64 * options.processes)):
            yield from pool.imap_unordered(one, portion)


def _print_failures(
    failures: Sequence[tuple[int | None, Failure]], options: argparse.Namespace
) -> None:
    """Each kind with its number, and the first trials of it: how to run them again, and why."""
    kinds = Counter(failure.kind for _, failure in failures)
    for kind, number in kinds.most_common():
        print(f"\nFAILED {number} times: {kind}")
        those = [(trial, failure.detail) for trial, failure in failures if failure.kind == kind]
        for trial, detail in sorted(those, key=lambda pair: pair[0] or 0)[:_SHOWN]:
            if trial is not None:
                print(f"  --seed {options.seed} --only {trial}")
            print("    " + detail.replace("\n", "\n    "))


if __name__ == "__main__":
    sys.exit(main())
