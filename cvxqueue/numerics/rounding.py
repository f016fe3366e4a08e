"""What rounding may take, and what counts as zero."""

__all__ = ["JENSEN_SLACK"]

JENSEN_SLACK = 1.0 - 1e-12
"""A second moment computed from the data that gave the mean may miss its square by rounding."""
