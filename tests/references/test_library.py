"""The library: every record is accepted, none has changed, and a command takes its name."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import cvxqueue as cq
from cvxqueue.cli import main
from cvxqueue.references import exact, exact_by_hand, library
from cvxqueue.references import verify as verifier
from tests.paths import INSTANCES, ROOT
from tests.references import make_library
from tests.references.balls import confirm

NAMES = library.names()
RELEASED = dict(
    line.split() for line in make_library.RELEASED.read_text(encoding="utf-8").splitlines()
)

Capture = pytest.CaptureFixture[str]


def test_a_released_record_never_changes() -> None:
    found = {name: library.load(name) for name in NAMES}
    assert {name: verifier.digest(it.record) for name, it in found.items()} == RELEASED
    assert {name: it.sha256 for name, it in found.items()} == RELEASED


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_accepted_and_about_its_instance(name: str) -> None:
    reference = cq.references.load(name)
    found = cq.verify(reference.record, instance=reference.instance)
    assert found.digits == 30
    assert found.proves_tokens == (name != "straight-piece")
    assert (reference.name, reference.instance.name) == (name, name)
    assert reference.reason.endswith(".")
    assert "\n" not in reference.reason
    assert len(reference.reason) <= 90


@pytest.mark.parametrize("name", [it for it in NAMES if not it.endswith("-1000")])
def test_ball_arithmetic_confirms_a_record(name: str) -> None:
    confirm(library.load(name).record)


@pytest.mark.parametrize("name", NAMES)
def test_whole_tokens_are_proven_up_to_twenty_types(name: str) -> None:
    reference = library.load(name)
    instance = reference.instance
    is_whole = instance.size <= 20 and name != "domain-levels"
    assert ("integer" in reference.record) == is_whole
    if not is_whole:
        return
    found = cq.verify(reference.record)
    assert found.integer_tokens is not None
    assert found.integer_objective is not None
    assert found.integer_objective[0] <= found.objective[1]
    if not instance.constraints:
        best = cq.solve_integer(instance)
        assert Fraction(best.objective) <= Fraction(found.integer_objective[1])
        assert Fraction(found.integer_objective[0]) <= Fraction(best.upper_bound)


def accepts(name: str, folder: Path) -> bool:
    """Whether a bare Python does, in a folder that holds only the two files."""
    shutil.copy(str(verifier.__file__), folder / "verify.py")
    shutil.copy(library.path_of(name), folder / "record.json")
    command = [sys.executable, "-I", "-S", "verify.py", "record.json"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", ["exact-by-hand", "heavy-traffic-6", "setups-varying-mixed"])
def test_a_bare_python_accepts(name: str, tmp_path: Path) -> None:
    assert accepts(name, tmp_path)


@pytest.mark.slow
def test_a_bare_python_accepts_every_record(tmp_path: Path) -> None:
    assert [name for name in NAMES if not accepts(name, tmp_path)] == []


def test_the_library_is_that_of_its_script() -> None:
    made = {
        name: make_library.named(name, reason, it) for name, reason, it in make_library.catalogue()
    }
    assert sorted(made) == list(NAMES)
    assert 40 <= len(NAMES) <= 60
    for name, instance in made.items():
        assert library.load(name).instance == instance, name


def test_every_class_is_there() -> None:
    instances = [library.load(name).instance for name in NAMES]
    found: set[type] = {type(it.queue) for it in instances} | {type(it.service) for it in instances}
    found |= {type(it.accuracy) for it in instances}
    found |= {type(limit) for it in instances for limit in it.constraints}
    found |= {type(domain) for it in instances for domain in it.domains or ()}
    wanted = {
        *(cq.FIFO, cq.ProcessorSharing, cq.BatchArrivals, cq.Vacations, cq.Setups),
        *(cq.AffineService, cq.QuadraticService),
        *(cq.SaturatingExponential, cq.PowerLaw, cq.MichaelisMenten, cq.PiecewiseLinear),
        *(cq.MixedAccuracy, cq.MaxMeanSystemTime, cq.MaxMeanWaitingTime, cq.MaxTokenRate),
        *(cq.MinAccuracy, cq.MinMeanAccuracy, cq.WaitingTimeTail),
        *(cq.Integers, cq.Multiples, cq.Menu, cq.LevelMenu, cq.ZeroOrAtLeast),
    }
    assert wanted <= found
    assert any(np.any(it.service.token_scv) for it in instances if hasattr(it.service, "token_scv"))
    assert {it.size for it in instances} >= {1, 2, 3, 5, 10, 20, 100, 1000}


def tokens_of(name: str) -> list[Fraction]:
    return [Fraction(count) for count in library.load(name).record["tokens"]]


@pytest.mark.parametrize("power", range(1, 7))
def test_heavy_traffic_is_what_its_name_says(power: int) -> None:
    instance = library.load(f"heavy-traffic-{power}").instance
    law: Any = instance.service
    columns = (instance.probabilities, law.base, law.per_token)
    rows = zip(*(map(Fraction, column.tolist()) for column in columns), strict=True)
    mean = sum(
        share * (base + slope * count)
        for (share, base, slope), count in zip(rows, tokens_of(instance.name), strict=True)
    )
    idle = 1 - Fraction(instance.arrival_rate) * mean
    assert abs(idle * 10**power - 1) < Fraction(1, 10**6)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("exact-by-hand", exact_by_hand()),
        ("exact-3", exact(3, idle=2.0**-2)),
        ("exact-20", exact(20, idle=2.0**-20)),
    ],
)
def test_rational_optima_are_held(name: str, made: cq.references.ExactInstance) -> None:
    found = cq.verify(library.load(name).record)
    for (low, high), count in zip(found.tokens, made.tokens, strict=True):
        assert Fraction(low) <= count <= Fraction(high)
    assert Fraction(found.objective[0]) <= made.objective <= Fraction(found.objective[1])


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("all-at-zero", lambda low, high, at: np.all(at == 0)),
        ("all-at-cap", lambda low, high, at: np.all(at == high)),
        ("bounds-mixed", lambda low, high, at: (sum(at == low), sum(at == high)) == (2, 2)),
        ("lower-bounds", lambda low, high, at: sum(at == low) == 2 and low[2] == high[2]),
        ("degenerate-caps", lambda low, high, at: np.all(at == high)),
        ("degenerate-lower-bounds", lambda low, high, at: np.all(at == low)),
    ],
)
def test_active_sets_are_what_they_are_for(name: str, holds: Callable[..., Any]) -> None:
    instance = library.load(name).instance
    at = np.array(list(map(float, tokens_of(name))))
    assert holds(instance.min_tokens, instance.max_tokens, at)
    state = ", not strictly" if name.startswith("degenerate") else "bound, strictly"
    assert any(line.endswith(state) for line in cq.verify(library.load(name).record).report)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("constraint-")])
def test_a_constraint_matters(name: str) -> None:
    reference = library.load(name)
    if name == "constraint-accuracy":
        # A floor of one type is a bound of its tokens.
        assert cq.solve(reference.instance).tokens[2] > cq.solve(unlimited(name)).tokens[2] + 1
        return
    active = [Fraction(price) > 0 for price in reference.record["multipliers"]]
    assert active == ([True, True, False] if name == "constraint-several" else [True])


def unlimited(name: str) -> cq.Instance:
    return library.load(name).instance.replace(constraints=[])


def test_rounding_loses_or_is_unstable() -> None:
    instance = library.load("rounding-loses").instance
    nearest, best = (cq.solve_integer(instance, method) for method in ("nearest", "exact"))
    assert best.is_optimal
    assert nearest.objective < 0.85 * best.objective
    assert cq.solve(instance).objective < 1.01 * best.objective
    instance = library.load("rounding-unstable").instance
    assert not instance.evaluate(np.rint(cq.solve(instance).tokens)).is_stable


def test_an_unknown_name_is_an_error_with_the_nearest() -> None:
    with pytest.raises(cq.InvalidInputError, match=r"did you mean 'heavy-traffic-6'\?"):
        cq.references.load("heavy-trafic-6")
    for wrong in ("", "../records/one-type", "one-type.json", None, 3):
        with pytest.raises(cq.InvalidInputError, match="is no reference"):
            cq.references.load(wrong)  # type: ignore[arg-type]


def test_a_reference_is_frozen_and_loaded_anew() -> None:
    first = cq.references.load("one-type")
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.name = "another"  # type: ignore[misc]
    first.record["digits"] = 31
    assert cq.references.load("one-type").record["digits"] == 30
    assert repr(first) == "Reference(name='one-type')"


def test_an_example_is_the_reference_of_its_name() -> None:
    for path in INSTANCES.glob("*.toml"):
        assert library.load(path.stem).instance == cq.load(path)


# The commands -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "solve heavy-traffic-6 --method newton",
        "check heavy-traffic-6",
        "simulate one-type --queries 1000",
        "prove one-type --output record.json",
        "verify one-type",
        "verify one-type one-type",
        "references one-type",
        "references",
    ],
)
def test_a_command_takes_a_name(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words.split(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_a_file_is_before_a_reference_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one-type").mkdir()
    assert main(["verify", "one-type"]) == 0
    Path("two-types-one-at-zero").write_text("no record", encoding="utf-8")
    assert main(["verify", "two-types-one-at-zero"]) == 2
    assert main(["check", "two-types-one-at-zero"]) == 2
    assert "suffix" in capsys.readouterr().err


def test_a_near_miss_is_suggested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (
        "solve heavy-trafic-6",
        "verify heavy-trafic-6",
        "verify one-type Heavy-Trafic-6",
    ):
        assert main(words.split()) == 2
        assert "did you mean 'heavy-traffic-6'?" in capsys.readouterr().err
    for words in ("solve server", "solve ./heavy-trafic-6", "check no/one-type"):
        assert main(words.split(" ")) == 2
        assert "cannot read" in capsys.readouterr().err


def test_another_record_is_not_about_a_reference(capsys: Capture) -> None:
    assert main(["verify", "heavy-traffic-6", "heavy-traffic-5"]) == 1
    assert "another instance" in capsys.readouterr().err


def test_the_list_has_every_name_and_reason(capsys: Capture) -> None:
    assert main(["references"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for name in NAMES:
        assert f"{name} {library.load(name).reason}" in out
    assert main(["references", "--csv"]) == 0
    rows = capsys.readouterr().out.splitlines()
    head = "name,types,optimal objective (s),tokens proven,whole tokens proven,reason,SHA-256"
    assert rows[0] == head
    assert len(rows) == 1 + len(NAMES)
    assert main(["references", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["references"]
    assert {row["name"]: row["sha256"] for row in listed} == RELEASED


def test_a_record_can_be_written(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "record.json"
    assert main(["references", "qwen3-8b-h100", "--output", str(path)]) == 0
    out = capsys.readouterr().out
    for words in ("204.92575964944080930632124181", RELEASED["qwen3-8b-h100"], "AIME24", str(path)):
        assert words in "".join(out.split("\n"))
    assert main(["verify", str(path), "qwen3-8b-h100"]) == 0
    for wrong in (["--output", str(path)], ["one-type", "--output", str(tmp_path)]):
        assert main(["references", *wrong]) == 2


def entry(words: str, capsys: Capture) -> dict[str, str]:
    """The fields of the BibTeX entry that a command prints, and its key."""
    assert main(["references", *words.split(), "--bibtex"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    head, *fields = text.removesuffix(", }").split("}, ") if "}, }" in text else [text]
    key, _, first = head.partition(", ")
    pairs = (field.split(" = ", 1) for field in (first, *fields))
    return {"key": key, **{name: value.strip("{}") for name, value in pairs}}


def test_an_entry_has_key_year_address_and_digest(capsys: Capture) -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    preferred = cited["preferred-citation"]
    assert preferred["version"] == cited["version"] == cq.__version__
    assert preferred["title"] == cited["title"]
    assert preferred["authors"] == cited["authors"]
    package, one = entry("", capsys), entry("heavy-traffic-6", capsys)
    assert package["key"] == "@misc{cvxqueue"
    assert one["key"] == "@misc{cvxqueue-heavy-traffic-6"
    assert "heavy-traffic-6" in one["title"]
    assert RELEASED["heavy-traffic-6"] in one["note"]
    for found in (package, one):
        assert found["author"] == preferred["authors"][0]["name"]
        assert found["year"] == str(preferred["year"])
        assert found["url"] == preferred["url"]
