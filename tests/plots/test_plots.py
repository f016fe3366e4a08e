"""The pictures show what the answer says, and stay readable with any number of types."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
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
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        f"newton: {good.iterations} iterations",
        "fixed-point: 2 iterations, not certified",
    ]
    assert [text.get_text() for text in ax.texts] == ["tolerance $10^{-12}$", "tolerance $10^{-9}$"]


def test_a_name_that_begins_with_an_underscore_is_in_the_legend_too() -> None:
    def _own(instance: cq.Instance) -> cq.Answer:
        return cq.Answer(cq.solve(instance).tokens)

    legend = plots.plot_convergence(cq.solve(make([0.004, 0.001]), _own)).get_legend()
    assert legend is not None
    assert [text.get_text().strip() for text in legend.get_texts()] == ["_own: 1 iteration"]


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
    assert left.get_title() == "Accuracy curve of each task type, and the tokens chosen"
    assert right.get_title() == "Certified gap along the path of each method"
    best = comparison.solutions[1]
    assert figure.get_suptitle() == (
        rf"costs \$5: mean accuracy {best.mean_accuracy:.3f}, "
        f"mean system time {best.mean_system_time:.3g} s, utilization {best.utilization:.3f}"
    )
    content = BytesIO()
    figure.savefig(content, format="png")
    assert content.getvalue().startswith(b"\x89PNG")


def test_missing_matplotlib_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "find_spec", lambda name: None)
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
instance = cq.Instance(
    arrival_rate=0.2, accuracy_weight=60.0, max_tokens=4096, probabilities=[1.0],
    service=cq.AffineService(base=0.5, per_token=0.002),
    accuracy=cq.SaturatingExponential(floor=0.2, gain=0.6, rate=0.001))
plots.figure(cq.cross_validate(instance, ["newton"]))
print("matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert run.stdout.split() == ["False", "True", "False"]
