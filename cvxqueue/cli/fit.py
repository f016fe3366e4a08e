"""``cvxqueue fit``: an instance file from measurements."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cvxqueue.answers import save
from cvxqueue.cli.output import progress, require_picture, show, write_picture
from cvxqueue.errors import InvalidInputError, naming
from cvxqueue.files import to_dict
from cvxqueue.files.storage import format_of
from cvxqueue.fitting import Fit, fit, read_answers, read_requests
from cvxqueue.formatting import shown
from cvxqueue.suggest import nearest

_MEASUREMENTS = ("service", "accuracy", "trace")


def run(options: argparse.Namespace) -> int:
    """Fit, print what was found, and write the instance."""
    if options.output is not None:
        _check_output(options)
    if options.plot is not None and options.service is None and options.accuracy is None:
        raise InvalidInputError("--plot needs --service or --accuracy: it draws what they hold")
    require_picture(options.plot)
    columns = _by_part("--column", options.column)
    where = _by_part("--where", options.where)
    found = _fit(options, columns, where)
    summary, wrote = {"status": "fitted", **found.to_dict()}, []
    if options.output is not None:
        instance = found.instance(
            accuracy_weight=options.accuracy_weight,
            max_tokens=options.max_tokens,
            arrival_rate=options.arrival_rate,
            mix=dict(options.mix) or None,
            answer_tokens=options.answer_tokens,
            token_scv=options.token_scv,
            name=options.name or Path(options.output).stem,
        )
        save(instance, options.output)
        summary |= {"output": str(options.output), "instance": to_dict(instance)}
        wrote = [f"\nWrote {options.output}; next: cvxqueue solve {options.output}"]
    write_picture(options.plot, found)
    show(options, summary, found.table(), found, *wrote)
    return 0


def _by_part(option: str, given: Sequence[tuple[str, str]]) -> dict[str, dict[str, str]]:
    """Return names of the form ``PART.NAME`` with their values as a mapping for each part."""
    found: dict[str, dict[str, str]] = {part: {} for part in _MEASUREMENTS}
    for name, value in given:
        part, _, key = name.partition(".")
        if not key or part not in found:
            raise InvalidInputError(
                f"{option} {shown(f'{name}={value}')} must begin with a part and a dot: "
                f"{nearest(part, _MEASUREMENTS)}"
            )
        found[part][key] = value
    return found


def _check_output(options: argparse.Namespace) -> None:
    """Refuse before any work what cannot be written after it."""
    path = Path(options.output)
    with naming("--output"):
        format_of(path)
    if path.exists() and not options.force:
        raise InvalidInputError(f"--output {path} exists; give --force to replace it")
    for option in ("service", "accuracy", "accuracy_weight", "max_tokens"):
        if getattr(options, option) is None:
            raise InvalidInputError(f"--output needs --{option.replace('_', '-')}")
    if options.trace is None and options.arrival_rate is None:
        raise InvalidInputError("--output needs --trace or --arrival-rate")


def _fit(
    options: argparse.Namespace,
    columns: Mapping[str, Mapping[str, str]],
    where: Mapping[str, Mapping[str, str]],
) -> Fit:
    if not any(getattr(options, part) is not None for part in _MEASUREMENTS):
        raise InvalidInputError("nothing to fit: give --service, --accuracy or --trace")
    for part in _MEASUREMENTS:
        if getattr(options, part) is None and (columns[part] or where[part]):
            raise InvalidInputError(f"--column or --where names {part}, but --{part} is not given")
    needs = {"service": ("tokens", "seconds"), "trace": ("arrivals",)}
    data: dict[str, Any] = {}
    with progress(len(_MEASUREMENTS) + 1) as step:
        for part in _MEASUREMENTS:
            step(f"reading {part}")
            if (path := getattr(options, part)) is None:
                continue
            read = partial(read_requests, needs=needs[part]) if part in needs else read_answers
            data[part] = read(
                path, columns=columns[part], where=where[part], max_malformed=options.max_malformed
            )
        step("fitting")
        return fit(**data, confidence=options.confidence)
