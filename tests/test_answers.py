"""Saved answers: they come back equal, a change is seen, and no claim of theirs is believed."""

from __future__ import annotations

import csv
import dataclasses
import enum
import hashlib
import io
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cvxqueue as cq
from cvxqueue.cli import main
from cvxqueue.files import provenance, storage
from cvxqueue.solution import run_names
from tests.families import FAMILIES, planted
from tests.own_classes import Logarithmic
from tests.paths import INSTANCES, SERVER
from tests.solvers.test_constraints_families import KINDS, limit, takes_tail
from tests.strategies import SEEDS

PLAIN = cq.Instance(
    arrival_rate=0.2,
    accuracy_weight=60.0,
    max_tokens=4096,
    probabilities=[0.3, 0.7],
    service=cq.AffineService(base=0.5, per_token=0.002),
    accuracy=cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=[0.001, 0.004]),
)
LIMITED = PLAIN.replace(
    names=["proof 1", "chat"],
    constraints=[cq.MaxMeanSystemTime(1.4), cq.MinAccuracy(0.25, type="chat")],
)
# Computed once and written down: another Python, numpy or platform has to find the same.
GOLDEN = "92b3fec317cedada1611697bba4acdf6ed44b57eb6f22a59730755f4d073cad0"


def solved(instance: cq.Instance, method: Any = "newton", **options: Any) -> cq.Solution:
    return cq.solve(instance, method, on_failure="return", **options)


@st.composite
def constrained(draw: st.DrawFn) -> cq.Instance:
    """Instances of every queue, law and curve, under any constraints that they take."""
    names = draw(st.sampled_from(FAMILIES))
    possible = [kind for kind in KINDS if kind != "tail" or takes_tail(names)]
    kinds = draw(st.sets(st.sampled_from(possible), max_size=2))
    # Some tokens within the box, so that there is something to limit.
    options: dict[str, Any] = {"plain": True, "pattern": "free"} if kinds else {}
    rng, n = np.random.default_rng(draw(SEEDS)), draw(st.integers(1, 4))
    case = planted(rng, *names, n=n, utilization=0.6, **options)
    instance = case.family.instance()
    limits = [limit(kind, instance, case.tokens, 0.1) for kind in sorted(kinds)]
    # Of some combinations of constraints nothing is feasible: an answer says so, too.
    return instance.replace(constraints=limits)


def require_same(mine: Any, other: Any) -> None:
    """Equal, and with the same claims to the last bit."""
    assert other == mine
    assert type(other) is type(mine)
    assert other.to_dict() == mine.to_dict()


@settings(max_examples=12)
@given(instance=constrained(), data=st.data())
def test_answers_come_back_by_every_way(
    instance: cq.Instance, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    try:
        solution = solved(instance)
    except cq.InfeasibleError:
        return
    share = st.one_of(st.floats(-0.1, 1.1), st.sampled_from([np.inf, -np.inf, np.nan]))
    shares = data.draw(st.lists(share, min_size=instance.size, max_size=instance.size))
    given = cq.certify(
        instance, instance.min_tokens + np.array(shares) * (1.0 + instance.max_tokens)
    )
    path = tmp_path_factory.mktemp("answers") / "answer.json"
    for answer in (solution, solution.certificate, given):
        record = cq.to_dict(answer)
        cq.save(answer, path)
        for twin in (
            cq.from_dict(record),
            cq.from_dict(json.loads(json.dumps(record, allow_nan=False))),
            cq.load(path, instance=instance),
            pickle.loads(pickle.dumps(answer)),
        ):
            require_same(answer, twin)
    rows = csv.DictReader(io.StringIO(solution.to_csv()))
    for tokens in (solution.to_frame()["tokens"], [float(row["tokens"]) for row in rows]):
        multipliers = solution.certificate.multipliers
        twin = cq.certify(instance, tokens, multipliers=multipliers)
        require_same(solution.certificate, twin)
    for suffix in ("toml", "json"):
        cq.save(instance, path.with_suffix(f".{suffix}"))
        assert cq.load(path.with_suffix(f".{suffix}"), instance=instance) == instance


DOMAINS: tuple[Any, ...] = (
    *(cq.Integers(), cq.Multiples(7), cq.ZeroOrAtLeast(40), cq.Menu([0, 3, 400])),
    cq.LevelMenu([0.1, 0.5], [0.01, 0.03], [0.002, 0.004]),
)


@settings(max_examples=12)
@given(
    seed=SEEDS,
    names=st.sampled_from(FAMILIES),
    domains=st.lists(st.sampled_from(DOMAINS), min_size=1, max_size=3),
    method=st.sampled_from(["exact", "neighbors", "descent", "nearest", "floor"]),
    is_own=st.booleans(),
)
def test_answers_within_domains_come_back_by_every_way(
    seed: int,
    names: Any,
    domains: list[Any],
    method: str,
    is_own: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    case = planted(np.random.default_rng(seed), *names, n=len(domains), utilization=0.6)
    instance = case.family.instance()
    if is_own:
        instance = instance.replace(domains=domains)
    try:
        answer = cq.solve_integer(instance, method, domains=domains)
    except (cq.InfeasibleError, cq.InvalidInputError):
        return  # no choice in a box, or levels to be rounded
    best = answer if method == "exact" else cq.solve_integer(instance, domains=domains)
    path = tmp_path_factory.mktemp("answers") / "answer.json"
    cq.save(answer, path)
    record = json.loads(json.dumps(cq.to_dict(answer), allow_nan=False))
    for twin in (
        cq.from_dict(record),
        cq.load(path, instance=instance),
        pickle.loads(pickle.dumps(answer)),
    ):
        assert twin == answer
        assert twin.objective == answer.objective
        assert twin.neighbors_gap == answer.neighbors_gap
        # Its bound is searched again, and is one.
        assert twin.upper_bound >= best.objective
        assert twin.to_dict()["tokens"] == answer.to_dict()["tokens"]


def slow(instance: cq.Instance, **_: Any) -> cq.Answer:
    return cq.Answer(instance.lower, iterations=7, backend_status="“gave up” at 1e-3\n")


SOLVED: dict[str, Callable[[], cq.Solution]] = {
    **{it.name: partial(solved, PLAIN, it.name) for it in cq.methods()},
    "one's own": lambda: solved(PLAIN, slow),
    "constraints": lambda: solved(LIMITED),
    "constraints by conic": lambda: solved(LIMITED, "conic", tolerance=1e-8),
    "a callback": lambda: solved(
        PLAIN, "projected-gradient", max_iterations=2, callback=lambda _: None
    ),
    "nothing proven": lambda: dataclasses.replace(
        solved(PLAIN),
        history=(cq.Iterate(0, -np.inf, np.inf, np.inf, 0.0), cq.Iterate(1, np.nan, 1.0, 0.1, 0.2)),
    ),
    "unstable": lambda: solved(PLAIN, lambda instance, **_: instance.upper),
}


@pytest.mark.parametrize("make", SOLVED.values(), ids=SOLVED)
def test_the_answer_of_any_method_comes_back_with_its_history(
    make: Callable[[], cq.Solution], tmp_path: Path
) -> None:
    answer = make()
    cq.save(answer, tmp_path / "answer.json")
    twin = cq.load(tmp_path / "answer.json")
    assert repr(twin.history) == repr(answer.history)  # NaN included, which equals nothing
    assert twin.to_dict() == answer.to_dict()
    assert twin.is_optimal is answer.is_optimal


def is_same_json(one: str, other: str) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except json.JSONDecodeError:
        return False


MIXED_DOMAINS: list[Any] = [cq.Multiples(64), cq.Menu([0, 700, 900])]


@pytest.mark.parametrize(
    "answer",
    [
        solved(LIMITED),
        cq.certify(PLAIN, [5000.5, np.inf]),
        cq.solve_integer(PLAIN, domains=MIXED_DOMAINS),
    ],
    ids=["solution", "certificate", "within domains"],
)
def test_every_changed_digit_is_seen(answer: Any, tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    cq.save(answer, path)
    text = path.read_text(encoding="utf-8")
    places = [match.start() for match in re.finditer(r"\d", text)]
    assert len(places) > 100
    for place in places:
        digit = str((int(text[place]) + 1) % 10)
        changed = text[:place] + digit + text[place + 1 :]
        if is_same_json(changed, text):
            continue  # the seventeenth digit of a float64 may be another
        path.write_text(changed, encoding="utf-8")
        with pytest.raises(cq.InvalidInputError, match=re.escape(str(path))) as caught:
            cq.load(path)
        # A number may begin with no zero.
        known = "was changed after it was saved", "version = 2 must be 1", "not valid JSON"
        assert any(reason in str(caught.value) for reason in known)


def test_a_program_may_write_the_same_numbers_in_another_style() -> None:
    """As other languages do: whole numbers without a point, no exponents, other order and space."""

    def restyled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: restyled(value[key]) for key in reversed(value)}
        if isinstance(value, list):
            return [restyled(entry) for entry in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    answer = solved(LIMITED)
    text = json.dumps(restyled(cq.to_dict(answer)), indent=8, ensure_ascii=False)
    text, count = re.subn(r"\b1e-(\d+)\b", lambda match: f"0.{'0' * (int(match[1]) - 1)}1000", text)
    assert count
    require_same(answer, cq.from_dict(json.loads(text)))


def forged(answer: Any, **changes: Any) -> dict[str, Any]:
    """A record with other values, and the digest that it should have."""
    record = {**cq.to_dict(answer), **changes}
    record.pop("sha256")
    return {**record, "sha256": provenance.digest(record)}


def test_what_is_claimed_is_not_believed() -> None:
    bad = solved(PLAIN, slow)
    assert not bad.is_optimal
    claims = {"status": "optimal", "gap": 0.0, "relative_gap": 0.0, "is_optimal": True}
    require_same(bad, cq.from_dict(forged(bad, **claims)))
    # Rounding differs between platforms, and bounds get sharper: what is certified here counts.
    good = solved(LIMITED)
    loose = {"objective": good.objective - 1.0, "upper_bound": None}
    require_same(good, cq.from_dict(forged(good, **loose)))
    made = cq.certify(LIMITED, [1.0, 2.0], multipliers=good.certificate.multipliers)
    moved = cq.from_dict(forged(good, allocation=[1.0, 2.0], tokens=made.tokens.tolist()))
    assert not moved.is_optimal
    assert moved.certificate == made


def test_nothing_is_believed_of_an_answer_within_domains() -> None:
    """A worse choice with the words of the best one is told for what it is."""
    best = cq.solve_integer(PLAIN, domains=cq.Multiples(64))
    claims = {"status": "optimal", "is_exact": True, "gap": 0.0, "choice": [64.0, 64.0]}
    claims |= {"tokens": [64, 64]}
    worse = cq.from_dict(forged(best, **claims, objective=None, upper_bound=None))
    assert (worse.status, worse.is_exact) == (cq.Status.CONVERGED, False)
    assert worse.upper_bound >= best.objective
    assert worse.gap >= best.objective - worse.objective
    # Without its continuous answer there is less to bound it by.
    alone = cq.from_dict(forged(best, continuous=None))
    assert alone.is_optimal
    assert np.isnan(alone.loss)


WITHIN = cq.solve_integer(PLAIN, domains=MIXED_DOMAINS)
RELAXED = {**WITHIN.continuous.to_dict(), "allocation": [1.0, 2.0]} if WITHIN.continuous else {}
BUSY = cq.to_dict(PLAIN.replace(arrival_rate=0.4))
FORGERIES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "objective": (solved(PLAIN), {"objective": 37.0}, "optimum was said to lie in [37.0, 36.7112"),
    "bound": (solved(PLAIN), {"upper_bound": 36.0}, "36.0] by cvxqueue 0.1.0, "),
    "tolerance": (solved(PLAIN), {"tolerance": 0.5}, "tolerance = 0.5 must be at most 0.01"),
    "ended": (solved(PLAIN), {"ended": "optimal"}, "ended = 'optimal' is unknown: known: conv"),
    "iterations": (solved(PLAIN), {"iterations": "4"}, "iterations = '4' must be a whole number"),
    "time": (solved(PLAIN), {"solve_time": None}, "solve_time = None must be a number"),
    "short": (solved(PLAIN), {"allocation": [1.0]}, "tokens must have shape (2,)"),
    "a word": (solved(PLAIN), {"allocation": [1.0, "x"]}, "allocation[1] = 'x' must be a number"),
    "no price": (solved(LIMITED), {"multipliers": [-1.0]}, "multipliers[0] = -1.0 must be ≥ 0"),
    "history": (solved(PLAIN), {"history": [[0, 1.0]]}, "history[0]"),
    "no count": (solved(PLAIN), {"history": [[10**400, *[1.0] * 4]]}, "history[0][0] = 1000"),
    "choice": (WITHIN, {"choice": [1.0, 700.0]}, "choice[0] = 1.0 is not allowed by the domain"),
    "unstable": (WITHIN, {"choice": [4096.0, 900.0], "instance": BUSY}, "choice makes the queue"),
    "coupled": (
        WITHIN,
        {"instance": cq.to_dict(LIMITED), "continuous": None},
        "cannot keep mean system time ≤ 1.4 s",
    ),
    "too good": (WITHIN, {"objective": 37.0}, "optimum was said to lie in [37.0, 36."),
    "too bad": (WITHIN, {"upper_bound": 36.0}, "36.0] by cvxqueue 0.1.0, "),
    "a menu": (WITHIN, {"domains": [{"kind": "menu"}] * 2}, "domains[0].tokens is missing"),
    "one domain": (
        WITHIN,
        {"domains": [{"kind": "integers"}]},
        "one entry for each of the 2 types",
    ),
    "relaxed": (WITHIN, {"continuous": RELAXED}, "continuous: multipliers is missing"),
    "no instance": (solved(PLAIN), {"instance": {}}, "instance: format is missing"),
}


@pytest.mark.parametrize(("answer", "changes", "says"), FORGERIES.values(), ids=FORGERIES)
def test_what_cannot_be_made_again_is_refused(
    answer: Any, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(cq.InvalidInputError, match=re.escape(says)):
        cq.from_dict(forged(answer, **changes))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"max_tokens": 4095.0}, "max_tokens"),
        ({"arrival_rate": 0.21}, "arrival_rate"),
        ({"queue": cq.ProcessorSharing()}, "queue"),
        ({"accuracy": cq.PowerLaw(floor=0.0, gain=0.5, scale=9.0, exponent=1.0)}, "accuracy"),
        ({"constraints": []}, "constraints"),
        ({"names": ["proof 2", "chat"]}, "names"),
        ({"description": "another"}, "description"),
        # Arrays of strings have no zeros at their ends.
        ({"name": f"{LIMITED.name}\0"}, "name"),
        ({"domains": cq.Multiples(64)}, "domains"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_answer_to_another_instance_is_refused(
    changes: dict[str, Any], field: str, tmp_path: Path
) -> None:
    path, answer = tmp_path / "answer.json", solved(LIMITED)
    cq.save(answer, path)
    other = LIMITED.replace(**changes)
    with pytest.raises(cq.InvalidInputError, match=f"of another instance: its {field} is") as error:
        cq.load(path, instance=other)
    assert str(path) in str(error.value)
    assert provenance.instance_digest(other) != provenance.instance_digest(LIMITED)
    assert cq.load(path, instance=LIMITED).instance is LIMITED
    with pytest.raises(cq.InvalidInputError, match="instance must be an Instance, got 'x'"):
        cq.load(path, instance="x")  # type: ignore[arg-type]


def test_the_digest_is_that_of_canonical_json() -> None:
    text = '{"a":[1.0,0.1,1e-05,1e+22,true,null],"b":{"c":"\\u03bb"}}'
    data = {"b": {"c": "λ"}, "a": [1, 0.1, 1e-5, 1e22, True, None]}
    assert provenance.digest(data) == hashlib.sha256(text.encode()).hexdigest()
    for wrong in (np.nan, {1}, 10**5000):
        with pytest.raises(cq.InvalidInputError, match="not the values that JSON has"):
            provenance.digest({"a": wrong})


def test_the_digest_of_an_instance_is_the_same_in_every_process() -> None:
    code = (
        "import cvxqueue as cq; from cvxqueue.files.provenance import instance_digest;"
        f"print(instance_digest(cq.load({SERVER!r})))"
    )
    for seed in ("1", "2"):
        run = [sys.executable, "-c", code]
        found = subprocess.run(
            run, env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(cq.__file__).parents[1])},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert found.stdout.strip() == GOLDEN


@given(instance=constrained())
@settings(max_examples=20)
def test_equal_instances_have_equal_digests(instance: cq.Instance) -> None:
    twin = cq.from_dict(cq.to_dict(instance))
    assert provenance.instance_digest(twin) == provenance.instance_digest(instance)
    other = instance.replace(arrival_rate=float(np.nextafter(instance.arrival_rate, 0.0)))
    assert provenance.instance_digest(other) != provenance.instance_digest(instance)


def test_what_an_answer_says_of_itself() -> None:
    answer = solved(LIMITED)
    for told in (answer.to_dict(), answer.certificate.to_dict(), cq.to_dict(answer)):
        assert told["names"] == ["proof 1", "chat"]
        assert told["instance_digest"] == provenance.instance_digest(LIMITED)
        assert told["versions"]["cvxqueue"] == cq.__version__
        assert told["versions"]["numpy"] == np.__version__
        assert told["versions"]["python"] == sys.version.split()[0]
    assert answer.to_dict()["tolerance"] == answer.tolerance
    assert solved(PLAIN).to_dict()["names"] == ["type 1", "type 2"]


def test_classes_of_ones_own_have_answers_and_no_files(tmp_path: Path) -> None:
    own = PLAIN.replace(accuracy=Logarithmic(floor=0.2, gain=0.05, scale=100.0))
    answer = solved(own)
    told = json.loads(json.dumps(answer.to_dict(), allow_nan=False))
    assert told["instance_digest"] is None
    assert told["names"] == ["type 1", "type 2"]
    for thing in (answer, answer.certificate):
        with pytest.raises(cq.InvalidInputError, match="Logarithmic has no kind in instance files"):
            cq.save(thing, tmp_path / "answer.json")
    assert list(tmp_path.iterdir()) == []


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut short": (
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        "answer.json: not valid JSON",
    ),
    "empty": (
        lambda path: path.write_bytes(b""),
        "is empty; an instance or an answer was expected",
    ),
    "another version": (
        lambda path: path.write_text(path.read_text().replace('"version": 1', '"version": 2', 1)),
        "version = 2 must be 1",
    ),
    "no version": (
        lambda path: path.write_text(path.read_text().replace('"version": 1,', "", 1)),
        "version is missing: give format = 'cvxqueue-solution' and version = 1",
    ),
    "another format": (
        lambda path: path.write_text(path.read_text().replace("cvxqueue-sol", "cvxqueue-pol", 1)),
        "format = 'cvxqueue-polution' is unknown: did you mean 'cvxqueue-solution'?",
    ),
    "no digest": (
        lambda path: path.write_text(re.sub(r',\s*"sha256": "\w*"', "", path.read_text())),
        "was changed after it was saved, or is not whole: sha256 = None",
    ),
}


@pytest.mark.parametrize(("change", "says"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_not_whole_is_refused(
    change: Callable[[Path], Any], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "answer.json"
    cq.save(solved(PLAIN), path)
    change(path)
    with pytest.raises(cq.InvalidInputError, match=re.escape(says)):
        cq.load(path)


def test_what_has_no_file_is_refused_and_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "answer.json"
    with pytest.raises(cq.InvalidInputError, match="only an Instance, a Solution, a Certificate"):
        cq.save(cq.solve_batch(PLAIN), path)  # type: ignore[arg-type]
    with pytest.raises(cq.InvalidInputError, match=r"let its name end in \.json"):
        cq.save(solved(PLAIN), path.with_suffix(".toml"))
    strange = dataclasses.replace(solved(PLAIN), backend_status="\ud800")
    with pytest.raises(cq.InvalidInputError, match=r"backend_status = .* must be valid Unicode"):
        cq.save(strange, path)
    monkeypatch.setattr(storage, "MOST_BYTES", 1000)
    with pytest.raises(cq.InvalidInputError, match=r"would have .* MB, and at most"):
        cq.save(solved(PLAIN), path)
    assert list(tmp_path.iterdir()) == []


def test_commands_take_instances_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "answer.json"
    cq.save(solved(PLAIN), path)
    assert main(["check", str(path)]) == 2
    assert "'cvxqueue-solution' is that of a saved answer" in capsys.readouterr().err


def test_a_killed_process_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    code = f"""
import cvxqueue as cq
answers = [cq.solve(cq.load(p)) for p in {[SERVER, str(INSTANCES / "one-type.toml")]!r}]
while True:
    for answer in answers:
        cq.save(answer, {str(path)!r})
        print(flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(5):
            writer.stdout.readline()
            assert cq.load(path).is_optimal
        writer.kill()
    assert cq.load(path).is_optimal


class Level(enum.IntEnum):
    HIGH = 3


class Word(str):
    def __str__(self) -> str:
        return "another"


class Real(float):
    def __repr__(self) -> str:
        return "another"


class Hostile:
    """Whatever is asked of it, fails."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError


class Shapeless:
    """Without an entry, as a parameter of CVXPY, and without ``item``."""

    shape = ()

    def __repr__(self) -> str:
        return "Shapeless()"


class Broken(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError


def lazy(instance: cq.Instance, given: Any, **_: Any) -> Any:
    return instance.lower


def kept(given: Any) -> Any:
    """What is kept of an option of one's own method, after a file and a pickle."""
    answer = solved(PLAIN, lazy, given=given)
    record = json.loads(json.dumps(cq.to_dict(answer), allow_nan=False))
    require_same(answer, cq.from_dict(record))
    require_same(answer, pickle.loads(pickle.dumps(answer)))
    return answer.options["given"]


KEPT: dict[str, tuple[Any, Any]] = {
    "enumeration": (Level.HIGH, 3),
    "text": (Word("one"), "one"),
    "number": (Real(0.5), 0.5),
    "numpy": (np.float32(0.5), 0.5),
    "0-d": (np.array(7), 7),
    "numpy truth": (np.bool_(True), True),
    "truth": (True, True),
    "shapeless": (Shapeless(), "Shapeless()"),
    "long": ("x" * 10_000, "x" * 77 + "..."),
    "same names": ({1: "a", "1": "b"}, "{1: 'a', '1': 'b'}"),
    "names": ({1: Level.HIGH, Word("two"): "b"}, {"1": 3, "two": "b"}),
}


@pytest.mark.parametrize(("given", "stored"), KEPT.values(), ids=KEPT)
def test_options_are_kept_as_plain_values(given: Any, stored: Any) -> None:
    found = kept(given)
    assert found == stored
    if not isinstance(stored, dict):
        assert type(found) is type(stored)


def test_an_option_that_fails_costs_no_answer() -> None:
    assert kept(Hostile()) == "<Hostile>"
    assert kept(Broken(a=1)) == "<Broken>"
    assert kept({Hostile: Hostile()}) == {"Hostile": "<Hostile>"}
    assert kept([Hostile()]) == "<list>"


def test_options_of_one_name_are_refused() -> None:
    twice: dict[Any, str] = {1: "a", "1": "b"}
    with pytest.raises(cq.InvalidInputError, match="two options are called '1'"):
        dataclasses.replace(solved(PLAIN), options=twice)


def test_the_name_of_a_run_is_one_line() -> None:
    runs = [solved(PLAIN, lazy, given=text) for text in ("a\nb", "c")]
    assert run_names(runs) == [r"lazy (given=a\nb)", "lazy (given=c)"]


def test_options_may_be_missing_in_a_file() -> None:
    record = cq.to_dict(solved(PLAIN))
    del record["options"], record["sha256"]
    assert cq.from_dict(record | {"sha256": provenance.digest(record)}).options == {}


@pytest.mark.parametrize(
    "changes", [{"tokens": [1, 2]}, {"tokens": []}, {"names": ["a", "b"]}], ids=range(3)
)
@pytest.mark.parametrize("answer", [solved(PLAIN), solved(PLAIN).certificate, WITHIN], ids=range(3))
def test_words_that_contradict_the_answer_are_refused(answer: Any, changes: dict[str, Any]) -> None:
    with pytest.raises(cq.InvalidInputError, match=f"{next(iter(changes))} = .* but "):
        cq.from_dict(forged(answer, **changes))
