"""Whether the model describes a server: its assumptions, tested on measured requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from cvxqueue.errors import InvalidInputError, naming
from cvxqueue.findings import Finding, findings_table
from cvxqueue.fitting.arrival_rate import fit_arrivals
from cvxqueue.fitting.readers import Requestlike, as_requests
from cvxqueue.fitting.records import Requests
from cvxqueue.fitting.robust_line import robust_line
from cvxqueue.fitting.service_line import ServiceFit, fit_service
from cvxqueue.fitting.units import UnitError
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.statistics.estimate import SIGNIFICANCE
from cvxqueue.tables import Cell, Part, Report, Table

_MARKS: dict[bool | None, Cell] = {
    True: ("holds", "green"),
    False: ("does not hold", "red"),
    None: ("not tested", "yellow"),
}
# A rank correlation smaller than this explains under one percent of the variation.
_NEGLIGIBLE_CORRELATION = 0.1
# Mean use so near to the budget, and a squared coefficient of variation so small, do not matter.
_NEARLY_ALL = 0.05
_LITTLE_SPREAD = 0.01

# What becomes of a subject: whether it holds, the sentence and the numbers of its finding.
_Result = tuple[bool | None, str, dict[str, float]]
_Fit = TypeVar("_Fit")


@dataclass(frozen=True, repr=False)
class Diagnosis(Report):
    """What the data say of each assumption of the model.

    Attributes
    ----------
    findings : tuple of Finding
        Linearity, load, arrivals and budgets, in this order.
    warnings : tuple of str
        What was left out of the data, and whether requests were served together.
    source : str
        The file.
    """

    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    source: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, by subject; ``None`` for what is not finite."""
        return {
            "source": self.source,
            "warnings": list(self.warnings),
            **{found.key: found.to_dict() for found in self.findings},
        }

    def __repr__(self) -> str:
        told = ", ".join(f"{found.subject}: {found.holds}" for found in self.findings)
        return f"Diagnosis({told})"

    def _parts(self) -> Iterable[Part]:
        yield (self.source, "bold")
        yield ""
        yield self.table()
        yield from ((f"warning: {warning}", "yellow") for warning in self.warnings)

    def table(self) -> Table:
        """Return the findings."""
        return findings_table(self.findings, lambda found: _MARKS[found.holds])


@quiet
def diagnose(requests: Requestlike, *, max_malformed: float = 0.01) -> Diagnosis:
    """Test the assumptions of the model on the requests of a server.

    Parameters
    ----------
    requests : path, Requests, mapping or frame
        Wherever they are, as for `fit`. Which assumptions can be tested depends on the columns:
        tokens and seconds for the service line, start times or concurrency beside them for the
        load, arrival times for the arrivals, budgets beside tokens for their use.
    max_malformed : float, default 0.01
        Largest fraction of malformed rows of a file that are left out; more are an error.

    Raises
    ------
    InvalidInputError
        If the data cannot be read or hold what is not allowed, are in no unit that is stated or can
        be, or nothing in it can be tested.
    """
    requests = as_requests(requests, "requests", (), max_malformed)
    with naming(requests.source.name):
        line = _line(requests)
        tested = {
            "linear service": _linearity(line),
            "service regardless of load": _load(requests, line),
            "Poisson arrivals": _arrivals(requests),
            "budgets used up": _budgets(requests),
        }
    findings = tuple(Finding(subject, *result) for subject, result in tested.items())
    if all(found.holds is None for found in findings):
        reasons = "; ".join(f"{found.subject}: {found.sentence}" for found in findings)
        raise InvalidInputError(f"{requests.source.name}: nothing can be tested ({reasons})")
    return Diagnosis(findings, requests.warnings, requests.source.sentence)


def _line(requests: Requests) -> ServiceFit | str:
    """Service line, or why there is none."""
    if requests.tokens is None or requests.seconds is None:
        return "It needs tokens and seconds."
    return _tried(fit_service, requests.tokens, requests.seconds)


def _tried(fit: Callable[..., _Fit], *columns: FloatArray) -> _Fit | str:
    """What is fitted, or why the data do not suffice; figures that no server has are an error."""
    try:
        return fit(*columns)
    except UnitError:
        raise
    except InvalidInputError as error:
        return f"The data do not suffice: {error}."


def _linearity(line: ServiceFit | str) -> _Result:
    if isinstance(line, str):
        return None, line, {}
    found = line.linearity
    numbers = {
        "per_token": line.per_token.value,
        "base": line.base.value,
        "bend": found.bend,
        "p_value": found.p_value,
        "r_squared": line.r_squared,
    }
    fitted = (
        f"{line.base.value:.4g} s and {1e3 * line.per_token.value:.4g} ms per token explain "
        f"{100 * line.r_squared:.1f} % of the variance of the times"
    )
    bend = (
        f"a quadratic term changes the times by up to {100 * found.bend:.1f} % of their mean "
        f"(p = {found.p_value:.2g})"
    )
    if found.holds is None:
        sentence = f"A bend needs four rows and three numbers of tokens; {fitted}."
    elif found.holds:
        sentence = f"The time is linear in the tokens: {fitted}; {bend}."
    else:
        sentence = (
            f"The time is not linear in the tokens: {fitted}, but {bend}; consider "
            "QuadraticService."
        )
    return found.holds, sentence, numbers


def _load(requests: Requests, line: ServiceFit | str) -> _Result:
    """Whether the time above the line goes with the requests in flight."""
    load = requests.in_flight
    if isinstance(line, str) or load is None:
        return None, "It needs tokens and seconds, with start times or concurrency.", {}
    if np.all(load == load[0]):
        sentence = f"Every request was served at concurrency {load[0]:g}."
        return None, sentence, {"concurrency": float(load[0])}
    from scipy.stats import spearmanr

    fitted = line.base.value + line.per_token.value * requests.column("tokens")
    excess = requests.column("seconds") / fitted - 1.0
    # Times on the line do not go with anything.
    correlation, p_value = map(float, spearmanr(excess, load)) if np.ptp(excess) else (0.0, 1.0)
    trend = robust_line(np.stack([np.ones(load.size), load], axis=1), excess)
    slope = float(trend.coefficients[1])
    numbers = {
        "correlation": correlation,
        "p_value": p_value,
        "slope": slope,
        "mean_in_flight": float(load.mean()),
    }
    measured = (
        f"the rank correlation of the time above the line with the requests in flight is "
        f"{correlation:.2f} (p = {p_value:.2g})"
    )
    if p_value >= SIGNIFICANCE or abs(correlation) < _NEGLIGIBLE_CORRELATION:
        return True, f"The time does not depend on the load: {measured}.", numbers
    sentence = (
        f"The time depends on the load: {measured}; with each further request it is "
        f"{100 * abs(slope):.1f} % {'longer' if slope > 0 else 'shorter'}. The times include "
        "waiting, or the server shares its capacity (see ProcessorSharing); measure at "
        "concurrency 1."
    )
    return False, sentence, numbers


def _arrivals(requests: Requests) -> _Result:
    if requests.arrivals is None:
        return None, "It needs arrival times.", {}
    if reason := requests.source.not_arrivals:
        return None, f"{reason[0].upper()}{reason[1:]}.", {}
    found = _tried(fit_arrivals, requests.arrivals)
    if isinstance(found, str):
        return None, found, {}
    test = found.poisson
    numbers = {
        "arrival_rate": found.rate.value,
        "gap_scv": test.gap_scv.value,
        "dispersion": test.dispersion,
        "p_value": test.p_value,
    }
    return not test.is_rejected, f"{test.sentence}.", numbers


def _budgets(requests: Requests) -> _Result:
    if requests.budgets is None or requests.tokens is None:
        return None, "It needs budgets and tokens.", {}
    ratio = requests.tokens / requests.budgets
    used, scv = float(ratio.mean()), _token_scv(requests.tokens, requests.budgets)
    exceeded = float(np.mean(requests.tokens > requests.budgets))
    numbers = {"mean_use": used, "token_scv": scv, "exceeded": exceeded}
    measured = (
        f"queries use {100 * used:.1f} % of their budget on average, with a squared coefficient of "
        f"variation of {scv:.3f} at equal budgets"
    )
    if exceeded:
        measured += f", and {100 * exceeded:.1f} % of them exceed it"
    if abs(used - 1.0) <= _NEARLY_ALL and scv <= _LITTLE_SPREAD:
        return True, f"Budgets are used up: {measured}.", numbers
    sentence = (
        f"Budgets are not what is used: {measured}. The tokens of the model are those used: give "
        f"AffineService token_scv={scv:.3f}, and set budgets of the solved tokens divided by "
        f"{used:.3f}."
    )
    return False, sentence, numbers


def _token_scv(tokens: FloatArray, budgets: FloatArray) -> float:
    """Squared coefficient of variation of the tokens at equal budgets, pooled over budgets."""
    _, place = np.unique(budgets, return_inverse=True)
    count = np.bincount(place)
    mean = np.bincount(place, tokens) / count
    relative = np.divide(tokens, mean[place], out=np.ones_like(tokens), where=mean[place] > 0)
    freedom = tokens.size - count.size
    if freedom > 0:
        return float(np.square(relative - 1.0).sum()) / freedom
    # Every budget occurs once: the use of the budget stands for it.
    use = tokens / budgets
    return float(use.var(ddof=1)) / float(use.mean()) ** 2 if use.size > 1 and use.any() else 0.0
