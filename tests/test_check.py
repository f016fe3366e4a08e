"""What is said of an instance before any method runs."""

from __future__ import annotations

import dataclasses
import json

import pytest

import cvxqueue as cq
from cvxqueue.cli import main
from tests.instances import CATALOGUE
from tests.paths import SERVER

INSTANCE = CATALOGUE["qwen3-8b-h100"].instance


def test_the_command_prints_what_the_library_says(capsys: pytest.CaptureFixture[str]) -> None:
    found = cq.check(cq.load(SERVER))
    assert main(["check", SERVER, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found.to_dict()
    assert main(["check", SERVER]) == 0
    assert capsys.readouterr().out.split() == str(found).split()


def test_a_check_is_frozen() -> None:
    found = cq.check(INSTANCE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.is_feasible = False  # type: ignore[misc]
    assert (found.instance, found.is_feasible, found.obstacle) == (INSTANCE, True, "")


def test_an_unstable_server_is_no_exception() -> None:
    busy = INSTANCE.replace(arrival_rate=3.0)
    found = cq.check(busy)
    assert (found.status, found.is_feasible) == ("infeasible", False)
    with pytest.raises(cq.UnstableQueueError) as caught:
        cq.solve(busy)
    assert found.obstacle == str(caught.value) == found.to_dict()["error"]
    assert [finding.subject for finding in found.findings] == ["stability"]
    assert "unstable  " in str(found)


def test_only_an_instance_is_checked() -> None:
    with pytest.raises(cq.InvalidInputError, match="instance must be an Instance, got 'x'"):
        cq.check("x")  # type: ignore[arg-type]
