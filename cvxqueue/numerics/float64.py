"""What rounding may take, and what counts as zero."""

import numpy as np

EPSILON = float(np.finfo(np.float64).eps)
"""ε: twice what rounding takes from a number, relatively."""
LARGEST = float(np.finfo(np.float64).max)
"""The largest number there is."""
SMALLEST_NORMAL = float(np.finfo(np.float64).tiny)
"""From here down numbers lose digits."""
JENSEN_SLACK = 1.0 - 1e-12
"""A second moment computed from the data that gave the mean may miss its square by rounding."""
