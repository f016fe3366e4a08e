"""The report in a browser: it asks nobody for anything, nothing fails, and it fits any window."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

import cvxqueue as cq
from tests.benchmark.test_report import HOSTILE, drawn


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_asks_for_nothing_and_fits(
    browser: Browser, tmp_path: Path, scheme: str, width: int
) -> None:
    path = tmp_path / "report.html"
    cq.Benchmark(tuple(drawn(1))).report(path)
    options: dict[str, Any] = {"color_scheme": scheme, "offline": True}
    context = browser.new_context(viewport={"width": width, "height": 800}, **options)
    page = context.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.goto(path.as_uri())
    page.wait_for_timeout(200)
    assert [each for each in asked if not each.startswith("data:")] == [path.as_uri()]
    assert wrong == []
    # The body is as wide as the window: tables scroll by themselves.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("svg.chart").count() == 4
    assert page.locator("th", has_text=HOSTILE.replace("\x1b", r"\x1b")).count() > 0
    paper, ink = (
        int(re.findall(r"\d+", page.evaluate(f"getComputedStyle(document.body).{each}"))[0])
        for each in ("backgroundColor", "color")
    )
    assert (paper < ink) == (scheme == "dark")
    # No line of a chart leaves its frame.
    for box in page.locator("svg.chart path.line").all():
        inner = box.evaluate(
            "it => { const b = it.getBBox(); return [b.x, b.y, b.width, b.height] }"
        )
        assert inner[0] >= 0
        assert inner[1] >= 0
        assert inner[0] + inner[2] <= 721
        assert inner[1] + inner[3] <= 301
    context.close()
