"""The report: what the rows say, as one page of HTML without a script, or as Markdown."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from cvxqueue.benchmark.charts import Axis, Line, around, chart
from cvxqueue.benchmark.judging import KEPT, SOLVED_GAP
from cvxqueue.benchmark.rows import Row
from cvxqueue.benchmark.statistics import FACTORS, GAPS, SHIFT, Comparison, compare
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import clipped, plural, printable
from cvxqueue.whole_files import write_whole

# Rows of a table of single runs; the file of rows has all.
_MOST_ROWS = 40
_MOST_NAMES = 6
_STYLE = Path(__file__).with_name("report.css")


class _Grid(NamedTuple):
    """A table: its names, and its cells as people see them; the first column is text."""

    names: Sequence[str]
    cells: Sequence[Sequence[str]]


class _Heading(NamedTuple):
    text: str
    level: int = 2


class _Drawing(NamedTuple):
    """SVG, which Markdown leaves out: a table has what it shows."""

    markup: str


_Block = str | _Grid | _Heading | _Drawing
"""A string is a paragraph."""


def write_report(path: Path, rows: Iterable[Row]) -> None:
    """Write a report; see `Benchmark.report`."""
    kinds = {".html": _as_html, ".md": _as_markdown}
    suffix = path.suffix.lower()
    if suffix not in kinds:
        raise InvalidInputError(
            f"{path}: a report is one page; let its name end in {' or '.join(kinds)}"
        )
    write_whole(path, kinds[suffix](list(_blocks(compare(rows)))).encode())


def _blocks(found: Comparison) -> Iterator[_Block]:
    rows, names = found.rows, found.names
    sizes = [row.types for row in rows]
    yield _Heading("Solvers compared", 1)
    between = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
    yield (
        f"{plural(len(found.instances), 'instance')} of the allocation of reasoning tokens with "
        f"{between} task types, and {plural(len({row.solver for row in rows}), 'solver')} with "
        "their own settings and, as “tight”, asked for 1e-9. Every answer is judged by cvxqueue "
        f"{version('cvxqueue')}: what a solver says of its answer counts for nothing."
    )
    if found.left_out:
        yield (
            f"Left out: {plural(found.left_out, 'run')} of instances that not every solver has run."
        )
    yield from _in_short(found)
    yield from _accuracy(found)
    yield from _time(found)
    yield from _growth(found)
    yield from _failures(found)
    yield _Heading("Solver by solver")
    for name in names:
        yield from _about(found, name)
    yield from _conditions(found)


def _in_short(found: Comparison) -> Iterator[_Block]:
    order = sorted(
        found.names, key=lambda it: (-found.share_within(it, SOLVED_GAP), found.mean_cost(it))
    )
    yield _Heading("In short")
    yield _Grid(
        (
            "solver",
            f"solved to {SOLVED_GAP:g}",
            "wrong claims",
            "mean time",
            "least time of all on",
        ),
        [
            (
                name,
                _percent(found.share_within(name, SOLVED_GAP)),
                str(sum(row.claim_is_true is False for row in found.of(name))),
                _seconds(found.mean_cost(name)),
                _count(sum(ratio == 1.0 for ratio in found.ratios(name)), len(found.instances)),
            )
            for name in order
        ],
    )
    yield (
        f"Solved means: feasible, and proven to be within a relative gap of {SOLVED_GAP:g} of the "
        "optimum. The gap is that of the objective, over the weighted accuracy plus the mean system "
        "time. A wrong claim is an answer that the solver calls optimal and that is not solved. The "
        "mean time counts what is not solved as the time limit."
    )


def _accuracy(found: Comparison) -> Iterator[_Block]:
    yield _Heading("Accuracy")
    gaps = [row.relative_gap for row in found.rows if row.is_feasible and row.relative_gap]
    axis = around([max(gap, 1e-16) for gap in gaps], "proven relative gap, or less")
    steps = [axis.low * (axis.high / axis.low) ** (each / 200) for each in range(201)]
    lines = _lines(found, lambda it: [(gap, found.share_within(it, gap)) for gap in steps])
    share = Axis("share of the instances", 0.0, 1.0, is_log=False)
    title = "Share of the instances with an answer that is certified within a gap"
    yield f"{title}. Higher and further to the left is better."
    yield _Drawing(chart(lines, axis, share, title=title, has_steps=True))
    yield _Grid(
        ("certified within", *(f"{gap:g}" for gap in GAPS)),
        [(it, *(_percent(found.share_within(it, gap)) for gap in GAPS)) for it in found.names],
    )
    wrong = found.wrong_claims
    yield _Heading("Wrong claims", 3)
    if not wrong:
        yield "None: every answer that a solver calls optimal is solved."
        return
    yield (
        f"{plural(len(wrong), 'answer')} that a solver calls optimal and that "
        f"{'is' if len(wrong) == 1 else 'are'} not solved"
        + (
            f", the {_MOST_ROWS} worst of them."
            if len(wrong) > _MOST_ROWS
            else ", the worst first."
        )
        + " Tokens are off by at least so many for some type; a violation is the distance to "
        "tokens that are feasible."
    )
    yield _Grid(
        ("solver", "instance", "relative gap", "tokens off by", "violation", "its words"),
        [
            (
                row.contender,
                row.instance,
                _number(row.relative_gap),
                _number(row.token_error),
                _number(row.violation),
                clipped(row.words),
            )
            for row in wrong[:_MOST_ROWS]
        ],
    )


def _time(found: Comparison) -> Iterator[_Block]:
    limit = found.rows[0].time_limit
    together = found.solved_by_all
    yield _Heading("Time")
    yield (
        "The time of a run is the median of the calls after the first one, with building the "
        "problem, in a process of its own with one thread. Means are geometric, shifted by "
        f"{1e3 * SHIFT:g} ms: what takes much less than that counts as equally fast. What is not "
        f"solved counts as the limit, {limit:g} s, in the first mean; the second is over the "
        f"{plural(len(together), 'instance')} that all have solved."
    )
    yield _Grid(
        ("solver", "mean, failures at the limit", "mean over what all solved", "median first call"),
        [
            (
                name,
                _seconds(found.mean_cost(name)),
                _seconds(found.mean_cost(name, together)),
                _seconds(_middle([row.cold_seconds for row in found.of(name)])),
            )
            for name in found.names
        ],
    )
    yield _Heading("Performance profile", 3)
    factors = around([it for name in found.names for it in found.ratios(name)], "times the least")
    steps = [factors.low * (factors.high / factors.low) ** (each / 200) for each in range(201)]
    lines = _lines(found, lambda it: [(factor, found.profile(it, factor)) for factor in steps])
    share = Axis("share of the instances", 0.0, 1.0, is_log=False)
    yield (
        "How to read it: at a factor f, the share of the instances that a solver solves in at most f "
        "times the least time of any solver. At 1 it is how often it is the fastest, and at the "
        "right how often it solves at all. A profile ranks against the best alone: without the "
        "fastest solver the others may change places. So the wins of each over each stand below."
    )
    title = "Share of the instances solved within a factor of the least time"
    yield _Drawing(chart(lines, factors, share, title=title, has_steps=True))
    yield _Grid(
        ("solved within a factor", *(f"{factor:g}" for factor in FACTORS), "any"),
        [
            (
                it,
                *(_percent(found.profile(it, factor)) for factor in FACTORS),
                _percent(_any(found, it)),
            )
            for it in found.names
        ],
    )
    yield _Heading("Wins, row over column", 3)
    yield (
        f"Of {plural(len(found.instances), 'instance')}, those that the solver of the row solved in "
        "less time than that of the column, or that the latter did not solve."
    )
    numbers = [str(place) for place in range(1, len(found.names) + 1)]
    yield _Grid(
        ("solver", *numbers),
        [
            (
                f"{number}: {name}",
                *("–" if other == name else str(found.wins(name, other)) for other in found.names),
            )
            for number, name in zip(numbers, found.names, strict=True)
        ],
    )


def _any(found: Comparison, name: str) -> float:
    return found.share_within(name, SOLVED_GAP)


def _growth(found: Comparison) -> Iterator[_Block]:
    decades = found.decades
    yield _Heading("Growth with the number of task types")
    yield "Geometric mean of the time of what is solved; a dash where nothing is."
    means = {it: [found.growth(it, decade) for decade in decades] for it in found.names}
    if len(decades) > 1:
        axis = Axis("task types", 10.0 ** decades[0], 10.0 ** decades[-1])
        seconds = around([value for each in means.values() for value in each], "seconds")
        lines = _lines(
            found, lambda it: list(zip([10.0**it for it in decades], means[it], strict=True))
        )
        title = "Seconds by task types, each decade at its beginning"
        yield f"{title}."
        yield _Drawing(chart(lines, axis, seconds, title=title))
    yield _Grid(
        ("task types", *(_decade(decade) for decade in decades)),
        [(it, *map(_seconds, means[it])) for it in found.names],
    )


def _decade(decade: int) -> str:
    return f"{10**decade:,}–{10 ** (decade + 1) - 1:,}"


def _failures(found: Comparison) -> Iterator[_Block]:
    yield _Heading("What was not solved")
    ends = {name: found.ends(name) for name in found.names}
    seen = [end for end in next(iter(ends.values())) if any(each[end] for each in ends.values())]
    if not seen:
        yield "Nothing: every solver solved every instance."
        return
    yield _Grid(
        ("solver", *seen), [(it, *(str(ends[it][end]) for end in seen)) for it in found.names]
    )
    reasons = Counter(
        (name, row.outcome, _without_numbers(row.words))
        for name in found.names
        for row in found.of(name)
        if not row.is_solved and row.words
    )
    yield "What was said, numbers left out:"
    yield _Grid(
        ("solver", "outcome", "words", "instances"),
        [
            (name, outcome, clipped(words), str(count))
            for (name, outcome, words), count in reasons.most_common(_MOST_ROWS)
        ],
    )


def _without_numbers(words: str) -> str:
    return re.sub(r"\d[\d.,e+-]*", "#", words)


def _about(found: Comparison, name: str) -> Iterator[_Block]:
    """What an author wants to know of a solver: where it is best, and where it fails."""
    rows, ratios = found.of(name), found.ratios(name)
    missed = sorted(
        (row for row in rows if not row.is_solved), key=lambda row: -(row.relative_gap or math.inf)
    )
    pairs = sorted(zip(ratios, rows, strict=True), key=lambda pair: pair[0])
    first = [row.instance for ratio, row in pairs if ratio == 1.0]
    slow = [
        f"{row.instance} ({ratio:.3g}×)" for ratio, row in reversed(pairs) if 1.0 < ratio < math.inf
    ]
    tight = sum(row.is_within(1e-9) for row in rows)
    claims = sum(bool(row.claims_optimal) for row in rows)
    true = sum(bool(row.claim_is_true) for row in rows)
    memory = _middle([None if row.memory is None else float(row.memory) for row in rows])
    yield _Heading(name, 3)
    yield (
        f"{rows[0].solver_version}. Solves {_count(len(rows) - len(missed), len(rows))}, "
        f"{tight} of them to 1e-9. "
        f"Calls {plural(claims, 'answer')} optimal, rightly {true}. "
        + (f"Fastest on {_some(first)}. " if first else "Never the fastest. ")
        + (f"Furthest behind the fastest on {_some(slow)}. " if slow else "")
        + (f"Not solved: {_some([_missed(row) for row in missed])}. " if missed else "")
        + ("" if math.isnan(memory) else f"Median of the most memory: {memory / 1e6:.0f} MB.")
    )


def _missed(row: Row) -> str:
    if row.relative_gap is None or row.outcome != "answered":
        return f"{row.instance} ({row.outcome})"
    if not row.is_feasible:
        return f"{row.instance} (violation {_number(row.violation)} tokens)"
    return f"{row.instance} (gap {_number(row.relative_gap)})"


def _conditions(found: Comparison) -> Iterator[_Block]:
    row = found.rows[0]
    hosts = sorted({row.host for row in found.rows})
    by_record = len({it.instance_digest for it in found.rows if it.referee == "record"})
    memory = "no limit of memory" if row.memory_limit is None else f"{row.memory_limit / 1e9:g} GB"
    yield _Heading("Why believe it")
    yield (
        "The referee is no solver. The objective is concave, and any answer with any multipliers "
        "bounds the optimum from above; that inequality, evaluated in closed form with an allowance "
        "for rounding, is the certificate. For "
        f"{_count(by_record, len(found.instances))} instances the optimum is known from a record "
        "that one file with a bare Python proves again, and for the others it is certified to "
        f"rounding. Tokens outside the limits are moved into them first, and by more than {KEPT:g} "
        "of the largest cap count as infeasible. An answer is judged outside the process that gave "
        "it, and no solver sees what is known of the optimum."
    )
    yield (
        f"Each run had a process of its own, {row.time_limit:g} s for its first call, {memory} and "
        "one thread; the order was random, so that a busy machine meets all alike. Six calls at "
        "most: the first is told apart, and the problem is built anew in each."
    )
    if len(hosts) > 1:
        yield "Runs of several machines are compared here: their times are not of one measure."
    versions = sorted(
        {f"{name} {number}" for it in found.rows for name, number in it.versions.items() if number}
    )
    yield _Grid(
        ("what", "which"),
        [
            *(("host", host) for host in hosts),
            ("versions", ", ".join(versions)),
            *(
                (solver, number)
                for solver, number in sorted({(it.solver, it.solver_version) for it in found.rows})
            ),
        ],
    )
    yield _Heading("Every run", 3)
    yield "The proven relative gap of each answer, or what came instead of one, and the time."
    yield _Grid(
        ("instance", "task types", "solver", "relative gap", "time"),
        [
            (
                each.instance,
                str(each.types),
                name,
                _number(each.relative_gap) if each.outcome == "answered" else each.outcome,
                _seconds(each.median),
            )
            for digest in found.instances
            for name in found.names
            for each in [found.runs[name][digest]]
        ],
    )


def _lines(found: Comparison, points: object) -> list[Line]:
    """One line for each contender: a colour for the solver, dashes where it is tight."""
    solvers = sorted({row.solver for row in found.rows})
    call: object = points
    return [
        Line(name, solvers.index(row.solver), row.settings != "default", call(name))  # type: ignore[operator]
        for name in found.names
        for row in [found.of(name)[0]]
    ]


def _middle(values: Iterable[float | None]) -> float:
    """The median of what is known; NaN of nothing."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return math.nan
    return (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2.0


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _count(count: int, of: int) -> str:
    return f"{count} of {of}"


def _percent(share: float) -> str:
    """A share that is not all is not printed as all."""
    return f"{math.floor(100.0 * share + 1e-9)} %"


def _seconds(seconds: float) -> str:
    if math.isnan(seconds):
        return "–"
    return f"{seconds:.3g} s" if seconds >= 1.0 else f"{1e3 * seconds:.3g} ms"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2g}"


def _as_html(blocks: Sequence[_Block]) -> str:
    # A page that somebody opens asks nobody for anything, an icon included.
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>Solvers compared</title>\n<style>\n{_STYLE.read_text()}</style>",
            "</head>\n<body>\n<main>",
            *map(_html, blocks),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _html(block: _Block) -> str:
    if isinstance(block, _Drawing):
        return block.markup
    if isinstance(block, _Heading):
        return f"<h{block.level}>{_plain(block.text)}</h{block.level}>"
    if isinstance(block, str):
        return f"<p>{_plain(block)}</p>"
    head = "".join(f'<th scope="col">{_plain(name)}</th>' for name in block.names)
    body = "\n".join(
        f'<tr><th scope="row">{_plain(first)}</th>'
        + "".join(f"<td>{_plain(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in block.cells
    )
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    inside = f"<details><summary>{plural(len(block.cells), 'row')}</summary>{table}</details>"
    return f'<div class="wide">{table if len(block.cells) <= _MOST_ROWS else inside}</div>'


def _plain(text: str) -> str:
    return escape(printable(text))


def _as_markdown(blocks: Sequence[_Block]) -> str:
    return "\n\n".join(filter(None, map(_markdown, blocks))) + "\n"


def _markdown(block: _Block) -> str:
    if isinstance(block, _Drawing):
        return ""
    if isinstance(block, _Heading):
        return f"{'#' * block.level} {_marked(block.text)}"
    if isinstance(block, str):
        return _marked(block)
    lines = [block.names, ["---"] + ["---:"] * (len(block.names) - 1), *block.cells]
    escaped = [lines[0], lines[1], *lines[2:]]
    return "\n".join(
        f"| {' | '.join(cells if place == 1 else map(_marked, cells))} |"
        for place, cells in enumerate(escaped)
    )


def _marked(text: str) -> str:
    """Text in which Markdown finds nothing to obey."""
    return re.sub(r"([\\`*_{}\[\]<>|~$#])", r"\\\1", printable(text)).replace("\n", " ")
