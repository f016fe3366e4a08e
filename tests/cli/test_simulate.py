"""``cvxqueue simulate``: what it prints, where, and with which exit status."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.cli import main
from tests.paths import SERVER

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def trace(folder: Path, lines: list[str]) -> str:
    path = folder / "arrivals.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_the_table(capsys: Capture) -> None:
    assert main(["simulate", SERVER, "--queries", "50000", "--seed", "3"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("qwen3-8b-h100: optimal tokens, 50,000 queries, Poisson arrivals, ")
    for word in ("Little: L − λ T", "P(wait > 0)", "mean accuracy", "(Bonferroni)", "agrees"):
        assert word in out
    assert max(map(len, out.splitlines())) <= 80
    assert "Theory and simulation agree." in out


def test_json_has_estimates_and_outcomes(capsys: Capture) -> None:
    assert main(["simulate", SERVER, "--queries", "20000", "--integer", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    integer = cq.solve_integer(cq.load(SERVER))
    assert data["status"] == "simulated"
    assert data["allocation"] == "best whole tokens"
    assert data["tokens"] == integer.tokens.tolist()
    again = cq.simulate(cq.load(SERVER), integer.tokens, queries=20_000)
    assert data["mean_waiting_time"]["value"] == again.mean_waiting_time.value
    assert data["theory"]["agrees"] is True
    row = next(r for r in data["theory"]["rows"] if r["quantity"] == "mean waiting time (s)")
    assert row["theory"] == pytest.approx(integer.mean_waiting_time)


@pytest.mark.parametrize(
    ("given", "tokens"), [("512", [512.0] * 5), ("1,2,3,4,5.5", [1.0, 2.0, 3.0, 4.0, 5.5])]
)
def test_given_tokens(given: str, tokens: list[float], capsys: Capture) -> None:
    words = ["simulate", SERVER, "--queries", "2000", "--tokens", given, "--gap-scv", "2"]
    assert main([*words, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["tokens"], data["arrivals"]) == (tokens, "renewal")


@pytest.mark.parametrize("dates", [False, True])
def test_a_trace(dates: bool, tmp_path: Path, capsys: Capture) -> None:
    times = np.round(np.cumsum(np.random.default_rng(0).gamma(0.5, 2.0, 2000)), 3)
    start = datetime(2026, 1, 31)
    lines = [f"{start + timedelta(seconds=time) if dates else time},1" for time in times.tolist()]
    path = trace(tmp_path, ["TIMESTAMP,Tokens", "", *lines])
    assert main(["simulate", SERVER, "--trace", path, "--match-rate", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["arrivals"], data["queries"]) == ("trace", 2000)
    assert data["theory"]["poisson_test"]["is_rejected"] is True
    rate = cq.load(SERVER).arrival_rate
    scaled = (times - times[0]) * (1999 / ((times[-1] - times[0]) * rate))
    again = cq.simulate(cq.load(SERVER), data["tokens"], arrivals=scaled)
    assert data["mean_waiting_time"]["value"] == pytest.approx(again.mean_waiting_time.value)
    assert main(["simulate", SERVER, "--trace", path]) == 0
    assert "brings more work than the server can do" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "lines",
    [
        ["\ufeffarrival_s", "0", "1", "3"],
        ["timestamp_ms", "5000", "6000", "8000"],
        ["arrival_min", "0", "0.016666666666666666", "0.05"],
        ["arrival_hours", "0", f"{1 / 3600!r}", f"{3 / 3600!r}"],
        # The unit is that of numbers.
        ["start_ms", "2026-01-31 12:00:00", "2026-01-31 12:00:01", "2026-01-31 12:00:03"],
        # The clocks go forward.
        [
            "sent",
            "2026-03-29T01:59:59+01:00",
            "2026-03-29T03:00:00+02:00",
            "2026-03-29T03:00:02+02:00",
        ],
    ],
)
def test_units_and_time_zones_of_a_trace(lines: list[str], tmp_path: Path, capsys: Capture) -> None:
    words = ["simulate", SERVER, "--tokens", "100", "--json", "--trace"]
    assert main([*words, trace(tmp_path, lines)]) == 0
    data = json.loads(capsys.readouterr().out)
    again = cq.simulate(cq.load(SERVER), 100.0, arrivals=[0.0, 1.0, 3.0])
    assert data["queries"] == 3
    assert data["mean_waiting_time"]["value"] == pytest.approx(again.mean_waiting_time.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["sent_s", "0", "x"], "line 3: sent_s = 'x' is neither a number nor a date"),
        (["sent_s", "0", "inf"], "line 3: sent_s = 'inf' must be a finite number"),
        (["sent_s", "5"], "must have two different arrival times"),
        (["sent_s", "5", "5"], "must have two different arrival times"),
        (["sent_s", "1700000000000", "1700000001000"], "later than any date; give seconds, and"),
        (["sent_s", "0", '"1'], "quotation mark in line 3 is never closed"),
        (["0.5", "1.5", "3"], "no column for arrivals"),
        (["id_s", "7", "9"], "no column for arrivals"),
        (["sent_s", *map(str, range(30))], "all 29 gaps are 1 s, as those of numbered rows"),
        (["sent_us", *map(str, range(0, 9000, 300))], "30 in 0.0087 s are 3333 a second"),
    ],
)
def test_traces_that_are_refused(
    lines: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["simulate", SERVER, "--trace", trace(tmp_path, lines)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--queries", "1"], "must be a whole number ≥ 2"),
        (["--queries", "many"], "must be a whole number ≥ 2, got 'many'"),
        (["--seed", "-1"], "must be a whole number ≥ 0"),
        (["--tokens", "1,2"], "one entry for each of the 5 types, got 2"),
        (["--tokens", "1,x"], "must be a finite number ≥ 0, got 'x'"),
        (["--tokens", "30000"], "tokens make the queue unstable"),
        (["--gap-scv", "-1"], "must be a finite number ≥ 0"),
        (["--trace", "no-such-file.csv"], "--trace: cannot read no-such-file.csv: No such file"),
        (["--match-rate"], "--column and --where need --trace"),
        (["--column", "arrivals=t"], "--column and --where need --trace"),
        (["--integer", "--tokens", "1"], "not allowed with"),
    ],
)
def test_words_that_are_refused(words: list[str], message: str, capsys: Capture) -> None:
    assert main(["simulate", SERVER, *words]) == 2
    assert message in capsys.readouterr().err


def test_a_trace_is_chosen_from_as_fit_does(tmp_path: Path, capsys: Capture) -> None:
    rows = ["when,model", "0.5,a", "0.75,b", "1.5,a", "x,a", "3.5,a"]
    path = trace(tmp_path, rows)
    chosen = ["--column", "arrivals=when_s", "--where", "model=a", "--max-malformed", "0.5"]
    words = ["simulate", SERVER, "--tokens", "100", "--trace", path, *chosen]
    assert main([*words, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    again = cq.simulate(cq.load(SERVER), 100.0, arrivals=[0.0, 1.0, 3.0])
    assert data["mean_waiting_time"]["value"] == pytest.approx(again.mean_waiting_time.value)
    assert "1 malformed row left out, the first: line 5: when = 'x'" in data["warnings"][0]
    assert main(words) == 0
    assert "warning: arrivals.csv: 1 malformed row left out" in capsys.readouterr().out


def test_levels_have_no_tokens_to_simulate(tmp_path: Path, capsys: Capture) -> None:
    levels = cq.LevelMenu(accuracy=[0.5, 0.9], mean_service_time=[2.0, 9.0])
    menu = [cq.Integers()] * 4 + [levels]
    path = tmp_path / "levels.toml"
    cq.save(cq.load(SERVER).replace(domains=menu), path)
    assert main(["simulate", str(path), "--integer"]) == 2
    error = capsys.readouterr().err
    assert "--integer: HMMT25 has measured levels of effort" in error
    assert "give --tokens" in error
    assert main(["simulate", str(path), "--queries", "2000", "--json"]) == 0


def test_a_trace_that_is_no_text(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "arrivals.csv"
    path.write_bytes(b"\xff\xfe\x00")
    assert main(["simulate", SERVER, "--trace", str(path)]) == 2
    assert (
        "arrivals.csv: byte 0xff in line 1 is not UTF-8; save the file" in capsys.readouterr().err
    )


def test_no_stable_allocation(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "busy.toml"
    cq.save(cq.load(SERVER).replace(arrival_rate=2.0), path)
    assert main(["simulate", str(path)]) == 1
    assert "no stable allocation" in capsys.readouterr().err
