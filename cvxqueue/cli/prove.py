"""``cvxqueue prove``: a record of the optimum that anybody can verify."""

from __future__ import annotations

import argparse

from cvxqueue.cli.inputs import new_record, read_instance
from cvxqueue.cli.output import progress, show
from cvxqueue.cli.verify import summary, token_table
from cvxqueue.files.storage import write_values
from cvxqueue.references.prover import prove
from cvxqueue.references.verification import verify


def run(options: argparse.Namespace) -> int:
    """Prove, write the record, and print what it proves."""
    output = new_record(options.output)
    instance = read_instance(options.file)
    with progress(2) as step:
        step("prove")
        record = prove(instance, digits=options.digits, integer=options.integer)
        step("verify")
        found = verify(record)
    write_values(output, record)
    wrote = f"\nWrote {output}; next: cvxqueue verify {output}"
    data = {"status": "proven", **summary(found), "output": str(output)}
    show(options, data, token_table(found, instance), *found.report, wrote)
    return 0
