"""Instance files: one schema, in TOML for people and in JSON for programs."""

from cvxqueue.files.conversion import from_dict, to_dict
from cvxqueue.files.schema import json_schema
from cvxqueue.files.storage import load, loads, save

__all__ = ["from_dict", "json_schema", "load", "loads", "save", "to_dict"]
