"""``cvxqueue benchmark`` and ``cvxqueue report``: from names to a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cvxqueue as cq
from cvxqueue.benchmark.rows import opened_rows, read_rows, write_rows
from cvxqueue.cli import main
from cvxqueue.cli.benchmark import _instances
from tests.benchmark.test_rows import row
from tests.paths import SERVER

FAKES = ["--solver", "tests.benchmark.fakes:right", "--solver", "tests.benchmark.fakes:lies"]


def test_from_names_to_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    parts = [str(tmp_path / f"{part}.jsonl") for part in (1, 2)]
    for at, part in enumerate(parts, start=1):
        shard = ["--shard", f"{at}/2", "--output", part]
        assert main(["benchmark", "exact:2:7", str(SERVER), *FAKES, *shard, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["status"] == "complete"
        # All solvers of none, one or both of the instances.
        assert found["runs"] in (0, 2, 4)
        assert {line["settings"] for line in found.get("solvers", ())} <= {"default"}
    whole = str(tmp_path / "whole.jsonl")
    assert main(["benchmark", "--merge", *parts, "--output", whole]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"Wrote {whole}; next: cvxqueue report {whole}" in out
    page = tmp_path / "page.html"
    assert main(["report", whole, "--output", str(page), "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("instance,instance digest,types,solver,solver version,settings,")
    assert len(lines) == 5
    content = page.read_text(encoding="utf-8")
    assert "tests.benchmark.fakes:lies" in content
    assert cq.Benchmark.read(whole).table().columns[0].name == "instance"


def test_a_report_of_some_solvers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, page = str(tmp_path / "rows.jsonl"), str(tmp_path / "page.md")
    write_rows(Path(results), [row("a"), row("b"), row("a", settings="tight")])
    report = ["report", results, "--output", page]
    assert main([*report, "--solver", "a", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == 2
    assert main([*report, "--solver", "a", "--settings", "tight"]) == 0
    text = Path(page).read_text(encoding="utf-8")
    assert "1 solver on 1 instance" in text
    assert "own settings" not in text
    assert main([*report, "--solver", "aa"]) == 2
    assert "no row has solver 'aa': did you mean 'a'?" in capsys.readouterr().err


def test_what_is_merged_is_added_to_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, both = (tmp_path / name for name in ("old.jsonl", "new.jsonl", "both.jsonl"))
    write_rows(old, [row("a"), row("b")])
    write_rows(new, [row("b", words="again"), row("c")])
    write_rows(both, [row("a")])
    assert main(["benchmark", "--merge", str(new), "--output", str(old)]) == 0
    assert read_rows([old]) == [row("a"), row("b"), row("c")]
    # A file is itself part of what it is to hold.
    for _ in range(2):
        assert main(["benchmark", "--merge", *map(str, (both, new)), "--output", str(both)]) == 0
        assert read_rows([both]) == [row("a"), row("b", words="again"), row("c")]
    # A machine of more patience is compared apart.
    write_rows(new, [row("a", time_limit=20.0)])
    capsys.readouterr()
    assert main(["benchmark", "--merge", str(new), "--output", str(both), "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)["solvers"]
    found = sorted((line["solver"], line["time_limit"], line["runs"]) for line in lines)
    assert found == [("a", 10.0, 1), ("a", 20.0, 1), ("b", 10.0, 1), ("c", 10.0, 1)]
    with opened_rows(old):
        assert main(["benchmark", "--merge", str(new), "--output", str(old)]) == 2


def test_what_a_name_stands_for() -> None:
    def named(name: str) -> list[str]:
        return [getattr(it, "instance", it).name or "" for it in _instances(name)]

    heavy = [it for it in cq.references.names() if it.startswith("heavy-traffic-")]
    assert named("heavy-traffic") == heavy
    assert named("heavy-traffic-6") == ["heavy-traffic-6"]
    assert named("library") == list(cq.references.names())
    assert named("planted:4:2") == ["planted-4-2"]
    assert named(str(SERVER)) == [cq.load(SERVER).name]
    assert next(iter(_instances("one-type"))).record == cq.references.load("one-type").record


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("planted:0", "types = 0"),
        ("planted:x", "planted:TYPES"),
        ("planted:1:2:3", "planted:TYPES"),
        (f"planted:{'9' * 5000}", "planted:TYPES"),
        ("heavy-trafic-6", "did you mean 'heavy-traffic-6'"),
        ("one-type --solver newtom", "did you mean 'newton'"),
        ("one-type --shard 3/2", "I/N with 1"),
        ("one-type --time-limit 0", "a finite number > 0"),
        ("one-type --solver newton --output /", "cannot write /"),
        ("one-type --solver newton --output /dev/null", "error: cannot write /dev/null: rows go"),
        ("--merge no-such.jsonl", "cannot read no-such.jsonl"),
        ("--merge a.jsonl --solver newton", "--merge runs nothing: leave --solver out"),
        ("--merge a.jsonl --shard 1/2", "--merge runs nothing: leave --shard out"),
    ],
)
def test_bad_input(
    arguments: str,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", "--output", "rows.jsonl", *arguments.split()]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "rows.jsonl").exists()
    assert main(["report", "no-such.jsonl", "--output", "page.html"]) == 2
    assert "cannot read no-such.jsonl" in capsys.readouterr().err
