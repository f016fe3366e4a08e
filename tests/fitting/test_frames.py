"""Measurements in frames say what the same measurements say in lists and in files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cvxqueue as cq
from cvxqueue.fitting import fit_arrivals, fit_curve, fit_service
from cvxqueue.statistics import poisson_test
from cvxqueue.statistics.time_units import in_seconds

FRAMES: dict[str, Callable[[Any], Any]] = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "arrow": pa.table,
}
PLAIN: dict[str, Callable[[Any], Any]] = {
    "pandas": pd.Series,
    "polars": pl.Series,
    "arrow": pa.array,
}
each_frame = pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
BERLIN = dt.timezone(dt.timedelta(hours=1))
RNG = np.random.default_rng(15)
TOKENS = RNG.integers(100, 4000, 60)
SECONDS = np.round(0.3 + 0.007 * TOKENS * RNG.uniform(0.98, 1.02, 60), 6)
ARRIVALS = np.round(np.cumsum(RNG.exponential(20.0, 60)), 6)
TYPES = RNG.choice(["math", "code"], 60).tolist()
CORRECT = RNG.random(60) < 0.8 - 0.6 * np.exp(-TOKENS / 1000)
MOMENTS = [
    dt.datetime(2026, 3, 1, 12, tzinfo=BERLIN) + dt.timedelta(microseconds=round(1e6 * seconds))
    for seconds in ARRIVALS.tolist()
]
REQUESTS = {"tokens": TOKENS, "seconds": SECONDS, "types": TYPES}
ANSWERS = {"tokens": TOKENS, "correct": CORRECT, "types": TYPES}
TRACE = {"arrivals": ARRIVALS, "types": TYPES}


def naive(moments: list[dt.datetime]) -> list[dt.datetime]:
    return [moment.astimezone(dt.UTC).replace(tzinfo=None) for moment in moments]


# A column of given moments, in every way to have one.
CLOCKS: dict[str, Callable[[list[dt.datetime]], Any]] = {
    "python": list,
    "python in two zones": lambda moments: [
        moment.astimezone(dt.UTC if place % 2 else BERLIN) for place, moment in enumerate(moments)
    ],
    "python without zone": naive,
    "numpy": lambda moments: np.array(naive(moments), "datetime64[us]"),
    "pandas": lambda moments: pd.Series(pd.to_datetime(naive(moments)), index=range(len(moments))),
    "pandas nanoseconds": lambda moments: pd.Series(naive(moments)).astype("datetime64[ns]"),
    "pandas zone": lambda moments: pd.Series(pd.to_datetime(moments)).dt.tz_convert("Asia/Tokyo"),
    "pandas index": lambda moments: pd.DatetimeIndex(moments),
    "pandas timestamps": lambda moments: list(pd.DatetimeIndex(moments)),
    "pandas in Arrow": lambda moments: pd.Series(moments).astype(
        pd.ArrowDtype(pa.timestamp("us", "UTC"))
    ),
    "polars": lambda moments: pl.Series(naive(moments)),
    "polars zone": lambda moments: pl.Series(naive(moments)).dt.replace_time_zone("UTC"),
    "arrow": lambda moments: pa.array(naive(moments)),
    "arrow zone": lambda moments: pa.chunked_array([pa.array(moments)]),
}
each_clock = pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)


def without_source(fit: cq.Fit) -> dict[str, Any]:
    return {name: value for name, value in fit.to_dict().items() if name != "sources"}


@each_frame
def test_fits_of_frames_are_those_of_lists(frame: Callable[[Any], Any]) -> None:
    # What nobody asked for stands in the way of nothing, as in a file.
    extra = {"model": ["qwen"] * 60, "request": np.arange(60)}
    tables = [frame({**data, **extra}) for data in (REQUESTS, ANSWERS, TRACE)]
    found = cq.fit(service=tables[0], accuracy=tables[1], trace=tables[2])
    listed = [
        {name: list(values) for name, values in data.items()} for data in (REQUESTS, ANSWERS, TRACE)
    ]
    expected = cq.fit(service=listed[0], accuracy=listed[1], trace=listed[2])
    assert found.to_dict() == expected.to_dict()
    columns = [{name: table[name] for name in ("tokens", "types")} for table in tables[:2]]
    columns[0]["seconds"], columns[1]["correct"] = tables[0]["seconds"], tables[1]["correct"]
    mapped = cq.fit(service=columns[0], accuracy=columns[1], trace=tables[2])
    assert mapped.to_dict() == expected.to_dict()
    assert cq.diagnose(tables[0]).to_dict() == cq.diagnose(listed[0]).to_dict()


@each_frame
def test_columns_are_found_and_in_units_as_those_of_files(
    frame: Callable[[Any], Any], tmp_path: Path
) -> None:
    data = pd.DataFrame(
        {
            "output_tokens": TOKENS,
            "latency_ms": 1000.0 * SECONDS,
            "Timestamp (min)": ARRIVALS / 60.0,
            "category": TYPES,
            "is_correct": CORRECT,
            "accuracy": 0.5,
            "concurrency": np.nan,
        }
    )
    path = tmp_path / "data in memory"
    data.to_csv(path, index=False)
    table = frame({name: data[name].tolist() for name in data if name != "concurrency"})
    found = cq.fit(service=table, accuracy=table, trace=table)
    read = cq.fit(service=path, accuracy=path, trace=path)
    assert without_source(found) == without_source(read)
    assert found.service["math"].rows == TYPES.count("math")


def test_an_optional_column_without_entries_is_as_good_as_none() -> None:
    frame = pd.DataFrame({**REQUESTS, "budget": np.nan, "concurrency": None})
    assert cq.fit(service=frame).to_dict() == cq.fit(service=REQUESTS).to_dict()
    frame.loc[3, "budget"] = 500.0
    with pytest.raises(cq.InvalidInputError, match=r"service: budgets\[0\] is missing"):
        cq.fit(service=frame)


@each_frame
def test_what_a_frame_lacks_is_named(frame: Callable[[Any], Any]) -> None:
    with pytest.raises(
        cq.InvalidInputError, match=r"service: no column for seconds .* known: secs, tokens"
    ):
        cq.fit(service=frame({"tokens": TOKENS, "secs": SECONDS}))
    with pytest.raises(cq.InvalidInputError, match="'arrivals' for arrivals states no unit"):
        cq.fit(trace=frame({"arrivals": np.rint(ARRIVALS)}))
    with pytest.raises(cq.InvalidInputError, match=r"service: seconds\[0\] = -1\.0 must be > 0"):
        cq.fit(service=frame({"tokens": [1, 2, 3], "seconds": [-1.0, 0.0, 1.0]}))
    with pytest.raises(cq.InvalidInputError, match="must have at least one entry"):
        cq.fit(service=frame({"tokens": np.zeros(0), "seconds": np.zeros(0)}))


@pytest.mark.parametrize("column", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize(
    ("part", "field", "values"),
    [
        ("service", "tokens", [100, None, 300, 400]),
        ("service", "seconds", [1.0, None, 3.0, 4.0]),
        ("service", "types", ["a", None, "a", "a"]),
        ("accuracy", "correct", [True, None, False, True]),
        ("accuracy", "accuracy", [0.5, None, 0.5, 0.6]),
        ("trace", "arrivals", [1.5, None, 3.0, 4.0]),
        ("trace", "arrivals", [dt.datetime(2026, 1, 1), None, *[dt.datetime(2026, 1, 2)] * 2]),
        ("trace", "arrivals", [dt.timedelta(seconds=1), None, *[dt.timedelta(seconds=2)] * 2]),
    ],
)
def test_what_is_missing_is_named_and_never_filled_in(
    column: Callable[[Any], Any], part: str, field: str, values: list[Any]
) -> None:
    parts: dict[str, dict[str, Any]] = {
        "service": {"tokens": [100, 200, 300, 400], "seconds": [1.0, 2.0, 3.0, 4.0]},
        "accuracy": {"tokens": [0, 100, 200, 400]},
        "trace": {},
    }
    says = rf"{part}: {field}\[1\] (is missing|= nan must be|must be a string, got None)"
    for given_column in (column(values), values):
        with pytest.raises(cq.InvalidInputError, match=says):
            cq.fit(**{part: {**parts[part], field: given_column}})  # type: ignore[arg-type]


TRUTHS: dict[str, Callable[[list[bool]], Any]] = {
    "pandas": pd.Series,
    "pandas nullable": lambda truths: pd.Series(truths, dtype="boolean"),
    "pandas objects": lambda truths: pd.Series(truths, dtype=object),
    "polars": pl.Series,
    "arrow": pa.array,
    "masked": lambda truths: np.ma.masked_array(truths, mask=False),
}


@pytest.mark.parametrize("column", TRUTHS.values(), ids=TRUTHS)
def test_right_answers_may_be_truths(column: Callable[[list[bool]], Any]) -> None:
    expected = fit_curve(TOKENS, CORRECT.astype(float))
    assert fit_curve(TOKENS, column(CORRECT.tolist())).to_dict() == expected.to_dict()
    with pytest.raises(cq.InvalidInputError, match="tokens must be a number or a flat list"):
        fit_curve(column(CORRECT.tolist()), CORRECT)


@each_clock
def test_dates_and_times_are_arrivals(clock: Callable[[list[dt.datetime]], Any]) -> None:
    column = clock(MOMENTS)
    expected = cq.fit(trace={"arrivals": ARRIVALS - ARRIVALS[0]})
    assert fit_arrivals(column).rate.value == pytest.approx(fit_arrivals(ARRIVALS).rate.value)
    assert poisson_test(column).gaps == 59
    found = cq.fit(trace={"arrivals": column})
    assert found.arrivals is not None
    assert expected.arrivals is not None
    assert found.arrivals.duration == pytest.approx(expected.arrivals.duration, rel=1e-12)


@each_clock
@given(data=st.data())
def test_moments_are_whole_microseconds_after_the_first(
    clock: Callable[[list[dt.datetime]], Any], data: st.DataObject
) -> None:
    steps = data.draw(st.lists(st.integers(0, 10**15), min_size=1, max_size=5))
    start = dt.datetime(2001, 2, 3, 4, 5, 6, 7, tzinfo=BERLIN)
    moments = [start + dt.timedelta(microseconds=step) for step in steps]
    found = in_seconds("x", clock(moments), is_moment=True)
    assert found.tolist() == [(step - min(steps)) / 1e6 for step in steps]


def test_a_trace_of_dates_is_replayed() -> None:
    instance = cq.Instance(
        arrival_rate=0.05,
        accuracy_weight=10.0,
        max_tokens=1000.0,
        probabilities=[1.0],
        service=cq.AffineService(base=0.5, per_token=0.01),
        accuracy=cq.SaturatingExponential(floor=0.1, gain=0.5, rate=0.01),
    )
    since = ARRIVALS - ARRIVALS[0]
    waits = [
        cq.simulate(instance, [500.0], arrivals=times, seed=1).mean_waiting_time.value
        for times in (pd.Series(MOMENTS), since)
    ]
    assert waits[0] == pytest.approx(waits[1], rel=1e-9)


@pytest.mark.parametrize(
    "durations",
    [
        pd.Series(pd.to_timedelta(SECONDS, unit="s")),
        pl.Series([dt.timedelta(seconds=each) for each in SECONDS.tolist()]),
        pa.array([dt.timedelta(seconds=each) for each in SECONDS.tolist()]),
        [dt.timedelta(seconds=each) for each in SECONDS.tolist()],
        np.rint(1e6 * SECONDS).astype("timedelta64[us]"),
    ],
    ids=["pandas", "polars", "arrow", "python", "numpy"],
)
def test_durations_are_seconds(durations: Any) -> None:
    expected = fit_service(TOKENS, SECONDS).per_token.value
    assert fit_service(TOKENS, durations).per_token.value == pytest.approx(expected, rel=1e-12)
    # A duration has its unit with it, whatever the name of the column says.
    frame = pd.DataFrame({"tokens": TOKENS, "latency_ms": durations})
    line = cq.fit(service=frame).service_line
    assert line.per_token.value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([MOMENTS[0], naive(MOMENTS)[1]], r"arrivals\[1\] = .* is in no time zone"),
        ([naive(MOMENTS)[0], None, MOMENTS[1]], r"arrivals\[2\] = .* is in a time zone"),
        (["2026-01-01T00:00:00"] * 2, "arrivals must be a number or a flat list"),
        ([dt.time(1)], "arrivals must be a number or a flat list"),
        (np.array([1, 2], "timedelta64[M]"), "arrivals must be a number or a flat list"),
        (np.array(["2026", "NaT"], "datetime64[D]"), r"arrivals\[1\] is missing"),
        (pd.Series([pd.NaT, pd.NaT]), r"arrivals\[0\] is missing"),
        (pd.Series(pd.period_range("2024", "2025", freq="Y")), "arrivals must be a number"),
        ([[1.0], [2.0, 3.0]], "got a ragged list"),
    ],
)
def test_what_is_no_moment_is_refused(values: Any, says: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=says):
        cq.fit(trace={"arrivals": values})


def test_a_date_is_no_duration() -> None:
    with pytest.raises(cq.InvalidInputError, match="service: seconds must be a number"):
        cq.fit(service={"tokens": TOKENS, "seconds": pd.Series(MOMENTS)})


def test_whole_dates_are_days_apart() -> None:
    days = pl.Series([dt.date(2026, 1, 1), dt.date(2026, 1, 4), dt.date(2026, 1, 2)])
    found = in_seconds("x", days, is_moment=True)
    assert found.tolist() == [0.0, 3 * 86400.0, 86400.0]
    assert in_seconds("x", days.to_list(), is_moment=True).tolist() == found.tolist()
    # 500 years in nanoseconds are no number of 64 bits.
    far = np.array(["1800-01-01", "2250-01-01"], "datetime64[ns]")
    assert in_seconds("x", far, is_moment=True).tolist() == [0.0, 164359 * 86400.0]


@pytest.mark.parametrize("argument", ["service", "accuracy", "trace"])
@pytest.mark.parametrize("nothing", [[], (), np.array([]), pd.DataFrame(), pl.DataFrame()])
def test_measurements_without_rows_are_no_path(argument: str, nothing: Any) -> None:
    with pytest.raises(cq.InvalidInputError, match=f"^{argument} must be .* and has no rows$"):
        cq.fit(**{argument: nothing})


def test_a_list_of_rows_is_no_path() -> None:
    with pytest.raises(cq.InvalidInputError, match=r"^accuracy must be the path .*, got \[\[1, 2"):
        cq.fit(accuracy=[[1, 2], [1]])  # type: ignore[arg-type]
