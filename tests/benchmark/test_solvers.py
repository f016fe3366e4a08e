"""What is compared: found by name, asked as its users ask, and refused where no process has it."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.benchmark.solvers import available, find_solvers
from tests.benchmark import fakes
from tests.paths import SERVER
from tests.tolerances import DIFFERENCE_QUOTIENT

CAPPED = cq.load(SERVER).replace(constraints=[cq.MaxMeanWaitingTime(2.0), cq.MinMeanAccuracy(0.6)])
# Without proprietary solvers and those under the GPL.
OF_THE_EXTRA = {
    *("newton", "conic", "fixed-point", "projected-gradient"),
    *("cvxpy-clarabel", "cvxpy-scs", "scipy-slsqp", "scipy-trust-constr"),
}


def test_the_solvers_of_the_extra_are_there() -> None:
    assert set(available()) >= OF_THE_EXTRA
    assert [each.name for each in find_solvers(None)] == list(available())


@pytest.mark.filterwarnings("ignore:delta_grad == 0.0")
@pytest.mark.parametrize("name", sorted(OF_THE_EXTRA))
def test_each_solves_the_server_and_asked_for_more_is_no_worse(name: str) -> None:
    instance = cq.load(SERVER)
    solver = available()[name]
    gaps = []
    for settings in (solver.default, solver.tight):
        assert settings is not None
        answer = solver.function(instance, **settings)
        assert isinstance(answer, cq.Answer)
        assert answer.claims_optimal is True
        gaps.append(cq.certify(instance, answer.tokens, feasibility_tolerance=1e-3).relative_gap)
    assert gaps[0] < 1e-5
    assert gaps[1] < 1e-8


@pytest.mark.filterwarnings("ignore:delta_grad == 0.0")
@pytest.mark.parametrize("name", ["scipy-slsqp", "scipy-trust-constr", "cvxpy-clarabel", "conic"])
def test_constraints_are_kept(name: str) -> None:
    solver = available()[name]
    answer = solver.function(CAPPED, **(solver.tight or {}))
    assert isinstance(answer, cq.Answer)
    found = cq.certify(CAPPED, answer.tokens)
    assert found.violation < 1e-3
    assert found.relative_gap < 1e-7


def test_the_smooth_program_has_the_slopes_of_its_values() -> None:
    from cvxqueue.benchmark.smooth import SmoothProgram

    program = SmoothProgram(CAPPED)
    point, step = program.start / 4.0, 1e-6
    limits = [(limit.room, limit.gradient) for limit in program.limits]
    pairs = [(program.cost, program.gradient), *limits]
    assert len(pairs) == 4
    for value, gradient in pairs:
        slopes = [
            (value(point + step * unit) - value(point - step * unit)) / (2.0 * step)
            for unit in np.eye(CAPPED.size)
        ]
        found = gradient(point)
        unit = float(np.max(np.abs(found)))
        DIFFERENCE_QUOTIENT.check(np.array(slopes) / unit, found / unit)
    assert np.isinf(program.cost(np.ones(CAPPED.size)))


def test_one_of_ones_own_by_name_and_as_a_function() -> None:
    (named,), (given,) = find_solvers(["tests.benchmark.fakes:right"]), find_solvers([fakes.right])
    assert named == given
    assert named.name == "tests.benchmark.fakes:right"
    assert named.tight is None
    assert find_solvers([accurate])[0].tight == {"tolerance": 1e-9}


def accurate(instance: cq.Instance, tolerance: float = 1e-6) -> cq.Answer:
    return fakes.right(instance)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("newtom", "did you mean 'newton'"),
        ("cvxpy-clarabell", "did you mean 'cvxpy-clarabel'"),
        ("no.such:function", "package.module:function: ModuleNotFoundError: No module"),
        ("tests.benchmark.fakes:nothing", "has no attribute 'nothing'"),
        ("tests.benchmark.fakes:MARK.x", "package.module:function"),
        ("cvxqueue:__version__", "must be callable"),
        (f"{Path(fakes.__file__)}:right", "must name a callable as package.module:function"),
        (lambda instance: instance.lower, "top of a module"),
        (functools.partial(fakes.right), "top of a module"),
        (3, "must be a function"),
    ],
)
def test_what_no_process_has_is_refused(given: object, words: str) -> None:
    with pytest.raises(cq.InvalidInputError, match=words):
        find_solvers([given])  # type: ignore[list-item]


@pytest.mark.parametrize("ending", ["def", "1 / 0", "raise SystemExit(3)"])
def test_a_module_that_fails_is_an_error(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends_when_loaded.py").write_text(ending)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(cq.InvalidInputError, match=r"(SyntaxError|ZeroDivision|SystemExit)"):
        find_solvers(["ends_when_loaded:f"])


@pytest.mark.parametrize("given", [[], "newton"])
def test_solvers_are_a_list(given: Sequence[str]) -> None:
    with pytest.raises(cq.InvalidInputError, match="must be a list of one or more"):
        find_solvers(given)


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": ["tigth"]},
        {"settings": []},
        {"time_limit": 0.0},
        {"memory_limit": -1.0},
        {"shard": (3, 2)},
        {"shard": (1,)},
        {"shard": 2},
        {"settings": "default"},
        {"solvers": 5},
        {"instances": 5},
        {"output": 5},
        {"shard": (0, 2)},
        {"seed": -1},
    ],
)
def test_arguments_are_checked_before_anything_runs(changes: dict[str, object]) -> None:
    with pytest.raises(cq.InvalidInputError):
        cq.run_benchmark(**{"instances": [CAPPED], "solvers": ["newton"]} | changes)  # type: ignore[arg-type]


def test_an_instance_without_an_answer_is_refused_at_once() -> None:
    instance = cq.load(SERVER)
    with pytest.raises(cq.UnstableQueueError):
        cq.run_benchmark([instance.replace(arrival_rate=99.0)], ["newton"])
    with pytest.raises(cq.InfeasibleError):
        cq.run_benchmark([instance.replace(constraints=[cq.MinMeanAccuracy(0.99)])], ["newton"])
    with pytest.raises(cq.InvalidInputError, match="nothing to run"):
        cq.run_benchmark([], ["newton"])


SCRIPT = """
import cvxqueue as cq
from dataclasses import dataclass

@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Own(cq.SaturatingExponential):
    pass

def lowest(instance):
    assert isinstance(instance.accuracy, Own)
    return instance.lower

def compare():
    given = cq.references.planted(2, seed=1).instance
    curve = Own(floor=given.accuracy.floor, gain=given.accuracy.gain, rate=given.accuracy.rate)
    rows = cq.run_benchmark([given.replace(accuracy=curve)], [lowest]).rows
    print([(row.solver, row.outcome, row.words, row.settings) for row in rows])

"""


def run_script(path: Path, code: str) -> subprocess.CompletedProcess[str]:
    path.write_text(code)
    return subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)


def test_a_script_compares_a_function_on_classes_of_its_own(tmp_path: Path) -> None:
    done = run_script(tmp_path / "mine.py", f"{SCRIPT}if __name__ == '__main__':\n    compare()\n")
    assert (done.stdout, done.stderr) == ("[('mine:lowest', 'answered', '', 'default')]\n", "")


def test_a_script_that_compares_whenever_it_is_imported_is_told(tmp_path: Path) -> None:
    done = run_script(tmp_path / "mine.py", f"{SCRIPT}compare()\n")
    assert done.stdout == ""
    assert "a run imports the script that compares solvers" in done.stderr


def test_a_version_is_that_of_all_that_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "clarabel" in available()["conic"].version
    monkeypatch.syspath_prepend(tmp_path)
    wraps = "import functools\nimport inner_of_test\nouter = functools.partial(inner_of_test.f)\n"
    (tmp_path / "outer_of_test.py").write_text(wraps)
    versions = set()
    for number in range(2):
        code = f"def f(instance):\n    return instance.lower + {number}\n"
        (tmp_path / "inner_of_test.py").write_text(code)
        versions.add(find_solvers(["outer_of_test:outer"])[0].version)
    assert len(versions) == 2


def test_one_solver_may_be_named_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, loads in (("plain_of_test", ""), ("costly_of_test", "import costly_for_test\n")):
        (tmp_path / f"{name}.py").write_text(f"{loads}def f(instance):\n    return [0.0]\n")
    (tmp_path / "costly_for_test.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("cvxqueue.benchmark.solvers._COSTLY", ("costly_for_test",))
    names = ["plain_of_test:f", "costly_of_test:f"]
    found = find_solvers([*names, names[0]])
    assert [each.name for each in found] == names


def test_two_solvers_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "newton.py").write_text("def f(instance):\n    return instance.lower\n")
    monkeypatch.syspath_prepend(tmp_path)
    main = ModuleType("__main__")
    main.__file__ = str(tmp_path / "other" / "newton.py")
    exec("def f(instance):\n    return instance.upper\n", vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(cq.InvalidInputError, match="two solvers are called 'newton:f'"):
        find_solvers(["newton:f", vars(main)["f"]])


@pytest.mark.parametrize("solver", ["f", "'__main__:f'"])
def test_a_session_has_none_that_another_process_could_import(solver: str) -> None:
    code = (
        "import cvxqueue as cq\ndef f(instance): return instance.lower\n"
        f"cq.run_benchmark([cq.references.exact(2)], [{solver}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "put it into a module" in done.stderr
