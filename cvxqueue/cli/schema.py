"""``cvxqueue schema``: the JSON Schema of instance files."""

from __future__ import annotations

import argparse

from cvxqueue.cli.output import write_json
from cvxqueue.files.schema import json_schema


def run(options: argparse.Namespace) -> int:
    """Print the schema."""
    write_json(json_schema(), indent=2)
    return 0
