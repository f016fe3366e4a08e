"""The hostile campaign: its oracle is right, its trials pass, and it can fail."""

from __future__ import annotations

import warnings
from decimal import Decimal
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from tests.campaign import constrained, free, integer
from tests.campaign.__main__ import main
from tests.campaign.barrier import constrained_optimum
from tests.campaign.claims import Truth, attempt
from tests.campaign.exact import DIGITS, Problem, digits
from tests.campaign.hostile import STRUCTURES, draw
from tests.campaign.optimum import PROVEN, optimum
from tests.campaign.report import Report
from tests.families import CURVES, LAWS, QUEUES, Family, planted

_SEED = 2026


def _family(**changes: Any) -> Family:
    """One type, FIFO: rate .2, weight 60, .5 s and 2 ms per token, .2 + .6 (1 − exp(−l/1000))."""
    row = {
        "probability": 1.0,
        "min_tokens": 0.0,
        "max_tokens": 4096.0,
        "importance": 1.0,
        "service": {"base": 0.5, "per_token": 0.002},
        "accuracy": {"kind": "exponential", "floor": 0.2, "gain": 0.6, "rate": 0.001},
    }
    return Family(0.2, 60.0, {"kind": "FIFO"}, ({**row, **changes},))


def _problem(family: Family) -> Problem:
    with digits(DIGITS):
        return Problem.of(family)


class TestOracle:
    """The optimum in sixty digits."""

    @pytest.mark.parametrize("queue", QUEUES)
    @pytest.mark.parametrize("law", LAWS)
    def test_finds_planted_optima(self, queue: str, law: str) -> None:
        rng = np.random.default_rng([_SEED, QUEUES.index(queue), LAWS.index(law)])
        for curve in CURVES:
            known = planted(rng, queue, law, curve, n=3)
            best = optimum(_problem(known.family))
            assert best is not None
            assert best.gap <= PROVEN
            found = np.array([float(v) for v in best.point.tokens])
            # Planted to the rounding of the gains, as `tests.generator` says.
            if known.is_exact:
                np.testing.assert_allclose(found, known.tokens, rtol=1e-10, atol=1e-10)

    def test_optimum_of_processor_sharing_by_hand(self) -> None:
        # a b e^(−b l) = c/(1 − λ c l)² with a = 1, b = λ = c = 1/10 at 0 tokens: 1/10 = 1/10.
        row = _family(
            service={"base": 0.0, "per_token": 0.1},
            accuracy={"kind": "exponential", "floor": 0.0, "gain": 1.0, "rate": 0.1},
        ).types
        family = Family(0.1, 1.0, {"kind": "ProcessorSharing"}, row)
        best = optimum(_problem(family))
        assert best is not None
        assert best.point.tokens == (Decimal(0),)
        assert best.point.objective == 0

    def test_issue_of_points_far_to_the_right(self) -> None:
        # Exact rationals: 100 · (l · 3/10000 …) − T at the cap of .3 tokens, from the issue.
        curve = {
            "kind": "points",
            "tokens": [1000.0, 1250.0, 1350.0, 1450.0],
            "accuracy": [0.3, 0.375, 0.405, 0.435],
        }
        row = _family(
            max_tokens=0.3, service={"base": 0.0, "per_token": 1e-5}, accuracy=curve
        ).types
        best = optimum(_problem(Family(0.2, 100.0, {"kind": "FIFO"}, row)))
        assert best is not None
        assert float(best.lower) == pytest.approx(0.0089969999990945, rel=1e-14, abs=0.0)

    def test_slopes_are_those_of_the_values(self) -> None:
        step = Decimal("1e-20")
        for number in range(40):
            rng = np.random.default_rng([_SEED, number])
            problem = _problem(draw(rng)[1])
            with digits(2 * DIGITS):
                low = [k.low for k in problem.types]
                share = Decimal(float(rng.random())) * Decimal("1e-3")
                at = [a + share * (k.high - a) for a, k in zip(low, problem.types, strict=True)]
                point = problem.at(at)
                if point is None:
                    continue
                for place, k in enumerate(problem.types):
                    size = step * (k.high - k.low)
                    aside = problem.at([v + size * (i == place) for i, v in enumerate(at)])
                    if size == 0 or aside is None:
                        continue
                    p1, p2 = point.prices
                    moments = point.moments[place]
                    slope = k.worth * k.curve.slopes(at[place])[0]
                    cost = p1 * moments[2] + p2 * moments[3]
                    rise = (aside.objective - point.objective) / size / k.share
                    assert abs(rise - (slope - cost)) <= Decimal("1e-9") * (slope + cost)

    def test_two_methods_agree(self) -> None:
        for number in range(8):
            rng = np.random.default_rng([_SEED, 1, number])
            problem = _problem(draw(rng)[1])
            best = optimum(problem)
            if best is None:
                continue
            with digits(DIGITS):
                loose = float(2 * best.point.time + 1)
            data = [{"kind": "MaxMeanSystemTime", "seconds": loose}]
            other = constrained_optimum(problem, data).best
            assert other is not None
            with digits(DIGITS):
                assert abs(other.lower - best.lower) <= Decimal("1e-25") * best.point.scale

    def test_cap_that_binds(self) -> None:
        problem = _problem(_family())
        data = [{"kind": "MaxTokenRate", "tokens_per_second": 100.0}]
        found = constrained_optimum(problem, data)
        assert found.best is not None
        # λ l ≤ 100 at λ = .2, which is not just a fifth.
        with digits(DIGITS):
            assert float(found.best.point.tokens[0]) == pytest.approx(500.0, rel=1e-15)
            assert found.best.gap <= PROVEN

    def test_floor_beyond_reach(self) -> None:
        problem = _problem(_family(max_tokens=1000.0))
        top = 0.2 + 0.6 * (1.0 - np.exp(-1.0))
        for accuracy, verdict in (
            (top * (1 + 1e-12), "infeasible"),
            (top * (1 - 1e-12), "optimal"),
        ):
            data = [{"kind": "MinMeanAccuracy", "accuracy": float(accuracy)}]
            assert constrained_optimum(problem, data).verdict == verdict


class TestTrials:
    """Some of each campaign."""

    @pytest.mark.parametrize("campaign", [free, constrained, integer])
    def test_trials_follow_from_seed_and_number(self, campaign: Any) -> None:
        first, again = campaign.trial(_SEED, 3), campaign.trial(_SEED, 3)
        counts = [
            {name: n for name, n in report.figures.items() if not name.startswith("largest")}
            for report in (first, again)
        ]
        assert counts[0] == counts[1]
        assert first.failures == again.failures

    @pytest.mark.parametrize(
        ("name", "trials"), [("free", 30), ("constrained", 8), ("integer", 30)]
    )
    def test_nothing_is_wrong(
        self, name: str, trials: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code = main([name, "--trials", str(trials), "--seed", str(_SEED)])
        assert code == 0, capsys.readouterr().out

    def test_every_structure_makes_an_instance(self) -> None:
        rng = np.random.default_rng(_SEED)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for press in STRUCTURES.values():
                _, family = draw(rng)
                with digits(DIGITS):
                    press(rng, family)


class TestItCanFail:
    """Claims that are wrong by a hair are reported."""

    def _truth(self) -> tuple[Truth, cq.Solution]:
        family = _family()
        problem = _problem(family)
        truth = Truth(Report(), "by hand", problem, optimum(problem))
        return truth, cq.solve(family.instance())

    @pytest.mark.parametrize(
        ("field", "shift", "kind"),
        [
            ("objective", 1e-12, "objective above the optimum"),
            ("upper_bound", -1e-12, "upper bound below the optimum"),
        ],
    )
    def test_interval_that_is_shifted(self, field: str, shift: float, kind: str) -> None:
        truth, solution = self._truth()
        claims = {"objective": solution.objective, "upper_bound": solution.upper_bound}
        truth.check_interval("solve", SimpleNamespace(**claims, tokens=solution.tokens))
        assert not truth.report.failures
        claims[field] += shift * abs(claims[field])
        truth.check_interval("solve", SimpleNamespace(**claims, tokens=solution.tokens))
        assert [failure.kind for failure in truth.report.failures] == [f"solve: {kind}"]

    def test_bounds_without_the_optimum(self) -> None:
        truth, solution = self._truth()
        truth.check_bounds("solve", solution.token_bounds)
        assert not truth.report.failures
        low, high = solution.token_bounds[0]
        truth.check_bounds("solve", [(high + (high - low), high + 1.0)])
        assert len(truth.report.failures) == 1

    def test_status_beyond_the_tolerance(self) -> None:
        truth, solution = self._truth()
        claims = {"objective": 0.0, "upper_bound": 0.0, "tolerance": 1e-9, "is_optimal": True}
        truth.check_status("solve", SimpleNamespace(**claims, tokens=solution.tokens + 1.0))
        assert [failure.kind for failure in truth.report.failures] == [
            "solve: optimal beyond the tolerance"
        ]

    def test_false_infeasible_and_wild_exceptions(self) -> None:
        truth, _ = self._truth()

        def refuse() -> None:
            raise cq.InfeasibleError("none")

        def divide() -> float:
            return 1.0 / 0.0

        attempt(truth.report, "solve", "by hand", refuse, truth)
        attempt(truth.report, "solve", "by hand", divide, truth)
        kinds = [failure.kind for failure in truth.report.failures]
        assert kinds == ["solve: false infeasible", "solve: ZeroDivisionError"]

    def test_command_says_so(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def trial(seed: int, number: int) -> Report:
            report = Report()
            if number == 2:
                report.fail("something", "wrong")
            return report

        monkeypatch.setattr(free, "trial", trial)
        assert main(["free", "--trials", "4", "--seed", "7"]) == 1
        assert "--seed 7 --only 2" in capsys.readouterr().out


def test_caps_have_an_order() -> None:
    problem = _problem(_family())
    optima = []
    for seconds in (1.0, 2.0, 3.0):
        found = constrained_optimum(problem, [{"kind": "MaxMeanWaitingTime", "seconds": seconds}])
        assert found.best is not None
        optima.append(found.best.lower)
    assert all(a < b for a, b in pairwise(optima))
