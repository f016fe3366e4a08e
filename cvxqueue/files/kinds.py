"""The kinds of each section of an instance file: a class of the model, and what its fields mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cvxqueue import model

FORMAT = "cvxqueue-instance"
SOLUTION_FORMAT = "cvxqueue-solution"
CERTIFICATE_FORMAT = "cvxqueue-certificate"
INTEGER_FORMAT = "cvxqueue-integer-solution"
ANSWER_FORMATS = (SOLUTION_FORMAT, CERTIFICATE_FORMAT, INTEGER_FORMAT)
VERSION = 1
MIXED = "mixed"
"""The kind of an accuracy whose types have curves of several kinds, in the form of arrays."""


class Kind(NamedTuple):
    """A class of the model as files know it."""

    type: type[Any]
    """The class; its constructor takes the fields below by name."""
    fields: Mapping[str, str] = {}
    """What each field means, with its unit and range; one number for each task type."""
    defaults: Mapping[str, float | None] = {}
    """What stands for fields that a file leaves out; ``None`` leaves it to the class."""
    lists: frozenset[str] = frozenset()
    """Fields that hold a list of numbers where the others of their section hold one."""


def _pause(what: str) -> dict[str, str]:
    return {
        "mean": f"mean length of a {what} in seconds, > 0",
        "second_moment": "mean square of the length in seconds², ≥ mean²",
    }


_BASE = "seconds that a query takes without thinking, ≥ 0"
_CURVE = {
    "floor": "probability of a correct answer without thinking, ≥ 0",
    "gain": "what unlimited thinking adds, ≥ 0, with floor + gain ≤ 1",
}

KINDS: dict[str, dict[str, Kind]] = {
    "queue": {
        "fifo": Kind(model.FIFO),
        "processor-sharing": Kind(model.ProcessorSharing),
        "batch-arrivals": Kind(
            model.BatchArrivals,
            {
                "mean_size": "mean number of queries in a batch, ≥ 1",
                "size_second_moment": "mean square of that number, ≥ mean_size²",
            },
        ),
        "vacations": Kind(model.Vacations, _pause("vacation")),
        "setups": Kind(model.Setups, _pause("setup")),
    },
    "service": {
        "affine": Kind(
            model.AffineService,
            {
                "base": _BASE,
                "per_token": "seconds per thinking token, > 0",
                "token_scv": "squared coefficient of variation of the tokens used, ≥ 0",
            },
            defaults={"token_scv": 0.0},
        ),
        "quadratic": Kind(
            model.QuadraticService,
            {
                "base": _BASE,
                "per_token": "seconds of the first thinking token, > 0",
                "per_squared_token": "seconds per squared thinking token, ≥ 0",
            },
        ),
    },
    "accuracy": {
        "saturating-exponential": Kind(
            model.SaturatingExponential, {**_CURVE, "rate": "rate of saturation per token, > 0"}
        ),
        "power-law": Kind(
            model.PowerLaw,
            {
                **_CURVE,
                "scale": "tokens until the gain begins to saturate, > 0",
                "exponent": "power with which what is missing falls, > 0",
            },
        ),
        "michaelis-menten": Kind(
            model.MichaelisMenten,
            {**_CURVE, "half_saturation": "tokens that add half of the gain, > 0"},
        ),
        "piecewise-linear": Kind(
            model.PiecewiseLinear,
            {
                "tokens": "tokens of the measured points, ≥ 0 and increasing",
                "accuracy": "probability of a correct answer at each of them, from 0 to 1",
            },
            lists=frozenset({"tokens", "accuracy"}),
        ),
    },
    "domain": {
        "integers": Kind(model.Integers),
        "multiples": Kind(model.Multiples, {"step": "tokens in a step, a whole number ≥ 1"}),
        "zero-or-at-least": Kind(
            model.ZeroOrAtLeast, {"minimum": "fewest tokens beside none, a whole number ≥ 1"}
        ),
        "menu": Kind(
            model.Menu,
            {"tokens": "token counts to choose from, whole numbers ≥ 0"},
            lists=frozenset({"tokens"}),
        ),
        "levels": Kind(
            model.LevelMenu,
            {
                "accuracy": "probability of a correct answer at each level, from 0 to 1",
                "mean_service_time": "mean service time at each level in seconds, ≥ 0",
                "second_moment": "mean square of it in seconds², ≥ the square of the mean; by "
                "default that square",
            },
            defaults={"second_moment": None},
            lists=frozenset({"accuracy", "mean_service_time", "second_moment"}),
        ),
    },
    "constraint": {
        "max-mean-system-time": Kind(
            model.MaxMeanSystemTime, {"seconds": "most seconds of mean system time, > 0"}
        ),
        "max-mean-waiting-time": Kind(
            model.MaxMeanWaitingTime, {"seconds": "most seconds of mean waiting time, > 0"}
        ),
        "min-accuracy": Kind(
            model.MinAccuracy,
            {
                "accuracy": "least probability of a correct answer of the type, from 0 to 1",
                "type": "name of the one type that it is for, or its number, counted from 0; by "
                "default every type",
            },
            defaults={"type": None},
            lists=frozenset({"accuracy"}),
        ),
        "min-mean-accuracy": Kind(
            model.MinMeanAccuracy, {"accuracy": "least mean accuracy of the mix, > 0 and ≤ 1"}
        ),
        "max-token-rate": Kind(
            model.MaxTokenRate,
            {"tokens_per_second": "most thinking tokens of all types per second, > 0"},
        ),
        "waiting-time-tail": Kind(
            model.WaitingTimeTail,
            {
                "seconds": "waiting time in seconds that is to be exceeded rarely, > 0",
                "probability": "most probability of that, > 0 and < 1",
            },
        ),
    },
}
"""The kinds of each section. A new class of the model is one more entry."""
