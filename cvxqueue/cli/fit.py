"""``cvxqueue fit``: an instance file from measurements."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvxqueue.cli.measurements import pairs
from cvxqueue.cli.output import progress, write, write_json
from cvxqueue.errors import InvalidInputError
from cvxqueue.files import save, to_dict
from cvxqueue.fitting import Fit, FittedParameter, fit, read_answers, read_requests
from cvxqueue.formatting import shown, significant
from cvxqueue.model import Instance
from cvxqueue.suggest import nearest

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["run"]

_PARTS = ("service", "accuracy", "trace")


def run(options: argparse.Namespace) -> int:
    """Fit, print what was found, and write the instance."""
    if options.output is not None:
        _check_output(options)
    columns = _by_part("--column", options.column, "FIELD=NAME")
    where = _by_part("--where", options.where, "NAME=VALUE")
    found = _fit(options, columns, where)
    instance = None
    if options.output is not None:
        instance = _instance(options, found)
        save(instance, options.output)
    if options.json:
        summary = {"status": "fitted", **found.to_dict()}
        if instance is not None:
            summary |= {"output": str(options.output), "instance": to_dict(instance)}
        write_json(summary)
    else:
        write(*_report(found, options.output))
    return 0


def _by_part(option: str, texts: Sequence[str], form: str) -> dict[str, dict[str, str]]:
    """Return texts of the form ``PART.NAME=VALUE`` as a mapping for each part."""
    found: dict[str, dict[str, str]] = {part: {} for part in _PARTS}
    for name, value in pairs(option, texts, f"PART.{form}").items():
        part, _, key = name.partition(".")
        if not key or part not in found:
            raise InvalidInputError(
                f"{option} {shown(f'{name}={value}')} must have the form PART.{form}: "
                f"{nearest(part, _PARTS)}"
            )
        found[part][key] = value
    return found


def _check_output(options: argparse.Namespace) -> None:
    """Refuse before any work what cannot be written after it."""
    path = Path(options.output)
    if path.suffix.lower() not in (".toml", ".json"):
        raise InvalidInputError(
            f"--output {path}: the suffix must be .toml or .json, got {shown(path.suffix)}"
        )
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
    if not any(getattr(options, part) is not None for part in _PARTS):
        raise InvalidInputError("nothing to fit: give --service, --accuracy or --trace")
    for part in _PARTS:
        if getattr(options, part) is None and (columns[part] or where[part]):
            raise InvalidInputError(f"--column or --where names {part}, but --{part} is not given")
    needs = {"service": ("tokens", "seconds"), "trace": ("arrivals",)}
    data: dict[str, Any] = {}
    with progress(len(_PARTS) + 1) as step:
        for part in _PARTS:
            step(f"reading {part}")
            path = getattr(options, part)
            if path is None:
                continue
            chosen = {
                "columns": columns[part],
                "where": where[part],
                "max_malformed": options.max_malformed,
            }
            data[part] = (
                read_answers(path, **chosen)
                if part == "accuracy"
                else read_requests(path, needs=needs[part], **chosen)
            )
        step("fitting")
        return fit(**data, confidence=options.confidence)


def _instance(options: argparse.Namespace, found: Fit) -> Instance:
    return found.instance(
        accuracy_weight=options.accuracy_weight,
        max_tokens=options.max_tokens,
        arrival_rate=options.arrival_rate,
        mix=_mix(options.mix),
        answer_tokens=options.answer_tokens,
        token_scv=options.token_scv,
        name=options.name or Path(options.output).stem,
    )


def _mix(texts: Sequence[str]) -> dict[str, float] | None:
    mix = {}
    for text in texts:
        # A name may hold an equals sign; a probability does not.
        name, equals, value = text.rpartition("=")
        try:
            mix[name] = float(value)
        except ValueError:
            equals = ""
        if not (equals and name):
            raise InvalidInputError(f"--mix {shown(text)} must have the form TYPE=PROBABILITY")
    return mix or None


def _report(found: Fit, output: str | None) -> list[RenderableType]:
    from rich.text import Text

    parts: list[RenderableType] = []
    if found.service:
        parts += [_heading("Service time: base + per token × tokens"), _service_table(found)]
    if found.curves:
        parts += [
            _heading("Accuracy: floor + gain (1 − exp(−rate × tokens))"),
            _curve_table(found),
        ]
    if found.arrivals is not None:
        arrivals = found.arrivals
        parts += [
            _heading("Arrivals"),
            Text(
                f"{arrivals.arrivals:,} in {arrivals.duration:.6g} s: "
                f"{_shown(arrivals.rate, between=' ')} per second."
                # A rejection is among the warnings.
                + ("" if arrivals.poisson.is_rejected else f"\n{arrivals.poisson.sentence}.")
            ),
        ]
        parts += [
            Text(f"{name}: {_shown(share, between=' ')} of the arrivals")
            for name, share in arrivals.mix.items()
        ]
    parts.append(Text(f"\nIntervals hold with probability {_confidence(found):g}."))
    parts += [Text(f"warning: {warning}", "yellow") for warning in found.warnings]
    if output is not None:
        parts.append(Text(f"\nWrote {output}; next: cvxqueue solve {output}"))
    return parts


def _heading(text: str) -> RenderableType:
    from rich.text import Text

    return Text(f"\n{text}", "bold")


def _confidence(found: Fit) -> float:
    fits = [
        *(line.base for line in found.service.values()),
        *(curve.floor for curve in found.curves.values()),
        *([] if found.arrivals is None else [found.arrivals.rate]),
    ]
    return fits[0].confidence


def _service_table(found: Fit) -> Table:
    table = _table("task type", "rows", "base (s)", "per token (ms)", "residual (s)", "R²")
    for name, line in found.service.items():
        table.add_row(
            _name(name),
            f"{line.rows:,}",
            _shown(line.base),
            _shown(line.per_token, 1e3),
            significant(line.residual_scale, 3),
            f"{line.r_squared:.4f}",
        )
    return table


def _curve_table(found: Fit) -> Table:
    table = _table("task type", "floor", "gain", "rate × 1000", "residual", "verdict")
    for name, curve in found.curves.items():
        table.add_row(
            _name(name),
            _shown(curve.floor),
            _shown(curve.gain),
            _shown(curve.rate, 1e3),
            f"{max(abs(curve.residuals)):.3f}",
            curve.goodness.verdict,
        )
    return table


def _table(*headers: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(headers[0], overflow="fold")
    for header in headers[1:]:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def _name(name: str) -> RenderableType:
    from rich.text import Text

    return Text(name or "all")


def _shown(parameter: FittedParameter, factor: float = 1.0, between: str = "\n") -> str:
    """Return a value with its interval, on two lines: side by side they need too many columns."""
    low, high = (significant(factor * end, 3) for end in parameter.interval)
    return f"{significant(factor * parameter.value, 4)}{between}[{low}, {high}]"
