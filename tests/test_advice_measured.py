"""What messages about measurements, simulations and files advise is done here, to the letter."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.cli import main
from cvxqueue.files import loads, storage, text, to_dict
from cvxqueue.fitting import fit_arrivals, fit_curve, fit_service, formats, read_requests
from tests.measurements import vllm_result
from tests.paths import SERVER as SERVER_FILE
from tests.test_advice import SERVER, number_after

TIMES = np.array([0.0, 2.31, 3.05, 11.72, 12.0, 19.43, 30.81, 31.2, 44.07, 47.5, 60.02, 61.11])
TOKENS = np.array([64.0, 128.0, 512.0, 1024.0, 2048.0, 4096.0])
SECONDS = 0.25 + 0.007 * TOKENS + np.array([0.01, -0.01, 0.02, 0.0, -0.02, 0.01])

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def table(name: str, **columns: Any) -> str:
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    Path(name).write_text("\n".join(lines) + "\n")
    return name


def error_of(capsys: Capture, *words: str) -> str:
    assert main(list(words)) == 2
    return capsys.readouterr().err


def column_after(message: str) -> str:
    """The words that a message proposes to put behind ``--column``."""
    found = re.search(r"(?:name: |--column )(\w+=\w+)", message)
    assert found is not None, message
    return found[1]


@pytest.mark.parametrize(("unit", "scale"), [("milliseconds", 1e5), ("hours", 1e-2 / 3600)])
def test_a_unit_put_behind_the_name_is_read(unit: str, scale: float, capsys: Capture) -> None:
    name = table("t.csv", start=[f"{scale * t + 0.125:.12f}" for t in TIMES])
    words = ["simulate", SERVER_FILE, "--tokens", "100", "--match-rate", "--trace", name]
    message = " ".join(error_of(capsys, *words).split())
    column = column_after(message)
    assert column == f"arrivals=NAME_{unit}"
    assert f"in fit, trace.arrivals=NAME_{unit}" in message
    column = column.replace("NAME", "start")
    assert main([*words, "--column", column]) == 0
    assert main(["fit", "--trace", name, "--column", f"trace.{column}"]) == 0


def test_a_unit_of_whole_numbers_is_put_behind_the_name(capsys: Capture) -> None:
    name = table("t.csv", start=np.rint(1e3 * TIMES).astype(int))
    words = ["simulate", SERVER_FILE, "--tokens", "100", "--match-rate", "--trace", name]
    column = column_after(error_of(capsys, *words))
    assert column == "arrivals=start_ms"
    assert main([*words, "--column", column]) == 0
    assert main(["fit", "--trace", name, "--column", f"trace.{column}"]) == 0


def test_a_unit_of_dates_is_put_behind_the_name(capsys: Capture) -> None:
    times = 1.7e12 + 1e3 * TIMES
    with pytest.raises(cq.InvalidInputError, match="let the name of its column in a file end in _"):
        fit_arrivals(times)
    name = table("t.csv", start_milliseconds=times)
    assert cq.fit(trace=name).arrivals is not None
    with pytest.raises(cq.InvalidInputError, match="give seconds"):
        cq.simulate(SERVER, 100.0, arrivals=times)
    assert cq.simulate(SERVER, 100.0, arrivals=1e-3 * times - 1.7e9).queries == TIMES.size


def test_times_of_service_are_given_in_their_unit(capsys: Capture) -> None:
    name = table("t.csv", tokens=TOKENS, seconds=1e3 * SECONDS, elapsed=1e3 * SECONDS)
    message = error_of(capsys, "fit", "--service", name)
    assert "service.seconds=NAME_milliseconds" in " ".join(message.split())
    column = "seconds=elapsed_milliseconds"
    assert main(["fit", "--service", name, "--column", f"service.{column}"]) == 0
    capsys.readouterr()
    message = error_of(capsys, "diagnose", name)
    assert column_after(" ".join(message.split())) == column.replace("elapsed", "NAME")
    assert main(["diagnose", name, "--column", column]) == 0
    with pytest.raises(cq.InvalidInputError, match="Give seconds and tokens"):
        fit_service(TOKENS, 1e3 * SECONDS)
    assert fit_service(TOKENS, SECONDS).per_token.value == pytest.approx(0.007, rel=0.01)


CORRECT, TOTAL = [20, 30, 50, 60, 66, 68], [100] * 6
ANSWERS: dict[str, Any] = {"tokens": TOKENS, "correct": CORRECT, "total": TOTAL}
TWO = {
    **{name: [*array, *array] for name, array in ANSWERS.items()},
    "types": ["a"] * 6 + ["b"] * 6,
}
SERVICE = {"tokens": TOKENS, "seconds": SECONDS}
OF_INSTANCE: dict[str, Any] = {"accuracy_weight": 100.0, "max_tokens": 4096.0}
EVEN = np.arange(20.0)


def instance(**changes: Any) -> cq.Instance:
    given: dict[str, Any] = {"service": SERVICE, "accuracy": ANSWERS, **changes}
    parts = {name: given.pop(name) for name in ("service", "accuracy", "trace") if name in given}
    return cq.fit(**parts).instance(**OF_INSTANCE, **given)


@pytest.mark.parametrize(
    ("refused", "words", "advised"),
    [
        (
            lambda: cq.fit(),
            "give service, accuracy or trace",
            lambda: [
                cq.fit(service=SERVICE),
                cq.fit(accuracy=ANSWERS),
                cq.fit(trace={"arrivals": TIMES}),
            ],
        ),
        (
            lambda: instance(),
            "fit with trace=, or give arrival_rate",
            lambda: [instance(arrival_rate=0.1), instance(trace={"arrivals": TIMES})],
        ),
        (
            lambda: instance(accuracy=TWO, arrival_rate=0.1),
            r"give the trace a column of types, or give mix \(probabilities of a, b\)",
            lambda: [
                instance(accuracy=TWO, arrival_rate=0.1, mix={"a": 0.5, "b": 0.5}),
                instance(accuracy=TWO, trace={"arrivals": TIMES, "types": ["a", "b"] * 6}),
            ],
        ),
        (
            lambda: fit_curve(TOKENS, CORRECT, TOTAL, accuracy=np.divide(CORRECT, 100)),
            r"give correct \(a count\) or accuracy \(a fraction\), and not both",
            lambda: [
                fit_curve(TOKENS, CORRECT, TOTAL),
                fit_curve(TOKENS, None, TOTAL, accuracy=np.divide(CORRECT, 100)),
            ],
        ),
        (
            lambda: cq.fit(accuracy={**ANSWERS, "accuracy": np.divide(CORRECT, 100)}),
            r"give correct .* or accuracy .*, and not both",
            lambda: cq.fit(accuracy=ANSWERS),
        ),
        (
            lambda: fit_arrivals(EVEN),
            "give the times at which queries arrived",
            lambda: fit_arrivals(TIMES),
        ),
        (
            lambda: fit_curve(TOKENS / 1000.0, CORRECT, TOTAL),
            "Give tokens",
            lambda: fit_curve(TOKENS, CORRECT, TOTAL),
        ),
        (
            lambda: fit_service(TOKENS, SECONDS[::-1]),
            "check the columns and their units",
            lambda: fit_service(TOKENS, SECONDS),
        ),
        (
            lambda: cq.simulate(SERVER, 9000.0),
            "use fewer tokens, or replay a finite trace as `arrivals`",
            lambda: [
                cq.simulate(SERVER, 100.0, queries=1000),
                cq.simulate(SERVER, 9000.0, arrivals=TIMES),
            ],
        ),
        (
            lambda: cq.fit(service=table("t.csv", length=TOKENS, duration=SECONDS)),
            r"name it '\w+', or say which it is \(columns, --column\)",
            lambda: cq.fit(
                service=read_requests(
                    table("t.csv", length=TOKENS, seconds=SECONDS), columns={"tokens": "length"}
                )
            ),
        ),
        (
            lambda: cq.fit(service=table("t.csv", tokens=TOKENS, seconds=['"1,5"'] * 6)),
            "write a decimal point",
            lambda: cq.fit(service=table("t.csv", tokens=TOKENS, seconds=SECONDS)),
        ),
    ],
    ids=[
        *("nothing", "no rate", "no mix", "both", "both of many", "even", "thousands", "no rise"),
        *("unstable", "no column", "decimal comma"),
    ],
)
def test_what_is_advised_is_taken(
    refused: Callable[[], object], words: str, advised: Callable[[], object]
) -> None:
    with pytest.raises(cq.InvalidInputError, match=words):
        refused()
    advised()


def test_types_of_service_times_are_given_to_the_answers_or_left_out() -> None:
    typed = {**{k: [*v, *v] for k, v in SERVICE.items()}, "types": ["a"] * 6 + ["b"] * 6}
    with pytest.raises(cq.InvalidInputError, match="give the answers types, or leave those of"):
        instance(service=typed, arrival_rate=0.1)
    assert (
        instance(service=typed, accuracy=TWO, arrival_rate=0.1, mix={"a": 0.5, "b": 0.5}).size == 2
    )
    del typed["types"]
    assert instance(service=typed, arrival_rate=0.1).size == 1


def test_the_rate_of_a_client_is_given_itself(capsys: Capture) -> None:
    sends: dict[str, Any] = {
        "start_times": [1000.0 + 5e-5 * t for t in TIMES],
        "max_concurrency": None,
    }
    Path("result.json").write_text(vllm_result(**sends, request_rate="inf"))
    answers = table("answers.csv", **ANSWERS)
    words = ["fit", "--service", table("s.csv", **SERVICE), "--accuracy", answers]
    words += ["--accuracy-weight", "100", "--max-tokens", "4096", "-o", "server.toml"]
    assert "--arrival-rate" in error_of(capsys, *words, "--trace", "result.json")
    assert main([*words, "--arrival-rate", "0.1"]) == 0
    assert "give --force to replace it" in error_of(capsys, *words, "--arrival-rate", "0.1")
    assert main([*words, "--arrival-rate", "0.1", "--force"]) == 0
    assert "give --service, --accuracy or --trace" in error_of(capsys, "fit")
    for option in ("--service", "--accuracy"):
        assert main(["fit", option, {"--service": "s.csv", "--accuracy": answers}[option]]) == 0


def test_tokens_or_the_continuous_optimum_are_simulated_where_types_have_levels(
    capsys: Capture,
) -> None:
    cq.save(SERVER.replace(domains=cq.LevelMenu([0.2, 0.6], [1.0, 2.0])), "levels.toml")
    words = ["simulate", "levels.toml", "--queries", "2000"]
    assert "give --tokens, or neither" in error_of(capsys, *words, "--integer")
    assert main([*words, "--tokens", "100"]) == 0
    assert main(words) == 0


def test_a_table_is_given_as_the_errors_of_files_say() -> None:
    text = """format = "cvxqueue-instance"
version = 1
arrival_rate = 0.1
accuracy_weight = 10.0
"""
    task = """[[task]]
name = "a"
probability = 1.0
service = {kind = "affine", base = 0.5, per_token = 0.002}
accuracy = {kind = "saturating-exponential", floor = 0.2, gain = 0.6, rate = 1e-3}
"""
    with pytest.raises(
        cq.InvalidInputError, match=r"give it there, or above the first \[\[task\]\]"
    ):
        loads(text + task)
    for given in (text + "max_tokens = 4096\n" + task, text + task + "max_tokens = 4096\n"):
        assert loads(given).max_tokens.tolist() == [4096.0]
    with pytest.raises(cq.InvalidInputError, match="give arrays for all types or"):
        loads(text + "max_tokens = 4096\nprobabilities = [1.0]\n" + task)
    with pytest.raises(cq.InvalidInputError, match="is a directory; give a file in it"):
        cq.load(".")


def plain_instance(rate: float, mix: list[float], base: list[float]) -> cq.Instance:
    return cq.Instance(
        arrival_rate=rate,
        accuracy_weight=1.0,
        max_tokens=1.0,
        probabilities=mix,
        service=cq.AffineService(base=base, per_token=1e-3),
        accuracy=cq.SaturatingExponential(floor=0.2, gain=0.6, rate=1e-3),
    )


CROWDED = plain_instance(0.8, [1.0], [1.0])
RARE = plain_instance(0.1, [0.999, 0.001], [0.01, 30.0])


@pytest.mark.parametrize(
    ("given", "queries", "words"),
    [(CROWDED, 20_000, "The run is short"), (RARE, 50_000, "for few queries that are served")],
    ids=["short", "rare"],
)
def test_enough_queries_need_no_caution(given: cq.Instance, queries: int, words: str) -> None:
    tokens = np.zeros(given.size)
    short = cq.simulate(given, tokens, queries=queries, seed=1)
    assert words in short.caution
    found = re.search(r"use at least ([\d,]+) queries", short.caution)
    assert found is not None, short.caution
    advised = int(found[1].replace(",", ""))
    assert queries < advised < 10_000_000
    assert cq.simulate(given, tokens, queries=advised, seed=1).caution == ""
    assert words in cq.simulate(given, tokens, queries=advised - 1, seed=1).caution


def test_more_queries_need_no_caution_where_few_waited() -> None:
    lightly = plain_instance(1e-3, [1.0], [1.0])
    few = cq.simulate(lightly, 0.0, queries=3000, seed=1)
    assert "use more queries" in few.caution
    assert cq.simulate(lightly, 0.0, queries=300_000, seed=1).caution == ""


def test_so_many_gaps_say_how_they_vary() -> None:
    rng = np.random.default_rng(2)
    times = np.cumsum(rng.exponential(5.0, 60))
    few = fit_arrivals(times[:20]).poisson
    enough = int(number_after("asks for; use", few.caution))
    assert fit_arrivals(times[: enough + 1]).poisson.caution == ""
    assert fit_arrivals(times[:enough]).poisson.caution != ""


def test_warnings_of_fits_are_gone_where_their_advice_is_followed() -> None:
    rng = np.random.default_rng(5)

    def counted(tokens: np.ndarray, answers: int) -> tuple[str, ...]:
        p = 0.2 + 0.6 * -np.expm1(-1e-3 * tokens)
        return fit_curve(tokens, rng.binomial(answers, p), [answers] * tokens.size).warnings

    wide = np.array([0.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0])
    assert any("measure at more tokens" in it for it in counted(wide[:3] / 5.0, 20_000))
    assert any("measure at fewer tokens" in it for it in counted(np.array([0.0, 5e3, 7e3]), 2000))
    assert counted(wide, 20_000) == ()
    x = np.repeat([100.0, 110.0], 4)
    noisy = fit_service(x, 0.5 + 0.002 * x + rng.normal(0.0, 0.05, 8))
    assert any("measure more rows, or more different numbers" in it for it in noisy.warnings)
    spread = np.linspace(100.0, 4000.0, 60)
    better = fit_service(spread, 0.5 + 0.002 * spread + rng.normal(0.0, 0.05, 60))
    assert better.warnings == ()
    lonely = np.array([*np.linspace(100.0, 110.0, 9), 4000.0])
    line = 0.5 + 0.002 * lonely + rng.normal(0.0, 0.01, 10)
    assert any("measure more of them" in it for it in fit_service(lonely, line).warnings)


def test_budgets_that_are_not_used_up_are_modelled_as_the_finding_says() -> None:
    rng = np.random.default_rng(6)
    budgets = np.tile([500.0, 1000.0, 2000.0], 100)
    tokens = np.rint(budgets * rng.uniform(0.3, 0.9, 300))
    data = {"tokens": tokens, "budgets": budgets, "seconds": 0.5 + 0.002 * tokens}
    (finding,) = [it for it in cq.diagnose(data).findings if it.subject == "budgets used up"]
    assert finding.holds is False
    scv = number_after("AffineService token_scv=", finding.sentence.replace("=", "= "))
    used = number_after("tokens divided by", finding.sentence.rstrip("."))
    service = cq.AffineService(base=0.5, per_token=0.002, token_scv=scv)
    solved = cq.solve(SERVER.replace(service=service)).tokens
    # Queries use about the solved tokens on average where budgets are set so.
    assert np.mean(rng.uniform(0.3, 0.9, 4000)) * solved[0] / used == pytest.approx(
        solved[0], rel=0.05
    )


# Files.


def test_the_part_that_matters_is_given_of_a_long_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (formats._MOST_BYTES, storage.MOST_BYTES) == (200_000_000, 50_000_000)
    monkeypatch.setattr(formats, "_MOST_BYTES", 2_000_000)
    monkeypatch.setattr(storage, "MOST_BYTES", 1_000_000)
    remark = "x" * 100_000
    wide = table("t.csv", tokens=np.tile(TOKENS, 4), seconds=np.tile(SECONDS, 4), log=[remark] * 24)
    with pytest.raises(cq.InvalidInputError, match=r"more than 2 MB.*give the part that matters"):
        read_requests(wide)
    lines = Path(wide).read_text().splitlines()
    Path("rows.csv").write_text("\n".join(lines[:13]))
    assert read_requests("rows.csv").source.rows == 12
    Path("columns.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines))
    assert read_requests("columns.csv").source.rows == 24
    data = to_dict(SERVER)
    Path("long.json").write_text(json.dumps({**data, "description": 10 * remark}))
    with pytest.raises(cq.InvalidInputError, match=r"more than 1 MB.*give the part that matters"):
        cq.load("long.json")
    Path("short.json").write_text(json.dumps({**data, "description": "x"}))
    assert cq.load("short.json").objective(SERVER.lower) == SERVER.objective(SERVER.lower)


def test_arrays_are_given_in_place_of_a_table_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    many = 40
    of_one = "service = {kind = 'affine', base = 0.5, per_token = 0.002}\n"
    of_one += "accuracy = {kind = 'saturating-exponential', floor = 0.2, gain = 0.6, rate = 1e-3}\n"
    head = "format = 'cvxqueue-instance'\nversion = 1\narrival_rate = 0.1\n"
    head += "accuracy_weight = 10.0\nmax_tokens = 4096\n"
    tasks = head + many * f"[[task]]\nprobability = {1 / many}\n{of_one}"
    expected = loads(tasks)
    monkeypatch.setattr(text, "_MOST_KEYS", 100)
    with pytest.raises(cq.InvalidInputError, match="give arrays for all types in place of a table"):
        loads(tasks)
    assert loads(f"{head}probabilities = {[1 / many] * many}\n{of_one}") == expected


@pytest.mark.parametrize(
    ("wrong", "words", "right"),
    [
        ("name = 'Zürich'\n".encode("latin-1"), "save the file as UTF-8 text", "name = 'Zürich'"),
        (b'{"version": 1, "version": 1}', "occurs more than once.*; keep one", '{"version": 1}'),
    ],
    ids=["letters", "key"],
)
def test_a_file_is_saved_as_the_error_says(wrong: bytes, words: str, right: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=words):
        loads(wrong)
    with pytest.raises(cq.InvalidInputError, match="format is missing"):
        loads(right.encode())


def test_all_tasks_have_a_name_or_none(tmp_path: Path) -> None:
    data = to_dict(SERVER.replace(names=None))
    (tmp_path / "none.json").write_text(json.dumps(data))
    assert cq.load("none.json").names is None
    for names in (["a", *[None] * 4], ["a", "b", "c", "d", "e"]):
        tasks = [
            {**task, **({} if name is None else {"name": name})}
            for task, name in zip(data["task"], names, strict=True)
        ]
        Path("some.json").write_text(json.dumps({**data, "task": tasks}))
        if None not in names:
            assert cq.load("some.json").names == tuple(names)
            continue
        with pytest.raises(cq.InvalidInputError, match="name all tasks or none"):
            cq.load("some.json")


def test_commands_that_are_refused_are_given_as_the_error_says(capsys: Capture) -> None:
    see = re.search(
        r"see cvxqueue (.+)$", error_of(capsys, "solve", SERVER_FILE, "--metod", "x"), re.M
    )
    assert see is not None
    assert main(see[1].split()) == 0
    assert "usage: cvxqueue" in capsys.readouterr().out
    plot = ["solve", SERVER_FILE, "--method", "newton", "--plot"]
    Path("pictures.png").mkdir()
    assert "name a file in it" in error_of(capsys, *plot, "pictures.png")
    assert main([*plot, "pictures.png/a.png"]) == 0
    assert Path("pictures.png/a.png").exists()
    meant = re.search("did you mean '(.+)'", error_of(capsys, *plot, "a.pmg"))
    assert meant is not None
    assert main([*plot, f"a{meant[1]}"]) == 0


def test_the_command_that_comes_next_is_given(capsys: Capture) -> None:
    words = ["fit", "--service", table("s.csv", **SERVICE), "-o", "server.toml"]
    needed = {
        "--accuracy": table("answers.csv", **ANSWERS),
        "--accuracy-weight": "100",
        "--max-tokens": "4096",
        "--arrival-rate": "0.1",
    }
    for option, value in needed.items():
        assert f"--output needs {'--trace or ' * (option == '--arrival-rate')}{option}" in error_of(
            capsys, *words
        )
        words += [option, value]
    assert main(words) == 0
    following = re.search(r"next: cvxqueue (.+)$", capsys.readouterr().out, re.M)
    assert following is not None
    assert main(following[1].split()) == 0


def test_a_quotation_mark_is_closed_or_removed() -> None:
    rows = [f'{n:g},{t},"ok"' for n, t in zip(TOKENS, SECONDS, strict=True)]
    good = "tokens,seconds,remark\n" + "\n".join(rows)
    for right in (good, good.replace('"', "")):
        Path("t.csv").write_text(good[:-1])
        with pytest.raises(cq.InvalidInputError, match=r"in line 7 is .*; close or remove"):
            read_requests("t.csv")
        Path("t.csv").write_text(right)
        assert read_requests("t.csv").source.rows == 6


def test_a_benchmark_is_run_with_its_details() -> None:
    full = json.loads(vllm_result())
    brief = {key: full[key] for key in full if key not in ("ttfts", "itls", "output_lens")}
    Path("result.json").write_text(json.dumps(brief))
    with pytest.raises(cq.InvalidInputError, match="--save-result and --save-detailed"):
        read_requests("result.json", format="vllm")
    Path("result.json").write_text(json.dumps(full))
    assert read_requests("result.json", format="vllm").source.rows == 12


# Requests.


def test_rows_are_ordered_by_time() -> None:
    times = np.cumsum(np.random.default_rng(3).exponential(5.0, 40))
    mixed = np.random.default_rng(4).permutation(times)
    for order, is_warned in ((mixed, True), (np.sort(mixed), False)):
        found = cq.fit(trace=table("t.csv", arrival_s=order))
        assert found.arrivals is not None
        warned = any("Order the rows by time" in it for it in found.warnings)
        assert warned is is_warned
        # The fit itself sorts: only durations and numbers would be something else.
        assert found.arrivals.rate.value == pytest.approx(39 / np.ptp(times), rel=0.05)
    # They may also be durations, and the times be elsewhere.
    both = table("b.csv", arrival_s=mixed, sent_s=times)
    chosen = cq.fit(trace=read_requests(both, needs=("arrivals",), columns={"arrivals": "sent_s"}))
    assert not any("Order the rows" in it for it in chosen.warnings)


def loaded(load: np.ndarray) -> str:
    rng = np.random.default_rng(7)
    tokens = np.linspace(100, 2000, load.size).round()
    seconds = (0.5 + 0.002 * tokens) * (1.0 + 0.2 * (load - 1)) * rng.uniform(0.99, 1.01, load.size)
    return table("loads.csv", tokens=tokens, seconds=seconds, concurrency=load)


def test_measurements_are_taken_at_concurrency_one(capsys: Capture) -> None:
    name = loaded(np.tile([1, 2, 4], 20))
    shared = "use measurements at concurrency 1"
    assert any(shared in it for it in cq.fit(service=name).warnings)
    alone = read_requests(name, where={"concurrency": "1"})
    fitted = cq.fit(service=alone)
    assert fitted.warnings == ()
    (line,) = fitted.service.values()
    assert line.per_token.value == pytest.approx(0.002, rel=0.01)
    words = ["fit", "--service", name]
    assert main(words) == 0
    assert shared in " ".join(capsys.readouterr().out.split())
    assert main([*words, "--where", "service.concurrency=1"]) == 0
    assert shared not in " ".join(capsys.readouterr().out.split())
    (load,) = [it for it in cq.diagnose(name).findings if "regardless" in it.subject]
    assert load.holds is False
    assert load.sentence.endswith("(see ProcessorSharing); measure at concurrency 1.")
    (load,) = [it for it in cq.diagnose(alone).findings if "regardless" in it.subject]
    assert (load.holds, load.sentence) == (None, "Every request was served at concurrency 1.")
    assert cq.solve(SERVER.replace(queue=cq.ProcessorSharing())).is_optimal


def test_lines_that_differ_are_fitted_apart() -> None:
    rng = np.random.default_rng(8)
    tokens = np.linspace(100.0, 4000.0, 20)
    seconds = [b + 0.002 * tokens + rng.normal(0.0, 0.01, 20) for b in (0.5, 8.0)]
    together = fit_service(np.tile(tokens, 2), np.concatenate(seconds))
    assert any("Fit them apart" in it for it in together.warnings)
    for base, times in zip((0.5, 8.0), seconds, strict=True):
        found = fit_service(tokens, times)
        assert found.warnings == ()
        assert found.base.value == pytest.approx(base, abs=0.02)


def test_tokens_that_were_not_counted_are_counted() -> None:
    rng = np.random.default_rng(9)
    tokens = np.linspace(300.0, 1000.0, 20)
    seconds = 0.1 + 0.002 * tokens + rng.normal(0.0, 0.001, 20)
    # A stop at 100 tokens fewer than were generated would leave time over, not too little of it.
    more = fit_service(tokens + 100.0, seconds)
    assert any("check that tokens count everything" in it for it in more.warnings)
    assert fit_service(tokens, seconds).warnings == ()


def test_a_bent_line_has_a_quadratic_service() -> None:
    rng = np.random.default_rng(10)
    tokens = np.linspace(50.0, 4000.0, 80)
    seconds = 0.5 + 0.002 * tokens + 1e-6 * tokens**2 + rng.normal(0.0, 0.05, 80)
    straight = fit_service(tokens, seconds)
    assert any("consider QuadraticService" in it for it in straight.warnings)
    found = cq.diagnose({"tokens": tokens, "seconds": seconds}).findings[0]
    assert found.sentence.endswith("consider QuadraticService.")
    squared, linear, constant = np.polyfit(tokens, seconds, 2)
    service = cq.QuadraticService(base=constant, per_token=linear, per_squared_token=squared)
    one = plain_instance(0.05, [1.0], [1.0]).replace(service=service, max_tokens=4000.0)
    errors = np.array([float(service.mean(np.array([n]))[0]) for n in tokens]) - seconds
    line = straight.base.value + straight.per_token.value * tokens - seconds
    assert np.square(errors).mean() < 0.01 * np.square(line).mean()
    assert cq.solve(one).is_optimal


def test_arrivals_by_a_coarse_clock_are_measured_for_longer() -> None:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.exponential(0.2, 300))
    clock = np.floor(times)
    brief = fit_arrivals(clock[:15])
    assert any("the rate is too low: measure for longer" in it for it in brief.warnings)
    longer = fit_arrivals(clock)
    assert not any("measure for longer" in it for it in longer.warnings)
    low, high = longer.rate.interval
    assert low < 299.0 / np.ptp(times) < high
    # Where queries come in batches, the model is another.
    assert any("(see BatchArrivals)" in it for it in longer.warnings)
    batches = cq.BatchArrivals(mean_size=2.0, size_second_moment=6.0)
    assert cq.solve(SERVER.replace(queue=batches)).is_optimal


def test_a_curve_of_three_points_is_measured_at_more_or_with_more_answers() -> None:
    rng = np.random.default_rng(2)

    def warned(tokens: np.ndarray, answers: int) -> bool:
        p = 0.2 + 0.6 * -np.expm1(-1e-3 * tokens)
        found = fit_curve(tokens, rng.binomial(answers, p), [answers] * tokens.size)
        return any("at more numbers of tokens, or more answers" in it for it in found.warnings)

    few = np.array([0.0, 400.0, 800.0])
    assert warned(few, 60)
    assert not warned(few, 20_000)
    assert not warned(np.array([0.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0]), 60)
