"""The report: what the rows say, as one page of HTML without a script, or as Markdown."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from cvxqueue.benchmark.charts import stairs
from cvxqueue.benchmark.judging import KEPT, SOLVED_GAP
from cvxqueue.benchmark.rows import Row
from cvxqueue.benchmark.scores import SHIFT, Comparison, Plan, compare, digits, middle
from cvxqueue.benchmark.solvers import TIGHT
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import at_most, clipped, plain, plural, printable
from cvxqueue.tables import Column, Table, markdown_text
from cvxqueue.whole_files import write_whole

# Relative gaps, and factors of the least time, at which shares are told.
_GAPS = (1e-3, 1e-6, 1e-9, 1e-12)
_FACTORS = (1.0, 2.0, 10.0, 100.0)
_MOST_NAMES, _MOST_BEHIND = 6, 3
# What is below is rounding.
_LEAST_GAP = 1e-16
_STYLE = Path(__file__).with_name("report.css")


class _Heading(NamedTuple):
    text: str
    level: int = 2


class _Drawing(NamedTuple):
    """SVG, which Markdown leaves out: a table has what it shows."""

    markup: str


_Block = str | Table | _Heading | _Drawing
"""A string is a paragraph."""


def write_report(path: Path, rows: Sequence[Row], plan: Plan | None) -> None:
    """Write a report; see `Benchmark.report`."""
    kinds = {".html": _as_html, ".md": _as_markdown}
    suffix = path.suffix.lower()
    if suffix not in kinds:
        raise InvalidInputError(
            f"{path}: a report is one page; let its name end in {' or '.join(kinds)}"
        )
    write_whole(path, kinds[suffix](list(_blocks(rows, plan))).encode())


def heading(found: Comparison, own: str = "With their own settings") -> str:
    """Return what a comparison is called, by its settings and limits."""
    return (own if found.settings == "default" else f"Asked for {_power(TIGHT)}") + found.limits


def _blocks(given: Sequence[Row], plan: Plan | None) -> Iterator[_Block]:
    comparisons = compare(given, plan)
    if not comparisons:
        raise InvalidInputError("there are no rows to report: run `cvxqueue benchmark` first")
    rows = [row for found in comparisons for row in found.rows]
    names = sorted({name for found in comparisons for name in found.names})
    colors = {name: place for place, name in enumerate(names)}
    judges = sorted({row.versions.get("cvxqueue") or "of unknown version" for row in rows})
    sizes = sorted(row.types for row in rows)
    between = f"{sizes[0]:,} to " * (sizes[0] < sizes[-1]) + plural(sizes[-1], "task type")
    count = len({row.instance_digest for row in rows})
    yield _Heading("Solvers compared", 1)
    yield (
        f"{plural(len(names), 'solver')} on {plural(count, 'instance')} of the allocation of "
        f"reasoning tokens, with {between}. Every answer is judged by cvxqueue "
        f"{' and '.join(judges)}: what a solver says of its answer counts for nothing. Solved "
        f"means feasible, and proven to be within a relative gap of {_power(SOLVED_GAP)}: that of "
        "the objective, over weighted accuracy plus mean system time. A wrong claim is an answer "
        "that the solver calls optimal and that is not solved."
    )
    if left_out := len(given) - len(rows):
        yield (
            f"Left out: {plural(left_out, 'run')} of other versions of these solvers, or under "
            "other limits."
        )
    for found in comparisons:
        yield _Heading(heading(found))
        yield from _in_short(found)
        yield from _accuracy(found, colors)
        yield from _profile(found, colors)
        yield from _growth(found)
    yield _Heading("Solver by solver")
    for name in names:
        yield _Heading(name, 3)
        yield from (_about(found, name) for found in comparisons if name in found.runs)
    yield from _failures(comparisons)
    yield from _conditions(rows)
    yield _Heading("Every instance")
    yield "Seconds where it is solved; otherwise what came of it, and blank where it was not run."
    for found in comparisons:
        yield _Heading(heading(found), 3)
        rows = list(found.instances.values())
        ends = {
            name: [_end(found.runs[name].get(it)) for it in found.instances] for name in found.names
        }
        types = {"task types": [str(row.types) for row in rows]}
        yield _grid("instance", [row.instance for row in rows], types | ends)


def _in_short(found: Comparison) -> Iterator[_Block]:
    limit, together = found.rows[0].time_limit, found.solved_by_all
    yield found.table()
    if not found.is_complete:
        yield (
            "Not all have run the same instances. Shares and the mean time are of those that each "
            "has run, and compare nothing; wins and the times on what all solved do."
        )
    yield (
        "The time of a run is the median of the calls after the first, with building the problem. "
        f"Means are geometric, shifted by {1e3 * SHIFT:g} ms: what takes much less counts as "
        f"equally fast. In the first, what is not solved counts as the limit, {limit:g} s; the "
        f"second is over the {plural(len(together), 'instance')} that all have solved. The first "
        "call is a median, too; fastest counts the instances solved in the least time of all."
    )


def _accuracy(found: Comparison, colors: Mapping[str, int]) -> Iterator[_Block]:
    known = (row.relative_gap for row in found.rows if row.is_feasible)
    gaps = [min(max(gap, _LEAST_GAP), 1.0) for gap in known if gap is not None]
    title = "Share of the instances certified within a gap"
    yield _Heading(title, 3)
    yield from _shares(
        found,
        colors,
        title,
        ("relative gap, or less: further to the left and higher is better", gaps),
        found.share_within,
        ("certified within", {_power(gap): gap for gap in _GAPS}),
    )


def _profile(found: Comparison, colors: Mapping[str, int]) -> Iterator[_Block]:
    title = "Performance profile: share solved within a factor of the least time"
    yield _Heading(title, 3)
    yield (
        "At a factor f, the share of the instances that a solver solves in at most f times the "
        "least time of any. At 1 that is how often it is the fastest, and at the right how often "
        "it solves at all. A profile ranks against the best alone: without the fastest solver the "
        "others may change places. So their wins over each other stand beside it."
    )
    yield from _shares(
        found,
        colors,
        title,
        (
            "factor of the least time",
            [ratio for name in found.names for ratio in found.ratios(name)],
        ),
        found.profile,
        ("solved within a factor", {f"{factor:g}": factor for factor in _FACTORS}),
    )
    yield _Heading("Wins, row over column", 3)
    yield (
        "The instances that the solver of the row solved in less time than that of the column, or "
        "that the latter did not solve."
    )
    yield _grid(
        "solver",
        [f"{number}: {name}" for number, name in enumerate(found.names, start=1)],
        {
            str(number): [None if it == name else found.wins(it, name) for it in found.names]
            for number, name in enumerate(found.names, start=1)
        },
    )


def _shares(
    found: Comparison,
    colors: Mapping[str, int],
    title: str,
    axis: tuple[str, Sequence[float]],
    share: Callable[[str, float], float],
    told: tuple[str, Mapping[str, float]],
) -> Iterator[_Block]:
    """A chart of shares that rise at some of the values alone, and some of them as a table."""
    yield _Drawing(stairs(colors, sorted(found.names), share, *axis, title))
    head, places = told
    shares = {name: [share(it, at) for it in found.names] for name, at in places.items()}
    yield _grid(head, found.names, shares, _percent)


def _grid(
    head: str,
    names: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    show: Callable[[Any], str] = plain,
) -> Table:
    return Table([Column(head, names), *(Column(name, it, show) for name, it in columns.items())])


def _growth(found: Comparison) -> Iterator[_Block]:
    yield _Heading("Growth with the number of task types", 3)
    yield "Geometric mean of the seconds of what is solved; a dash where nothing is."
    means = {
        f"{10 ** (length - 1):,}–{10**length - 1:,}": [
            found.growth(name, length) for name in found.names
        ]
        for length in sorted({len(str(row.types)) for row in found.rows})
    }
    yield _grid("solver", found.names, means, digits)


def _about(found: Comparison, name: str) -> str:
    """What an author wants to know of a solver: where it is best, and where it fails."""
    rows, ratios = found.of(name), found.ratios(name)
    missed = sorted((row for row in rows if not row.is_solved), key=_distance)
    pairs = sorted(zip(ratios, rows, strict=True), key=lambda pair: pair[0])
    first = [row.instance for ratio, row in pairs if ratio == 1.0]
    late = [(ratio, row.instance) for ratio, row in reversed(pairs) if 1.0 < ratio < math.inf]
    behind = [f"{it} ({_number(ratio)}×)" for ratio, it in late[:_MOST_BEHIND]]
    ends: dict[str, list[str]] = {}
    for row in missed:
        how = f" ({_end(row)})" * (row.outcome == "answered")
        ends.setdefault(row.outcome, []).append(row.instance + how)
    claims = sum(bool(row.claims_optimal) for row in rows)
    true = sum(bool(row.claim_is_true) for row in rows)
    memory = middle(row.memory for row in rows)
    building = middle(row.setup_seconds and row.setup_seconds / row.median for row in rows)
    sentences = [
        f"{heading(found, 'Its own settings')}: "
        f"solves {len(rows) - len(missed)} of {len(rows)}, "
        f"{sum(row.is_within(TIGHT) for row in rows)} to {_power(TIGHT)}; calls {claims} optimal, "
        f"{true} of them rightly.",
        f"Fastest on {_some(first)}." if first else "Never the fastest.",
        f"Furthest behind on {', '.join(behind)}." * bool(behind),
        f"Not solved: {'; '.join(f'{end} on {_some(those)}' for end, those in ends.items())}."
        * bool(missed),
        f"In the median {_percent(min(building, 1.0))} of a call builds the problem."
        if building > 0.0
        else "",
        "" if math.isnan(memory) else f"Median of the most memory {memory / 1e6:.0f} MB.",
    ]
    return " ".join(filter(None, sentences))


def _failures(comparisons: Sequence[Comparison]) -> Iterator[_Block]:
    # As solver and settings are called above.
    rows = [
        replace(row, solver=name, settings=found.settings + found.limits)
        for found in comparisons
        for name in found.names
        for row in found.of(name)
    ]
    yield _Heading("Wrong claims")
    wrong = sorted((row for row in rows if row.claim_is_true is False), key=_distance)
    if wrong:
        yield (
            "The worst first. For some type the tokens are off by at least so many; a violation is "
            "the distance to tokens that are feasible."
        )
        yield Table(
            [
                Column("solver", [row.solver for row in wrong]),
                Column("settings", [row.settings for row in wrong]),
                Column("instance", [row.instance for row in wrong]),
                Column("relative gap", [row.relative_gap for row in wrong], _bound),
                Column("tokens off by", [row.token_error for row in wrong], _number),
                Column("violation", [row.violation for row in wrong], _number),
                Column("words", [clipped(row.words) for row in wrong]),
            ]
        )
    else:
        yield "None: every answer that a solver calls optimal is solved."
    yield _Heading("What was not solved")
    reasons = Counter(
        (
            row.solver,
            row.settings,
            "answered, too far from it" if row.outcome == "answered" else row.outcome,
            re.sub(r"\d[\d.,e+-]*", "#", row.words),
        )
        for row in rows
        if not row.is_solved
    )
    if not reasons:
        yield "Nothing: every solver solved every instance."
        return
    yield "With what the solver or the system said; its numbers are left out."
    ends = sorted(reasons)
    heads = ("solver", "settings", "outcome", "words")
    yield Table(
        [
            *(Column(head, [clipped(end[at]) for end in ends]) for at, head in enumerate(heads)),
            Column("instances", [reasons[end] for end in ends]),
        ]
    )


def _distance(row: Row) -> float:
    """A key that puts what is furthest from the optimum first."""
    return -math.inf if row.relative_gap is None else -row.relative_gap


def _end(row: Row | None) -> str:
    """What came of a run: its seconds, or why it has none that count."""
    if row is None:
        return ""
    if row.is_solved:
        return digits(row.median)
    if row.outcome != "answered":
        return row.outcome
    if row.relative_gap is None:
        return "nothing proven"
    if not row.is_feasible:
        return f"violation {_number(row.violation)} tokens"
    return f"gap {_bound(row.relative_gap)}"


def _conditions(rows: Sequence[Row]) -> Iterator[_Block]:
    times = dict.fromkeys(f"{row.time_limit:.15g} s" for row in rows)
    rooms = dict.fromkeys(
        "one thread"
        if row.memory_limit is None
        else f"one core and {row.memory_limit / 1e9:.15g} GB of memory"
        for row in rows
    )
    hosts = sorted({row.host for row in rows})
    known = len({row.instance_digest for row in rows if row.referee == "record"})
    yield _Heading("Why believe it")
    yield (
        "The referee is no solver. The objective is concave, so that any answer bounds the optimum "
        "from above; that inequality, in closed form and with an allowance for rounding, is the "
        f"certificate. For {plural(known, 'instance')} the optimum is that of a record, which one "
        "file proves again with a bare Python; else it is certified to rounding. Tokens that had "
        f"to be moved into the limits by more than {_power(KEPT)} of a type's cap count as "
        "infeasible. An answer is judged outside the process that gave it, and the worst of what "
        "its calls answered counts."
    )
    yield (
        f"Each run had a process of its own, {' or '.join(times)} for its first call, as much for "
        f"at most five more, and {' or '.join(rooms)}, in random order. The problem is built anew "
        "in each call."
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
    whats, whiches = zip(*facts, *solvers, strict=True)
    yield Table([Column("what", whats), Column("which", whiches)])


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _number(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.2g}"


def _bound(gap: float | None) -> str:
    """A gap rounded up: what is not within a bound is not printed as if it were."""
    return "unknown" if gap is None else at_most(gap)


def _power(value: float) -> str:
    """A number as a sentence has it, such as 1e-9."""
    return f"{value:g}".replace("e-0", "e-")


def _percent(share: float) -> str:
    """A share rounded down: what is not all is not printed as all."""
    # Of a hundredth that a float64 has a little too small, all of it.
    return f"{math.floor(100.0 * share + 1e-9)} %"


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
    if isinstance(block, Table):
        return replace(block, most=len(block))._repr_html_()
    tag, text = (f"h{block.level}", block.text) if isinstance(block, _Heading) else ("p", block)
    return f"<{tag}>{escape(printable(text))}</{tag}>"


def _as_markdown(blocks: Sequence[_Block]) -> str:
    return "\n\n".join(map(_markdown, (it for it in blocks if not isinstance(it, _Drawing)))) + "\n"


def _markdown(block: str | Table | _Heading) -> str:
    if isinstance(block, Table):
        return block.to_markdown()
    if isinstance(block, _Heading):
        return f"{'#' * block.level} {markdown_text(block.text)}"
    return markdown_text(block)
