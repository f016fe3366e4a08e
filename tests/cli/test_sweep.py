"""``cvxqueue sweep``: values, files, pictures and exit statuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.cli import main
from tests.paths import EXAMPLES

SERVER = str(EXAMPLES / "instances" / "qwen3-8b-h100.toml")


def test_values_are_a_list_or_spaced_evenly(capsys: pytest.CaptureFixture[str]) -> None:
    grid = ("--arrival-rate", "0.05,0.1", "--accuracy-weight", "10:1000:3:log")
    assert main(["sweep", SERVER, *grid, "--max-tokens", "500:1500:2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"] == {"optimal": 12, "unstable": 0, "infeasible": 0, "not certified": 0}
    columns = found["columns"]
    assert columns["arrival rate (1/s)"] == [0.05] * 6 + [0.1] * 6
    np.testing.assert_allclose(columns["accuracy weight (s)"][:6:2], [10.0, 100.0, 1000.0])
    assert columns["max tokens"][:2] == [500.0, 1500.0]
    one = cq.load(SERVER).replace(arrival_rate=0.1, accuracy_weight=1000.0, max_tokens=1500.0)
    assert columns["tokens of AIME25"][-1] == pytest.approx(cq.solve(one).tokens[1], rel=1e-9)
    assert main(["sweep", SERVER, "--arrival-rate", "9", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["unstable"] == 1
    assert found["columns"]["objective (s)"] == [None]


def test_a_file_is_the_same_with_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ("--arrival-rate", "0.01:0.2:3", "--accuracy-weight", "10:3000:4:log")
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    plots = ((), ("--plot", str(tmp_path / "c.png")))
    for file, more in zip(files, plots, strict=True):
        assert main(["sweep", SERVER, *grid, "-o", str(file), *more]) == 0
        # A long name is wrapped.
        assert capsys.readouterr().out.split() == f"12 rows in {file}: 12 optimal".split()
    assert files[0].read_bytes() == files[1].read_bytes()
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    assert main(["sweep", SERVER, *grid, "--csv"]) == 0
    assert capsys.readouterr().out == files[0].read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to sweep over: give one or more of --arrival-rate"),
        (["--arrival-rate", "0.1:0.2"], "START:STOP:COUNT"),
        (["--arrival-rate", "0:0.2:5:log"], "START:STOP:COUNT"),
        (["--arrival-rate", "0.1:0.2:5:lin"], "START:STOP:COUNT"),
        (["--arrival-rate", "0.1:0.2:0"], "START:STOP:COUNT[:log], COUNT from 1 to 10⁷"),
        (["--arrival-rate", "0.1:0.2:10000001"], "COUNT from 1 to 10⁷"),
        (["--arrival-rate", "0.1", "-o", "-"], "-o -: name a file; --csv prints"),
        (["--arrival-rate", "0.1", "-o", ""], "output must be the name of a file, got ''"),
        (["--arrival-rate", "0.1:inf:3"], "START:STOP:COUNT"),
        (["--arrival-rate", "0:1:3"], "arrival_rate[0] = 0.0 must be > 0"),
        (["--arrival-rate", "0.1", "-o", "no/such/place.csv"], "cannot write"),
        (["--arrival-rate", "0.1", "-o", "no/such.csv", "--plot", "x.png"], "cannot write"),
        (
            ["--arrival-rate", "0.01:0.2:2000", "-o", "/dev/full"],
            "cannot write /dev/full: No space",
        ),
        (["--arrival-rate", "0.1", "-o", "/dev/full"], "cannot write /dev/full: No space"),
        (["--arrival-rate", "0.1", "--plot", "x.gif"], "--plot x.gif"),
        (["--arrival-rate", "0.1", "--scheduler", "nothing://here:1"], "--scheduler nothing://"),
    ],
)
def test_what_is_not_allowed_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", SERVER, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_what_has_no_picture_is_refused_before_the_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = ["--max-tokens", "1:9:3", "--min-tokens", "0:1:2"]
    picture = ["--plot", str(tmp_path / "a.png")]
    with monkeypatch.context() as patch:
        patch.setattr("cvxqueue.cli.sweep.sweep", None)
        assert main(["sweep", SERVER, *grid, *picture]) == 2
    assert "--plot: the sweep must be over one parameter" in capsys.readouterr().err
    rates = ["--arrival-rate", "8,9", "--accuracy-weight", "1,2"]
    assert main(["sweep", SERVER, *rates, *picture]) == 2
    error = capsys.readouterr().err
    assert "nothing to draw: no row is certified in Sweep(4 rows: 4 unstable)" in error
    assert not list(tmp_path.iterdir())


def test_a_cluster_needs_its_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cvxqueue.errors.find_spec", lambda name: None)
    assert main(["sweep", SERVER, "--arrival-rate", "0.1", "--scheduler", "tcp://a:1"]) == 2
    assert "the extra 'dask' has it" in capsys.readouterr().err


def test_rows_without_a_certificate_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    """No command asks for more than float64 can prove; a sweep in Python may."""
    swept = cq.sweep(cq.load(SERVER), arrival_rate=[0.1], tolerance=1e-300)
    assert swept.status.tolist() == ["not certified"]
