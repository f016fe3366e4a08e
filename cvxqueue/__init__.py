"""Token allocation for LLM servers that are M/G/1 queues, as a disciplined convex program."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cvxqueue.certificates import (
    Certificate,
    certify,
)
from cvxqueue.errors import (
    BackendError,
    CvxqueueError,
    CvxqueueWarning,
    InfeasibleError,
    InvalidInputError,
    MissingDependencyError,
    UnstableQueueError,
)
from cvxqueue.model import (
    FIFO,
    AffineService,
    BatchArrivals,
    Domains,
    Evaluation,
    Instance,
    Integers,
    LevelMenu,
    MaxMeanSystemTime,
    MaxMeanWaitingTime,
    MaxTokenRate,
    Menu,
    MichaelisMenten,
    MinAccuracy,
    MinMeanAccuracy,
    MixedAccuracy,
    Multiples,
    PiecewiseLinear,
    PowerLaw,
    ProcessorSharing,
    QuadraticService,
    SaturatingExponential,
    Setups,
    Vacations,
    WaitingTimeTail,
    ZeroOrAtLeast,
)
from cvxqueue.solution import ConvergenceError, Ended, Iterate, Solution, Status
from cvxqueue.solvers import BatchSolution, Progress, cross_validate, methods, solve, solve_batch

if TYPE_CHECKING:
    from cvxqueue.dcp import Formulation, formulate
    from cvxqueue.files import from_dict, load, save, to_dict
    from cvxqueue.fitting import Diagnosis, Fit, diagnose, fit
    from cvxqueue.integer import IntegerSolution, RoundingBound, rounding_bound, solve_integer
    from cvxqueue.simulation import (
        Comparison,
        Simulation,
        TheoryCheck,
        check_simulation,
        compare,
        simulate,
        waiting_tail,
    )
    from cvxqueue.statistics import Estimate

# Loaded when first used, so that importing the package brings in numpy alone.
_LAZY = {
    "Diagnosis": "cvxqueue.fitting",
    "Fit": "cvxqueue.fitting",
    "Formulation": "cvxqueue.dcp",
    "diagnose": "cvxqueue.fitting",
    "fit": "cvxqueue.fitting",
    "formulate": "cvxqueue.dcp",
    "from_dict": "cvxqueue.files",
    "load": "cvxqueue.files",
    "save": "cvxqueue.files",
    "to_dict": "cvxqueue.files",
    "IntegerSolution": "cvxqueue.integer",
    "RoundingBound": "cvxqueue.integer",
    "rounding_bound": "cvxqueue.integer",
    "solve_integer": "cvxqueue.integer",
    "Comparison": "cvxqueue.simulation",
    "Estimate": "cvxqueue.statistics",
    "Simulation": "cvxqueue.simulation",
    "TheoryCheck": "cvxqueue.simulation",
    "check_simulation": "cvxqueue.simulation",
    "compare": "cvxqueue.simulation",
    "simulate": "cvxqueue.simulation",
    "waiting_tail": "cvxqueue.simulation",
}

__all__ = [
    "FIFO",
    "AffineService",
    "BackendError",
    "BatchArrivals",
    "BatchSolution",
    "Certificate",
    "Comparison",
    "ConvergenceError",
    "CvxqueueError",
    "CvxqueueWarning",
    "Diagnosis",
    "Domains",
    "Ended",
    "Estimate",
    "Evaluation",
    "Fit",
    "Formulation",
    "InfeasibleError",
    "Instance",
    "IntegerSolution",
    "Integers",
    "InvalidInputError",
    "Iterate",
    "LevelMenu",
    "MaxMeanSystemTime",
    "MaxMeanWaitingTime",
    "MaxTokenRate",
    "Menu",
    "MichaelisMenten",
    "MinAccuracy",
    "MinMeanAccuracy",
    "MissingDependencyError",
    "MixedAccuracy",
    "Multiples",
    "PiecewiseLinear",
    "PowerLaw",
    "ProcessorSharing",
    "Progress",
    "QuadraticService",
    "RoundingBound",
    "SaturatingExponential",
    "Setups",
    "Simulation",
    "Solution",
    "Status",
    "TheoryCheck",
    "UnstableQueueError",
    "Vacations",
    "WaitingTimeTail",
    "ZeroOrAtLeast",
    "certify",
    "check_simulation",
    "compare",
    "cross_validate",
    "diagnose",
    "fit",
    "formulate",
    "from_dict",
    "load",
    "methods",
    "rounding_bound",
    "save",
    "simulate",
    "solve",
    "solve_batch",
    "solve_integer",
    "to_dict",
    "waiting_tail",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("cvxqueue")
    if name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
