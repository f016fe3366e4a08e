"""``cvxqueue schema``: the JSON Schema of instance files."""

from __future__ import annotations

import argparse
import json
import sys

from cvxqueue.files import json_schema

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Print the schema."""
    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
    return 0
