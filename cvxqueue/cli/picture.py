"""``--plot FILE``: refused before anything is solved, written whole or not at all."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

from cvxqueue import plots
from cvxqueue.errors import InvalidInputError
from cvxqueue.files.storage import write_whole
from cvxqueue.formatting import shown
from cvxqueue.plots.style import require_matplotlib
from cvxqueue.solvers import CrossValidation
from cvxqueue.suggest import nearest

__all__ = ["check_picture", "save_picture"]

_SUFFIXES = (".pdf", ".png", ".svg")


def check_picture(name: str) -> None:
    """Raise unless a picture can be written there.

    Raises
    ------
    InvalidInputError
        If the suffix is not known, or the place cannot be written.
    MissingDependencyError
        If matplotlib is not installed.
    """
    if "\0" in name:
        raise InvalidInputError(f"--plot {shown(name)} must be the name of a file")
    path = Path(name)
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InvalidInputError(
            f"--plot {name}: unknown picture format {shown(suffix)}: {nearest(suffix, _SUFFIXES)}"
        )
    if path.is_dir():
        raise InvalidInputError(f"--plot {name}: is a directory; name a file in it")
    if not path.parent.is_dir():
        raise InvalidInputError(f"--plot {name}: there is no directory {path.parent}")
    # It is written beside its place, which for a link is where that points, and then put there.
    place = Path(os.path.realpath(path))
    if not all(os.access(part, os.W_OK) for part in (place.parent, place) if part.exists()):
        raise InvalidInputError(
            f"--plot {name}: cannot be written; check its permissions and those of its directory"
        )
    require_matplotlib()


def save_picture(comparison: CrossValidation, name: str) -> None:
    """Draw the comparison and write it.

    Raises
    ------
    InvalidInputError
        If the file cannot be written after all.
    """
    path = Path(name)
    drawn = BytesIO()
    plots.figure(comparison).savefig(drawn, format=path.suffix.lower()[1:])
    try:
        write_whole(path, drawn.getvalue())
    except OSError as error:
        raise InvalidInputError(f"--plot {name}: {error.strerror}") from error
