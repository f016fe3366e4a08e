"""Whatever a solver does, its own row says so, and no other row changes."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.benchmark.child import _LICENCE, REPEATS, Limits, write_task
from cvxqueue.benchmark.isolation import FORKS, Isolation, Run, _run_of, _started_server, _Watched
from cvxqueue.benchmark.rows import Row
from cvxqueue.benchmark.solvers import Solver
from cvxqueue.numerics.arrays import FloatArray
from tests.benchmark import fakes
from tests.benchmark.processes import MARK, left_after, marked
from tests.paths import ROOT

INSTANCE = cq.references.planted(3, seed=1).instance.replace(name="\ud800 strange")
OPTIMUM = cq.solve(INSTANCE)
MANY = cq.Instance(
    arrival_rate=0.1,
    accuracy_weight=1.0,
    probabilities=np.full(100_000, 1e-5),
    max_tokens=9.0,
    service=cq.AffineService(base=0.1, per_token=0.1),
    accuracy=cq.SaturatingExponential(floor=0.1, gain=0.5, rate=0.1),
)
LIMITS = Limits(time=2.0, memory=1e8)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")

# What each does: outcome, the beginning of its words, its claim, and whether that is true.
EXPECTED = {
    "right": ("answered", "fine", True, True),
    "lies": ("answered", "optimal", True, False),
    "is_modest": ("answered", "", False, None),
    "answers_worse_later": ("answered", "repeats differ fine", True, False),
    "answers_nan_later": ("no finite answer", "repeats differ", None, None),
    "answers_a_string_later": ("no finite answer", "InvalidInputError", None, None),
    "says_what_no_file_holds": ("answered", r"\ud800\x00\x1b[2J |", True, True),
    "leaves_the_box": ("answered", "", None, None),
    "yields": ("answered", "", None, None),
    "answers_nan": ("no finite answer", "", None, None),
    "claims_nan": ("no finite answer", "optimal", True, False),
    "answers_too_few": ("no finite answer", "InvalidInputError", None, None),
    "answers_a_string": ("no finite answer", "InvalidInputError", None, None),
    "raises": ("raised", "ValueError: it broke down", None, None),
    "fails_later": ("answered", "", None, None),
    "leaves": ("raised", "SystemExit: I have had enough", None, None),
    "lacks_a_license": ("no licence", "RuntimeError: License file not found", None, None),
    "sleeps": ("time limit", "", None, None),
    "keeps_the_lock": ("time limit", "", None, None),
    "stops": ("time limit", "", None, None),
    "hangs_later": ("answered", "", None, None),
    "aborts": ("died", "SIGABRT", None, None),
    "segfaults": ("died", "SIGSEGV", None, None),
    "quits": ("died", "exit status 0", None, None),
    "eats_memory": ("out of memory", "MemoryError", None, None),
    "eats_memory_in_c": ("out of memory", "SIGABRT", None, None),
    "prints_megabytes": ("answered", "fine", True, True),
    "writes_everywhere": ("answered", "fine", True, True),
    "reads_what_its_module_has_opened": ("answered", "fine", True, True),
    "closes_everything": ("answered", "fine", True, True),
    "starts_another": ("answered", "fine", True, True),
    "detaches_another": ("answered", "fine", True, True),
    "forks_and_raises_there": ("answered", "fine", True, True),
    "clears_the_folder": ("answered", "fine", True, True),
    "clears_the_folder_and_sleeps": ("time limit", "", None, None),
    "cuts_what_is_told": ("died", "it has written over what is told", None, None),
    "tells_lies": ("died", "it has written over what is told", None, None),
    "raises_what_has_no_words": ("raised", "_UnspeakableError", None, None),
    "yields_nothing": ("no finite answer", "", None, None),
    "kills_the_server": ("died", "the server of the runs", None, None),
}


def fake(name: str) -> Solver:
    return Solver(name, f"{fakes.__name__}:{name}", "1")


@pytest.fixture(scope="module")
def isolation() -> Iterator[Isolation]:
    with Isolation() as found:
        yield found


@pytest.mark.slow
@on_linux
def test_each_gets_its_own_right_row_and_changes_no_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = str(uuid.uuid4())
    monkeypatch.setenv(MARK, mark)
    found = cq.run_benchmark(
        [INSTANCE],
        [f"{fakes.__name__}:{name}" for name in EXPECTED],
        output=tmp_path / "rows.jsonl",
        time_limit=LIMITS.time,
        memory_limit=LIMITS.memory,
    )
    assert left_after(2.0, mark) == []
    assert capfd.readouterr() == ("", "")
    assert cq.Benchmark.read(tmp_path / "rows.jsonl").rows == found.rows
    rows = {row.solver.rpartition(":")[2]: row for row in found.rows}
    assert set(rows) == set(EXPECTED)
    for name, (outcome, words, claims, is_true) in EXPECTED.items():
        row = rows[name]
        assert (row.outcome, row.claims_optimal, row.claim_is_true) == (outcome, claims, is_true), (
            name,
            row.words,
        )
        assert row.words.startswith(words), name
        assert (row.relative_gap is None) == (outcome != "answered"), name
    assert rows["aborts"].words == "SIGABRT last words"
    # As many repeats as there was time for, all of one answer.
    full = ("right", "prints_megabytes", "writes_everywhere", "closes_everything")
    for name in full:
        assert len(rows[name].seconds) == REPEATS
        assert rows[name].objective == OPTIMUM.certificate.objective
    assert rows["fails_later"].seconds == rows["hangs_later"].seconds == []
    assert rows["fails_later"].is_solved
    assert rows["hangs_later"].is_solved
    # The referee looks at tokens, and not at words.
    assert rows["yields"].relative_gap == rows["right"].relative_gap
    assert not rows["leaves_the_box"].is_feasible
    assert rows["leaves_the_box"].violation == INSTANCE.upper[0]
    off = np.max(np.abs(INSTANCE.lower - OPTIMUM.tokens))
    assert rows["lies"].token_error == pytest.approx(off, rel=1e-6)
    gap = OPTIMUM.objective - INSTANCE.objective(INSTANCE.lower)
    scale = INSTANCE.evaluate(INSTANCE.lower).scale
    assert rows["lies"].relative_gap == pytest.approx(float(gap / scale), rel=1e-6)


@on_linux
def test_the_worst_answer_of_a_run_counts() -> None:
    names = ("answers_worse_later", "answers_nan_later", "answers_a_string_later", "lies")
    solvers = [f"{fakes.__name__}:{name}" for name in names]
    rows = {row.solver: row for row in cq.run_benchmark([INSTANCE], solvers).rows}
    worse, lies = rows[solvers[0]], rows[solvers[3]]
    assert worse.words == "repeats differ fine"
    assert (worse.relative_gap, worse.claim_is_true) == (lies.relative_gap, False)
    assert [rows[it].outcome for it in solvers[1:3]] == 2 * ["no finite answer"]
    assert rows[solvers[1]].words == "repeats differ"


@pytest.mark.parametrize("name", ["works_when_looked_at", "puts_back_the_clock"])
def test_no_time_is_hidden(name: str, isolation: Isolation) -> None:
    run = isolation.run(fake(name), INSTANCE, {}, LIMITS)
    assert run.outcome == "answered", run.words
    assert min(run.seconds) >= 0.1


def test_times_that_are_no_numbers_are_no_answer() -> None:
    call = {"tokens": [1.0], "claims_optimal": None, "iterations": 0, "words": "", "memory": None}
    calls = [call | {"seconds": each, "setup_seconds": 0.0} for each in (0.1, np.inf)]
    assert _run_of(calls, _Watched(0, is_late=False, output="")).outcome == "no finite answer"


def test_the_beginning_of_an_error_is_kept(isolation: Isolation) -> None:
    run = isolation.run(fake("says_much"), INSTANCE, {}, LIMITS)
    assert run.words.startswith("ValueError: the cause, then noise")
    assert len(run.words) == 500


@pytest.mark.parametrize(
    ("words", "is_one"),
    [
        ("License file not found", True),
        ("No license found (user ana)", True),
        ("error 1008: MSK_RES_ERR_MISSING_LICENSE_FILE".replace("_", " "), True),
        ("License expired 2024-01-01", True),
        ("the licence is invalid", True),
        ("Model too large for size-limited license", True),
        ("FileNotFoundError: /opt/licensed/solver/lib.so not found", False),
        ("FileNotFoundError: /opt/license not found", False),
        ("ImportError: cannot import name licenses", False),
        ("ValueError: bad data (see the license terms)", False),
    ],
)
def test_what_says_that_there_is_no_licence(words: str, is_one: bool) -> None:
    assert bool(_LICENCE.search(words)) is is_one


@on_linux
@pytest.mark.parametrize("name", ["prints_megabytes", "reads_what_its_module_has_opened"])
def test_what_costs_no_answer(name: str, isolation: Isolation) -> None:
    run = isolation.run(fake(name), INSTANCE, {}, LIMITS)
    assert run.outcome == "answered", run.words


@on_linux
def test_the_memory_is_that_of_the_run(isolation: Isolation) -> None:
    def memory(name: str, limit: float) -> Run:
        return isolation.run(fake(name), INSTANCE, {}, Limits(5.0, limit))

    little = memory("right", 1e9).memory
    assert little is not None
    assert little < 5e7
    # Where it is too little even for the answer that is right, nothing hangs.
    assert memory("eats_memory", 1e6).outcome == "out of memory"


@on_linux
def test_the_memory_is_not_that_of_telling_it(isolation: Isolation) -> None:
    run = isolation.run(Solver("thirds", f"{__name__}:thirds", "1"), MANY, {}, LIMITS)
    assert run.memory is not None
    # The digits alone of an answer have 2 MB, and six answers of one run are told.
    assert run.memory < 1e7


@on_linux
def test_the_memory_of_telling_an_answer_is_not_limited(isolation: Isolation) -> None:
    run = isolation.run(fake("keeps_all_memory"), MANY, {}, LIMITS)
    assert run.outcome == "answered", run.words


def thirds(instance: cq.Instance) -> FloatArray:
    """Return tokens that have many digits."""
    return np.full(instance.size, 1.0 / 3.0)


@on_linux
def test_more_memory_than_there_is_says_what_is_allowed(isolation: Isolation) -> None:
    with pytest.raises(cq.InvalidInputError, match=r"memory_limit = .* at most \d+e7") as caught:
        isolation.run(fake("right"), INSTANCE, {}, Limits(2.0, 1e300))
    allowed = float(str(caught.value).rpartition("at most ")[2].split()[0])
    assert isolation.run(fake("right"), INSTANCE, {}, Limits(2.0, allowed)).outcome == "answered"


@on_linux
def test_a_server_that_a_solver_stops_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvxqueue.benchmark.isolation._LOADING", 1.0)
    with Isolation() as found:
        run = found.run(fake("stops_the_server"), INSTANCE, {}, Limits(0.5, 1e9))
        assert (run.outcome, run.words) == ("died", "the server of the runs was ended")


@pytest.mark.parametrize("forks", [FORKS, False])
def test_no_limit_is_too_long(forks: bool) -> None:
    with Isolation(forks=forks) as found:
        run = found.run(fake("prints_megabytes"), INSTANCE, {}, Limits(1e300, 1e9))
    assert run.outcome == "answered", run.words


@pytest.mark.parametrize("name", ["right", "raises", "sleeps", "quits", "answers_nan"])
def test_a_fresh_interpreter_where_no_process_is_forked(name: str) -> None:
    with Isolation(forks=False) as spawning:
        run = spawning.run(fake(name), INSTANCE, {}, LIMITS)
    assert run.outcome == EXPECTED[name][0], run.words
    assert run.memory is None


@on_linux
@pytest.mark.parametrize(
    ("forks", "is_running", "number"),
    [
        *((True, True, 9), (True, True, 15), (True, True, 2), (True, False, 9)),
        *((False, False, 9), (False, False, 2)),
    ],
)
def test_nothing_is_left_of_a_program_that_ends(
    forks: bool, is_running: bool, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = str(uuid.uuid4())
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv(MARK, mark)
    name = "detaches_another_and_sleeps" if forks else "sleeps"
    code = (
        f"from {__name__} import *\nwith Isolation(forks={forks}) as found:\n"
        f'    found.run(fake("{name}"), INSTANCE, {{}}, Limits(3600.0, 1e9))'
    )
    program = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    # The program, the server or the run, and the run of the server with what it has detached.
    while len(marked(mark)) < 2 + 2 * (forks and is_running):
        assert program.poll() is None
    program.send_signal(number)
    program.wait()
    assert left_after(2.0, mark) == []
    if is_running:
        assert list(tmp_path.iterdir()) == []


@on_linux
def test_a_run_that_nobody_waits_for_ends_before_it_leads_a_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = str(uuid.uuid4())
    monkeypatch.setenv(MARK, mark)
    write_task(tmp_path, fake("sleeps"), INSTANCE, {}, Limits(3600.0, 1e9))
    with _started_server(()) as server:
        assert server.stdin is not None
        server.stdin.write(json.dumps([str(tmp_path), 3600.0]).encode() + b"\n")
        server.stdin.close()
        left = left_after(20.0, mark)
        for each in left:
            os.kill(each, signal.SIGKILL)
    assert left == []


@on_linux
def test_there_is_one_thread(isolation: Isolation) -> None:
    run = isolation.run(Solver("threads", f"{__name__}:threads", "1"), INSTANCE, {}, LIMITS)
    assert run.words == "1"


@on_linux
def test_whatever_a_solver_starts_shares_one_core(isolation: Isolation) -> None:
    run = isolation.run(Solver("cores", f"{__name__}:cores", "1"), INSTANCE, {}, LIMITS)
    assert run.words == "1"


def cores(instance: cq.Instance) -> cq.Answer:
    """Say how many cores a process of its own has."""
    code = "import os; print(len(os.sched_getaffinity(0)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return cq.Answer(instance.lower, backend_status=done.stdout)


@pytest.mark.parametrize("forks", [FORKS, False])
def test_a_full_disk_is_no_word_on_the_solver(
    forks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nothing"))
    with Isolation(forks=forks) as found, pytest.raises(cq.InvalidInputError, match="TMPDIR"):
        found.run(fake("right"), INSTANCE, {}, LIMITS)


@on_linux
def test_a_server_that_was_ended_between_two_runs_is_no_word_on_the_solver() -> None:
    with Isolation() as found:
        assert found.run(fake("right"), INSTANCE, {}, LIMITS).outcome == "answered"
        assert found._server is not None
        found._server.kill()
        with pytest.raises(cq.InvalidInputError, match="the server of the runs was ended"):
            found.run(fake("right"), INSTANCE, {}, LIMITS)
        assert found.run(fake("right"), INSTANCE, {}, LIMITS).outcome == "answered"


@pytest.mark.parametrize("forks", [FORKS, False])
def test_what_no_process_can_load_is_no_word_on_the_solver(
    forks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quits_when_loaded.py").write_text("import os\nos.write(2, b'bye')\nos._exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with Isolation(forks=forks) as found:
        for reference, words in (
            (f"{fakes.__name__}:nothing", "'gone'.*has no attribute 'nothing'"),
            ("quits_when_loaded:f", "'gone'.*exit status 3 bye"),
        ):
            with pytest.raises(cq.InvalidInputError, match=words):
                found.run(Solver("gone", reference, "1"), INSTANCE, {}, LIMITS)


def threads(instance: cq.Instance) -> cq.Answer:
    """Say how many threads a product of matrices has started."""
    matrix = np.ones((500, 500))
    _ = matrix @ matrix
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    count = next(line.split()[1] for line in lines if line.startswith("Threads:"))
    return cq.Answer(instance.lower, backend_status=count)


def test_rows_have_what_ran(tmp_path: Path) -> None:
    # A row says all that its key is of, so that nobody has to trust a name.
    found = cq.run_benchmark([INSTANCE], [fakes.right], settings=["default"])
    (row,) = found.rows
    assert isinstance(row, Row)
    assert row.solver == f"{fakes.__name__}:right"
    assert row.solver_version.startswith("source ")
    assert row.iterations == 7
    assert row.versions["numpy"] == np.__version__
    assert platform.system() in row.host
