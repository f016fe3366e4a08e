"""Tables and reports: their text, and what a terminal gets."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich.console import Console

from cvxqueue.tables import Cell, Part, Report, Table

ROWS: list[tuple[Cell, Cell]] = [("[bold]", ("red", "red")), ("name", "2\n3")]


class Small(Report):
    def _parts(self) -> Iterable[Part]:
        yield [("a", "bold"), " heading"]
        yield ("a warning", "yellow")
        yield Table(("first", "many\nlines"), ROWS)


def test_text_has_aligned_columns_and_no_markup() -> None:
    assert str(Small()).splitlines() == [
        "a heading",
        "a warning",
        "         many",
        "first   lines",
        "─────────────",
        "[bold]    red",
        "name        2",
        "            3",
    ]


def test_a_terminal_gets_the_same_in_colour() -> None:
    drawn = io.StringIO()
    Console(file=drawn, force_terminal=True, width=80, color_system="standard").print(Small())
    assert "\x1b[33ma warning" in drawn.getvalue()
    plain = io.StringIO()
    Console(file=plain, width=80).print(Small())
    assert [line.rstrip() for line in plain.getvalue().splitlines()] == str(Small()).splitlines()


def test_without_headers_the_last_column_is_wrapped() -> None:
    text = str(Table((), [("label", "word " * 40), ("other", "word")]))
    assert max(map(len, text.splitlines())) <= 100
    assert text.splitlines()[-1] == "other  word"


def test_numbers_are_never_cut() -> None:
    drawn = io.StringIO()
    table = Table(("name", "number"), [("a long name", "0.123456789")])
    Console(file=drawn, width=16).print(table)
    assert "0.123456789" in drawn.getvalue()
    assert str(Table(("name", "number"), [])) == "name  number\n────────────"
