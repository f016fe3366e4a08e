"""Shares that rise in steps, as SVG: no script, and colours by name, for light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from cvxqueue.formatting import printable

COLORS = 8
"""Colours, one for each solver; a ninth takes the first again, and is dashed."""
_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 24, 10, 44
# Labelled decades on an axis, at most.
_MOST_TICKS = 8


def stairs(
    colors: Mapping[str, int],
    names: Sequence[str],
    share: Callable[[str, float], float],
    label: str,
    values: Sequence[float],
    title: str,
) -> str:
    """Return a chart of shares over values on a logarithmic axis, with a legend below it as HTML.

    The axis has whole decades around what is finite and positive among the values, and the shares
    rise nowhere else.
    """
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    bottom = _TOP + high
    found = [value for value in values if 0.0 < value < math.inf]
    low = math.floor(_exponent(min(found, default=1.0)))
    top = max(math.ceil(_exponent(max(found, default=1.0))), low + 1)
    parts = []
    for quarter in range(5):
        level = bottom - high * quarter / 4
        parts.append(f'<path class="grid" d="M{_LEFT} {level:.1f}h{wide}"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{level + 4:.1f}" text-anchor="end">{25 * quarter} %</text>'
        )
    for power in range(low, top + 1, max(1, math.ceil((top - low) / _MOST_TICKS))):
        across = _LEFT + wide * (power - low) / (top - low)
        tick = f"{10.0**power:g}" if abs(power) <= 3 else f"1e{power}"
        parts.append(f'<path class="grid" d="M{across:.1f} {_TOP}v{high}"/>')
        parts.append(f'<text x="{across:.1f}" y="{bottom + 16}" text-anchor="middle">{tick}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{_text(label)}</text>')
    steps = sorted({10.0**low, 10.0**top, *found})
    for name in names:
        path = ""
        for value in steps:
            across = _LEFT + wide * min(max((_exponent(value) - low) / (top - low), 0.0), 1.0)
            level = bottom - high * share(name, value)
            # At the level of the step before, up to where this one is.
            path += f"H{across:.1f}V{level:.1f}" if path else f"M{across:.1f} {level:.1f}"
        parts.append(f'<path class="{_style(colors[name])}" d="{path}">{_title(name)}</path>')
    legend = "".join(
        '<li><svg viewBox="0 0 28 10" aria-hidden="true">'
        f'<path class="{_style(colors[name])}" d="M1 5h26"/></svg>{_text(name)}</li>'
        for name in names
    )
    return (
        f'<figure><svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{_text(title)}">{_title(title)}{"".join(parts)}</svg>'
        f'<ul class="legend">{legend}</ul></figure>'
    )


def _exponent(value: float) -> float:
    # A decade is to be one, whatever its logarithm is rounded to.
    return round(math.log10(value), 9)


def _style(color: int) -> str:
    return f"line c{color % COLORS}" + " dashed" * (color >= COLORS)


def _title(text: str) -> str:
    return f"<title>{_text(text)}</title>"


def _text(text: str) -> str:
    return escape(printable(text))
