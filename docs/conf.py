"""Configuration of the documentation build."""

from importlib.metadata import version as installed_version

from cvxqueue.references import table

project = "cvxqueue"
author = "The cvxqueue developers"
copyright = "The cvxqueue developers"
version = release = installed_version("cvxqueue")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["amsmath", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings give types with shapes and units
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"cvxqueue {release}"
html_copy_source = False


def add_table_of_references(app, page, source):
    """Put what the records say where a page has a mark for it: no number is typed."""
    source[0] = source[0].replace("<!-- table of references -->", table()._repr_html_())


def setup(app):
    app.connect("source-read", add_table_of_references)
