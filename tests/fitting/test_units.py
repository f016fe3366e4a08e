"""Units and clocks: right where they are stated, asked for where they are not, never guessed.

Each trace has twelve arrivals of which the last comes 61.11 s after the first: 11/61.11 = 0.18 a
second, whatever it is written in.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue import InvalidInputError
from cvxqueue.cli import main
from cvxqueue.fitting import fit_arrivals, fit_curve, fit_service, read_requests
from tests.measurements import vllm_result
from tests.paths import SERVER

TIMES = [0.0, 2.31, 3.05, 11.72, 12.0, 19.43, 30.81, 31.2, 44.07, 47.5, 60.02, 61.11]
RATE = 11 / 61.11
EPOCH = 1.7e9
TOKENS = [64.0, 128.0, 512.0, 1024.0, 2048.0]


def lines(write: Callable[[int, float], dict[str, Any]]) -> str:
    return "".join(json.dumps(write(k, t)) + "\n" for k, t in enumerate(TIMES))


def column(name: str, write: Callable[[float], object]) -> str:
    return f"id,{name}\n" + "".join(f"{k},{write(t)}\n" for k, t in enumerate(TIMES))


def day(zone: timezone | None) -> Callable[[float], object]:
    return lambda t: datetime(2026, 3, 29, 1, 59, 30, tzinfo=zone) + timedelta(seconds=t)


def kept(k: int, t: float) -> dict[str, Any]:
    return {"input_length": 521, "output_length": 132}


def whole(k: int, t: float) -> dict[str, Any]:
    return {"timestamp": round(1000 * t), **kept(k, t)}


def hashed(k: int, t: float) -> dict[str, Any]:
    return {**whole(k, t), "hash_ids": [k]}


READ = {
    "Mooncake": ("t.jsonl", lines(hashed), None),
    "Mooncake by any other name": ("t.txt", lines(hashed), None),
    # The Qwen-Bailian trace has the keys of Mooncake's, and seconds.
    "seconds in JSON Lines": (
        "t.jsonl",
        lines(lambda k, t: {"chat_id": k, "timestamp": t, **kept(k, t)}),
        None,
    ),
    "seconds with hashes": (
        "t.jsonl",
        lines(lambda k, t: {"timestamp": t, **kept(k, t), "hash_ids": [k]}),
        None,
    ),
    "seconds with hashes, the first a whole one": (
        "t.jsonl",
        lines(lambda k, t: {"timestamp": t if k else 0, **kept(k, t), "hash_ids": [k]}),
        None,
    ),
    "the keys of Mooncake without hashes": ("t.jsonl", lines(whole), "timestamp_ms"),
    "Mooncake's with keys of their own": (
        "t.jsonl",
        lines(lambda k, t: {"chat_id": k, **hashed(k, t)}),
        "timestamp_ms",
    ),
    "numbered rows before": ("t.csv", column("timestamp", str), None),
    "milliseconds": ("t.csv", column("start_ms", lambda t: 1e3 * t), None),
    "whole milliseconds": ("t.csv", column("start", lambda t: round(1e3 * t)), "start_ms"),
    "seconds since 1970": ("t.csv", column("start", lambda t: EPOCH + t), None),
    "milliseconds since 1970": (
        "t.csv",
        column("start", lambda t: round(1e3 * (EPOCH + t))),
        "start_milliseconds",
    ),
    "broken milliseconds since 1970": (
        "t.csv",
        column("start", lambda t: f"{1e3 * (EPOCH + t):.3f}"),
        "start_milliseconds",
    ),
    "nanoseconds of OpenTelemetry": (
        "t.jsonl",
        lines(lambda k, t: {"startTimeUnixNano": str(round(1e9 * t) + 17 * 10**17)}),
        "startTimeUnixNano",
    ),
    "days of a spreadsheet": (
        "t.csv",
        column("start", lambda t: f"{45261.5 + t / 86400:.12f}"),
        "start_days",
    ),
    "dates in UTC": ("t.csv", column("start", day(UTC)), None),
    "dates without a zone": ("t.csv", column("start", day(None)), None),
    "last first": ("t.csv", column("start", lambda t: 100.25 - t), None),
}


@pytest.mark.parametrize("kind", READ)
def test_the_rate_is_right_by_every_way(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, text, given = READ[kind]
    path = tmp_path / name
    path.write_text(text)
    chosen = {} if given is None else {"arrivals": given}
    found = read_requests(path, needs=("arrivals",), columns=chosen)
    assert fit_arrivals(found.column("arrivals")).rate.value == pytest.approx(RATE, rel=1e-4)
    option = [] if given is None else ["--column", f"trace.arrivals={given}"]
    assert main(["fit", "--trace", str(path), "--json", *option]) == 0
    rate = json.loads(capsys.readouterr().out)["arrivals"]["rate"]["value"]
    assert rate == pytest.approx(RATE, rel=1e-4)
    option = [] if given is None else ["--column", f"arrivals={given}"]
    assert main(["diagnose", str(path), "--json", *option]) == 0
    rate = json.loads(capsys.readouterr().out)["Poisson_arrivals"]["arrival_rate"]
    assert rate == pytest.approx(RATE, rel=1e-4)
    words = ["simulate", SERVER, "--tokens", "100", "--trace", str(path), "--json", *option]
    assert main(words) == 0
    replayed = json.loads(capsys.readouterr().out)
    times = np.array(TIMES) if kind != "last first" else 61.11 - np.array(TIMES)[::-1]
    expected = cq.simulate(cq.load(SERVER), 100.0, arrivals=times)
    waits = replayed["mean_waiting_time"]["value"]
    assert waits == pytest.approx(expected.mean_waiting_time.value, rel=1e-4)


# Of the files above whose unit had to be given, what is said without it.
WITHOUT_UNIT = {
    "the keys of Mooncake without hashes": r"'timestamp' for arrivals states no unit and holds "
    r"whole numbers: seconds, milliseconds, or rows\? .*arrivals=timestamp_ms",
    "Mooncake's with keys of their own": "arrivals=timestamp_ms",
    "milliseconds since 1970": "milliseconds since 1970.*arrivals=start_milliseconds",
    "days of a spreadsheet": "days since 1900 as a spreadsheet has them.*arrivals=start_days",
    "whole milliseconds": "arrivals=start_ms",
}
ASKED = {kind: (*READ[kind][:2], message) for kind, message in WITHOUT_UNIT.items()} | {
    "a JSON file of such lines": ("t.json", lines(whole), "arrivals=timestamp_ms"),
    "microseconds since 1970": (
        "t.csv",
        column("start", lambda t: round(1e6 * (EPOCH + t))),
        "microseconds since 1970.*arrivals=start_microseconds",
    ),
    "ids": ("t.csv", column("x", str).replace("id", "start"), "milliseconds, or rows"),
    "no times": ("t.csv", column("x", str), "no column for arrivals"),
    "a stated unit that cannot be": (
        "t.csv",
        column("start_us", lambda t: 50 * t),
        r"12 in 0.003056 s are 3600 a second, and must be between 1e-05 and 1000",
    ),
    "ids of a stated unit": (
        "t.csv",
        "start_s\n" + "".join(f"{7 + k}\n" for k in range(12)),
        "all 11 gaps are 1 s, as those of numbered rows",
    ),
    "two clocks in one column": (
        "t.csv",
        "start\n" + "".join(f"{day(None)(t) if k < 6 else t}\n" for k, t in enumerate(TIMES)),
        "6 of 12 rows.*line 8: start = '30.81' is a number, those above a date without a time zone",
    ),
    "dates with and without a zone": (
        "t.csv",
        "start\n" + "".join(f"{day(None if k else UTC)(t)}\n" for k, t in enumerate(TIMES)),
        "a date without a time zone, those above a date in a time zone",
    ),
}


@pytest.mark.parametrize("kind", ASKED)
def test_what_is_not_stated_is_asked_for(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, text, message = ASKED[kind]
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        cq.fit(trace=path)
    assert main(["simulate", SERVER, "--tokens", "100", "--trace", str(path)]) == 2
    assert "no column" in message or str(path) in capsys.readouterr().err


IN_MEMORY: dict[str, tuple[Any, str]] = {
    "milliseconds since 1970": (
        1e3 * (EPOCH + np.array(TIMES)),
        "later than any date; give seconds, and not milliseconds since 1970",
    ),
    "nanoseconds since 1970": (1e9 * (EPOCH + np.array(TIMES)), "not nanoseconds since 1970"),
    "two clocks": ([*TIMES, *(1e3 * (EPOCH + np.array(TIMES)))], "later than any date; give"),
    "microseconds": (1e6 * np.array(TIMES), "1.8e-07 a second.*or microseconds or nanosec"),
    "a client's sends": (5e-5 * np.array(TIMES), "3600 a second.*one server"),
    "numbers of rows": (np.arange(5.0, 45.0)[::-1], "all 39 gaps are 1 s"),
}


@pytest.mark.parametrize("kind", IN_MEMORY)
def test_data_in_memory_are_held_to_the_same(kind: str) -> None:
    given, message = IN_MEMORY[kind]
    for take in (
        lambda: cq.fit(trace={"arrivals": given}),
        lambda: cq.diagnose({"arrivals": given}),
        lambda: fit_arrivals(given),
    ):
        with pytest.raises(InvalidInputError, match=message):
            take()


def test_a_simulation_replays_no_dates_that_cannot_be() -> None:
    with pytest.raises(InvalidInputError, match=r"arrivals: .* not milliseconds since 1970"):
        cq.simulate(cq.load(SERVER), 100.0, arrivals=1e3 * (EPOCH + np.array(TIMES)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"request_rate": "inf"},
            "request_rate is 'inf', no finite number: the client sent without",
        ),
        ({"request_rate": float("inf")}, "request_rate is inf"),
        ({"request_rate": None}, "request_rate is None"),
        ({"request_rate": 2.0, "max_concurrency": 4}, "max_concurrency is 4: the client waited"),
    ],
)
def test_what_a_client_sends_is_no_arrival(
    changes: dict[str, Any], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sends = {"start_times": [1000.0 + 5e-5 * t for t in TIMES], "max_concurrency": None, **changes}
    path = tmp_path / "result.json"
    path.write_text(vllm_result(**sends))
    message = rf"result.json: the start times are no arrivals: {reason}.*--arrival-rate"
    with pytest.raises(InvalidInputError, match=message):
        cq.fit(trace=path)
    with pytest.raises(InvalidInputError, match=message):
        cq.fit(trace=read_requests(path))
    assert main(["simulate", SERVER, "--trace", str(path)]) == 2
    assert "no arrivals" in capsys.readouterr().err
    poisson = cq.diagnose(path).findings[2]
    assert (poisson.holds, poisson.numbers) == (None, {})
    assert "The start times are no arrivals" in poisson.sentence
    # They are when requests started: what was served together is seen.
    assert any("up to 12" in warning for warning in cq.fit(service=path).warnings)


def test_a_client_that_sends_at_a_rate_of_its_own_is_a_stream_of_arrivals(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    times = [1000.0 + t for t in TIMES]
    text = vllm_result(request_rate=0.18, max_concurrency=None, start_times=times)
    path.write_text(text)
    found = cq.fit(trace=path).arrivals
    assert found is not None
    assert found.rate.value == pytest.approx(RATE)
    path.write_text(text + "\n" + text)
    with pytest.raises(InvalidInputError, match="holds 2 runs"):
        cq.fit(trace=path)


def test_times_in_no_order_may_be_durations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.csv"
    times = np.random.default_rng(0).uniform(1.0, 300.0, 200)
    path.write_text("start\n" + "".join(f"{t:.3f}\n" for t in times))
    assert any("are they durations" in warning for warning in cq.fit(trace=path).warnings)
    words = ["simulate", SERVER, "--tokens", "100", "--match-rate", "--trace", str(path)]
    assert main([*words, "--json"]) == 0
    assert "are they durations" in json.loads(capsys.readouterr().out)["warnings"][0]
    assert main(words) == 0
    assert "are they durations" in " ".join(capsys.readouterr().out.split())
    path.write_text("start\n" + "".join(f"{t:.3f}\n" for t in np.sort(times)))
    assert not any("are they durations" in warning for warning in cq.fit(trace=path).warnings)


SERVICE = {
    "milliseconds": (TOKENS, [250.0 + 7.0 * t for t in TOKENS], "7 seconds.*in milliseconds"),
    "microseconds": (TOKENS, [2.5e5 + 7e3 * t for t in TOKENS], "7000 .*in microseconds"),
    "hours": (TOKENS, [(0.25 + 0.007 * t) / 3600 for t in TOKENS], "1.944e-06.* or hours or days"),
    "thousands of tokens": (
        [t / 1000 for t in TOKENS],
        [0.25 + 0.007 * t for t in TOKENS],
        "7 seconds per token, and must have between 1e-05 and 1: .*the tokens in thousands",
    ),
    "times to the first token": (
        TOKENS,
        [0.05 + 1e-6 * t for t in TOKENS],
        "1e-06 seconds per token.*the times those of whole answers",
    ),
}


@pytest.mark.parametrize("kind", SERVICE)
def test_seconds_per_token_that_no_server_takes(kind: str, tmp_path: Path) -> None:
    tokens, seconds, message = SERVICE[kind]
    path = tmp_path / "times.csv"
    rows = zip(tokens, seconds, strict=True)
    path.write_text("tokens,latency\n" + "".join(f"{t},{s + 1e-9!r}\n" for t, s in rows))
    data = {"tokens": tokens, "seconds": seconds}
    for take in (
        lambda: cq.fit(service=path),
        lambda: cq.diagnose(path),
        lambda: cq.fit(service=data),
        lambda: cq.diagnose(data),
        lambda: fit_service(tokens, seconds),
    ):
        with pytest.raises(InvalidInputError, match=message):
            take()
    if kind == "milliseconds":
        stated = read_requests(path, columns={"seconds": "latency_ms"})
        found = fit_service(stated.column("tokens"), stated.column("seconds"))
        assert found.per_token.value == pytest.approx(0.007)
        assert found.base.value == pytest.approx(0.25)


@pytest.mark.parametrize("extreme", [1e308, 1e-320])
def test_times_that_no_clock_shows_are_refused(extreme: float) -> None:
    with pytest.raises(InvalidInputError, match=r"seconds\[5\].*from 1e-09 to 1e\+09"):
        fit_service([*TOKENS, 4096.0], [0.007 * t for t in TOKENS] + [extreme])


def test_whole_times_without_a_unit_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "times.csv"
    # A tenth of a millisecond per token, and the same number of seconds is a server too.
    path.write_text("tokens,latency\n1000,100\n2000,200\n4000,400\n")
    with pytest.raises(InvalidInputError, match=r"whole numbers.*seconds=latency_ms"):
        cq.fit(service=path)
    found = cq.fit(service=read_requests(path, columns={"seconds": "latency_ms"}))
    assert found.service_line.per_token.value == pytest.approx(1e-4)


def test_curves_over_thousands_of_tokens_are_asked_about() -> None:
    with pytest.raises(InvalidInputError, match=r"tokens: at most 7.3, and not whole: .*thousands"):
        fit_curve([0.5, 1, 2, 7.3], [10, 30, 60, 80], [100] * 4)
    assert fit_curve([1, 2, 4, 9], [10, 30, 60, 80], [100] * 4).answers == 400
