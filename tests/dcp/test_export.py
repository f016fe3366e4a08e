"""Exported files, read by parsers and solvers that are not ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import clarabel
import numpy as np
import pytest
import scs
from pyscipopt import Model
from scipy import sparse

import cvxqueue as cq
from tests.families import pairwise, planted
from tests.large import large_instance
from tests.own_classes import Knee, Logarithmic, Retrials
from tests.paths import SERVER

LOGARITHM = Logarithmic(floor=0.1, gain=0.05, scale=1e2)
KNEE = Knee(base=0.1, per_token=1e-3, per_squared_token=1e-7, knee=1e2)
PLAIN: cq.Instance = cq.load(SERVER)
CONSTRAINTS: dict[str, Any] = {
    "waiting": cq.MaxMeanWaitingTime(2.0),
    "system": cq.MaxMeanSystemTime(8.0),
    "tokens": cq.MaxTokenRate(60.0),
    "tail": cq.WaitingTimeTail(seconds=10.0, probability=0.1),
    "mean accuracy": cq.MinMeanAccuracy(0.75),
    "accuracy": cq.MinAccuracy(0.42, 2),
}
# Of the scale. Clarabel was within 2e-10 of it when held to 1e-11, and SCS within 3e-7 when held to
# 1e-9; a gap of 1e-6 is where the search of SCIP stops. Without whole numbers its value was within
# 1e-7, as much as its rows may be off by where a floor on the accuracy is dear.
BY_CLARABEL, BY_SCS, BY_SCIP = 1e-8, 1e-6, 1.1e-6


class Unknown(cq.SaturatingExponential):
    """A curve that may be anything."""


class Cones(NamedTuple):
    """Minimise c·x + offset with A x + b in cones, each a name, its rows and its exponent."""

    A: Any
    b: Any
    c: Any
    offset: float
    cones: list[tuple[str, int, float]]
    integers: list[int]


def read_cbf(path: Path) -> Cones:
    """Read a file by the description of version 3, and refuse what that does not have."""
    lines = [line for line in path.read_text("ascii").splitlines() if line.strip()]
    assert max(map(len, lines)) <= 512
    rows = (line.split() for line in lines if not line.startswith("#"))
    kept: dict[str, Any] = {}
    for (keyword,) in rows:
        kept[keyword] = _SECTIONS[keyword](rows)
    structure = ["VER", "POWCONES", "OBJSENSE", "VAR", "INT", "CON"]
    data = ["OBJACOORD", "OBJBCOORD", "ACOORD", "BCOORD"]
    assert list(kept) == [keyword for keyword in structure + data if keyword in kept]
    assert (kept["VER"], kept["OBJSENSE"]) == (["3"], ["MIN"])
    (variables, domains), (count, listed) = kept["VAR"], kept["CON"]
    assert domains == [("F", variables)]
    assert sum(size for _, size in listed) == count
    exponents = kept.get("POWCONES", [])
    cones = []
    for name, size in listed:
        place, _, kind = name.rpartition(":")
        first, second = exponents[int(place[1:])] if place else (1.0, 0.0)
        cones.append((kind, size, first / (first + second)))
    entries = kept["ACOORD"]
    matrix = sparse.coo_array(
        ([v for *_, v in entries], ([i for i, *_ in entries], [j for _, j, _ in entries])),
        shape=(count, variables),
    )
    assert len({(i, j) for i, j, _ in entries}) == len(entries)
    right, cost = np.zeros(count), np.zeros(variables)
    for k, value in kept["BCOORD"]:
        right[k] = value
    for k, value in kept["OBJACOORD"]:
        cost[k] = value
    offset = float(kept["OBJBCOORD"][0])
    return Cones(sparse.csc_array(matrix), right, cost, offset, cones, kept.get("INT", []))


def _counted(*types: type) -> Any:
    def read(rows: Iterator[list[str]]) -> list[Any]:
        (count,) = next(rows)
        found = [
            tuple(kind(word) for kind, word in zip(types, next(rows), strict=True))
            for _ in range(int(count))
        ]
        return [it[0] for it in found] if len(types) == 1 else found

    return read


def _domains(rows: Iterator[list[str]]) -> tuple[int, list[tuple[str, int]]]:
    total, count = next(rows)
    return int(total), [(name, int(size)) for name, size in (next(rows) for _ in range(int(count)))]


def _exponents(rows: Iterator[list[str]]) -> list[tuple[float, float]]:
    cones, total = map(int, next(rows))
    found = []
    for _ in range(cones):
        assert next(rows) == ["2"]
        found.append((float(next(rows)[0]), float(next(rows)[0])))
    assert total == 2 * cones
    return found


_SECTIONS: dict[str, Any] = {
    "VER": next,
    "OBJSENSE": next,
    "OBJBCOORD": next,
    "VAR": _domains,
    "CON": _domains,
    "INT": _counted(int),
    "POWCONES": _exponents,
    "OBJACOORD": _counted(int, float),
    "ACOORD": _counted(int, int, float),
    "BCOORD": _counted(int, float),
}


def solved_by_clarabel(problem: Cones) -> tuple[float, Any]:
    """Solve what was read from CBF: the rows of Clarabel's exponential cones are the reverse."""
    rows, cones, start = np.arange(problem.b.size), [], 0
    for name, size, exponent in problem.cones:
        if name == "EXP":
            rows[start : start + 3] = rows[start : start + 3][::-1].copy()
        cones.append(
            {
                "L=": lambda size=size: clarabel.ZeroConeT(size),
                "L+": lambda size=size: clarabel.NonnegativeConeT(size),
                "Q": lambda size=size: clarabel.SecondOrderConeT(size),
                "EXP": clarabel.ExponentialConeT,
                "POW": lambda exponent=exponent: clarabel.PowerConeT(exponent),
            }[name]()
        )
        start += size
    return by_clarabel(-problem.A.tocsr()[rows], problem.b[rows], problem.c, cones, problem.offset)


def by_clarabel(A: Any, b: Any, c: Any, cones: list[Any], offset: float) -> tuple[float, Any]:
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-11
    none = sparse.csc_matrix((c.size, c.size))
    found = clarabel.DefaultSolver(none, c, sparse.csc_matrix(A), b, cones, settings).solve()
    if str(found.status) not in ("Solved", "AlmostSolved"):
        return np.nan, np.asarray(found.x)
    return found.obj_val + offset, np.asarray(found.x)


def read_npz(path: Path) -> tuple[Any, Any]:
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    parts = arrays["A_data"], arrays["A_indices"], arrays["A_indptr"]
    return arrays, sparse.csc_matrix(parts, shape=arrays["A_shape"])


def clarabel_of(path: Path) -> tuple[float, Any]:
    arrays, matrix = read_npz(path)
    cones = [clarabel.ZeroConeT(int(arrays["zero"]))]
    cones += [clarabel.NonnegativeConeT(int(arrays["nonnegative"]))]
    cones += [clarabel.SecondOrderConeT(size) for size in arrays["second_order"].tolist()]
    cones += [clarabel.ExponentialConeT()] * int(arrays["exponential"])
    cones += [clarabel.PowerConeT(exponent) for exponent in arrays["power"].tolist()]
    return by_clarabel(matrix, arrays["b"], arrays["c"], cones, float(arrays["offset"]))


def scs_of(path: Path) -> tuple[float, Any]:
    arrays, matrix = read_npz(path)
    cones = {
        "z": int(arrays["zero"]),
        "l": int(arrays["nonnegative"]),
        "q": arrays["second_order"].tolist(),
        "ep": int(arrays["exponential"]),
        "p": arrays["power"].tolist(),
    }
    data = {"A": matrix, "b": arrays["b"], "c": arrays["c"]}
    solver = scs.SCS(data, cones, verbose=False, eps_abs=1e-9, eps_rel=1e-9, max_iters=50_000)
    found = solver.solve()
    assert found["info"]["status"] == "solved"
    return found["info"]["pobj"] + float(arrays["offset"]), found["x"]


def scip_of(path: Path, seconds: float = 60.0) -> tuple[float, list[float]]:
    found = re.match(r"g3 1 1 0\t# cost_unit = (\S+) s: ", path.read_text())
    assert found is not None
    model = Model()
    model.hideOutput()
    model.readProblem(str(path))
    model.setParam("limits/gap", 1e-6)
    model.setParam("limits/time", seconds)
    model.optimize()
    assert model.getStatus() in ("optimal", "gaplimit")
    # In the order of the file, and of two digits each: x10 comes after x9.
    names = {variable.name: model.getVal(variable) for variable in model.getVars()}
    tokens = [it for name, it in names.items() if name[0] in "xi" and name[1:].isdigit()]
    return model.getObjVal() * float(found[1]), tokens


def instances() -> Iterator[tuple[str, cq.Instance]]:
    """Every class of queue, law and curve, and every constraint."""
    for place, names in enumerate(pairwise()):
        rng = np.random.default_rng([41, place])
        load = 0.4 if place % 2 else 0.9
        case = planted(rng, *names, n=4, utilization=load, pattern="mixed", plain=True)
        yield " ".join(names), case.family.instance()
    for name, constraint in CONSTRAINTS.items():
        yield name, PLAIN.replace(constraints=[constraint])
    caps = [cq.MaxMeanWaitingTime(4.0), cq.MinMeanAccuracy(0.72), cq.MinAccuracy(0.42, 2)]
    yield "several constraints", PLAIN.replace(constraints=caps)
    yield "worthless", PLAIN.replace(importance=[1.0, 0.0, 1.0, 1.0, 0.0])
    yield "one type", cq.load(str(Path(SERVER).with_name("one-type.toml")))
    yield "nothing to win", PLAIN.replace(accuracy_weight=0.0)


CASES = dict(instances())


def error_of(instance: cq.Instance, value: float, best: float | None = None) -> float:
    """How far minus a value is from the best objective, of the scale."""
    found = cq.solve(instance)
    best = found.objective if best is None else best
    return abs(value + best) / found.certificate.scale


@pytest.mark.parametrize("name", CASES)
def test_conic_solvers_find_the_optimum_in_every_file(name: str, tmp_path: Path) -> None:
    instance = CASES[name]
    unit = cq.export(instance, tmp_path / "x.npz")
    for solve, allowed in ((clarabel_of, BY_CLARABEL), (scs_of, BY_SCS)):
        value, x = solve(tmp_path / "x.npz")
        assert error_of(instance, value) <= allowed
        tokens = unit * x[: instance.size]
        assert cq.certify(instance, tokens).relative_gap <= max(allowed, 1e-6)
    assert (cq.export(instance, tmp_path / "x.cbf") == unit).all()
    value, x = solved_by_clarabel(read_cbf(tmp_path / "x.cbf"))
    assert error_of(instance, value) <= BY_CLARABEL


def same_rows(read: Cones, arrays: Any, matrix: Any) -> bool:
    """Whether every number is the other file's to the last bit, but for signs and places."""
    size, triples, powers = read.b.size, int(arrays["exponential"]), arrays["power"].size
    rows = list(range(size - 3 * triples - 3 * powers))
    for first in range(len(rows), size - 3 * powers, 3):
        rows += [first + 2, first + 1, first]
    rows += range(len(rows), size)
    difference = read.A.tocsr()[rows] + sparse.csr_array(matrix)
    return bool(
        abs(difference).max() == 0.0
        and read.A.nnz == np.count_nonzero(matrix.data)
        and (read.b[rows] == arrays["b"]).all()
        and (read.c == arrays["c"]).all()
        and read.offset == arrays["offset"]
    )


@pytest.mark.parametrize("name", CASES)
def test_cbf_is_read_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    for suffix in ("npz", "cbf"):
        cq.export(CASES[name], tmp_path / f"x.{suffix}")
    arrays, matrix = read_npz(tmp_path / "x.npz")
    read = read_cbf(tmp_path / "x.cbf")
    assert same_rows(read, arrays, matrix)
    kinds = [kind for kind, *_ in read.cones]
    assert kinds == sorted(kinds, key=["L=", "L+", "Q", "EXP", "POW"].index)
    exponents = [exponent for kind, _, exponent in read.cones if kind == "POW"]
    np.testing.assert_allclose(exponents, arrays["power"], rtol=1e-15)
    assert arrays["names"].tolist() == [CASES[name].type_name(k) for k in range(CASES[name].size)]


def test_a_reversed_triple_or_a_lost_sign_is_seen(tmp_path: Path) -> None:
    cq.export(PLAIN, tmp_path / "x.cbf")
    cq.export(PLAIN, tmp_path / "x.npz")
    read, (arrays, matrix) = read_cbf(tmp_path / "x.cbf"), read_npz(tmp_path / "x.npz")
    size = read.b.size
    reverse = [*range(size - 3), size - 1, size - 2, size - 3]
    reversed_triple = read._replace(A=read.A.tocsr()[reverse], b=read.b[reverse])
    for wrong in (reversed_triple, read._replace(A=-read.A), read._replace(c=-read.c)):
        assert not same_rows(wrong, arrays, matrix)
        assert not error_of(PLAIN, solved_by_clarabel(wrong)[0]) <= BY_CLARABEL


@pytest.mark.parametrize("name", CASES)
def test_scip_finds_the_optimum_in_every_nl_file(name: str, tmp_path: Path) -> None:
    instance, path = CASES[name], tmp_path / "x.nl"
    unit = cq.export(instance, path)
    stated = re.search(r"^S4 (\d+) tokens_per_unit\n((\d+ \S+\n)+)", path.read_text(), re.M)
    assert stated is not None
    rows = [line.split() for line in stated[2].splitlines()]
    assert [int(place) for place, _ in rows] == list(range(instance.size))
    assert [float(each) for _, each in rows] == unit.tolist()
    value, tokens = scip_of(path)
    assert error_of(instance, value) <= BY_SCIP
    outside = cq.certify(instance, unit * tokens[: instance.size]).violation
    assert outside <= 1e-4 * float(instance.upper.max())


@pytest.mark.parametrize("load", [0.3, 0.99])
def test_scip_solves_with_tokens_of_five_decades(load: float, tmp_path: Path) -> None:
    reference = cq.references.planted(20, utilization=load, spread=1e5, cap_share=0.1, seed=2)
    instance, path = reference.instance, tmp_path / "x.nl"
    unit = cq.export(instance, path)
    assert unit.max() > 1.0
    value, tokens = scip_of(path)
    assert error_of(instance, value) <= BY_SCIP
    certificate = cq.certify(instance, unit * tokens[: instance.size])
    assert certificate.relative_gap <= BY_SCIP


def active_constraints(instance: cq.Instance) -> Iterator[Any]:
    """Every constraint; most have a limit that the optimum without them does not keep."""
    best, least = cq.solve(instance), instance.evaluate(instance.lower)
    most = instance.evaluate(instance.upper).accuracies
    accuracies = 0.9 * best.accuracies + 0.1 * most
    tokens = 0.5 * (best.tokens + instance.lower)
    yield cq.MaxMeanWaitingTime(0.5 * (best.mean_waiting_time + float(least.mean_waiting_time)))
    yield cq.MaxMeanSystemTime(0.5 * (best.mean_system_time + float(least.mean_system_time)))
    yield cq.MaxTokenRate(instance.arrival_rate * float(instance.probabilities @ tokens))
    yield cq.WaitingTimeTail(3.0 * best.mean_waiting_time, 0.2)
    yield cq.MinMeanAccuracy(float(instance.probabilities @ accuracies))
    yield cq.MinAccuracy(float(accuracies[0]), 0)


@pytest.mark.slow
@pytest.mark.parametrize("names", list(pairwise()), ids=" ".join)
def test_every_class_with_every_constraint_is_solved_or_refused(
    names: tuple[str, str, str], tmp_path: Path
) -> None:
    rng = np.random.default_rng(20)
    case = planted(rng, *names, n=3, utilization=0.6, pattern="mixed", plain=True)
    instance = case.family.instance()
    for constraint in active_constraints(instance):
        try:
            limited = instance.replace(constraints=[constraint])
        except cq.InvalidInputError as error:
            assert "WaitingTimeTail is not available" in str(error)  # noqa: PT017
            assert names[0] != "FIFO" or names[1] == "random"
            continue
        for suffix in ("npz", "cbf", "nl"):
            cq.export(limited, tmp_path / f"x.{suffix}")
        for value, _ in (
            clarabel_of(tmp_path / "x.npz"),
            solved_by_clarabel(read_cbf(tmp_path / "x.cbf")),
        ):
            assert error_of(limited, value) <= BY_CLARABEL, constraint
        assert error_of(limited, scip_of(tmp_path / "x.nl")[0]) <= BY_SCIP, constraint


def joint_constraints(instance: cq.Instance) -> Iterator[Any]:
    """Every constraint, all nearly active at one point far from the optimum without them."""
    fewest, best = instance.lower, cq.solve(instance).tokens
    low, point = instance.evaluate(fewest), instance.evaluate(0.6 * best + 0.4 * fewest)
    mix, seconds = instance.probabilities, 3.0 * float(point.mean_waiting_time)
    accuracies = 0.98 * point.accuracies + 0.02 * low.accuracies
    yield cq.MaxMeanWaitingTime(1.02 * float(point.mean_waiting_time))
    yield cq.MaxMeanSystemTime(1.02 * float(point.mean_system_time))
    yield cq.MaxTokenRate(1.02 * instance.arrival_rate * float(mix @ point.tokens))
    yield cq.MinMeanAccuracy(float(mix @ accuracies))
    yield cq.MinAccuracy(float(accuracies[0]), 0)
    for probability in np.geomspace(0.02, 0.9, 40).tolist():
        tail = cq.WaitingTimeTail(seconds, probability)
        try:
            limited = instance.replace(constraints=[tail])
        except cq.InvalidInputError:
            return
        if cq.certify(limited, point.tokens).is_feasible:
            yield tail
            return


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("names", list(pairwise())[::4], ids=" ".join)
def test_scip_solves_with_every_constraint_at_once(
    names: tuple[str, str, str], integer: bool, tmp_path: Path
) -> None:
    rng = np.random.default_rng(21)
    case = planted(rng, *names, n=8, utilization=0.7, pattern="mixed", plain=True)
    instance = case.family.instance()
    instance = instance.replace(constraints=list(joint_constraints(instance)))
    cq.export(instance, tmp_path / "x.nl", integer=integer)
    value, tokens = scip_of(tmp_path / "x.nl")
    if integer:
        is_proven_by_scip(instance, value, tokens)
    else:
        assert error_of(instance, value) <= BY_SCIP


@pytest.mark.parametrize("names", list(pairwise())[::4], ids=" ".join)
def test_scip_keeps_a_floor_that_is_dear(names: tuple[str, str, str], tmp_path: Path) -> None:
    rng = np.random.default_rng(22)
    case = planted(rng, *names, n=5, utilization=0.6, pattern="mixed", plain=True)
    instance = case.family.instance()
    # Next to the largest accuracy that is stable a second token costs many times what it is worth.
    share = next(
        share
        for share in np.linspace(1.0, 0.0, 200).tolist()
        if instance.evaluate(instance.lower + share * (instance.upper - instance.lower)).idle > 0.02
    )
    point = instance.evaluate(instance.lower + share * (instance.upper - instance.lower))
    floor = float(instance.probabilities @ point.accuracies)
    instance = instance.replace(constraints=[cq.MinMeanAccuracy(floor)])
    cq.export(instance, tmp_path / "x.nl")
    # In rows of order one it was off by up to 1.4e-5 of the scale.
    assert error_of(instance, scip_of(tmp_path / "x.nl")[0]) <= BY_SCIP


@pytest.mark.parametrize("name", CASES)
def test_scip_finds_the_best_whole_tokens(name: str, tmp_path: Path) -> None:
    instance, path = CASES[name], tmp_path / "x.nl"
    cq.export(instance, path, integer=True)
    value, tokens = scip_of(path)
    if instance.model.couplings:
        is_proven_by_scip(instance, value, tokens)
    else:
        exact = cq.solve_integer(instance)
        assert error_of(instance, value, exact.objective) <= BY_SCIP + exact.relative_gap
    np.testing.assert_allclose(tokens[: instance.size], np.round(tokens[: instance.size]))


def is_proven_by_scip(instance: cq.Instance, value: float, tokens: Sequence[float]) -> None:
    """Check whole tokens under constraints, of which the best are SCIP's word alone."""
    # It misses a mean accuracy by up to 1e-9, which may be some thousandths of a token.
    found = cq.certify(instance, np.round(tokens[: instance.size]), feasibility_tolerance=0.1)
    assert found.is_feasible
    assert error_of(instance, value, found.objective) <= BY_SCIP
    assert -value <= found.upper_bound + BY_SCIP * found.scale


@pytest.mark.parametrize("integer", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("utilization", [0.05, 0.4, 0.95])
@pytest.mark.parametrize("names", list(pairwise())[::4], ids=" ".join)
def test_scip_solves_fifty_types(
    names: tuple[str, str, str], utilization: float, integer: bool, tmp_path: Path
) -> None:
    rng = np.random.default_rng(50)
    case = planted(rng, *names, n=50, utilization=utilization, pattern="mixed", plain=True)
    instance = case.family.instance()
    cq.export(instance, tmp_path / "x.nl", integer=integer)
    value, _ = scip_of(tmp_path / "x.nl")
    best = cq.solve_integer(instance).objective if integer else None
    assert error_of(instance, value, best) <= BY_SCIP


def test_whole_tokens_in_cbf_are_the_variables_themselves(tmp_path: Path) -> None:
    unit = cq.export(PLAIN, tmp_path / "real.cbf")
    assert (cq.export(PLAIN, tmp_path / "x.cbf", integer=True) == 1.0).all()
    read = read_cbf(tmp_path / "x.cbf")
    assert read.integers == list(range(PLAIN.size))
    # Without the word INT it is the same program.
    value, x = solved_by_clarabel(read)
    assert error_of(PLAIN, value) <= BY_SCS
    real = read_cbf(tmp_path / "real.cbf")
    np.testing.assert_allclose(read.c[: PLAIN.size] * unit, real.c[: PLAIN.size], rtol=1e-15)
    np.testing.assert_allclose(x[: PLAIN.size], cq.solve(PLAIN).tokens, rtol=1e-3)


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e3, 1e6])
def test_another_unit_of_time_is_another_unit_of_the_objective(
    factor: float, tmp_path: Path
) -> None:
    law: Any = PLAIN.service
    other = PLAIN.replace(
        arrival_rate=PLAIN.arrival_rate / factor,
        accuracy_weight=PLAIN.accuracy_weight * factor,
        service=cq.AffineService(base=law.base * factor, per_token=law.per_token * factor),
    )
    if factor < 1e6:
        cq.export(other, tmp_path / "x.npz")
        value, _ = scs_of(tmp_path / "x.npz") if factor == 1e3 else clarabel_of(tmp_path / "x.npz")
        assert error_of(other, value) <= 1e-4
    best = cq.solve_integer(other).objective
    for integer in (False, True):
        cq.export(other, tmp_path / "x.nl", integer=integer)
        value, _ = scip_of(tmp_path / "x.nl")
        assert error_of(other, value, best if integer else None) <= BY_SCIP


@pytest.mark.parametrize("idle", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("names", list(pairwise())[::5], ids=" ".join)
def test_scip_solves_with_little_idle_time_at_the_fewest_tokens(
    names: tuple[str, str, str], idle: float, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    case = planted(rng, *names, n=6, utilization=0.7, pattern="mixed", plain=True)
    instance = case.family.instance()
    instance = instance.replace(arrival_rate=instance.max_arrival_rate * (1.0 - idle))
    cq.export(instance, tmp_path / "x.nl")
    assert error_of(instance, scip_of(tmp_path / "x.nl")[0]) <= 1e-7


@pytest.mark.parametrize("name", [f"heavy-traffic-{place}" for place in range(2, 7)])
def test_scip_solves_next_to_saturation(name: str, tmp_path: Path) -> None:
    reference = cq.references.load(name)
    instance, record = reference.instance, reference.record
    assert float(cq.solve(instance).evaluation.idle) <= 1.1 * 10.0 ** -int(name[-1])
    cq.export(instance, tmp_path / "x.nl")
    value, _ = scip_of(tmp_path / "x.nl")
    assert error_of(instance, value, float(record["objective"])) <= BY_SCIP
    cq.export(instance, tmp_path / "x.nl", integer=True)
    value, tokens = scip_of(tmp_path / "x.nl")
    assert error_of(instance, value, float(record["integer"]["objective"])) <= BY_SCIP
    answer = {"tokens": tokens[: instance.size], "tolerance": BY_SCIP}
    assert cq.grade(record, answer, integer=True).is_right


@pytest.mark.parametrize("name", ["heavy-traffic-5", "heavy-traffic-6"])
def test_clarabel_solves_for_the_cost_in_its_unit_at_its_defaults(
    name: str, tmp_path: Path
) -> None:
    instance = cq.references.load(name).instance
    unit = cq.export(instance, tmp_path / "x.npz")
    arrays, matrix = read_npz(tmp_path / "x.npz")
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    cones = [clarabel.ZeroConeT(int(arrays["zero"]))]
    cones += [clarabel.NonnegativeConeT(int(arrays["nonnegative"]))]
    cones += [clarabel.SecondOrderConeT(size) for size in arrays["second_order"].tolist()]
    cones += [clarabel.ExponentialConeT()] * int(arrays["exponential"])
    cost = arrays["c"] / arrays["cost_unit"]
    none = sparse.csc_matrix((cost.size, cost.size))
    found = clarabel.DefaultSolver(none, cost, matrix, arrays["b"], cones, settings).solve()
    assert str(found.status) == "Solved"
    value = found.obj_val * arrays["cost_unit"] + arrays["offset"]
    assert error_of(instance, value) <= BY_CLARABEL
    assert cq.grade(instance, unit * np.asarray(found.x)[: instance.size]).is_right
    cq.export(instance, tmp_path / "x.cbf")
    first = (tmp_path / "x.cbf").read_text().splitlines()[0]
    assert first.startswith(f"# cost_unit = {float(arrays['cost_unit'])!r} s")


def test_many_types(tmp_path: Path) -> None:
    instance = large_instance(2000, "server", "uniform", 0.9)
    for suffix in ("npz", "cbf", "nl"):
        cq.export(instance, tmp_path / f"x.{suffix}")
    value, _ = solved_by_clarabel(read_cbf(tmp_path / "x.cbf"))
    assert error_of(instance, value) <= BY_SCS
    model = Model()
    model.hideOutput()
    model.readProblem(str(tmp_path / "x.nl"))
    assert model.getNVars() >= 2 * instance.size


@pytest.mark.parametrize(
    ("changes", "suffix", "options", "message"),
    [
        ({}, "mps", {}, r"suffix is '\.mps', and must be one of \.cbf, \.nl, \.npz"),
        ({}, "npz", {"integer": True}, r"\.npz is for Clarabel and SCS, which know no whole"),
        ({}, "cbf", {"integer": 1}, "integer must be True or False, got 1"),
        ({"accuracy": LOGARITHM}, "nl", {}, r"has no \.nl form; those that do"),
        ({"domains": cq.Multiples(64)}, "nl", {"integer": True}, "AIME24 has the domain Multiples"),
        ({"queue": Retrials(mean_backoff=1.0)}, "nl", {}, r"queue = .* has no \.nl form"),
        ({"service": KNEE}, "nl", {}, r"service = .* has no \.nl form"),
        ({"accuracy": Unknown(floor=0.1, gain=0.5, rate=1e-3)}, "cbf", {}, "has no cvxpy form"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_by_name(
    changes: dict[str, Any], suffix: str, options: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_text("as it was")
    with pytest.raises(cq.InvalidInputError, match=message):
        cq.export(PLAIN.replace(**changes), path, **options)
    assert path.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [path]


def test_an_instance_without_a_feasible_allocation_has_no_file(tmp_path: Path) -> None:
    with pytest.raises(cq.UnstableQueueError):
        cq.export(PLAIN.replace(arrival_rate=1e3), tmp_path / "x.cbf")
    with pytest.raises(cq.InvalidInputError, match="cannot write"):
        cq.export(PLAIN, tmp_path / "no" / "x.nl")
    assert not list(tmp_path.iterdir())


def test_names_in_comments_are_harmless(tmp_path: Path) -> None:
    names = ["é\nVER\n9", "x" * 3000, "a\udc80b", "#", " "]
    cq.export(PLAIN.replace(names=names), tmp_path / "x.cbf")
    assert error_of(PLAIN, solved_by_clarabel(read_cbf(tmp_path / "x.cbf"))[0]) <= BY_CLARABEL
