"""The pictures show what the answer says, and stay readable with any number of types."""

from __future__ import annotations

import pickle
import subprocess
import sys
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from numpy.typing import ArrayLike

import cvxqueue as cq
from cvxqueue import plots
from cvxqueue.plots import style
from cvxqueue.solvers import CrossValidation


def make(rates: ArrayLike, **changes: Any) -> cq.Instance:
    """One type for each rate of saturation, the first the most frequent."""
    mix = np.linspace(2.0, 1.0, np.size(rates))
    fields: dict[str, Any] = {
        "arrival_rate": 0.2,
        "accuracy_weight": 60.0,
        "max_tokens": 4096,
        "probabilities": mix / mix.sum(),
        "service": cq.AffineService(base=0.5, per_token=0.002),
        "accuracy": cq.SaturatingExponential(floor=0.2, gain=0.6, rate=rates),
    }
    return cq.Instance(**{**fields, **changes})


def labels(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts if isinstance(text, Annotation)]


def legend_of(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def figure_of(ax: Axes) -> Figure:
    figure = ax.figure
    assert isinstance(figure, Figure)
    return figure


def lay_out(ax: Axes) -> None:
    """Do everything that drawing does but the pixels; a warning of matplotlib is an error here."""
    figure_of(ax).draw_without_rendering()


def test_accuracy_curves_end_in_names_and_carry_the_tokens() -> None:
    instance = make([0.004, 0.001], names=["easy", "hard"], max_tokens=[500, 4096])
    solution = cq.solve(instance)
    ax = plots.plot_accuracy(solution)
    lay_out(ax)
    for k, name in enumerate(["easy", "hard"]):
        curve = next(line for line in ax.lines if line.get_label() == name)
        tokens, accuracy = (np.asarray(data) for data in curve.get_data())
        assert np.all(np.diff(tokens) > 0)
        assert tokens[-1] <= instance.max_tokens[k]
        grid = np.stack([tokens, tokens], axis=-1)
        np.testing.assert_allclose(accuracy, instance.accuracy.value(grid)[:, k])
    dots = [line.get_data() for line in ax.lines if line.get_marker() == "o"]
    chosen = [(solution.tokens[k], solution.accuracies[k]) for k in range(2)]
    np.testing.assert_allclose(np.array(dots)[..., 0], chosen)
    assert labels(ax) == ["easy: 500 (cap)", f"hard: {solution.tokens[1]:,.0f}"]
    assert ax.get_xlabel() == "thinking tokens per query"
    assert ax.get_ylabel() == "probability of a correct answer"


@pytest.mark.parametrize(
    ("rates", "changes", "scale"),
    [
        ([0.004, 0.001], {}, "linear"),
        ([0.1, 0.001], {}, "symlog"),
        ([0.1, 0.001], {"min_tokens": 1000}, "linear"),  # no decade between 1000 and 4096
        ([0.1, 0.001], {"max_tokens": 5, "min_tokens": 5}, "linear"),
        ([0.1, 0.001], {"max_tokens": 0}, "linear"),
    ],
    ids=["near-scales", "far-scales", "far-from-zero", "one-point", "zero"],
)
def test_the_token_axis_fits_the_scales(
    rates: list[float], changes: dict[str, Any], scale: str
) -> None:
    solution = cq.solve(make(rates, **changes))
    ax = plots.plot_accuracy(solution)
    lay_out(ax)
    left, right = ax.get_xlim()
    assert ax.get_xscale() == scale
    assert left <= solution.tokens.min()
    assert right >= solution.tokens.max()
    assert sum(left <= tick <= right for tick in ax.get_xticks()) >= 2


@pytest.mark.parametrize(
    ("size", "gray", "note"),
    [
        (10, 0, ""),
        (30, 20, "gray: 20 more types"),
        (1010, 200, "gray: 1,000 more types, 200 of them drawn"),
    ],
)
def test_of_many_types_the_most_frequent_are_named(size: int, gray: int, note: str) -> None:
    rng = np.random.default_rng(1)
    ax = plots.plot_accuracy(cq.solve(make(10.0 ** rng.uniform(-5, -1, size))))
    drawn = [c for c in ax.collections if isinstance(c, LineCollection)]
    assert sum(len(collection.get_segments()) for collection in drawn) == gray
    assert [label.split(":")[0] for label in labels(ax)] == [f"type {k + 1}" for k in range(10)]
    assert [text.get_text() for text in ax.texts if not isinstance(text, Annotation)] == (
        [note] if note else []
    )


def test_kinks_are_drawn_where_they_are() -> None:
    curve = cq.MixedAccuracy(
        curves=[
            cq.SaturatingExponential(floor=0.2, gain=0.6, rate=0.004),
            cq.PiecewiseLinear(
                tokens=[[0, 131, 3001], [0, 77, 5000]], accuracy=[[0.1, 0.6, 0.7], [0.1, 0.2, 0.4]]
            ),
        ],
        which=[1, 0, 1],
    )
    instance = make([0.004] * 3, accuracy=curve)
    ax = plots.plot_accuracy(cq.solve(instance))
    lay_out(ax)
    for name, corners in (("type 1", {131.0, 3001.0}), ("type 2", set()), ("type 3", {77.0})):
        line = next(line for line in ax.lines if line.get_label() == name)
        tokens, accuracy = (np.asarray(data) for data in line.get_data())
        assert corners <= set(tokens.tolist())
        assert np.all(np.diff(tokens) >= 0)
        assert tokens[-1] <= 4096
        k = int(name[-1]) - 1
        np.testing.assert_allclose(accuracy, instance.accuracy.value(tokens[:, None])[:, k])


def test_names_do_not_overlap_and_are_not_read_as_formulas() -> None:
    # Curves that end at one height: where each wants its name, only one has room.
    names = [f"$alike {k} with a name that goes on and on$" for k in range(10)]
    ax = plots.plot_accuracy(cq.solve(make([0.004] * 10, names=names)))
    lay_out(ax)
    heights = sorted(
        ax.transAxes.transform((0, text.xyann[1]))[1]
        for text in ax.texts
        if isinstance(text, Annotation)
    )
    letters = 9.0 * figure_of(ax).dpi / 72.0
    assert np.diff(heights).min() >= letters
    assert all(label.startswith(r"\$alike") and "…" in label for label in labels(ax))


@given(st.lists(st.text(st.sampled_from("ab…1. ("), max_size=60), unique=True))
def test_short_names_are_distinct(names: list[str]) -> None:
    shown = style.short_names(names)
    assert len(set(shown)) == len(names)
    if all(len(name) <= 24 for name in names):
        assert shown == names


@pytest.mark.parametrize("place", [30, 59], ids=["middle", "end"])
def test_what_differs_in_long_names_is_seen(place: int) -> None:
    letters = "a long name of a benchmark, of questions about some queues..."[:60]
    names = [f"{letters[:place]}{digit}{letters[place + 1 :]}" for digit in "123456789"]
    shown = style.short_names(names)
    assert all(digit in text for digit, text in zip("123456789", shown, strict=True))
    assert {len(text) for text in shown} == {24}
    ax = plots.plot_accuracy(cq.solve(make([0.004] * 9, names=names)))
    assert [label.split(":")[0] for label in labels(ax)] == shown


# G. M. Machado, M. M. Oliveira and L. A. F. Fernandes, "A physiologically-based model for
# simulation of color vision deficiency", 2009: of linear RGB, without one kind of cones.
VISIONS = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def seen(color: str, vision: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """CIELAB of a colour, in which distances are those that people see."""
    red_green_blue = np.array(to_rgb(color))
    linear = ((red_green_blue + 0.055) / 1.055) ** 2.4
    linear = np.where(red_green_blue > 0.04045, linear, red_green_blue / 12.92)
    to_xyz = [[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8728]]
    xyz = to_xyz @ np.clip(np.array(VISIONS[vision]) @ linear, 0.0, 1.0)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISIONS)
def test_types_and_methods_have_colours_that_are_told_apart(vision: str) -> None:
    types, methods = style.TYPE_COLORS, style.METHOD_COLORS
    assert not set(types) & set(methods)

    def least(pairs: Any) -> float:
        lengths = [np.linalg.norm(seen(a, vision) - seen(b, vision)) for a, b in pairs]
        return float(min(lengths))

    among_types = least(combinations(types, 2))
    assert least(product(methods, (*types, style.GRAY))) > among_types
    assert least(combinations(methods, 2)) > among_types


def test_label_positions_keep_their_order_and_their_distance() -> None:
    ax = style.new_axes()
    wanted = [0.5, 0.1, 0.5, 0.51, 0.95]
    placed = style.label_positions(wanted, ax)
    distance = 1.3 * 9.0 / (ax.bbox.height * 72.0 / figure_of(ax).dpi)
    gaps = [abs(a - b) for a, b in combinations(placed, 2)]
    assert min(gaps) >= distance * (1 - 1e-9)
    assert np.argsort(placed, kind="stable").tolist() == [1, 0, 2, 3, 4]
    assert (placed[1], placed[4]) == pytest.approx((0.1, 0.95))  # alone: where they want to be
    assert np.mean([placed[0], placed[2], placed[3]]) == pytest.approx(np.mean([0.5, 0.5, 0.51]))


def test_convergence_ends_at_the_certified_gap() -> None:
    instance = make([0.004, 0.001])
    good = cq.solve(instance)
    bad = cq.solve(instance, "fixed-point", max_iterations=2, on_failure="return")
    ax = plots.plot_convergence([good, bad])
    lay_out(ax)
    assert ax.get_yscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("iterations", "certified relative gap")
    ends = {line.get_marker(): line for line in ax.lines if line.get_marker() in ("o", "X")}
    for marker, solution in (("o", good), ("X", bad)):
        x, y = ends[marker].get_data()
        assert np.asarray(x).tolist() == [solution.iterations]
        assert np.asarray(y)[0] == pytest.approx(solution.relative_gap)
    assert legend_of(ax) == [
        f"newton: {good.iterations} iterations",
        "fixed-point: 2 iterations, not certified",
    ]
    assert [text.get_text() for text in ax.texts] == ["tolerance $10^{−12}$", "tolerance $10^{−9}$"]


def test_a_name_that_begins_with_an_underscore_is_in_the_legend_too() -> None:
    def _own(instance: cq.Instance) -> cq.Answer:
        return cq.Answer(cq.solve(instance).tokens)

    ax = plots.plot_convergence(cq.solve(make([0.004, 0.001]), _own))
    assert [text.strip() for text in legend_of(ax)] == ["_own: 1 iteration"]


def test_runs_of_one_method_are_told_apart() -> None:
    instance = make([0.004, 0.001])
    runs = [cq.solve(instance, "fixed-point", damping=d) for d in (0.3, 1.0)]
    runs += [cq.solve(instance), *(cq.solve(instance, "projected-gradient") for _ in range(5))]
    ax = plots.plot_convergence(runs)
    lay_out(ax)
    assert [label.split(":")[0] for label in legend_of(ax)] == [
        *("fixed-point (damping=0.3)", "fixed-point (damping=1.0)", "newton"),
        *(f"projected-gradient ({k + 1})" for k in range(5)),
    ]
    paths = [line for line in ax.lines if ":" in str(line.get_label())]
    assert len({(line.get_color(), line.get_linestyle()) for line in paths}) == 8
    # The tolerances are lines too, without a marker.
    ends = [line for line in ax.lines if line.get_marker() == "o"]
    assert len({(line.get_color(), line.get_markerfacecolor()) for line in ends}) == 8


def test_a_path_ends_where_its_method_did() -> None:
    busy = make([0.004, 0.001], arrival_rate=0.45, accuracy_weight=600.0)
    diverged = cq.solve(busy, "fixed-point", damping=1, on_failure="return")
    assert diverged.status is cq.Status.DIVERGED
    of_batch = cq.solve_batch(busy, arrival_rate=[0.2])[0]
    assert of_batch.history == ()
    for answer, marker in ((diverged, "X"), (of_batch, "o")):
        ends = [it for it in plots.plot_convergence(answer).lines if it.get_marker() == marker]
        x, y = ends[-1].get_data()
        assert np.asarray(x).tolist() == [answer.iterations]
        assert np.asarray(y)[0] == pytest.approx(answer.relative_gap)


def test_a_long_path_is_thinned_and_keeps_its_ends() -> None:
    instance = make([0.004, 0.0001], arrival_rate=0.4)
    slow = cq.solve(
        instance, "projected-gradient", metric="scalar", max_iterations=2000, on_failure="return"
    )
    assert slow.iterations == 2000
    ax = plots.plot_convergence(slow)
    iterations = np.asarray(ax.lines[0].get_xdata())
    assert (iterations[0], iterations[-1]) == (1, 2000)
    assert iterations.size <= 600
    assert ax.get_xscale() == "log"


def test_convergence_needs_a_solution() -> None:
    with pytest.raises(cq.InvalidInputError, match="at least one Solution, got an empty sequence"):
        plots.plot_convergence([])


def test_figure_shows_the_best_answer_and_every_method() -> None:
    instance = make([0.004, 0.001], name="costs $5")
    worse = cq.solve(instance, "fixed-point", max_iterations=1, on_failure="return")
    comparison = CrossValidation((worse, cq.solve(instance)))
    figure = plots.figure(comparison)
    left, right = figure.axes
    assert left.get_title("left") == "Accuracy curve of each task type, and the tokens chosen"
    assert right.get_title("left") == "Certified gap along the path of each method"
    best = comparison.solutions[1]
    assert figure.get_suptitle() == (
        rf"costs \$5: mean accuracy {best.mean_accuracy:.3f}, "
        f"mean system time {best.mean_system_time:.3g} s, utilization {best.utilization:.3f}"
    )
    colors = [
        {line.get_color() for line in ax.lines if line.get_marker() == "o"} for ax in (left, right)
    ]
    assert colors[0].isdisjoint(colors[1])


def test_a_comparison_has_the_whole_path_of_newton() -> None:
    instance = make([0.004, 0.001])
    tokens: list[Any] = []

    def watch(iterate: cq.Iterate) -> bool:
        tokens.append(iterate.tokens)
        return False

    cq.solve(instance, callback=watch)
    (solution,) = cq.cross_validate(instance, ["newton"]).solutions
    assert len(tokens) == len(solution.history) == solution.iterations > 1
    path = plots.plot_convergence(solution).lines[0]
    gaps = [cq.certify(instance, each).gap / solution.certificate.scale for each in tokens]
    np.testing.assert_allclose(np.asarray(path.get_ydata()), np.array(gaps))


def test_a_figure_shows_itself_where_pyplot_is_not() -> None:
    # A notebook asks for this method; of matplotlib's own figure it would show the name.
    figure: Any = figure_of(plots.plot_accuracy(cq.solve(make([0.1, 0.001]))))
    for each in (figure, pickle.loads(pickle.dumps(figure))):
        picture = each._repr_png_()
        assert picture.startswith(b"\x89PNG")
        assert int.from_bytes(picture[16:20]) == 1050  # 7 inches at 150 dots


TYPES = ["a" * 40 + letter + "b" * 20 for letter in "uvwxyz"] + [f"${k}_%" for k in range(6)]


def measured(types: int, rows: int = 30) -> tuple[dict[str, Any], dict[str, Any]]:
    """Service times and answers of so many types, one answer a row."""
    rng = np.random.default_rng(3)
    names = [name for name in TYPES[:types] for _ in range(rows)]
    tokens = rng.integers(0, 4000, len(names))
    correct = rng.random(tokens.size) < 0.2 + 0.6 * -np.expm1(-0.001 * tokens)
    seconds = 0.5 + 0.002 * tokens * rng.uniform(0.9, 1.1, tokens.size)
    return (
        {"tokens": tokens, "seconds": seconds, "types": names},
        {"tokens": tokens, "correct": correct.astype(float), "types": names},
    )


def xy(line: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Points of a line, shape (2, M)."""
    return np.asarray(line.get_data(), dtype=np.float64)


def bars(ax: Axes) -> list[Any]:
    """Ends of the intervals, one array of shape (M, 2) for each type."""
    return [
        np.array(each.get_segments())[:, :, 1]
        for each in ax.collections
        if isinstance(each, LineCollection)
    ]


def test_a_fit_is_drawn_with_its_data_and_intervals() -> None:
    tokens, correct, total = [0, 500, 1000, 4000], [20, 60, 80, 100], 100
    seconds = [0.5, 1.6, 2.4, 8.6]
    fit = cq.fit(
        service={"tokens": tokens, "seconds": seconds},
        accuracy={"tokens": tokens, "correct": correct, "total": total},
    )
    figure = plots.figure(fit)
    figure.draw_without_rendering()
    left, right = figure.axes
    dots, line = left.lines
    assert xy(dots).tolist() == [tokens, seconds]
    found = fit.service_line
    ends = found.base.value + found.per_token.value * np.array([0, 4000])
    np.testing.assert_allclose(xy(line), [[0.0, 4000.0], ends.tolist()])
    low, high = 1e3 * np.array(found.per_token.interval)
    assert f"[{low:.3g}, {high:.3g}] ms per token" in legend_of(left)[0]
    curve, seen = right.lines
    x, y = xy(curve)
    by_hand = [fit.curves[""].floor.value, fit.curves[""].gain.value, fit.curves[""].rate.value]
    np.testing.assert_allclose(y, by_hand[0] + by_hand[1] * -np.expm1(-by_hand[2] * x))
    np.testing.assert_allclose(xy(seen), np.array([tokens, np.array(correct) / total]))
    # Wilson's interval at 95 %, of fractions k of n = 100 (Brown, Cai and DasGupta, 2001, say how).
    k, n, z = np.array(correct), 100, 1.959964
    centre, half = k + z**2 / 2, z * np.sqrt(k * (1 - k / n) + z**2 / 4)
    wilson = np.stack([centre - half, centre + half], axis=1) / (n + z**2)
    np.testing.assert_allclose(bars(right)[0], wilson, rtol=1e-6)
    assert right.texts[0].get_text() == "bars: 95 % intervals of the accuracy seen"


def test_a_fit_of_many_types_keeps_names_and_colours_in_both_pictures() -> None:
    service, accuracy = measured(12)
    figure = plots.figure(cq.fit(service=service, accuracy=accuracy))
    figure.draw_without_rendering()
    looks = []
    for ax in figure.axes:
        named = [line for line in ax.lines if not str(line.get_label()).startswith("_")]
        looks.append([(line.get_color(), line.get_linestyle()) for line in named])
        names = [label.split(":")[0] for label in legend_of(ax)]
        assert len(set(names)) == 10
        assert names[6:] == [rf"\${k}_%" for k in range(4)]
        assert ax.texts[0].get_text().startswith("gray: 2 more types\n")
    assert looks[0] == looks[1]
    assert len(set(looks[0])) == 10


def test_neighbouring_answers_are_drawn_as_one_and_none_is_lost() -> None:
    _, accuracy = measured(1, rows=500)
    ax = plots.plot_accuracy_fit(cq.fit(accuracy=accuracy))
    (intervals,) = bars(ax)
    assert len(intervals) == 12
    x, y = xy(ax.lines[1])
    # Groups of about as many answers each: their mean is nearly that of all.
    assert np.mean(x) == pytest.approx(np.mean(accuracy["tokens"]), rel=0.01)
    assert np.mean(y) == pytest.approx(np.mean(accuracy["correct"]), rel=0.01)
    assert "drawn as one" in ax.texts[0].get_text()
    alone = plots.plot_accuracy_fit(
        cq.fit(accuracy={"tokens": [0, 500, 1000, 4000], "accuracy": [0.2, 0.6, 0.8, 0.9]})
    )
    assert bars(alone) == []
    assert alone.texts[0].get_text() == "no intervals: the answers are not counted"


def test_of_many_service_times_a_part_is_drawn() -> None:
    service, _ = measured(1, rows=2001)
    ax = plots.plot_service_fit(cq.fit(service=service))
    assert np.size(ax.lines[0].get_xdata()) == 1001
    assert "1,001 of 2,001 rows drawn" in ax.texts[0].get_text()


def test_a_picture_needs_something_to_draw() -> None:
    fit = cq.fit(trace={"arrivals": np.cumsum(np.random.default_rng(1).exponential(5.0, 200))})
    for draw in (plots.figure, plots.plot_service_fit, plots.plot_accuracy_fit):
        with pytest.raises(cq.InvalidInputError, match="to draw: fit with"):
            draw(fit)
    with pytest.raises(cq.InvalidInputError, match="must be a CrossValidation, a Fit, a Sim"):
        plots.figure(cq.solve(make([0.004])))  # type: ignore[arg-type]


@pytest.mark.parametrize("arrivals", [None, 2.0], ids=["poisson", "renewal"])
def test_a_simulation_is_drawn_beside_theory(arrivals: float | None) -> None:
    instance = make([0.004, 0.001], names=["$ new", "y" * 70])
    simulation = cq.simulate(instance, [500.0, 700.0], queries=100_000, arrivals=arrivals)
    check = cq.check_simulation(simulation)
    figure = plots.figure(simulation)
    figure.draw_without_rendering()
    (ax,) = figure.axes
    drawn = {
        int(place): [x, *segment[:, 0]]
        for line, many in zip(ax.lines[1:], ax.collections, strict=True)
        if isinstance(many, LineCollection)
        for x, place, segment in zip(*xy(line), many.get_segments(), strict=True)
    }
    assert len(drawn) == len(check.rows)
    for k, row in enumerate(check.rows):
        scale = row.theory or simulation.mean_number.value
        ends = np.array([row.estimate.value, *row.estimate.interval]) - row.theory
        np.testing.assert_allclose(drawn[k], 100.0 * ends / scale)
        assert ax.texts[k].get_text().endswith(f"theory {row.theory:.4g}: {row.outcome}")
        assert -100 < ax.get_xlim()[0] < min(drawn[k])
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert len(names[-1]) <= 43
    assert any(name.startswith(r"system time of \$ new") for name in names) is (arrivals is None)
    assert ("times that of Poisson arrivals" in ax.get_title("left")) is (arrivals is not None)


def test_a_simulation_in_which_nothing_happened_is_drawn_too() -> None:
    ax = plots.plot_simulation(cq.simulate(make([0.004]), 500.0, queries=2))
    lay_out(ax)
    assert any("undecided" in text.get_text() for text in ax.texts)
    assert all(np.isfinite(ax.get_xlim()))


def test_missing_matplotlib_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvxqueue.errors.find_spec", lambda name: None)
    solution = cq.solve(make([0.004]))
    for draws in (plots.plot_accuracy, plots.plot_convergence):
        with pytest.raises(cq.MissingDependencyError, match=r"pip .*install matplotlib"):
            draws(solution)


def test_matplotlib_is_loaded_when_it_draws_and_pyplot_never() -> None:
    code = """
import sys
import cvxqueue as cq
from cvxqueue import plots
print("matplotlib" in sys.modules)
plots.figure(cq.cross_validate(cq.references.load("one-type").instance, ["newton"]))
print("matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert run.stdout.split() == ["False", "True", "False"]


def test_the_types_that_are_gray_are_counted_beside_a_line_of_all() -> None:
    tokens = np.linspace(10.0, 500.0, 20)
    levels, correct = [0, 500, 1000, 4000], [20, 60, 80, 95]
    found = cq.fit(
        service={"tokens": tokens, "seconds": 0.2 + 0.01 * tokens},
        accuracy={
            "tokens": levels * 14,
            "correct": correct * 14,
            "total": 100,
            "types": [f"type {k}" for k in range(14) for _ in levels],
        },
    )
    # One of the ten colours is that of the line.
    ax = plots.plot_accuracy_fit(found)
    assert ax.texts[0].get_text().startswith("gray: 5 more types\n")


def test_what_turns_text_around_is_shown_as_it_is_written() -> None:
    assert style.plain("\u202eabc\nd") == "\\u202eabc d"
