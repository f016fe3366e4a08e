"""The one table: as text, on a terminal, in a notebook, as CSV, frame and LaTeX."""

from __future__ import annotations

import csv
import io
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

import cvxqueue as cq
from cvxqueue.formatting import printable
from cvxqueue.tables import Cell, Column, Part, Report, Table, facts

SMALL = Table(
    [
        Column("first (s)", ["[bold]", "name"]),
        Column(
            "many lines", ["red", "2\n3"], lambda text: (text, "red") if text == "red" else text
        ),
    ]
)


class Small(Report):
    def _parts(self) -> Iterable[Part]:
        yield [("a", "bold"), " <heading>"]
        yield ("a warning", "yellow")
        yield self.table()

    def table(self) -> Table:
        return SMALL


def test_text_has_aligned_columns_and_no_markup() -> None:
    assert str(Small()).splitlines() == [
        "a <heading>",
        "a warning",
        "first (s)  many lines",
        "─────────────────────",
        "[bold]     red",
        "name       2",
        "           3",
    ]


def test_a_terminal_gets_the_same_in_colour() -> None:
    drawn = io.StringIO()
    Console(file=drawn, force_terminal=True, width=80, color_system="standard").print(Small())
    assert "\x1b[33ma warning" in drawn.getvalue()
    plain = io.StringIO()
    Console(file=plain, width=80).print(Small())
    assert [line.rstrip() for line in plain.getvalue().splitlines()] == str(Small()).splitlines()


def test_in_a_notebook_text_is_text_and_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *_: pytest.fail("shown"))
    assert "name" in str(SMALL)
    assert "<svg" in str(cq.explain(cp.exp(cp.Variable())).to_svg())


def test_without_names_the_last_column_is_wrapped() -> None:
    text = str(facts([("label", "word " * 40), ("other", "word")]))
    assert max(map(len, text.splitlines())) <= 100
    assert text.splitlines()[-1] == "other  word"


def test_numbers_are_never_cut() -> None:
    drawn = io.StringIO()
    columns = [Column("name", ["a long name"]), Column("number", [0.123456789], repr)]
    Console(file=drawn, width=16).print(Table(columns))
    assert "0.123456789" in drawn.getvalue()
    assert str(Table([Column("name", []), Column("number", [])])) == "name  number\n────────────"


def test_people_are_shown_the_first_rows_and_machines_all() -> None:
    table = Table([Column("count", np.arange(30)), Column("half", 0.5 * np.arange(30))], most=3)
    assert str(table).splitlines()[-1] == "... and 27 more rows"
    assert "... and 27 more rows" in table._repr_html_()
    assert len(table.to_frame()) == 30
    assert table.to_latex().count(r"\\") == 31
    assert [column.values for column in table.take([4, 2]).columns] == [[4, 2], [2.0, 1.0]]


class Cells(HTMLParser):
    """The texts of all cells, as a browser has them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.texts:
            self.texts[-1] += data


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_names_are_nobodys_markup(names: list[str]) -> None:
    read = Cells(Table([Column(names[0], names)])._repr_html_())
    assert set(read.tags) <= {"table", "thead", "tbody", "tr", "th", "td", "br", "div"}
    assert len(read.texts) == len(names) + 1


def test_signs_are_nobodys_markup() -> None:
    assert Cells(Small()._repr_html_()).tags.count("heading") == 0
    latex = Table([Column("x", ["&%$#_{}~^\\ <λ²>"])]).to_latex()
    assert (
        r"\&\%\$\#\_\{\}\textasciitilde{}\textasciicircum{}\textbackslash{} $<$$\lambda$$^2$$>$"
        in latex
    )


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
@example(["<b> | *a* `b` ![c](d) &amp; # ~e~ \\"])
def test_names_are_nobodys_markdown(names: list[str]) -> None:
    page = Table([Column(names[0], names), Column("x", [1.0] * len(names))]).to_markdown()
    read = Cells(MarkdownIt("commonmark").enable("table").render(page))
    assert set(read.tags) <= {"table", "thead", "tbody", "tr", "th", "td"}
    cells = [" ".join(text.split()) for text in read.texts[::2]]
    assert cells == [" ".join(printable(name).split()) for name in (names[0], *names)]


NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64)


@given(st.lists(st.tuples(st.text(alphabet="aβ,;\"'\r\n =", max_size=5), NUMBERS), max_size=5))
def test_numbers_come_back_bit_for_bit(rows: list[tuple[str, float]]) -> None:
    texts, numbers = [text for text, _ in rows], np.array([number for _, number in rows])
    table = Table([Column("text", texts), Column("time (s)", numbers)])
    written = table.to_csv()
    assert written is not None
    header, *lines = csv.reader(io.StringIO(written, newline=""))
    assert header == ["text", "time (s)"]
    assert [line[0] for line in lines] == texts
    assert np.array([float(line[1]) for line in lines]).tobytes() == numbers.tobytes() or any(
        map(math.isnan, numbers)
    )
    frame = table.to_frame()
    assert frame["time (s)"].to_numpy().tobytes() == numbers.tobytes()
    assert list(frame["text"]) == texts


def test_an_interval_has_a_column_for_each_end(tmp_path: Path) -> None:
    for ends in (np.array([[1.0, 2.0], [3.0, np.inf]]), [(1.0, 2.0), (3.0, np.inf)]):
        table = Table([Column("wait (s)", ends)])
        assert str(table).splitlines()[-1] == "[3, inf]"
        table.to_csv(tmp_path / "ends.csv")
        found = pd.read_csv(tmp_path / "ends.csv")
        assert list(found.columns) == ["wait (s), low", "wait (s), high"]
        assert found.to_numpy().tolist() == [[1.0, 2.0], [3.0, np.inf]]


def test_no_column_is_lost_where_names_repeat() -> None:
    ends = np.array([[1.0, 2.0]])
    columns = [Column("a", [place]) for place in range(3)] + [Column("b", ends), Column("b", ends)]
    table = Table([*columns, Column("a (2)", [3])])
    names = ["a", "a (2)", "a (3)", "b, low", "b, high", "b (2), low", "b (2), high", "a (2) (2)"]
    assert list(table.to_frame()) == names
    assert table.to_frame().iloc[0].tolist() == [0, 1, 2, 1.0, 2.0, 1.0, 2.0, 3]
    text = table.to_csv() or ""
    assert next(csv.reader(io.StringIO(text))) == names


def test_what_is_missing_is_a_dash() -> None:
    values: list[Cell | float | None] = [None, math.nan, 2.0]
    assert str(Table([Column("value", values)])).split()[2:] == ["–", "–", "2"]


def test_without_pandas_there_is_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvxqueue.errors.find_spec", lambda _: None)
    with pytest.raises(ImportError, match="pandas"):
        SMALL.to_frame()


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    SMALL.to_csv(pipe)
    reader.join()
    assert found == [SMALL.to_csv()]
    assert pipe.is_fifo()


# Not every system has /proc.
STREAMS = [name for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1") if Path(name).exists()]


@pytest.mark.parametrize("path", [*STREAMS, "link"])
def test_a_redirected_stream_is_written_to_and_not_replaced(path: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    code = (
        "from cvxqueue.tables import Column, Table\n"
        "print('before')\n"
        f"Table([Column('a', [1])]).to_csv({path!r})\n"
        "print('after')\n"
    )
    out = tmp_path / "out.txt"
    out.write_text("old\n")
    with out.open("a") as redirected:
        environment = {**os.environ, "PYTHONPATH": str(Path(cq.__file__).parents[1])}
        run = [sys.executable, "-c", code]
        subprocess.run(run, stdout=redirected, check=True, cwd=tmp_path, env=environment)
    assert out.read_text() == "old\nbefore\na\n1\nafter\n"
    assert (tmp_path / "link").is_symlink()


def test_a_stream_that_is_not_open_is_an_error() -> None:
    with pytest.raises(cq.InvalidInputError, match=r"cannot write /dev/fd/\d+: Bad file"):
        SMALL.to_csv(f"/dev/fd/{2**20}")
