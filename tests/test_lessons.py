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

# What somebody may well write who has not understood: the check says no.
PLAUSIBLE = {
    "1-mean-wait-1": "wait, system_time = 2.5, 5.0",
    "1-mean-wait-2": "m1, m2, load, wait = 2.5, 2.5**2, 0.5, 1.25",
    "1-mean-wait-3": """
def waits(services, gaps):
    return np.cumsum([0.0, *np.subtract(services, gaps)[:-1]])""",
    "1-mean-wait-4": "load = 0.95",
    "1-mean-wait-5": "rest = 1.25",
    "2-by-hand-1": "t, load, T, worth, cost = 5.0, 0.5, 7.5, 0.01, 0.004",
    "2-by-hand-2": "P1, P2, worth, cost = 1.68, 0.2, [0.00267, 0.00492], [0.00252, 0.00252]",
    "2-by-hand-3": "P1, P2, multiplier = 1.68, 0.2, 0.0096 - 0.00656",
    "2-by-hand-4": "tokens, objective = [768, 512, 1024], Fraction(255, 4) - 4",
    "3-rules-1": "verdicts = ['affine', 'concave', 'concave', 'convex', 'convex', 'convex']",
    "3-rules-2": "system_time = lambda u, arrival_rate: cp.inv_pos(u) - arrival_rate",
    "3-rules-3": "accuracy = lambda tokens, h: h * cp.inv_pos(tokens + h)",
    "3-rules-4": """
def group_wait(t, shares, arrival_rate, n):
    root = cp.multiply(np.sqrt(arrival_rate * shares), t)
    return cp.quad_over_lin(root, 2 * (1 - arrival_rate * (shares @ t)))""",
    "3-rules-5": """
def load(tokens):
    rate = cp.Parameter(pos=True)
    return rate * 0.005 * tokens, lambda value, seconds: setattr(rate, "value", value)""",
    "4-certificate-1": "slope, top, gap = 0.00608, 1497.3, 4.340 + 0.00608 * 997.3",
    "4-certificate-2": "above_tangent = lambda t, t_new, rate: rate * (t_new - t) ** 2 / 2",
    "4-certificate-3": "tokens = 1000.0",
    "4-certificate-4": """
def moved(instance, tokens):
    return np.minimum(tokens, order_bracket(instance).upper)""",
    "4-certificate-5": "witness = 0.0",
    "5-frontier-1": """
def slope(server, weight):
    solution = cq.solve(server.replace(accuracy_weight=weight))
    return solution.mean_accuracy / solution.mean_system_time""",
    "5-frontier-2": "price, weight = 1.34299, 300.0 * (1 + 1.34299)",
    "5-frontier-3": "rate = 2.548",
    "5-frontier-4": "order = ['AIME24', 'HMMT25', 'GPQA', 'AIME25', 'GSM8K']",
    "6-status-1": """
def is_proven(instance, tokens, tolerance):
    return cq.certify(instance, tokens).relative_gap <= tolerance""",
    "6-status-2": "loss = 0.5 * 1e-6 * 300 * 0.595 * 9.25e-5**2 * 1000**2",
    "6-status-3": "status = 'optimal'",
    "6-status-4": "record, error = cq.prove(server), 1.6",
}


def cells(lesson: Path, tag: str | None = None) -> list[str]:
    """The code cells of a lesson, or those that have a tag, without lines for IPython."""
    return [
        re.sub(r"^%.*$", "", cell.source, flags=re.MULTILINE)
        for cell in jupytext.read(lesson).cells
        if cell.cell_type == "code" and (tag is None or tag in cell.metadata.get("tags", []))
    ]


def exercises() -> list[Any]:
    """Of each exercise the first cell of its lesson, the blank, the check and two answers."""
    found = []
    for lesson in LESSONS:
        solutions = (lesson.parent / "solutions" / lesson.name).read_text(encoding="utf-8")
        parts = cells(lesson, "exercise"), cells(lesson, "skip-execution")
        for number, each in enumerate(zip(*parts, SOLUTION.findall(solutions), strict=True), 1):
            name = f"{lesson.stem}-{number}"
            found.append(pytest.param(cells(lesson)[0], *each, PLAUSIBLE[name], id=name))
    return found


@pytest.mark.parametrize(("first", "blank", "check", "solution", "plausible"), exercises())
def test_a_check_passes_its_solution_and_nothing_else(
    first: str, blank: str, check: str, solution: str, plausible: str
) -> None:
    # An exercise needs the first cell of its page and no other.
    for wrong in (blank, f"{blank}\n{plausible}"):
        with pytest.raises(AssertionError, match=r"\w.*\w"):
            exec(f"{first}\n{wrong}\n{check}", {"__name__": "wrong"})
    exec(f"{first}\n{solution}\n{check}", {"__name__": "solution"})


def test_each_of_six_lessons_has_three_to_five_exercises_and_two_figures() -> None:
    assert [len(cells(lesson, "exercise")) in (3, 4, 5) for lesson in LESSONS] == [True] * 6
    assert [sum("plt.show()" in cell for cell in cells(it)) >= 2 for it in LESSONS] == [True] * 6


def test_code_is_not_cut_at_the_right() -> None:
    assert max(len(line) for it in LESSONS for cell in cells(it) for line in cell.split("\n")) <= 95
