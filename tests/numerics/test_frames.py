"""Columns of pandas, polars and Arrow are taken for what they hold, in the order of their rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cvxqueue as cq
from cvxqueue.numerics.checks import float_array, text_tuple
from tests.instances import CATALOGUE, instance_of
from tests.strategies import SEEDS, parameter_sets

SERVER = CATALOGUE["qwen3-8b-h100"].instance
NAMES = ("probability", "max_tokens", "min_tokens", "importance", "base", "per_token", "gain")


def pandas_column(values: Any) -> pd.Series:
    """A column whose labels are in another order than its rows."""
    return pd.Series(values, index=range(len(values))[::-1])


COLUMNS: dict[str, Callable[[Any], Any]] = {
    "pandas": pandas_column,
    "pandas index": pd.Index,
    "pandas in Arrow": lambda values: pd.Series(pa.array(values).to_pandas()).convert_dtypes(
        dtype_backend="pyarrow"
    ),
    "pandas nullable": lambda values: pd.Series(values).convert_dtypes(),
    "pandas objects": lambda values: pd.Series(values, dtype=object),
    "pandas category": lambda values: pd.Series(values).astype("category"),
    "polars": pl.Series,
    "arrow": pa.array,
    "arrow chunks": lambda values: pa.chunked_array(
        [pa.array(values[:0], pa.array(values).type), pa.array(values)]
    ),
    "arrow dictionary": lambda values: pa.chunked_array([pa.array(values).dictionary_encode()]),
}
FRAMES: dict[str, Callable[[Any], Any]] = {
    "pandas": lambda data: pd.DataFrame(data).sample(frac=1.0, random_state=1),
    "polars": pl.DataFrame,
    "arrow": pa.table,
    "arrow batch": pa.record_batch,
}
each_column = pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
PLAIN: dict[str, Callable[[Any], Any]] = {
    "pandas": pd.Series,
    "polars": pl.Series,
    "arrow": pa.array,
}
each_frame = pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)


def instance_from(data: Any, names: Any) -> cq.Instance:
    """An instance from whatever has columns."""
    return cq.Instance(
        arrival_rate=0.01,
        accuracy_weight=60.0,
        probabilities=data["probability"],
        max_tokens=data["max_tokens"],
        min_tokens=data["min_tokens"],
        importance=data["importance"],
        service=cq.AffineService(base=data["base"], per_token=data["per_token"]),
        accuracy=cq.SaturatingExponential(floor=0.1, gain=data["gain"], rate=data["per_token"]),
        names=names,
        sources=names,
    )


@pytest.mark.parametrize("library", FRAMES)
@given(size=st.integers(1, 30), seed=SEEDS)
def test_an_instance_of_columns_is_that_of_lists(library: str, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data: dict[str, Any] = {name: rng.uniform(1e-3, 0.5, size) for name in NAMES}
    data["probability"] /= data["probability"].sum()
    data["max_tokens"] = rng.integers(100, 9000, size)
    names = [f"type {number}" for number in rng.permutation(size)]
    frame = FRAMES[library]({**data, "name": names})
    lists = {name: np.asarray(frame[name]).tolist() for name in (*NAMES, "name")}
    made, expected = instance_from(frame, frame["name"]), instance_from(lists, lists["name"])
    assert made == expected
    assert hash(made) == hash(expected)


@each_column
def test_numbers_and_names_are_taken_by_row(column: Callable[[Any], Any]) -> None:
    for numbers in ([0.25, 0.5, 0.125], [3, 1, 2]):
        found = float_array("x", column(numbers))
        assert found.tolist() == numbers
        assert not found.flags.writeable
    assert text_tuple("names", column(["b", "a", "c"])) == ("b", "a", "c")


@each_column
def test_what_is_missing_is_named_by_its_row(column: Callable[[Any], Any]) -> None:
    # Arrow itself would fill the null of a dictionary with the first entry.
    with pytest.raises(cq.InvalidInputError, match=r"x\[2\] (is missing|= nan must be finite)"):
        float_array("x", column([0.5, 0.25, None]))
    with pytest.raises(cq.InvalidInputError, match=r"names\[1\] must be a string, got (None|nan)"):
        text_tuple("names", column(["a", None, "b"]))
    certificate = cq.certify(SERVER, column([1.0, 2.0, None, 4.0, 5.0]))
    assert np.isnan(certificate.allocation).tolist() == [False, False, True, False, False]
    assert certificate.gap == np.inf


@each_column
def test_truth_dates_and_text_are_no_numbers(column: Callable[[Any], Any]) -> None:
    for values in ([True, False], ["1", "2"], [np.datetime64("2026-01-01", "us").item()] * 2):
        with pytest.raises(cq.InvalidInputError, match="x must be a number or a flat list"):
            float_array("x", column(values))
        with pytest.raises(cq.InvalidInputError, match="tokens must be numbers"):
            cq.certify(SERVER, column(values))
    with pytest.raises(cq.InvalidInputError, match=r"names\[0\] must be a string, got 1"):
        text_tuple("names", column([1, 2]))


@pytest.mark.parametrize(
    "values", [[True, 0.5], (0.5, np.True_), [[0.5, 0.25], [0.5, True]], [1, (False, 2)]]
)
def test_truth_among_numbers_is_no_number(values: Any) -> None:
    with pytest.raises(cq.InvalidInputError, match=r"x must be .*(True|False)"):
        float_array("x", values, axes=2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([Decimal("0.5"), 2], [0.5, 2.0]),
        (pl.Series([Decimal("0.5")]), [0.5]),
        (pa.array([Decimal("0.5")]), [0.5]),
        ([Fraction(1, 4)], [0.25]),
        (Fraction(1, 4), 0.25),
        (Decimal("0.25"), 0.25),
        (np.array([0.5], np.longdouble), [0.5]),
        (np.ma.masked_array([1, 2], mask=False), [1.0, 2.0]),
        (pd.Series([1.0, 2.0], index=["columns", "isna"]), [1.0, 2.0]),
    ],
)
def test_other_kinds_of_numbers_are_numbers(values: Any, expected: float | list[float]) -> None:
    assert float_array("x", values).tolist() == expected


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1j], r"got \[1j\]"),
        (pd.Series([1, 2j]), r"got \[\(1\+0j\), 2j\]"),
        ([Decimal("NaN"), 1], r"x\[0\] is missing"),
        ([Decimal("sNaN")], "a flat list of numbers"),
        ([pd.NA, 1.0], r"x\[0\] is missing"),
        ([1.0, pd.NaT], r"x\[1\] is missing"),
        ([10**400], "a flat list of numbers"),
        (10**400, "a flat list of numbers"),
        (None, "a flat list of numbers, got None"),
        (np.ma.masked, "x is missing"),
        (pl.Series([1.0, np.nan]), r"x\[1\] = nan must be finite"),
        (pl.Series([[1.0], [2.0, 3.0]]), "got a ragged list"),
        (pd.MultiIndex.from_tuples([(1, 2), (3, 4)]), r"x must be .* got a ragged list: \[\(1, 2"),
        (pl.LazyFrame({"a": [1]}), "got <LazyFrame"),
        (pd.DataFrame({"a": [1.0], "b": [2.0]}), r"got an array of shape \(1, 2\)"),
    ],
)
def test_what_is_no_number_is_refused(values: Any, says: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=says):
        float_array("x", values)


def test_names_of_several_levels_are_no_text() -> None:
    levels = pd.MultiIndex.from_product([["a", "b"], ["c"]])
    with pytest.raises(cq.InvalidInputError, match=r"names\[0\] must be a string, got \('a', 'c'"):
        text_tuple("names", levels)  # type: ignore[arg-type]


@each_frame
def test_a_frame_has_a_column_for_each_type(frame: Callable[[Any], Any]) -> None:
    data = {"chat": [100.0, 200.0], "proof": [300, 400]}
    rows = np.stack([np.asarray(frame(data)[name]) for name in data], axis=-1)
    assert float_array("x", frame(data), axes=2).tolist() == rows.tolist()
    parameters = {"max_tokens": frame({str(k): [500.0 * k, 900.0] for k in range(1, 6)})}
    batch = cq.solve_batch(SERVER, **parameters)
    plain = np.asarray(parameters["max_tokens"])
    assert batch.tokens.tolist() == cq.solve_batch(SERVER, max_tokens=plain).tokens.tolist()
    with pytest.raises(cq.InvalidInputError, match=r"x: proof\[0\] (is missing|= nan)"):
        float_array("x", frame({"chat": [1.0], "proof": pa.array([None], pa.float64())}), axes=2)
    with pytest.raises(cq.InvalidInputError, match=r"x: proof must be .*True"):
        float_array("x", frame({"chat": [1.0], "proof": [True]}), axes=2)


def test_two_columns_of_one_name_are_refused() -> None:
    twice = pd.DataFrame([[1.0, 2.0]], columns=["a", "a"])
    with pytest.raises(cq.InvalidInputError, match="more than one column 'a'"):
        float_array("x", twice, axes=2)


@each_column
@given(parameters=parameter_sets(largest_n=8))
def test_starts_and_allocations_are_columns_too(
    column: Callable[[Any], Any], parameters: dict[str, Any]
) -> None:
    instance = instance_of(parameters)
    tokens = instance.lower.tolist()
    assert cq.certify(instance, column(tokens)) == cq.certify(instance, tokens)
    assert instance.objective(column(tokens)) == instance.objective(tokens)
    start = cq.solve(instance, start=column(tokens), on_failure="return")
    assert start.tokens.tolist() == cq.solve(instance, start=tokens).tokens.tolist()


@pytest.mark.parametrize("column", PLAIN.values(), ids=PLAIN)
def test_lists_in_the_rows_of_a_column_are_points_of_a_curve(column: Callable[[Any], Any]) -> None:
    tokens, accuracy = [[0, 100], [0, 50, 200]], [[0.1, 0.5], [0.1, 0.4, 0.6]]
    expected = cq.PiecewiseLinear(tokens=tokens, accuracy=accuracy)
    assert cq.PiecewiseLinear(tokens=column(tokens), accuracy=column(accuracy)) == expected
    rows = cq.PiecewiseLinear(tokens=[column(row) for row in tokens], accuracy=accuracy)
    assert rows == expected


def test_memory_that_somebody_else_may_write_to_is_copied() -> None:
    values = np.array([100.0, 200.0, 300.0, 400.0, 500.0])
    series = pd.Series(values, copy=False)
    point = SERVER.evaluate(series)
    values += 1.0
    assert point.tokens.tolist() == [100.0, 200.0, 300.0, 400.0, 500.0]


def test_no_column_makes_its_package_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lazy = pl.LazyFrame({"tokens": [1]})
        with pytest.raises(cq.InvalidInputError, match="path"):
            cq.fit(service=lazy)  # type: ignore[arg-type]
