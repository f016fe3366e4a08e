"""One table for all that is shown: as text, on a terminal, in a notebook, as frame, CSV and LaTeX.

People are shown each value as its column says, and machines are handed the value.
"""

from __future__ import annotations

import csv
import io
import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import chain, islice
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from cvxqueue.errors import require_package
from cvxqueue.formatting import TYPES_SHOWN, plain, plural, printable
from cvxqueue.whole_files import write_whole

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console, Group, RenderableType
    from rich.text import Text

Cell = str | tuple[str, str]
"""Text, or text with its style. Nothing in it is markup."""

WIDTH = 100
"""Columns of text where numbers do not need more; sentences are wrapped."""
_WIDEST = 10_000
# Colours that can be read on white and on black: a contrast of 4 to 1 and more with both.
_CSS_COLORS = {"green": "#2e8540", "red": "#d4351c", "yellow": "#a66a00"}
# What LaTeX takes for its own, and the signs of this package that its fonts lack.
_LATEX_FORMULAS = {"²": "^2", "³": "^3", "×": r"\times", "≤": r"\leq", "≥": r"\geq", "−": "-"}
_LATEX_FORMULAS |= {"λ": r"\lambda", "ρ": r"\rho", "π": r"\pi", "′": "'", "<": "<", ">": ">"}
_LATEX = str.maketrans(
    {sign: rf"\{sign}" for sign in "&%$#_{}"}
    | {sign: f"${formula}$" for sign, formula in _LATEX_FORMULAS.items()}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"–": "--", "\n": " "}
)


class Column(NamedTuple):
    """One column of a table."""

    name: str
    """With its unit, as in ``"mean system time (s)"``; the same in every form."""
    values: Any
    """A list or an array of one entry for each row; of intervals pairs, or of shape (rows, 2)."""
    show: Callable[[Any], Cell] = plain
    """How people are shown a value."""


class Exported(ABC):
    """Base of what has numbers in one table, for programs and for papers."""

    @abstractmethod
    def table(self) -> Table:
        """Return what there is in numbers."""

    def to_frame(self) -> DataFrame:
        """Return what there is in numbers as a pandas data frame, names and units in its columns.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        require_package("pandas", "frames need", "frame")
        from pandas import DataFrame

        return DataFrame(self.table().machine_columns())

    def to_csv(self, path: str | Path | None = None) -> str | None:
        """Return the same as comma-separated values, or write them to a file.

        Every number is read back bit for bit.

        Parameters
        ----------
        path : str or path, optional
            The file; by default the text is returned.
        """
        columns = self.table().machine_columns()
        # As Python writes numbers, they are read back bit for bit.
        lists = [v.tolist() if hasattr(v, "tolist") else v for v in columns.values()]
        text = csv_text(chain([columns], zip(*lists, strict=True)))
        if path is None:
            return text
        write_whole(Path(path), text.encode(errors="backslashreplace"))
        return None

    def to_latex(self) -> str:
        """Return the same as a ``tabular`` of LaTeX, rounded as in print.

        It has the rules of the LaTeX package booktabs.
        """
        table = self.table()
        sides = "".join("l" if is_left else "r" for is_left in table._lefts)
        lines = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule"]
        if table.has_names:
            lines += [_latex_line(column.name for column in table.columns), r"\midrule"]
        lines += [_latex_line(map(_words, row)) for row in table._rows(None)]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


@dataclass(frozen=True)
class Table(Exported):
    """Columns of values, each with a name and a unit.

    Parameters
    ----------
    columns : sequence of Column
        All of one length.
    has_names : bool, default True
        Whether people are shown the names; labels with text beside them need none.
    most : int, default 20
        Rows that people are shown; frames, CSV and LaTeX have all.
    wraps : bool, default True
        Whether the first column, or that of the text beside labels, may be broken on a terminal
        with little room.
    """

    columns: Sequence[Column]
    has_names: bool = True
    most: int = TYPES_SHOWN
    wraps: bool = True

    def table(self) -> Table:
        """Return the table itself."""
        return self

    def take(self, rows: Sequence[int]) -> Table:
        """Return the table of some rows alone."""
        columns = [it._replace(values=[it.values[row] for row in rows]) for it in self.columns]
        return replace(self, columns=columns)

    def __len__(self) -> int:
        return len(self.columns[0].values)

    @property
    def _rest(self) -> str:
        """How many rows people are not shown, in words; empty where there are none."""
        left = len(self) - self.most
        return f"... and {plural(left, 'more row')}" if left > 0 else ""

    def _rows(self, most: int | None) -> Iterator[list[Cell]]:
        """The first rows as people see them."""
        for row in islice(zip(*(each.values for each in self.columns), strict=True), most):
            yield [column.show(value) for column, value in zip(self.columns, row, strict=True)]

    @property
    def _lefts(self) -> list[bool]:
        """Which columns are text, and begin at the left; the others are numbers."""
        first = [next(iter(column.values), "") for column in self.columns]
        return [isinstance(value, str) for value in first]

    def __rich__(self) -> Group:
        from rich import box
        from rich.console import Group
        from rich.table import Table as RichTable

        rows = list(self._rows(self.most))
        grid: dict[str, Any] = {"box": None, "padding": (0, 2), "collapse_padding": True}
        ruled = {"box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0)}
        table = RichTable(
            show_header=self.has_names,
            show_edge=False,
            pad_edge=False,
            **(ruled if self.has_names else grid),
        )
        texts = [[_words(row[place]) for row in rows] for place in range(len(self.columns))]
        headings = [
            column.name if is_left else _heading(column.name, cells)
            for column, cells, is_left in zip(self.columns, texts, self._lefts, strict=True)
        ]
        height = max(heading.count("\n") for heading in headings)
        # One column may be broken where there is little room: names, or sentences beside labels.
        wraps = (0 if self.has_names else len(headings) - 1) if self.wraps else None
        for place, (heading, is_left) in enumerate(zip(headings, self._lefts, strict=True)):
            table.add_column(
                _text("\n" * (height - heading.count("\n")) + heading),
                justify="left" if is_left or not self.has_names else "right",
                no_wrap=place != wraps,
                min_width=None if place == wraps else _longest(texts[place]),
                overflow="fold",
            )
        for row in rows:
            table.add_row(*map(_text, row))
        return Group(table, *([self._rest] if self._rest else []))

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(file=io.StringIO(), color_system=None, force_jupyter=False)
        return printed(self, console, WIDTH)

    def _repr_html_(self) -> str:
        sides = ["left" if is_left else "right" for is_left in self._lefts]

        # Numbers are not broken, and keep what stands before them; names and sentences may be.
        whole = {"td": "; white-space: pre"} if self.has_names else {}

        def line(tag: str, cells: Iterable[str]) -> str:
            inner = (
                f'<{tag} style="text-align: {side}; padding: 0.1em 0.6em{whole.get(tag, "")}">'
                f"{cell}</{tag}>"
                for cell, side in zip(cells, sides, strict=True)
            )
            return f"<tr>{''.join(inner)}</tr>"

        names = (escape(printable(column.name)) for column in self.columns)
        head = f"<thead>{line('th', names)}</thead>" if self.has_names else ""
        body = "".join(line("td", map(_html, row)) for row in self._rows(self.most))
        below = f"<div>{self._rest}</div>" if self._rest else ""
        table = f"<table>{head}<tbody>{body}</tbody></table>"
        # Where a page is narrower, the table scrolls by itself.
        return f'<div style="overflow-x: auto">{table}</div>{below}'

    def to_markdown(self) -> str:
        """Return all rows as a table of Markdown."""
        names = [column.name if self.has_names else "" for column in self.columns]
        rule = ["---" if is_left else "---:" for is_left in self._lefts]
        rows = [names, *([_words(cell) for cell in row] for row in self._rows(None))]
        head, *lines = ([markdown_text(cell) for cell in row] for row in rows)
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))

    def machine_columns(self) -> dict[str, Any]:
        """Return the values by name; an interval has a column for each of its ends.

        Names that repeat, as of two constraints alike, are numbered.
        """
        found: dict[str, Any] = {}
        for given, values, _ in self.columns:
            name, count = given, 1
            while name in found or f"{name}, low" in found:
                count += 1
                name = f"{given} ({count})"
            if _is_interval(values):
                for place, end in enumerate(("low", "high")):
                    found[f"{name}, {end}"] = [pair[place] for pair in values]
            else:
                found[name] = values
        return found


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """Return labels with text beside them."""
    labels, texts = zip(*rows, strict=True)
    return Table([Column("quantity", labels), Column("value", texts)], has_names=False)


Part = Cell | list[Cell] | Table
"""A line, a line of several styles, or a table."""


class Report(Exported):
    """Base of results that show themselves.

    ``str`` is plain text, ``rich.print`` has colours, and a notebook shows HTML.
    """

    @abstractmethod
    def _parts(self) -> Iterable[Part]:
        """Lines and tables, in the order of reading."""

    def __str__(self) -> str:
        parts = self._parts()
        return "\n".join(str(it) if isinstance(it, Table) else _text(it).plain for it in parts)

    def __rich__(self) -> Group:
        return rendered(self._parts())

    def _repr_html_(self) -> str:
        parts = (
            part._repr_html_()
            if isinstance(part, Table)
            else f"<div>{_html(part) or '&nbsp;'}</div>"
            for part in self._parts()
        )
        return f"<div>{''.join(parts)}</div>"


def width_for(shown: RenderableType, width: int) -> int:
    """Return a width, or more where rich would otherwise cut numbers short."""
    from rich.console import Console

    return max(width, Console(width=_WIDEST).measure(shown).minimum)


def printed(shown: RenderableType, console: Console, width: int) -> str:
    """Return what rich prints in so many columns, or more."""
    console.width = width_for(shown, width)
    with console.capture() as captured:
        console.print(shown)
    # Tables are padded to the right; a pipe has no use for that.
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def rendered(parts: Iterable[Part | Report]) -> Group:
    """Return what rich prints one below the other."""
    from rich.console import Group

    return Group(*(part if isinstance(part, Table | Report) else _text(part) for part in parts))


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as comma-separated values, a line feed after each."""
    text = io.StringIO()
    # Before Python 3.13 a writer quotes no carriage return but one that may end its own lines.
    file: Any = SimpleNamespace(write=lambda line: text.write(f"{line[:-2]}\n"))
    csv.writer(file, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def _is_interval(values: Any) -> bool:
    """Whether a column has two ends in each row."""
    return getattr(values, "ndim", 1) == 2 or isinstance(next(iter(values), None), tuple)


def _longest(texts: Iterable[str]) -> int:
    return max((len(line) for text in texts for line in text.split("\n")), default=0)


def _heading(name: str, cells: Iterable[str]) -> str:
    """A name on several lines where its column is narrow."""
    width = max(_longest(cells), *map(len, name.split(" ")))
    return "\n".join(textwrap.wrap(name, width, break_on_hyphens=False))


def _words(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _text(line: Cell | list[Cell]) -> Text:
    """Return what a terminal cannot take for its own: names are somebody's."""
    from rich.text import Text

    return Text.assemble(
        *(
            printable(cell) if isinstance(cell, str) else (printable(cell[0]), cell[1])
            for cell in (line if isinstance(line, list) else [line])
        )
    )


def _html(line: Cell | list[Cell]) -> str:
    """Return what a browser cannot take for its own."""
    found = []
    for cell in line if isinstance(line, list) else [line]:
        text = escape(printable(_words(cell)).strip("\n")).replace("\n", "<br>")
        style = "" if isinstance(cell, str) else cell[1]
        css = "; ".join(
            "font-weight: bold" if word == "bold" else f"color: {_CSS_COLORS[word]}"
            for word in style.split()
        )
        found.append(f'<span style="{css}">{text}</span>' if css else text)
    return "".join(found)


def _latex_line(cells: Iterable[str]) -> str:
    line = " & ".join(printable(cell).strip("\n").translate(_LATEX) for cell in cells)
    # After the end of a line or a rule, LaTeX would take these for its own.
    return ("{}" if line.startswith(("[", "*")) else "") + line + r" \\"


def markdown_text(text: str) -> str:
    """Return one line in which Markdown finds nothing to obey."""
    return re.sub(r"([\\`*_{}\[\]<>|~$#&])", r"\\\1", printable(text)).replace("\n", " ")
