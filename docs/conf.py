"""Configuration of the documentation build."""

from importlib.metadata import version as installed_version

from docutils.nodes import SkipNode, Text, document, literal_block, math, math_block
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from cvxqueue.references import table

project = "cvxqueue"
author = "The cvxqueue developers"
copyright = "The cvxqueue developers"
version = release = installed_version("cvxqueue")

extensions = ["myst_nb", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings give types with shapes and units
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False

html_math_renderer = "mathml"  # every browser sets it by itself, without network
html_theme = "furo"
html_title = f"cvxqueue {release}"
html_static_path = ["_static"]
html_css_files = ["cvxqueue.css"]
html_copy_source = False


def _inline(translator: HTML5Translator, node: math) -> None:
    translator.body.append(convert(node.astext()))
    raise SkipNode


def _displayed(translator: HTML5Translator, node: math_block) -> None:
    formula = convert(node.astext(), display="block")
    translator.body.append(f'<div class="math">{formula}</div>')
    raise SkipNode


def _without_last_blank_line(app: Sphinx, tree: document) -> None:
    """The one that ends the output of an example."""
    for block in tree.findall(literal_block):
        text = block.astext().rstrip("\n")
        block.rawsource, block.children = text, [Text(text)]


def _add_table_of_references(app: Sphinx, page: str, source: list[str]) -> None:
    """Put what the records say where a page has a mark for it: no number is typed."""
    source[0] = source[0].replace("<!-- table of references -->", table()._repr_html_())


def setup(app: Sphinx) -> None:
    """Write formulas as MathML, examples without the blank line at their end, and a table."""
    app.connect("source-read", _add_table_of_references)
    app.connect("doctree-read", _without_last_blank_line)
    app.add_html_math_renderer("mathml", (_inline, None), (_displayed, None))
