"""Bad input, wherever it comes in: an error of one class that says what, where and what instead.

Each case is wrong in one way, and the same call without that mistake is tested to succeed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue import files

NAN, INF = math.nan, math.inf


class Case(NamedTuple):
    """One mistake, and what the message must say of it."""

    act: Callable[[Path], object]
    says: tuple[str, ...]
    """The field, the value received, and what is allowed."""
    error: type[Exception] = cq.InvalidInputError


SERVICE = {"base": [0.5, 0.25], "per_token": [0.002, 0.001]}
ACCURACY = {"floor": [0.2, 0.1], "gain": [0.6, 0.5], "rate": [0.001, 0.004]}


def instance(**changes: Any) -> cq.Instance:
    """A good instance of two types, with some arguments changed."""
    good: dict[str, Any] = {
        "arrival_rate": 0.2,
        "accuracy_weight": 60.0,
        "max_tokens": 4096,
        "probabilities": [0.3, 0.7],
        "service": cq.AffineService(**SERVICE),
        "accuracy": cq.SaturatingExponential(**ACCURACY),
    }
    return cq.Instance(**{**good, **changes})


def wrong_instance(*says: str, **changes: Any) -> Case:
    return Case(lambda _: instance(**changes), says)


def wrong_service(*says: str, **changes: Any) -> Case:
    return Case(lambda _: cq.AffineService(**{**SERVICE, **changes}), says)


def wrong_accuracy(*says: str, **changes: Any) -> Case:
    return Case(lambda _: cq.SaturatingExponential(**{**ACCURACY, **changes}), says)


def wrong_solve(*says: str, method: str = "newton", **options: Any) -> Case:
    return Case(lambda _: cq.solve(instance(), method, **options), says)


def wrong_tokens(*says: str, tokens: Any) -> Case:
    return Case(lambda _: cq.certify(instance(), tokens), says)


CONSTRUCTORS = {
    "arrival rate zero": wrong_instance("arrival_rate", "0.0", "> 0", arrival_rate=0.0),
    "arrival rate negative": wrong_instance("arrival_rate", "-1.0", "> 0", arrival_rate=-1),
    "arrival rate NaN": wrong_instance("arrival_rate", "nan", "finite", arrival_rate=NAN),
    "arrival rate infinite": wrong_instance("arrival_rate", "inf", "finite", arrival_rate=INF),
    "arrival rate a string": wrong_instance(
        "arrival_rate", "'fast'", "number", arrival_rate="fast"
    ),
    "arrival rate true": wrong_instance("arrival_rate", "True", "number", arrival_rate=True),
    "arrival rate a list": wrong_instance(
        "arrival_rate", "list of 2", "one number", arrival_rate=[1, 2]
    ),
    "arrival rate complex": wrong_instance("arrival_rate", "1j", "number", arrival_rate=1j),
    "arrival rate None": wrong_instance("arrival_rate", "None", "number", arrival_rate=None),
    "arrival rate too large": wrong_instance("arrival_rate", "number", arrival_rate=10**400),
    "weight negative": wrong_instance("accuracy_weight", "-2.0", "≥ 0", accuracy_weight=-2),
    "weight infinite": wrong_instance("accuracy_weight", "inf", "finite", accuracy_weight=INF),
    "mix sums to less": wrong_instance(
        "probabilities", "0.875", "sum to 1 within 1e-09", probabilities=[0.25, 0.625]
    ),
    "mix off by a little more than allowed": wrong_instance(
        "probabilities", "1.000000002", "sum to 1 within 1e-09", probabilities=[0.3, 0.700000002]
    ),
    "mix with a zero": wrong_instance("probabilities[1]", "0.0", "> 0", probabilities=[1.0, 0.0]),
    "mix with a negative": wrong_instance(
        "probabilities[0]", "-0.3", "> 0", probabilities=[-0.3, 1.3]
    ),
    "mix with NaN": wrong_instance("probabilities[1]", "nan", "finite", probabilities=[0.3, NAN]),
    "mix empty": wrong_instance("probabilities", "empty", "at least one", probabilities=[]),
    "mix of two axes": wrong_instance(
        "probabilities", "(1, 2)", "flat list", probabilities=[[0.3, 0.7]]
    ),
    "mix ragged": wrong_instance("probabilities", "ragged", "flat list", probabilities=[[1], 2.0]),
    "mix of strings": wrong_instance(
        "probabilities", "'0.3'", "flat list of numbers", probabilities=["0.3", "0.7"]
    ),
    "max tokens of a wrong length": wrong_instance(
        "max_tokens", "each of the 2 types, got 3", max_tokens=[1, 2, 3]
    ),
    "max tokens negative": wrong_instance("max_tokens[1]", "-1.0", "≥ 0", max_tokens=[5, -1]),
    "max tokens infinite": wrong_instance("max_tokens", "inf", "finite", max_tokens=INF),
    "min tokens negative": wrong_instance("min_tokens[0]", "-1.0", "≥ 0", min_tokens=[-1, 0]),
    "min above max": wrong_instance(
        "min_tokens[1]", "9.0", "≤ max_tokens[1]", "8.0", min_tokens=[0, 9], max_tokens=8
    ),
    "importance negative": wrong_instance("importance[1]", "-0.5", "≥ 0", importance=[1, -0.5]),
    "importance NaN": wrong_instance("importance", "nan", "finite", importance=NAN),
    "service a class": wrong_instance(
        "service", "AffineService'", "a service law such as", service=cq.AffineService
    ),
    "service a dictionary": wrong_instance(
        "service", "{'base'", "a service law such as AffineService", service=SERVICE
    ),
    "service of three types": wrong_instance(
        "service.base",
        "each of the 2 types, got 3",
        service=cq.AffineService(base=[1, 2, 3], per_token=1),
    ),
    "accuracy None": wrong_instance(
        "accuracy", "None", "an accuracy curve such as SaturatingExponential", accuracy=None
    ),
    "queue a string": wrong_instance("queue", "'fifo'", "such as FIFO()", queue="fifo"),
    "queue a class": wrong_instance("queue", "FIFO'", "such as FIFO()", queue=cq.FIFO),
    "names twice the same": wrong_instance("names", "'a'", "distinct", names=["a", "a"]),
    "names too few": wrong_instance("names", "each of the 2 types, got 1", names=["a"]),
    "names a string": wrong_instance("names", "'ab'", "list of strings", names="ab"),
    "a name without letters": wrong_instance("names[1]", "empty", names=["a", ""]),
    "constraints of text": wrong_instance(
        "constraints[0]", "'fast'", "MaxMe", constraints=["fast"]
    ),
    "objective of text": Case(
        lambda _: instance().objective("many"), ("tokens", "'many'", "numbers of shape (..., 2)")
    ),
    "evaluated tokens numerals": Case(
        lambda _: instance().objective(["1", "2"]), ("tokens", "['1', '2']", "numbers of shape")
    ),
    "evaluated tokens true": Case(
        lambda _: instance().objective([True, False]), ("tokens", "True", "numbers of shape")
    ),
    "evaluated tokens masked": Case(
        lambda _: instance().objective(np.ma.masked_array([1.0, 2.0], [False, True])),
        ("tokens[1]", "is missing", "fill in or drop"),
    ),
    "evaluated tokens ragged": Case(
        lambda _: instance().objective([[1.0], [2.0, 3.0]]), ("tokens", "ragged", "(..., 2)")
    ),
    "names of numbers": wrong_instance("names[1]", "2", "string", names=["a", 2]),
    "name a number": wrong_instance("name", "5", "string", name=5),
    "description bytes": wrong_instance("description", "b'x'", "string", description=b"x"),
    "sources a string": wrong_instance("sources", "'ours'", "list of strings", sources="ours"),
    "sources None": wrong_instance("sources", "None", "list of strings", sources=None),
    "base negative": wrong_service("service.base[1]", "-0.25", "≥ 0", base=[0.5, -0.25]),
    "base infinite": wrong_service("service.base[0]", "inf", "finite", base=[INF, 0]),
    "per token zero": wrong_service("service.per_token", "0.0", "> 0", per_token=0),
    "service lengths differ": wrong_service(
        "service.base has 3", "service.per_token has 2", "one length", base=[1, 2, 3]
    ),
    "floor negative": wrong_accuracy("accuracy.floor[0]", "-0.1", "≥ 0", floor=[-0.1, 0]),
    "gain negative": wrong_accuracy("accuracy.gain", "-0.1", "≥ 0", gain=-0.1),
    "rate zero": wrong_accuracy("accuracy.rate[1]", "0.0", "> 0", rate=[0.1, 0]),
    "rate a string": wrong_accuracy("accuracy.rate", "'slow'", "number", rate="slow"),
    "accuracy above one": wrong_accuracy(
        "accuracy.floor[1] + accuracy.gain[1]", "0.6 + 0.5", "≤ 1", floor=[0.2, 0.6]
    ),
    "replace of no field": Case(
        lambda _: instance().replace(arrivalrate=1), ("arrivalrate", "arrival_rate")
    ),
    "tokens of a wrong shape": Case(
        lambda _: instance().objective([1.0, 2.0, 3.0]), ("tokens", "(3,)", "(..., 2)")
    ),
    "direction of a wrong length": Case(
        lambda _: instance().hessian_product([1.0, 2.0], [1.0, 2.0, 3.0]),
        ("direction", "(3,)", "(..., 2)"),
    ),
    "direction of other points": Case(
        lambda _: instance().hessian_product([[1.0, 2.0]] * 3, [[1.0, 2.0]] * 4),
        ("direction", "(4, 2)", "(3, 2)"),
    ),
    "direction of text": Case(
        lambda _: instance().hessian_product([1.0, 2.0], "up"), ("direction", "'up'", "numbers")
    ),
    "gradient where unstable": Case(
        lambda _: instance(arrival_rate=2.0).gradient([4096.0, 4096.0]),
        ("tokens", "utilization 11.2996", "below 1"),
    ),
}

SOLVE_AND_CERTIFY = {
    "solve of a dictionary": Case(
        lambda _: cq.solve({"arrival_rate": 1}),  # type: ignore[arg-type]
        ("instance", "{'arrival_rate'", "Instance"),
    ),
    "unknown method": wrong_solve("method", "'newtn'", "did you mean 'newton'", method="newtn"),
    "unknown option": wrong_solve("'tolerence'", "newton", "no option", tolerence=1e-9),
    "tolerance zero": wrong_solve("tolerance", "0", "> 0", tolerance=0),
    "tolerance NaN": wrong_solve("tolerance", "nan", "finite", tolerance=NAN),
    "tolerance a string": wrong_solve("tolerance", "'tight'", "number", tolerance="tight"),
    "time limit negative": wrong_solve("time_limit", "-1.0", "> 0", time_limit=-1),
    "time limit NaN": wrong_solve("time_limit", "nan", "finite", time_limit=NAN),
    "no iterations": wrong_solve("max_iterations", "0", "from 1", max_iterations=0),
    "half an iteration": wrong_solve("max_iterations", "2.5", "whole", max_iterations=2.5),
    "iterations true": wrong_solve("max_iterations", "True", "number", max_iterations=True),
    "failure ignored": wrong_solve("on_failure", "'ignore'", "'return'", on_failure="ignore"),
    "start of a wrong length": wrong_solve("start", "each of the 2 types, got 3", start=[1, 2, 3]),
    "start outside the box": wrong_solve("start[1]", "5000.0", "[0.0, 4096.0]", start=[0, 5000]),
    "start NaN": wrong_solve("start[0]", "nan", "finite", start=[NAN, 0]),
    "start unstable": Case(
        lambda _: cq.solve(instance(arrival_rate=0.5), start=[4096.0, 4096.0]),
        ("start", "utilization 2.8249", "below 1", "instance.lower"),
    ),
    "certify tokens of a wrong length": wrong_tokens("tokens", "(3,)", "(2,)", tokens=[1, 2, 3]),
    "certify a scalar": wrong_tokens("tokens", "()", "(2,)", tokens=100.0),
    "certify strings": wrong_tokens("tokens", "'a'", "number", tokens=["a", "b"]),
    "an unstable queue": Case(
        lambda _: cq.solve(instance(arrival_rate=10.0)),
        ("3.25", "below 1", "lower arrival_rate to 3.07692 per second or less"),
        cq.UnstableQueueError,
    ),
}

TABLES = """\
format = "cvxqueue-instance"
version = 1
name = "good"
sources = ["ours"]
arrival_rate = 0.2
accuracy_weight = 60
max_tokens = 4096

[queue]
kind = "fifo"

[[task]]
name = "proof"
probability = 0.3
service = { kind = "affine", base = 0.5, per_token = 0.002 }
accuracy = { kind = "saturating-exponential", floor = 0.2, gain = 0.6, rate = 0.001 }

[[task]]
name = "lookup"
probability = 0.7
service = { kind = "affine", base = 0.25, per_token = 0.001 }
accuracy = { kind = "saturating-exponential", floor = 0.1, gain = 0.5, rate = 0.004 }
"""

ARRAYS = """\
{
  "format": "cvxqueue-instance",
  "version": 1,
  "arrival_rate": 0.2,
  "accuracy_weight": 60,
  "names": ["proof", "lookup"],
  "probabilities": [0.3, 0.7],
  "min_tokens": [0, 0],
  "max_tokens": 4096,
  "importance": 1,
  "queue": {"kind": "fifo"},
  "service": {"kind": "affine", "base": [0.5, 0.25], "per_token": [0.002, 0.001]},
  "accuracy": {"kind": "saturating-exponential", "floor": 0.1, "gain": [0.6, 0.5], "rate": 0.001}
}
"""


def in_file(name: str, content: bytes, *says: str) -> Case:
    """Load a file of this content; the message also has the file's name."""

    def act(folder: Path) -> object:
        file = folder / name
        file.write_bytes(content)
        return cq.load(file)

    return Case(act, (name, *says))


def edited(original: str, old: str, new: str) -> bytes:
    if original.count(old) == 0:
        raise LookupError(f"nothing to edit: {old}")
    return original.replace(old, new, 1).encode()


def in_toml(old: str, new: str, *says: str) -> Case:
    return in_file("bad.toml", edited(TABLES, old, new), *says)


def in_json(old: str, new: str, *says: str) -> Case:
    return in_file("bad.json", edited(ARRAYS, old, new), *says)


TOML = {
    "unknown key": in_toml("arrival_rate =", "arival_rate =", "arival_rate", "'arrival_rate'"),
    "unknown key in a task": in_toml(
        'name = "lookup"', 'nmae = "lookup"', "task[1].nmae", "did you mean 'name'"
    ),
    "unknown key of two lines": in_toml("arrival_rate =", '"a\\nb" = 1\na =', r"a\nb is no known"),
    "unknown key in a service": in_toml(
        "per_token = 0.001", "per_tokn = 0.001", "task[1].service.per_tokn", "'per_token'"
    ),
    "a key named like the kind": in_toml(
        "base = 0.25", "base = 0.25, affine = 1", "task[1].service.affine", "known: base, kind"
    ),
    "unknown key in the queue": in_toml(
        'kind = "fifo"', 'kind = "fifo"\nservers = 2', "queue.servers", "known: kind"
    ),
    "unknown table": in_toml("[queue]", "[queu]", "queu", "did you mean 'queue'"),
    "tasks for task": in_file(
        "bad.toml", TABLES.replace("[[task]]", "[[tasks]]").encode(), "tasks", "'task'"
    ),
    "unknown kind of service": in_toml(
        '"affine"', '"linear"', "task[0].service.kind", "'linear'", "known: affine"
    ),
    "kind a number": in_toml('"affine"', "1", "task[0].service.kind", "1", "known: affine"),
    "unknown kind of accuracy": in_toml(
        '"saturating-exponential"',
        '"saturating-exponental"',
        "task[0].accuracy.kind",
        "'saturating-exponental'",
        "did you mean 'saturating-exponential'",
    ),
    "unknown kind of queue": in_toml('"fifo"', '"lifo"', "queue.kind", "'lifo'", "known: batch-"),
    "kind missing": in_toml('kind = "affine", ', "", "task[0].service.kind", "missing", "affine"),
    "both forms": in_toml(
        "max_tokens", "probabilities = [1]\nmax_tokens", "probabilities and task", "[[task]]"
    ),
    "format missing": in_toml(
        'format = "cvxqueue-instance"\n', "", "format is missing", "'cvxqueue-instance'"
    ),
    "another format": in_toml(
        '"cvxqueue-instance"', '"cvxqueue"', "format", "'cvxqueue'", "known: cvxqueue-certificate"
    ),
    "version missing": in_toml("version = 1\n", "", "version is missing", "version = 1"),
    "a later version": in_toml("version = 1", "version = 2", "version = 2", "must be 1"),
    "version true": in_toml("version = 1", "version = true", "version = True", "must be 1"),
    "version a string": in_toml("version = 1", 'version = "1"', "version = '1'", "must be 1"),
    "number missing": in_toml("arrival_rate = 0.2\n", "", "arrival_rate is missing", "> 0"),
    "probability missing": in_toml(
        "probability = 0.7\n", "", "task[1].probability is missing", "> 0", "sum to 1"
    ),
    "field of a curve missing": in_toml(
        ", rate = 0.004", "", "task[1].accuracy.rate is missing", "> 0"
    ),
    "cap missing": in_toml(
        "max_tokens = 4096\n", "", "task[0].max_tokens is missing", "above the first [[task]]"
    ),
    "one name missing": in_toml(
        'name = "lookup"\n', "", "task[1].name is missing", "name all tasks or none"
    ),
    "names twice the same": in_toml('"lookup"', '"proof"', "names", "'proof'", "distinct"),
    "number a string": in_toml(
        "base = 0.25", 'base = "0.25"', "[1].service.base", "'0.25'", "number"
    ),
    "number true": in_toml("base = 0.25", "base = true", "task[1].service.base", "True", "number"),
    "number a date": in_toml("= 60", "= 2024-01-01", "accuracy_weight", "2024", "number"),
    "number NaN": in_toml(
        "rate = 0.004", "rate = nan", "task[1].accuracy.rate = nan", "finite", "per token, > 0"
    ),
    "number infinite": in_toml("= 4096", "= inf", "max_tokens", "inf", "finite"),
    "number overflows": in_toml("= 60", "= 1e400", "accuracy_weight", "inf", "finite"),
    "whole number too large": in_toml(
        "= 60", f"= 1{'0' * 400}", "accuracy_weight", "1000", "finite"
    ),
    "whole number absurd": in_toml("= 60", f"= 1{'0' * 5000}", "0000", "1,000 characters"),
    "task a number": in_file(
        "bad.toml", TABLES.partition("[queue]")[0].encode() + b"task = 3", "task = 3", "list"
    ),
    "no tasks": in_file(
        "bad.toml", TABLES.partition("[queue]")[0].encode() + b"task = []", "task = []", "at least"
    ),
    "cap an array": in_toml("= 4096", "= [4096, 1]", "max_tokens", "[4096, 1]", "must be a number"),
    "sources a string": in_toml('["ours"]', '"ours"', "sources", "'ours'", "list"),
    "sources of numbers": in_toml('["ours"]', '["ours", 2]', "sources[1]", "2", "string"),
    "service a number": in_toml(
        '{ kind = "affine", base = 0.25, per_token = 0.001 }', "3", "[1].service = 3", "table"
    ),
    "negative base": in_toml("base = 0.25", "base = -1", "task[1].service.base", "-1.0", "≥ 0"),
    "negative probability": in_toml(
        "probability = 0.7", "probability = -0.7", "task[1].probability", "-0.7", "> 0"
    ),
    "mix sums to more": in_toml("= 0.7", "= 0.8", "probabilities", "1.1", "sum to 1"),
    "accuracy above one": in_toml(
        "floor = 0.1",
        "floor = 0.6",
        "task[1].accuracy.floor + task[1].accuracy.gain",
        "0.6 + 0.5",
        "≤ 1",
    ),
    "min above max": in_toml(
        'name = "lookup"',
        'name = "lookup"\nmin_tokens = 5000',
        "task[1].min_tokens = 5000.0",
        "≤ task[1].max_tokens = 4096.0",
    ),
    "truncated": in_file("bad.toml", TABLES.encode()[:300], "not valid TOML", "end of document"),
    "a key twice": in_toml("version = 1", "version = 1\nversion = 1", "not valid TOML", "line 3"),
    "no TOML at all": in_file("bad.toml", ARRAYS.encode(), "not valid TOML", "line 1, column 1"),
    "not UTF-8": in_file(
        "bad.toml", TABLES.encode().replace(b"good", b"g\xf6\xf6d"), "0xf6", "line 3", "UTF-8"
    ),
    "empty": in_file("bad.toml", b"", "empty", "instance"),
    "nested too deeply": in_file("bad.toml", b"a = " + b"[" * 100_000, "nested too deeply"),
}

JSON = {
    "unknown key": in_json('"importance"', '"importence"', "importence", "'importance'"),
    "unknown key in a curve": in_json('"gain"', '"gian"', "accuracy.gian", "'gain'"),
    "a key twice": in_json('"version": 1', '"version": 1, "version": 1', "'version'", "once"),
    "a key twice inside": in_json(
        '"kind": "fifo"', '"kind": "fifo", "kind": "fifo"', "'kind'", "more than once"
    ),
    "NaN": in_json("0.7]", "NaN]", "NaN", "finite"),
    "minus infinity": in_json("4096", "-Infinity", "-Infinity", "finite"),
    "overflow": in_json("4096", "1e999", "max_tokens", "inf", "finite"),
    "null": in_json('"importance": 1', '"importance": null', "importance", "None", "number"),
    "null for names": in_json('["proof", "lookup"]', "null", "names", "None", "list"),
    "a number as text": in_json(
        '"max_tokens": 4096', '"max_tokens": "4096"', "max_tokens", "'4096'", "list of numbers"
    ),
    "an entry as text": in_json(
        "[0.3, 0.7]", '[0.3, "0.7"]', "probabilities[1]", "'0.7'", "number"
    ),
    "mix a number": in_json("[0.3, 0.7]", "1", "probabilities", "1", "list"),
    "mix empty": in_json("[0.3, 0.7]", "[]", "probabilities", "[]", "at least one"),
    "nested array": in_json("[0, 0]", "[[0, 0]]", "min_tokens[0]", "[0, 0]", "number"),
    "wrong length": in_json("[0, 0]", "[0, 0, 0]", "min_tokens", "each of the 2 types, got 3"),
    "lengths differ": in_json(
        "[0.5, 0.25]", "[0.5]", "service.base has 1", "service.per_token has 2", "one length"
    ),
    "names too many": in_json('"lookup"]', '"lookup", "x"]', "names", "each of the 2 types, got 3"),
    "negative rate": in_json('"rate": 0.001', '"rate": -0.001', "accuracy.rate", "-0.001", "> 0"),
    "a lone surrogate": in_json('"lookup"', '"\\ud800"', "names[1]", "'\\ud800'", "Unicode"),
    "truncated": in_file("bad.json", ARRAYS.encode()[:200], "not valid JSON", "line 9 column 15"),
    "more after the end": in_file("bad.json", ARRAYS.encode() + b"{}", "Extra data", "line 15"),
    "a list": in_file("bad.json", b"[1, 2]", "[1, 2]", "table"),
    "not UTF-8": in_file("bad.json", b'{"name": "\xff"}', "0xff", "line 1", "UTF-8"),
    "UTF-16": in_file("bad.json", ARRAYS.encode("utf-16"), "UTF-8"),
    "empty": in_file("bad.json", b" \n", "empty", "instance"),
    "nested too deeply": in_file("bad.json", b"[" * 100_000, "nested too deeply"),
}


class Unknown(cq.AffineService):
    """A service law that instance files have no kind for."""


PATHS = {
    "load of nothing": Case(
        lambda folder: cq.load(folder / "none.toml"), ("none.toml", "No such file")
    ),
    "load of a directory": Case(lambda folder: cq.load(folder), ("is a directory", "give a file")),
    "load of another suffix": in_file("bad.yaml", TABLES.encode(), "'.yaml'", ".toml, .json"),
    "load without a suffix": in_file("bad", TABLES.encode(), "''", ".toml, .json"),
    "load of a number": Case(
        lambda _: cq.load(3),  # type: ignore[arg-type]
        ("path", "3", "string or a path"),
    ),
    "load of a name with a null": Case(lambda _: cq.load("a\0.toml"), ("cannot read", "null")),
    "loads of a number": Case(
        lambda _: files.loads(3),  # type: ignore[arg-type]
        ("content", "3", "string or bytes"),
    ),
    "loads of another format": Case(
        lambda _: files.loads(TABLES, "yaml"),  # type: ignore[arg-type]
        ("format", "'yaml'", "known: json, toml"),
    ),
    "from_dict of a list": Case(
        lambda _: cq.from_dict([1]),  # type: ignore[arg-type]
        ("instance", "[1]", "table"),
    ),
    "from_dict with a number as key": Case(
        lambda _: cq.from_dict({**cq.to_dict(instance()), 5: 1}),  # type: ignore[dict-item]
        ("key", "5", "string"),
    ),
    "save of a dictionary": Case(
        lambda folder: cq.save({}, folder / "new.toml"),  # type: ignore[arg-type]
        ("{}", "Instance", "Solution", "Certificate"),
    ),
    "save with another suffix": Case(
        lambda folder: cq.save(instance(), folder / "new.txt"), ("'.txt'", ".toml, .json")
    ),
    "save to a number": Case(
        lambda _: cq.save(instance(), 3),  # type: ignore[arg-type]
        ("path", "3", "string or a path"),
    ),
    "save into no directory": Case(
        lambda folder: cq.save(instance(), folder / "no" / "new.toml"),
        ("new.toml", "cannot write", "No such file or directory"),
    ),
    "save over a directory": Case(
        lambda folder: cq.save(instance(), folder / "folder.toml"),
        ("folder.toml", "cannot write", "directory"),
    ),
    "save of an unknown law": Case(
        lambda folder: cq.save(instance(service=Unknown(**SERVICE)), folder / "new.toml"),
        ("service", "Unknown", "known: AffineService"),
    ),
    "save of a lone surrogate": Case(
        lambda folder: cq.save(instance(sources=["a", "b\ud800"]), folder / "new.toml"),
        ("sources[1]", "'b\\ud800'", "Unicode"),
    ),
}

CASES: dict[str, Case] = {
    f"{group}: {name}": case
    for group, cases in {
        "constructor": CONSTRUCTORS,
        "call": SOLVE_AND_CERTIFY,
        "TOML": TOML,
        "JSON": JSON,
        "path": PATHS,
    }.items()
    for name, case in cases.items()
}


def snapshot(folder: Path) -> Mapping[str, bytes | None]:
    """Everything in a folder, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to act in, the current one, with a file and a folder that must stay as they are."""
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "kept.toml").write_text(TABLES, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_is_refused_by_name(folder: Path, case: Case) -> None:
    before = snapshot(folder)
    with pytest.raises(cq.CvxqueueError) as caught:
        case.act(folder)
    assert type(caught.value) is case.error
    assert isinstance(caught.value, ValueError)
    message = str(caught.value)
    for part in case.says:
        assert part in message
    assert len(message) < 500
    assert "\n" not in message
    # What the case itself wrote in order to read it is a file called bad.
    assert {
        name: content for name, content in snapshot(folder).items() if not name.startswith("bad")
    } == before


def test_without_the_mistake_all_of_it_is_accepted(folder: Path) -> None:
    good = instance(max_tokens=4096)
    cq.solve(good, tolerance=1e-9, time_limit=60, max_iterations=50, start=[1.0, 2.0])
    cq.certify(good, [1.0, 2.0])
    for name, content in (("bad.toml", TABLES), ("bad.json", ARRAYS)):
        (folder / name).write_text(content, encoding="utf-8")
        assert cq.load(folder / name).size == 2
    cq.save(good, folder / "new.toml")
    assert cq.load(folder / "new.toml") == good


def test_an_error_names_its_cause() -> None:
    with pytest.raises(cq.InvalidInputError) as caught:
        files.loads(TABLES.replace("base = 0.25", "base = true"))
    assert type(caught.value.__cause__).__name__ == "ValidationError"


def test_numpy_numbers_are_numbers() -> None:
    assert instance(
        arrival_rate=np.float32(0.25), max_tokens=np.array([4096, 4096], dtype=np.int32)
    ) == instance(arrival_rate=0.25)
