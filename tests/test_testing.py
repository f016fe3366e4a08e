"""The check of extensions passes what is right, and names what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.model import AccuracyCurve, Delay, Queue, ServiceLaw
from cvxqueue.testing import ExtensionError, check_extension
from tests.own_classes import Knee, Logarithmic, Retrials

CURVE = {"floor": [0.2, 0.3], "gain": [0.08, 0.05], "scale": [100.0, 500.0]}
LAW = {
    "base": 0.5,
    "per_token": [0.002, 0.003],
    "per_squared_token": [1e-6, 2e-6],
    "knee": [500.0, 0.0],
}
QUEUE = {"mean_backoff": 3.0}
ROUNDED = {"gain": 0.5, "knee": 500.0, "top": 3000.0}

OURS: dict[str, Any] = {
    "exponential": cq.SaturatingExponential(floor=0.2, gain=[0.5, 0.0], rate=[1e-3, 1e-2]),
    "scalar": cq.SaturatingExponential(floor=0.2, gain=0.5, rate=1e-3),
    "batch": cq.SaturatingExponential(floor=0.2, gain=[[0.5, 0.1], [0.2, 0.3]], rate=1e-3),
    "power law": cq.PowerLaw(floor=0.2, gain=[0.5, 0.2], scale=[1e3, 10.0], exponent=[0.5, 3.0]),
    "michaelis-menten": cq.MichaelisMenten(floor=0.2, gain=0.5, half_saturation=[1e3, 1.0]),
    "piecewise": cq.PiecewiseLinear(
        tokens=[[0, 1000, 2000, 4000], [10, 20, 30, 1000]],
        accuracy=[[0.2, 0.4, 0.46, 0.5], [0.1, 0.12, 0.13, 0.2]],
    ),
    "mixed": cq.MixedAccuracy(
        curves=[
            cq.SaturatingExponential(floor=0.2, gain=0.5, rate=[0.001, 0.002]),
            cq.MichaelisMenten(floor=0.2, gain=0.5, half_saturation=1000.0),
        ],
        which=[0, 1, 0],
    ),
    "mixed with kinks": cq.MixedAccuracy(
        curves=[
            cq.PowerLaw(floor=0.2, gain=0.5, scale=1e3, exponent=0.5),
            cq.PiecewiseLinear(tokens=[0, 1000, 2000], accuracy=[0.2, 0.4, 0.5]),
        ],
        which=[0, 1],
    ),
    "affine": cq.AffineService(base=0.5, per_token=[0.01, 0.02]),
    "random": cq.AffineService(base=[0.0, 0.5], per_token=[0.01, 0.02], token_scv=[0.0, 2.0]),
    "quadratic": cq.QuadraticService(base=0.5, per_token=0.01, per_squared_token=[0.0, 1e-6]),
    "fifo": cq.FIFO(),
    "sharing": cq.ProcessorSharing(),
    "batches": cq.BatchArrivals(2.0, 6.0),
    "vacations": cq.Vacations(1.0, 3.0),
    "setups": cq.Setups(1.0, 3.0),
    "own curve": Logarithmic(**CURVE),
    "own law": Knee(**LAW),
    "own queue": Retrials(**QUEUE),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("thing", OURS.values(), ids=OURS)
def test_every_class_keeps_its_promises(thing: Any, seed: int) -> None:
    report = check_extension(thing, max_tokens=4096.0, seed=seed)
    assert report.holds
    assert len(report.findings) >= 15
    assert all(found.numbers["points"] for found in report.findings)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Sigmoid(AccuracyCurve):
    """A Hill curve of power 2: convex where it begins."""

    gain: Any
    half: Any

    def value(self, tokens: Any) -> Any:
        return self.gain * tokens**2 / (tokens**2 + self.half**2)

    def slope(self, tokens: Any) -> Any:
        return 2 * self.gain * tokens * self.half**2 / (tokens**2 + self.half**2) ** 2

    def curvature(self, tokens: Any) -> Any:
        bend = self.half**2 - 3 * tokens**2
        return 2 * self.gain * self.half**2 * bend / (tokens**2 + self.half**2) ** 3

    def difference(self, tokens: Any, to: Any) -> Any:
        below = (tokens**2 + self.half**2) * (to**2 + self.half**2)
        return self.gain * self.half**2 * (to - tokens) * (to + tokens) / below


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Ramp(AccuracyCurve):
    """Straight up to a kink, and constant from there on."""

    gain: Any
    last: Any

    def value(self, tokens: Any) -> Any:
        return self.gain * np.minimum(tokens / self.last, 1.0)

    def slope(self, tokens: Any) -> Any:
        return np.where(tokens < self.last, self.gain / self.last, 0.0)

    def curvature(self, tokens: Any) -> Any:
        return 0.0 * self.slope(tokens)

    def difference(self, tokens: Any, to: Any) -> Any:
        rise = np.minimum(to, self.last) - np.minimum(tokens, self.last)
        return self.gain / self.last * rise


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class HonestRamp(Ramp):
    """The same, and says that it has a kink."""

    is_smooth = False


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Rounded(AccuracyCurve):
    """Straight up to a knee, a parabola from there to its top, and constant beyond."""

    gain: Any
    knee: Any
    top: Any

    def value(self, tokens: Any) -> Any:
        return self.difference(0.0, tokens)

    def slope(self, tokens: Any) -> Any:
        share = (self.top - tokens) / (self.top - self.knee)
        return 2.0 * self.gain / (self.top + self.knee) * np.clip(share, 0.0, 1.0)

    def curvature(self, tokens: Any) -> Any:
        fall = 2.0 * self.gain / (self.top + self.knee) / (self.top - self.knee)
        return np.where((tokens >= self.knee) & (tokens < self.top), -fall, 0.0)

    def difference(self, tokens: Any, to: Any) -> Any:
        straight = np.minimum(to, self.knee) - np.minimum(tokens, self.knee)
        low, high = (np.clip(end, self.knee, self.top) for end in (tokens, to))
        share = (2.0 * self.top - low - high) / (2.0 * (self.top - self.knee))
        return 2.0 * self.gain / (self.top + self.knee) * (straight + (high - low) * share)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class HonestRounded(Rounded):
    """The same, and says that its slope does not fall everywhere."""

    is_smooth = False


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Bent(ServiceLaw):
    """Affine before and behind a kink, where the slope is no slope."""

    knee: Any

    def mean(self, tokens: Any) -> Any:
        return 1e-3 * tokens + 1e-3 * np.maximum(tokens - self.knee, 0.0)

    def mean_slope(self, tokens: Any) -> Any:
        return np.where(tokens >= self.knee, 2e-3, 1e-3)

    def mean_curvature(self, tokens: Any) -> Any:
        return 0.0 * self.mean(tokens)

    def mean_bend(self, tokens: Any, to: Any) -> Any:
        before, behind = np.maximum(self.knee - to, 0.0), np.maximum(to - self.knee, 0.0)
        return 1e-3 * np.where(tokens >= self.knee, before, behind)


@dataclass(frozen=True)
class Square(Queue):
    """Waits by the square root of the load: no convex time."""

    size: float

    def delay(self, arrival_rate: Any, mean: Any, idle: Any) -> Delay:
        load = arrival_rate * mean
        slope = 0.5 * self.size * arrival_rate / np.sqrt(load)
        return Delay(self.size * np.sqrt(load), slope, -0.5 * slope * arrival_rate / load)

    def delay_divergence(self, arrival_rate: Any, idle: Any, idle_to: Any, mean_change: Any) -> Any:
        load, to = 1.0 - idle, 1.0 - idle_to
        return -0.5 * self.size * np.square(np.sqrt(to) - np.sqrt(load)) / np.sqrt(load)


VALUES: dict[Any, dict[str, Any]] = {
    Logarithmic: CURVE,
    Knee: LAW,
    Retrials: QUEUE,
    HonestRounded: ROUNDED,
    HonestRamp: {"gain": 0.5, "last": 100.0},
}


def changed(base: Any, **methods: Any) -> Any:
    """An object of a class that says something else by some of its methods."""
    kind = type("Changed" + base.__name__, (base,), {"__module__": __name__, **methods})
    return kind(**VALUES[base])


def scaled(base: Any, name: str, factor: float, field: str = "") -> Any:
    """The same with a method of which the answer or a field of it is multiplied."""

    def method(self: Any, *arguments: Any) -> Any:
        found = getattr(base, name)(self, *arguments)
        if not field:
            return factor * found
        return found._replace(**{field: factor * getattr(found, field)})

    return changed(base, **{name: method})


def cancelling(self: Any, tokens: Any, to: Any) -> Any:
    return self.value(to) - self.value(tokens)


def loose(self: Any, slope: Any) -> Any:
    return (self.gain / slope - self.scale).astype(np.float32).astype(np.float64)


def far_end(self: Any, lower: Any, upper: Any) -> Any:
    return -self.curvature(lower), -self.curvature(upper)


def half(self: Any, lower: Any, upper: Any) -> Any:
    return -self.curvature(upper), -0.5 * self.curvature(lower)


def bent_everywhere(self: Any, tokens: Any) -> Any:
    return -1e-4 + 0.0 * self.slope(tokens)


def wrong_cost(self: Any, tokens: Any, *prices: Any) -> Any:
    return ServiceLaw.marginal_cost(self, tokens, *prices)[0], 0.0 * tokens


def by_root(self: Any, rate: Any, mean: Any, second: Any, idle: Any) -> Any:
    return 0.5 * rate * second / np.sqrt(idle) + self.delay(rate, mean, idle).value


def bent_back(self: Any, tokens: Any, to: Any) -> Any:
    return Knee.mean_bend(self, tokens, to) * np.where(to < tokens, 2.0, 1.0)


def doubled_in_batches(self: Any, tokens: Any) -> Any:
    return Logarithmic.curvature(self, tokens) * (self.gain.ndim or 1.0)


@dataclass(frozen=True)
class Limited(Retrials):  # type: ignore[misc]
    """Whoever waits does so for as long as the server has worked of late, and no longer."""

    second_weight = 0.0

    def delay(self, arrival_rate: Any, mean: Any, idle: Any) -> Any:
        return Delay(self.mean_backoff * mean, self.mean_backoff + 0.0 * mean, 0.0 * mean)

    def delay_divergence(self, arrival_rate: Any, idle: Any, idle_to: Any, mean_change: Any) -> Any:
        return 0.0 * mean_change


WRONG: dict[str, tuple[Any, set[str]]] = {
    "a non-concave curve": (Sigmoid(gain=[0.5], half=[100.0]), {"concave", "slope"}),
    "a slope": (scaled(Logarithmic, "slope", 1.001), {"slope"}),
    "a slope in the sixth digit": (
        scaled(Logarithmic, "slope", 1.0 + 1e-6),
        {"no cancellation", "inverse slope"},
    ),
    "a curvature": (scaled(Logarithmic, "curvature", 1.01), {"curvature"}),
    "an inverse": (scaled(Logarithmic, "inverse_slope", 1.001), {"inverse slope", "response loss"}),
    "an inverse in half the digits": (changed(Logarithmic, inverse_slope=loose), {"inverse slope"}),
    "an inverse of the value": (scaled(Logarithmic, "inverse_value", 1.01), {"inverse value"}),
    "a difference of values": (changed(Logarithmic, difference=cancelling), {"no cancellation"}),
    "a sensitivity": (scaled(Logarithmic, "inverse_slope_sensitivity", 0.5), {"sensitivity"}),
    "a curvature bound": (changed(Logarithmic, curvature_range=half), {"curvature bounds"}),
    "swapped curvature bounds": (
        changed(Logarithmic, curvature_range=far_end),
        {"curvature bounds"},
    ),
    "an allowance": (scaled(Logarithmic, "response_loss", 0.0), {"response loss"}),
    "a weighted curve": (changed(Logarithmic, weighted=lambda self, value: self), {"weighted"}),
    "more than a probability": (Logarithmic(**{**CURVE, "gain": 0.3}), {"a probability"}),
    "a kink that is not told": (Ramp(gain=[0.5], last=[100.0]), {"smooth"}),
    "a curvature beside a kink": (scaled(HonestRounded, "curvature", 1.5), {"curvature"}),
    "a curvature of straight pieces": (
        changed(HonestRamp, curvature=bent_everywhere),
        {"curvature"},
    ),
    "a straight piece that is not told": (Rounded(**ROUNDED), {"smooth"}),
    "a second moment": (scaled(Knee, "second_moment", 1.5), {"second moment"}),
    "a slope of the mean": (scaled(Knee, "mean_slope", 1.001), {"slope"}),
    "a bend": (scaled(Knee, "mean_bend", 0.5), {"bend"}),
    "an inverse of the mean": (scaled(Knee, "inverse_mean", 1.001), {"inverse mean"}),
    "a marginal cost": (changed(Knee, marginal_cost=wrong_cost), {"marginal cost"}),
    "a bend towards fewer tokens": (changed(Knee, mean_bend=bent_back), {"bend"}),
    "a curvature in batches": (changed(Logarithmic, curvature=doubled_in_batches), {"mapped"}),
    "a concave time": (Knee(**{**LAW, "per_squared_token": -1e-9}), {"convex"}),
    "a kinked time": (Bent(knee=[100.0]), {"smooth"}),
    "a wait with a limit": (Limited(mean_backoff=3.0), {"saturation"}),
    "a price": (scaled(Retrials, "prices", 1.01, "mean"), {"price of a second"}),
    "a price of squares": (
        scaled(Retrials, "prices", 1.01, "second_moment"),
        {"price of a squared second"},
    ),
    "a slope of the delay": (
        scaled(Retrials, "delay", 1.01, "slope"),
        {"delay", "price of a second"},
    ),
    "a divergence": (scaled(Retrials, "delay_divergence", 1.01), {"delay divergence"}),
    "an idle bound": (scaled(Retrials, "least_idle", 1.1), {"least idle"}),
    "a moment bound": (scaled(Retrials, "greatest_second_moment", 0.5), {"greatest second moment"}),
    "a bound on the Hessian": (
        scaled(Retrials, "curvature", 0.5, "greatest"),
        {"curvature bounds"},
    ),
    "a bound on slopes": (scaled(Retrials, "relative_slopes", 0.3, "mean"), {"relative slopes"}),
    "a bound on slopes, by a hundredth": (
        scaled(Retrials, "relative_slopes", 0.99, "mean"),
        {"relative slopes"},
    ),
    "no price of its own": (changed(Retrials, priced=lambda self, time, waiting: self), {"priced"}),
    "a non-convex time": (Square(1e3), {"convex", "delay"}),
    "another price of squares": (
        changed(Retrials, mean_waiting_time=by_root),
        {"price of a squared second", "convex"},
    ),
}


@pytest.mark.parametrize(("thing", "subjects"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(thing: Any, subjects: set[str]) -> None:
    report = check_extension(thing, max_tokens=4096.0, on_failure="return")
    broken = {found.subject: found for found in report.failures}
    assert subjects <= set(broken), report
    with pytest.raises(ExtensionError) as caught:
        check_extension(thing, max_tokens=4096.0)
    for subject in subjects:
        assert f"- {subject}: " in str(caught.value)
        assert {"got", "expected", "points", "broken"} <= set(broken[subject].numbers)
    assert isinstance(caught.value, AssertionError)
    assert isinstance(caught.value, cq.CvxqueueError)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Searched(Logarithmic):  # type: ignore[misc]
    """Without the closed forms."""

    inverse_slope = AccuracyCurve.inverse_slope
    inverse_slope_sensitivity = AccuracyCurve.inverse_slope_sensitivity
    curvature_range = AccuracyCurve.curvature_range


@pytest.mark.parametrize("gain", [0.5, [0.5, 0.0]])
def test_a_curve_may_bend_wherever_it_likes(gain: Any) -> None:
    check_extension(HonestRounded(gain=gain, knee=500.0, top=3000.0), max_tokens=4096.0)


def test_nothing_is_asked_where_nothing_is_known() -> None:
    check_extension(Searched(floor=0.2, gain=0.02, scale=[1e7, 5e7]), max_tokens=1e9)


def test_a_kink_that_is_told_is_none() -> None:
    assert check_extension(HonestRamp(gain=[0.5, 0.2], last=[100.0, 7.0]), max_tokens=1e4).holds


def test_what_can_be_changed_is_named() -> None:
    curve = Logarithmic(**CURVE)
    vars(curve)["gain"] = np.array(curve.gain)
    report = check_extension(curve, max_tokens=4096.0, on_failure="return")
    assert [found.subject for found in report.failures] == ["read-only"]

    class Loose(Queue):
        delay, delay_divergence = Retrials.delay, Retrials.delay_divergence

        def __init__(self) -> None:
            self.mean_backoff = 3.0

    report = check_extension(Loose(), on_failure="return")
    assert [found.subject for found in report.failures] == ["read-only", "equality"]


def test_the_report_is_a_table() -> None:
    thing, _ = WRONG["a price"]
    report = check_extension(thing, on_failure="return")
    text = str(report)
    assert text.startswith(f"ChangedRetrials: {len(report.failures)} of ")
    assert "price of a" in text
    assert "fails" in text
    assert "holds" in text
    told = report.to_dict()
    assert told["holds"] is False
    assert told["promises"]["price_of_a_second"]["holds"] is False
    assert "prove" in str(check_extension(cq.FIFO()))


def test_what_is_none_is_refused() -> None:
    with pytest.raises(cq.InvalidInputError, match="derived from AccuracyCurve"):
        check_extension(3)  # type: ignore[arg-type]
    with pytest.raises(cq.InvalidInputError, match="max_tokens"):
        check_extension(cq.FIFO(), max_tokens=0.0)
    with pytest.raises(cq.InvalidInputError, match="on_failure"):
        check_extension(cq.FIFO(), on_failure="no")  # type: ignore[arg-type]


def test_it_is_reached_without_an_import() -> None:
    assert cq.testing.check_extension is check_extension
    assert "testing" in dir(cq)
