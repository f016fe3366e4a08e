"""The report: what the rows say, as one page of HTML without a script, or as Markdown."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from cvxqueue.benchmark.charts import Axis, Line, around, chart
from cvxqueue.benchmark.judging import KEPT, SOLVED_GAP
from cvxqueue.benchmark.rows import Row
from cvxqueue.benchmark.scores import (
    FACTORS,
    GAPS,
    SHIFT,
    Comparison,
    compare,
    middle,
    percent,
    power,
)
from cvxqueue.benchmark.solvers import TIGHT
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import clipped, plural, printable
from cvxqueue.whole_files import write_whole

# Rows of a table that is shown at once; more are folded.
_MOST_ROWS = 100
_MOST_NAMES = 6
# What is below is rounding.
_LEAST_GAP = 1e-16
# Columns of text, which begin at the left.
_LEFT_COLUMNS = ("instance", "outcome", "settings", "solver", "which", "words")
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


def _blocks(comparisons: Sequence[Comparison]) -> Iterator[_Block]:
    rows = [row for found in comparisons for name in found.names for row in found.every(name)]
    names = sorted({name for found in comparisons for name in found.names})
    colors = {name: place for place, name in enumerate(names)}
    judges = sorted({row.versions.get("cvxqueue") or "of unknown version" for row in rows})
    sizes = sorted(row.types for row in rows)
    between = f"{sizes[0]:,}" + f" to {sizes[-1]:,}" * (sizes[0] < sizes[-1])
    count = len({row.instance_digest for row in rows})
    yield _Heading("Solvers compared", 1)
    yield (
        f"{plural(len({row.solver for row in rows}), 'solver')} on {plural(count, 'instance')} of "
        f"the allocation of reasoning tokens, with {between} task types. Every answer is judged by "
        f"cvxqueue {' and '.join(judges)}: what a solver says of its answer counts for nothing. "
        "Solved means feasible, and proven to be within a relative gap of "
        f"{power(SOLVED_GAP)}: that of the objective, over weighted accuracy plus mean system "
        "time. A wrong claim is an answer that the solver calls optimal and that is not solved."
    )
    for found in comparisons:
        own = found.settings == "default"
        yield _Heading("With their own settings" if own else f"Asked for {power(TIGHT)}")
        yield from _in_short(found)
        yield from _accuracy(found, colors)
        yield from _profile(found, colors)
        yield from _growth(found, colors)
        yield from _ends(found)
    yield from _wrong_claims(rows)
    yield _Heading("What was said")
    reasons = Counter(
        (row.solver, row.settings, row.outcome, re.sub(r"\d[\d.,e+-]*", "#", row.words))
        for row in rows
        if not row.is_solved and row.words
    )
    yield "Of what is not solved, by the solver or the system; numbers left out."
    yield _Grid(
        ("solver", "settings", "outcome", "words", "instances"),
        [(*each[:3], clipped(each[3]), str(n)) for each, n in sorted(reasons.items())],
    )
    yield _Heading("Solver by solver")
    for name in names:
        yield _Heading(name, 3)
        yield from (_about(found, name) for found in comparisons if name in found.runs)
    yield from _conditions(rows)
    yield _Heading("Every run")
    yield _Grid(
        ("instance", "task types", "solver", "settings", "relative gap", "time"),
        [
            (
                row.instance,
                str(row.types),
                row.solver,
                row.settings,
                _number(row.relative_gap) if row.outcome == "answered" else row.outcome,
                _seconds(row.median),
            )
            for row in sorted(rows, key=lambda row: (row.types, row.instance, row.settings))
        ],
    )


def _in_short(found: Comparison) -> Iterator[_Block]:
    limit, together, total = found.rows[0].time_limit, found.solved_by_all, len(found.instances)
    if left_out := sum(map(len, found.left_out.values())):
        yield (
            f"Left out: {plural(left_out, 'run')} of instances that not all have run. Wrong claims "
            "are of all runs."
        )
    yield _Grid(
        (
            "solver",
            "solved",
            "wrong claims",
            "mean time",
            "on what all solved",
            "first call",
            "fastest",
        ),
        [
            (
                name,
                f"{sum(row.is_solved for row in found.of(name))} of {total}",
                str(sum(row.claim_is_true is False for row in found.every(name))),
                _seconds(found.mean_cost(name)),
                _seconds(found.mean_cost(name, together)),
                _seconds(middle(row.cold_seconds for row in found.of(name))),
                str(sum(ratio == 1.0 for ratio in found.ratios(name))),
            )
            for name in found.names
        ],
    )
    yield (
        "The time of a run is the median of the calls after the first, with building the problem. "
        f"Means are geometric, shifted by {1e3 * SHIFT:g} ms: what takes much less counts as "
        f"equally fast. In the first, what is not solved counts as the limit, {limit:g} s; the "
        f"second is over the {plural(len(together), 'instance')} that all have solved. The first "
        "call is a median, too; fastest counts the instances solved in the least time of all."
    )


def _accuracy(found: Comparison, colors: Mapping[str, int]) -> Iterator[_Block]:
    title = "Share of the instances certified within a gap"
    yield _Heading(title, 3)
    known = (row.relative_gap for row in found.rows if row.is_feasible)
    gaps = [min(max(gap, _LEAST_GAP), 1.0) for gap in known if gap is not None]
    axis = around(gaps, "relative gap, or less: further to the left and higher is better")
    yield _Drawing(_stairs(colors, found, found.share_within, axis, gaps, title))
    yield _Grid(
        ("certified within", *(f"{power(gap)}" for gap in GAPS)),
        [(it, *(percent(found.share_within(it, gap)) for gap in GAPS)) for it in found.names],
    )


def _profile(found: Comparison, colors: Mapping[str, int]) -> Iterator[_Block]:
    title = "Performance profile: share solved within a factor of the least time"
    yield _Heading(title, 3)
    yield (
        "At a factor f, the share of the instances that a solver solves in at most f times the "
        "least time of any. At 1 that is how often it is the fastest, and at the right how often "
        "it solves at all. A profile ranks against the best alone: without the fastest solver the "
        "others may change places. So their wins over each other stand below."
    )
    ratios = [ratio for name in found.names for ratio in found.ratios(name)]
    axis = around(ratios, "factor of the least time")
    yield _Drawing(_stairs(colors, found, found.profile, axis, ratios, title))
    yield _Grid(
        ("solved within a factor", *(f"{factor:g}" for factor in FACTORS)),
        [(it, *(percent(found.profile(it, each)) for each in FACTORS)) for it in found.names],
    )
    yield _Heading("Wins, row over column", 3)
    yield (
        f"Of {plural(len(found.instances), 'instance')}, those that the solver of the row solved "
        "in less time than that of the column, or that the latter did not solve."
    )
    numbered = list(enumerate(found.names, start=1))
    yield _Grid(
        ("solver", *(str(number) for number, _ in numbered)),
        [
            (
                f"{number}: {name}",
                *("–" if other == name else str(found.wins(name, other)) for other in found.names),
            )
            for number, name in numbered
        ],
    )


def _growth(found: Comparison, colors: Mapping[str, int]) -> Iterator[_Block]:
    decades, title = found.decades, "Growth with the number of task types"
    yield _Heading(title, 3)
    means = {it: [found.growth(it, decade) for decade in decades] for it in found.names}
    if len(decades) > 1:
        label = "task types, each decade at its beginning"
        axis = Axis(label, 10.0 ** decades[0], 10.0 ** decades[-1])
        seconds = around([value for each in means.values() for value in each], "seconds")
        lines = [
            Line(
                name,
                colors[name],
                [(10.0**at, mean) for at, mean in zip(decades, means[name], strict=True)],
            )
            for name in sorted(found.names)
        ]
        yield _Drawing(chart(lines, axis, seconds, title=title))
    yield "Geometric mean of the time of what is solved; a dash where nothing is."
    sizes = (f"{10**decade:,}–{10 ** (decade + 1) - 1:,}" for decade in decades)
    yield _Grid(("task types", *sizes), [(it, *map(_seconds, means[it])) for it in found.names])


def _ends(found: Comparison) -> Iterator[_Block]:
    yield _Heading("What was not solved", 3)
    ends = {name: found.ends(name) for name in found.names}
    seen = [end for end in ends[found.names[0]] if any(each[end] for each in ends.values())]
    if not seen:
        yield "Nothing: every solver solved every instance."
        return
    cells = [(it, *(str(ends[it][end]) for end in seen)) for it in found.names]
    yield _Grid(("solver", *seen), cells)


def _wrong_claims(rows: Sequence[Row]) -> Iterator[_Block]:
    yield _Heading("Wrong claims")
    wrong = [row for row in rows if row.claim_is_true is False]
    if not wrong:
        yield "None: every answer that a solver calls optimal is solved."
        return
    yield (
        "The worst first. For some type the tokens are off by at least so many; a violation is the "
        "distance to tokens that are feasible."
    )
    yield _Grid(
        ("solver", "settings", "instance", "relative gap", "tokens off by", "violation", "words"),
        [
            (
                *(row.solver, row.settings, row.instance),
                *map(_number, (row.relative_gap, row.token_error, row.violation)),
                clipped(row.words),
            )
            for row in sorted(wrong, key=_distance)
        ],
    )


def _distance(row: Row) -> float:
    """A key that puts what is furthest from the optimum first."""
    return -math.inf if row.relative_gap is None else -row.relative_gap


def _stairs(
    colors: Mapping[str, int],
    found: Comparison,
    share: Callable[[str, float], float],
    axis: Axis,
    values: Sequence[float],
    title: str,
) -> str:
    """A chart of shares that rise at some of the values alone."""
    places = sorted({axis.low, axis.high, *(it for it in values if axis.low < it < axis.high)})
    lines = [
        Line(name, colors[name], [(it, share(name, it)) for it in places])
        for name in sorted(found.names)
    ]
    shares = Axis("share of the instances", 0.0, 1.0, is_log=False)
    return chart(lines, axis, shares, title=title, has_steps=True)


def _about(found: Comparison, name: str) -> str:
    """What an author wants to know of a solver: where it is best, and where it fails."""
    rows, ratios = found.of(name), found.ratios(name)
    missed = sorted((row for row in rows if not row.is_solved), key=_distance)
    pairs = sorted(zip(ratios, rows, strict=True), key=lambda pair: pair[0])
    first = [row.instance for ratio, row in pairs if ratio == 1.0]
    behind = [(ratio, row) for ratio, row in reversed(pairs) if 1.0 < ratio < math.inf]
    claims = sum(bool(row.claims_optimal) for row in rows)
    true = sum(bool(row.claim_is_true) for row in rows)
    memory = middle(row.memory for row in rows)
    building = middle(row.setup_seconds and row.setup_seconds / row.median for row in rows)
    sentences = [
        f"{'Its own settings' if found.settings == 'default' else f'Asked for {power(TIGHT)}'}: "
        f"solves {len(rows) - len(missed)} of {len(rows)}, "
        f"{sum(row.is_within(TIGHT) for row in rows)} to {power(TIGHT)}; calls {claims} optimal, "
        f"{true} of them rightly.",
        f"Fastest on {_some(first)}." if first else "Never the fastest.",
        f"Furthest behind on {_some([f'{row.instance} ({it:.3g}×)' for it, row in behind])}."
        * bool(behind),
        f"Not solved: {_some([_missed(row) for row in missed])}." * bool(missed),
        f"In the median {percent(min(building, 1.0))} of a call builds the problem."
        if building > 0.0
        else "",
        "" if math.isnan(memory) else f"Median of the most memory {memory / 1e6:.0f} MB.",
    ]
    return " ".join(filter(None, sentences))


def _missed(row: Row) -> str:
    if row.outcome != "answered":
        return f"{row.instance} ({row.outcome})"
    if row.relative_gap is None:
        return f"{row.instance} (nothing proven)"
    if not row.is_feasible:
        return f"{row.instance} (violation {_number(row.violation)} tokens)"
    return f"{row.instance} (gap {_number(row.relative_gap)})"


def _conditions(rows: Sequence[Row]) -> Iterator[_Block]:
    limit, memory = rows[0].time_limit, rows[0].memory_limit
    hosts = sorted({row.host for row in rows})
    known = len({row.instance_digest for row in rows if row.referee == "record"})
    yield _Heading("Why believe it")
    yield (
        "The referee is no solver. The objective is concave, so that any answer bounds the optimum "
        "from above; that inequality, in closed form and with an allowance for rounding, is the "
        f"certificate. For {plural(known, 'instance')} the optimum is that of a record, which one "
        "file proves again with a bare Python; else it is certified to rounding. Tokens that had "
        f"to be moved into the limits by more than {power(KEPT)} of a type's cap count as "
        "infeasible. An answer is judged outside the process that gave it."
    )
    yield (
        f"Each run had a process of its own, one thread, {limit:g} s for its first call, as much "
        "for at most five more, and "
        + ("no limit of memory" if memory is None else f"{memory / 1e9:g} GB of memory")
        + ", in random order. The problem is built anew in each call."
        + " Times of several machines are compared here, and are not of one measure."
        * (len(hosts) > 1)
    )
    busy = middle(row.load for row in rows)
    if not math.isnan(busy):
        yield (
            f"The load average of the host was {busy:.1f} in the median. Above the number of its "
            "cores, times are those of a machine that did other work beside."
        )
    packages = {f"{name} {number}" for it in rows for name, number in it.versions.items() if number}
    solvers = sorted({(row.solver, row.solver_version) for row in rows})
    facts = [*(("host", host) for host in hosts), ("packages", ", ".join(sorted(packages)))]
    yield _Grid(("what", "which"), [*facts, *solvers])


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _seconds(seconds: float) -> str:
    if math.isnan(seconds):
        return "–"
    return f"{seconds:.3g} s" if seconds >= 1.0 else f"{1e3 * seconds:.3g} ms"


def _number(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.2g}"


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
    head = "".join(f'<th scope="col"{_class(name)}>{_plain(name)}</th>' for name in block.names)
    body = "\n".join(
        f'<tr><th scope="row">{_plain(first)}</th>'
        + "".join(
            f"<td{_class(name)}>{_plain(cell)}</td>"
            for name, cell in zip(block.names[1:], rest, strict=True)
        )
        + "</tr>"
        for first, *rest in block.cells
    )
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    inside = f"<details><summary>{plural(len(block.cells), 'row')}</summary>{table}</details>"
    return f'<div class="wide">{table if len(block.cells) <= _MOST_ROWS else inside}</div>'


def _class(name: str) -> str:
    return ' class="words"' if name in _LEFT_COLUMNS else ""


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
    head, *lines = (map(_marked, cells) for cells in (block.names, *block.cells))
    rule = ["---"] + ["---:"] * (len(block.names) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


def _marked(text: str) -> str:
    """Text in which Markdown finds nothing to obey."""
    return re.sub(r"([\\`*_{}\[\]<>|~$#])", r"\\\1", printable(text)).replace("\n", " ")
