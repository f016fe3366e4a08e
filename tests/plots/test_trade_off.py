"""Pictures of sweeps show what the rows say, and are readable at any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue import plots
from tests.paths import EXAMPLES
from tests.plots.test_plots import lay_out

SERVER = cq.load(EXAMPLES / "instances" / "qwen3-8b-h100.toml")
RATES, WEIGHTS = np.linspace(0.01, 1.6, 40), np.geomspace(3.0, 1e5, 40)


def line(ax: Any, label: str) -> Any:
    return next(each for each in ax.lines if each.get_label() == label)


def test_tokens_bend_at_their_switching_points() -> None:
    swept = cq.sweep(SERVER, arrival_rate=RATES)
    ax = plots.plot_tokens(swept)
    lay_out(ax)
    at, tokens = line(ax, "AIME25").get_data()
    points = cq.switching_points(SERVER)
    assert set(RATES) | set(points.values[points.values <= 1.6]) == set(at)
    place = points.names.index("AIME25")
    assert tokens[np.searchsorted(at, points.values[place])] == 0.0
    assert np.all(np.diff(tokens[np.isfinite(tokens)]) <= 1e-6)
    # Beyond the last stable rate nothing is drawn.
    assert np.isnan(tokens[at > SERVER.max_arrival_rate]).all()
    lines: list[Any] = list(ax.lines)
    dots = [float(each.get_xdata()[0]) for each in lines if each.get_marker() == "o"]
    assert sorted(dots) == points.values.tolist()


def test_no_dots_where_constraints_have_prices() -> None:
    capped = SERVER.replace(constraints=[cq.MaxMeanSystemTime(12.0)])
    ax = plots.plot_tokens(cq.sweep(capped, arrival_rate=[0.05, 0.1]))
    assert not [each for each in ax.lines if each.get_marker() == "o"]
    lay_out(plots.plot_tokens(cq.sweep(SERVER, max_tokens=[10.0, 100.0])))


def test_accuracy_and_time_have_axes_of_their_own() -> None:
    swept = cq.sweep(SERVER, accuracy_weight=WEIGHTS[::-1])
    ax = plots.plot_trade_off(swept)
    lay_out(ax)
    left, right = ax.figure.axes
    assert np.array_equal(left.lines[0].get_xdata(), WEIGHTS)
    assert np.array_equal(left.lines[0].get_ydata(), swept.rows.mean_accuracy[::-1])
    assert np.array_equal(right.lines[0].get_ydata(), swept.rows.mean_system_time[::-1])
    assert left.get_xscale() == right.get_yscale() == "log"


def test_frontiers_carry_their_weights() -> None:
    swept = cq.sweep(SERVER, arrival_rate=np.linspace(0.01, 1.6, 20), accuracy_weight=WEIGHTS)
    ax = plots.plot_frontier(swept.frontiers())
    lay_out(ax)
    legend = ax.get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == 6
    weights = [text.get_text() for text in ax.texts]
    assert ax.get_ylabel() == "accuracy"
    assert (weights[0], weights[-1]) == ("3 s", "100,000 s")
    lay_out(plots.plot_frontier(swept.frontiers()[0]))
    important = cq.sweep(SERVER.replace(importance=2.0), accuracy_weight=WEIGHTS)
    assert plots.plot_frontier(important.frontiers()).get_ylabel() == "weighted accuracy"
    with pytest.raises(cq.InvalidInputError, match=r"no.* certified"):
        plots.plot_frontier(swept.frontiers()[-1])


def test_who_thinks_where() -> None:
    ax = plots.plot_switching_curves(SERVER, [10.0, 1e4])
    lay_out(ax)
    rates, weights = line(ax, "GSM8K").get_data()
    assert (weights[0], weights[-1]) == pytest.approx((10.0, 1e4))
    place = 100
    there = SERVER.replace(accuracy_weight=weights[place])
    for share, is_thinking in ((1 - 1e-6, True), (1 + 1e-6, False)):
        tokens = cq.solve(there.replace(arrival_rate=share * rates[place])).tokens[3]
        assert bool(tokens > 0.0) is is_thinking


def test_a_picture_of_nobody_who_thinks_needs_no_legend() -> None:
    ax = plots.plot_switching_curves(SERVER.replace(max_tokens=0.0), [1e7, 1e8])
    lay_out(ax)
    assert ax.get_legend() is None


@pytest.mark.parametrize(
    ("grids", "count"),
    [
        ({"arrival_rate": RATES[::4]}, 3),
        ({"accuracy_weight": WEIGHTS[::4]}, 4),
        ({"accuracy_weight": WEIGHTS[::4], "arrival_rate": RATES[:3]}, 2),
        ({"max_tokens": [10.0, 100.0]}, 3),
        ({"accuracy_weight": [0.0, 10.0, 100.0], "arrival_rate": RATES[:3]}, 2),
        ({"accuracy_weight": [0.0, 10.0], "arrival_rate": RATES[:3]}, 1),
        ({"arrival_rate": [0.1]}, 3),
    ],
    ids=["rates", "weights", "plane", "caps", "weight 0", "one weight above 0", "one rate"],
)
def test_a_figure_for_every_sweep(grids: dict[str, Any], count: int) -> None:
    drawn = plots.figure(cq.sweep(SERVER, **grids))
    assert len(drawn.axes) == count
    # The other pictures are drawn one by one above.
    if len(grids.get("accuracy_weight", ())) == len(WEIGHTS[::4]):
        drawn.draw_without_rendering()


def test_no_figure_of_what_has_none() -> None:
    for wrong in ({"max_tokens": [10.0], "min_tokens": [0.0]}, {"importance": np.ones((1, 5))}):
        with pytest.raises(cq.InvalidInputError, match="one parameter"):
            plots.figure(cq.sweep(SERVER, **wrong))
    plane: dict[str, Any] = {"accuracy_weight": WEIGHTS[:3], "arrival_rate": RATES[:3]}
    capped = SERVER.replace(constraints=[cq.MaxMeanSystemTime(12.0)])
    assert len(plots.figure(cq.sweep(capped, **plane)).axes) == 1
    for nothing in ({"arrival_rate": [9.0]}, {**plane, "arrival_rate": [9.0]}):
        with pytest.raises(cq.InvalidInputError, match=r"no row is certified in .*unstable"):
            plots.figure(cq.sweep(SERVER, **nothing))


def test_what_cannot_be_drawn_is_refused_by_name() -> None:
    swept = cq.sweep(SERVER, arrival_rate=[0.1])
    draw: Any
    for draw, message in (
        (plots.plot_tokens, "must be a Sweep"),
        (plots.plot_trade_off, "must be a Sweep"),
        (plots.plot_frontier, "must be a Frontier"),
    ):
        with pytest.raises(cq.InvalidInputError, match=message):
            draw(SERVER)
    for frontiers in (swept, [3]):
        draw = plots.plot_frontier
        with pytest.raises(cq.InvalidInputError, match="must be a Frontier"):
            draw(frontiers)
    wrong: tuple[tuple[Any, str], ...] = (
        ([0.0, 1.0], r"accuracy_weight\[0\] = 0.0 must be > 0"),
        ([1.0, -1.0], r"accuracy_weight\[1\] = -1.0 must be > 0"),
        ([], "at least one entry"),
        ("many", "must be a number"),
        ([1.0, np.inf], "must be finite"),
        (10.0, "two weights or more"),
    )
    for weights, message in wrong:
        with pytest.raises(cq.InvalidInputError, match=message):
            plots.plot_switching_curves(SERVER, weights)
    draw = plots.plot_switching_curves
    with pytest.raises(cq.InvalidInputError, match="instance"):
        draw(swept, [1.0, 2.0])


def test_one_point_alone_can_be_seen() -> None:
    # The second row is not stable.
    swept = cq.sweep(SERVER, arrival_rate=[0.1, 9.0])
    (frontier,) = cq.sweep(SERVER, accuracy_weight=[10.0]).frontiers()
    for ax in (plots.plot_trade_off(swept), plots.plot_frontier(frontier)):
        assert ax.lines[0].get_marker() == "o"
    one = plots.plot_tokens(cq.sweep(SERVER, arrival_rate=[0.1]))
    assert {each.get_marker() for each in one.lines} == {"o"}


def test_minor_ticks_of_a_logarithm_have_no_labels() -> None:
    axes = plots.plot_trade_off(cq.sweep(SERVER, accuracy_weight=[10.0, 250.0]))
    curves = plots.plot_switching_curves(SERVER, [10.0, 250.0])
    for axis in (axes.xaxis, curves.yaxis):
        lay_out(axis.axes)
        assert axis.get_scale() == "log"
        assert not any(text.get_text() for text in axis.get_ticklabels(minor=True))


def test_many_types_are_drawn_as_far_as_they_can_be_told_apart() -> None:
    many = cq.Instance(
        arrival_rate=0.2,
        accuracy_weight=60.0,
        max_tokens=4096,
        probabilities=np.full(12, 1 / 12),
        service=cq.AffineService(base=0.5, per_token=0.002),
        accuracy=cq.SaturatingExponential(floor=0.2, gain=0.5, rate=np.geomspace(1e-4, 1e-2, 12)),
    )
    ax = plots.plot_tokens(cq.sweep(many, arrival_rate=RATES[:3]))
    lay_out(ax)
    assert len([each for each in ax.lines if each.get_marker() == "None"]) == 10
    lay_out(plots.plot_switching_curves(many, [10.0, 100.0]))
