"""Each page of the documentation in a browser, without network: whole, wide and on a telephone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.paths import ROOT

# Text that a formula leaves where nothing sets it; code may show some.
RAW_FORMULAS = r"""() => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
    for (let it = texts.nextNode(); it; it = texts.nextNode())
        if (/\\[([a-z]|\$\$/.test(it.data) && !it.parentElement.closest("pre, code, script, style"))
            found.push(`raw formula: ${it.data.trim()}`);
    return found;
}"""
# What has to be scrolled; or on a narrow window what cannot be, and is wider.
CUT = """narrow => [...document.querySelectorAll("article *")].filter(each => {
    const scrolls = it => /auto|scroll/.test(getComputedStyle(it).overflowX);
    if (!narrow) return scrolls(each) && each.scrollWidth > each.clientWidth;
    for (let it = each; it.tagName != "ARTICLE"; it = it.parentElement)
        if (scrolls(it)) return false;
    const texts = [...each.childNodes].filter(it => it.nodeType == Node.TEXT_NODE).map(it => {
        const range = document.createRange();
        range.selectNode(it);
        return range;
    });
    return [each, ...texts].some(it => it.getBoundingClientRect().right > innerWidth);
}).filter((each, _, all) => !all.includes(each.parentElement))
.map(each => `cut: ${each.tagName} ${each.textContent.replace(/\\s+/g, " ").slice(0, 80)}`)"""
LINKS = "() => [...document.links].map(each => each.href.split('#')[0])"


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages that .ci/run has built, or else ones that are built here."""
    if built := os.environ.get("CVXQUEUE_DOCS_HTML"):
        return Path(built)
    target = tmp_path_factory.mktemp("html")
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", ROOT / "docs", target],
        check=True,
    )
    return target


def test_no_page_is_cut_or_asks_for_what_it_has_not(browser: Browser, html: Path) -> None:
    page = browser.new_context(offline=True).new_page()
    wrong: list[str] = []
    page.on("requestfailed", lambda request: wrong.append(f"not found: {request.url}"))
    page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    found: list[str] = []
    paths = sorted(html.rglob("*.html"))
    assert len(paths) > 60
    there = {each.as_uri() for each in html.rglob("*")}
    for path in paths:
        wrong.clear()
        page.set_viewport_size({"width": 1400, "height": 900})
        page.goto(path.as_uri())
        wrong += page.evaluate(RAW_FORMULAS) + page.evaluate(CUT, False)
        wrong += [
            f"no such file: {each}"
            for each in page.evaluate(LINKS)
            if each.startswith("file:") and each not in there
        ]
        page.set_viewport_size({"width": 390, "height": 900})
        wrong += [f"on a telephone {each}" for each in page.evaluate(CUT, True)]
        found += [f"{path.relative_to(html)}: {each}" for each in wrong]
    assert not found, "\n".join(found)
    page.context.close()
