"""Lines on axes as SVG: no script, and colours by name, which a page has for light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from cvxqueue.formatting import printable

COLORS = 8
"""Colours, one for each solver; a ninth takes the first again, and is dashed."""
_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 24, 10, 44
# Labelled decades on an axis, at most.
_MOST_TICKS = 8


class Line(NamedTuple):
    """One line of a chart; points that are no finite numbers are left out."""

    name: str
    color: int
    points: Sequence[tuple[float, float]]


class Axis(NamedTuple):
    """What an axis shows, and from where to where."""

    label: str
    low: float
    high: float
    is_log: bool = True

    def at(self, value: float) -> float:
        """Return the place of a value as a share of the axis."""
        if not self.is_log:
            return (value - self.low) / (self.high - self.low)
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Return the places that are labelled."""
        if not self.is_log:
            return [(each / 4, f"{25 * each} %") for each in range(5)]
        first, last = math.ceil(_exponent(self.low)), math.floor(_exponent(self.high))
        step = max(1, math.ceil((last - first) / _MOST_TICKS))
        powers = range(first, last + 1, step)
        return [(self.at(10.0**power), _power(power)) for power in powers]


def _exponent(value: float) -> float:
    # A decade is to be one, whatever its logarithm is rounded to.
    return round(math.log10(value), 9)


def _power(power: int) -> str:
    return f"{10.0**power:g}" if abs(power) <= 3 else f"1e{power}"


def around(values: Sequence[float], label: str) -> Axis:
    """Return a logarithmic axis of whole decades around what is finite and positive."""
    found = [value for value in values if 0.0 < value < math.inf]
    low = math.floor(_exponent(min(found, default=1.0)))
    high = math.ceil(_exponent(max(found, default=1.0)))
    return Axis(label, 10.0**low, 10.0 ** max(high, low + 1))


def chart(lines: Sequence[Line], x: Axis, y: Axis, *, title: str, has_steps: bool = False) -> str:
    """Return a chart as SVG, with a legend below it as HTML."""
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across, up = min(max(x.at(point[0]), 0.0), 1.0), min(max(y.at(point[1]), 0.0), 1.0)
        return _LEFT + wide * across, _TOP + high * (1.0 - up)

    parts = []
    for share, label in y.ticks():
        level = _TOP + high * (1.0 - share)
        parts.append(f'<path class="grid" d="M{_LEFT} {level:.1f}h{wide}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{level + 4:.1f}" text-anchor="end">{label}</text>')
    for share, label in x.ticks():
        across = _LEFT + wide * share
        parts.append(f'<path class="grid" d="M{across:.1f} {_TOP}v{high}"/>')
        height = _TOP + high + 16
        parts.append(f'<text x="{across:.1f}" y="{height}" text-anchor="middle">{label}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{_text(x.label)}</text>')
    for line in lines:
        found = [point for point in line.points if all(map(math.isfinite, point))]
        places = [f"{across:.1f} {level:.1f}" for across, level in map(place, found)]
        if has_steps:
            # At the level of the step before, up to where the next one is.
            corners = pairwise(each.split() for each in places)
            path = "".join(f"H{there}V{level}" for _, (there, level) in corners)
            path = f"M{places[0]}{path}"
        else:
            path = f"M{'L'.join(places)}"
            parts += [_mark(line, *each.split()) for each in places]
        if places:
            name = f"<title>{_text(line.name)}</title>"
            parts.append(f'<path class="{_style(line)}" d="{path}">{name}</path>')
    legend = "".join(
        '<li><svg viewBox="0 0 28 10" aria-hidden="true">'
        f'<path class="{_style(line)}" d="M1 5h26"/></svg>{_text(line.name)}</li>'
        for line in lines
    )
    return (
        f'<figure><svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{_text(title)}"><title>{_text(title)}</title>{"".join(parts)}</svg>'
        f'<ul class="legend">{legend}</ul></figure>'
    )


def _mark(line: Line, across: str, level: str) -> str:
    return f'<circle class="c{line.color % COLORS}" cx="{across}" cy="{level}" r="3"/>'


def _style(line: Line) -> str:
    return f"line c{line.color % COLORS}" + " dashed" * (line.color >= COLORS)


def _text(text: str) -> str:
    return escape(printable(text))
