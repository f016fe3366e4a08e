"""What a measurement depends on besides the code: the machine, the versions, and who else runs."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

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
        "processor": _processor(),
        "cores": _cores(),
        "system": platform.platform(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        **{package: _version(package) for package in PACKAGES},
        "BLAS": f"{_blas()}, {_threads()}",
        "load average": load_average(),
    }


def load_average() -> str:
    """Return the load of the last 1, 5 and 15 minutes; other work on the cores spoils times."""
    # Windows has none.
    average = getattr(os, "getloadavg", None)
    return "unknown" if average is None else ", ".join(f"{load:.2f}" for load in average())


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    if platform.system() == "Darwin":
        # The platform module knows the family only.
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.stdout.strip():
            return asked.stdout.strip()
    return platform.processor() or platform.machine() or "unknown"


def _cores() -> str:
    # In a container the process may be held to fewer than the host has.
    allowed = getattr(os, "sched_getaffinity", None)
    usable = os.cpu_count() if allowed is None else len(allowed(0))
    return f"{usable} of {os.cpu_count()}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _blas() -> str:
    configuration: Any = np.show_config(mode="dicts")
    blas = configuration.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def _threads() -> str:
    for variable in THREAD_VARIABLES:
        if variable in os.environ:
            return f"{os.environ[variable]} thread(s) by {variable}"
    return "threads as it chooses"
