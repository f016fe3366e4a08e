"""The curve of measured points, in rationals of the binary floating point data.

Nothing of the package: the definition in the docstring of `PiecewiseLinear`, word for word.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

Corner = tuple[Fraction, Fraction]


def corners(tokens: Sequence[float], accuracy: Sequence[float]) -> list[Corner]:
    """Return the corners, the first of which is at 0 tokens."""
    points = [(Fraction(x), Fraction(y)) for x, y in zip(tokens, accuracy, strict=True)]
    (start, height), *others = points
    if start > 0:
        slopes = [(y - height) / (x - start) for x, y in others]
        steepest = max(slopes, default=Fraction(0))
        at_zero = height
        if steepest > 0:
            digits = 1 - Fraction(1, 10**12)
            at_zero -= start * next(slope for slope in slopes if slope >= digits * steepest)
        points.insert(0, (Fraction(0), at_zero))
    found = [points[0]]
    while True:
        here, height = found[-1]
        ahead = [((y - height) / (x - here), x, y) for x, y in points if x > here]
        slope, x, y = max(ahead, default=(Fraction(0), here, height))
        if slope <= 0:
            return found
        found.append((x, y))


def value(curve: Sequence[Corner], tokens: Fraction) -> Fraction:
    """Probability of a correct answer."""
    for (start, height), (end, top) in pairwise(curve):
        if tokens <= end:
            return height + (top - height) / (end - start) * (tokens - start)
    return curve[-1][1]
