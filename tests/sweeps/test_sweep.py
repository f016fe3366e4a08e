"""Sweeps: the same rows wherever they run, what is in them, and what cannot be swept."""

from __future__ import annotations

import csv
import gc
import io
import pickle
import tracemalloc
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cvxqueue as cq
from tests.instances import CATALOGUE

INSTANCE = cq.Instance(
    arrival_rate=0.2,
    accuracy_weight=60.0,
    max_tokens=4096,
    names=["short", "long, or 'hard'"],
    probabilities=[0.3, 0.7],
    importance=[1.0, 2.0],
    service=cq.AffineService(base=0.5, per_token=0.002),
    accuracy=cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=[0.001, 0.004]),
)
RATES, WEIGHTS = np.linspace(0.1, 3.0, 60), np.geomspace(1.0, 1e3, 100)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a hundred rows, so that a few thousand are many parts."""
    monkeypatch.setattr(import_module("cvxqueue.sweeps.sweep"), "ENTRIES", 200)


def same(first: Any, second: Any) -> bool:
    return all(
        np.array_equal(mine, theirs, equal_nan=True)
        for mine, theirs in zip(first, second, strict=True)
    )


def test_rows_are_those_of_solve() -> None:
    caps = [[100.0, 4096.0], [4096.0, 4096.0]]
    swept = cq.sweep(INSTANCE, max_tokens=caps, min_tokens=[0, 10], accuracy_weight=[5.0, 60.0])
    assert swept.shape == (2, 2, 2)
    for row, (cap, least, weight) in enumerate(
        (cap, least, weight) for cap in caps for least in (0, 10) for weight in (5.0, 60.0)
    ):
        one = INSTANCE.replace(max_tokens=cap, min_tokens=least, accuracy_weight=weight)
        solution = cq.solve(one)
        np.testing.assert_allclose(swept.rows.tokens[row], solution.tokens, rtol=1e-9)
        weighted = INSTANCE.probabilities * INSTANCE.importance @ solution.accuracies
        assert swept.rows.weighted_accuracy[row] == pytest.approx(weighted, rel=1e-12)
        certificate = swept.certificate(row)
        assert certificate.instance == one
        assert certificate.relative_gap < 1e-11


def test_laws_and_mixes_vary_too() -> None:
    law = cq.AffineService(base=[[0.5, 0.5], [0.1, 0.2]], per_token=0.002)
    mixes = [[0.3, 0.7], [0.5, 0.5], [0.9, 0.1]]
    swept = cq.sweep(INSTANCE, service=law, probabilities=mixes, importance=[1.0, 3.0])
    assert len(swept) == 12
    one = INSTANCE.replace(
        service=cq.AffineService(base=[0.1, 0.2], per_token=0.002),
        probabilities=mixes[2],
        importance=3.0,
    )
    assert swept.certificate(11).instance == one
    np.testing.assert_allclose(swept.rows.tokens[11], cq.solve(one).tokens, rtol=1e-9)
    frame = swept.to_frame()
    assert frame["service law"].tolist() == [0] * 6 + [1] * 6
    assert frame["probability of short"].tolist()[:4] == [0.3, 0.3, 0.5, 0.5]


def test_what_has_no_answer_is_a_row() -> None:
    capped = INSTANCE.replace(constraints=[cq.MaxMeanSystemTime(0.9)])
    swept = cq.sweep(capped, arrival_rate=[0.2, 1.5, 9.0])
    assert swept.status.tolist() == ["optimal", "infeasible", "unstable"]
    assert swept.counts == {"optimal": 1, "unstable": 1, "infeasible": 1, "not certified": 0}
    price = swept.to_frame()["price of mean system time ≤ 0.9 s (s)"]
    assert price[0] == pytest.approx(cq.solve(capped).certificate.constraint_multipliers[0])
    assert price[1:].isna().all()
    twice = capped.replace(constraints=[*capped.constraints, *capped.constraints])
    both = cq.sweep(twice, arrival_rate=[0.2])
    assert list(both.to_frame())[-1] == "price of mean system time ≤ 0.9 s (s) (2)"
    assert both.to_frame().iloc[0, -2:].sum() == pytest.approx(price[0], rel=1e-6)
    floored = INSTANCE.replace(constraints=[cq.MinAccuracy(0.6)])
    low = cq.sweep(floored, max_tokens=[100, 4096])
    assert low.status.tolist() == ["infeasible", "optimal"]


@pytest.mark.usefixtures("small_parts")
def test_pools_and_files_have_the_same_rows(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    grids: dict[str, Any] = {"arrival_rate": RATES, "accuracy_weight": WEIGHTS}
    alone = cq.sweep(INSTANCE, callback=lambda *it: told.append(it), **grids)
    assert told[-1] == (6000, 6000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    with ThreadPoolExecutor(2) as pool:
        assert same(alone.rows, cq.sweep(INSTANCE, executor=pool, **grids).rows)
        written = cq.sweep(INSTANCE, executor=pool, output=tmp_path / "rows.csv", **grids)
    assert written.counts == alone.counts
    assert written.counts["unstable"] > 0
    text = (tmp_path / "rows.csv").read_text()
    assert text == alone.to_csv()
    header, *rows = csv.reader(io.StringIO(text))
    assert header[-1] == "tokens of long, or 'hard'"
    assert len(rows) == 6000
    assert float(rows[1234][-1]) == alone.rows.tokens[1234, 1]


class Failing(Executor):
    """A pool whose third part fails."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.futures.append(future)
        if len(self.futures) == 3:
            future.set_exception(ConnectionError("a worker was lost"))
        elif len(self.futures) < 3:
            future.set_result(function(*arguments, **options))
        return future


@pytest.mark.usefixtures("small_parts")
def test_what_a_worker_raises_leaves_no_file(tmp_path: Path) -> None:
    path, pool = tmp_path / "rows.csv", Failing()
    path.write_text("old")
    with pytest.raises(ConnectionError, match="lost"):
        cq.sweep(INSTANCE, accuracy_weight=np.geomspace(1, 9, 5000), executor=pool, output=path)
    assert [it.name for it in tmp_path.iterdir()] == ["rows.csv"]
    assert path.read_text() == "old"
    # No more is handed out than is taken back soon, and what waits is called off.
    assert len(pool.futures) <= 40
    assert all(future.cancelled() for future in pool.futures[3:])


@pytest.mark.slow
def test_a_file_takes_no_more_memory_for_more_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("cvxqueue.sweeps.sweep"), "ENTRIES", 2000)
    peaks: list[int] = []

    def collect(done: int, total: int) -> None:
        gc.collect()

    for count in (10, 40, 200):
        grids = {"arrival_rate": np.linspace(0.1, 1.0, count), "accuracy_weight": WEIGHTS}
        tracemalloc.start()
        # What a part leaves in cycles waits for the collector, wherever that stands.
        cq.sweep(INSTANCE, output=tmp_path / "rows.csv", callback=collect, **grids)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The first one loads what stays; the rows of the last would take two megabytes more.
    assert peaks[2] < 1.2 * peaks[1] < 4e6


def test_between_neighbours_of_a_frontier_the_price_lies_between_their_weights() -> None:
    points = 0
    for reference in CATALOGUE.values():
        middle = reference.instance.accuracy_weight or 1.0
        weights = np.geomspace(0.1 * middle, 10.0 * middle, 40)
        # In any order: a frontier sorts.
        shuffled = np.random.default_rng(0).permutation(weights)
        (frontier,) = cq.sweep(reference.instance, accuracy_weight=shuffled).frontiers()
        rows = zip(
            frontier.accuracy, frontier.mean_system_time, frontier.accuracy_weight, strict=True
        )
        for (a, t, low), (b, u, high) in pairwise(rows):
            scale = high * b + u
            # α₁ (b − a) ≤ u − t ≤ α₂ (b − a), to what a certified gap leaves.
            slack = 1e-9 * scale
            assert low * (b - a) - slack <= u - t <= high * (b - a) + slack
            if b - a > 1e-6 * b:
                points += 1
                assert low * (1 - 1e-3) <= (u - t) / (b - a) <= high * (1 + 1e-3)
    assert points > 300


@pytest.mark.parametrize(
    "limit", [cq.MaxTokenRate(150.0), cq.MinMeanAccuracy(0.6), cq.MaxMeanSystemTime(2.0)]
)
def test_under_constraints_the_weight_is_the_slope_where_allocations_move(
    limit: cq.Constraint,
) -> None:
    swept = cq.sweep(INSTANCE.replace(constraints=[limit]), accuracy_weight=WEIGHTS[::8])
    assert (swept.rows.prices > 0.0).any()
    (frontier,) = swept.frontiers()
    more, longer = np.diff(frontier.accuracy), np.diff(frontier.mean_system_time)
    slack = 1e-8 * (frontier.accuracy_weight[1:] + frontier.mean_system_time[1:])
    assert (frontier.accuracy_weight[:-1] * more <= longer + slack).all()
    assert (longer <= frontier.accuracy_weight[1:] * more + slack).all()


def test_an_accuracy_that_is_not_the_mean_is_called_so() -> None:
    cases: tuple[tuple[float, dict[str, Any], str], ...] = (
        (1.0, {}, "accuracy"),
        (2.0, {}, "weighted accuracy"),
        (1.0, {"importance": [1.0]}, "weighted accuracy"),
    )
    for importance, grids, label in cases:
        one = INSTANCE.replace(importance=importance)
        (frontier,) = cq.sweep(one, accuracy_weight=[1.0, 9.0], **grids).frontiers()
        assert list(frontier.to_frame())[:2] == ["accuracy weight (s)", label]


def test_frontiers_are_told_apart() -> None:
    swept = cq.sweep(INSTANCE, accuracy_weight=WEIGHTS[:5], arrival_rate=[0.1, 9.0])
    first, none = swept.frontiers()
    assert first.at == {"arrival rate (1/s)": 0.1}
    assert len(first) == 5
    assert len(none) == 0
    with pytest.raises(cq.InvalidInputError, match="accuracy_weight"):
        cq.sweep(INSTANCE, arrival_rate=[0.1]).frontiers()


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        ({}, "needs the values of a parameter"),
        ({"arrival_rates": [1.0]}, "did you mean 'arrival_rate'"),
        ({"arrival_rate": []}, "M ≥ 1"),
        ({"arrival_rate": [[0.1]]}, "shape .M,."),
        ({"arrival_rate": [0.1, -1.0]}, r"arrival_rate\[1\] = -1.0 must be > 0"),
        ({"arrival_rate": [0.1, np.nan]}, r"arrival_rate\[1\] = nan must be finite"),
        ({"arrival_rate": "0.1"}, "list of numbers"),
        ({"max_tokens": [[1.0, 2.0, 3.0]]}, r"\(M, 2\)"),
        ({"max_tokens": [100.0, -1.0]}, "max_tokens"),
        ({"min_tokens": [200.0], "max_tokens": [100.0, 300.0]}, "min_tokens must be ≤"),
        ({"probabilities": [0.5, 0.5]}, r"\(M, 2\)"),
        ({"probabilities": [[0.5, 0.6]]}, "probabilities"),
        ({"service": INSTANCE.service}, r"\(M, 2\)"),
        ({"accuracy": [1.0]}, r"\(M, 2\)"),
        ({"arrival_rate": [0.1], "executor": 3}, "get_executor"),
        ({"arrival_rate": [0.1], "callback": 3}, "callback"),
        ({"arrival_rate": [0.1], "tolerance": 0.5}, "tolerance"),
        ({"arrival_rate": [0.1], "output": 3}, "output must be the name of a file, got 3"),
        ({"arrival_rate": [0.1], "output": ""}, "output must be the name of a file, got ''"),
        ({"arrival_rate": [0.1], "output": "no/such/place.csv"}, "cannot write"),
    ],
)
def test_what_cannot_be_swept_is_refused(grids: dict[str, Any], message: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=message):
        cq.sweep(INSTANCE, **grids)


def test_columns_of_a_frame_are_those_of_the_types() -> None:
    names = list(INSTANCE.names or ())
    caps: Any = pd.DataFrame([[100.0, 200.0], [300.0, 400.0]], columns=names)
    swept = cq.sweep(INSTANCE, max_tokens=caps)
    assert swept.parameters["max_tokens"].tolist() == [[100.0, 200.0], [300.0, 400.0]]
    frames: dict[str, Any] = dict.fromkeys(("max_tokens", "min_tokens", "importance"), caps)
    frames["probabilities"] = pd.DataFrame([[0.2, 0.8]], columns=names)
    for name, frame in frames.items():
        grids: dict[str, Any] = {name: frame[names[::-1]]}
        with pytest.raises(cq.InvalidInputError, match="another order than the types"):
            cq.sweep(INSTANCE, **grids)
        for turned in (frame.iloc[0], frame.iloc[0][::-1], frame.T):
            grids = {name: turned}
            with pytest.raises(cq.InvalidInputError, match=r"give shape \(M, 2\), a column for"):
                cq.sweep(INSTANCE, **grids)
    by_number = pd.Series([100.0, 200.0, 300.0])
    assert len(cq.sweep(INSTANCE, max_tokens=by_number)) == 3


def test_nobody_can_write_to_what_was_found() -> None:
    rates = np.array([0.1, 9.0])
    swept = cq.sweep(INSTANCE, arrival_rate=rates)
    rates[0] = 5.0
    copy = pickle.loads(pickle.dumps(swept))
    for each in (swept, copy):
        assert each.parameters["arrival_rate"].tolist() == [0.1, 9.0]
        assert not any(array.flags.writeable for array in each.rows)
        assert each.to_csv() == swept.to_csv()
    points = cq.switching_points(INSTANCE)
    assert pickle.loads(pickle.dumps(points)) == points
    assert not points.tokens.flags.writeable


def test_there_is_no_certificate_of_a_row_that_is_not() -> None:
    swept = cq.sweep(INSTANCE, arrival_rate=[0.1, 9.0])
    with pytest.raises(cq.InvalidInputError, match="row = 2 must be below 2"):
        swept.certificate(2)
    assert swept.certificate(1).gap == np.inf
