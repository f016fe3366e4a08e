"""The Conic Benchmark Format, version 3.

There A x + b is in the cones, so that A changes its sign; and the rows of an exponential cone are
the bound, the perspective and the exponent, x ≥ y exp(z/y): the reverse of those of `ConeData`. Of
second-order and power cones the order is the same.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from cvxqueue.dcp.cone_data import cone_data
from cvxqueue.dcp.sections import section
from cvxqueue.formatting import printable
from cvxqueue.model import Instance
from cvxqueue.numerics.arrays import FloatArray

# A line has at most 512 characters, and an escape in place of one that is not ASCII has ten.
_MOST_NAME_CHARACTERS = 40


def cbf_file(instance: Instance, integer: bool) -> tuple[bytes, FloatArray]:  # noqa: FBT001
    """Return the file, and the tokens in one unit of each variable."""
    found = cone_data(instance)
    unit = found.tokens_per_unit
    matrix, cost = -found.A, found.c
    if integer:
        # The variables are the tokens themselves.
        factor = np.concatenate([1.0 / unit, np.ones(cost.size - unit.size)])
        matrix, cost, unit = matrix @ sparse.diags_array(factor), cost * factor, np.ones(unit.size)
    cones = [(name, rows) for name, rows in (("L=", found.zero), ("L+", found.nonnegative)) if rows]
    cones += [("Q", rows) for rows in found.second_order]
    cones += [("EXP", 3)] * found.exponential
    cones += [(f"@{place}:POW", 3) for place in range(len(found.power))]
    rows = _reversed_triples(found.b.size, 3 * len(found.power), found.exponential)
    entries = matrix.tocoo()
    sections = [_comment(instance, unit, found.cost_unit), "VER\n3\n"]
    if found.power:
        exponents = "".join(f"2\n{share!r}\n{1.0 - share!r}\n" for share in found.power)
        sections.append(f"POWCONES\n{len(found.power)} {2 * len(found.power)}\n{exponents}")
    sections += ["OBJSENSE\nMIN\n", f"VAR\n{cost.size} 1\nF {cost.size}\n"]
    if integer:
        sections.append(section("INT\n", range(unit.size)))
    listed = "".join(f"{name} {count}\n" for name, count in cones)
    sections.append(f"CON\n{found.b.size} {len(cones)}\n{listed}")
    sections.append(_coordinates("OBJACOORD", [np.arange(cost.size)], cost))
    sections.append(f"OBJBCOORD\n{found.offset!r}\n")
    sections.append(_coordinates("ACOORD", [rows[entries.row], entries.col], entries.data))
    sections.append(_coordinates("BCOORD", [rows], found.b))
    return "\n".join(sections).encode("ascii", "backslashreplace"), unit


def _reversed_triples(count: int, after: int, triples: int) -> np.ndarray:
    """Where each row goes: those of the exponential cones change places within each."""
    rows = np.arange(count)
    end = count - after
    own = rows[end - 3 * triples : end]
    own[:] = own.reshape(-1, 3)[:, ::-1].ravel()
    return rows


def _coordinates(keyword: str, places: list[np.ndarray], values: FloatArray) -> str:
    """A section of the numbers that are not zero, each with its place."""
    kept = values != 0.0
    return section(f"{keyword}\n", *(it[kept].tolist() for it in (*places, values)))


def _comment(instance: Instance, unit: FloatArray, cost_unit: float) -> str:
    """The unit of the cost, and of each type its number, its tokens per unit and its name."""
    lines = [
        "# The least value is minus the best objective, in seconds. Tokens of each type are its"
    ]
    lines.insert(0, f"# cost_unit = {cost_unit!r} s: solve for the cost divided by it.")
    lines += ["# variable, one of the first, times its tokens per unit:", "# variable, this, name"]
    for k, tokens in enumerate(unit.tolist()):
        name = printable(instance.type_name(k)).replace("\n", " ")[:_MOST_NAME_CHARACTERS]
        lines.append(f"# {k} {tokens!r} {name}")
    return "\n".join([*lines, ""])
