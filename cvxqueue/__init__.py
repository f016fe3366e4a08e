"""Token allocation for LLM servers that are M/G/1 queues, as a disciplined convex program."""

from __future__ import annotations

from cvxqueue import interrupts as interrupts  # the first: Ctrl-C may come while the rest loads

# isort: split
from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from cvxqueue.certificates import Certificate, certify
from cvxqueue.check import check
from cvxqueue.errors import (
    BackendError,
    CvxqueueError,
    CvxqueueWarning,
    InfeasibleError,
    InvalidInputError,
    MissingDependencyError,
    RefusedError,
    UnprovenError,
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
from cvxqueue.solvers import (
    Answer,
    BatchSolution,
    CrossValidation,
    Method,
    best_uniform,
    cross_validate,
    methods,
    solve,
    solve_batch,
)

if _TYPE_CHECKING:
    from cvxqueue import references as references
    from cvxqueue import testing as testing
    from cvxqueue.answers import from_dict, load, save, to_dict
    from cvxqueue.benchmark import Benchmark, run_benchmark
    from cvxqueue.dcp import Formulation, explain, export, formulate
    from cvxqueue.fitting import Fit, diagnose, fit
    from cvxqueue.integer import IntegerSolution, rounding_bound, solve_integer
    from cvxqueue.references.grade import Grade, grade
    from cvxqueue.references.prover import prove
    from cvxqueue.references.verification import Verified, verify
    from cvxqueue.sensitivities import Sensitivity, sensitivity
    from cvxqueue.simulation import Simulation, check_simulation, compare_allocations, simulate
    from cvxqueue.statistics import Estimate
    from cvxqueue.sweeps import (
        Frontier,
        Sweep,
        SweepFile,
        SwitchingPoints,
        sweep,
        switching_curves,
        switching_points,
    )

# Loaded when first used, so that importing the package brings in numpy alone.
_ROOMS = {
    "answers": ("from_dict", "load", "save", "to_dict"),
    "benchmark": ("Benchmark", "run_benchmark"),
    "dcp": ("Formulation", "explain", "export", "formulate"),
    "fitting": ("Fit", "diagnose", "fit"),
    "integer": ("IntegerSolution", "rounding_bound", "solve_integer"),
    "references.grade": ("Grade", "grade"),
    "references.prover": ("prove",),
    "references.verification": ("Verified", "verify"),
    "sensitivities": ("Sensitivity", "sensitivity"),
    "simulation": ("Simulation", "check_simulation", "compare_allocations", "simulate"),
    "statistics": ("Estimate",),
    "sweeps": (
        *("Frontier", "Sweep", "SweepFile", "SwitchingPoints"),
        *("sweep", "switching_curves", "switching_points"),
    ),
}
_LAZY = {name: f"cvxqueue.{room}" for room, names in _ROOMS.items() for name in names}
_WHOLE_ROOMS = ("references", "testing")

__all__ = [
    "FIFO",
    "AffineService",
    "Answer",
    "BackendError",
    "BatchArrivals",
    "BatchSolution",
    "Benchmark",
    "Certificate",
    "ConvergenceError",
    "CrossValidation",
    "CvxqueueError",
    "CvxqueueWarning",
    "Domains",
    "Ended",
    "Estimate",
    "Evaluation",
    "Fit",
    "Formulation",
    "Frontier",
    "Grade",
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
    "Method",
    "MichaelisMenten",
    "MinAccuracy",
    "MinMeanAccuracy",
    "MissingDependencyError",
    "MixedAccuracy",
    "Multiples",
    "PiecewiseLinear",
    "PowerLaw",
    "ProcessorSharing",
    "QuadraticService",
    "RefusedError",
    "SaturatingExponential",
    "Sensitivity",
    "Setups",
    "Simulation",
    "Solution",
    "Status",
    "Sweep",
    "SweepFile",
    "SwitchingPoints",
    "UnprovenError",
    "UnstableQueueError",
    "Vacations",
    "Verified",
    "WaitingTimeTail",
    "ZeroOrAtLeast",
    "best_uniform",
    "certify",
    "check",
    "check_simulation",
    "compare_allocations",
    "cross_validate",
    "diagnose",
    "explain",
    "export",
    "fit",
    "formulate",
    "from_dict",
    "grade",
    "load",
    "methods",
    "prove",
    "rounding_bound",
    "run_benchmark",
    "save",
    "sensitivity",
    "simulate",
    "solve",
    "solve_batch",
    "solve_integer",
    "sweep",
    "switching_curves",
    "switching_points",
    "to_dict",
    "verify",
]


def __getattr__(name: str) -> _Any:
    if name == "__version__":
        return _import_module("importlib.metadata").version("cvxqueue")
    if name in _LAZY:
        value = getattr(_import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    if name in _WHOLE_ROOMS:
        return _import_module(f"cvxqueue.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", *_WHOLE_ROOMS])
