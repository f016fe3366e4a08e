"""From measurements to an allocation: fit a server, ask whether the model describes it, solve.

    python examples/fit_a_server.py

The service times and the accuracies are published measurements; the trace is made up, from
Poisson arrivals. The files are written to a temporary folder, as a person would have them.
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import numpy as np

import cvxqueue as cq
from cvxqueue.fitting import Diagnosis, read_requests

# Qwen3-8B in bf16 under vLLM on one H100-80GB, one request at a time: output tokens and mean
# end-to-end seconds. github.com/tgarg01/silybench-data (commit 93e4887,
# derived/csv/perf_points.csv), CC BY 4.0.
SERVICE = [(2048, 14.385546), (128, 0.880844), (1024, 7.029918), (512, 3.973647), (128, 0.907825)]
# s1-32B under budget forcing: questions, and accuracy by average thinking tokens.
# github.com/simplescaling/s1 (commit 77272c6, visuals/scaling.pdf), Apache-2.0. Another model than
# the one above: this is an example, not a benchmark.
ACCURACY = {
    ("MATH500", 500): [(498.7, 0.64), (983.5, 0.8), (1813.9, 0.856), (2868.0, 0.906)],
    ("AIME24", 30): [
        (500.0, 0.0),
        (1000.0, 0.13333),
        (2000.0, 0.3),
        (3933.1, 0.43333),
        (5300.2, 0.5),
        (6656.8, 0.53333),
        (7319.5, 0.56667),
    ],
}


def write_measurements(folder: Path) -> None:
    """Write the three files that a fit needs."""
    rng = np.random.default_rng(2026)
    arrivals = np.cumsum(rng.exponential(25.0, 500))
    types = rng.choice(["MATH500", "AIME24"], 500, p=[0.8, 0.2])
    tables = {
        "times.csv": [("output_tokens", "total_time_s"), *SERVICE],
        "answers.csv": [
            ("type", "tokens", "accuracy", "n_questions"),
            *(
                (name, tokens, accuracy, questions)
                for (name, questions), points in ACCURACY.items()
                for tokens, accuracy in points
            ),
        ],
        "trace.csv": [("arrival_s", "type"), *zip(arrivals, types, strict=True)],
    }
    for name, rows in tables.items():
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)


def fit_and_solve(folder: Path) -> tuple[cq.Fit, Diagnosis, cq.Solution]:
    """Fit the measurements of a folder, write the instance beside them, and solve it."""
    found = cq.fit(
        service=folder / "times.csv", accuracy=folder / "answers.csv", trace=folder / "trace.csv"
    )
    checked = cq.diagnose(read_requests(folder / "times.csv"))
    instance = found.instance(accuracy_weight=300.0, max_tokens=8192, name="fitted")
    cq.save(instance, folder / "fitted.toml")
    return found, checked, cq.solve(cq.load(folder / "fitted.toml"))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        write_measurements(Path(name))
        found, checked, solution = fit_and_solve(Path(name))
    line = found.service_line
    print(f"{1e3 * line.per_token.value:.2f} ms per token, from {line.rows} rows")
    for kind, curve in found.curves.items():
        worst = max(abs(curve.residuals))
        print(f"{kind}: floor {curve.floor}, gain {curve.gain}, rate {curve.rate}; ", end="")
        print(f"largest residual {worst:.3f}, {curve.goodness.outcome}")
    if found.arrivals is not None:
        print(f"{found.arrivals.rate} arrivals per second. {found.arrivals.poisson.sentence}.")
    for warning in found.warnings:
        print("warning:", warning)
    for finding in checked.findings:
        print(f"{finding.subject}: {finding.sentence}")
    print("\nsources of the instance:", *solution.instance.sources, sep="\n  ")
    print(f"\n{solution}")


if __name__ == "__main__":
    main()
