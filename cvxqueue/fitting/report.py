"""A fit as people read it: its service lines, accuracy curves and arrivals, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cvxqueue.fitting.arrival_rate import ArrivalFit
from cvxqueue.fitting.curve import CurveFit
from cvxqueue.fitting.service_line import ServiceFit
from cvxqueue.formatting import significant
from cvxqueue.statistics.estimate import FittedParameter
from cvxqueue.tables import Part, Table

__all__ = ["fit_report"]


def fit_report(
    service: Mapping[str, ServiceFit], curves: Mapping[str, CurveFit], arrivals: ArrivalFit | None
) -> Iterator[Part]:
    """Yield a heading and a table for each part that was fitted, and how sure the intervals are."""
    if service:
        yield ("\nService time: base + per token × tokens", "bold")
        yield Table(
            ("task type", "rows", "base (s)", "per token (ms)", "residual (s)", "R²"),
            [
                (
                    name or "all",
                    f"{line.rows:,}",
                    _shown(line.base),
                    _shown(line.per_token, 1e3),
                    significant(line.residual_scale, 3),
                    f"{line.r_squared:.4f}",
                )
                for name, line in service.items()
            ],
        )
    if curves:
        yield ("\nAccuracy: floor + gain (1 − exp(−rate × tokens))", "bold")
        yield Table(
            ("task type", "floor", "gain", "rate × 1000", "residual", "outcome"),
            [
                (
                    name or "all",
                    _shown(curve.floor),
                    _shown(curve.gain),
                    _shown(curve.rate, 1e3),
                    f"{max(abs(curve.residuals)):.3f}",
                    curve.goodness.outcome,
                )
                for name, curve in curves.items()
            ],
        )
    if arrivals is not None:
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
    parameters = [
        *(line.base for line in service.values()),
        *(curve.floor for curve in curves.values()),
        *([] if arrivals is None else [arrivals.rate]),
    ]
    yield f"\nIntervals hold with probability {parameters[0].confidence:g}."


def _shown(parameter: FittedParameter, factor: float = 1.0, between: str = "\n") -> str:
    """Return a value with its interval, on two lines: side by side they need too many columns."""
    low, high = (significant(factor * end, 3) for end in parameter.interval)
    return f"{significant(factor * parameter.value, 4)}{between}[{low}, {high}]"
