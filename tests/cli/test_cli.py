"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import resource
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue import certificates
from cvxqueue.cli import main, output
from cvxqueue.cli.commands import COMMANDS
from cvxqueue.errors import pip_install
from cvxqueue.solvers import CrossValidation

SERVER = """\
format = "cvxqueue-instance"
version = 1
name = "small"
arrival_rate = 0.2
accuracy_weight = 60
max_tokens = 4096

[[task]]
name = "easy [bold]"
probability = 0.7
service = { kind = "affine", base = 0.5, per_token = 0.002 }
accuracy = { kind = "saturating-exponential", floor = 0.2, gain = 0.6, rate = 0.004 }

[[task]]
name = "hard"
probability = 0.3
service = { kind = "affine", base = 0.5, per_token = 0.002 }
accuracy = { kind = "saturating-exponential", floor = 0.2, gain = 0.6, rate = 0.001 }
"""
METHODS = [method.name for method in cq.methods()]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def server(tmp_path: Path) -> str:
    return written(tmp_path, SERVER)


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the person who runs the tests has set must not matter."""
    for variable in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def written(folder: Path, content: str, name: str = "server.toml") -> str:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return str(path)


def one_object(text: str) -> dict[str, Any]:
    """Parse what must be exactly one JSON object in strict JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    data = json.loads(text, parse_constant=refuse)
    assert isinstance(data, dict)
    return data


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cvxqueue", *arguments]


def test_solve_prints_the_answer_and_every_method(server: str, capsys: Capture) -> None:
    assert main(["solve", server]) == 0
    out, err = capsys.readouterr()
    solution = cq.solve(cq.load(server))
    integer = cq.solve_integer(cq.load(server))
    assert err == ""
    for method in METHODS:
        assert f"\n{method} " in out
    for heading in ("task type", "Methods", "Certificate of the answer", "Integer tokens"):
        assert heading in out
    assert "\nagree: every method is certified" in out
    for name, tokens, whole in zip(
        ["easy [bold]", "hard"], solution.tokens, integer.tokens, strict=True
    ):
        row = next(line for line in out.splitlines() if line.startswith(name))
        assert f" {tokens:.3f} " in row
        assert row.endswith(f" {whole}")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line != line.rstrip()] == []
    assert "\x1b" not in out


def test_solve_prints_sensitivities(server: str, capsys: Capture) -> None:
    arguments = ["solve", server, "--method", "newton", "--sensitivities"]
    expected = cq.sensitivity(cq.solve(cq.load(server)))
    assert main(arguments) == 0
    assert "\nSensitivities\nderivatives of the optimal objective" in capsys.readouterr().out
    assert main([*arguments, "--csv"]) == 0
    assert capsys.readouterr().out == expected.to_csv()
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["sensitivities"]
    assert found["value"]["arrival_rate"] == expected.value["arrival_rate"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["straight-piece", "--method", "newton"], "not unique"),
        (["exact-20", "--method", "newton", "--tolerance", "1e-300"], "no certified answer"),
    ],
)
def test_solve_says_why_there_are_no_sensitivities(
    arguments: list[str], reason: str, capsys: Capture
) -> None:
    arguments = ["solve", *arguments, "--sensitivities"]
    outputs = {}
    for form in ("--csv", "--json", None):
        assert main([*arguments, form] if form else arguments) == 1
        outputs[form], said = capsys.readouterr()
        assert reason in said
    assert outputs["--csv"] == ""
    assert reason in json.loads(outputs["--json"])["sensitivities"]["error"]
    assert f"none: {'solution' if reason == 'not unique' else reason}" in outputs[None]


def test_solve_json_is_one_object_with_the_whole_answer(server: str, capsys: Capture) -> None:
    assert main(["solve", server, "--json"]) == 0
    out, err = capsys.readouterr()
    data = one_object(out)
    instance = cq.load(server)
    solution = cq.solve(instance)
    integer = cq.solve_integer(instance)
    assert err == ""
    assert (data["status"], data["outcome"], data["instance"]) == ("optimal", "agree", "small")
    assert data["names"] == ["easy [bold]", "hard"]
    assert "error" not in data
    np.testing.assert_allclose(data["tokens"], solution.tokens, atol=0.01)
    np.testing.assert_allclose(data["accuracies"], solution.accuracies, atol=1e-4)
    for field in ("objective", "utilization", "mean_system_time", "mean_waiting_time"):
        assert data[field] == pytest.approx(getattr(solution, field), rel=1e-4)
    assert data["upper_bound"] - data["objective"] == pytest.approx(data["gap"], abs=1e-12)
    assert 0 <= data["relative_gap"] <= 1e-9
    lower, upper = np.transpose(data["token_bounds"])
    assert np.all((lower <= solution.tokens + 1e-6) & (solution.tokens - 1e-6 <= upper))
    assert data["integer"]["tokens"] == integer.tokens.tolist()
    assert all(type(value) is int for value in data["integer"]["tokens"])
    assert [row["method"] for row in data["methods"]] == METHODS
    assert data["gap"] == min(row["gap"] for row in data["methods"])


def test_method_runs_only_that_one_to_its_tolerance(server: str, capsys: Capture) -> None:
    arguments = ["--method", "fixed-point", "--tolerance", "1e-3", "--json"]
    assert main(["solve", server, *arguments]) == 0
    data = one_object(capsys.readouterr().out)
    assert [row["method"] for row in data["methods"]] == ["fixed-point"]
    assert data["tolerance"] == 1e-3
    assert 1e-9 < data["relative_gap"] <= 1e-3
    assert main(["solve", server, *arguments[:-1]]) == 0
    out = capsys.readouterr().out
    assert "Certificate of the answer (fixed-point)" in out
    assert "agree:" not in out


@pytest.mark.parametrize("json_flag", [[], ["--json"]], ids=["tables", "json"])
def test_no_certified_answer_is_exit_status_1(
    server: str, capsys: Capture, json_flag: list[str]
) -> None:
    arguments = ["--method", "fixed-point", "--time-limit", "1e-9", *json_flag]
    assert main(["solve", server, *arguments]) == 1
    out, err = capsys.readouterr()
    assert "no certified answer: method 'fixed-point' came nearest" in err
    assert "'time_limit' (the time limit was reached; raise --time-limit, or use method" in err
    if json_flag:
        data = one_object(out)
        assert data["status"] == "time_limit"
        assert f"cvxqueue: error: {data['error']}\n" == err
        assert data["objective"] < cq.solve(cq.load(server)).objective < data["upper_bound"]
    else:
        assert "time limit" in out


def test_no_method_is_recommended_that_was_tried(server: str, capsys: Capture) -> None:
    assert main(["solve", server, "--tolerance", "1e-30"]) == 1
    error = capsys.readouterr().err
    assert "loosen the tolerance)" in error
    assert "or use method" not in error


def test_contradictory_proofs_are_no_answer(
    server: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CrossValidation, "outcome", property(lambda self: "disagree"))
    assert main(["solve", server, "--json", "--method", "newton"]) == 1
    out, err = capsys.readouterr()
    data = one_object(out)
    assert data["status"] == "disagree"
    assert "please report" in data["error"]
    assert data["error"] in err


def test_the_answer_stands_without_integers(
    server: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise cq.BackendError("the solver gave up")

    monkeypatch.setattr("cvxqueue.cli.solve.solve_integer", fails)
    assert main(["solve", server, "--method", "newton"]) == 0
    assert "none: the solver gave up" in capsys.readouterr().out
    assert main(["solve", server, "--method", "newton", "--json"]) == 0
    assert one_object(capsys.readouterr().out)["integer"] == {"error": "the solver gave up"}


def test_levels_of_effort_are_named_among_the_integers(tmp_path: Path, capsys: Capture) -> None:
    levels = (
        'domain = {kind = "levels", accuracy = [0.3, 0.4], mean_service_time = [0.2, 2.0], '
        "second_moment = [0.04, 4.0]}\n"
    )
    path = written(tmp_path, SERVER.replace("arrival_rate", levels + "arrival_rate", 1))
    assert main(["solve", path, "--method", "newton"]) == 0
    out = capsys.readouterr().out
    assert main(["solve", path, "--method", "newton", "--json"]) == 0
    answer = one_object(capsys.readouterr().out)["integer"]
    assert set(answer["tokens"]) == {-1}
    rows = [line for line in out.splitlines() if "  level " in line]
    assert [int(row.split()[-1]) for row in rows] == answer["levels"]


@pytest.mark.parametrize("name", ["solve", "check"])
@pytest.mark.parametrize("json_flag", [[], ["--json"]], ids=["tables", "json"])
def test_no_stable_allocation_is_exit_status_1(
    tmp_path: Path, capsys: Capture, name: str, json_flag: list[str]
) -> None:
    path = written(tmp_path, SERVER.replace("arrival_rate = 0.2", "arrival_rate = 2.5"))
    assert main([name, path, *json_flag]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("cvxqueue: error: no stable allocation: the utilization at min_tokens is")
    assert "lower arrival_rate to 1.99999 per second or less" in err
    if json_flag:
        data = one_object(out)
        assert data["status"] == "infeasible"
        assert data["error"] in err
    else:
        assert ("unstable" in out) is (name == "check")


BAD_INPUT: dict[str, tuple[list[str], list[str]]] = {
    "command": (["sovle", "FILE"], ["'sovle': did you mean 'solve'?", "schema", "info"]),
    "option-first": (["--method", "newton", "solve"], ["--method is an option of a command"]),
    "option-of-none": (["--verison"], ["'--verison': did you mean '--version'?"]),
    "option-with-value": (
        ["solve", "FILE", "--metod=newton"],
        ["'--metod=newton': did you mean '--method'?", "cvxqueue solve --help"],
    ),
    "dashes": (["--", "solve", "FILE"], ["unrecognized argument '--'"]),
    "queries": (["simulate", "FILE", "--queries", "1.5"], ["--queries", "whole number", "'1.5'"]),
    "queries-inf": (["simulate", "FILE", "--queries", "1e999"], ["--queries", "whole number"]),
    "no-file": (["solve"], ["required: FILE", "cvxqueue solve --help"]),
    "option": (["solve", "FILE", "--quick"], ["--quick"]),
    "shortened": (["solve", "FILE", "--tol", "1e-3"], ["--tol"]),
    "method": (
        ["solve", "FILE", "--method", "newtn"],
        ["unknown method 'newtn'", "did you mean 'newton'?", "fixed-point"],
    ),
    "limit-text": (
        ["solve", "FILE", "--time-limit", "soon"],
        ["--time-limit", "must be a finite number > 0, got 'soon'"],
    ),
    "limit-zero": (["solve", "FILE", "--time-limit", "0"], ["--time-limit", "> 0, got '0'"]),
    "tolerance-sign": (["solve", "FILE", "--tolerance=-1e-9"], ["--tolerance", "> 0, got '-1e-9'"]),
    "tolerance-nan": (["solve", "FILE", "--tolerance", "nan"], ["--tolerance", "got 'nan'"]),
    "missing": (["solve", "FILE/no.toml"], ["cannot read", "no.toml"]),
    "missing-check": (["check", "nowhere.toml"], ["cannot read nowhere.toml: No such file"]),
    "missing-answer": (["certify", "FILE", "no.csv"], ["error: cannot read no.csv: No such file"]),
    "directory": (["check", "FOLDER"], ["is a directory"]),
    "suffix": (["check", "FOLDER/notes.txt"], ["'.txt'", ".toml", ".json"]),
    "syntax": (["check", "FOLDER/syntax.toml"], ["syntax.toml: not valid TOML", "line 1"]),
    "key": (["solve", "FOLDER/key.toml"], ["key.toml: arival_rate", "mean 'arrival_rate'?"]),
    "value": (["check", "FOLDER/value.toml"], ["value.toml", "arrival_rate = -1.0", "> 0"]),
    "plot-suffix": (
        ["solve", "FOLDER/never-read.toml", "--plot", "FOLDER/a.gif"],
        ["--plot", "'.gif'", ".pdf, .png, .svg"],
    ),
    "plot-simulate": (
        ["simulate", "FOLDER/never-read.toml", "--plot", "FOLDER/a.gif"],
        ["--plot", "'.gif'", ".pdf, .png, .svg"],
    ),
    "plot-fit": (
        ["fit", "--service", "FOLDER/never-read.csv", "--plot", "FOLDER/a.gif"],
        ["--plot", "'.gif'", ".pdf, .png, .svg"],
    ),
    "plot-arrivals": (
        ["fit", "--trace", "FOLDER/never-read.csv", "--plot", "FOLDER/a.png"],
        ["--plot needs --service or --accuracy"],
    ),
    "plot-folder": (
        ["solve", "FOLDER/never-read.toml", "--plot", "FOLDER/none/a.png"],
        ["--plot", "there is no directory"],
    ),
    "plot-is-folder": (
        ["solve", "FOLDER/never-read.toml", "--plot", "FOLDER/folder.png"],
        ["--plot", "is a directory"],
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_exit_status_2(case: str, server: str, capsys: Capture) -> None:
    folder = Path(server).parent
    written(folder, "some notes", "notes.txt")
    written(folder, "arrival_rate = = 1", "syntax.toml")
    written(folder, SERVER.replace("arrival_rate", "arival_rate"), "key.toml")
    written(folder, SERVER.replace("arrival_rate = 0.2", "arrival_rate = -1"), "value.toml")
    (folder / "folder.png").mkdir()
    before = sorted(folder.iterdir())
    arguments, fragments = BAD_INPUT[case]
    places = [arg.replace("FILE", server).replace("FOLDER", str(folder)) for arg in arguments]
    assert main(places) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("cvxqueue: error: ")
    assert err.count("\n") == 1
    for fragment in fragments:
        assert fragment in err
    assert sorted(folder.iterdir()) == before


def test_bad_input_is_told_in_json_too(capsys: Capture) -> None:
    assert main(["solve", "nowhere.toml", "--json"]) == 2
    out, err = capsys.readouterr()
    data = one_object(out)
    assert data["status"] == "invalid_input"
    assert err == f"cvxqueue: error: {data['error']}\n"


@pytest.mark.parametrize("form", ["toml", "json"])
def test_stdin(form: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    content = SERVER if form == "toml" else json.dumps(cq.to_dict(cq.load(server)))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    assert main(["solve", "-", "--json", "--method", "newton"]) == 0
    assert one_object(capsys.readouterr().out)["instance"] == "small"


def test_bad_stdin_says_so(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert main(["check", "-"]) == 2
    assert capsys.readouterr().err.startswith("cvxqueue: error: stdin: byte 0xff in line 1")


@pytest.mark.parametrize(
    ("command", "name", "magic"),
    [
        ("solve server.toml --method newton", "a.png", b"\x89PNG"),
        ("simulate server.toml --queries 1000", "a.PDF", b"%PDF"),
        ("fit --accuracy a.csv", "a.svg", b"<?xml"),
    ],
)
def test_plot_writes_a_picture(
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    name: str,
    magic: bytes,
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, SERVER)
    written(tmp_path, "tokens,correct,total\n0,20,99\n500,60,99\n2000,90,99\n", "a.csv")
    assert main([*command.split(), "--plot", name]) == 0
    assert Path(name).read_bytes().startswith(magic)
    assert capsys.readouterr().err == ""


def test_plot_that_may_not_be_written_is_refused_first(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Simulated, because to an administrator every file is writable.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert main(["solve", "never-read.toml", "--plot", str(tmp_path / "a.png")]) == 2
    assert "a.png: cannot be written; check its permissions and" in capsys.readouterr().err


@pytest.mark.parametrize("is_there", [True, False], ids=["old-picture", "none"])
def test_plot_that_fails_in_the_end_says_so_and_leaves_no_part(
    server: str, tmp_path: Path, capsys: Capture, is_there: bool
) -> None:
    picture = tmp_path / "a.png"
    arguments = ["solve", server, "--method", "newton", "--plot", str(picture), "--json"]
    if is_there:
        picture.write_bytes(b"old")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        status = main(arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 2
    assert "a.png: File too large" in one_object(capsys.readouterr().out)["error"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_plot_without_matplotlib_says_how_to_install_it(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvxqueue.errors.find_spec", lambda name: None)
    picture = str(tmp_path / "a.png")
    assert main(["solve", "never-read.toml", "--json", "--plot", picture]) == 2
    out, err = capsys.readouterr()
    assert f"{pip_install('matplotlib')} (the extra 'plot' has it)" in err
    assert one_object(out)["status"] == "missing_dependency"


def test_check_says_what_holds(server: str, capsys: Capture) -> None:
    assert main(["check", server]) == 0
    out = capsys.readouterr().out
    for subject in ("stability", "contraction", "step size", "strong concavity"):
        assert f"\n{subject} " in out
    assert "a valid instance of 2 task types" in out
    assert main(["check", server, "--json"]) == 0
    data = one_object(capsys.readouterr().out)
    instance = cq.load(server)
    assert (data["status"], data["instance"], data["size"]) == ("stable", "small", 2)
    stability = data["stability"]
    assert stability["max_arrival_rate"] == instance.max_arrival_rate
    assert stability["utilization_at_min_tokens"] == pytest.approx(0.1)
    assert stability["utilization_at_max_tokens"] == pytest.approx(0.2 * (0.5 + 0.002 * 4096))
    assert "part of the box is unstable" in stability["meaning"]
    found = certificates.step_size(instance)
    assert data["step_size"]["value"] == found.value
    assert data["strong_concavity"]["value"] == certificates.strong_concavity(instance).value
    for subject in ("step_size", "strong_concavity"):
        assert data[subject]["holds"] is True
        assert " ".join(data[subject]["meaning"].split()) in " ".join(out.split())


@pytest.mark.parametrize(
    ("rate", "weight", "holds", "meaning"),
    [
        (0.01, 60, True, "converges there even in its plain form"),
        (0.4, 6000, False, "the queue is unstable at the upper end"),
    ],
    ids=["light-load", "heavy-load"],
)
def test_check_tells_when_best_responses_contract(
    tmp_path: Path, capsys: Capture, rate: float, weight: float, holds: bool, meaning: str
) -> None:
    content = SERVER.replace("arrival_rate = 0.2", f"arrival_rate = {rate}")
    content = content.replace("accuracy_weight = 60", f"accuracy_weight = {weight}")
    assert main(["check", written(tmp_path, content), "--json"]) == 0
    data = one_object(capsys.readouterr().out)
    found = data["contraction"]
    assert found["holds"] is holds
    assert meaning in found["meaning"]
    assert found["value"] < 1 if holds else found["value"] is None  # infinite
    assert ("every allocation in the box is stable" in data["stability"]["meaning"]) is holds


@pytest.mark.parametrize(
    ("name", "value", "meaning"),
    [
        ("contraction", 1.25, "the bound on its slope is 1.25, not below 1"),
        ("step_size", np.inf, "No finite bound on the curvature"),
        ("strong_concavity", 0.0, "No positive bound on the curvature"),
    ],
)
def test_check_promises_nothing_that_does_not_hold(
    server: str,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: float,
    meaning: str,
) -> None:
    worse = dataclasses.replace(getattr(certificates, name)(cq.load(server)), value=value)
    # `cvxqueue.check` is the function.
    monkeypatch.setattr(sys.modules["cvxqueue.check"], name, lambda instance: worse)
    assert main(["check", server, "--json"]) == 0
    data = one_object(capsys.readouterr().out)
    assert data[name]["holds"] is False
    assert meaning in data[name]["meaning"]
    assert main(["check", server]) == 0
    assert "not proven" in capsys.readouterr().out


KEPT = '[[constraint]]\nkind = "max-mean-system-time"\nseconds = 4.0\n'
BROKEN = KEPT + '[[constraint]]\nkind = "min-mean-accuracy"\naccuracy = 0.79\n'
KINKED = (
    'accuracy = { kind = "saturating-exponential", floor = 0.2, gain = 0.6, rate = 0.001 }',
    'accuracy = { kind = "piecewise-linear", tokens = [0, 500, 2000], accuracy = [0.3, 0.5, 0.6] }',
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (SERVER + KEPT, "cannot keep mean system time ≤ 4 s"),
        (SERVER.replace(*KINKED), "needs accuracy curves with a continuous slope that falls"),
    ],
    ids=["constraint", "kink"],
)
def test_check_recommends_no_method_that_cannot_take_the_instance(
    tmp_path: Path, capsys: Capture, content: str, reason: str
) -> None:
    path = written(tmp_path, content)
    assert main(["check", path, "--json"]) == 0
    data = one_object(capsys.readouterr().out)
    able = [method.name for method in cq.methods(cq.load(path))]
    assert able == ["newton", "conic"]
    for subject, method in (("contraction", "fixed-point"), ("step_size", "projected-gradient")):
        meaning = data[subject]["meaning"]
        assert f"Method {method!r} {reason}" in meaning
        assert "'newton', 'conic'" in meaning
        assert f"Method {method} " not in meaning
    assert "a gradient step" not in data["strong_concavity"]["meaning"]


def test_check_claims_nothing_of_constraints_that_nobody_can_tell(
    tmp_path: Path, capsys: Capture
) -> None:
    curve = cq.PiecewiseLinear(tokens=[[0, 800, 2500], [0, 500, 900]], accuracy=[0.1, 0.6, 0.9])
    server = cq.Instance(
        arrival_rate=0.1,
        accuracy_weight=1e7,
        max_tokens=4000,
        probabilities=[0.3, 0.7],
        service=cq.AffineService(base=0.1, per_token=0.002),
        accuracy=curve,
    )
    cap = cq.MaxMeanSystemTime(2.0)
    most = cq.solve(server.replace(constraints=[cap]), on_failure="return").mean_accuracy
    path = tmp_path / "server.toml"
    found = {}
    for beyond in (-1e-6, 1e-12, 1e-6):
        floor = cq.MinMeanAccuracy(most * (1.0 + beyond))
        cq.save(server.replace(constraints=[floor, cap]), path)
        status = main(["check", str(path), "--json"])
        data = one_object(capsys.readouterr().out)
        found[beyond] = status, data["status"], data["constraints"]["holds"]
    assert found == {
        -1e-6: (0, "stable", True),
        1e-12: (1, "undecided", None),
        1e-6: (1, "infeasible", False),
    }


def test_check_tells_whether_the_constraints_can_be_kept(tmp_path: Path, capsys: Capture) -> None:
    assert main(["check", written(tmp_path, SERVER + KEPT)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "constraints feasible mean system time ≤ 4 s. All of them can be kept at once." in out
    path = written(tmp_path, SERVER + BROKEN)
    assert main(["check", path]) == 1
    out, err = capsys.readouterr()
    assert "constraints infeasible" in " ".join(out.split())
    assert "not proven" not in out
    assert "no allocation has mean accuracy ≥ 0.79 together with mean system time ≤ 4 s" in err
    assert main(["check", path, "--json"]) == 1
    assert one_object(capsys.readouterr().out)["status"] == "infeasible"


def test_check_does_not_blame_stability_for_a_floor_out_of_reach(
    tmp_path: Path, capsys: Capture
) -> None:
    floor = '\n[[constraint]]\nkind = "min-accuracy"\naccuracy = 0.99\n'
    assert main(["check", written(tmp_path, SERVER + floor)]) == 1
    out, err = capsys.readouterr()
    assert "constraints infeasible" in " ".join(out.split())
    assert "unstable" not in out
    assert "must be ≥ 0.99" in err


def test_a_picture_needs_the_name_of_a_file(capsys: Capture) -> None:
    assert main(["solve", "never-read.toml", "--plot", "a\0.png"]) == 2
    assert "must be the name of a file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["solve", "check", "simulate"])
def test_help_tells_the_exit_status_of_constraints(name: str, capsys: Capture) -> None:
    assert main([name, "--help"]) == 0
    assert " allocation is stable and keeps the constraints" in capsys.readouterr().out


def test_schema_is_json(capsys: Capture) -> None:
    assert main(["schema"]) == 0
    assert one_object(capsys.readouterr().out)["title"] == "cvxqueue instance"


def test_info_names_every_version(capsys: Capture) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert main(["info", "--json"]) == 0
    data = one_object(capsys.readouterr().out)
    assert data["cvxqueue"] == cq.__version__
    assert data["numpy"] == np.__version__
    assert data["python"] == sys.version.split()[0]
    assert "CLARABEL" in data["conic_solvers"]
    for key in ("platform", "scipy", "cvxpy", "clarabel", "pydantic", "rich", "matplotlib"):
        assert f"{key} " in out
        assert data[key] in out


def test_info_tells_what_is_missing(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr("cvxqueue.files.provenance.version", nothing)
    monkeypatch.setitem(sys.modules, "cvxpy.reductions.solvers.defines", None)
    assert main(["info", "--json"]) == 0
    data = one_object(capsys.readouterr().out)
    assert data["matplotlib"] is data["conic_solvers"] is None
    assert main(["info"]) == 0
    assert capsys.readouterr().out.count("not installed") == 10


def test_of_many_types_the_most_frequent_are_shown(tmp_path: Path, capsys: Capture) -> None:
    mix = np.linspace(1.0, 2.0, 60)
    instance = cq.Instance(
        arrival_rate=0.2,
        accuracy_weight=60.0,
        max_tokens=4096,
        probabilities=mix / mix.sum(),
        service=cq.AffineService(base=0.5, per_token=0.002),
        accuracy=cq.SaturatingExponential(floor=0.2, gain=0.6, rate=0.001 * mix),
    )
    path = tmp_path / "many.json"
    cq.save(instance, path)
    assert main(["solve", str(path), "--method", "newton", "--time-limit", "1"]) == 0
    out = capsys.readouterr().out
    shown = [line.split()[1] for line in out.splitlines() if line.startswith("type ")]
    assert shown == [str(k) for k in range(41, 61)]
    assert "the 20 most frequent of 60 types; --json and --csv have all" in out


def test_a_narrow_terminal_cuts_no_number(
    server: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["solve", server, "--method", "newton"]) == 0
    wide = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "30")
    assert main(["solve", server, "--method", "newton"]) == 0
    narrow = capsys.readouterr().out
    assert "…" not in narrow
    # All words but the time.
    words = (re.sub(r"─+|\b0\.0\d+\b", "", text).split() for text in (narrow, wide))
    assert sorted(next(words)) == sorted(next(words))


def test_a_stdout_without_unicode_gets_escapes(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    assert main(["check", server]) == 0
    content = stdout.buffer
    assert isinstance(content, io.BytesIO)
    assert rb"\u2265" in content.getvalue()  # ≥


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_csv_moves_no_cursor_and_is_exact_elsewhere(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    path, name = tmp_path / "red.json", "\x1b[31mred"
    cq.save(cq.load(server).replace(names=[name, "hard"]), path)
    assert main(["solve", str(path), "--method", "newton", "--csv"]) == 0
    exact = capsys.readouterr().out
    assert name in exact
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["solve", str(path), "--method", "newton", "--csv"]) == 0
    assert terminal.getvalue() == exact.replace("\x1b", r"\x1b")


@pytest.mark.parametrize("name", ["a\u2028b", "a\x85b", "a\rb", 'a "b", c\n'], ids=range(4))
def test_no_name_ends_a_row_of_an_answer(
    name: str, server: str, tmp_path: Path, capsys: Capture
) -> None:
    path, answer = str(tmp_path / "named.json"), tmp_path / "answer.csv"
    cq.save(cq.load(server).replace(names=[name, "hard"]), path)
    assert main(["solve", path, "--method", "newton", "--csv"]) == 0
    answer.write_text(capsys.readouterr().out, encoding="utf-8", newline="")
    assert main(["certify", path, str(answer)]) == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [("tokens\n" + "1" * 200_000, "a table: field larger than"), ("a," * 9_999, "'a', ...]")],
    ids=["long", "wide"],
)
def test_an_answer_that_is_no_table_says_so_in_one_line(
    content: str, says: str, server: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["certify", server, written(tmp_path, content, "answer.csv")]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error) < 400


@pytest.mark.parametrize("patience", [0.0, 60.0], ids=["slow", "fast"])
def test_progress_shows_on_a_terminal_when_it_takes_long(
    patience: float, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(output, "_PATIENCE", patience)
    with output.progress(2) as step:
        step("[/b] \x1b[2J conic")
        started = output._PATIENCE == 0.0
        deadline = time.monotonic() + 30.0
        while started and "conic" not in terminal.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert (r"[/b] \x1b[2J conic" in terminal.getvalue()) is started
    assert capsys.readouterr().out == ""


def test_a_reader_that_leaves_is_no_error() -> None:
    with subprocess.Popen(
        command("schema"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=120) == 0


@pytest.mark.parametrize(
    ("words", "unbuffered"),
    [
        ("--help", ""),
        ("schema", ""),
        ("schema", "1"),
        ("references", "1"),
        ("check no.toml --json", ""),
    ],
)
def test_a_full_disk_is_one_line(words: str, unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            command(*words.split()),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            timeout=120,
            check=False,
        )
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    # Where there is an error already, it stands.
    expected = "read no.toml: No such file" if "no.toml" in words else "write standard output: No"
    assert run.stderr.startswith(f"cvxqueue: error: cannot {expected}")


def test_the_bare_command_prints_the_help_and_has_done_nothing(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr()
    assert main([]) == 2
    assert capsys.readouterr() == shown


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_as_wide_as_the_terminal(
    name: str, columns: int, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([name, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    begin = lines.index("") + 1
    prose = lines[begin : lines.index("", begin)]
    for line, following in pairwise(prose):
        # No word of the next line would have had room.
        assert len(line) + 1 + len(following.split()[0]) > columns
    # What is to be pasted stays one line.
    assert any(line.startswith(f"  cvxqueue {name}") for line in lines)
    pasted = ("  cvxqueue", "      --")
    assert max(len(line) for line in lines if not line.startswith(pasted)) <= columns


@pytest.mark.parametrize("words", ["check FILE", "solve --help"])
def test_a_pipe_is_as_wide_as_the_text_of_a_result(words: str, server: str) -> None:
    run = subprocess.run(
        command(*words.replace("FILE", server).split()),
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert 80 < max(map(len, run.stdout.splitlines())) <= 100
    if words == "check FILE":
        assert run.stdout.strip() == str(cq.check(cq.load(server))).strip()


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_has_an_example(name: str, capsys: Capture) -> None:
    assert main([*([name] if name else []), "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"usage: cvxqueue {name}".rstrip())
    assert f"cvxqueue {name or 'solve'}" in out.partition("example")[2]
    assert max(map(len, out.splitlines())) <= 80


def test_version_as_a_module_loads_nothing_heavy() -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['cvxqueue', '--version']\n"
        "try: runpy.run_module('cvxqueue', run_name='__main__')\n"
        "except SystemExit as end: print(end.code)\n"
        "print({'cvxpy', 'scipy.optimize', 'pydantic', 'rich', 'matplotlib'} & set(sys.modules))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert run.stdout.splitlines() == [f"cvxqueue {cq.__version__}", "0", "set()"]


def test_the_process_ends_with_the_exit_status(server: str) -> None:
    run = subprocess.run(
        command("solve", "-", "--method", "newton", "--tolerance", "1e-30"),
        input=SERVER,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 1
    assert "no certified answer" in run.stderr
    assert run.stdout.startswith("small: 2 task types")


@pytest.mark.filterwarnings("default")
def test_points_that_the_curve_moves_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "measured.toml"
    path.write_text(
        'format = "cvxqueue-instance"\nversion = 1\narrival_rate = 0.1\naccuracy_weight = 100\n'
        "max_tokens = 4000\nprobabilities = [1]\n"
        'service = { kind = "affine", base = [0.1], per_token = [0.001] }\n'
        'accuracy = { kind = "piecewise-linear", tokens = [0, 1000, 2000, 4000], '
        "accuracy = [0.2, 0.4, 0.38, 0.6] }\n"
    )
    assert main(["check", str(path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "stable"
    assert err.startswith("cvxqueue: warning: accuracy.accuracy[2] = 0.38: ")
    assert "0.087 higher" in err
    assert err.count("\n") == 1


def test_explain(server: str, tmp_path: Path, capsys: Capture) -> None:
    drawing = tmp_path / "tree.svg"
    assert main(["explain", server, "--form", "textbook", "--svg", str(drawing)]) == 1
    assert "Refused by the rules (DCP) at “mean_waiting_time: /”" in capsys.readouterr().out
    text = drawing.read_text("utf-8")
    # It asks for nothing from elsewhere; the names of namespaces are no addresses to ask.
    assert not re.search(r"https?://(?!www\.w3\.org/)", text.split("-->")[-1])
    assert main(["explain", server, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "accepted"
    assert main(["explain", server, "--form", "parametric", "--with-parameters"]) == 0
    assert main(["explain", server, "--form", "dcp", "--csv"]) == 0
    assert main(["explain", server, "--form", "textbok"]) == 2
    assert "did you mean 'textbook'" in capsys.readouterr().err
    assert main(["explain", server, "--svg", str(tmp_path / "no" / "tree.svg")]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "./heavy-traffic-6"], "'./heavy-traffic-6' is neither a file nor a reference"),
        (["verify", ""], "the name of a file is empty"),
        (["verify", "-"], "RECORD is a file or a reference; only FILE may be - for stdin"),
        (["references", "--csv", "--bibtex"], "give one of them"),
        (["references", "one-type", "--csv", "--bibtex"], "give one of them"),
    ],
)
def test_what_is_no_record_or_table_is_named(
    arguments: list[str], message: str, capsys: Capture
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
