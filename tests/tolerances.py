"""Every tolerance of the numerical tests by name, with the reason for its size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

EPSILON = float(np.finfo(np.float64).eps)


class Tolerance(NamedTuple):
    """What `numpy.testing.assert_allclose` allows: |found − expected| ≤ atol + rtol |expected|."""

    rtol: float
    atol: float

    def check(self, found: ArrayLike, expected: ArrayLike, what: str = "") -> None:
        """Raise unless `found` is near `expected` in every entry."""
        np.testing.assert_allclose(
            np.asarray(found, dtype=np.float64),
            np.asarray(expected, dtype=np.float64),
            rtol=self.rtol,
            atol=self.atol,
            err_msg=what,
        )


# One formula evaluated twice in float64, in another order: a few dozen roundings.
ROUNDING = Tolerance(rtol=1e-13, atol=0.0)

# Moments and accuracies against the thirty-digit arithmetic: products and a compensated sum of
# positive terms. The exponential magnifies the rounding of its exponent, which is below 30 here.
CLOSED_FORM = Tolerance(rtol=30 * EPSILON, atol=0.0)

# Central differences with the step ε^(1/3) lose a third of the digits, 1e-10 to 1e-11, and the
# third derivative adds as much; relative to the natural size of the quantity, as the test scales
# both sides by it.
DIFFERENCE_QUOTIENT = Tolerance(rtol=1e-8, atol=1e-8)

# The difference of two nearby objectives against exact arithmetic: a few dozen roundings, relative
# to the terms that it is a sum of over the idle fraction, as the test scales it; at worst 3e-16.
IMPROVEMENT = Tolerance(rtol=0.0, atol=30 * EPSILON)

# An instance and its permuted, shifted, rescaled, merged or split form have parameters that differ
# by rounding, and 1/(1 − ρ) ≤ 2000 magnifies that: compared are certified objectives, relative to
# `scale`.
SAME_INSTANCE = Tolerance(rtol=0.0, atol=1e-11)

# Planted tokens against the true optimum, relative to the larger of the tokens and one: the
# rounding of the derived parameters, at worst 2.5e-12 on 200 instances.
PLANTED = Tolerance(rtol=1e-10, atol=1e-10)

# A sampled extreme against a proven bound on it: the sample itself is rounded.
SAMPLED_BOUND = Tolerance(rtol=1e-9, atol=0.0)

# An interior point method's answer, relative to `scale`: what its certificate allows.
CONE_OPTIMUM = Tolerance(rtol=0.0, atol=1e-9)

# A multiplier against a difference quotient of optimal values, whose steps are 1e-5 of the limits:
# the third derivative leaves about 1e-8, and the rounding of the values as much.
MULTIPLIER = Tolerance(rtol=1e-5, atol=1e-9)
