"""Theory against simulation: whether they agree, for each quantity that has a closed form."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cvxqueue.formatting import plural
from cvxqueue.json_values import json_attributes
from cvxqueue.model import FIFO, ProcessorSharing
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.checks import require_that
from cvxqueue.simulation.plan import QUEUES
from cvxqueue.simulation.result import ENOUGH_TERMS, Simulation, estimate_columns
from cvxqueue.simulation.sampling import ServiceTimes
from cvxqueue.statistics.estimate import Estimate
from cvxqueue.statistics.poisson import FEWEST_ARRIVALS, PoissonTest, poisson_test
from cvxqueue.tables import Column, Part, Report, Table

# Types beyond these are left out, the most frequent kept: each row makes all intervals wider.
_TYPES_CHECKED = 20
# In runs of fewer relaxation times Little's law and the utilization are not judged. They need no
# forgetting, but of runs within a single vacation "differs" was the outcome in half, and in 6 % of
# those of processor sharing at 0.2 relaxation times; from three on in 2 %.
_FEWEST_RELAXATIONS = 10.0
_LITTLE, _UTILIZATION = "Little: L − λ T", "utilization"
# A type that fewer batches have seen has an interval of little worth.
_FEWEST_COMPARED = 10


@dataclass(frozen=True)
class CheckRow:
    """One quantity: what theory says, what the simulation found, and whether they agree."""

    quantity: str
    """What it is, with its unit."""
    theory: float
    """By the closed form."""
    estimate: Estimate
    """By the simulation."""
    is_decided: bool
    """Whether enough happened in the simulation to tell: enough batches hold the spread, the run is
    ten times as long as the queue remembers or the row is of the accuracy or a fraction, and, of
    means and the variance of waiting and system times, the simulation has no caution."""

    @property
    def outcome(self) -> str:
        """``"agrees"``, ``"differs"``, or ``"undecided"`` where too little happened to tell."""
        if not self.is_decided:
            return "undecided"
        return "agrees" if self.estimate.covers(self.theory) else "differs"

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        about = {"quantity": self.quantity, "theory": self.theory}
        return {**about, **self.estimate.to_dict(), "outcome": self.outcome}


@dataclass(frozen=True, repr=False, kw_only=True)
class TheoryCheck(Report):
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
    poisson_test : PoissonTest or None
        Whether a replayed trace can be Poisson; ``None`` where it has fewer than ten arrivals.
    """

    simulation: Simulation
    rows: tuple[CheckRow, ...]
    confidence: float
    poisson_ratio: Estimate | None
    poisson_test: PoissonTest | None

    @property
    def outcome(self) -> str:
        """``"differs"`` where a row does, else ``"undecided"`` where one is, else ``"agrees"``.

        Where all of theory is right it is ``"differs"`` in at most 1 − `confidence` of the runs.
        """
        outcomes = [row.outcome for row in self.rows]
        return next((it for it in ("differs", "undecided") if it in outcomes), "agrees")

    @property
    def agrees(self) -> bool:
        """Whether every row agrees; `outcome` tells those that differ from the undecided."""
        return self.outcome == "agrees"

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        names = ("outcome", "agrees", "confidence", "rows", "poisson_ratio", "poisson_test")
        return json_attributes(self, names)

    @property
    def sentences(self) -> list[str]:
        """What the table means, in plain words."""
        level = f"{100 * self.confidence:g} %"
        said = [
            f"Each interval is widened so that all {len(self.rows)} hold together at {level} "
            "(Bonferroni)."
            if len(self.rows) > 1
            else f"The interval holds at {level}."
        ]
        named = {
            outcome: ", ".join(row.quantity for row in self.rows if row.outcome == outcome)
            for outcome in ("agrees", "differs", "undecided")
        }
        if named["differs"]:
            said.append(f"Theory and simulation differ in: {named['differs']}.")
        elif not named["undecided"] and self.simulation.arrivals == "poisson":
            said.append("Theory and simulation agree.")
        elif named["agrees"]:
            said.append(f"Theory and simulation agree in: {named['agrees']}.")
        if named["undecided"]:
            said.append(f"Too little happened to judge: {named['undecided']}.")
        if self.poisson_ratio is not None:
            low, high = self.poisson_ratio.interval
            said.append(
                f"The mean wait is {self.poisson_ratio.value:.3g} times that of Poisson arrivals "
                f"of the same rate, in [{low:.3g}, {high:.3g}]."
            )
        if self.simulation.caution:
            said.append(self.simulation.caution)
        if self.poisson_test is not None:
            said.append(f"{self.poisson_test.sentence}.")
        return said

    def _parts(self) -> Iterable[Part]:
        yield self.table()
        yield ""
        yield from self.sentences

    def table(self) -> Table:
        """Return the rows."""
        columns = [
            Column("quantity", [row.quantity for row in self.rows]),
            Column("theory", [row.theory for row in self.rows], "{:.5g}".format),
            *estimate_columns("simulated", [row.estimate for row in self.rows]),
            Column("outcome", [row.outcome for row in self.rows], lambda it: (it, _STYLES[it])),
        ]
        return Table(columns, most=len(self.rows))

    def __repr__(self) -> str:
        return f"TheoryCheck(outcome={self.outcome!r}, {plural(len(self.rows), 'row')})"


_STYLES = {"agrees": "green", "differs": "red", "undecided": "yellow"}


@quiet
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

    Raises
    ------
    InvalidInputError
        If what is given is no simulation.
    """
    require_that(isinstance(simulation, Simulation), "simulation", simulation, "a Simulation")
    point = simulation.instance.evaluate(simulation.tokens)
    is_poisson = simulation.arrivals == "poisson"
    found: list[tuple[str, float, Estimate]] = [
        ("mean accuracy", float(point.mean_accuracy), simulation.mean_accuracy)
    ]
    if not simulation.is_overloaded:
        # Under overload those who leave are not as many as those who come.
        found.insert(0, (_LITTLE, 0.0, simulation.little_difference))
    if simulation.arrivals != "trace":
        found.append((_UTILIZATION, float(point.utilization), simulation.utilization))
    on_waiting = _poisson(simulation) if is_poisson else []
    # A caution is of means over stretches of waiting. Fractions know how many queries share their
    # luck, and what does not wait for the queue to forget holds in shorter runs too
    # (tests/campaign/intervals.py).
    doubtful = {name for name, _, it in on_waiting if simulation.caution and it.trials is None}
    if simulation.queries < _FEWEST_RELAXATIONS * simulation.relaxation:
        doubtful |= {_LITTLE, _UTILIZATION}
    found += on_waiting
    each = 1.0 - (1.0 - simulation.confidence) / len(found)
    ratio = None if is_poisson else _poisson_ratio(simulation)
    return TheoryCheck(
        simulation=simulation,
        rows=tuple(
            CheckRow(name, value, it.at(each), simulation.sums.settles(it) and name not in doubtful)
            for name, value, it in found
        ),
        confidence=simulation.confidence,
        poisson_ratio=ratio,
        poisson_test=None
        if simulation.trace is None or len(simulation.trace) < FEWEST_ARRIVALS
        else poisson_test(simulation.trace, simulation.confidence),
    )


def _poisson(simulation: Simulation) -> list[tuple[str, float, Estimate]]:
    """What holds for Poisson arrivals alone."""
    instance, tokens = simulation.instance, simulation.tokens
    point = instance.evaluate(tokens)
    waiting = float(point.mean_waiting_time)
    found = [("mean waiting time (s)", waiting, simulation.mean_waiting_time)]
    # Queries worth of each type: most of a rare type do not wait where the load is light.
    terms = simulation.queries * instance.probabilities
    if type(instance.queue) is FIFO:
        # That of M/G/1, W² + λ m3/(3 (1 − ρ)) (Takács).
        third = ServiceTimes(instance, tokens).moment(3)
        variance = waiting**2 + instance.arrival_rate * third / (3.0 * float(point.idle))
        if waiting > 0.0:
            terms = terms / (1.0 + variance / waiting**2)
        found.append(("wait variance (s²)", variance, simulation.waiting_variance))
        # The mass at zero is the idle fraction: arrivals see time averages.
        found.append(("P(wait > 0)", float(point.utilization), simulation.waiting_probability))
    found.append(
        ("mean system time (s)", float(point.mean_system_time), simulation.mean_system_time)
    )
    times = point.times
    by_type = times + waiting
    if type(instance.queue) not in QUEUES:
        # Whether its types wait alike is not said.
        return found
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
            if simulation.batches_with[k] >= _FEWEST_COMPARED and terms[k] >= ENOUGH_TERMS
        ]
    return found


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
    return replace(
        wait,
        value=wait.value / theory,
        interval=(low / theory, high / theory),
        standard_error=wait.standard_error / theory,
    )
