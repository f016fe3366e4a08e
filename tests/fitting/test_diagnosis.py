"""Each assumption of the model, found to hold where it does and not where it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.findings import Finding
from cvxqueue.fitting import Requests, Source, read_requests
from tests.measurements import AZURE_HEAD, vllm_result


def server(seed: int = 0, rows: int = 300, *, share: float = 0.0) -> dict[str, np.ndarray]:
    """Requests one at a time, or slowed down by a share for each other one under way."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(10.0 if share == 0 else 2.0, rows))
    budgets = rng.choice([256.0, 512.0, 1024.0], rows)
    alone = 0.2 + 0.004 * budgets + rng.normal(0, 0.02, rows)
    if share == 0:
        # Started when the server is free.
        starts = arrivals.copy()
        for k in range(1, rows):
            starts[k] = max(starts[k], starts[k - 1] + alone[k - 1] + 1e-6)
        return {"arrivals": starts, "tokens": budgets, "seconds": alone, "budgets": budgets}
    seconds = alone.copy()
    for k in range(1, rows):
        under_way = np.sum(arrivals[:k] + seconds[:k] > arrivals[k])
        seconds[k] *= 1.0 + share * under_way
    return {"arrivals": arrivals, "tokens": budgets, "seconds": seconds, "budgets": budgets}


def requests(data: dict[str, Any]) -> Requests:
    return Requests(Source("requests", "memory", len(next(iter(data.values())))), **data)


def finding(data: dict[str, Any], subject: str) -> Finding:
    found = cq.diagnose(requests(data)).findings
    return next(item for item in found if item.subject == subject)


def test_a_server_like_the_model_passes() -> None:
    found = cq.diagnose(requests(server()))
    holds = {item.subject: item.holds for item in found.findings}
    assert holds["linear service"] is True
    assert holds["budgets used up"] is True
    assert found.warnings == ()
    assert all(item.sentence.endswith(".") for item in found.findings)
    assert set(found.to_dict()) == {
        "source",
        "warnings",
        "linear_service",
        "service_regardless_of_load",
        "Poisson_arrivals",
        "budgets_used_up",
    }


def test_data_in_memory_are_diagnosed_as_fit_takes_them() -> None:
    data = server()
    found, expected = cq.diagnose(data), cq.diagnose(requests(data))
    for mine, other in zip(found.findings, expected.findings, strict=True):
        assert (mine.holds, mine.sentence) == (other.holds, other.sentence)
    assert found.source == "data in memory (requests, 300 rows)"
    with pytest.raises(cq.InvalidInputError, match=r"requests: 'second' is no field: .*'seconds'"):
        cq.diagnose({"tokens": [1, 2, 3], "second": [1, 2, 3]})
    with pytest.raises(cq.InvalidInputError, match="data in memory: nothing can be tested"):
        cq.diagnose({"tokens": [1, 2, 3]})


def test_numbers_that_are_not_known_are_none_in_plain_values() -> None:
    found = cq.diagnose({"tokens": [1, 2, 3], "seconds": [1, 2, 3], "budgets": [2, 2, 4]})
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["linear_service"]["p_value"] is None


def test_bent_service_is_found() -> None:
    data = server()
    straight = finding(data, "linear service")
    assert straight.numbers["per_token"] == pytest.approx(0.004, rel=0.01)
    bent = finding(
        {**data, "seconds": data["seconds"] + 3e-6 * data["tokens"] ** 2}, straight.subject
    )
    assert bent.holds is False
    assert bent.numbers["p_value"] < 1e-6
    assert "QuadraticService" in bent.sentence


def test_dependence_on_load_is_found() -> None:
    shared = finding(server(share=0.3), "service regardless of load")
    assert shared.holds is False
    assert shared.numbers["correlation"] > 0.3
    assert "longer" in shared.sentence
    assert any(
        "concurrency above 1" in w for w in cq.diagnose(requests(server(share=0.3))).warnings
    )
    # As much concurrency, without an effect.
    data = server(share=0.3)
    free = finding({**data, "seconds": server(share=1e-12)["seconds"]}, shared.subject)
    assert free.holds is True
    assert abs(free.numbers["correlation"]) < 0.2


def test_the_load_cannot_be_judged_where_it_does_not_vary() -> None:
    found = finding(server(), "service regardless of load")
    assert found.holds is None
    assert "concurrency 1" in found.sentence
    data = {key: value for key, value in server().items() if key != "arrivals"}
    assert "It needs" in finding(data, found.subject).sentence
    at = finding({**data, "concurrency": np.tile([1.0, 4.0], 150)}, found.subject)
    assert at.holds is True


def test_times_on_the_line_do_not_go_with_the_load() -> None:
    tokens = np.array([64.0, 128.0, 256.0, 512.0, 1024.0, 64.0, 128.0])
    data = {"tokens": tokens, "seconds": tokens / 64.0, "concurrency": np.arange(1.0, 8.0)}
    found = finding(data, "service regardless of load")
    assert found.holds is True
    assert (found.numbers["correlation"], found.numbers["p_value"]) == (0.0, 1.0)


def test_poisson_arrivals_are_tested() -> None:
    rng = np.random.default_rng(1)
    poisson = finding({"arrivals": np.cumsum(rng.exponential(1.0, 500))}, "Poisson arrivals")
    assert poisson.holds is True
    assert poisson.numbers["gap_scv"] == pytest.approx(1.0, abs=0.2)
    clock = finding({"arrivals": np.arange(500.0) + rng.uniform(0, 0.1, 500)}, poisson.subject)
    assert clock.holds is False
    few = finding({**server(rows=8)}, poisson.subject)
    assert few.holds is None
    assert "too few" in few.sentence


def test_the_use_of_budgets_is_measured() -> None:
    data = server(rows=2000)
    rng = np.random.default_rng(2)
    # Gamma of mean 0.6 and squared coefficient of variation 0.25.
    use = rng.gamma(4.0, 0.15, 2000)
    half = finding({**data, "tokens": data["budgets"] * use}, "budgets used up")
    assert half.holds is False
    assert half.numbers["mean_use"] == pytest.approx(0.6, rel=0.03)
    assert half.numbers["token_scv"] == pytest.approx(0.25, rel=0.1)
    assert half.numbers["exceeded"] == pytest.approx(np.mean(use > 1.0))
    assert "token_scv=0.2" in half.sentence
    single = {**data, "budgets": np.arange(1.0, 2001.0)}
    single["tokens"] = single["budgets"] * use
    alone = finding(single, half.subject)
    assert alone.numbers["token_scv"] == pytest.approx(0.25, rel=0.1)


def test_files_of_each_kind_are_diagnosed(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    result.write_text(vllm_result(requests=20))
    found = cq.diagnose(result)
    assert found.findings[0].holds is True
    assert found.source == "result.json (vllm, 20 rows)"
    trace = tmp_path / "trace.csv"
    trace.write_text(AZURE_HEAD)
    with pytest.raises(cq.InvalidInputError, match=r"trace.csv: nothing can be tested.*too few"):
        cq.diagnose(trace)


def test_too_few_rows_are_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("tokens,seconds,budget\n100,1,100\n100,1,100\n")
    found = cq.diagnose(read_requests(path))
    assert found.findings[0].holds is None
    assert "The data do not suffice" in found.findings[0].sentence
    assert found.findings[3].holds is True
    path.write_text("tokens,seconds,budget\n100,1,100\n100,1.1,100\n200,2,200\n")
    bend = cq.diagnose(path).findings[0]
    assert bend.holds is None
    assert "A bend needs" in bend.sentence
