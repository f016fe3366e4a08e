"""Hostile files: each ends in an answer or in one line that says why not, soon and in little room.

Every file is read by the command that people read it with, so that its message is tried as well.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import cvxqueue as cq
from cvxqueue.cli import main
from cvxqueue.fitting import read_answers, read_requests

# What reading a file may take: seconds of a processor, and bytes beside those taken before.
MOST_SECONDS = 5.0
MOST_BYTES = 1e9

HEAD = 'format = "cvxqueue-instance"\nversion = 1\n'
REST = """\
arrival_rate = 0.2
accuracy_weight = 60
max_tokens = 4096
probabilities = [0.3, 0.7]
service = { kind = "affine", base = 0.5, per_token = 0.002 }
accuracy = { kind = "saturating-exponential", floor = 0.2, gain = 0.5, rate = 0.001 }
"""
VALID = HEAD + REST
LARGE_HEXADECIMAL = "0x" + "f" * 4000
ESCAPE = "\x1b]0;owned\x07\x1b[31m"

Make = Callable[[], str | bytes]


def document(**changes: object) -> str:
    """The valid instance as JSON, with some keys changed."""
    data = cq.to_dict(cq.files.loads(VALID))
    return json.dumps({**data, **changes})


def vllm(**changes: object) -> str:
    good = {"output_lens": [10, 20], "ttfts": [0.1, 0.1], "itls": [[0.01] * 9, [0.01] * 19]}
    return json.dumps({**good, **changes})


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + closing * depth


def lines(timestamp: str) -> str:
    return f'{{"timestamp": {timestamp}, "input_length": 1}}\n' * 3


def numbered(count: int, form: str, between: str = "\n") -> str:
    return between.join(form.format(k) for k in range(count))


TOML: dict[str, Make] = {
    "format dotted 2,000 deep": lambda: "format" + ".a" * 2000 + " = 1\n",
    "dotted key of 40 KB": lambda: HEAD + "a." * 20_000 + "a = 1\n",
    "dotted key of 40 KB with spaces": lambda: HEAD + "a . " * 10_000 + "a = 1\n",
    "dotted key of quoted escapes": lambda: HEAD + r'"\"".' * 8000 + "a = 1\n",
    "dotted key of literal names": lambda: HEAD + "'='." * 10_000 + "a = 1\n",
    "dotted header of 40 KB": lambda: HEAD + "[" + "a." * 20_000 + "a]\n",
    "dotted key of 40 KB inside a table": lambda: HEAD + "x = { " + "a." * 20_000 + "a = 1 }\n",
    "dotted names by the thousand": lambda: HEAD + numbered(20_000, "x{0}" + ".a{0}" * 7 + " = 1"),
    "headers by the hundred thousand": lambda: HEAD + numbered(300_000, "[x{}]"),
    "keys by the hundred thousand": lambda: HEAD + numbered(300_000, "x{} = 1"),
    "tasks by the hundred thousand": lambda: HEAD + "[[task]]\n" * 300_000,
    "a key of a megabyte": lambda: HEAD + "x" * 1_000_000 + " = 1\n",
    "a long row of one letter": lambda: HEAD + "x = " + "1" * 1_000_000 + "\n",
    "a string of a megabyte": lambda: f'format = "{"x" * 1_000_000}"\nversion = 1\n',
    "a comment of five megabytes": lambda: HEAD + "#" + "x" * 5_000_000 + "\n" + REST,
    "hexadecimal version": lambda: VALID.replace("version = 1", f"version = {LARGE_HEXADECIMAL}"),
    "hexadecimal format": lambda: f"format = {LARGE_HEXADECIMAL}\nversion = 1\n",
    "hexadecimal rate": lambda: VALID.replace("0.2", LARGE_HEXADECIMAL, 1),
    "hexadecimal kind": lambda: VALID.replace('"affine"', LARGE_HEXADECIMAL),
    "hexadecimal probability": lambda: VALID.replace("0.7]", f"{LARGE_HEXADECIMAL}]"),
    "hexadecimal curve": lambda: (
        HEAD
        + REST.partition("accuracy =")[0]
        + f'accuracy = {{ kind = "mixed", which = [0, {LARGE_HEXADECIMAL}], curves = '
        '[{ kind = "michaelis-menten", floor = 0, gain = 1, half_saturation = 9 }] }\n'
    ),
    "hexadecimal type of a floor": lambda: (
        VALID + f'[[constraint]]\nkind = "min-accuracy"\naccuracy = 0.3\ntype = {LARGE_HEXADECIMAL}'
    ),
    "hexadecimal list": lambda: HEAD + f"probabilities = [[{LARGE_HEXADECIMAL}]]\n",
    "binary number of a megabyte": lambda: HEAD + "x = 0b" + "1" * 1_000_000,
    "whole number of 5,000 digits": lambda: VALID.replace("0.2", "9" * 5000, 1),
    "number beyond float64": lambda: VALID.replace("0.2", "1e400", 1),
    "lists 5,000 deep": lambda: HEAD + "x = " + nested(5000),
    "tables 5,000 deep": lambda: HEAD + "x = " + nested(5000, "{a=", "}"),
    "lists under format": lambda: "format = " + nested(90) + "\nversion = 1\n",
    "a list of lists without end": lambda: HEAD + "x = [" + "[]," * 300_000,
    "a list of strings for numbers": lambda: VALID.replace("0.3,", "'x'," * 200_000),
    "a date for a number": lambda: VALID.replace("0.2", "1979-05-27T07:32:00Z", 1),
    "a NUL": lambda: VALID + "\0",
    "not UTF-8": lambda: VALID.encode() + b"\xff\xfe",
    "UTF-16": lambda: VALID.encode("utf-16"),
    "nothing": lambda: "",
    "a byte order mark alone": lambda: b"\xef\xbb\xbf",
    "a string that never ends": lambda: HEAD + 'name = """' + "x\n" * 100_000,
    "escapes in a key": lambda: VALID + '"\\u001b]0;owned\\u0007\\u001b[31m" = 1\n',
    "escapes in a kind": lambda: VALID.replace("affine", "\\u001b[31maffine"),
    "escapes in a name": lambda: 'name = "\\u001b[31mred"\n' + VALID,
    "escapes raw": lambda: VALID.replace("affine", ESCAPE),
    "one table twice": lambda: VALID + "[queue]\n[queue]\n",
    "a kind that is a table": lambda: VALID.replace('"affine"', "{ a = 1 }"),
}
JSON: dict[str, Make] = {
    "lone surrogate as a key": lambda: document(**{"\ud800": 1}),
    "lone surrogate as a key below": lambda: document(queue={"kind": "fifo", "\udfff": 1}),
    "lone surrogate as a name": lambda: document(name="\ud800"),
    "lone surrogate as a kind": lambda: document(queue={"kind": "\ud800"}),
    "lone surrogate as the format": lambda: document(format="\ud800"),
    "lists 100,000 deep": lambda: nested(100_000),
    "objects 100,000 deep": lambda: nested(100_000, '{"a":', "}"),
    "lists 900 deep under format": lambda: '{"version":1,"format":' + nested(900) + "}",
    "lists 900 deep under probabilities": lambda: document().replace("[0.3, 0.7]", nested(900)),
    "whole number of 5,000 digits": lambda: document().replace("60.0", "9" * 5000),
    "whole number of 400 digits": lambda: document().replace("60.0", "9" * 400),
    "number beyond float64": lambda: document().replace("60.0", "1e999"),
    "NaN": lambda: document().replace("60.0", "NaN"),
    "a key of a megabyte twice": lambda: "{" + ('"' + "x" * 1_000_000 + '":1,') * 2 + '"y":1}',
    "keys by the hundred thousand": lambda: "{" + numbered(300_000, '"x{}":1', ",") + "}",
    "kinds by the hundred thousand": lambda: document(constraint=[{"kind": "x"}] * 100_000),
    "tasks by the hundred thousand": lambda: document(task=[{}] * 300_000),
    "a million lists": lambda: document(probabilities=[[]] * 1_000_000),
    "a million strings for numbers": lambda: document(probabilities=["ab"] * 1_000_000),
    "a list": lambda: "[1, 2]",
    "a number": lambda: "1e5",
    "null": lambda: "null",
    "half a file": lambda: document()[:200],
    "two files": lambda: document() * 2,
    "UTF-16": lambda: document().encode("utf-16"),
}
CSV: dict[str, Make] = {
    "30,000 columns": lambda: numbered(30_000, "column {}", ",") + "\n" + "1," * 29_999 + "1\n",
    "30,000 columns of one name": lambda: "x," * 30_000 + "tokens\n",
    "many columns and rows": lambda: numbered(900, "c{}", ",") + "\n" + ("1," * 899 + "1\n") * 400,
    "a column's name of a megabyte": lambda: "x" * 1_000_000 + ",tokens\n1,2\n",
    "a column's name of 100 KB": lambda: "x" * 100_000 + ",tokens\n1,2\n",
    "a quotation that never ends": lambda: 'tokens,seconds\n"1,2\n' + "1,2\n" * 40_000,
    "a NUL": lambda: "tokens,seconds\n1,\0\n",
    "a cell of a megabyte": lambda: "tokens,seconds\n" + "1" * 1_000_000 + ",2\n",
    "a cell of 100 KB": lambda: "tokens,seconds\n" + "1" * 100_000 + ",2\n",
    "a row of a million cells": lambda: "tokens,seconds\n" + "1," * 1_000_000 + "\n",
    "two hundred thousand empty lines": lambda: "tokens,seconds\n" + "\n" * 200_000 + "1,2\n",
    "a header alone": lambda: "tokens,seconds\n",
    "carriage returns": lambda: "tokens,seconds\r1,2\r3,4\r",
    "escapes in a column": lambda: f"tokens,{ESCAPE}\n1,2\n",
    "escapes in a cell": lambda: f"tokens,seconds\n1,{ESCAPE}\n",
    "escapes in a type": lambda: "tokens,seconds,type\n" + f"1,2,{ESCAPE}\n" * 40,
    "numbers of other programs": lambda: "tokens,seconds\n1e999,0x10\n1_000,½\n١,٢\n",
    "dates at the ends of time": lambda: (
        "tokens,seconds,arrival\n1,2,0001-01-01T00:00:00+23:59\n1,2,9999-12-31T23:59:59-23:59\n"
    ),
    "not UTF-8": lambda: b"tokens,seconds\n1,\xff\n",
    "nothing": lambda: "\n\n",
}
JSON_LINES: dict[str, Make] = {
    "numbers of 400 digits": lambda: lines("9" * 400),
    "numbers of 5,000 digits": lambda: lines("9" * 5000),
    "lists 900 deep": lambda: lines(nested(900)),
    "lists 100,000 deep": lambda: lines(nested(100_000)),
    "lone surrogates": lambda: '{"timestamp": 1, "input_length": 1, "type": "\\ud800"}\n' * 40,
    "a lone surrogate as a key": lambda: '{"\\ud800": 1, "input_length": 1}\n' * 3,
    "no objects": lambda: '{"input_length": 1}\n[]\n1\n"x"\n' + '"' + "x" * 1_000_000 + '"\n',
    "30,000 keys": lambda: '{"input_length": 1, ' + numbered(30_000, '"k{}": 1', ",") + "}\n",
    "other keys in each line": lambda: numbered(10_000, '{{"input_length": 1, "k{}": 1}}'),
    "escapes in a key": lambda: '{"\\u001b[31m": 1, "input_length": 1}\n' * 3,
    "NaN": lambda: '{"timestamp": NaN, "input_length": Infinity}\n' * 3,
}
VLLM: dict[str, Make] = {
    "times of 400 digits": lambda: vllm(ttfts=[10**400, 0.1]),
    "tokens of 400 digits": lambda: vllm(output_lens=[10**400, 1]),
    "times 900 deep": lambda: vllm(itls=0).replace('"itls": 0', f'"itls": [{nested(900)}, []]'),
    "tokens 900 deep": lambda: vllm().replace("[10, 20]", f"[{nested(900)}, 1]"),
    "lists of other lengths": lambda: vllm(ttfts=[0.1]),
    "thirty thousand runs": lambda: "{}\n" * 30_000,
    "runs of nothing": lambda: vllm(output_lens=[], ttfts=[], itls=[]),
    "concurrency of 400 digits": lambda: vllm(max_concurrency=10**400),
    "numbers for lists": lambda: vllm(output_lens=7),
}
FILES = [
    pytest.param(suffix, make, id=f"{kind}: {name}")
    for kind, suffix, table in (
        ("TOML", ".toml", TOML),
        ("JSON", ".json", JSON),
        ("CSV", ".csv", CSV),
        ("JSON Lines", ".jsonl", JSON_LINES),
        ("vLLM", ".vllm", VLLM),
    )
    for name, make in table.items()
]


def greatest_size() -> float:
    """Greatest number of bytes that this process has taken so far."""
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def within_limits() -> Iterator[None]:
    started, size = time.process_time(), greatest_size()
    yield
    assert time.process_time() - started < MOST_SECONDS
    assert greatest_size() - size < MOST_BYTES


def reported(capsys: pytest.CaptureFixture[str], status: int) -> str:
    """What a command with --json said, which is one JSON object and harmless lines."""
    out, err = capsys.readouterr()
    assert status in (0, 1, 2)
    data = json.loads(out)
    assert isinstance(data, dict)
    assert err.replace("\n", "").isprintable()
    assert len(err) < 4000
    if status:
        assert err.startswith("cvxqueue: error: ")
        assert data["error"] == err.removeprefix("cvxqueue: error: ").removesuffix("\n")
        assert data["error"].replace("\n", "").isprintable()
    return err


@pytest.mark.parametrize(("suffix", "make"), FILES)
def test_a_hostile_file_ends_in_an_answer_or_one_line(
    suffix: str, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = make()
    path = tmp_path / f"hostile{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if suffix in (".toml", ".json"):
        with within_limits():
            status = main(["check", str(path), "--json"])
        reported(capsys, status)
        return
    with within_limits():
        status = main(["diagnose", str(path), "--json"])
    reported(capsys, status)
    server = tmp_path / "server.toml"
    server.write_text(VALID, encoding="utf-8")
    with within_limits():
        status = main(["simulate", str(server), "--trace", str(path), "--tokens", "9", "--json"])
    reported(capsys, status)
    for read in (read_answers, lambda file: read_requests(file, needs=())):
        with within_limits(), suppress(cq.CvxqueueError):
            read(path)
