"""Cone data as NumPy arrays, for the solvers whose conventions they have."""

from __future__ import annotations

from io import BytesIO

import numpy as np

from cvxqueue.dcp.cone_data import cone_data
from cvxqueue.errors import InvalidInputError
from cvxqueue.model import Instance
from cvxqueue.numerics.arrays import FloatArray


def npz_file(instance: Instance, integers: bool) -> tuple[bytes, FloatArray]:  # noqa: FBT001
    """Return the file, and the tokens in one unit of each variable."""
    if integers:
        raise InvalidInputError(
            "integers = True: .npz is for Clarabel and SCS, which know no whole numbers; export "
            "to .cbf or .nl"
        )
    found = cone_data(instance)
    names = [instance.type_name(k) for k in range(instance.size)]
    stream = BytesIO()
    np.savez(
        stream,
        A_data=found.A.data,
        A_indices=found.A.indices,
        A_indptr=found.A.indptr,
        A_shape=np.array(found.A.shape),
        names=np.array(names),
        **{name: np.array(part) for name, part in found._asdict().items() if name != "A"},
    )
    return stream.getvalue(), found.tokens_per_unit
