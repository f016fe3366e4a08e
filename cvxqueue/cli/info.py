"""``cvxqueue info``: versions for a bug report."""

from __future__ import annotations

import argparse
import platform
from typing import Any

from cvxqueue.cli.output import show
from cvxqueue.files.provenance import installed_version
from cvxqueue.tables import facts

_PACKAGES = (
    *("cvxqueue", "numpy", "scipy", "cvxpy", "clarabel"),
    *("pydantic", "tomli-w", "rich", "matplotlib"),
)


def run(options: argparse.Namespace) -> int:
    """Print the versions, and the conic solvers that CVXPY finds."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{package: installed_version(package) for package in _PACKAGES},
        "conic solvers": _conic_solvers(),
    }
    rows = [
        (key, ", ".join(value) if isinstance(value, list) else value or "not installed")
        for key, value in found.items()
    ]
    summary = {key.replace(" ", "_"): value for key, value in found.items()}
    table = facts(rows)
    show(options, summary, table, table)
    return 0


def _conic_solvers() -> list[str] | None:
    """Names of the installed conic solvers, or ``None`` without CVXPY."""
    try:
        from cvxpy.reductions.solvers.defines import INSTALLED_CONIC_SOLVERS
    except ImportError:
        return None
    return sorted(str(name) for name in INSTALLED_CONIC_SOLVERS)
