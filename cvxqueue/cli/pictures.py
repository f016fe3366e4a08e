"""The picture of ``--plot``: refused before any work, and written whole or not at all."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from cvxqueue.errors import InvalidInputError, naming
from cvxqueue.formatting import shown
from cvxqueue.suggest import nearest
from cvxqueue.whole_files import write_whole

if TYPE_CHECKING:
    from cvxqueue.fitting import Fit
    from cvxqueue.simulation import Simulation
    from cvxqueue.solvers import CrossValidation
    from cvxqueue.sweeps import Sweep

_PICTURES = (".pdf", ".png", ".svg")


def require_picture(name: str | None) -> None:
    """Refuse before any work what could not be drawn or written after it; ``None`` is nothing."""
    if name is not None:
        # With the solvers, which a fit does not need.
        from cvxqueue.plots.style import require_matplotlib

        with naming(f"--plot {name}"):
            _require_writable(name)
        require_matplotlib()


def write_picture(name: str | None, result: CrossValidation | Fit | Simulation | Sweep) -> None:
    """Draw a result and write it, whole or not at all; ``None`` is nothing."""
    if name is None:
        return
    from cvxqueue import plots

    path, drawn = Path(name), BytesIO()
    plots.figure(result).savefig(drawn, format=path.suffix.lower()[1:])
    with naming("--plot"):
        write_whole(path, drawn.getvalue())


def _require_writable(name: str) -> None:
    """Refuse what is no picture's name, or is in no place for one."""
    if "\0" in name:
        raise InvalidInputError("must be the name of a file")
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix not in _PICTURES:
        raise InvalidInputError(
            f"unknown picture format {shown(suffix)}: {nearest(suffix, _PICTURES)}"
        )
    if path.is_dir():
        raise InvalidInputError("is a directory; name a file in it")
    if not path.parent.is_dir():
        raise InvalidInputError(f"there is no directory {path.parent}")
    # It is written beside its place, which for a link is where that points, and then put there.
    place = Path(os.path.realpath(path))
    if not all(os.access(part, os.W_OK) for part in (place.parent, place) if part.exists()):
        raise InvalidInputError(
            "cannot be written; check its permissions and those of its directory"
        )
