"""Every command: what its help says of it, and the arguments that it takes."""

from __future__ import annotations

from typing import Any, NamedTuple

from cvxqueue.cli.arguments import (
    SWEPT,
    confidence,
    fraction,
    not_negative,
    numbers,
    positive,
    setting,
    shard,
    share,
    values,
    whole,
)
from cvxqueue.solvers import methods


class Argument(NamedTuple):
    """One argument, as argparse takes it."""

    names: list[str]
    settings: dict[str, Any]


def _takes(text: str, **settings: Any) -> Argument:
    """An argument as ``"-o --output FILE: what it is"``; what has no value is true or false."""
    usage, _, help = text.partition(": ")
    *names, value = usage.split()
    if not names:
        return Argument([value], {"action": "store_true", "help": help})
    return Argument(names, {"metavar": value, "help": help, **settings})


class Command(NamedTuple):
    """One command: what it says of itself, and what it takes beside ``--json`` and ``--csv``."""

    summary: str
    description: str
    examples: tuple[str, ...]
    arguments: tuple[Argument | tuple[Argument, ...], ...] = ()
    """Of those in one tuple, one at most may be given."""
    table: str = ""
    """What is printed as CSV; empty for what has no table."""
    exits: tuple[str, ...] = ("done",)
    """What an exit status of 0 says, and of 1 where that occurs."""

    @property
    def epilog(self) -> str:
        """What stands below the arguments in the help."""
        lines = [f"example{'s' * (len(self.examples) > 1)}:"]
        lines += [f"  cvxqueue {example}" for example in self.examples]
        lines += ["", "exit status:", *(f"  {k}  {it}" for k, it in enumerate(self.exits))]
        return "\n".join([*lines, "  2  input that is not allowed"])


_FILE = _takes("file FILE: instance file, TOML or JSON; - for stdin; or the name of a reference")


def _several(text: str, default: str, **settings: Any) -> Argument:
    return _takes(f"{text}; may be repeated (default: {default})", action="append", **settings)


def _plot(what: str) -> Argument:
    return _takes(f"--plot FILE: also draw {what} (.png, .svg or .pdf)")


def _reading(part: str = "", of: str = "") -> tuple[Argument, ...]:
    """How files of measurements are read."""
    field, name = f"{part}FIELD=NAME", f"{part}NAME=VALUE"
    parts = "; PART is service, accuracy or trace" if part else ""
    several: dict[str, Any] = {"action": "append", "default": []}
    return (
        _takes(
            f"--column {field}: column{of} that holds a field, where its name is not a usual one; "
            f"a unit of time that the name lacks is put behind it, as in timestamp_ms{parts}",
            type=setting(field),
            **several,
        ),
        _takes(
            f"--where {name}: use only the rows{of} with this value in this column",
            type=setting(name),
            **several,
        ),
        _takes(
            "--max-malformed F: largest fraction of malformed rows to leave out (0.01); more are "
            "an error",
            type=fraction,
            default=0.01,
        ),
    )


_SETTINGS = ["default", "tight"]

COMMANDS = {
    "solve": Command(
        "solve an instance by every method and print the best certified answer",
        "Print the answer with the smallest certified gap, every method beside it, the "
        "certificate, and the integer answer with its loss.",
        (
            "solve qwen3-8b-h100",
            "solve server.toml --method conic --tolerance 1e-8 --plot server.png",
            "solve - --json < server.toml",
        ),
        (
            _FILE,
            _takes(f"--method NAME: run only this one of {', '.join(it.name for it in methods())}"),
            _takes(
                "--time-limit S: seconds for each method (default: no limit for the first one, 10"
                " for each of the others, 3 for the integers)",
                type=positive,
            ),
            _takes(
                "--tolerance T: certified relative gap to reach (default: 1e-9, and for newton "
                "the least that double precision can prove)",
                type=positive,
            ),
            _takes(
                "--sensitivities: print the derivatives of the optimum by every number of the "
                "instance, too; with --csv these instead of the answer"
            ),
            _plot("the accuracy curves and the path of each method"),
        ),
        "the answer by task type",
        (
            "a certified answer",
            "none: no allocation is stable and keeps the constraints, or no method reached its "
            "tolerance; or none of the derivatives that were asked for",
        ),
    ),
    "check": Command(
        "validate an instance file and say what can be proven before any method runs",
        "Validate an instance file, and say in plain words whether the queue can be "
        "stable and the constraints be kept, what is certified before any method runs, "
        "and what that means for the methods.",
        ("check qwen3-8b-h100",),
        (_FILE,),
        "the findings",
        ("some allocation is stable and keeps the constraints", "none does, or none was found"),
    ),
    "simulate": Command(
        "simulate the server at an allocation and compare with theory",
        "Simulate the server at the optimal tokens, or at those given, and print what "
        "theory says beside what was measured, with confidence intervals.",
        (
            "simulate qwen3-8b-h100 --queries 1e7",
            "simulate server.toml --tokens 512,1024 --seed 7 --json",
            "simulate server.toml --integer --trace arrivals.csv --match-rate",
        ),
        (
            _FILE,
            _takes(
                "--queries N: queries to simulate, such as 1e7 (default: a million, or the whole "
                "trace)",
                type=whole(2),
            ),
            _takes("--seed S: of the random numbers (default: 0)", type=whole(0), default=0),
            (
                _takes(
                    "--tokens L: one number for all types, or one for each, commas between "
                    "(default: the optimum)",
                    type=numbers,
                ),
                _takes("--integer: the best whole tokens"),
            ),
            (
                _takes(
                    "--gap-scv C: squared coefficient of variation of the times between arrivals "
                    "(default: Poisson)",
                    type=not_negative,
                ),
                _takes(
                    "--trace FILE: replay the arrival times of a file, in any format that fit reads"
                ),
            ),
            _takes("--match-rate: stretch the trace to the arrival rate of the instance"),
            _plot("how far the simulation is from theory"),
            *_reading(of=" of the trace"),
        ),
        "theory beside the simulation",
        (
            "the simulation ran; its outcome is in the table",
            "no allocation is stable and keeps the constraints, or none is certified",
        ),
    ),
    "fit": Command(
        "fit an instance to measured service times, accuracies and arrivals",
        "Fit the service line, the accuracy curves and the arrivals to measurements, with "
        "intervals and warnings, and write the instance. A file is a CSV table with a "
        "header, JSON Lines, the JSON of `vllm bench serve --save-detailed`, or an Azure "
        "LLM or Mooncake trace.",
        (
            "fit --service times.csv --accuracy answers.csv --trace trace.csv \\\n"
            "      --accuracy-weight 100 --max-tokens 32768 -o server.toml",
            "fit --trace AzureLLMInferenceTrace_conv.csv --json",
            "fit --service times.csv --where service.concurrency=1 \\\n"
            "      --column service.seconds=wall_ms",
        ),
        (
            _takes("--service FILE: tokens and seconds of single requests"),
            _takes("--accuracy FILE: right answers out of so many, by tokens and type"),
            _takes("--trace FILE: arrival times, and types if known"),
            _takes(
                "--accuracy-weight S: seconds of mean system time worth one unit of accuracy",
                type=positive,
            ),
            _takes("--max-tokens L: cap of the tokens of every type", type=positive),
            _takes("-o --output FILE: instance file to write, .toml or .json"),
            _takes("--force: replace the output if it exists"),
            _takes("--name NAME: what the instance is called (default: the output's name)"),
            _takes(
                "--arrival-rate R: queries per second, instead of those of the trace", type=positive
            ),
            _takes(
                "--mix TYPE=P: probability of each type, instead of those of the trace",
                type=share,
                nargs="+",
                default=[],
            ),
            _takes(
                "--answer-tokens L: tokens of an answer beside those of its thinking; their time "
                "goes to the base",
                type=not_negative,
                default=0.0,
            ),
            _takes(
                "--token-scv V: squared coefficient of variation of the tokens used (see diagnose)",
                type=not_negative,
                default=0.0,
            ),
            _takes("--confidence C: of the intervals (0.95)", type=confidence, default=0.95),
            _plot("service times and accuracies, and what was fitted to them"),
            *_reading(part="PART."),
        ),
        "the estimates",
    ),
    "diagnose": Command(
        "say whether the model describes a server, from its measured requests",
        "Test the assumptions of the model on measured requests: service times linear in "
        "the tokens and regardless of the load, Poisson arrivals, budgets used up.",
        ("diagnose requests.csv", "diagnose bench.json --json"),
        (_takes("file FILE: requests, in any format that fit reads"), *_reading()),
        "the findings",
    ),
    "references": Command(
        "list the instances whose optimum is proven, and cite one",
        "List the references: instances with a record that proves the optimum. Wherever a "
        "command takes FILE it takes the name of one; a file of that name is before it.",
        (
            "references",
            "references heavy-traffic-6 --bibtex",
            "references qwen3-8b-h100 --output record.json",
        ),
        (
            _takes("name NAME: of one reference (default: all of them)", nargs="?"),
            _takes("--bibtex: print an entry to cite it by, or the package"),
            _takes("-o --output RECORD: also write the record of NAME, .json"),
        ),
        "the references, or the tokens of one by task type",
    ),
    "prove": Command(
        "prove the optimum to many digits and write a record that anybody can verify",
        "Find the optimum in decimal arithmetic and write a record of it, with its proof, that "
        "cvxqueue verify accepts, and so does the one file verify.py with a bare Python. Tokens "
        "are real numbers; whole ones, within the domains of the file, are proven besides with "
        "--integer.",
        ("prove qwen3-8b-h100 --output record.json",),
        (
            _FILE,
            _takes("-o --output RECORD: record to write, .json", required=True),
            _takes("--digits N: to prove, up to 200 (30)", type=whole(1), default=30),
            _takes("--integer: prove the best whole tokens besides"),
        ),
        "the tokens by task type",
        (
            "proven, and written",
            "not: no allocation is stable and keeps the constraints, or no proof was found",
        ),
    ),
    "verify": Command(
        "verify the record of a proven optimum",
        "Prove again, in interval arithmetic, what a record claims, and say whether it is about "
        "an instance.",
        ("verify heavy-traffic-6", "verify record.json qwen3-8b-h100"),
        (
            _takes("record RECORD: what cvxqueue prove wrote, or a reference"),
            _takes("file FILE: instance file or reference it should be about", nargs="?"),
        ),
        "the tokens by task type",
        ("accepted", "refused"),
    ),
    "certify": Command(
        "grade an answer: which of its claims are true",
        "Say of an answer, by whatever solver, which of its claims are true: that it is feasible "
        "and optimal, its objective, its gap and its intervals. The truth is proven by a record, "
        "to as many digits as it has, or certified from the instance alone.",
        (
            "solve server.toml --json | cvxqueue certify server.toml -",
            "certify heavy-traffic-6 answer.json",
            "certify qwen3-8b-h100 --tokens 1048,2147,847,1328,947 --integer",
            "certify server.toml --tokens 512,1024 --tolerance 0.001",
        ),
        (
            _takes("file FILE: instance file, record or reference; - for stdin"),
            _takes(
                "answer ANSWER: what cvxqueue solve --json or --csv printed, or tokens alone as "
                "JSON or CSV",
                nargs="?",
            ),
            _takes("--tokens L: the tokens, commas between, as the answer", type=numbers),
            _takes("--integer: grade the whole tokens, by a record of such"),
            _takes(
                "--tolerance T: relative gap within which tokens claim to be optimal that come "
                "alone (1e-6)",
                type=positive,
                default=1e-6,
            ),
            _takes(
                "--feasibility-tolerance L: tokens by which an allocation may miss the box or a "
                "constraint (1e-5)",
                type=not_negative,
                default=1e-5,
            ),
        ),
        "the tokens by task type",
        ("no claim is wrong; also where the verdict is open", "one is, or the record is refused"),
    ),
    "export": Command(
        "write an instance for other solvers: .cbf, .npz or .nl",
        "Write an instance as a conic program, in the Conic Benchmark Format (.cbf) or as NumPy "
        "arrays for Clarabel and SCS (.npz), or as AMPL's nonlinear program (.nl). The least value "
        "of its objective is minus the best objective, in seconds, or in the cost_unit that the "
        "first line of .nl states. Feasibility is decided in "
        "closed form only: constraints that leave nothing only together may be exported.",
        (
            "export qwen3-8b-h100 --output server.cbf",
            "export server.toml --output server.nl --integer",
        ),
        (
            _FILE,
            _takes("-o --output X: file to write, .cbf, .npz or .nl", required=True),
            _takes("--integer: tokens are whole numbers (.cbf and .nl)"),
        ),
        "the tokens per unit of each variable",
        ("written", "not: no allocation is stable, or none keeps one of the constraints"),
    ),
    "sweep": Command(
        "solve an instance at every combination of the values of some parameters",
        "Solve and certify an instance at every combination of the values given; one at which no "
        "allocation is stable, or keeps the constraints, is a row that says so.",
        (
            "sweep server.toml --arrival-rate 0.01:0.2:200 --plot load.png",
            "sweep server.toml --arrival-rate 0.01:0.2:200 \\\n"
            "      --accuracy-weight 10:3000:50:log --output rows.csv",
        ),
        (
            _FILE,
            *(
                _takes(
                    f"--{name.replace('_', '-')} VALUES: {words}: A,B,C or START:STOP:COUNT[:log]",
                    type=values,
                )
                for name, words in SWEPT.items()
            ),
            _takes("-o --output FILE: CSV file to write all rows to"),
            _takes(
                "--scheduler ADDRESS: scheduler of a Dask cluster to run on, such as "
                "tcp://10.0.0.1:8786"
            ),
            _plot("what came of it"),
        ),
        "the rows",
        ("every row that has an allocation has a certified one", "some have not"),
    ),
    "benchmark": Command(
        "run solvers on instances, each run in a process of its own",
        "Run solvers on instances, with their own settings and asked for 1e-9, and have every "
        "answer judged by certificate or record. A run has a process of its own, with limits of "
        "time and memory: what hangs or crashes costs one row. Results that are there are not "
        "repeated.",
        (
            "benchmark heavy-traffic planted:1000 --output results.jsonl",
            "benchmark library --solver newton --solver my.solvers:fast -o r.jsonl",
            "benchmark library --shard 2/8 --output 2.jsonl",
            "benchmark --merge 1.jsonl 2.jsonl --output results.jsonl",
        ),
        (
            _takes(
                "names FILE|NAME: instance file, reference, the beginning of references "
                "(heavy-traffic), library for all of them, or a random instance as "
                "planted:TYPES[:SEED] or exact:TYPES[:SEED]",
                nargs="+",
            ),
            _takes("-o --output RESULTS: file of rows, .jsonl; goes on", required=True),
            _several(
                "--solver NAME: a method, cvxpy-NAME, scipy-slsqp, scipy-trust-constr, uno or "
                "nlopt-mma, or one of your own as package.module:function",
                "all that are installed",
            ),
            _several(
                "--settings {default,tight}: what a solver does by itself, or asked for 1e-9",
                "both",
                choices=_SETTINGS,
            ),
            _takes("--time-limit S: seconds for a call (10)", type=positive, default=10.0),
            _takes(
                "--memory-limit BYTES: for a run, such as 4e9, the default; on Linux",
                type=positive,
                default=4e9,
            ),
            _takes("--shard I/N: run the I-th of N parts", type=shard, default=(1, 1)),
            _takes("--seed S: of the order of the runs (0)", type=whole(0), default=0),
            _takes("--merge: run nothing: FILE are results, added to RESULTS"),
        ),
        "the runs",
    ),
    "report": Command(
        "write what the results of a comparison say, as one page",
        "Write a page about results: accuracy first, then time, and where each solver fails.",
        ("report results.jsonl --output report.html",),
        (
            _takes("results RESULTS: what cvxqueue benchmark wrote", nargs="+"),
            _takes("-o --output PAGE: report to write, .html or .md", required=True),
            _several("--solver NAME: one that is reported", "all"),
            _several("--settings {default,tight}: one that is reported", "all", choices=_SETTINGS),
        ),
        "the runs",
    ),
    "explain": Command(
        "explain why the rules of convex programming accept a form, or where they refuse it",
        "Print the tree of the problem as CVXPY sees it: the curvature and the sign of each part, "
        "the rule that gives them, and where one fails, which and why, with a way out.",
        (
            "explain one-type --form textbook",
            "explain server.toml --form parametric --with-parameters",
            "explain server.toml --svg tree.svg",
        ),
        (
            _FILE,
            _takes("--form FORM: dcp, scaled, parametric or textbook (dcp)", default="dcp"),
            _takes(
                "--with-parameters: apply the rules for parameters (DPP), as for the parametric "
                "form"
            ),
            _takes("--svg FILE: also write the tree as a drawing"),
        ),
        "the tree",
        ("the rules accept the form", "they refuse it"),
    ),
    "schema": Command(
        "print the JSON Schema of instance files",
        "Print the JSON Schema of instance files, for editors and other programs.",
        ("schema > cvxqueue-instance.schema.json",),
    ),
    "info": Command(
        "print versions for a bug report",
        "Print the versions of everything that an answer depends on, for a bug report.",
        ("info",),
        table="the versions",
    ),
}
