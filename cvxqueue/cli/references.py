"""``cvxqueue references``: the library, and one reference of it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from decimal import Decimal

from cvxqueue.cli.inputs import new_record
from cvxqueue.cli.output import show
from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import plural
from cvxqueue.references import library
from cvxqueue.tables import Column, Part, Table, facts
from cvxqueue.whole_files import write_whole


def run(options: argparse.Namespace) -> int:
    """List the references, or print one and write its record."""
    if options.csv and options.bibtex:
        raise InvalidInputError("--csv is a table and --bibtex is none: give one of them")
    if options.name is None:
        if options.output is not None:
            raise InvalidInputError("--output: give the NAME of the record to write")
        _list(options)
    else:
        _print(options, library.load(options.name))
    return 0


def _list(options: argparse.Namespace) -> None:
    table = library.table()
    columns = {column.name: column.values for column in table.columns}
    keys = "name", "types", "objective", "proves_tokens", "proves_integers", "reason", "sha256"
    bibtex = library.package_bibtex()
    rows = [dict(zip(keys, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    shown: list[Part] = [bibtex]
    if not options.bibtex:
        reasons = facts(zip(columns["name"], columns["reason"], strict=True))
        reasons = replace(reasons, most=len(table))
        shown = [
            f"{plural(len(table), 'reference')}; any FILE may be one of these names\n",
            reasons,
        ]
    show(options, {"references": rows, "bibtex": bibtex}, table, *shown)


def _print(options: argparse.Namespace, reference: library.Reference) -> None:
    record = reference.record
    digits = record["digits"]
    proves_tokens = record["proves"]["tokens"]
    whole = record.get("integer")
    data = {
        "name": reference.name,
        "reason": reference.reason,
        "digits": digits,
        "objective": record["objective"],
        "tokens": record["tokens"],
        "proves_tokens": proves_tokens,
        "integer_objective": whole and whole["objective"],
        "integer_tokens": whole and whole["tokens"],
        "sha256": reference.sha256,
        "bibtex": reference.bibtex(),
    }

    def short(number: str) -> str:
        return f"{Decimal(number):.{digits}g}"

    names = reference.instance.names or range(len(record["tokens"]))
    columns = [
        Column("task type", list(map(str, names))),
        Column("optimal tokens" if proves_tokens else "tokens", record["tokens"], short),
    ]
    if whole:
        columns.append(Column("whole tokens", whole["tokens"]))
    table = Table(columns)
    shown: list[Part] = [reference.bibtex()]
    if not options.bibtex:
        claim = "objective and tokens" if proves_tokens else "the objective alone"
        rows = {
            "reason": reference.reason,
            "objective": f"{short(record['objective'])} s",
            "in whole tokens": f"{short(whole['objective'])} s" if whole else "not proven",
            "proven": f"{claim}, to {digits} digits",
            "SHA-256": reference.sha256,
        }
        next_step = f"\nTo prove it again: cvxqueue verify {reference.name}"
        shown = [f"{reference.name}\n", facts(rows.items()), "", table, next_step]
    if options.output is not None:
        output = new_record(options.output)
        write_whole(output, library.path_of(reference.name).read_bytes())
        data["output"] = str(output)
        shown.append(f"\nWrote {output}")
    show(options, data, table, *shown)
