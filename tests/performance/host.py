"""What a measurement depends on besides the code: the machine, the versions, and who else runs."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np

from cvxqueue.files.provenance import installed_version, processor

PACKAGES = ("cvxqueue", "numpy", "scipy", "cvxpy", "clarabel")
# Whichever of them the library reads; the first that is set counts.
THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "OMP_NUM_THREADS",
)


def host_facts() -> dict[str, str]:
    """Return the facts to print above a measurement."""
    return {
        "processor": processor(),
        "cores": _cores(),
        "system": platform.platform(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        **{package: installed_version(package) or "not installed" for package in PACKAGES},
        "BLAS": f"{_blas()}, {_threads()}",
        "load average": load_average(),
    }


def load_average() -> str:
    """Return the load of the last 1, 5 and 15 minutes; other work on the cores spoils times."""
    # Windows has none.
    average = getattr(os, "getloadavg", None)
    return "unknown" if average is None else ", ".join(f"{load:.2f}" for load in average())


def _cores() -> str:
    # In a container the process may be held to fewer than the host has.
    allowed = getattr(os, "sched_getaffinity", None)
    usable = os.cpu_count() if allowed is None else len(allowed(0))
    return f"{usable} of {os.cpu_count()}"


def _blas() -> str:
    configuration: Any = np.show_config(mode="dicts")
    blas = configuration.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def _threads() -> str:
    for variable in THREAD_VARIABLES:
        if variable in os.environ:
            return f"{os.environ[variable]} thread(s) by {variable}"
    return "threads as it chooses"
