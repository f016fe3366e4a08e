"""A sweep on a local Dask cluster has the rows of a sweep without one, whatever workers die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.cli import main
from tests.paths import EXAMPLES

SERVER = EXAMPLES / "instances" / "qwen3-8b-h100.toml"
GRIDS: dict[str, Any] = {
    "arrival_rate": np.linspace(0.01, 1.6, 40),
    "accuracy_weight": np.geomspace(1.0, 1e3, 200),
}

pytestmark = [
    pytest.mark.slow,
    # Sockets of a worker that was killed, and threads of its cluster, end when they are collected.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    import distributed

    LocalCluster: Any = distributed.LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as made:
        yield made


def test_a_killed_worker_changes_nothing(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import distributed

    Client: Any = distributed.Client

    monkeypatch.setattr(import_module("cvxqueue.sweeps.sweep"), "ENTRIES", 1000)
    instance = cq.load(SERVER)
    alone = cq.sweep(instance, **GRIDS)
    with Client(cluster) as client:
        pids = list(client.run(os.getpid).values())
        calls = []

        def kill_half_way(done: int, total: int) -> None:
            calls.append(done)
            if done >= total // 2 and pids:
                os.kill(pids.pop(), signal.SIGKILL)
                pids.clear()

        written = cq.sweep(
            instance,
            executor=client.get_executor(),
            callback=kill_half_way,
            output=tmp_path / "rows.csv",
            **GRIDS,
        )
        assert not pids
        assert calls == list(range(200, 8001, 200))
        assert (tmp_path / "rows.csv").read_text() == alone.to_csv()
        assert written.counts == alone.counts
        swept = cq.sweep(instance, executor=client.get_executor(), **GRIDS)
    for mine, theirs in zip(swept.rows, alone.rows, strict=True):
        assert np.array_equal(mine, theirs, equal_nan=True)


def test_the_command_takes_a_scheduler(
    cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ("--arrival-rate", "0.01:1.6:5", "--accuracy-weight", "1:1000:4:log")
    files = [tmp_path / "alone.csv", tmp_path / "cluster.csv"]
    address = ("--scheduler", cluster.scheduler_address)
    for file, more in zip(files, ((), address), strict=True):
        assert main(["sweep", str(SERVER), *grid, "--output", str(file), *more]) == 0
        assert "20 rows" in capsys.readouterr().out
    assert files[0].read_bytes() == files[1].read_bytes()
