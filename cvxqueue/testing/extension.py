"""``check_extension``: a class of one's own on many points, against all that is asked of it."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown
from cvxqueue.model import AccuracyCurve, Queue, ServiceLaw
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray, is_frozen
from cvxqueue.numerics.checks import positive_number
from cvxqueue.testing.curve_promises import check_curve
from cvxqueue.testing.law_promises import check_law
from cvxqueue.testing.promises import ROUNDING, ExtensionError, ExtensionReport, Promises
from cvxqueue.testing.queue_promises import check_queue

# Tokens from a thousandth to a thousand times the most that are asked for, so many per decade.
_DECADES, _PER_DECADE = 3.0, 8
_TYPES = 3


@quiet
def check_extension(
    thing: AccuracyCurve | ServiceLaw | Queue,
    *,
    max_tokens: float = 1e6,
    seed: int = 0,
    on_failure: Literal["raise", "return"] = "raise",
) -> ExtensionReport:
    """Test a curve, a service law or a queue against everything that certificates rest on.

    Monotone, concave or convex, derivatives, inverses, differences without cancellation, bounds,
    allowances for rounding, broadcasting, and that nobody can write to it: on a grid over many
    decades and on random points. What passes may still be wrong elsewhere: samples prove nothing,
    and a certificate says what it assumes of a class that is not the package's.

    Parameters
    ----------
    thing : AccuracyCurve, ServiceLaw or Queue
        An object of the class, with parameters as they will be used.
    max_tokens : float, default 1e6
        Most tokens that it shall be used with: up to there, a curve must be a probability.
    seed : int, default 0
        Of the random points.
    on_failure : {"raise", "return"}, default "raise"
        Whether a broken promise is an error, as a test wants it, or only in the report.

    Returns
    -------
    ExtensionReport
        A table of all promises, with the worst point of each that is broken.

    Raises
    ------
    ExtensionError
        If a promise is broken: an `AssertionError` that names each one, the point at which it was
        broken worst, and what was got and expected there.
    InvalidInputError
        If `thing` is none of these, or another argument is not allowed.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> report = cq.testing.check_extension(cq.PowerLaw(
    ...     floor=0.25, gain=0.5, scale=1000.0, exponent=0.5))
    >>> report.holds, len(report.findings)
    (True, 20)
    """
    if on_failure not in ("raise", "return"):
        raise InvalidInputError(f"on_failure must be 'raise' or 'return', got {shown(on_failure)}")
    most = positive_number("max_tokens", max_tokens)
    promises, rng = Promises(), np.random.default_rng(seed)
    if isinstance(thing, AccuracyCurve | ServiceLaw):
        law = thing if thing.shape else thing.broadcast(_TYPES)
        points = _token_points(most, rng, law.shape)
        if isinstance(law, AccuracyCurve):
            check_curve(law, points, most, rng, promises)
            methods = ("value", "slope", "curvature", "inverse_slope", "inverse_value")
        else:
            check_law(law, points, rng, promises)
            methods = ("mean", "mean_slope", "mean_curvature", "second_moment", "inverse_mean")
        _check_arrays(law, methods, points, promises)
    elif isinstance(thing, Queue):
        check_queue(thing, rng, promises)
    else:
        raise InvalidInputError(
            "thing must be derived from AccuracyCurve, ServiceLaw or Queue of cvxqueue.model, got "
            f"{shown(thing)}"
        )
    _check_frozen(thing, promises)
    report = ExtensionReport(type(thing).__name__, promises.findings)
    if not report.holds and on_failure == "raise":
        raise ExtensionError(report)
    return report


def _token_points(most: float, rng: np.random.Generator, shape: tuple[int, ...]) -> FloatArray:
    """Tokens over many decades, from 0 on, increasing, shape (P, ...)."""
    ends = np.log10(most) - 3.0 * _DECADES, np.log10(most) + _DECADES
    count = int(4.0 * _DECADES * _PER_DECADE)
    logarithms = [np.linspace(*ends, count), rng.uniform(*ends, count)]
    points = np.unique(np.concatenate([[0.0, most], 10.0 ** np.concatenate(logarithms)]))
    return np.broadcast_to(points.reshape(-1, *(1 for _ in shape)), (points.size, *shape)).copy()


def _check_arrays(
    law: Any, methods: tuple[str, ...], tokens: FloatArray, promises: Promises
) -> None:
    """Compare parts, copies and batches of a law with the whole of it."""
    size, shape = law.shape[-1], law.shape
    which: NDArray[np.intp] = np.arange(size)[::-1]
    some = law.mapped(lambda array: array[..., which])
    batch = law.mapped(lambda array: np.stack([np.broadcast_to(array, shape)] * 2))
    row = batch.mapped(lambda array: np.broadcast_to(array, (2, *shape))[1])
    for name in methods:
        given = tokens
        if name.startswith("inverse"):
            # What the inverses are asked for lies between what the law says of tokens.
            given = getattr(law, name.removeprefix("inverse_"))(tokens)
            given = np.where(given > 0.0, given, 1.0)
        kept, whole = given.copy(), getattr(law, name)(given) + 0.0 * tokens
        tell = promises.on(tokens=tokens)
        words = f"mapped gives the {name} of the types that it leaves"
        parts = getattr(some, name)(given[..., which]) + 0.0 * tokens
        rows = getattr(batch, name)(given[:, np.newaxis]) + 0.0 * np.stack([tokens] * 2, axis=1)
        back = getattr(row, name)(given) + 0.0 * tokens
        for found in (parts[..., which], rows[:, 1], back):
            tell("mapped", words, found, whole, whole, ROUNDING * np.abs(whole))
        tell("arguments", "a method leaves its arguments as they were", given, kept, kept)


def _check_frozen(thing: Any, promises: Promises) -> None:
    """Find out whether anything of it can be changed, and whether copies are equal to it."""
    try:
        thing.__setattr__("of_nobody", 1.0)
        can_set = True
    except (AttributeError, TypeError):
        can_set = False
    arrays = [value for value in vars(thing).values() if isinstance(value, np.ndarray)]
    is_read_only = not can_set and all(map(is_frozen, arrays))
    twin, kind, tell = copy.copy(thing), type(thing), promises.on()
    words = "nobody can set its attributes (a frozen dataclass) or write to its arrays"
    tell("read-only", words, is_read_only, 1.0, 1.0)
    is_equal = bool(twin == thing) and hash(twin) == hash(thing)
    tell("equality", "copies are equal, with equal hashes", is_equal, 1.0, 1.0)
    if getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind:
        # Others, of a notebook's function say, have no name to be found by.
        is_same = bool(pickle.loads(pickle.dumps(thing)) == thing)
        tell("pickles", "what a pickle brings back is equal", is_same, 1.0, 1.0)
