"""Configuration of the documentation build."""

import re
from dataclasses import replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Literal

import jupytext
from docutils.nodes import SkipNode, Text, document, literal_block, math, math_block
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.logging import getLogger
from sphinx.writers.html5 import HTML5Translator

from cvxqueue.references import table

project = "cvxqueue"
author = "The cvxqueue developers"
copyright = "The cvxqueue developers"
version = release = installed_version("cvxqueue")

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120  # of a cell, in seconds, on a busy machine
nb_merge_streams = True
nb_output_stderr = "warn"  # nothing on a page warns its reader

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    # What a class has from Python itself is not told again.
    # Nor what the bases of curves, laws, queues and tables have, which are on pages of their own.
    "inherited-members": "AccuracyCurve, BaseException, Enum, LinearFractionalQueue, Queue,"
    " Report, ServiceLaw, object, tuple",
}
autodoc_typehints = "none"  # the docstrings give types with shapes and units
numpydoc_show_class_members = False
toc_object_entries_show_parents = "hide"

html_math_renderer = "mathml"  # every browser sets it by itself, without network
html_theme = "furo"
html_title = f"cvxqueue {release}"
html_static_path = ["_static"]
html_css_files = ["cvxqueue.css"]
html_copy_source = False


# What latex2mathml writes for a prime, alone and after an index.
_PRIME = re.compile("<msup>(<mi>[^<]*</mi>)<mi>(&#x0203[23];)</mi></msup>")
_INDEX_AND_PRIME = re.compile(
    "<msubsup>(<mi>[^<]*</mi>)(<m[in]>[^<]*</m[in]>)<mi>(&#x0203[23];)</mi></msubsup>"
)


def _mathml(node: math | math_block, display: Literal["inline", "block"]) -> str:
    formula = convert(node.astext(), display=display)
    # The sign is raised by itself; as a superscript it is too small to be seen.
    formula = _PRIME.sub(r"<mrow>\1<mo rspace='0'>\2</mo></mrow>", formula)
    formula = _INDEX_AND_PRIME.sub(r"<mrow><msub>\1\2</msub><mo rspace='0'>\3</mo></mrow>", formula)
    # A bar that may grow is lowered where it has an exponent.
    formula = formula.replace("<mo>&#x02016;", '<mo stretchy="false">&#x02016;')
    if "\\" in formula or "<mi>&</mi>" in formula:  # what is not known is left as it is
        getLogger(__name__).warning("not set as MathML: %s", node.astext(), location=node)
    return formula


def _inline(translator: HTML5Translator, node: math) -> None:
    formula = _mathml(node, "inline")
    # On a telephone it has a line of its own, which scrolls.
    is_long = len(node.astext()) > 40
    translator.body.append(f'<span class="long">{formula}</span>' if is_long else formula)
    raise SkipNode


def _displayed(translator: HTML5Translator, node: math_block) -> None:
    translator.body.append(f'<div class="math">{_mathml(node, "block")}</div>')
    raise SkipNode


def _without_last_blank_line(app: Sphinx, tree: document) -> None:
    """The one that ends the output of an example."""
    for block in tree.findall(literal_block):
        text = block.astext().rstrip("\n")
        block.rawsource, block.children = text, [Text(text)]


def _notebooks(app: Sphinx, exception: Exception | None) -> None:
    """Put each lesson beside its page as a notebook, with its cells alone."""
    if exception is None and app.builder.format == "html":
        for lesson in Path(app.srcdir, "lessons").glob("[0-9]*.md"):
            target = Path(app.outdir, "lessons", f"{lesson.stem}.ipynb")
            jupytext.write(jupytext.read(lesson), target)


def _text_of_fields(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Warn of a field of a named tuple that has no text but Python's."""
    if any(line.startswith("Alias for field number") for line in lines):
        getLogger(__name__).warning("%s has no text", name)


def _add_table_of_references(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what the records say where a page has a mark for it: no number is typed."""
    mark = "<!-- table of references -->"
    if mark in source[0]:
        # What a page is wide enough for.
        shown = replace(table(), columns=table().columns[:5])
        source[0] = source[0].replace(mark, shown._repr_html_())


def setup(app: Sphinx) -> None:
    """Write formulas as MathML, examples without a blank line at their end, and notebooks."""
    app.connect("autodoc-process-docstring", _text_of_fields)
    app.connect("source-read", _add_table_of_references)
    app.connect("doctree-read", _without_last_blank_line)
    app.connect("build-finished", _notebooks)
    app.add_html_math_renderer("mathml", (_inline, None), (_displayed, None))
