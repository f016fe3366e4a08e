"""Arrays and their checks, accurate sums and rounding, searches for roots: numpy alone."""
