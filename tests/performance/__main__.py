"""The benchmarks: ``python -m tests.performance`` from the root of the repository."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial

# One thread for each library, unless the caller says otherwise: ratios are then of algorithms, and
# do not change with the cores of the host. The libraries read this when they are loaded.
for variable in (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "OMP_NUM_THREADS",
):
    os.environ.setdefault(variable, "1")

from rich.console import Console  # noqa: E402 (the environment comes first)
from rich.table import Table  # noqa: E402

import cvxqueue as cq  # noqa: E402
from tests.performance.cases import CASES  # noqa: E402
from tests.performance.host import host_facts, load_average  # noqa: E402
from tests.performance.reporting import Case, Result, Row, host_table  # noqa: E402

REPEATS = 7
# Below this the columns are too narrow to be read; the terminal may wrap the lines.
_NARROWEST = 140


def main(arguments: Sequence[str] | None = None, cases: Mapping[str, Case] = CASES) -> int:
    """Run cases and print what they found; a target that is missed is no failure."""
    options = _parser(cases).parse_args(arguments)
    # In the order of the table of cases, each once.
    chosen = [case for name, case in cases.items() if not options.case or name in options.case]
    facts = host_facts()
    if not options.json:
        _write(host_table(facts))
    results = []
    for case in chosen:
        sys.stderr.write(f"measuring {case.name} ...\n")
        results.append(_run(case, options.repeats))
        if not options.json:
            _write(results[-1].table())
    facts["load average at the end"] = load_average()
    if options.json:
        found = {
            "host": facts,
            "repeats": options.repeats,
            "cases": [it.to_dict() for it in results],
        }
        json.dump(found, sys.stdout, allow_nan=False, ensure_ascii=False, indent=2)
        sys.stdout.write("\n")
    else:
        _write(host_table({"load average at the end": facts["load average at the end"]}))
    return 0


def _write(table: Table) -> None:
    console = Console(highlight=False)
    if console.width < _NARROWEST:
        console = Console(highlight=False, width=_NARROWEST)
    with console.capture() as captured:
        console.print(table)
    # Tables are padded to the right; a pipe has no use for that.
    sys.stdout.write("\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n\n")
    sys.stdout.flush()


def _run(case: Case, repeats: int) -> Result:
    started = time.perf_counter()
    try:
        rows = case.run(repeats)
    except cq.CvxqueueError as error:
        # The other cases are worth having all the same.
        rows = [Row("failed", None, details=f"{type(error).__name__}: {error}")]
    return Result(case, rows, time.perf_counter() - started)


def _parser(cases: Mapping[str, Case]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.performance",
        description="Measure ratios side by side, and say which targets are met in this run.",
        epilog="cases:\n" + "\n".join(f"  {it.name:<12} {it.summary}" for it in cases.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # argparse holds an empty list of names against `choices`, so that they are checked here.
    parser.add_argument(
        "case",
        nargs="*",
        type=partial(_known, cases),
        help="what to measure, by name; by default everything",
    )
    parser.add_argument(
        "--repeats",
        type=_count,
        default=REPEATS,
        help="rounds of which the median is taken (default: %(default)s; at most 3 for what is "
        "slow)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON value instead")
    return parser


def _known(cases: Mapping[str, Case], name: str) -> str:
    if name not in cases:
        raise argparse.ArgumentTypeError(f"no case {name!r}; there are {', '.join(cases)}")
    return name


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number ≥ 1, got {text!r}")
    return number


if __name__ == "__main__":
    sys.exit(main())
