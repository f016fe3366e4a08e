"""The command with streams that are closed or full, and in locales that know few letters."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import cvxqueue as cq
from cvxqueue.cli import main
from cvxqueue.fitting import read_requests

SERVER = """\
format = "cvxqueue-instance"
version = 1
name = "\\u001b[31mserver"
arrival_rate = 0.2
accuracy_weight = 60
max_tokens = 4096
names = ["\\u001b]0;owned\\u0007λ\\u202e", "hard"]
probabilities = [0.3, 0.7]
service = { kind = "affine", base = 0.5, per_token = 0.002 }
accuracy = { kind = "saturating-exponential", floor = 0.2, gain = 0.5, rate = 0.001 }
"""
# Python's own ways around the locale are off.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


class Run(NamedTuple):
    """How a command in a shell ended; what went elsewhere is empty."""

    status: int
    out: str
    err: str


@pytest.fixture
def server(tmp_path: Path) -> Path:
    path = tmp_path / "server.toml"
    path.write_text(SERVER, encoding="utf-8")
    return path


def shell(folder: Path, words: str, **environment: str) -> Run:
    """Run ``cvxqueue`` with the redirections of a shell."""
    run = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "{sys.executable}" -m cvxqueue {words}'],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(cq.__file__).parents[1]),
            "COLUMNS": "80",
            **environment,
        },
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert b"Traceback" not in run.stderr
    assert b"Exception" not in run.stderr
    return Run(run.returncode, run.stdout.decode(errors="replace"), run.stderr.decode())


CLOSED_OUT = "cvxqueue: error: cannot write standard output: it is closed\n"
FULL_OUT = "cvxqueue: error: cannot write standard output: No space left on device\n"
NO_FILE = "cannot read no.toml: No such file or directory"
ONE_LINE = f"cvxqueue: error: {NO_FILE}\n"


@pytest.mark.parametrize(
    ("words", "status", "err"),
    [
        ("check server.toml >&-", 2, CLOSED_OUT),
        ("--version >/dev/full", 2, FULL_OUT),
        ("check server.toml 2>&-", 0, ""),
        ("solve server.toml --method newton 2>/dev/full", 0, ""),
        ("check no.toml 2>/dev/full", 2, ""),
        ("check server.toml <&-", 0, ""),
        ("check - <&-", 2, "cvxqueue: error: stdin: is closed; give the name of a file\n"),
        ("check server.toml <&- >&- 2>&-", 2, ""),
        ("schema | true", 0, ""),
        ("check no.toml --json | true", 2, ONE_LINE),
        ("check no.toml 2> >(true)", 2, ""),
    ],
)
def test_a_stream_that_takes_or_gives_nothing(
    words: str, status: int, err: str, server: Path
) -> None:
    run = shell(server.parent, words)
    assert (run.status, run.err) == (status, err)


@pytest.mark.parametrize("words", ["2>&-", "2>/dev/full"])
def test_an_error_is_one_object_where_stdout_is_there(words: str, server: Path) -> None:
    run = shell(server.parent, f"check no.toml --json {words}")
    assert run.status == 2
    assert json.loads(run.out) == {"status": "invalid_input", "error": NO_FILE}


def test_a_stdin_that_is_endless_is_refused(server: Path) -> None:
    run = shell(server.parent, "check - --json </dev/zero")
    assert run.status == 2
    assert "50 MB" in json.loads(run.out)["error"]


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        (ASCII, r"\u03bb"),
        ({"PYTHONIOENCODING": "ascii:strict"}, r"\u03bb"),
        ({"PYTHONIOENCODING": "latin-1:replace"}, "?"),
    ],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
)
def test_a_locale_without_greek_letters_gets_escapes(
    environment: dict[str, str], shown: str, server: Path
) -> None:
    run = shell(server.parent, "solve server.toml --method newton", **environment)
    assert (run.status, run.err) == (0, "")
    assert shown in run.out


def test_an_error_in_ascii_is_one_object(server: Path) -> None:
    run = shell(server.parent, "check é.toml --json", **ASCII)
    assert run.status == 2
    assert "No such file" in json.loads(run.out)["error"]
    assert (run.out + run.err).isascii()


COMMANDS = {
    "check": "check server.toml",
    "solve": "solve server.toml --method newton",
    "simulate": "simulate server.toml --queries 100",
    "fit": "fit --service requests.csv",
    "an unknown file": "check \x1b[31m.toml",
    "an unknown argument": "check server.toml \x1b[31m",
    "an unknown command": "\x1b[31m",
    "an unknown column": "diagnose requests.csv --column tokens=\x1b[31m",
    "a file of broken rows": "diagnose broken.csv",
    "a kind": "check kind.toml",
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_no_name_reaches_the_terminal_raw(
    words: str, server: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(server.parent)
    rows = "".join(f"{k},{k + 1},\x1b]0;owned\x07\n" for k in range(40))
    Path("requests.csv").write_text(f"tokens,seconds,type\n{rows}", encoding="utf-8")
    Path("broken.csv").write_text("tokens,\x1b[31m\n\x1b[31m,\x07\n", encoding="utf-8")
    kind = SERVER.replace("affine", "\\u001b[31maffine")
    Path("kind.toml").write_text(kind, encoding="utf-8")
    status = main(words.split())
    out, err = capsys.readouterr()
    assert status in (0, 1, 2)
    assert (out + err).replace("\n", "").isprintable()
    assert r"\x1b" in out + err


def hidden(folder: Path) -> Path:
    """A file in a directory that nobody may search."""
    inner = folder / "hidden"
    inner.mkdir()
    (inner / "a.toml").write_text(SERVER, encoding="utf-8")
    inner.chmod(0)
    return inner / "a.toml"


def forbid(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the system deny all that asks for a directory, whoever it is."""
    for where, name in ((os, "stat"), (io, "open")):
        known = getattr(where, name)

        def denied(path: Any, *rest: Any, known: Any = known, **options: Any) -> Any:
            if str(path).startswith(f"{folder}{os.sep}"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return known(path, *rest, **options)

        monkeypatch.setattr(where, name, denied)


def circle(folder: Path) -> Path:
    """A link to itself."""
    link = folder / "circle.toml"
    link.symlink_to(link)
    return link


PLACES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a name of 300 letters": (lambda folder: folder / ("x" * 300 + ".toml"), "File name too long"),
    "a directory": (lambda folder: folder, "is a directory"),
    "a file that is not there": (lambda folder: folder / "no.toml", "No such file"),
    "a file in a file": (lambda folder: folder / "server.toml" / "a.toml", "Not a directory"),
    "a directory that may not be searched": (hidden, "Permission denied"),
    "a link to itself": (circle, "symbolic links"),
    "a device without end": (lambda _: Path("/dev/zero"), "MB, the most that is read"),
    "a name with a NUL": (lambda folder: folder / "\0.toml", "null byte"),
    "a name that is no text": (lambda folder: folder / "\udcff.toml", "No such file"),
}


@pytest.mark.parametrize(("place", "says"), PLACES.values(), ids=PLACES)
def test_a_file_that_cannot_be_read_says_so(
    place: Callable[[Path], Path],
    says: str,
    server: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = place(server.parent)
    commands = (
        ["check", str(path)],
        ["diagnose", str(path)],
        ["fit", "--accuracy", str(path)],
        ["simulate", str(server), "--trace", str(path)],
        ["report", str(path), "-o", str(server.parent / "page.html")],
    )
    if place is hidden:
        # The superuser may search every directory.
        forbid(path.parent, monkeypatch)
    ends = [(main([*words, "--json"]), capsys.readouterr()) for words in commands]
    for status, (out, err) in ends:
        assert status == 2
        assert says in json.loads(out)["error"]
        assert err.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "option",
    [["check", "X"], ["fit", "--service", "X"], ["solve", "server.toml", "--plot", "X.png"]],
    ids=lambda option: option[0],
)
def test_a_name_that_is_too_long_to_read_or_write(
    option: list[str],
    server: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(server.parent)
    assert main([word.replace("X", "x" * 300) for word in option]) == 2
    assert "File name too long" in capsys.readouterr().err


def test_measurements_are_read_up_to_a_length(tmp_path: Path) -> None:
    path = tmp_path / "endless.csv"
    with path.open("wb") as stream:
        stream.truncate(200_000_001)  # a hole, which takes no room on the disk
    with pytest.raises(cq.InvalidInputError, match="more than 200 MB"):
        read_requests(path)
