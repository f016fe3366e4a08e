"""Sections of text files: a heading, the number of lines, and lines of numbers."""

from __future__ import annotations

from collections.abc import Iterable


def section(heading: str, *columns: Iterable[float], name: str = "") -> str:
    """Return a section; what parts the heading from the number is the end of the heading."""
    lines = [" ".join(map(repr, line)) for line in zip(*columns, strict=True)]
    return "\n".join([f"{heading}{len(lines)} {name}".rstrip(), *lines, ""])
