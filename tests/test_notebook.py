"""The page *In a notebook* runs, and shows what it speaks of."""

from __future__ import annotations

from typing import Any

import nbclient
import nbformat
import pytest

from tests.paths import ROOT

# It has no types.
read: Any = nbformat.read


@pytest.fixture(scope="module")
def cells() -> dict[str, dict[str, Any]]:
    """What each cell of the executed notebook shows, by its last line."""
    notebook = read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=120).execute()
    return {
        cell.source.splitlines()[-1]: {
            kind: text
            for output in cell.outputs
            for kind, text in output.get("data", {"text": output.get("text")}).items()
        }
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


@pytest.mark.parametrize(
    ("last", "says"),
    [
        ("instance", "service time at max tokens (s)"),
        ("solution", "optimal tokens"),
        ("solution.certificate", "worth of max_tokens (s/token)"),
        ("comparison", "projected-gradient"),
        ("batch", "mean waiting time (s)"),
        ("frame.tail()", "mean waiting time (s)"),
    ],
)
def test_a_result_is_a_table(cells: dict[str, dict[str, Any]], last: str, says: str) -> None:
    assert "<table" in cells[last]["text/html"]
    assert says in cells[last]["text/html"]


def test_a_figure_is_a_picture(cells: dict[str, dict[str, Any]]) -> None:
    assert len(cells["plots.figure(comparison)"]["image/png"]) > 10_000


def test_latex_is_text(cells: dict[str, dict[str, Any]]) -> None:
    assert r"\begin{tabular}" in cells["print(solution.to_latex())"]["text"]
