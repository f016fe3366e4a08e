"""Tests for classes of one's own: whether they keep what a certificate rests on."""

from cvxqueue.testing.extension import check_extension
from cvxqueue.testing.promises import ExtensionError, ExtensionReport

__all__ = ["ExtensionError", "ExtensionReport", "check_extension"]
