"""What holds for every test: one thread for each worker, no display, repeatable examples."""

import gc
import os

# The workers already fill the cores, and a second thread in each makes timed tests unsteady. Set
# before numpy is loaded; workers and the commands that tests start inherit it.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from collections.abc import Iterator  # noqa: E402 (the environment comes first)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

# A failure must come back on the next run and on another machine, so the examples follow from the
# test alone. Time limits are off because they measure the machine.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# New examples on every run: python -m pytest --hypothesis-profile=explore
settings.register_profile(
    "explore",
    parent=settings.get_profile("repeatable"),
    derandomize=False,
    max_examples=1000,
    print_blob=True,
)
settings.load_profile("repeatable")


@pytest.fixture
def inside() -> Iterator[None]:
    """As inside the package, for tests of what is called from there alone: numpy is silent."""
    with np.errstate(all="ignore"):
        yield


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later look for garbage.

    There are a million objects of it, and a look at them all takes half a second.
    """
    gc.collect()
    gc.freeze()
