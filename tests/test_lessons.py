"""The exercises of the lessons: a check passes its solution and fails its blank.

The lessons themselves are run where the documentation is built.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jupytext
import pytest

from tests.paths import ROOT

LESSONS = sorted((ROOT / "docs" / "lessons").glob("[0-9]*.md"))
SOLUTION = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def cells(lesson: Path, tag: str | None = None) -> list[str]:
    """The code cells of a lesson, or those that have a tag, without lines for IPython."""
    return [
        re.sub(r"^%.*$", "", cell.source, flags=re.MULTILINE)
        for cell in jupytext.read(lesson).cells
        if cell.cell_type == "code" and (tag is None or tag in cell.metadata.get("tags", []))
    ]


def exercises() -> list[Any]:
    """Of each exercise the first cell of its lesson, the blank, the check and the solution."""
    found = []
    for lesson in LESSONS:
        solutions = (lesson.parent / "solutions" / lesson.name).read_text(encoding="utf-8")
        parts = cells(lesson, "exercise"), cells(lesson, "skip-execution")
        for number, each in enumerate(zip(*parts, SOLUTION.findall(solutions), strict=True), 1):
            name = f"{lesson.stem}-{number}"
            found.append(pytest.param(cells(lesson)[0], *each, id=name))
    return found


@pytest.mark.parametrize(("first", "blank", "check", "solution"), exercises())
def test_a_check_passes_its_solution_and_fails_its_blank(
    first: str, blank: str, check: str, solution: str
) -> None:
    # An exercise needs the first cell of its page and no other.
    with pytest.raises(AssertionError, match=r"\w+ \w+"):
        exec(f"{first}\n{blank}\n{check}", {"__name__": "blank"})
    exec(f"{first}\n{solution}\n{check}", {"__name__": "solution"})


def test_each_of_six_lessons_has_three_to_five_exercises_and_two_figures() -> None:
    assert [len(cells(lesson, "exercise")) in (3, 4, 5) for lesson in LESSONS] == [True] * 6
    assert [sum("plt.show()" in cell for cell in cells(it)) >= 2 for it in LESSONS] == [True] * 6


def test_code_is_not_cut_at_the_right() -> None:
    assert max(len(line) for it in LESSONS for cell in cells(it) for line in cell.split("\n")) <= 95
