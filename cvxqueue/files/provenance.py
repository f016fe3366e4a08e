"""Where a record comes from: digests that every process agrees on, and versions."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cvxqueue.errors import InvalidInputError
from cvxqueue.files.writing import to_dict
from cvxqueue.model import Instance


def digest(data: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain values, as 64 hexadecimal digits.

    It is that of their canonical JSON: ASCII without spaces, keys in order, and every number the
    shortest decimals of its float64. A program that writes the same values in another style, 5 for
    5.0 or 0.00001 for 1e-05, leaves it as it is.

    Raises
    ------
    InvalidInputError
        If a value is none that JSON has.
    """
    try:
        plain = json.loads(json.dumps(data, allow_nan=False), parse_int=float)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"not the values that JSON has: {error}") from error
    return sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def instance_digest(instance: Instance) -> str | None:
    """Return the digest of an instance; ``None`` where files have no word for one of its classes.

    Equal instances have equal digests, in every process and on every platform.
    """
    try:
        data = to_dict(instance)
    except InvalidInputError:
        return None
    return digest(data)


def about(instance: Instance) -> dict[str, Any]:
    """Return what an answer says of its instance and of the versions that found it."""
    return {
        "versions": versions(),
        "instance_digest": instance_digest(instance),
        "names": type_names(instance),
    }


def type_names(instance: Instance) -> list[str]:
    """Return the names of the types, with stand-ins where there are none."""
    return [instance.type_name(k) for k in range(instance.size)]


def installed_version(package: str) -> str | None:
    """Return the version of a package, or ``None`` where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def versions() -> Mapping[str, str | None]:
    """Return the versions that the numbers of an answer depend on."""
    packages = {package: installed_version(package) for package in ("cvxqueue", "numpy")}
    return {**packages, "python": platform.python_version()}


def processor() -> str:
    """Return the name of the processor, as far as the system tells it."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine() or "unknown"
