"""Instance files: one schema, in TOML for people and in JSON for programs."""

from cvxqueue.files.reading import from_dict
from cvxqueue.files.storage import load, loads
from cvxqueue.files.writing import to_dict

__all__ = ["from_dict", "load", "loads", "to_dict"]
