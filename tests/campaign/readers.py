"""Mutated files: what reads them succeeds or says why not, in 5 s and 1 GB."""

from __future__ import annotations

import json
import re
import resource
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import cvxqueue as cq
from cvxqueue.errors import CvxqueueWarning
from cvxqueue.files.text import render
from cvxqueue.fitting import read_answers, read_requests
from tests.campaign.report import Report

TRIALS = 20_000

_MOST_SECONDS = 5.0
_MOST_BYTES = 1e9
# A message has room for a path, a few values of 80 characters and forty names.
_LONGEST_MESSAGE = 5000
# Mutations that repeat stop here, so that a trial takes milliseconds; tests have longer files.
_LONGEST_FILE = 300_000

_TASKS = cq.Instance(
    name="tasks",
    arrival_rate=0.2,
    accuracy_weight=60.0,
    max_tokens=4096,
    names=["proofs", "chat", "talk"],
    probabilities=[0.3, 0.5, 0.2],
    importance=[1.0, 2.0, 1.0],
    service=cq.AffineService(base=0.5, per_token=[0.002, 0.001, 0.003]),
    accuracy=cq.MixedAccuracy(
        curves=[
            cq.SaturatingExponential(floor=0.2, gain=[0.6, 0.5], rate=0.001),
            cq.PiecewiseLinear(tokens=[0, 500, 2000], accuracy=[0.3, 0.5, 0.6]),
        ],
        which=[0, 1, 0],
    ),
    queue=cq.Setups(mean=2.0, second_moment=5.0),
    constraints=[cq.MaxMeanSystemTime(9.5), cq.MinAccuracy(0.21, type="chat")],
    domains=[cq.Integers(), cq.Menu([0, 64, 512]), cq.Multiples(64)],
)
_ARRAYS = cq.Instance(
    arrival_rate=0.2,
    accuracy_weight=60.0,
    max_tokens=4096,
    probabilities=[1 / 64] * 64,
    service=cq.AffineService(base=0.5, per_token=0.002),
    accuracy=cq.MichaelisMenten(
        floor=0.2, gain=0.5, half_saturation=[300.0 + k for k in range(64)]
    ),
)
_REQUESTS = "tokens,latency_ms,arrival,type\n" + "".join(
    f'{10 * k},{200 + 20 * k},2026-01-31 12:00:{k:02d}.5,"type {k % 2}"\n' for k in range(30)
)
_ANSWERS = "budget;correct;total;task\n" + "".join(
    f"{100 * k};{40 + k};100;{'ab'[k % 2]}\n" for k in range(20)
)
_TRACE = "".join(
    json.dumps({"timestamp": 100 * k, "input_length": 9, "output_length": k, "hash_ids": [k]})
    + "\n"
    for k in range(30)
)
_BENCHMARK = json.dumps(
    {
        "output_lens": [3] * 9,
        "ttfts": [0.1] * 9,
        "itls": [[0.01, 0.02]] * 9,
        "errors": [""] * 9,
        "max_concurrency": 1,
    }
)
_FILES = [
    *((".toml", render(cq.to_dict(instance), "toml")) for instance in (_TASKS, _ARRAYS)),
    *((".json", render(cq.to_dict(instance), "json")) for instance in (_TASKS, _ARRAYS)),
    (".csv", _REQUESTS),
    (".csv", _ANSWERS),
    (".jsonl", _TRACE),
    (".json of vLLM", _BENCHMARK),
]
_PIECES = [
    *(b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1b[31m", b"\r", b"\r\n", b"\n", b"\t"),
    *("\u202e".encode(), "\u2028".encode(), "\U0001f600".encode(), "½".encode(), "١".encode()),
    *(rb"\ud800", rb"\u001b[2J", rb"\u0000", rb"\"", b"\\", b'"', b'"""', b"'''", b"'", b"#"),
    *(b"{", b"}", b"[", b"]", b"[[", b"]]", b",", b";", b":", b"=", b".", b"a.a.a", b"//", b"@"),
    *(b"nan", b"inf", b"-inf", b"NaN", b"Infinity", b"null", b"true", b"false", b"None", b"[]"),
    *(b"{}", b"0x" + b"f" * 900, b"9" * 400, b"9" * 5000, b"1e999", b"1e-999", b"-1", b"-0.0"),
    *(b"0", b"1_000", b"1,5", b"5e-324", b"1.7976931348623157e308", b"9007199254740993", b"1e16"),
    *(b"1979-05-27T07:32:00Z", b"0001-01-01", b"9999-12-31T23:59:59-23:59", b"07:32:00"),
    *(b"[[task]]\n", b"[queue]\n", b'kind = "levels"\n', b'"kind": "menu", ', b"x" * 2000),
]
# What may stand in the place of a number without breaking the syntax.
_VALUES = [
    *(b"0", b"1", b"-1", b"2", b"0.5", b"1e999", b"9e307", b"5e-324", b"1e-300", b"1e16", b"1e6"),
    *(b"9007199254740993", b"9" * 400, b"9" * 5000, b"0x" + b"f" * 900, b"1e99", b"nan", b"-inf"),
    *(b"[]", b"{}", b"[1, 2]", b"[[0, 1]]", b'"x"', b"true", b'"1e3"', b'"\\u001b[31m"', b"null"),
    *(b"1979-05-27", b'"\\ud800"', b"0.999999999", b"1.0000001", b"-0.0", b"100000000000000000000"),
]
_NUMBER = re.compile(rb"-?\d+\.?\d*(?:e[+-]?\d+)?")
_LINE = re.compile(rb"[^\n]+")
_WORD = re.compile(rb"[A-Za-z_-]+")


def trial(seed: int, number: int) -> Report:
    """Mutate a file that is good, and read it."""
    random = Random(f"{seed} {number}")
    suffix, text = random.choice(_FILES)
    content = text.encode()
    mutations = random.choice([_GENTLE, _MUTATIONS])
    for _ in range(random.choice([1, 1, 2, 3, 5, 8])):
        content = random.choice(mutations)(content, random)[:_LONGEST_FILE]
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"mutated{suffix.split()[0]}"
        path.write_bytes(content)
        is_instance = suffix in (".toml", ".json")
        readers: list[Callable[[Path], object]] = [_read_requests, read_answers]
        if is_instance:
            readers = [_read_instance]
        for read in readers:
            _try(read, path, suffix, report)
    return report


def _try(read: Callable[[Path], object], path: Path, suffix: str, report: Report) -> None:
    started, size = time.process_time(), _greatest_size()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # What the package itself warns of is said of the data.
            warnings.simplefilter("ignore", CvxqueueWarning)
            read(path)
        report.count(f"{suffix} read")
    except cq.CvxqueueError as error:
        report.count(f"{suffix} refused")
        message = str(error)
        if not message.replace("\n", "").isprintable() or len(message) > _LONGEST_MESSAGE:
            report.fail("message", f"{len(message)} characters: {message[:500]!r}")
    except Exception:  # noqa: BLE001 (any other exception is what is looked for)
        report.fail("exception", traceback.format_exc(limit=-6))
    seconds, grown = time.process_time() - started, _greatest_size() - size
    report.figures["largest milliseconds"] = round(1e3 * seconds)
    report.figures["largest megabytes"] = round(grown / 1e6)
    if seconds > _MOST_SECONDS:
        report.fail("time", f"{seconds:.1f} s")
    if grown > _MOST_BYTES:
        report.fail("memory", f"{grown / 1e6:.0f} MB")


def _read_instance(path: Path) -> None:
    """Read an instance, and again what is written of it."""
    instance = cq.load(path)
    again = cq.from_dict(cq.to_dict(instance))
    if again != instance:
        raise AssertionError("what is written reads as another instance")


def _read_requests(path: Path) -> None:
    read_requests(path, needs=())


def _greatest_size() -> float:
    """Bytes that the process has had at most; what a trial adds, it has taken."""
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _inserted(content: bytes, random: Random) -> bytes:
    place = random.randint(0, len(content))
    return content[:place] + random.choice(_PIECES) + content[place:]


def _overwritten(content: bytes, random: Random) -> bytes:
    start, end = _span(content, random)
    return content[:start] + random.choice(_PIECES) + content[end:]


def _deleted(content: bytes, random: Random) -> bytes:
    start, end = _span(content, random)
    return content[:start] + content[end:]


def _repeated(content: bytes, random: Random) -> bytes:
    start, end = _span(content, random)
    times = random.choice([2, 2, 3, 30, 10_000])
    return content[:start] + (content[start:end] * times)[:_LONGEST_FILE] + content[end:]


def _moved(content: bytes, random: Random) -> bytes:
    start, end = _span(content, random)
    rest = content[:start] + content[end:]
    place = random.randint(0, len(rest))
    return rest[:place] + content[start:end] + rest[place:]


def _nested(content: bytes, random: Random) -> bytes:
    start, end = _span(content, random)
    opening, closing = random.choice([(b"[", b"]"), (b"{a=", b"}"), (b'{"a":', b"}"), (b"a.", b"")])
    depth = random.choice([1, 2, 50, 500, 5000])
    inner = content[start:end]
    return content[:start] + opening * depth + inner + closing * depth + content[end:]


def _flipped(content: bytes, random: Random) -> bytes:
    place = random.randrange(len(content) or 1)
    return content[:place] + bytes([random.randrange(256)]) + content[place + 1 :]


def _deleted_line(content: bytes, random: Random) -> bytes:
    lines = content.split(b"\n")
    del lines[random.randrange(len(lines))]
    return b"\n".join(lines)


def _truncated(content: bytes, random: Random) -> bytes:
    return content[: random.randint(0, len(content))]


def _spliced(content: bytes, random: Random) -> bytes:
    other = random.choice(_FILES)[1].encode()
    start, end = _span(other, random)
    place = random.randint(0, len(content))
    return content[:place] + other[start:end] + content[place:]


def _of_a_match(
    pattern: re.Pattern[bytes], pieces: Sequence[bytes]
) -> Callable[[bytes, Random], bytes]:
    """Return a mutation that puts a piece, or another match, in the place of a match."""

    def mutate(content: bytes, random: Random) -> bytes:
        matches = list(pattern.finditer(content[:_LONGEST_FILE]))
        if not matches:
            return content
        match, other = random.choice(matches), random.choice(matches)[0]
        piece = random.choice([other, random.choice(pieces)])
        return content[: match.start()] + piece + content[match.end() :]

    return mutate


def _span(content: bytes, random: Random) -> tuple[int, int]:
    """A part of the content: a few bytes, a line, or anything."""
    start = random.randint(0, len(content))
    kind = random.random()
    if kind < 0.4:
        return start, min(len(content), start + random.randint(1, 8))
    if kind < 0.7:
        first = content.rfind(b"\n", 0, start) + 1
        last = content.find(b"\n", start)
        return first, len(content) if last < 0 else last + 1
    return start, random.randint(start, len(content))


_MUTATIONS = [
    *(_inserted, _overwritten, _deleted, _repeated, _moved, _nested, _flipped, _truncated),
    *(_spliced, _of_a_match(_NUMBER, _PIECES), _of_a_match(_WORD, _PIECES)),
]
_LINES = [match[0] for _, text in _FILES for match in _LINE.finditer(text.encode())]
_WORDS = [match[0] for _, text in _FILES for match in _WORD.finditer(text.encode())]
# What leaves most of the syntax as it is gets past the parsers.
_GENTLE = [
    *(_of_a_match(_NUMBER, _VALUES), _of_a_match(_NUMBER, _VALUES), _of_a_match(_WORD, _WORDS)),
    *(_of_a_match(_LINE, _LINES), _deleted_line),
]
