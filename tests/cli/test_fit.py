"""The commands fit and diagnose: from files to an instance that the command solve takes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.cli import main
from tests.measurements import azure_trace, vllm_result
from tests.paths import EXAMPLES

EXAMPLE = EXAMPLES / "fit_a_server.py"

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a folder of its own, on a terminal of 80 columns without colour."""
    for variable in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fit_a_server", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def files(example: ModuleType) -> None:
    """The files times.csv, answers.csv and trace.csv in the working folder."""
    example.write_measurements(Path())


FIT = ["fit", "--service", "times.csv", "--accuracy", "answers.csv", "--trace", "trace.csv"]
WHOLE = [*FIT, "--accuracy-weight", "300", "--max-tokens", "8192", "-o", "server.toml"]


def fails(capsys: Capture, arguments: list[str]) -> str:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("cvxqueue: error: ")
    return err


def test_the_example_runs(example: ModuleType, capsys: Capture) -> None:
    example.main()
    out = capsys.readouterr().out
    assert "6.97 ms per token, from 5 rows" in out
    assert "Poisson arrivals are not rejected" in out
    assert "newton: optimal" in out


@pytest.mark.usefixtures("files")
def test_what_fit_writes_solve_takes(example: ModuleType, capsys: Capture) -> None:
    assert main(WHOLE) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for part in ("Service time", "Accuracy", "Arrivals", "Poisson arrivals are not rejected"):
        assert part in out
    assert "Wrote server.toml" in out
    assert "MATH500" in out
    assert max(map(len, out.splitlines())) <= 80
    assert main(["solve", "server.toml", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["status"] == "optimal"
    expected = example.fit_and_solve(Path())[2]
    np.testing.assert_allclose(answer["tokens"], expected.tokens, atol=0.01)
    instance = cq.load("server.toml")
    assert instance.name == "server"
    assert any("times.csv (csv, 5 rows)" in source for source in instance.sources)


@pytest.mark.usefixtures("files")
def test_fit_json_is_one_object_with_everything(capsys: Capture) -> None:
    assert main([*WHOLE, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["status"] == "fitted"
    assert data["output"] == "server.toml"
    assert data["service"][""]["per_token"]["value"] == pytest.approx(6.86e-3, rel=0.02)
    assert data["accuracy"]["AIME24"]["floor"]["standard_error"] is None
    assert data["arrivals"]["poisson"]["is_rejected"] is False
    assert cq.from_dict(data["instance"]) == cq.load("server.toml")


@pytest.mark.usefixtures("files")
def test_the_options_reach_the_instance(capsys: Capture) -> None:
    options = ["--arrival-rate", "0.01", "--answer-tokens", "100", "--token-scv", "0.2"]
    mix = ["--mix", "MATH500=0.25", "AIME24=0.75"]
    assert main([*WHOLE, *options, "--name", "mine", *mix]) == 0
    instance = cq.load("server.toml")
    assert instance.name == "mine"
    assert instance.arrival_rate == 0.01
    assert instance.names == ("MATH500", "AIME24")
    assert instance.probabilities.tolist() == [0.25, 0.75]
    service = instance.service
    assert isinstance(service, cq.AffineService)
    assert service.token_scv.tolist() == [0.2, 0.2]
    assert service.base[0] > 100 * service.per_token[0]
    capsys.readouterr()


def test_the_azure_trace_by_itself(tmp_path: Path, capsys: Capture) -> None:
    assert main(["fit", "--trace", str(azure_trace(tmp_path))]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "19,366 in" in out
    assert "warning: trace: Poisson arrivals are rejected" in out
    assert list(tmp_path.glob("*.toml")) == []


@pytest.mark.usefixtures("files")
def test_columns_and_rows_can_be_named(capsys: Capture) -> None:
    Path("odd.csv").write_text(
        "n,wall_ms,gpu\n128,1880,H100\n512,4510,H100\n2048,15050,H100\n128,9,A100\n"
    )
    chosen = ["--column", "service.tokens=n", "--column", "service.seconds=wall_ms"]
    assert main(["fit", "--service", "odd.csv", *chosen, "--where", "service.gpu=H100"]) == 0
    assert "6.8" in capsys.readouterr().out


@pytest.mark.usefixtures("files")
def test_an_output_is_not_replaced_unasked_nor_half_written(capsys: Capture) -> None:
    Path("server.toml").write_text("precious")
    assert "exists; give --force" in fails(capsys, WHOLE)
    assert Path("server.toml").read_text() == "precious"
    bad = [*WHOLE, "--force", "--mix", "MATH500=0.5", "AIME24=0.6"]
    assert "probabilities" in fails(capsys, bad)
    assert Path("server.toml").read_text() == "precious"
    assert main([*WHOLE, "--force"]) == 0
    assert cq.load("server.toml").size == 2
    assert sorted(path.name for path in Path().iterdir()) == [
        "answers.csv",
        "server.toml",
        "times.csv",
        "trace.csv",
    ]
    capsys.readouterr()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit"], "nothing to fit"),
        ([*WHOLE[:-1], "server.txt"], "the suffix is '.txt', and must be one of .toml, .json"),
        ([*FIT, "-o", "s.toml", "--max-tokens", "9"], "--output needs --accuracy-weight"),
        (["fit", "--trace", "trace.csv", "-o", "s.toml"], "--output needs --service"),
        (
            [*WHOLE[:5], "--accuracy-weight", "1", "--max-tokens", "9", "-o", "s.toml"],
            "--output needs --trace or --arrival-rate",
        ),
        ([*FIT, "--column", "tokens=n"], "--column 'tokens=n' must begin with a part and a dot"),
        ([*FIT, "--where", "servce.a=b"], "did you mean 'service'"),
        (["fit", "--trace", "trace.csv", "--where", "service.a=b"], "--service is not given"),
        (
            [*WHOLE, "--mix", "MATH500"],
            "--mix: must be of the form TYPE=PROBABILITY, got 'MATH500'",
        ),
        ([*FIT, "--confidence", "2"], "argument --confidence: must be a number in (0, 1), got '2'"),
        (
            [*FIT, "--max-malformed", "-1"],
            "argument --max-malformed: must be a number in [0, 1], got '-1'",
        ),
        ([*FIT, "--answer-tokens", "-1"], "must be a finite number ≥ 0, got '-1'"),
        ([*FIT, "--answer-tokens", "many"], "must be a finite number ≥ 0, got 'many'"),
        (["fit", "--service", "nowhere.csv"], "cannot read nowhere.csv"),
        (["fit", "--service", "trace.csv"], "trace.csv: no column for tokens"),
        (["diagnose", "answers.csv", "--column", "tokns=tokens"], "did you mean 'tokens'"),
        (
            ["diagnose", "answers.csv", "--column", "tokens"],
            "--column: must be of the form FIELD=NAME, got 'tokens'",
        ),
        (
            ["diagnose", "answers.csv", "--where", "=H100"],
            "--where: must be of the form NAME=VALUE, got '=H100'",
        ),
        (["diagnose", "nowhere.csv"], "cannot read nowhere.csv"),
        (["diagnose", "answers.csv"], "nothing can be tested"),
    ],
)
def test_bad_input_ends_with_status_2(arguments: list[str], message: str, capsys: Capture) -> None:
    assert message in fails(capsys, arguments)
    assert list(Path().glob("s*.t*")) == []


@pytest.mark.usefixtures("files")
def test_malformed_rows_are_shown(capsys: Capture) -> None:
    with Path("trace.csv").open("a") as file:
        file.write("later,MATH500\n")
    assert main(FIT) == 0
    out = capsys.readouterr().out.replace("\n", " ")
    assert "1 malformed row left out, the first: line 502: arrival_s = 'later'" in out
    assert "500 of 500" not in out
    error = fails(capsys, [*FIT, "--max-malformed", "0"])
    assert "1 of 501 rows is malformed" in error
    assert "--max-malformed" in error


def requests(**changes: Any) -> str:
    rng = np.random.default_rng(3)
    rows = 200
    budgets = rng.choice([256, 512, 1024], rows)
    tokens = np.round(budgets * rng.uniform(0.4, 1.0, rows))
    starts = np.cumsum(rng.exponential(8.0, rows))
    seconds = 0.2 + 0.004 * tokens + rng.normal(0, 0.01, rows)
    table = {"start_s": starts, "tokens": tokens, "latency_s": seconds, "budget": budgets}
    lines = zip(*table.values(), strict=True)
    return ",".join(table) + "\n" + "".join(",".join(map(str, line)) + "\n" for line in lines)


def test_diagnose_prints_a_sentence_for_each_assumption(capsys: Capture) -> None:
    Path("requests.csv").write_text(requests())
    assert main(["diagnose", "requests.csv"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    flat = " ".join(out.split())
    assert "The time is linear in the tokens" in flat
    assert "Poisson arrivals" in flat
    assert "Budgets are not what is used" in flat
    assert "concurrency above 1" in flat
    assert max(map(len, out.splitlines())) <= 80


def test_diagnose_json_is_one_object(capsys: Capture) -> None:
    Path("result.json").write_text(vllm_result(requests=30))
    assert main(["diagnose", "result.json", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["status"] == "diagnosed"
    assert data["linear_service"]["holds"] is True
    assert data["linear_service"]["per_token"] == pytest.approx(0.007, rel=1e-3)
    assert data["budgets_used_up"]["holds"] is None
    assert data["Poisson_arrivals"]["meaning"]


def test_diagnose_takes_columns_and_rows(capsys: Capture) -> None:
    Path("odd.csv").write_text("n,ms,gpu\n" + "".join(f"{k},{k * 7 + 99},a\n" for k in range(30)))
    chosen = ["--column", "tokens=n", "--column", "seconds=ms", "--where", "gpu=a"]
    assert main(["diagnose", "odd.csv", *chosen, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["linear_service"]["per_token"] == pytest.approx(7e-3)
