"""Proofs in whole tokens: they agree with enumeration, and what they do not prove is refused."""

from __future__ import annotations

import copy
import itertools
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from decimal import ROUND_UP, Context, Decimal, FloatOperation, Inexact, localcontext
from functools import cache
from pathlib import Path
from typing import Any

import flint
import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.cli import main
from cvxqueue.integer import plain_rounding
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.references import verify as verifier
from tests.paths import SERVER
from tests.references.balls import ball
from tests.references.test_records import BY_HAND, MIXED, QUADRATIC, VARYING, instance, signed

STEPS = cq.Multiples(150)
MANY = [cq.Menu([0, 7, 90, 433, 1500, 4999]), cq.ZeroOrAtLeast(880), cq.Multiples(33)]
HYPERBOLIC = cq.MichaelisMenten(floor=0.1, gain=[0.6, 0.5, 0.7], half_saturation=[300, 100, 700])
POWERS = cq.PowerLaw(floor=0.1, gain=0.6, scale=[200.0, 90.0, 700.0], exponent=[1.5, 0.5, 2.0])
PIECES = cq.PiecewiseLinear(tokens=[0, 460, 1010, 3000], accuracy=[0.1, 0.5, 0.6, 0.65])


def few(**changes: Any) -> cq.Instance:
    """At most 10^5 allocations."""
    return instance(**{"domains": STEPS} | changes)


def coarse(*constraints: Any) -> cq.Instance:
    """A case whose proof is short under constraints on all types."""
    return instance(domains=cq.Multiples(320), constraints=constraints)


COUNTED: dict[str, Callable[[], cq.Instance]] = {
    "steps": few,
    "processor sharing": lambda: few(queue=cq.ProcessorSharing()),
    "batches": lambda: few(queue=cq.BatchArrivals(1.2, 1.7), accuracy=HYPERBOLIC),
    "vacations": lambda: few(queue=cq.Vacations(1.0, 1.5), accuracy=POWERS),
    "setups": lambda: few(queue=cq.Setups(1.0, 1.5), accuracy=PIECES),
    "quadratic": lambda: few(service=QUADRATIC, accuracy=MIXED),
    "varying": lambda: few(service=VARYING),
    "menus": lambda: few(domains=[cq.Menu([0, 64, 300]), cq.Menu([1500, 100]), cq.Menu([700])]),
    "mixed": lambda: few(
        domains=[MANY[0], cq.Menu(np.arange(600, 900, 7)), MANY[2]], arrival_rate=0.3
    ),
    "zero or at least": lambda: few(
        domains=[cq.ZeroOrAtLeast(990), STEPS, STEPS], max_tokens=[1055, 5000, 5000]
    ),
    "bounds between": lambda: few(min_tokens=310.5, max_tokens=[599.5, 700, 4000]),
    "weightless": lambda: few(accuracy_weight=0.0),
    "heavy": lambda: few(arrival_rate=0.55, accuracy_weight=400.0),
    "unstable": lambda: few(arrival_rate=0.4, accuracy_weight=3000.0, domains=cq.Multiples(700)),
    "floors": lambda: few(constraints=[cq.MinAccuracy(0.5, type=2), cq.MinAccuracy(0.3)]),
    "system time": lambda: coarse(cq.MaxMeanSystemTime(2.0)),
    "waiting time": lambda: coarse(cq.MaxMeanWaitingTime(0.3)),
    "rate": lambda: coarse(cq.MaxTokenRate(61.0)).replace(queue=cq.ProcessorSharing()),
    "tail": lambda: coarse(cq.WaitingTimeTail(6.0, 0.05)),
    "accuracy": lambda: coarse(cq.MinMeanAccuracy(0.63)),
    "both": lambda: coarse(cq.MaxMeanSystemTime(2.0), cq.MinMeanAccuracy(0.42)),
    "all": lambda: coarse(
        *(cq.MaxMeanSystemTime(2.5), cq.MaxMeanWaitingTime(0.5), cq.MaxTokenRate(91.0)),
        *(cq.WaitingTimeTail(6.0, 0.05), cq.MinMeanAccuracy(0.4), cq.MinAccuracy(0.2)),
    ),
}


@cache
def proven(name: str) -> dict[str, Any]:
    return cq.prove(COUNTED[name](), integer=True)


def record(name: str = "heavy") -> dict[str, Any]:
    """A copy, to be changed."""
    return copy.deepcopy(proven(name))


def _allowed(given: cq.Instance, k: int) -> list[float]:
    """By the words of the domain."""
    low, high = float(given.min_tokens[k]), float(given.max_tokens[k])
    domain = cq.Integers() if given.domains is None else given.domains[k]
    whole: list[float] = [float(it) for it in range(int(np.ceil(low)), int(high) + 1)]
    if isinstance(domain, cq.Menu):
        return [it for it in domain.tokens.tolist() if low <= it <= high]
    if isinstance(domain, cq.Multiples):
        return [it for it in whole if it % domain.step == 0]
    if isinstance(domain, cq.ZeroOrAtLeast):
        return [it for it in whole if it == 0 or it >= domain.minimum]
    return whole


def _is_kept(given: cq.Instance, points: FloatArray) -> Any:
    """Whether allocations, shape (M, N), keep the constraints."""
    at, mix = given.evaluate(points), given.probabilities
    kept = np.ones(len(points), dtype=bool)
    for it in given.constraints:
        if isinstance(it, cq.MaxMeanSystemTime):
            kept &= at.mean_system_time <= it.seconds
        elif isinstance(it, cq.MaxMeanWaitingTime):
            kept &= at.mean_waiting_time <= it.seconds
        elif isinstance(it, cq.MaxTokenRate):
            kept &= given.arrival_rate * points @ mix <= it.tokens_per_second
        elif isinstance(it, cq.MinMeanAccuracy):
            kept &= at.accuracies @ mix >= it.accuracy
        elif isinstance(it, cq.WaitingTimeTail):
            theta = -np.log(it.probability) / it.seconds
            kept &= given.arrival_rate * np.expm1(theta * at.times) @ mix <= theta
        elif isinstance(it, cq.MinAccuracy):
            reached = at.accuracies >= it.accuracy
            kept &= reached.all(axis=1) if it.type is None else reached[:, int(it.type)]
    return kept


@pytest.mark.parametrize("name", COUNTED)
def test_enumeration_finds_nothing_better(name: str) -> None:
    given = COUNTED[name]()
    found = cq.verify(proven(name), instance=given)
    assert found.integer_tokens is not None
    assert found.integer_objective is not None
    every = np.array(list(itertools.product(*(_allowed(given, k) for k in range(given.size)))))
    assert len(every) <= 10**5
    assert list(found.integer_tokens) in every.tolist()
    best = np.max(given.evaluate(every).objective, where=_is_kept(given, every), initial=-np.inf)
    here = given.evaluate(np.array(found.integer_tokens, dtype=np.float64))
    near = 1e-12 * float(here.scale)
    assert float(here.objective) >= best - near
    assert abs(float(found.integer_objective[0]) - best) <= near
    width = found.integer_objective[1] - found.integer_objective[0]
    assert width <= Decimal("1.000001e-30") * Decimal(float(here.scale))
    assert found.integer_objective[0] <= found.objective[1]
    if not given.model.couplings:
        assert found.integer_tokens == tuple(cq.solve_integer(given).tokens.tolist())


def test_an_optimum_found_by_hand_is_whole() -> None:
    found = cq.verify(cq.prove(BY_HAND, integer=True))
    assert found.integer_tokens == (768, 512, 1024)
    assert found.integer_objective is not None
    assert found.integer_objective[0] == Decimal("53.75")


def drawn(size: int, seed: int) -> cq.Instance:
    rng = np.random.default_rng([size, seed])
    mix = rng.uniform(0.2, 1.0, size)
    return cq.Instance(
        arrival_rate=rng.uniform(0.05, 0.3),
        accuracy_weight=rng.choice([30, 100, 300]),
        max_tokens=8192,
        probabilities=mix / mix.sum(),
        service=cq.AffineService(
            base=rng.uniform(0.1, 1.0, size), per_token=rng.uniform(0.001, 0.004, size)
        ),
        accuracy=cq.SaturatingExponential(
            floor=0.1, gain=rng.uniform(0.3, 0.8, size), rate=rng.uniform(5e-4, 5e-3, size)
        ),
    )


@pytest.mark.parametrize(("size", "seed"), [(1, 0), (1, 1), (2, 0), (5, 0), (10, 3), (20, 0)])
def test_solve_integer_agrees(size: int, seed: int) -> None:
    given = drawn(size, seed)
    made = cq.prove(given, integer=True)
    found, solved = cq.verify(made), cq.solve_integer(given)
    assert found.integer_tokens is not None
    assert found.integer_objective is not None
    assert Decimal(solved.upper_bound) >= found.integer_objective[0]
    # It leaves 1e-9 of the scale.
    assert abs(float(found.integer_objective[0]) - solved.objective) <= 1e-9 * float(
        solved.evaluation.scale
    )
    assert (len(made["integer"]["tree"]) + 1) / 2 <= 76


def test_tied_allocations_are_one_optimum() -> None:
    """Two equal types, of which one may have the only big step."""
    given = cq.Instance(
        arrival_rate=0.5,
        accuracy_weight=8.0,
        max_tokens=1000,
        probabilities=[0.5, 0.5],
        service=cq.AffineService(base=0.1, per_token=0.0014),
        accuracy=cq.SaturatingExponential(floor=0.1, gain=0.6, rate=0.003),
        domains=cq.Multiples(500),
        constraints=[cq.MaxTokenRate(130.0)],
    )
    made = cq.prove(given, integer=True)
    found = cq.verify(made)
    assert found.integer_tokens is not None
    assert sorted(found.integer_tokens) == [0, 500]
    made["integer"]["tokens"].reverse()
    assert cq.verify(signed(made)).integer_tokens == found.integer_tokens[::-1]


def test_where_rounding_is_unstable_or_loses() -> None:
    given = few(arrival_rate=0.4, accuracy_weight=3000.0, domains=cq.Multiples(500))
    solved = cq.solve_integer(given)
    rounded = plain_rounding(solved)
    assert rounded is not None
    assert rounded.is_repaired
    assert rounded.objective < solved.objective
    made = cq.prove(given, integer=True)
    assert cq.verify(made).integer_tokens == tuple(solved.tokens.tolist())


def test_unstable_parts_are_leaves_without_a_point() -> None:
    assert {} in proven("unstable")["integer"]["tree"]


@pytest.mark.parametrize("seed", range(3))
def test_ball_arithmetic_confirms_the_leaves(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of each part anew, for affine times and exponential curves."""
    monkeypatch.setattr(flint.ctx, "prec", 400)
    given = drawn(5, seed)
    assert isinstance(given.service, cq.AffineService)
    assert isinstance(given.accuracy, cq.SaturatingExponential)
    pi, base, slope, gain, fall = (
        [ball(x) for x in np.broadcast_to(array, given.size).tolist()]
        for array in (
            *(given.probabilities, given.service.base, given.service.per_token),
            *(given.accuracy.gain, given.accuracy.rate),
        )
    )
    floor = ball(float(given.accuracy.floor.ravel()[0]))
    rate, weight = ball(given.arrival_rate), ball(given.accuracy_weight)
    types = range(given.size)

    def objective(tokens: list[Any]) -> Any:
        times = [base[k] + slope[k] * tokens[k] for k in types]
        first = sum(pi[k] * times[k] for k in types)
        second = sum(pi[k] * times[k] ** 2 for k in types)
        mean = first + rate * second / (2 * (1 - rate * first))
        value = sum(pi[k] * (floor + gain[k] * (1 - (-fall[k] * tokens[k]).exp())) for k in types)
        return weight * value - mean, times, first, second

    made = cq.prove(given, integer=True)
    part = made["integer"]
    best = objective([ball(it) for it in part["tokens"]])[0]
    assert abs(best - ball(part["objective"])) < ball("1e-28")
    boxes = [[(0, 8192)] * given.size]
    for node in part["tree"]:
        box = boxes.pop()
        if "type" in node:
            k, most = node["type"], node["most"]
            low, high = box[k]
            boxes.append([*box[:k], (most + 1, high), *box[k + 1 :]])
            boxes.append([*box[:k], (low, most), *box[k + 1 :]])
            continue
        tokens = [ball(it) for it in node["tokens"]]
        here, times, first, second = objective(tokens)
        idle = 1 - rate * first
        price = 1 + rate**2 * second / (2 * idle**2)
        bend = rate / (4 * (1 + rate**2 * second * sum(pi)))
        bound = here
        for k, (low, high) in enumerate(box):
            cost = pi[k] * slope[k] * (price + rate * times[k] / idle)
            left = (-fall[k] * tokens[k]).exp()
            # Concave: the best is where the next ones add less, and so not far from the point.
            near = round(float(Decimal(node["tokens"][k])))
            adds = []
            for count in range(max(low, near - 40), min(high, near + 40) + 1):
                away = count - tokens[k]
                gained = gain[k] * (left - (-fall[k] * ball(count)).exp())
                curved = bend * pi[k] * (slope[k] * away) ** 2
                adds.append((weight * pi[k] * gained - cost * away - curved).upper())
            most = max(range(len(adds)), key=adds.__getitem__)
            assert near - 40 < low or most > 0
            assert near + 40 > high or most < len(adds) - 1
            bound += adds[most]
        assert bound <= best + ball("1.0001e-30") * (best + 2 * (weight - best))
    assert not boxes


def _put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(made: dict[str, Any]) -> None:
        data = made
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


def _point(made: dict[str, Any], *, is_split: bool = False) -> int:
    tree = made["integer"]["tree"]
    return next(k for k, node in enumerate(tree) if ("type" in node) == is_split and node)


def _moved(made: dict[str, Any]) -> None:
    node = made["integer"]["tree"][_point(made)]
    node["tokens"][0] = str(Decimal(node["tokens"][0]) + 60)


def _split_elsewhere(made: dict[str, Any]) -> None:
    made["integer"]["tree"][_point(made, is_split=True)]["most"] += 600


def _beyond(made: dict[str, Any]) -> None:
    made["integer"]["tree"][_point(made, is_split=True)]["most"] = 10**30


def _negative(made: dict[str, Any]) -> None:
    made["integer"]["tree"][_point(made)]["multipliers"] = ["-1"]


def _without_a_point(made: dict[str, Any]) -> None:
    made["integer"]["tree"][_point(made)] = {}


def _worse(made: dict[str, Any]) -> None:
    made["integer"]["tokens"][0] -= 150


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "witness": (_moved, "may have something better|outside its box|stable"),
    "split": (_split_elsewhere, r"tree\[\d+\]: "),
    "split beyond": (_beyond, "a side of the split has no tokens that are allowed"),
    "dropped": (lambda it: it["integer"]["tree"].pop(), "leaves or more too early"),
    "first dropped": (lambda it: it["integer"]["tree"].pop(0), "behind the last leaf|tree"),
    "no tree": (_put("integer", "tree", value=[]), "leaves or more too early"),
    "added": (lambda it: it["integer"]["tree"].append({}), "behind the last leaf"),
    "not optimal": (_worse, "something better"),
    "not allowed": (_put("integer", "tokens", 0, value=451), r"tokens\[0\] = 451 are not allowed"),
    "outside": (_put("integer", "tokens", 0, value=5100), r"tokens\[0\] = 5100 are not allowed"),
    "fraction": (_put("integer", "tokens", 0, value=450.0), "are not allowed"),
    "truth": (_put("integer", "tokens", 0, value=True), "are not allowed"),
    "unstable": (_put("integer", "tokens", value=[4950] * 3), "stable"),
    "fewer": (_put("integer", "tokens", value=[450]), "1 tokens for 3 types"),
    "sharper": (_put("digits", value=200), "not proven to so many digits|something better"),
    "objective": (_put("integer", "objective", value="1"), "not proven to so many digits"),
    "negative": (_negative, "a multiplier is negative|not one multiplier"),
    "stable": (_without_a_point, "not proven to be unstable"),
    "no number": (_put("integer", "tree", 0, value={"type": 0, "most": 1.5}), "at a whole number"),
    "no type": (_put("integer", "tree", 0, value={"type": -1, "most": 1}), "at a whole number"),
    "no node": (_put("integer", "tree", 0, value=None), "is no table"),
    "unknown": (_put("integer", "tree", 0, value={"type": 0, "most": 1, "x": 1}), "unknown entry"),
    "list": (_put("integer", value=[]), "integer: it is no table"),
    "many": (_put("integer", "tree", value=[{}] * 2001), "1001 leaves with 3 types are too many"),
    "step": (_put("instance", "domain", "step", value=0), "must be at least 1"),
    "half a step": (_put("instance", "domain", "step", value=1.5), "is not whole"),
    "other step": (_put("instance", "domain", "step", value=7), "are not allowed"),
    "levels": (_put("instance", "domain", value={"kind": "levels"}), "has no whole tokens"),
    "no domain": (_put("instance", "domain", value=3), "no table with a kind"),
    "empty": (_put("instance", "domain", value={"kind": "menu", "tokens": []}), "no tokens of"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_changed_is_refused_with_the_reason(name: str) -> None:
    change, reason = HOSTILE[name]
    changed = record()
    change(changed)
    with pytest.raises(cq.RefusedError, match=reason):
        cq.verify(signed(changed))


def test_random_changes_end_in_a_reason() -> None:
    rng = random.Random(1)
    odd: list[Any] = [
        *(None, True, 0, -1, 1e308, 10**400, "", "x", "1E1000000000", "NaN", [], [[]], {}),
        *({"type": 0, "most": 150}, {"tokens": ["1"], "multipliers": []}, [0] * 9, 2**63),
    ]
    outcomes = set()
    for _ in range(120):
        changed = record(rng.choice(["heavy", "both", "unstable"]))
        place: Any = changed["integer"]
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = rng.choice(keys)
            if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.2:
                break
            place = place[key]
        place[key] = copy.deepcopy(rng.choice(odd))
        try:
            content = json.dumps(signed(changed)).encode()
            assert list(verifier.report(verifier.verify(verifier.parse(content))))
            outcomes.add("accepted")
        except verifier.Refused as error:
            outcomes.add("refused" if str(error) else "without a reason")
    assert outcomes <= {"accepted", "refused"}


def test_a_bare_python_accepts_in_a_folder_with_the_two_files(tmp_path: Path) -> None:
    shutil.copy(str(verifier.__file__), tmp_path / "verify.py")
    (tmp_path / "record.json").write_text(json.dumps(proven("both")), encoding="utf-8")
    command = [sys.executable, "-I", "-S", "verify.py", "record.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert tuple(done.stdout.decode().splitlines()) == cq.verify(proven("both")).report


@pytest.mark.parametrize("name", ["both", "unstable"])
def test_no_decimal_is_rounded_as_the_surroundings_have_it(name: str) -> None:
    report = list(verifier.report(verifier.verify(proven(name))))
    with localcontext(Context(prec=1, rounding=ROUND_UP, traps=[Inexact, FloatOperation])):
        assert list(verifier.report(verifier.verify(proven(name)))) == report
        assert cq.prove(COUNTED[name](), integer=True) == proven(name)


def test_what_cannot_be_proven_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(cq.InfeasibleError, match="no tokens of type 0 are allowed"):
        cq.prove(few(min_tokens=[310, 0, 0], max_tokens=[320, 900, 900]), integer=True)
    with pytest.raises(cq.InfeasibleError, match="no allocation in whole tokens keeps"):
        cq.prove(
            few(
                min_tokens=1.0,
                domains=cq.Menu([1000]),
                max_tokens=1500.0,
                constraints=[cq.MaxMeanSystemTime(2.0)],
            ),
            integer=True,
        )
    levels = cq.LevelMenu(accuracy=[0.1, 0.5], mean_service_time=[1.0, 2.0])
    with pytest.raises(cq.InvalidInputError, match="levels of effort"):
        cq.prove(few(domains=levels), integer=True)
    with pytest.raises(cq.InvalidInputError, match=r"2\^53"):
        cq.prove(
            few(max_tokens=1e17, domains=None, constraints=[cq.MaxMeanSystemTime(2.0)]),
            integer=True,
        )
    monkeypatch.setattr(verifier, "MOST_LEAVES", 3)
    with pytest.raises(cq.UnprovenError, match="more than 3 leaves"):
        cq.prove(COUNTED["both"](), integer=True)


def single(*constraints: Any, **changes: Any) -> cq.Instance:
    """One type, which takes 5 tokens or some that are no better."""
    options: dict[str, Any] = {
        "arrival_rate": 0.1,
        "accuracy_weight": 1.0,
        "max_tokens": 100.0,
        "probabilities": [1.0],
        "service": cq.AffineService(base=0.5, per_token=0.01),
        "accuracy": cq.SaturatingExponential(floor=0.1, gain=0.8, rate=0.05),
        "domains": cq.Menu([5]),
        "constraints": constraints,
    }
    return cq.Instance(**options | changes)


def test_what_is_missed_by_rounding_alone_is_not_called_infeasible() -> None:
    # A tenth is above 1/10 in binary: five tokens exceed half a token per second.
    given = single(cq.MaxTokenRate(0.5))
    assert cq.solve(given.replace(min_tokens=5.0)).tokens == [5.0]
    with pytest.raises(cq.UnprovenError, match=r"constraint 0 .* exceeded by 2\.8e-16"):
        cq.prove(given, integer=True, digits=10)
    with pytest.raises(cq.InfeasibleError, match="no allocation in whole tokens keeps"):
        cq.prove(single(cq.MaxTokenRate(0.499)), integer=True, digits=10)
    curve = cq.SaturatingExponential(floor=0.1, gain=0.8, rate=0.05)
    level = np.nextafter(float(curve.value(np.array([5.0]))[0]), 1)
    with pytest.raises(cq.UnprovenError, match=r"5 tokens of type 0 .* missed by"):
        cq.prove(single(cq.MinAccuracy(level)), integer=True, digits=10)
    with pytest.raises(cq.InfeasibleError, match="no tokens of type 0 are allowed"):
        cq.prove(single(cq.MinAccuracy(level + 1e-6)), integer=True, digits=10)


@pytest.mark.parametrize("idle", [1e-10, 1e-14, 2.0**-52, 2.0**-53])
@pytest.mark.parametrize("menu", [[5], [5, 6], [5, 7, 9]])
@pytest.mark.parametrize("constraints", [(), (cq.MaxTokenRate(50.0),)])
def test_a_queue_that_is_hardly_stable_is_feasible(
    idle: float, menu: list[int], constraints: tuple[Any, ...]
) -> None:
    """However long it is: an objective far below that of real tokens proves nothing."""
    service = cq.AffineService(base=0.5, per_token=(0.5 - idle) / 5)
    given = single(*constraints, arrival_rate=1.0, service=service, domains=cq.Menu(menu))
    found = cq.verify(cq.prove(given, integer=True, digits=10))
    assert found.integer_tokens == (5,)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "record.json")
    assert main(["prove", SERVER, "--output", path, "--digits", "20", "--integer", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["integer_tokens"] == cq.solve_integer(cq.load(SERVER)).tokens.tolist()
    assert main(["verify", path, SERVER]) == 0
    assert "optimal objective in whole tokens in [" in capsys.readouterr().out
    assert main(["verify", path, "--csv"]) == 0
    assert "whole tokens" in capsys.readouterr().out
