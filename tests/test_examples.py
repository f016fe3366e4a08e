"""The example scripts run, and what they print holds."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import cvxqueue as cq
from tests.paths import EXAMPLES


def example(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    # Its dataclasses look their module up by name.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(importlib.import_module("sys").modules, name, module)
        specification.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_rounding_in_simulation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = example("rounding_in_simulation")
    picture = tmp_path / "rounding.png"
    assert module.main(["--quick", "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "intervals that lie above the bound: 0 of 3" in out
    rows = re.findall(r"^ *(\d+) +(\S+)  (\S+) in \[(\S+), (\S+)\]$", out, re.MULTILINE)
    assert [int(row[0]) for row in rows] == [0, 256, 512, 1024, 1536, 2048]
    for _, exact, value, low, high in rows:
        # Twelve intervals at 95 % miss now and then, but never by their own width.
        width = float(high) - float(low)
        assert abs(float(value) - float(exact)) < width + 1e-4 * float(exact)


def test_the_slope_of_a_frontier_is_the_accuracy_weight() -> None:
    slopes, weights = example("frontier").compare()
    # Neighbours of the sweep are 2.6 % apart.
    np.testing.assert_allclose(slopes, weights, rtol=0.014)
    assert len(slopes) > 350


def test_a_dual_value_is_the_shadow_price_of_a_constraint() -> None:
    price, quotient = example("own_constraint").compare()
    assert price == pytest.approx(quotient, rel=1e-3)


@pytest.mark.slow
# Sockets of a cluster that has ended close when they are collected.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_cluster_finds_the_same_rows() -> None:
    computed, reference = example("sweep_on_a_cluster").compare(20, 30)
    assert computed == reference
    assert computed.count("\n") == 601


def test_awareness_gains_no_more_than_is_proven(tmp_path: Path) -> None:
    module = example("awareness")
    gains, gaps = module.compare()
    # Both are rounded down, each by what a certificate may leave.
    assert all(0.0 < gain <= gap + 1e-9 for gain, gap in zip(gains, gaps, strict=True))
    picture = tmp_path / "awareness.png"
    module.main(["--plot", str(picture)])
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_server_counted_in_chunks_is_the_same_server() -> None:
    module = example("rounding_in_simulation")
    server = cq.load(module.SERVER)
    counted = module.in_chunks(server, 64)
    tokens = cq.solve(server).tokens
    np.testing.assert_allclose(counted.objective(tokens / 64), server.objective(tokens), rtol=1e-13)


@pytest.mark.slow
def test_own_solver(tmp_path: Path) -> None:
    script = str(EXAMPLES / "own_solver.py")
    command = [sys.executable, script, "types-10", "light-traffic"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("16 runs\n")
    rows = cq.Benchmark.read(tmp_path / "own_solver.jsonl").rows
    own = [row for row in rows if row.solver == "own_solver:averaging"]
    assert [row.outcome for row in own] == ["answered"] * 4
    assert all(row.is_solved for row in rows if row.solver == "newton")
    assert "own_solver:averaging" in (tmp_path / "own_solver.html").read_text(encoding="utf-8")
