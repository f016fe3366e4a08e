"""Ctrl-C: any command ends at once, as the system ends a program, and leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue import interrupts
from cvxqueue.cli import main
from tests.large import server
from tests.paths import ROOT, SERVER

# Asked for is one; a busy machine schedules late.
SECONDS = 3.0
# Until a command has begun to work; a later signal would find it at the same.
BEGUN = 1.5


class Start(Protocol):
    def __call__(
        self, *words: str, python: Sequence[str] = ..., before: Path = ..., **options: Any
    ) -> subprocess.Popen[bytes]: ...


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the command, with what stands in a folder before every other package."""
    started = []

    def start(
        *words: str, python: Sequence[str] = ("-m", "cvxqueue"), before: Path = ROOT, **options: Any
    ) -> subprocess.Popen[bytes]:
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, *python, *words],
            env={**os.environ, "PYTHONPATH": f"{before}{os.pathsep}{ROOT}"},
            **(pipes | options),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def assert_ends(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a command that runs, and see it end in time and in silence."""
    assert process.poll() is None
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - begun < SECONDS
    # Of the signal: a shell reports 130, and ends the script that called.
    assert (process.returncode, out, err) == (-signal.SIGINT, b"", b"")


def wait_for(path: Path) -> None:
    limit = time.monotonic() + 60.0
    while not path.exists():
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("numpy", ("--version",)),
        ("pydantic", ("check", SERVER)),
        ("cvxpy", ("solve", SERVER)),
        ("rich", ("references",)),
        ("matplotlib", ("solve", SERVER, "--method", "newton", "--plot", "a.png")),
    ],
)
def test_while_a_package_loads_or_its_compiled_code_runs(
    package: str, words: tuple[str, ...], tmp_path: Path, start: Start
) -> None:
    # A loop in C that never asks for signals, as those of the solvers.
    (tmp_path / "before" / package).mkdir(parents=True)
    (tmp_path / "before" / package / "__init__.py").write_text(
        f"open({str(tmp_path / 'begun')!r}, 'x').close()\nsum(range(10**12))\n"
    )
    process = start(*words, before=tmp_path / "before", cwd=tmp_path)
    wait_for(tmp_path / "begun")
    assert_ends(process)
    assert {path.name for path in tmp_path.iterdir()} == {"before", "begun"}


def test_while_it_simulates_a_billion_queries(start: Start) -> None:
    process = start("simulate", SERVER, "--queries", "1e9")
    time.sleep(BEGUN)
    assert_ends(process)


def test_while_it_reads_stdin(start: Start) -> None:
    process = start("check", "-")
    time.sleep(BEGUN)
    assert_ends(process)


@pytest.mark.parametrize("command", [("fit", "--service"), ("diagnose",)])
def test_while_it_reads_measurements(
    command: tuple[str, ...], tmp_path: Path, start: Start
) -> None:
    os.mkfifo(tmp_path / "times.csv")
    process = start(*command, str(tmp_path / "times.csv"))
    # Opened once the command reads it.
    with (tmp_path / "times.csv").open("w") as stream:
        stream.write("tokens,seconds\n")
        stream.flush()
        assert_ends(process)


@pytest.mark.slow
def test_while_clarabel_solves(tmp_path: Path, start: Start) -> None:
    # Compiled by CVXPY in a second, and then in Clarabel, which holds Python up for many.
    rng = np.random.default_rng(0)
    cq.save(server(rng, rng.dirichlet(np.ones(40_000)), 0.9), tmp_path / "large.toml")
    process = start("solve", str(tmp_path / "large.toml"), "--method", "conic")
    time.sleep(5.0)
    assert_ends(process)


def test_at_a_terminal_with_a_progress_bar(start: Start) -> None:
    master, slave = pty.openpty()

    def control() -> None:
        """Make the terminal one that its own Ctrl-C comes from."""
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    process = start(
        *("simulate", SERVER, "--queries", "1e9"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        preexec_fn=control,
    )
    os.close(slave)
    seen = b""
    while b"simulating" not in seen:
        seen += os.read(master, 4096)
    begun = time.monotonic()
    os.write(master, b"\x03")
    assert process.wait(timeout=60) == -signal.SIGINT
    assert time.monotonic() - begun < SECONDS
    # A terminal that nobody writes to any more is at its end: an error, on Linux.
    with suppress(OSError):
        while rest := os.read(master, 4096):
            seen += rest
    os.close(master)
    assert b"Traceback" not in seen
    # The cursor was never hidden, or is there again.
    assert seen.rfind(b"\x1b[?25l") <= seen.rfind(b"\x1b[?25h")


def test_in_the_background_it_takes_no_notice(start: Start) -> None:
    process = start(
        *("check", "-"), preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
    )
    time.sleep(BEGUN)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(Path(SERVER).read_bytes(), timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"qwen3-8b-h100: a valid instance")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.toml", ["fit", "--service", "t.csv", "--accuracy", "a.csv", "-o", "a.toml", "--force"]),
        ("a.svg", ["solve", SERVER, "--method", "newton", "--plot", "a.svg"]),
    ],
    ids=["fit", "plot"],
)
def test_while_it_writes_a_file_the_old_one_stays_whole(
    name: str, words: list[str], tmp_path: Path, start: Start
) -> None:
    (tmp_path / "t.csv").write_text("tokens,seconds\n10,0.11\n20,0.21\n30,0.31\n40,0.39\n")
    (tmp_path / "a.csv").write_text("tokens,correct,total\n0,20,99\n500,60,99\n4000,95,99\n")
    (tmp_path / name).write_text("old")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    more = ["--accuracy-weight", "9", "--max-tokens", "4000", "--arrival-rate", "0.1"]
    arguments = [*words, *(more if words[0] == "fit" else [])]
    code = (
        "import os, sys, time\n"
        "def fsync(stream): print('writing', flush=True); time.sleep(60)\n"
        "os.fsync = fsync\n"
        "from cvxqueue.cli import main\n"
        "main()\n"
    )
    process = start(*arguments, python=("-c", code), cwd=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    assert len(list(tmp_path.iterdir())) == len(before) + 1
    assert_ends(process)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_within_another_program_it_is_for_that_to_handle(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cvxqueue.cli.inputs.load", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    assert main(["check", SERVER]) == 128 + signal.SIGINT
    assert capsys.readouterr() == ("", "")
    assert signal.getsignal(signal.SIGINT) is handler
    with interrupts.cleaning_up():
        assert signal.getsignal(signal.SIGINT) is handler


def test_importing_the_package_leaves_the_signals_of_others_alone(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import signal, cvxqueue\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    for how in ([str(program)], ["-m", "program", "cvxqueue"], ["-c", program.read_text()]):
        subprocess.run([sys.executable, *how], env=environment, check=True, timeout=60)


def test_a_program_with_arguments_of_its_own_can_import_the_package() -> None:
    program = "import sys; sys.argv = ['x', '1', '0', '2', '3', '4', '5']; import cvxqueue"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("arguments", "started", "is_it"),
    [
        (["/usr/bin/cvxqueue", "info"], ["python", "/usr/bin/cvxqueue", "info"], True),
        (["-m", "info"], ["python", "-m", "cvxqueue", "info"], True),
        # A notebook or a worker of multiprocessing whose arguments are longer than Python's own.
        (["study.py", "a", "b", "c"], ["python", "-c"], False),
        (["program"], [], False),
        ([], [], False),
        # A program that has taken an argument out.
        (["tool.py"], ["python", "tool.py", "servers/cvxqueue"], False),
        (["tools/cvxqueue.py"], ["python", "tools/cvxqueue.py"], False),
    ],
)
def test_what_counts_as_the_command(arguments: list[str], started: list[str], is_it: bool) -> None:
    assert interrupts._is_program(arguments, started) is is_it
