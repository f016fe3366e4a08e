"""Theory against simulation: one row for each quantity that has a closed form, with a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cvxqueue.errors import InvalidInputError
from cvxqueue.model import FIFO, Instance, ProcessorSharing
from cvxqueue.model.arrays import FloatArray, float_array
from cvxqueue.simulation.estimate import Estimate
from cvxqueue.simulation.types import ServiceTimes

if TYPE_CHECKING:
    from cvxqueue.simulation.result import Simulation

__all__ = ["CheckRow", "GapTest", "TheoryCheck", "check_simulation", "gap_test"]

# Types beyond these are left out, the most frequent kept: each row makes all intervals wider.
_TYPES_CHECKED = 20
# A type that fewer batches have seen has an interval of little worth.
_FEWEST_BATCHES = 10
# Significance at which the gaps are said not to be exponential.
_LEVEL = 0.01
# Two gaps, of which one transformed value remains.
_FEWEST_TIMES = 3


@dataclass(frozen=True)
class CheckRow:
    """One quantity: what theory says, what the simulation found, and whether they agree.

    Parameters
    ----------
    quantity : str
        What it is, with its unit.
    theory : float
        By the closed form.
    estimate : Estimate
        By the simulation.
    is_decided : bool
        Whether enough happened in the simulation to tell.
    """

    quantity: str
    theory: float
    estimate: Estimate
    is_decided: bool

    @property
    def agrees(self) -> bool:
        """Whether nothing speaks against the theoretical value."""
        return not self.is_decided or self.estimate.covers(self.theory)

    @property
    def verdict(self) -> str:
        """``"agrees"``, ``"differs"``, or ``"undecided"`` where too little happened to tell."""
        if not self.is_decided:
            return "undecided"
        return "agrees" if self.agrees else "differs"

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        return {
            "quantity": self.quantity,
            "theory": self.theory,
            **self.estimate.to_dict(),
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class GapTest:
    """Test of the Poisson assumption on given arrival times.

    Parameters
    ----------
    gaps : int
        How many there are.
    scv : float
        Their squared coefficient of variation; 1 for a Poisson stream.
    statistic, p_value : float
        Of the Kolmogorov–Smirnov test of Durbin's transform of the gaps: under the hypothesis of
        independent exponential gaps, whatever their rate, it is exact.
    """

    gaps: int
    scv: float
    statistic: float
    p_value: float

    @property
    def rejects(self) -> bool:
        """Whether the gaps are not those of a Poisson stream, at the level of 1 %."""
        return self.p_value < _LEVEL

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        return {
            "gaps": self.gaps,
            "scv": self.scv,
            "statistic": self.statistic,
            "p_value": self.p_value,
            "rejects": self.rejects,
        }

    def __str__(self) -> str:
        word = "rejected" if self.rejects else "not rejected"
        return (
            f"Poisson arrivals are {word} at the level of 1 % (p = {self.p_value:.2g}): "
            f"{self.gaps:,} gaps with a squared coefficient of variation of {self.scv:.3g}"
        )


@dataclass(frozen=True, kw_only=True)
class TheoryCheck:
    """The closed forms beside the simulation.

    Parameters
    ----------
    simulation : Simulation
        What was compared.
    rows : tuple of CheckRow
        Their intervals hold together: where all of theory is right, all cover at least in the
        fraction `confidence` of the runs (Bonferroni: each by itself is wider).
    confidence : float
        Of all rows together.
    poisson_ratio : Estimate or None
        Simulated mean waiting time over the one that Poisson arrivals of the same rate would
        have; ``None`` where the arrivals are Poisson, or the formula finds no stable queue.
    gap_test : GapTest or None
        For a replayed trace.
    """

    simulation: Simulation
    rows: tuple[CheckRow, ...]
    confidence: float
    poisson_ratio: Estimate | None
    gap_test: GapTest | None

    @property
    def agrees(self) -> bool:
        """Whether no row differs."""
        return all(row.agrees for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        return {
            "agrees": self.agrees,
            "confidence": self.confidence,
            "rows": [row.to_dict() for row in self.rows],
            "poisson_ratio": None if self.poisson_ratio is None else self.poisson_ratio.to_dict(),
            "gap_test": None if self.gap_test is None else self.gap_test.to_dict(),
        }

    @property
    def sentences(self) -> list[str]:
        """What the table means, in plain words."""
        said = [
            f"Each interval is widened so that all {len(self.rows)} hold together at "
            f"{100 * self.confidence:g} % (Bonferroni)."
        ]
        wrong = [row.quantity for row in self.rows if not row.agrees]
        said.append(
            "Theory and simulation agree."
            if not wrong
            else f"Theory and simulation differ in: {', '.join(wrong)}."
        )
        open_ = [row.quantity for row in self.rows if not row.is_decided]
        if open_:
            said.append(f"Too little happened to judge: {', '.join(open_)}.")
        if self.poisson_ratio is not None:
            low, high = self.poisson_ratio.interval
            said.append(
                f"The mean wait is {self.poisson_ratio.value:.3g} times that of Poisson arrivals "
                f"of the same rate, in [{low:.3g}, {high:.3g}]."
            )
        if self.simulation.caution:
            said.append(self.simulation.caution)
        if self.gap_test is not None:
            said.append(f"{self.gap_test}.")
        return said

    def __str__(self) -> str:
        width = max(len(row.quantity) for row in self.rows)
        lines = [f"{'':<{width}}  {'theory':>12}  {'simulated':>12}  {'interval':<26}  verdict"]
        for row in self.rows:
            low, high = row.estimate.interval
            interval = f"[{low:.6g}, {high:.6g}]"
            lines.append(
                f"{row.quantity:<{width}}  {row.theory:>12.6g}  {row.estimate.value:>12.6g}  "
                f"{interval:<26}  {row.verdict}"
            )
        return "\n".join([*lines, "", *self.sentences])


def check_simulation(simulation: Simulation) -> TheoryCheck:
    """Compare a simulation with the closed forms of the model.

    Parameters
    ----------
    simulation : Simulation
        Of any arrivals. Little's law and the utilization hold for all of them; what rests on
        Poisson arrivals is a row where they are Poisson, and otherwise `poisson_ratio` says how
        far the Poisson model is off.

    Returns
    -------
    TheoryCheck
    """
    point = simulation.instance.evaluate(simulation.tokens)
    is_poisson = simulation.arrivals == "poisson"
    found: list[tuple[str, float, Estimate]] = [
        ("mean accuracy", float(point.mean_accuracy), simulation.mean_accuracy)
    ]
    if not simulation.is_overloaded:
        # Under overload those who leave are not as many as those who come.
        found.insert(0, ("Little: L − λ T", 0.0, simulation.little_difference))
    if simulation.arrivals != "trace":
        found.append(("utilization", float(point.utilization), simulation.utilization))
    if is_poisson:
        found += _poisson(simulation)
    each = 1.0 - (1.0 - simulation.confidence) / len(found)
    ratio = None if is_poisson else _poisson_ratio(simulation)
    return TheoryCheck(
        simulation=simulation,
        rows=tuple(
            CheckRow(name, value, it.at(each), simulation.sums.settles(it))
            for name, value, it in found
        ),
        confidence=simulation.confidence,
        poisson_ratio=ratio,
        gap_test=None
        if simulation.trace is None or len(simulation.trace) < _FEWEST_TIMES
        else gap_test(simulation.trace),
    )


def _poisson(simulation: Simulation) -> list[tuple[str, float, Estimate]]:
    """What holds for Poisson arrivals alone."""
    instance, tokens = simulation.instance, simulation.tokens
    point = instance.evaluate(tokens)
    waiting = float(point.mean_waiting_time)
    found = [("mean waiting time (s)", waiting, simulation.mean_waiting_time)]
    if isinstance(instance.queue, FIFO):
        found.append(
            (
                "wait variance (s²)",
                _waiting_variance(instance, tokens),
                simulation.waiting_variance,
            )
        )
        # The mass at zero is the idle fraction: arrivals see time averages.
        found.append(("P(wait > 0)", float(point.utilization), simulation.waiting_probability))
    found.append(
        ("mean system time (s)", float(point.mean_system_time), simulation.mean_system_time)
    )
    times = point.times
    by_type = times + waiting
    if isinstance(instance.queue, ProcessorSharing):
        # The mean system time of a query is proportional to its own service time.
        by_type = times / float(point.idle)
    shown = np.sort(np.argsort(-instance.probabilities, kind="stable")[:_TYPES_CHECKED])
    if instance.size > 1:
        found += [
            (
                f"system time of {instance.type_name(k)} (s)",
                float(by_type[k]),
                simulation.system_times[k],
            )
            for k in shown.tolist()
            if simulation.batches_with[k] >= _FEWEST_BATCHES
        ]
    return found


def _waiting_variance(instance: Instance, tokens: FloatArray) -> float:
    """Variance of the waiting time of M/G/1, W² + λ m3/(3 (1 − ρ)), in seconds² (Takács)."""
    point = instance.evaluate(tokens)
    third = ServiceTimes(instance, tokens).third_moment
    spread = instance.arrival_rate * third / (3.0 * float(point.idle))
    return float(point.mean_waiting_time) ** 2 + spread


def _poisson_ratio(simulation: Simulation) -> Estimate | None:
    """Simulated mean wait over that of Poisson arrivals, at the rate that was simulated."""
    instance = simulation.instance
    if simulation.trace is not None:
        instance = instance.replace(arrival_rate=simulation.rate)
    theory = float(instance.evaluate(simulation.tokens).mean_waiting_time)
    wait = simulation.mean_waiting_time
    low, high = wait.interval
    if not 0.0 < theory < math.inf or not math.isfinite(high):
        return None
    return Estimate(
        wait.value / theory,
        (low / theory, high / theory),
        wait.confidence,
        wait.standard_error / theory,
        wait.degrees,
    )


def gap_test(times: FloatArray) -> GapTest:
    """Test whether arrival times can be those of a Poisson stream.

    Parameters
    ----------
    times : ndarray, shape (n,)
        Arrival times in order, in seconds; at least three, not all the same.

    Returns
    -------
    GapTest

    Raises
    ------
    InvalidInputError
        If there are fewer, they are not in order, or all are at one time.

    Notes
    -----
    With the n gaps sorted, g_(1) ≤ ... ≤ g_(n), the normalised spacings
    (n + 1 − i)(g_(i) − g_(i−1)) of independent exponential gaps are again independent and
    exponential; so their partial sums over the total are sorted uniform numbers. It finds gaps that
    are too even as well as those that are too uneven, and rounded times too. The order of the gaps
    does not enter.

    References
    ----------
    Lewis, "Some results on tests for Poisson processes", Biometrika 52, 1965.
    """
    from scipy.stats import kstest

    times = float_array("times", times)
    if times.size < _FEWEST_TIMES:
        raise InvalidInputError(f"times must be at least {_FEWEST_TIMES}, got {times.size}")
    gaps = np.diff(times)
    if (gaps < 0).any() or not gaps.any():
        raise InvalidInputError("times must be in order, and not all at one time")
    ordered = np.sort(gaps)
    spacings = np.arange(len(gaps), 0, -1) * np.diff(ordered, prepend=0.0)
    uniform = np.cumsum(spacings)[:-1] / spacings.sum()
    found = kstest(uniform, "uniform")
    scv = float(gaps.var() / gaps.mean() ** 2)
    return GapTest(len(gaps), scv, float(found.statistic), float(found.pvalue))
