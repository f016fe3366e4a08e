"""Arrivals: their rate, their mix of types, and whether they are Poisson."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError
from cvxqueue.fitting.units import require_arrivals
from cvxqueue.json_values import JsonRecord
from cvxqueue.numerics.checks import text_tuple
from cvxqueue.statistics.estimate import FittedParameter, normal_quantile, wilson
from cvxqueue.statistics.poisson import Observed, PoissonTest, observe, poisson_test
from cvxqueue.statistics.time_units import seconds_array


@dataclass(frozen=True)
class ArrivalFit(JsonRecord):
    """Arrival rate and mix of a trace.

    Attributes
    ----------
    rate : FittedParameter
        Arrivals per second. Where Poisson is rejected, the interval follows the dispersion seen.
    mix : dict of str to FittedParameter
        Probability of each type, in order of appearance; empty where the trace names none.
    arrivals : int
        Number of arrivals.
    duration : float
        Seconds from the first to the last that count for the rate; of a coarse clock, those of the
        whole steps between.
    poisson : PoissonTest
        Whether the model's arrivals describe them.
    warnings : tuple of str
        What to know before the rate is used.
    """

    rate: FittedParameter
    mix: dict[str, FittedParameter]
    arrivals: int
    duration: float
    poisson: PoissonTest
    warnings: tuple[str, ...]


def fit_arrivals(
    arrivals: ArrayLike, types: Sequence[str] | None = None, *, confidence: float = 0.95
) -> ArrivalFit:
    """Estimate rate and mix of arrivals, and test whether they are Poisson.

    Parameters
    ----------
    arrivals : array_like, shape (M,)
        Times in seconds, from any origin, or dates and times, in any order; at least ten.
    types : sequence of str, optional
        Type of each arrival.
    confidence : float, default 0.95
        Of the intervals.

    Raises
    ------
    InvalidInputError
        If there are fewer than ten arrivals, all at one time, or the lengths differ; if times in
        seconds cannot be the arrivals of one server (outside 1e-5 to 1000 a second, evenly
        spaced, or later than any date).

    Examples
    --------
    >>> import numpy as np
    >>> from cvxqueue.fitting import fit_arrivals
    >>> gaps = np.random.default_rng(1).exponential(5.0, 2000)
    >>> found = fit_arrivals(np.cumsum(gaps))
    >>> round(found.rate.value, 1), found.poisson.is_rejected
    (0.2, False)
    """
    times = np.sort(np.atleast_1d(seconds_array("arrivals", arrivals, is_moment=True)))
    types = None if types is None else text_tuple("types", types)
    if types is not None and len(types) != times.size:
        raise InvalidInputError(
            f"arrivals and types must be of one length, got {times.size} and {len(types)}"
        )
    poisson = poisson_test(times, confidence)
    require_arrivals("arrivals", times)
    observed = observe(times)
    ties = int(np.count_nonzero(np.diff(times) == 0))
    return ArrivalFit(
        rate=_rate(observed, poisson, confidence),
        mix={} if types is None else _mix(types, confidence),
        arrivals=times.size,
        duration=observed.end - observed.start,
        poisson=poisson,
        warnings=tuple(_warnings(poisson, observed, ties, times.size)),
    )


def _rate(observed: Observed, poisson: PoissonTest, confidence: float) -> FittedParameter:
    from scipy.special import chdtri

    duration = observed.end - observed.start
    # A period that ends with an arrival holds as many gaps as arrivals after the first.
    events = observed.times.size - (not observed.is_whole_steps)
    rate = events / duration
    if not poisson.is_rejected:
        # The time of that many Poisson arrivals has a gamma distribution. In a given time there
        # were that many, and not yet one more (Garwood, Biometrika 28, 1936).
        tail = (1.0 - confidence) / 2.0
        low = float(chdtri(2 * events, 1.0 - tail)) / (2.0 * duration)
        high = float(chdtri(2 * (events + observed.is_whole_steps), tail)) / (2.0 * duration)
        return FittedParameter(rate, rate / math.sqrt(events), (low, high), confidence)
    # Counts over a long time vary by the dispersion of windows, or of gaps where that is more.
    spread = max(poisson.dispersion, poisson.gap_scv.value)
    error = rate * math.sqrt(spread / events)
    factor = math.exp(normal_quantile(confidence) * error / rate)
    return FittedParameter(rate, error, (rate / factor, rate * factor), confidence)


def _mix(types: Sequence[str], confidence: float) -> dict[str, FittedParameter]:
    """Shares of the types with Wilson's intervals."""
    z, n = normal_quantile(confidence), len(types)
    return {
        name: FittedParameter(
            count / n, math.sqrt(count * (n - count) / n**3), wilson(count / n, n, z), confidence
        )
        for name, count in Counter(types).items()
    }


def _warnings(poisson: PoissonTest, observed: Observed, ties: int, arrivals: int) -> list[str]:
    found = []
    if poisson.is_rejected:
        found.append(
            f"{poisson.sentence}. The model's waiting times are then a guide only: by its gaps "
            "alone (Kingman's approximation), the wait would be "
            f"{'longer' if poisson.gap_scv.value > 1 else 'shorter'} than the model says"
        )
    if ties:
        coarse = (
            f"{ties} of {arrivals} arrivals come at the same time as the one before: the clock is "
            "coarse, or queries come in batches (see BatchArrivals)"
        )
        spread = "; Poisson arrivals are tested with the times spread over the steps of the clock, "
        ends = (
            "and the first and last step, which may be seen in part, count neither there nor for "
            "the rate"
            if observed.is_whole_steps
            else "and all of these count, as too few arrivals lie between the first and the last; "
            "if those were seen in part, the rate is too low: measure for longer"
        )
        found.append(coarse + (spread + ends if observed.step else ""))
    return found
