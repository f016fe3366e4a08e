"""Configuration of the documentation build."""

from importlib.metadata import version as installed_version

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
