"""Cone data as NumPy arrays, for the solvers whose conventions they have."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np

from cvxqueue.dcp.cone_data import cone_data
from cvxqueue.errors import InvalidInputError
from cvxqueue.model import Instance
from cvxqueue.numerics.arrays import FloatArray


def npz_file(instance: Instance, integer: bool) -> tuple[bytes, FloatArray]:  # noqa: FBT001
    """Return the file, and the tokens in one unit of each variable."""
    if integer:
        raise InvalidInputError(
            "integer = True: .npz is for Clarabel and SCS, which know no whole numbers; export "
            "to .cbf or .nl"
        )
    found = cone_data(instance)
    names = [instance.type_name(k) for k in range(instance.size)]
    arrays: dict[str, Any] = {name: part for name, part in found._asdict().items() if name != "A"}
    matrix = {
        f"A_{part}": getattr(found.A, part) for part in ("data", "indices", "indptr", "shape")
    }
    stream = BytesIO()
    np.savez(stream, **matrix, **arrays, names=np.array(names))
    return stream.getvalue(), found.tokens_per_unit
