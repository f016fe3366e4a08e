"""The file of rows: whole lines, one writer, one row for each run, whatever happens to it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

import cvxqueue as cq
from cvxqueue.benchmark.rows import Row, opened_rows, read_rows, write_rows
from tests.benchmark import fakes
from tests.benchmark.processes import MARK, left_after
from tests.paths import ROOT

INSTANCES = [cq.references.exact(types).instance for types in (1, 2, 3)]
SOLVERS = [f"{fakes.__name__}:{name}" for name in ("right", "waits", "raises")]


def row(solver: str = "newton", **changes: object) -> Row:
    data: dict[str, object] = {
        "instance": "three",
        "instance_digest": "ab",
        "types": 3,
        "solver": solver,
        "solver_version": "1",
        "settings": "default",
        "time_limit": 10.0,
        "memory_limit": None,
        "outcome": "answered",
        "words": "",
        "seconds": [0.5],
        "host": "here",
        "versions": {"numpy": "2.0"},
    }
    return Row(**data | changes)  # type: ignore[arg-type]


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [row(), row("other", relative_gap=1e-300, words="é\n|\x1b", is_feasible=True)]
    write_rows(path, rows)
    assert read_rows([path]) == rows
    assert all(
        json.loads(line)["format"] == "cvxqueue-benchmark"
        for line in path.read_bytes().splitlines()
    )


@pytest.mark.parametrize("kept", [1, 20, 36, 37, 200, -2])
def test_a_torn_last_line_is_dropped_and_written_again(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(row().line() + row("other").line()[:kept])
    assert read_rows([path]) == [row()]
    with opened_rows(path) as (_, append):
        append(row("other"))
    assert read_rows([path]) == [row(), row("other")]


def test_a_whole_last_line_counts_without_its_end(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(row().line() + row("other").line().rstrip())
    assert read_rows([path]) == [row(), row("other")]
    with opened_rows(path) as (_, append):
        append(row("third"))
    assert read_rows([path]) == [row(), row("other"), row("third")]


@pytest.mark.parametrize(
    "content",
    ["important\n", "important", '{"a": 1}', "[]\n", "{}\n", "\x00", "null\n", "[" * 9999],
)
def test_nobodys_file_is_cut(tmp_path: Path, content: str) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text(content)
    with pytest.raises(cq.InvalidInputError, match=r"thesis\.txt: line 1"), opened_rows(path):
        pass
    assert path.read_text() == content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 2"),
        ({"solver": "mine"}, "was changed: its key is of another run"),
        ({"relative_gap": "0"}, "relative_gap: input should be a valid number"),
        ({"seconds": [None]}, "seconds.0: input should be a valid number"),
        ({"outcome": "won"}, "outcome: input should be 'answered'"),
        ({"seconds": [0.1, -0.1]}, r"seconds = .0\.1, -0\.1. must be ≥ 0"),
        ({"memory": 10**400}, "memory = 10+.* must be ≥ 0"),
        ({"bonus": 1}, "bonus: unexpected keyword argument"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        row().line() + json.dumps(json.loads(row("b").line()) | change).encode() + b"\n"
    )
    with pytest.raises(cq.InvalidInputError, match=rf"line 2.*{words}"):
        read_rows([path])


def test_one_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with (
        opened_rows(path),
        pytest.raises(cq.InvalidInputError, match="being written by another process"),
        opened_rows(path),
    ):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size")
@pytest.mark.parametrize(("content", "room"), [(b"", 100), (row().line().rstrip(), -1)])
def test_a_full_disk_is_one_error_and_the_rest_is_whole(
    content: bytes, room: int, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "import cvxqueue as cq; from cvxqueue.benchmark.rows import opened_rows\n"
        "from tests.benchmark.test_rows import row\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"size = len(row().line()) + {room}\n"
        "most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))\n"
        "try:\n"
        "    with opened_rows(Path(sys.argv[1])) as (_, append):\n"
        "        append(row()); append(row('other'))\n"
        "except cq.InvalidInputError as error: print(error)\n"
        # What measures coverage writes its file at the end.
        "resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == (f"cannot write {path}: File too large\n", "")
    assert read_rows([path]) == [row()]


@pytest.mark.slow
def test_what_was_run_is_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    seen: list[str] = []

    def run(solvers: list[str], **options: object) -> cq.Benchmark:
        return cq.run_benchmark(
            INSTANCES[:2],
            solvers,
            settings=["default"],
            output=path,
            progress=lambda name, total: seen.append(f"{name} of {total}"),
            **options,  # type: ignore[arg-type]
        )

    first = run(SOLVERS[:1])
    assert len(first.rows) == len(seen) == 2
    assert run(SOLVERS[:1]).rows == first.rows
    assert len(seen) == 2
    assert len(run(SOLVERS[:1], time_limit=9.0).rows) == 4
    assert len({each.key for each in run(SOLVERS).rows}) == 8
    assert seen[-1].endswith("of 4")


def test_shards_are_the_parts_of_one_whole_and_merge(tmp_path: Path) -> None:
    paths = [tmp_path / f"{part}.jsonl" for part in (1, 2)]
    for part, path in enumerate(paths, start=1):
        cq.run_benchmark(INSTANCES, SOLVERS[::2], output=path, shard=(part, 2))
    # Every solver of an instance is in one part.
    parts = [{each.instance_digest for each in read_rows([path])} for path in paths]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(INSTANCES)
    merged = cq.Benchmark.read(*paths, paths[0])
    assert len(merged.rows) == len({each.key for each in merged.rows}) == 6
    merged.write(tmp_path / "all.jsonl")
    assert cq.Benchmark.read(tmp_path / "all.jsonl").rows == merged.rows


def killed_and_resumed(folder: Path, after: float, number: int = 9) -> None:
    """End a comparison so long after its start by a signal, and let another go on with it."""
    mark, path = str(uuid.uuid4()), folder / f"{after:.3f}.jsonl"
    command = [sys.executable, "-m", "cvxqueue", "benchmark", "exact:1", "exact:2", "exact:3"]
    command += [argument for name in SOLVERS for argument in ("--solver", name)]
    command += ["--settings", "default", "--output", str(path)]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {MARK: mark, "TMPDIR": str(folder)}
    ) as program:
        time.sleep(after)
        program.send_signal(number)
    assert left_after(2.0, mark) == [], after
    begun = path.read_bytes().count(b"\n") if path.exists() else 0
    done = subprocess.run(
        [*command, "--json"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["runs"] == 9
    keys = [json.loads(line)["key"] for line in path.read_bytes().splitlines()]
    whole = {each.key for each in cq.run_benchmark(INSTANCES, SOLVERS, settings=["default"]).rows}
    assert (len(keys), set(keys)) == (9, whole), (after, begun)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are counted in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, 9])
def test_a_killed_comparison_is_resumed(tmp_path: Path, number: int) -> None:
    killed_and_resumed(tmp_path, 2.0, number)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are counted in /proc")
def test_a_comparison_killed_at_any_moment_is_resumed(tmp_path: Path) -> None:
    # From before it has imported anything to after its end.
    moments = random.Random(17)
    for _ in range(10):
        killed_and_resumed(tmp_path, moments.uniform(0.1, 4.0))
