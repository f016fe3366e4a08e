"""The report: each of its numbers anew from the rows, and nothing in it that a browser obeys."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import pytest

import cvxqueue as cq
from cvxqueue.benchmark.rows import OUTCOMES, write_rows
from cvxqueue.benchmark.solvers import SETTINGS
from tests.benchmark.test_rows import row

LIMIT = 10.0
OWN = "With their own settings"
HOSTILE = "<script>alert('1')</script> | *a* `b` [c](http://d) &amp; \x1b[31m"
Rows = list[dict[str, Any]]


def drawn(seed: int) -> list[Any]:
    """Rows of four solvers on fifteen instances of three sizes, with all that can come of one."""
    rng, rows = Random(seed), []
    for solver in ("fast", "exact", "liar", HOSTILE):
        for settings in ("default", "tight")[: 2 if solver != "exact" else 1]:
            for at in range(15):
                outcome = rng.choice(["answered"] * 20 + list(OUTCOMES))
                found: dict[str, Any] = {"outcome": outcome, "words": f"{outcome}: {HOSTILE} {at}"}
                if outcome == "answered":
                    gap = 10.0 ** rng.uniform(-15.0, -9.0 if solver == "exact" else -3.0)
                    is_feasible = rng.random() < 0.9
                    claims = rng.choice([True, True, False, None])
                    found |= {"relative_gap": gap, "is_feasible": is_feasible}
                    found |= {"violation": 0.0 if is_feasible else 3.5, "token_error": gap * 1e6}
                    found |= {
                        "claims_optimal": claims,
                        "referee": rng.choice(["record", "certificate"]),
                    }
                    found["claim_is_true"] = (is_feasible and gap <= 1e-6) if claims else None
                    found["cold_seconds"] = 10.0 ** rng.uniform(-4.0, 1.0)
                    found["seconds"] = [10.0 ** rng.uniform(-4.0, 0.5) for _ in range(at % 6)]
                    found["memory"] = rng.randrange(10**8)
                    found["setup_seconds"] = rng.random() * found["cold_seconds"]
                else:
                    found["seconds"] = []
                name = f"instance {at}" if at else HOSTILE
                about = {
                    "instance": name,
                    "instance_digest": f"{at}",
                    "types": [3, 40, 999][at % 3],
                }
                rows.append(row(solver, settings=settings, **about, **found))
    rng.shuffle(rows)
    return rows


@pytest.fixture(scope="module", params=[1, 2, 3])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows, and with both forms of their report."""
    folder = tmp_path_factory.mktemp("report")
    write_rows(folder / "rows.jsonl", drawn(request.param))
    found = cq.Benchmark.read(folder / "rows.jsonl")
    found.report(folder / "report.md")
    found.report(folder / "report.html")
    return folder


def printed(name: str) -> str:
    return name.replace("\x1b", r"\x1b")


def unmarked(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text).strip()


def sections(folder: Path) -> dict[str, dict[str, list[list[str]]]]:
    """The cells of each table, by the level-two heading and the heading next above it."""
    found: dict[str, dict[str, list[list[str]]]] = {}
    part = heading = ""
    for line in (folder / "report.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = unmarked(line.lstrip("#"))
            part = heading if line.startswith("## ") else part
        elif line.startswith("|") and not line.startswith("| ---"):
            cells = [unmarked(each) for each in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.setdefault(part, {}).setdefault(heading, []).append(cells)
    return found


def rows_of(folder: Path, settings: str) -> dict[str, Rows]:
    """The rows as plain JSON by solver, each in the order of the digests."""
    found: dict[str, Rows] = {}
    for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines():
        data = json.loads(line)
        if data["settings"] == settings:
            found.setdefault(printed(data["solver"]), []).append(data)
    return {
        name: sorted(each, key=lambda it: it["instance_digest"]) for name, each in found.items()
    }


def is_solved(data: Mapping[str, Any], gap: float = 1e-6) -> bool:
    return bool(data["is_feasible"]) and data["relative_gap"] <= gap


def seconds(data: Mapping[str, Any]) -> float:
    known: list[float] = data["seconds"] or [data["cold_seconds"] or math.nan]
    return statistics.median(known)


def shifted(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(each + 0.01) for each in values)) - 0.01


def time_of(cell: str) -> float:
    """Seconds, as a cell says them; NaN for a dash."""
    return math.nan if cell == "–" else float(cell)


def same(cell: str, expected: float) -> bool:
    """Whether a cell has the time to its three digits."""
    found = time_of(cell)
    return (math.isnan(found) and math.isnan(expected)) or math.isclose(
        found, expected, rel_tol=6e-3
    )


def bounds(cell: str, gap: float) -> bool:
    """Whether a cell has a gap rounded up to two digits."""
    return gap <= float(cell) <= gap * 1.1 + 1e-320


def percent(share: float) -> str:
    return f"{int(100 * share + 1e-9)} %"


@pytest.mark.parametrize(
    ("settings", "part"), [("default", "With their own settings"), ("tight", "Asked for 1e-9")]
)
def test_each_number_anew_from_the_rows(written: Path, settings: str, part: str) -> None:
    tables, rows = sections(written)[part], rows_of(written, settings)
    count = 15
    best = [
        min((seconds(it[at]) for it in rows.values() if is_solved(it[at])), default=math.inf)
        for at in range(count)
    ]
    together = [at for at in range(count) if all(is_solved(it[at]) for it in rows.values())]
    ratios = {
        name: [
            seconds(data) / least if is_solved(data) else math.inf
            for data, least in zip(each, best, strict=True)
        ]
        for name, each in rows.items()
    }

    assert len(tables[part]) == len(rows) + 1
    for name, *counts, wrong, mean, common, first, fastest in tables[part][1:]:
        each = rows[name]
        assert counts == [str(count), str(sum(map(is_solved, each)))]
        assert wrong == str(sum(data["claim_is_true"] is False for data in each))
        assert same(mean, shifted([seconds(it) if is_solved(it) else LIMIT for it in each]))
        expected = shifted([seconds(each[at]) for at in together]) if together else math.nan
        assert same(common, expected)
        known = [it["cold_seconds"] for it in each if it["cold_seconds"] is not None]
        assert same(first, statistics.median(known))
        assert fastest == str(sum(ratio == 1.0 for ratio in ratios[name]))
    solved_counts = [int(line[2]) for line in tables[part][1:]]
    assert solved_counts == sorted(solved_counts, reverse=True)

    shares = tables["Share of the instances certified within a gap"]
    for name, *cells in shares[1:]:
        within = [sum(is_solved(it, float(gap)) for it in rows[name]) for gap in shares[0][1:]]
        assert cells == [percent(each / count) for each in within]

    profile = tables["Performance profile: share solved within a factor of the least time"]
    for name, *cells in profile[1:]:
        within = [sum(it <= float(factor) for it in ratios[name]) for factor in profile[0][1:]]
        assert cells == [percent(each / count) for each in within]

    wins = tables["Wins, row over column"]
    order = [line[0].partition(": ")[2] for line in wins[1:]]
    assert order == [line[0] for line in tables[part][1:]]
    for name, line in zip(order, wins[1:], strict=True):
        for other, cell in zip(order, line[1:], strict=True):
            won = sum(
                is_solved(one) and (not is_solved(two) or seconds(one) < seconds(two))
                for one, two in zip(rows[name], rows[other], strict=True)
            )
            assert cell == ("–" if name == other else str(won))

    growth = tables["Growth with the number of task types"]
    assert growth[0][1:] == ["1–9", "10–99", "100–999"]
    for name, *cells in growth[1:]:
        for cell, types in zip(cells, (3, 40, 999), strict=True):
            times = [seconds(it) for it in rows[name] if is_solved(it) and it["types"] == types]
            assert same(cell, statistics.geometric_mean(times) if times else math.nan)

    ends = sections(written)["What was not solved"]["What was not solved"][1:]
    for name, each in rows.items():
        found = Counter[str]()
        for solver, chosen, end, _, often in ends:
            if (solver, chosen) == (name, settings):
                found["answered" if end == "answered, too far from it" else end] += int(often)
        assert found == Counter(it["outcome"] for it in each if not is_solved(it))

    lines = sections(written)["Every instance"][part]
    assert lines[0][2:] == order
    for instance, size, *cells in lines[1:]:
        for name, cell in zip(order, cells, strict=True):
            (data,) = (it for it in rows[name] if printed(it["instance"]) == instance)
            assert size == str(data["types"])
            if is_solved(data):
                assert same(cell, seconds(data))
            elif data["outcome"] != "answered":
                assert cell == data["outcome"]
            elif data["is_feasible"]:
                assert bounds(cell.removeprefix("gap "), data["relative_gap"])
            else:
                assert cell == "violation 3.5 tokens"


def test_wrong_claims_by_name_and_solver_by_solver(written: Path) -> None:
    tables = sections(written)
    both = [it for each in ("default", "tight") for it in rows_of(written, each).items()]
    wrong = [data for _, each in both for data in each if data["claim_is_true"] is False]
    table = tables["Wrong claims"]["Wrong claims"][1:]
    assert len(table) == len(wrong)
    gaps = sorted((it["relative_gap"] for it in wrong), reverse=True)
    assert all(bounds(line[3], gap) for line, gap in zip(table, gaps, strict=True))
    text = unmarked((written / "report.md").read_text(encoding="utf-8"))
    for _, each in both:
        solved, claims = (
            [it for it in each if is_solved(it)],
            [it for it in each if it["claims_optimal"]],
        )
        tight = sum(is_solved(it, 1e-9) for it in each)
        true = sum(bool(it["claim_is_true"]) for it in claims)
        assert (
            f"solves {len(solved)} of 15, {tight} to 1e-9; calls {len(claims)} optimal, {true} of "
            "them rightly."
        ) in text
        known = [it for it in each if it["memory"] is not None]
        memory = statistics.median(it["memory"] for it in known)
        assert f"Median of the most memory {memory / 1e6:.0f} MB." in text
        share = statistics.median(it["setup_seconds"] / seconds(it) for it in known)
        assert f"In the median {percent(min(share, 1.0))} of a call builds the problem." in text


def test_what_is_said_of_single_instances(written: Path) -> None:
    told, name = 0, ""
    for line in map(unmarked, (written / "report.md").read_text(encoding="utf-8").splitlines()):
        name = line[4:] if line.startswith("### ") else name
        if not line.startswith(("Its own settings", "Asked for")):
            continue
        rows = rows_of(written, "default" if line.startswith("Its") else "tight")
        best: dict[str, float] = {}
        for data in (data for each in rows.values() for data in each if is_solved(data)):
            called = printed(data["instance"])
            best[called] = min(best.get(called, math.inf), seconds(data))
        own = {printed(it["instance"]): it for it in rows[name]}
        for called, data in own.items():
            ratio = seconds(data) / best.get(called, math.nan)
            for shown in re.findall(rf"(?:on|,) {re.escape(called)} \(([\d.,e+]+)×\)", line):
                digits = f"{ratio:,.0f}" if ratio >= 100.0 else f"{ratio:.2g}"
                assert shown == digits
                told += 1
            for shown in re.findall(rf"(?:on|,) {re.escape(called)} \(gap ([\d.e-]+)\)", line):
                assert bounds(shown, data["relative_gap"])
                told += 1
    assert told >= 20


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_one_file_in_which_names_are_text(written: Path) -> None:
    content = (written / "report.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(content)
    assert page.open == []
    assert not page.tags & {"script", "img", "iframe", "a"}
    assert page.addresses == ["data:,"]
    assert "&lt;script&gt;" in content
    assert "\x1b" not in content
    assert "nan" not in content.lower().replace("finance", "")


def test_the_markdown_has_no_markup_of_a_name(written: Path) -> None:
    for line in (written / "report.md").read_text(encoding="utf-8").splitlines():
        assert not re.search(r"(?<!\\)[<`*\[]", line), line


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    def report(*rows: Any, name: str = "report.md") -> None:
        cq.Benchmark(rows).report(tmp_path / name)

    with pytest.raises(cq.InvalidInputError, match="no rows"):
        report()
    with pytest.raises(cq.InvalidInputError, match=r"let its name end in \.html or \.md"):
        report(row(), name="report.pdf")
    assert list(tmp_path.iterdir()) == []
    assert str(cq.Benchmark(())) == "0 runs"


def test_a_report_is_of_what_was_asked_for_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    good, bad = "__import__('cvxqueue').solve(instance).tokens", "instance.lower"

    def counts(code: str, **options: float) -> tuple[list[str], str]:
        """The runs of the solver and what it solved, with the text of the report."""
        (tmp_path / "edited.py").write_text(f"def f(instance):\n    return {code}\n")
        instances = [cq.references.exact(1)] + [cq.references.exact(2)] * (not options)
        output = tmp_path / "rows.jsonl"
        found = cq.run_benchmark(instances, ["edited:f"], output=output, **options)  # type: ignore[arg-type]
        line = sections_of(found)[0]
        assert " ".join(line) in " ".join(str(found).split())
        return line[1:3], (tmp_path / "report.md").read_text(encoding="utf-8")

    def sections_of(found: cq.Benchmark) -> list[list[str]]:
        found.report(tmp_path / "report.md")
        return [it for part, each in sections(tmp_path).items() for it in each.get(part, [])[1:]]

    assert counts(good)[0] == ["2", "2"]
    assert counts(bad)[0] == ["2", "0"]
    line, text = counts(good)
    assert line == ["2", "2"]
    assert "Left out: 2 runs of other versions of these solvers, or under other limits." in text
    assert counts(good, time_limit=9.0)[0] == ["1", "1"]
    line, text = counts(good)
    assert line == ["2", "2"]
    assert "counts as the limit, 10 s" in text


def test_a_file_tells_versions_and_limits_apart_in_any_order(tmp_path: Path) -> None:
    solved: dict[str, Any] = {"is_feasible": True, "relative_gap": 1e-9}
    rows = [row(instance_digest="cd", **solved), row(solver_version="2"), row("other")]
    rows += [row("other", time_limit=5.0, memory_limit=4e9, settings=it) for it in SETTINGS]
    texts = []
    for each in (rows, rows[::-1]):
        cq.Benchmark(tuple(each)).report(tmp_path / "report.md")
        texts.append((tmp_path / "report.md").read_text(encoding="utf-8"))
    assert texts[0] == texts[1]
    assert "Left out" not in texts[0]
    found = sections(tmp_path)
    first, last = f"{OWN}, within 10 s", f"{OWN}, within 5 s and 4 GB"
    assert [line[:3] for line in found[first][first][1:]] == [
        ["newton (1)", "1", "1"],
        ["newton (2)", "1", "0"],
        ["other", "1", "0"],
    ]
    assert [line[:3] for line in found[last][last][1:]] == [["other", "1", "0"]]
    assert "Asked for 1e-9, within 5 s and 4 GB" in found
    ends = found["What was not solved"]["What was not solved"][1:]
    assert [end[:2] for end in ends] == [
        ["newton (2)", "default, within 10 s"],
        ["other", "default, within 10 s"],
        ["other", "default, within 5 s and 4 GB"],
        ["other", "tight, within 5 s and 4 GB"],
    ]
    assert "5 s or 10 s for its first call" in texts[0]
    assert "one core and 4 GB of memory or one thread" in texts[0]


def test_one_instance_more_or_less_narrows_no_comparison(tmp_path: Path) -> None:
    wrong: dict[str, Any] = {
        "claims_optimal": True,
        "claim_is_true": False,
        "words": "ha",
        "relative_gap": 0.5,
    }
    solved: dict[str, Any] = {"is_feasible": True, "relative_gap": 1e-9}
    rows = [row("all", instance=each, instance_digest=each, **solved) for each in "abc"]
    rows += [row("one", instance="a", instance_digest="a", **solved, seconds=[0.1])]
    rows += [row("liar", instance="d", instance_digest="d", **wrong)]
    cq.Benchmark(tuple(rows)).report(tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "Not all have run the same instances." in text
    tables = sections(tmp_path)
    found = {line[0]: line[1:] for line in tables[OWN][OWN][1:]}
    assert list(found) == ["all", "one", "liar"]
    # Nothing is solved by all, and each was the fastest on what only it has run.
    assert found["all"] == ["3", "3", "0", "0.5", "–", "–", "2"]
    assert found["one"] == ["1", "1", "0", "0.1", "–", "–", "1"]
    assert found["liar"][:3] == ["1", "0", "1"]
    wins = {line[0]: line[1:] for line in tables[OWN]["Wins, row over column"][1:]}
    assert wins == {
        "1: all": ["–", "0", "0"],
        "2: one": ["1", "–", "0"],
        "3: liar": ["0", "0", "–"],
    }
    lines = tables["Every instance"][OWN][1:]
    assert lines[0] == ["a", "3", "0.5", "0.1", ""]
    assert lines[3] == ["d", "3", "", "", "violation unknown tokens"]
    assert tables["Wrong claims"]["Wrong claims"][1][0] == "liar"
    # Whole tables say nothing of it.
    cq.Benchmark(tuple(rows[:3])).report(tmp_path / "report.md")
    assert "Not all" not in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_chart_is_called_what_it_shows_and_a_solver_has_one_colour(tmp_path: Path) -> None:
    solved = {"is_feasible": True, "relative_gap": 1e-9}
    rows = [row("last", settings=settings, **solved) for settings in ("default", "tight")]
    cq.Benchmark((*rows, row("first", **solved))).report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    labels = re.findall(r'aria-label="([^"]*)"><title>([^<]*)', page)
    assert [first.partition(":")[0] for first, _ in labels] == 2 * [
        "Share of the instances certified within a gap",
        "Performance profile",
    ]
    assert all(first == second for first, second in labels)
    assert set(re.findall(r'class="line (\w+)"[^>]*><title>last<', page)) == {"c1"}


def test_the_judge_is_the_one_that_judged(tmp_path: Path) -> None:
    rows = (row(versions={"cvxqueue": "0.0.7"}), row("other", versions={"cvxqueue": "0.0.8"}))
    cq.Benchmark(rows).report(tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "is judged by cvxqueue 0.0.7 and 0.0.8: what" in text
    assert "with 3 task types." in text
    cq.Benchmark((row(types=1),)).report(tmp_path / "report.md")
    assert "with 1 task type." in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("gap", [None, 0.0, 5e-324, 1e300])
@pytest.mark.parametrize("spent", [[], [0.0], [5e-324], [1e300]])
def test_one_row_makes_a_report(
    tmp_path: Path, outcome: str, gap: float | None, spent: list[float]
) -> None:
    rows = (row(outcome=outcome, seconds=spent, is_feasible=True, relative_gap=gap),)
    for name in ("report.html", "report.md"):
        cq.Benchmark(rows).report(tmp_path / name)
        assert "inf" not in re.findall(r"[\w.]+", (tmp_path / name).read_text(encoding="utf-8"))
