"""Every result: its HTML, its frame, its CSV and its LaTeX say the same, and names are escaped."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cvxqueue as cq
from cvxqueue.tables import Report
from tests.test_tables import Cells

HOSTILE = ("<script>alert(1)</script>", r"a & b_{\command}$")
INSTANCE = cq.Instance(
    name="<b>server</b>",
    arrival_rate=0.2,
    accuracy_weight=60.0,
    max_tokens=4096,
    names=HOSTILE,
    probabilities=[0.3, 0.7],
    service=cq.AffineService(base=0.5, per_token=0.002),
    accuracy=cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=[0.001, 0.004]),
)


def measured() -> dict[str, Any]:
    tokens = np.linspace(10.0, 500.0, 40)
    seconds = 0.2 + 0.01 * tokens
    return {"tokens": tokens, "seconds": seconds, "types": [HOSTILE[0]] * 40}


def answers() -> dict[str, Any]:
    tokens, correct = [0, 500, 1000, 4000], [20, 60, 80, 95]
    return {"tokens": tokens, "correct": correct, "total": 100, "types": [HOSTILE[1]] * 4}


def simulated() -> cq.Simulation:
    return cq.simulate(INSTANCE, [500.0, 300.0], queries=5000, seed=1)


RESULTS: dict[str, Callable[[], Report]] = {
    "instance": lambda: INSTANCE,
    "solution": lambda: cq.solve(INSTANCE),
    "sensitivity": lambda: cq.sensitivity(cq.solve(INSTANCE)),
    "certificate": lambda: cq.certify(INSTANCE, [500.0, 300.0]),
    "unstable certificate": lambda: cq.certify(INSTANCE, [4096.0, 4096.0]),
    "integers": lambda: cq.solve_integer(INSTANCE),
    "batch": lambda: cq.solve_batch(INSTANCE, arrival_rate=[0.1, 9.0], max_tokens=[[99, 512]]),
    "sweep": lambda: cq.sweep(INSTANCE, arrival_rate=[0.1, 9.0], max_tokens=[99, 512]),
    "frontier": lambda: cq.sweep(INSTANCE, accuracy_weight=[9.0, 60.0]).frontiers()[0],
    "switching points": lambda: cq.switching_points(INSTANCE),
    "cross validation": lambda: cq.cross_validate(INSTANCE, ["newton", "fixed-point"]),
    "check": lambda: cq.check(INSTANCE),
    "fit": lambda: cq.fit(service=measured(), accuracy=answers()),
    "diagnosis": lambda: cq.diagnose({k: v for k, v in measured().items() if k != "types"}),
    "simulation": simulated,
    "theory": lambda: cq.check_simulation(simulated()),
    "comparison": lambda: cq.compare_allocations(
        INSTANCE, [[500.0, 300.0], [400.0, 200.0]], queries=5000, seed=1
    ),
    "extension": lambda: cq.testing.check_extension(cq.FIFO()),
}


@pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS)
def test_every_form_of_a_result_says_the_same(make: Callable[[], Report]) -> None:
    result = make()
    assert len(repr(result)) <= 200
    read = Cells(result._repr_html_())
    allowed = {"div", "table", "thead", "tbody", "tr", "th", "td", "span", "br"}
    assert set(read.tags) <= allowed
    table = result.table()
    frame = result.to_frame()
    header, *rows = csv.reader(io.StringIO(result.to_csv() or "", newline=""))
    assert header == list(frame.columns) == list(table.machine_columns())
    assert len(rows) == len(frame) == len(table)
    for place, name in enumerate(frame.columns):
        told = [row[place] for row in rows]
        if pd.api.types.is_float_dtype(frame[name]):
            assert np.array_equal(np.array(told, dtype=float), frame[name], equal_nan=True)
        else:
            assert told == [str(value) for value in frame[name]]
    latex = result.to_latex()
    assert latex.count(r"\\") == len(table) + table.has_names
    assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")
    assert r"\command" not in latex
    assert [row[0] for row in rows][:1] == [str(table.columns[0].values[0])]


def test_what_is_in_the_tables_is_what_the_results_say() -> None:
    solution = cq.solve(INSTANCE)
    frame = solution.to_frame()
    assert tuple(frame["task type"]) == HOSTILE
    assert frame["tokens"].to_numpy().tobytes() == solution.tokens.tobytes()
    assert frame["optimal tokens, low"].to_list() == solution.token_bounds[:, 0].tolist()
    assert frame["optimal tokens, high"].to_list() == solution.token_bounds[:, 1].tolist()
    batch = cq.solve_batch(INSTANCE, arrival_rate=[[0.1], [0.2]], max_tokens=[[99, 512], [64, 64]])
    by_variant, by_type = batch.to_frame(), batch.to_frame(by_type=True)
    assert (len(by_variant), len(by_type)) == (4, 8)
    assert by_variant["objective (s)"].to_list() == batch.objective.ravel().tolist()
    assert by_variant["index 0"].to_list() == [0, 0, 1, 1]
    assert by_type["index 1"].to_list() == [0, 0, 1, 1] * 2
    assert by_variant["arrival rate (1/s)"].to_list() == [0.1, 0.1, 0.2, 0.2]
    assert by_variant[f"max tokens of {HOSTILE[1]}"].to_list() == [512, 64, 512, 64]
    assert by_type["tokens"].to_list() == batch.tokens.ravel().tolist()
    assert by_type["max tokens"].to_list() == [99, 512, 64, 64] * 2
    assert tuple(by_type["task type"]) == HOSTILE * 4


def test_methods_are_represented_in_a_line() -> None:
    assert len(repr(cq.methods())) < 120


def test_many_types_are_left_out_in_print_alone() -> None:
    many = cq.Instance(
        arrival_rate=0.2,
        accuracy_weight=60.0,
        max_tokens=4096,
        probabilities=np.full(16, 1 / 16),
        service=cq.AffineService(base=0.5, per_token=0.002),
        accuracy=cq.SaturatingExponential(floor=0.2, gain=0.5, rate=0.001),
    )
    batch = cq.solve_batch(many, max_tokens=np.full((3, 16), 512.0))
    assert max(map(len, str(batch).splitlines())) <= 120
    assert "max tokens of type 16" in batch.to_frame().columns


def test_rows_are_told_apart_where_laws_vary() -> None:
    law = cq.AffineService(base=[[0.5, 0.5], [0.6, 0.6]], per_token=0.002)
    frame = cq.solve_batch(INSTANCE, service=law).to_frame(by_type=True)
    assert frame["variant"].to_list() == [0, 0, 1, 1]


def test_a_moved_certificate_says_so() -> None:
    moved = cq.certify(INSTANCE, [4096.5, 300.0], feasibility_tolerance=1.0)
    assert moved.is_feasible
    assert "0.5 tokens from those given" in str(cq.certify(INSTANCE, [-0.5, 300.0]))
    assert cq.from_dict(cq.to_dict(moved)) == moved


def test_latex_takes_no_name_for_an_argument() -> None:
    named = INSTANCE.replace(names=["[x]", "*y"])
    lines = cq.solve(named).to_latex().splitlines()
    assert [line[:4] for line in lines[4:6]] == ["{}[x", "{}*y"]


def test_columns_of_types_in_another_order_are_refused() -> None:
    named = INSTANCE.replace(names=["a", "b"])
    for ask in (
        lambda frame: cq.solve_batch(named, max_tokens=frame),
        lambda frame: named.objective(frame),
    ):
        with pytest.raises(cq.InvalidInputError, match="another order"):
            ask(pd.DataFrame({"b": [90.0, 50.0], "a": [10.0, 50.0]}))
        ask(pd.DataFrame({"a": [90.0, 50.0], "b": [10.0, 50.0]}))
