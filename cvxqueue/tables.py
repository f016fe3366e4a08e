"""What results show to people: lines of text and tables, as text and on a terminal, by rich."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cvxqueue.formatting import printable

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

Cell = str | tuple[str, str]
"""Text, or text with its style. Nothing in it is markup."""

# Columns of a table as text; numbers need fewer, and sentences are wrapped.
_WIDTH = 100


@dataclass(frozen=True)
class Table:
    """Rows of text below headers.

    Parameters
    ----------
    headers : sequence of str
        One for each column; an empty sequence for labels with text beside them.
    rows : sequence of sequence of Cell
        The cells.
    left : tuple of int, default (0,)
        Columns that are text, and begin at the left; the others are numbers. Without headers, all.
    wraps : int, default 0
        The one column that may be broken where there is little room. Without headers, the last.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    left: tuple[int, ...] = (0,)
    wraps: int = 0

    def __rich__(self) -> RichTable:
        from rich import box
        from rich.table import Table as RichTable

        headers, left, wraps = self.headers, self.left, self.wraps
        if headers:
            table = RichTable(
                box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
            )
        else:
            table = RichTable.grid(padding=(0, 2))
            headers = [""] * len(next(iter(self.rows), ()))
            left, wraps = tuple(range(len(headers))), len(headers) - 1
        height = max((header.count("\n") for header in headers), default=0)
        for column, header in enumerate(headers):
            table.add_column(
                _text("\n" * (height - header.count("\n")) + header),
                justify="left" if column in left else "right",
                no_wrap=column != wraps,
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*map(_text, row))
        return table

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(file=io.StringIO(), width=_WIDTH, color_system=None)
        with console.capture() as captured:
            console.print(self)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())


Part = Cell | list[Cell] | Table
"""A line, a line of several styles, or a table."""


class Report(ABC):
    """Base of results that show themselves: ``str`` is plain text, ``rich.print`` has colours."""

    @abstractmethod
    def _parts(self) -> Iterable[Part]:
        """Lines and tables, in the order of reading."""

    def __str__(self) -> str:
        parts = self._parts()
        return "\n".join(str(it) if isinstance(it, Table) else _text(it).plain for it in parts)

    def __rich__(self) -> Group:
        return rendered(self._parts())


def rendered(parts: Iterable[Part | Report]) -> Group:
    """Return what rich prints one below the other."""
    from rich.console import Group

    return Group(*(part if isinstance(part, Table | Report) else _text(part) for part in parts))


def _text(line: Cell | list[Cell]) -> Text:
    """Return what a terminal cannot take for its own: names are somebody's."""
    from rich.text import Text

    return Text.assemble(
        *(
            printable(cell) if isinstance(cell, str) else (printable(cell[0]), cell[1])
            for cell in (line if isinstance(line, list) else [line])
        )
    )
