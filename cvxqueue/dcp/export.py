"""An instance as a file for other people's solvers: conic, or nonlinear."""

from __future__ import annotations

import os
from collections.abc import Callable

from cvxqueue.dcp.export_cbf import cbf_file
from cvxqueue.dcp.export_nl import nl_file
from cvxqueue.dcp.export_npz import npz_file
from cvxqueue.errors import InvalidInputError
from cvxqueue.files.storage import as_path
from cvxqueue.formatting import shown
from cvxqueue.model import Instance, Integers, require_feasible, require_instance
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.numerics.arrays import FloatArray, frozen
from cvxqueue.whole_files import write_whole

_FILES: dict[str, Callable[[Instance, bool], tuple[bytes, FloatArray]]] = {
    ".cbf": cbf_file,
    ".nl": nl_file,
    ".npz": npz_file,
}


@quiet
def export(
    instance: Instance, path: str | os.PathLike[str], *, integer: bool = False
) -> FloatArray:
    """Write an instance as other people's solvers read it, all of it or nothing.

    Parameters
    ----------
    instance : Instance
        Feasible. That is decided in closed form only, each constraint by itself: an instance in
        which constraints leave nothing only together may be exported.
    path : path
        The suffix says the format. ``.cbf`` is the Conic Benchmark Format, version 3. ``.npz`` has
        the same cone data as NumPy arrays, as Clarabel and SCS take them. ``.nl`` is the nonlinear
        program as AMPL hands it to solvers.
    integer : bool, default False
        Whether tokens are whole numbers. Other domains are never written.

    Returns
    -------
    ndarray, shape (N,)
        Tokens of each type in one unit of its variable: tokens = this ∘ x[:N]. All ones where the
        tokens are whole numbers. The file states it, too.

    Raises
    ------
    InvalidInputError
        If the suffix is another one, the format has no word for a class of the instance or for
        whole numbers, or the file cannot be written. A file that was there before is then
        unchanged.
    UnstableQueueError
        If no allocation is stable.
    InfeasibleError
        If no allocation satisfies one of the constraints.

    Notes
    -----
    The least value of the objective is −J*, in seconds, and in ``.nl`` in the ``cost_unit`` that
    its first line states. Solve conic files for the cost divided by theirs. Coefficients are
    rounded products of the instance's numbers: that alone moves the optimum by up to some
    1e-16/(1 − ρ) of it.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> tokens_per_unit = cq.export(cq.load("examples/instances/one-type.toml"), "one-type.cbf")
    ... # doctest: +SKIP
    """
    require_instance(instance)
    if not isinstance(integer, bool):
        raise InvalidInputError(f"integer must be True or False, got {shown(integer)}")
    file = as_path(path)
    suffix = file.suffix.lower()
    if suffix not in _FILES:
        raise InvalidInputError(
            f"{file}: the suffix is {shown(file.suffix)}, and must be one of {', '.join(_FILES)}"
        )
    for k, domain in enumerate(instance.domains or [] if integer else []):
        if not isinstance(domain, Integers):
            raise InvalidInputError(
                f"{instance.type_name(k)} has the domain {shown(domain)}, and {suffix} has no word "
                "for whole numbers but all of them"
            )
    require_feasible(instance)
    content, tokens_per_unit = _FILES[suffix](instance, integer)
    write_whole(file, content)
    return frozen(tokens_per_unit)
