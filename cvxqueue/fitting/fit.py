"""The fit: all that measurements say of a server, and the instance that follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cvxqueue.errors import InvalidInputError, naming
from cvxqueue.fitting.arrival_rate import ArrivalFit, fit_arrivals
from cvxqueue.fitting.curve import CurveFit, fit_curve
from cvxqueue.fitting.readers import Answerlike, Requestlike, as_answers, as_requests
from cvxqueue.fitting.service_line import ServiceFit, fit_service
from cvxqueue.formatting import plural, shown, significant
from cvxqueue.json_values import json_values
from cvxqueue.model import AffineService, Instance, SaturatingExponential
from cvxqueue.model.queue_formulas import Queue
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.checks import float_array, require, require_that
from cvxqueue.statistics.estimate import FittedParameter, probability
from cvxqueue.suggest import nearest
from cvxqueue.tables import Column, Part, Report, Table

# In a note of where a number comes from.
_FROM_TRACE = "of the trace"


@quiet
@dataclass(frozen=True, eq=False, repr=False)
class Fit(Report):
    """What was fitted to measurements; parts without measurements are empty.

    Attributes
    ----------
    service : dict of str to ServiceFit
        The service line of each type; one line under the name "" where the data name no types.
    curves : dict of str to CurveFit
        The accuracy curve of each type; one curve under "" where the data name no types.
    arrivals : ArrivalFit or None
        Arrival rate, mix and test of the Poisson assumption.
    sources : tuple of str
        Provenance: files, rows used and methods.
    warnings : tuple of str
        Everything to know before the numbers are used.
    """

    service: dict[str, ServiceFit]
    curves: dict[str, CurveFit]
    arrivals: ArrivalFit | None
    sources: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def service_line(self) -> ServiceFit:
        """The service line of all types.

        Raises
        ------
        InvalidInputError
            If there is none, or one for each of several types: those are in `service`.
        """
        if len(self.service) == 1:
            return next(iter(self.service.values()))
        if not self.service:
            raise InvalidInputError("there is no service line: fit with service=")
        names = ", ".join(self.service)
        raise InvalidInputError(f"each type has a service line of its own: see service ({names})")

    def instance(
        self,
        *,
        accuracy_weight: float,
        max_tokens: ArrayLike,
        arrival_rate: float | None = None,
        mix: Mapping[str, float] | None = None,
        answer_tokens: ArrayLike = 0.0,
        min_tokens: ArrayLike = 0.0,
        importance: ArrayLike = 1.0,
        token_scv: ArrayLike = 0.0,
        queue: Queue | None = None,
        name: str = "",
        description: str = "",
    ) -> Instance:
        """Return the instance that the fit describes, with its provenance in `sources`.

        Parameters
        ----------
        accuracy_weight : float
            Seconds of mean system time worth one unit of accuracy.
        max_tokens, min_tokens, importance : array_like, shape () or (N,)
            As for `Instance`, in the order of `curves`.
        arrival_rate : float, optional
            Per second; by default that of the trace.
        mix : mapping of str to float, optional
            Probability of each type; by default that of the trace.
        answer_tokens : array_like, shape () or (N,), default 0
            Tokens of the answer itself: their time goes to the base. Give them where the service
            times count all tokens and the accuracy curves only those of thinking.
        token_scv : array_like, shape () or (N,), default 0
            Squared coefficient of variation of the tokens used; `diagnose` measures it.
        queue : Queue, optional
            By default FIFO.
        name, description : str
            What the instance is called, and what it shows.

        Raises
        ------
        InvalidInputError
            If a part has no measurements and is not given, the types of the parts differ, or a
            value is not allowed.
        """
        if not self.service:
            raise InvalidInputError("an instance needs service times: fit with service=")
        if not self.curves:
            raise InvalidInputError("an instance needs accuracy curves: fit with accuracy=")
        names, curves = list(self.curves), self.curves.values()
        law, law_notes = self._service_law(names, answer_tokens, token_scv)
        rate, rate_note = self._rate(arrival_rate)
        probabilities, mix_note = self._mix(names, mix)
        # A trace that gave neither rate nor mix is no source.
        is_used = _FROM_TRACE in rate_note + mix_note
        kept = [text for text in self.sources if is_used or not text.startswith("trace:")]
        given = "accuracy_weight, max_tokens: given"
        return Instance(
            arrival_rate=rate,
            accuracy_weight=accuracy_weight,
            max_tokens=max_tokens,
            min_tokens=min_tokens,
            importance=importance,
            probabilities=probabilities,
            service=law,
            accuracy=SaturatingExponential(
                floor=[curve.floor.value for curve in curves],
                gain=[curve.gain.value for curve in curves],
                rate=[curve.rate.value for curve in curves],
            ),
            queue=queue,
            names=None if names == [""] else names,
            name=name,
            description=description,
            sources=[*kept, rate_note, mix_note, *law_notes, given],
        )

    def _service_law(
        self, names: list[str], answer_tokens: ArrayLike, token_scv: ArrayLike
    ) -> tuple[AffineService, list[str]]:
        """The service law of the types, and what to note of it."""
        used = [self._line(name) for name in names]
        per_token = np.array([line.per_token.value for line in used])
        answer = float_array("answer_tokens", answer_tokens, len(names))
        require("answer_tokens", answer, answer >= 0, "must be ≥ 0")
        base = np.array([line.base.value for line in used]) + per_token * answer
        law = AffineService(base=base, per_token=per_token, token_scv=token_scv)
        if not answer.any():
            return law, []
        listed = ", ".join(f"{tokens:g}" for tokens in np.unique(answer))
        return law, [
            f"service.base: includes the answer's tokens, {listed}, at the seconds per token"
        ]

    def _line(self, kind: str) -> ServiceFit:
        if found := self.service.get(kind, self.service.get("")):
            return found
        if kind == "":
            raise InvalidInputError(
                "the service times name types and the answers do not; give the answers types, or "
                f"leave those of the service times out (they are {', '.join(self.service)})"
            )
        raise InvalidInputError(
            f"type {shown(kind)} has accuracies but no service times: {nearest(kind, self.service)}"
        )

    def _rate(self, given: float | None) -> tuple[float, str]:
        """The arrival rate, and where it comes from."""
        if given is not None:
            return given, "arrival_rate: given"
        if self.arrivals is None:
            raise InvalidInputError(
                "an instance needs an arrival rate: fit with trace=, or give arrival_rate"
            )
        return self.arrivals.rate.value, f"arrival_rate: that {_FROM_TRACE}"

    def _mix(self, names: list[str], mix: Mapping[str, float] | None) -> tuple[list[float], str]:
        """The probabilities of the types, and where they come from."""
        note = "probabilities: given"
        if mix is not None:
            require_that(hasattr(mix, "keys"), "mix", mix, "a mapping of type to probability")
            found = dict(mix)
        elif len(names) == 1:
            return [1.0], "probabilities: a single type"
        elif self.arrivals is not None and self.arrivals.mix:
            found = {kind: share.value for kind, share in self.arrivals.mix.items()}
            note = f"probabilities: the mix {_FROM_TRACE}"
        else:
            raise InvalidInputError(
                f"an instance of {len(names)} types needs their mix: give the trace a column of "
                f"types, or give mix (probabilities of {', '.join(names)})"
            )
        for kind in (*found, *names):
            if kind not in names:
                raise InvalidInputError(
                    f"type {shown(kind)} of the mix has no accuracies: {nearest(kind, names)}"
                )
            if kind not in found:
                raise InvalidInputError(
                    f"type {shown(kind)} is not in the mix: {nearest(kind, found)}; every type "
                    "needs a probability > 0"
                )
        return [found[kind] for kind in names], note

    def _parts(self) -> Iterable[Part]:
        in_thousandths, three_digits = partial(_shown, factor=1e3), partial(significant, digits=3)
        if self.service:
            lines = self.service.values()
            yield ("\nService time: base + per token × tokens", "bold")
            yield Table(
                [
                    Column("task type", [name or "all" for name in self.service]),
                    Column("rows", [line.rows for line in lines], "{:,}".format),
                    Column("base (s)", [line.base for line in lines], _shown),
                    Column("per token (ms)", [line.per_token for line in lines], in_thousandths),
                    Column("residual (s)", [line.residual_scale for line in lines], three_digits),
                    Column("R²", [line.r_squared for line in lines], "{:.4f}".format),
                ]
            )
        if self.curves:
            curves = self.curves.values()
            yield ("\nAccuracy: floor + gain (1 − exp(−rate × tokens))", "bold")
            yield Table(
                [
                    Column("task type", [name or "all" for name in self.curves]),
                    Column("floor", [curve.floor for curve in curves], _shown),
                    Column("gain", [curve.gain for curve in curves], _shown),
                    Column("rate × 1000", [curve.rate for curve in curves], in_thousandths),
                    Column("residual", [max(abs(it.residuals)) for it in curves], "{:.3f}".format),
                    Column("outcome", [curve.goodness.outcome for curve in curves]),
                ]
            )
        arrivals, confidences = self.arrivals, [line.base for line in self.service.values()]
        confidences += [curve.floor for curve in self.curves.values()]
        if arrivals is not None:
            confidences.append(arrivals.rate)
            yield ("\nArrivals", "bold")
            yield (
                f"{arrivals.arrivals:,} in {arrivals.duration:.6g} s: "
                f"{_shown(arrivals.rate, between=' ')} per second."
            )
            if not arrivals.poisson.is_rejected:
                # A rejection is among the warnings.
                yield f"{arrivals.poisson.sentence}."
            for name, share in arrivals.mix.items():
                yield f"{name}: {_shown(share, between=' ')} of the arrivals"
        yield f"\nIntervals hold with probability {confidences[0].confidence:g}."
        yield from ((f"warning: {warning}", "yellow") for warning in self.warnings)

    def table(self) -> Table:
        """Return every estimate with its interval."""
        rows: list[tuple[str, str, FittedParameter]] = []
        for name, line in self.service.items():
            rows += [(name, "base (s)", line.base), (name, "per token (s)", line.per_token)]
        for name, curve in self.curves.items():
            rows += [(name, "floor", curve.floor), (name, "gain", curve.gain)]
            rows.append((name, "rate (1/token)", curve.rate))
        if self.arrivals is not None:
            rows.append(("", "arrival rate (1/s)", self.arrivals.rate))
            rows += [(name, "probability", share) for name, share in self.arrivals.mix.items()]
        return Table(
            [
                Column("task type", [name or "all" for name, _, _ in rows]),
                Column("quantity", [quantity for _, quantity, _ in rows]),
                Column("estimate", [found.value for *_, found in rows]),
                Column("interval", [found.interval for *_, found in rows]),
                Column("standard error", [found.standard_error for *_, found in rows]),
            ]
        )

    def __repr__(self) -> str:
        parts = [
            plural(len(self.service), "service line"),
            plural(len(self.curves), "accuracy curve"),
            "no arrivals" if self.arrivals is None else f"{self.arrivals.arrivals} arrivals",
            plural(len(self.warnings), "warning"),
        ]
        return f"Fit({', '.join(parts)})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; ``None`` for what is not finite."""
        parts = {"service": self.service, "accuracy": self.curves, "arrivals": self.arrivals}
        return json_values({**parts, "sources": self.sources, "warnings": self.warnings})


@quiet
def fit(
    *,
    service: Requestlike | None = None,
    accuracy: Answerlike | None = None,
    trace: Requestlike | None = None,
    confidence: float = 0.95,
    max_malformed: float = 0.01,
) -> Fit:
    """Fit service lines, accuracy curves and arrivals to measurements.

    Parameters
    ----------
    service : path, Requests, mapping or frame, optional
        Tokens and seconds of single requests: a file for `read_requests`, columns such as
        ``{"tokens": [...], "seconds": [...]}``, or a frame of pandas, polars or Arrow, whose
        columns are found as those of a file are.
    accuracy : path, Answers, mapping or frame, optional
        Right answers out of so many, by tokens and type: a file for `read_answers`, columns or a
        frame.
    trace : path, Requests, mapping or frame, optional
        Arrival times in seconds, or dates and times, with types if known.
    confidence : float, default 0.95
        Of the intervals.
    max_malformed : float, default 0.01
        Largest fraction of malformed rows of a file that are left out; more are an error.

    Returns
    -------
    Fit
        With standard errors, intervals and warnings; ``fit.instance(...)`` makes the instance.

    Raises
    ------
    InvalidInputError
        If nothing is given, a file cannot be read, an entry in memory is missing, the data do not
        suffice, or a unit is not stated or cannot be the one that is.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> found = cq.fit(
    ...     service={"tokens": [128, 1024, 2048], "seconds": [0.89, 7.04, 14.07]},
    ...     accuracy={"tokens": [0, 500, 1000, 4000], "correct": [20, 60, 80, 95], "total": 100})
    >>> round(1000 * found.service_line.per_token.value, 2)
    6.86
    >>> found.instance(accuracy_weight=60.0, max_tokens=4096, arrival_rate=0.1)
    Instance(1 type, arrival_rate=0.1, accuracy_weight=60)
    """
    confidence = probability("confidence", confidence)
    if service is None and accuracy is None and trace is None:
        raise InvalidInputError("nothing to fit: give service, accuracy or trace")
    sources: list[str] = []
    warnings: list[str] = []
    lines: dict[str, ServiceFit] = {}
    curves: dict[str, CurveFit] = {}
    arrivals = None
    if service is not None:
        requests = as_requests(service, "service", ("tokens", "seconds"), max_malformed)
        for name, part in requests.by_type().items():
            with naming(f"{_of('service', name)} ({requests.source.name})"):
                tokens, seconds = part.column("tokens"), part.column("seconds")
                lines[name] = fit_service(tokens, seconds, confidence=confidence)
        warnings += [*requests.warnings, *_labelled("service", lines)]
        method = next(iter(lines.values())).method
        sources.append(f"service: {requests.source.sentence}; {method}")
    if accuracy is not None:
        answers = as_answers(accuracy, max_malformed)
        for name, rows in answers.by_type().items():
            with naming(f"{_of('accuracy', name)} ({answers.source.name})"):
                curves[name] = fit_curve(
                    rows.tokens, accuracy=rows.accuracy, total=rows.total, confidence=confidence
                )
        warnings += [*answers.source.warnings, *_labelled("accuracy", curves)]
        method = next(iter(curves.values())).method
        sources.append(f"accuracy: {answers.source.sentence}; {method}")
    if trace is not None:
        found = as_requests(trace, "trace", ("arrivals",), max_malformed)
        times = found.column("arrivals")
        with naming(f"trace ({found.source.name})"):
            arrivals = fit_arrivals(times, found.types, confidence=confidence)
        warnings += [*found.source.warnings, *found.disorder]
        warnings += [f"trace: {warning}" for warning in arrivals.warnings]
        kind = "with the mix of its types" if arrivals.mix else "without types"
        sources.append(f"trace: {found.source.sentence}; {kind}")
    return Fit(lines, curves, arrivals, tuple(sources), tuple(warnings))


def _shown(parameter: FittedParameter, factor: float = 1.0, between: str = "\n") -> str:
    """Return a value with its interval, on two lines: side by side they need too many columns."""
    low, high = (significant(factor * end, 3) for end in parameter.interval)
    return f"{significant(factor * parameter.value, 4)}{between}[{low}, {high}]"


def _of(part: str, name: str) -> str:
    return f"{part} of {name}" if name else part


def _labelled(part: str, fits: Mapping[str, ServiceFit | CurveFit]) -> list[str]:
    return [f"{_of(part, name)}: {it}" for name, fit in fits.items() for it in fit.warnings]
