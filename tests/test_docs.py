"""The code of the README and of the documentation runs, and prints what the pages say."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest

import cvxqueue as cq
from cvxqueue.cli import main
from tests.paths import ROOT

LESSONS = ROOT / "docs" / "lessons" / "index.md"
PAGES = sorted([ROOT / "README.md", LESSONS, *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What differs from run to run or from platform to platform: times, and gaps at rounding level with
# what follows from them;
VOLATILE = re.compile(
    r"\[\d[\d.]*, \d[\d.]*\]"
    r"|\b\d+(\.\d+)?(e[-+]\d+)?\s(s|ms|µs)\b"
    r"|\b\d(\.\d+)?e-\d+"
)
# and how far the other methods get in how many iterations; and the time of newton.
OTHER_METHODS = re.compile(r"^((?!newton)\S+ +optimal|newton +optimal .*)  .*$", re.MULTILINE)


def blocks(page: Path, *languages: str) -> list[tuple[int, str]]:
    """Fenced blocks of some languages: line number and text."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start(2)), match.group(2))
        for match in FENCE.finditer(text)
        if match.group(1) in languages
    ]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages name files relative to the clone."""
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_sessions(page: Path) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    names: dict[str, object] = {"__name__": "__main__"}
    for line, text in blocks(page, "python", "pycon"):
        if not text.startswith(">>>"):
            exec(compile(text, page.name, "exec"), names)
            continue
        test = doctest.DocTestParser().get_doctest(text, names, page.name, str(page), line)
        runner.run(test, out=report.append, clear_globs=False)
        names = test.globs
    assert not runner.failures, "".join(report)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_console_sessions(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    for _, text in blocks(page, "console"):
        command, _, expected = text.partition("\n")
        words = shlex.split(command.removeprefix("$ "))
        assert words[0] == "cvxqueue", command
        main(words[1:])
        printed = capsys.readouterr().out
        assert masked(printed) == masked(expected), command


def masked(text: str) -> str:
    """The text without what changes from run to run, and without the padding that it needs."""
    return re.sub(r"[\s─━]+", " ", VOLATILE.sub("#", OTHER_METHODS.sub(r"\1", text))).strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_are_whole(page: Path) -> None:
    """Rows below a blank line are no table of their own, but show as they are written."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, rule, *rows = table.splitlines()
        assert set(rule) <= set("|-: "), head
        assert {row.count("|") for row in rows} == {head.count("|")}, head


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_is_not_cut_at_the_right(page: Path) -> None:
    lines = [line for _, text in blocks(page, "python", "pycon") for line in text.split("\n")]
    assert [line for line in lines if len(line) > 100] == []


def test_every_public_name_is_on_a_page_of_the_api() -> None:
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md")]
    told = set(re.findall(r"^\.\. auto\w+:: cvxqueue\.(.+)$", "\n".join(pages), re.MULTILINE))
    assert set(cq.__all__) - told == set()


def test_there_is_something_to_run() -> None:
    assert sum(len(blocks(page, "pycon")) for page in PAGES) >= 10
    assert sum(len(blocks(page, "console")) for page in PAGES) >= 2
