"""``cvxqueue explain``: why the rules accept a form of an instance, or where they refuse it."""

from __future__ import annotations

import argparse

from cvxqueue.cli.inputs import read_instance
from cvxqueue.cli.output import show
from cvxqueue.dcp.forms import formulate


def run(options: argparse.Namespace) -> int:
    """Print the tree of the form, and write the drawing."""
    form = formulate(read_instance(options.file), options.form)
    found = form.explain(with_parameters=options.with_parameters)
    refused = [
        {
            "at": node.label,
            "expression": node.text,
            "rule": str(node.rule),
            "remedy": node.remedy or None,
        }
        for node in found.refused
    ]
    status = "accepted" if found.is_accepted else "refused"
    data = {"status": status, "form": options.form, "refused": refused}
    if options.svg is not None:
        found.to_svg(options.svg)
    show(options, data, found.table(), found)
    return 0 if found.is_accepted else 1
