"""Hypothesis strategies for instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.families import planted_instance
from tests.generator import PATTERNS, UTILIZATIONS, random_parameters

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def planted_instances(
    draw: st.DrawFn,
    *,
    largest_n: int = 20,
    utilizations: Sequence[float] = UTILIZATIONS,
    patterns: Sequence[str] = PATTERNS,
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """Parameters and their planted optimum.

    The structure is drawn here and the numbers follow from a seed, so that a failure shrinks to few
    types, a light load, free types and no special ones.
    """
    return planted_instance(
        n=draw(st.integers(1, largest_n)),
        utilization=draw(st.sampled_from(utilizations)),
        pattern=draw(st.sampled_from(patterns)),
        plain=not draw(st.booleans()),
        rng=np.random.default_rng(draw(SEEDS)),
    )


@st.composite
def parameter_sets(draw: st.DrawFn, *, largest_n: int = 50) -> dict[str, Any]:
    """Parameters of an instance that is stable at its lower bounds."""
    n = draw(st.integers(1, largest_n))
    return random_parameters(np.random.default_rng(draw(SEEDS)), n=n)
