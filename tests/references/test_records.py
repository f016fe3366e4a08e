"""Records: what is proven is true, by other arithmetic, and what is not true is refused."""

from __future__ import annotations

import copy
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from decimal import (
    ROUND_UP,
    Context,
    Decimal,
    FloatOperation,
    Inexact,
    InvalidOperation,
    localcontext,
)
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import flint
import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.cli import main
from cvxqueue.references import prover
from cvxqueue.references import verify as verifier
from cvxqueue.references.interior import by_barriers
from tests.campaign.barrier import constrained_optimum
from tests.campaign.constrained import constraint, draw_limits
from tests.campaign.exact import Problem
from tests.campaign.exact import digits as working
from tests.campaign.hostile import draw
from tests.campaign.optimum import PROVEN, optimum
from tests.families import FAMILIES, planted
from tests.family_oracle import optimum as family_optimum
from tests.generator import random_parameters
from tests.instances import instance_of
from tests.oracle import optimum as oracle_optimum
from tests.paths import INSTANCES, SERVER
from tests.references.balls import confirm

# Solved by hand: tokens 768, 512 and 1024, and 215/4 seconds, all of it dyadic.
BY_HAND = cq.Instance(
    arrival_rate=3 / 16,
    accuracy_weight=256,
    max_tokens=8192,
    probabilities=[1 / 2, 1 / 4, 1 / 4],
    service=cq.AffineService(base=[1, 2, 3], per_token=[1 / 256, 1 / 256, 1 / 1024]),
    accuracy=cq.MichaelisMenten(
        floor=0, gain=[17 / 32, 17 / 64, 17 / 128], half_saturation=[256, 512, 1024]
    ),
)
AFFINE = cq.AffineService(base=[1, 0.5, 0.2], per_token=[0.002, 0.003, 0.001])
MIXED = cq.MixedAccuracy(
    curves=[
        cq.PowerLaw(floor=[0.1], gain=[0.5], scale=[200.0], exponent=[1.5]),
        cq.MichaelisMenten(floor=[0.1], gain=[0.7], half_saturation=[300.0]),
        cq.PiecewiseLinear(tokens=[[0, 500, 1000, 3000]], accuracy=[[0.1, 0.5, 0.6, 0.65]]),
    ],
    which=[0, 1, 2],
)


def instance(**changes: Any) -> cq.Instance:
    options: dict[str, Any] = {
        "arrival_rate": 0.1,
        "accuracy_weight": 50.0,
        "max_tokens": 5000.0,
        "probabilities": [0.5, 0.25, 0.25],
        "service": AFFINE,
        "accuracy": cq.SaturatingExponential(floor=0.1, gain=0.6, rate=[0.002, 0.004, 0.001]),
    }
    return cq.Instance(**options | changes)


QUADRATIC = cq.QuadraticService(
    base=[1, 0.5, 0.2], per_token=[0.002, 0.003, 0.001], per_squared_token=1e-7
)
VARYING = cq.AffineService(
    base=[1, 0.5, 0.2], per_token=[0.002, 0.003, 0.001], token_scv=[1, 0, 0.5]
)
CASES: dict[str, Callable[[], cq.Instance]] = {
    "by hand": lambda: BY_HAND,
    "server": lambda: cq.load(SERVER),
    "cap": lambda: cq.load(INSTANCES / "three-types-one-at-cap.toml"),
    "zero": lambda: cq.load(INSTANCES / "two-types-one-at-zero.toml"),
    "time": lambda: instance(constraints=[cq.MaxMeanSystemTime(1.5)]),
    "waiting": lambda: instance(accuracy=MIXED, constraints=[cq.MaxMeanWaitingTime(0.2)]),
    "tail": lambda: instance(constraints=[cq.WaitingTimeTail(6.0, 0.05)]),
    "rate": lambda: instance(
        queue=cq.ProcessorSharing(), constraints=[cq.MaxTokenRate(30.0), cq.MinMeanAccuracy(0.3)]
    ),
    "accuracy": lambda: instance(
        queue=cq.BatchArrivals(1.2, 1.7),
        constraints=[cq.MinMeanAccuracy(0.6), cq.MinAccuracy(0.5, type=2)],
    ),
    "quadratic": lambda: instance(
        queue=cq.Vacations(1.0, 1.5),
        service=QUADRATIC,
        accuracy=MIXED,
        names=["α", "b", "c"],
        constraints=[cq.MinAccuracy(0.6, type="c")],
    ),
    "varying": lambda: instance(queue=cq.Setups(1.0, 1.5), service=VARYING, domains=cq.Integers()),
    "many": lambda: instance(
        probabilities=np.full(60, 1 / 60),
        service=cq.AffineService(base=np.linspace(0.1, 1, 60), per_token=0.002),
        accuracy=cq.SaturatingExponential(floor=0.1, gain=0.6, rate=np.linspace(1e-3, 4e-3, 60)),
    ),
}


@cache
def proven(name: str) -> dict[str, Any]:
    return cq.prove(CASES[name]())


def record(name: str = "cap") -> dict[str, Any]:
    """A copy, to be changed."""
    return copy.deepcopy(proven(name))


def signed(changed: dict[str, Any]) -> dict[str, Any]:
    return changed | {"sha256": verifier.digest(changed)}


def width(ends: tuple[Decimal, Decimal]) -> Fraction:
    return Fraction(ends[1]) - Fraction(ends[0])


@pytest.mark.parametrize("name", CASES)
def test_what_is_proven_is_accepted_and_narrow(name: str) -> None:
    found = cq.verify(proven(name), instance=CASES[name]())
    assert (found.digits, found.proves_tokens) == (30, True)
    solved = cq.solve(CASES[name]())
    low, high = map(Fraction, found.objective)
    assert high - low <= Fraction(solved.certificate.scale) * 2 / 10**30
    assert Fraction(solved.objective) <= high
    assert low <= Fraction(solved.upper_bound)
    for ends, bounds in zip(found.tokens, solved.token_bounds.tolist(), strict=True):
        assert width(ends) <= max(Fraction(1), Fraction(ends[1])) * 2 / 10**30
        assert bounds[0] <= ends[1]
        assert ends[0] <= bounds[1]


def test_an_optimum_found_by_hand_is_held() -> None:
    found = cq.verify(proven("by hand"))
    assert found.objective[0] <= Decimal("53.75") <= found.objective[1]
    for (low, high), count in zip(found.tokens, (768, 512, 1024), strict=True):
        assert low <= count <= high


def test_tokens_that_are_not_determined_are_not_claimed() -> None:
    """Under processor sharing two types on one straight piece may take from each other."""
    given = cq.Instance(
        arrival_rate=0.5,
        accuracy_weight=4.0,
        max_tokens=1000,
        probabilities=[0.5, 0.5],
        service=cq.AffineService(base=0.1, per_token=0.001),
        accuracy=cq.PiecewiseLinear(tokens=[0, 1000], accuracy=[0.1, 0.6]),
        queue=cq.ProcessorSharing(),
    )
    found = cq.verify(cq.prove(given))
    assert not found.proves_tokens
    assert found.objective[0] <= Decimal(cq.solve(given).upper_bound)
    assert any("not proven" in line for line in found.report)


@pytest.mark.parametrize("digits", [0, 201, 1.5])
def test_digits_have_a_range(digits: Any) -> None:
    with pytest.raises(cq.InvalidInputError, match="digits"):
        cq.prove(BY_HAND, digits=digits)


@pytest.mark.parametrize("name", ["cap", "time", "waiting", "accuracy"])
def test_a_bare_python_accepts_in_a_folder_with_the_two_files(name: str, tmp_path: Path) -> None:
    shutil.copy(str(verifier.__file__), tmp_path / "verify.py")
    (tmp_path / "record.json").write_text(json.dumps(proven(name)), encoding="utf-8")
    command = [sys.executable, "-I", "-S", "verify.py", "record.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert tuple(done.stdout.decode().splitlines()) == cq.verify(proven(name)).report
    done = subprocess.run([*command[:-1], "none"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 2


def test_the_verifier_is_of_the_standard_library_alone() -> None:
    source = Path(str(verifier.__file__)).read_text(encoding="utf-8")
    lines = [line.split()[1] for line in source.splitlines() if line.startswith(("from", "import"))]
    assert {name.split(".")[0] for name in lines} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", CASES)
def test_no_decimal_is_rounded_as_the_surroundings_have_it(name: str) -> None:
    record = proven(name)
    report = list(verifier.report(verifier.verify(record)))
    traps = [Inexact, FloatOperation, InvalidOperation]
    with localcontext(Context(prec=1, rounding=ROUND_UP, traps=traps)):
        assert list(verifier.report(verifier.verify(record))) == report
        with localcontext(capitals=0):
            assert list(verifier.report(verifier.verify(record))) == report
        assert cq.prove(CASES[name]()) == record


def test_few_digits_of_a_floor_that_is_only_just_reached_are_accepted() -> None:
    given = instance(accuracy_weight=0.0, constraints=[cq.MinAccuracy(0.1)])
    made = cq.prove(given)
    assert Fraction(made["tokens"][0]) == 0
    for digits in (1, 2, 10):
        assert cq.verify(signed({**made, "digits": digits})).digits == digits


def test_an_interval_holds_what_it_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flint.ctx, "prec", 300)
    rng = random.Random(0)
    verifier.set_digits(20)
    for _ in range(300):
        a, b = (Fraction(rng.randint(-(10**30), 10**30), rng.randint(1, 10**30)) for _ in range(2))
        x, y = verifier.of(a), verifier.of(b)
        pairs = [
            (x + y, a + b),
            (x - y, a - b),
            (x * y, a * b),
            (x / y, a / b),
            (x.square(), a * a),
        ]
        for found, truth in pairs:
            assert Fraction(found.low) <= truth <= Fraction(found.high)
        wide = verifier.Interval(min(x.low, y.low), max(x.high, y.high))
        for inner in (a, b):
            product = wide * x
            assert Fraction(product.low) <= inner * a <= Fraction(product.high)
        for interval in (wide, verifier.of(abs(a) / 10**6), verifier.of(a / 10**30)):
            found = interval.exp()
            for end in (interval.low, interval.high):
                power = _ball(end).exp()
                assert _ball(found.low) <= power
                assert power <= _ball(found.high)
            back = found.ln() if found.low > 0 else None
            assert back is None or back.low <= interval.low <= interval.high <= back.high


def _ball(value: Decimal) -> Any:
    fraction = Fraction(value)
    return flint.arb(flint.fmpq(fraction.numerator, fraction.denominator))


@pytest.mark.parametrize("name", CASES)
def test_ball_arithmetic_confirms_the_inequality(name: str) -> None:
    made = proven(name)
    confirm(made)
    # One unit of the last digit that is claimed, and the balls deny it.
    scale = Decimal(cq.solve(CASES[name]()).certificate.scale)
    for sign in (-1, 1):
        off = Fraction(made["objective"]) + sign * Fraction(scale) * 2 / 10**30
        with localcontext(Context(prec=120)):
            text = str(Decimal(off.numerator) / Decimal(off.denominator))
        with pytest.raises(AssertionError):
            confirm({**made, "objective": text})
    most = Decimal(max(CASES[name]().max_tokens.tolist()))
    with pytest.raises(AssertionError):
        confirm({**made, "tokens": [str(most)] * len(made["tokens"])})


# Both are proven to thirty digits of the scale.
_REACH = Fraction(2, 10**30)


@pytest.mark.parametrize("seed", range(14))
def test_the_oracle_agrees(seed: int) -> None:
    # Numbers that the package does not take, or of which the oracle is not sure, are drawn again.
    for number in range(20):
        _, family = draw(np.random.default_rng([16, seed, number]))
        with working(60):
            truth = optimum(Problem.of(family))
        with suppress(cq.InvalidInputError):
            given = family.instance()
            if truth is not None and truth.gap <= PROVEN:
                break
    else:
        pytest.fail("nothing to compare")
    found = cq.verify(cq.prove(given))
    reach = Fraction(truth.point.scale) * _REACH
    assert abs(Fraction(found.objective[0]) - Fraction(truth.lower)) <= reach
    assert abs(Fraction(found.objective[1]) - Fraction(truth.upper)) <= reach


@pytest.mark.parametrize("names", FAMILIES[::9], ids=" ".join)
def test_the_search_for_prices_agrees(names: tuple[str, str, str]) -> None:
    rng = np.random.default_rng([16, FAMILIES.index(names)])
    family = planted(rng, *names, n=2, utilization=0.9).family
    _agrees(family.instance(), family_optimum(family, digits=35))


@pytest.mark.parametrize("seed", range(4))
def test_the_search_of_one_family_agrees(seed: int) -> None:
    parameters = random_parameters(np.random.default_rng([16, seed]), n=3)
    _agrees(instance_of(parameters), oracle_optimum(parameters, digits=35))


def _agrees(given: cq.Instance, truth: dict[str, Any]) -> None:
    found = cq.verify(cq.prove(given))
    reach = Fraction(cq.solve(given).certificate.scale) * _REACH
    assert all(
        abs(Fraction(end) - Fraction(truth["objective"])) <= reach for end in found.objective
    )
    if found.proves_tokens:
        for ends, text in zip(found.tokens, truth["tokens"], strict=True):
            near = max(Fraction(1), Fraction(text)) * _REACH
            assert all(abs(Fraction(end) - Fraction(text)) <= near for end in ends)


@pytest.mark.parametrize(
    "kind",
    [
        "MaxMeanSystemTime",
        "MaxMeanWaitingTime",
        "MaxTokenRate",
        "MinMeanAccuracy",
        "WaitingTimeTail",
    ],
)
def test_the_oracle_agrees_under_constraints(kind: str) -> None:
    for number in range(1000):
        rng = np.random.default_rng([16, number])
        _, family = draw(rng)
        with working(60):
            whole = Problem.of(family)
            free = optimum(whole) if family.queue["kind"] == "FIFO" else None
        if free is None:
            continue
        _, limits = draw_limits(rng, whole, free, "FIFO")
        if [it["kind"] for it in limits] != [kind]:
            continue
        best = constrained_optimum(whole, limits).best
        # Where rounding alone keeps the limits there is no proof.
        with suppress(cq.InvalidInputError, cq.UnprovenError, cq.InfeasibleError):
            found = cq.verify(cq.prove(family.instance(constraints=[constraint(limits[0])])))
            if best is not None and best.gap <= PROVEN:
                break
    else:
        pytest.fail("nothing to compare")
    reach = Fraction(best.point.scale) * _REACH
    assert abs(Fraction(found.objective[0]) - Fraction(best.lower)) <= reach
    assert abs(Fraction(found.objective[1]) - Fraction(best.upper)) <= reach


# Changes ------------------------------------------------------------------------------------


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(value, dict | list) or not value:
        return [path]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [leaf for key, inner in items for leaf in _leaves(inner, (*path, key))]


def _put(data: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> None:
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = change(data[path[-1]])


def _other(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, str):
        return value[:-1] + ("1" if value[-1:] != "1" else "2")
    return value + 1 if isinstance(value, int | float) else [value]


@pytest.mark.parametrize("name", ["cap", "time", "accuracy"])
def test_any_change_is_refused(name: str) -> None:
    for path in _leaves(proven(name)):
        changed = record(name)
        _put(changed, path, _other)
        with pytest.raises((cq.RefusedError, cq.InvalidInputError)):
            cq.verify(changed)


@pytest.mark.parametrize("name", ["by hand", "cap"])
def test_changed_digits_of_a_claim_are_accepted_only_where_it_stays_true(name: str) -> None:
    truth = cq.verify(proven(name))
    scale = Fraction(cq.solve(CASES[name]()).certificate.scale)
    sizes: dict[tuple[Any, ...], Fraction] = {("objective",): scale}
    sizes |= {("tokens", k): max(Fraction(1), Fraction(truth.tokens[k][1])) for k in (0, 2)}
    for path, size in sizes.items():
        text: str = proven(name)["objective"] if len(path) == 1 else proven(name)["tokens"][path[1]]
        for place in range(0, len(text), 2):
            if not text[place].isdigit():
                continue
            other = f"{text[:place]}{(int(text[place]) + 1) % 10}{text[place + 1 :]}"
            changed, moved = record(name), abs(Fraction(text) - Fraction(other))
            _with(path, other)(changed)
            try:
                cq.verify(signed(changed))
            except cq.RefusedError:
                assert moved > size / 10**75
            else:
                assert moved <= 2 * size / 10**30


def _with(path: tuple[Any, ...], value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: _put(data, path, lambda _: value)


TINY: dict[str, Any] = {
    "format": "cvxqueue-instance",
    "version": 1,
    "arrival_rate": 1,
    "accuracy_weight": 1,
    "service": {"kind": "affine"},
    "accuracy": {"kind": "power-law"},
}
CURVE = ("instance", "task", 0, "accuracy")
HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "negative gain": (_with((*CURVE, "gain"), -0.6), "gain = -0.6 must be at least 0"),
    "convex curve": (_with((*CURVE, "rate"), -0.002), "rate = -0.002 must be above 0"),
    "negative weight": (_with(("instance", "accuracy_weight"), -1), "at least 0"),
    "not a number": (_with(("tokens", 0), "NaN"), "finite or out of range"),
    "signalling": (_with(("tokens", 0), "sNaN"), "finite or out of range"),
    "huge exponent": (_with(("tokens", 0), "1E+1000000000"), "finite or out of range"),
    "huger": (_with(("tokens", 0), "1E+99999999999999999999"), "no decimal number"),
    "many digits": (_with(("tokens", 0), "1" * 3001), "no decimal number of at most"),
    "huge whole": (_with(("instance", "arrival_rate"), 10**400), "not finite"),
    "negative multiplier": (_with(("multipliers", 0), "-1"), r"multipliers\[0\] is negative"),
    "outside": (_with(("tokens", 0), "-1E-40"), "outside the box"),
    "beyond": (_with(("tokens", 0), "5000.0000001"), "outside the box"),
    "unstable": (_with(("tokens", 0), "4999"), "stable|keep constraint"),
    "far": (_with(("tokens", 0), "300"), "not proven"),
    "floor": (_with(("instance", "constraint", 0, "seconds"), 1.4), "keep constraint 0"),
    "type": (_with(("instance", "queue"), "fifo"), "no table with a kind"),
    "nested": (_with(("tokens",), [["1"]] * 3), "no decimal number"),
    "fewer": (_with(("tokens",), ["1"]), "1 tokens for 3 types"),
    "digits": (_with(("digits",), 201), "digits must be"),
    "more digits": (_with(("digits",), 60), "not proven to so many digits"),
    "claims": (_with(("proves",), {"tokens": 1}), "true or false"),
    "places": (_with(("tokens", 0), "1E-1101"), "more than 1100 places"),
    "true as a version": (_with(("instance", "version"), True), "unknown format or version"),
    "name": (lambda it: it["instance"].update(name=5), "name or the description"),
    "description": (lambda it: it["instance"].update(description={}), "name or the description"),
    "sources": (lambda it: it["instance"].update(sources=[5]), "sources is no list of texts"),
    "domains": (
        lambda it: it["instance"].update(domains=[{"kind": "integers"}] * 3),
        "unknown entry 'domains'",
    ),
    "low": (_with(("least_tokens",), ["100", None, None]), "not proven to be too few"),
    "unknown": (lambda it: it["instance"].update(domian=1), "unknown entry 'domian'"),
    "unknown of a type": (lambda it: it["instance"]["task"][0].update(x=1), "unknown entry 'x'"),
    "lacks": (lambda it: it.pop("digits"), "lacks 'digits'"),
    "mix": (_with(("instance", "task", 0, "probability"), 0.6), "do not add up"),
    "which type": (
        _with(("instance", "constraint"), [{"kind": "min-accuracy", "accuracy": 0.1, "type": "x"}]),
        "not one of the types",
    ),
    "million types": (
        _with(("instance",), {**TINY, "probabilities": [1e-6] * 10**6}),
        "1000000 types, and 1 to 100000",
    ),
    "too much work": (
        lambda it: it.update(
            instance={**TINY, "probabilities": [0.01] * 100}, tokens=["1" * 2999] * 100
        ),
        "too many together",
    ),
}


def piecewise(*, has_tasks: bool) -> dict[str, Any]:
    """Two types, which have three points each or share them."""
    points = {"kind": "piecewise-linear", "tokens": [0, 10, 100], "accuracy": [0.1, 0.5, 0.6]}
    service = {"kind": "affine", "base": 1, "per_token": 0.001}
    shared = {"service": service, "max_tokens": 100}
    data: dict[str, Any] = {key: TINY[key] for key in ("format", "version")}
    data |= {"arrival_rate": 0.1, "accuracy_weight": 1}
    if not has_tasks:
        return data | shared | {"probabilities": [0.5, 0.5], "accuracy": points}
    return data | {"task": [{**shared, "probability": 0.5, "accuracy": {**points}} for _ in "ab"]}


@pytest.mark.parametrize("has_tasks", [True, False])
def test_work_counts_points_and_what_few_digits_take(
    has_tasks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier.set_digits(30)
    data = piecewise(has_tasks=has_tasks)
    # Two types, and as many points as are read: each as 100 digits.
    work = (2 + (6 if has_tasks else 3)) * 100**3
    monkeypatch.setattr(verifier, "MOST_WORK", work)
    first, second = (kind.curve for kind in verifier.Instance(data).types)
    assert (first is second) != has_tasks
    monkeypatch.setattr(verifier, "MOST_WORK", work - 1)
    with pytest.raises(verifier.Refused, match="too many together"):
        verifier.Instance(data)


def test_a_constraint_with_room_is_slack_whatever_its_multiplier() -> None:
    made = cq.prove(instance(constraints=[cq.MaxMeanSystemTime(1000.0)]), digits=10)
    for price in ("0", "1e-40"):
        report = cq.verify(signed({**made, "multipliers": [price]})).report
        (line,) = [it for it in report if "multiplier" in it]
        assert "slack" in line
    assert any(", active," in line for line in cq.verify(proven("time")).report)


def test_a_bound_of_the_point_is_not_said_to_be_one_of_the_optimum() -> None:
    """With one digit the point may be at zero with a slope below zero, and the optimum is not."""
    given = cq.Instance(
        arrival_rate=0.3,
        accuracy_weight=10.0,
        probabilities=[0.5, 0.5],
        min_tokens=[0, 59.7],
        max_tokens=[1000, 60.1],
        service=cq.AffineService(base=1.0, per_token=0.01),
        accuracy=cq.SaturatingExponential(floor=0.1, gain=[0.0341335284474512, 0.8], rate=0.05),
    )
    made = cq.prove(given)
    assert cq.verify(made).tokens[0][0] > Decimal("0.0001")
    found = cq.verify(signed({**made, "digits": 1, "tokens": ["0", "59.91"]}))
    assert found.tokens[0] == (Decimal(0), Decimal("0.1"))
    (line,) = [it for it in found.report if "strictly" in it]
    assert line.endswith("; the point is at its lower bound, strictly")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file that is always full")
def test_what_cannot_be_written_has_a_status(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(proven("cap")), encoding="utf-8")
    command = [sys.executable, "-I", "-S", str(verifier.__file__)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*command, str(path)], stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 2
        assert b"accepted, but standard output cannot be written" in done.stderr
        assert subprocess.run([*command, "none"], stderr=full).returncode == 2
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command, str(path)]
    assert subprocess.run(closed, capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_records_are_refused_with_the_reason(name: str) -> None:
    change, reason = HOSTILE[name]
    changed = record("time")
    change(changed)
    with pytest.raises(cq.RefusedError, match=reason):
        cq.verify(signed(changed))


def test_accuracy_floors_are_not_cut_beside_the_curve() -> None:
    """On a level piece fewer tokens reach the floor, too: they may not be left out."""
    level = cq.PiecewiseLinear(tokens=[0, 100], accuracy=[0.25, 0.5])
    given = instance(accuracy=level, constraints=[cq.MinAccuracy(0.5)])
    made = cq.prove(given)
    assert cq.verify(made).tokens[0][1] <= Decimal("100.1")
    worse = {**made, "tokens": ["200"] * 3, "least_tokens": ["200"] * 3}
    with pytest.raises(cq.RefusedError, match=r"least_tokens\[0\] is not proven to be too few"):
        cq.verify(signed(worse))


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b"{}", b"nul", b"\xff", b"[" * 100_000, b'{"a": NaN}', b'{"a": 1, "a": 1}'),
        *(b'{"format": "cvxqueue-record", "version": true}', b"1" * 5000),
    ],
)
def test_what_is_no_record_is_unreadable(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(cq.InvalidInputError, match="record"):
        cq.verify(path)
    assert verifier.main([str(path)]) == 2
    assert main(["verify", str(path)]) == 2


def test_random_changes_end_in_a_reason() -> None:
    """Nothing that JSON can hold makes the verifier fail in a way of its own."""
    rng = random.Random(0)
    odd: list[Any] = [
        *(None, True, 0, -0.0, -1, 1e308, -1e308, 5e-324, 10**400, "", "x", "-0", "1E1000000000"),
        *("\ud800", "\x1b[31m", [], [[]], {}, {"kind": "fifo"}, {"kind": []}, [0] * 1000, 2**63),
        *({"kind": "mixed", "which": [0, 0, 0], "curves": []}, "0E-4999", "1e5000", "-1e-5000"),
    ]
    records = [record(name) for name in ("time", "waiting", "tail", "accuracy", "quadratic")]
    outcomes = set()
    for _ in range(1500):
        changed = copy.deepcopy(rng.choice(records))
        leaf = rng.choice(_leaves(changed))
        path = leaf[: rng.randint(1, len(leaf))]
        value = rng.choice(odd)
        _with(path, copy.deepcopy(value))(changed)
        try:
            content = json.dumps(signed(changed)).encode()
            assert list(verifier.report(verifier.verify(verifier.parse(content))))
            outcomes.add("accepted")
        except (verifier.Refused, verifier.Unreadable) as error:
            outcomes.add(type(error).__name__ if str(error) else "without a reason")
    assert outcomes == {"accepted", "Refused", "Unreadable"}


# Of the package -------------------------------------------------------------------------------


def test_a_record_is_about_its_instance() -> None:
    other = CASES["cap"]().replace(arrival_rate=0.123)
    with pytest.raises(cq.RefusedError, match="is of another instance: its arrival_rate is"):
        cq.verify(proven("cap"), instance=other)


@pytest.mark.parametrize("name", CASES)
def test_an_optimum_is_found_from_inside(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the float64 answer shows no places at all."""
    monkeypatch.setattr(prover, "_TRIES", ((by_barriers, 6),))
    found, known = cq.verify(cq.prove(CASES[name]())), cq.verify(proven(name))
    assert found.proves_tokens
    assert [line.split(", ")[1:2] for line in found.report[8:]] == [
        line.split(", ")[1:2] for line in known.report[8:]
    ]
    assert found.objective[0] <= known.objective[1]
    assert known.objective[0] <= found.objective[1]


@pytest.mark.parametrize("ulps", [0, 1, 2, 3])
@pytest.mark.parametrize("name", ["cap", "zero", "server"])
def test_limits_that_leave_a_hair_are_proven(name: str, ulps: int) -> None:
    """At the least tokens, and at those of the optimum: all types rest, and one has to move."""
    given = CASES[name]()
    solved = cq.solve(given)
    least = given.evaluate(given.min_tokens)
    for limit in (
        cq.MaxMeanSystemTime(_next(float(least.mean_system_time), 1 + ulps)),
        cq.MaxMeanSystemTime(_next(solved.mean_system_time, -ulps)),
        cq.MinMeanAccuracy(_next(solved.mean_accuracy, ulps)),
    ):
        found = cq.verify(cq.prove(given.replace(constraints=[limit])))
        assert found.proves_tokens
        assert found.objective[0] <= cq.verify(proven(name)).objective[1]


def _next(value: float, ulps: int) -> float:
    for _ in range(abs(ulps)):
        value = float(np.nextafter(value, np.inf if ulps > 0 else -np.inf))
    return float(value)


def test_kinks_that_all_types_rest_at_give_way_to_a_floor() -> None:
    curve = cq.PiecewiseLinear(tokens=[[0, 500, 1000]] * 3, accuracy=[[0.1, 0.6, 0.61]] * 3)
    given = instance(accuracy=curve, accuracy_weight=20.0)
    solved = cq.solve(given)
    assert set(solved.tokens.tolist()) <= {0.0, 500.0, 1000.0}
    floor = cq.MinMeanAccuracy(_next(solved.mean_accuracy, 2))
    assert cq.verify(cq.prove(given.replace(constraints=[floor]))).proves_tokens


def test_limits_that_miss_each_other_by_a_hair_have_a_reason() -> None:
    given = CASES["cap"]().replace(importance=1.0)
    solved = cq.solve(given)
    pair = [
        cq.MaxMeanSystemTime(_next(solved.mean_system_time, -2)),
        cq.MinMeanAccuracy(_next(solved.mean_accuracy, 2)),
    ]
    with pytest.raises(cq.UnprovenError, match="together exactly: weighed, they are exceeded by"):
        cq.prove(given.replace(constraints=pair))


def test_what_cannot_be_proven_has_a_reason() -> None:
    # Met by rounding alone: a third of a probability is not a third.
    accuracy = cq.SaturatingExponential(floor=0.1, gain=0.2, rate=0.002)
    level = float(accuracy.value(np.array([100.0]))[0])
    given = instance(
        accuracy=accuracy, max_tokens=100.0, constraints=[cq.MinAccuracy(np.nextafter(level, 1))]
    )
    with pytest.raises(cq.UnprovenError, match="reach its accuracy floor exactly: it is missed by"):
        cq.prove(given)
    with pytest.raises(cq.InfeasibleError):
        cq.prove(instance(constraints=[cq.MaxMeanSystemTime(0.1)]))


@pytest.mark.parametrize(("floor", "weight"), [(0.1, 0.0), (0.1, 10.0), (0.0, 0.0), (1e-30, 10.0)])
@pytest.mark.parametrize("digits", [1, 5, 30])
def test_a_floor_that_the_curve_starts_at_is_found(
    floor: float, weight: float, digits: int
) -> None:
    """Of 10^-30 in binary 80 digits are not exact."""
    given = instance(
        accuracy=cq.SaturatingExponential(floor=floor, gain=0.8, rate=0.05),
        accuracy_weight=weight,
        constraints=[cq.MinAccuracy(floor)],
    )
    found = cq.verify(cq.prove(given, digits=digits))
    assert found.proves_tokens
    for (low, high), count in zip(found.tokens, cq.solve(given).tokens.tolist(), strict=True):
        near = Decimal("1e-6") * Decimal(max(1.0, count))
        assert low - near <= Decimal(count) <= high + near


def test_a_proof_in_hand_is_kept_where_a_later_try_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    given = instance(
        accuracy=cq.PiecewiseLinear(tokens=[0, 1000], accuracy=[0.25, 0.5]),
        queue=cq.ProcessorSharing(),
        constraints=[cq.MaxTokenRate(10.0)],
        importance=1.0,
        service=cq.AffineService(base=1.0, per_token=0.01),
    )
    assert not cq.verify(cq.prove(given)).proves_tokens

    def astray(search: Any) -> None:
        search.tokens = [kind.upper for kind in search.instance.types]

    monkeypatch.setattr(prover, "_TRIES", (*prover._TRIES[:2], (astray, 6)))
    assert not cq.verify(cq.prove(given)).proves_tokens


def test_what_is_met_at_one_point_alone_is_not_called_exceeded() -> None:
    # T = 4 + (1/16 24/2)/(3/4) = 5 at the least tokens, and a third is not exact.
    given = cq.Instance(
        arrival_rate=1 / 16,
        accuracy_weight=1.0,
        min_tokens=4.0,
        max_tokens=10.0,
        probabilities=[1.0],
        service=cq.AffineService(base=0.0, per_token=1.0, token_scv=0.5),
        accuracy=cq.MichaelisMenten(floor=0.0, gain=0.5, half_saturation=8.0),
        constraints=[cq.MaxMeanSystemTime(5.0)],
    )
    with pytest.raises(cq.UnprovenError, match="the feasible set is a point there"):
        cq.prove(given)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "record.json")
    assert main(["prove", SERVER, "--output", path, "--digits", "20", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["digits"], told["proves_tokens"]) == ("proven", 20, True)
    assert main(["verify", path, SERVER, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["status"], again["objective"]) == ("accepted", told["objective"])
    assert main(["verify", path]) == 0
    assert "optimal objective in" in capsys.readouterr().out
    assert main(["verify", path, str(INSTANCES / "one-type.toml"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["status"] == "refused"
    before = Path(path).stat()
    assert main(["prove", SERVER, "--output", str(tmp_path / "record.toml")]) == 2
    assert main(["prove", SERVER, "--output", path, "--digits", "201"]) == 2
    assert Path(path).stat() == before
