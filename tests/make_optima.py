"""The fixed catalogue of instances and its optima to thirty digits.

``python tests/make_optima.py`` writes ``optima.json`` beside this file. An instance is drawn from a
seed, typed by hand, or a published server.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    # A script finds the modules beside it, but not the folder that it is in.
    sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.generator import planted_instance
from tests.oracle import TYPE_FIELDS, optimum

OPTIMA = Path(__file__).with_name("optima.json")

# Name, seed, and what `planted_instance` is to plant.
PLANTED: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("one-type-light", 1, {"n": 1, "utilization": 0.001}),
    ("one-type-heavy", 2, {"n": 1, "utilization": 0.9995}),
    ("one-type-at-zero", 3, {"n": 1, "utilization": 0.5, "pattern": "all-zero"}),
    ("one-type-at-cap", 4, {"n": 1, "utilization": 0.8, "pattern": "all-capped"}),
    ("two-types-light", 5, {"n": 2, "utilization": 0.001}),
    ("two-types", 6, {"n": 2, "utilization": 0.1}),
    ("three-types", 7, {"n": 3, "utilization": 0.3, "pattern": "mixed"}),
    ("five-types", 8, {"n": 5, "utilization": 0.5, "pattern": "mixed"}),
    ("eight-types", 9, {"n": 8, "utilization": 0.8, "pattern": "mixed"}),
    ("ten-types", 10, {"n": 10, "utilization": 0.9}),
    ("twelve-types-heavy", 11, {"n": 12, "utilization": 0.99, "pattern": "mixed"}),
    ("twenty-types-heavy", 12, {"n": 20, "utilization": 0.999}),
    ("six-types-saturated", 13, {"n": 6, "utilization": 0.9995, "pattern": "mixed"}),
    ("four-types-saturated", 14, {"n": 4, "utilization": 0.9999}),
    ("fifty-types", 15, {"n": 50, "utilization": 0.7, "pattern": "mixed", "smallest_mix": 1e-5}),
    ("all-zero", 16, {"n": 5, "utilization": 0.6, "pattern": "all-zero"}),
    ("all-at-lower-bounds", 17, {"n": 4, "utilization": 0.5, "pattern": "all-lower"}),
    ("all-capped", 18, {"n": 6, "utilization": 0.8, "pattern": "all-capped"}),
    ("slow-rates", 19, {"n": 4, "utilization": 0.5, "rates": (1e-6, 1e-5)}),
    ("fast-rates", 20, {"n": 4, "utilization": 0.5, "rates": (0.1, 1.0)}),
    ("all-rates", 21, {"n": 7, "utilization": 0.9, "rates": (1e-6, 1.0)}),
    ("tiny-mix", 22, {"n": 6, "utilization": 0.8, "smallest_mix": 1e-6}),
    ("no-importance", 23, {"n": 4, "utilization": 0.7, "zero_importance": True}),
    ("no-gain", 24, {"n": 4, "utilization": 0.7, "zero_gain": True}),
    ("no-base-time", 25, {"n": 5, "utilization": 0.8, "zero_base": True}),
    ("single-point", 26, {"n": 4, "utilization": 0.7, "single_point": True}),
)

# What a planted instance is unless its line above says otherwise.
PLAIN: dict[str, Any] = {
    "pattern": "free",
    "rates": (1e-5, 1e-2),
    "smallest_mix": 0.01,
    "zero_base": False,
    "zero_importance": False,
    "zero_gain": False,
    "single_point": False,
}

# Floor, gain, rate, base and seconds per token as published for each model, and the answer tokens
# of AIME24, AIME25, GPQA-Diamond, GSM8K and HMMT25.
ANSWER_TOKENS = (159, 102, 213, 61, 108)
QWEN3_8B = (
    (0.0, 0.595, 9.25e-05, 0.2706, 0.00076),
    (0.0, 0.737, 0.000113, 0.1775, 0.000903),
    (0.354, 0.227, 0.000263, 0.0899, 0.001257),
    (0.276, 0.677, 0.00266, 0.0663, 0.000125),
    (0.044, 0.302, 0.000189, 0.5198, 0.001008),
)
DEEPSEEK_R1_DISTILL_LLAMA_8B = (
    (0.011, 0.26, 0.000194, 0.1759, 0.000611),
    (0.0, 0.309, 0.000251, 0.0878, 0.000679),
    (0.29, 0.185, 0.000211, 0.0057, 0.000356),
    (0.067, 0.822, 0.00303, 0.0118, 0.000128),
    (0.033, 0.223, 0.000141, 0.1787, 0.000738),
)
# One H100 serves Qwen3-8B at this speed, and a first token takes this long.
H100_PER_TOKEN = 0.00686
H100_FIRST_TOKEN = 0.06


def published(
    figures: Sequence[tuple[float, ...]], arrival_rate: float, accuracy_weight: float
) -> dict[str, Any]:
    """Return a published server under the scenario of the examples."""
    floor, gain, rate, base, per_token = (list(column) for column in zip(*figures, strict=True))
    return {
        "arrival_rate": arrival_rate,
        "accuracy_weight": accuracy_weight,
        "probabilities": [0.05, 0.05, 0.15, 0.70, 0.05],
        "min_tokens": [0.0] * 5,
        "max_tokens": [32768.0] * 5,
        "importance": [1.0] * 5,
        "base": base,
        "per_token": per_token,
        "floor": floor,
        "gain": gain,
        "rate": rate,
    }


def real_instances() -> dict[str, dict[str, Any]]:
    """Return the three servers of ``examples/instances``."""
    single_stream = {
        "base": [round(H100_FIRST_TOKEN + n * H100_PER_TOKEN, 5) for n in ANSWER_TOKENS],
        "per_token": [H100_PER_TOKEN] * 5,
    }
    return {
        "qwen3-8b-h100": published(QWEN3_8B, 0.05, 300.0) | single_stream,
        "qwen3-8b-batched": published(QWEN3_8B, 0.5, 100.0),
        "deepseek-r1-distill-llama-8b": published(DEEPSEEK_R1_DISTILL_LLAMA_8B, 0.5, 100.0),
    }


def typed_instances() -> dict[str, dict[str, Any]]:
    """Return the instances that are written out."""
    two_types = {
        "arrival_rate": 0.2,
        "accuracy_weight": 50.0,
        "probabilities": [0.25, 0.75],
        "min_tokens": [0.0, 0.0],
        "max_tokens": [4096.0, 4096.0],
        "importance": [1.0, 1.0],
        "base": [0.5, 0.25],
        "per_token": [0.01, 0.005],
        "floor": [0.1, 0.3],
        "gain": [0.8, 0.6],
        "rate": [0.002, 0.01],
    }
    return {
        "duplicated-types": {
            name: [value[0], value[1], value[1], value[0]] if isinstance(value, list) else value
            for name, value in two_types.items()
        }
        | {"probabilities": [0.125, 0.25, 0.5, 0.125]},
        "positive-lower-bounds": two_types | {"min_tokens": [100.0, 450.0]},
        "no-accuracy-weight": two_types | {"accuracy_weight": 0.0, "min_tokens": [0.0, 7.5]},
        "heavy-at-lower-bounds": two_types
        | {"arrival_rate": 0.95, "base": [2.0, 0.625], "accuracy_weight": 2000.0},
        "wide-scales": {
            "arrival_rate": 0.002,
            "accuracy_weight": 4e4,
            "probabilities": [0.01, 0.09, 0.2, 0.7],
            "min_tokens": [0.0, 10.0, 0.0, 0.0],
            "max_tokens": [1e6, 1e5, 50.0, 1e6],
            "importance": [1.0, 100.0, 0.01, 1.0],
            "base": [100.0, 0.0, 1e-3, 1e-6],
            "per_token": [0.1, 1e-2, 1.0, 1e-6],
            "floor": [0.0, 0.5, 0.2, 1e-6],
            "gain": [1.0, 1e-3, 0.7, 0.9],
            "rate": [1e-3, 1e-4, 0.5, 1e-6],
        },
    }


def catalogue() -> dict[str, dict[str, Any]]:
    """Return the parameters of every instance by its name."""
    planted = {
        name: planted_instance(np.random.default_rng(seed), **(PLAIN | options))[0]
        for name, seed, options in PLANTED
    }
    return planted | typed_instances() | real_instances()


def entry(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the file: the name, the parameters and the optimum."""
    plain = {
        key: np.asarray(parameters[key], dtype=float).tolist()
        for key in ("arrival_rate", "accuracy_weight", *TYPE_FIELDS)
    }
    return {"name": name, "parameters": plain, "optimum": optimum(plain)}


def load() -> list[dict[str, Any]]:
    """Return the rows of the file."""
    rows: list[dict[str, Any]] = json.loads(OPTIMA.read_text(encoding="utf-8"))
    return rows


def main() -> None:
    """Write the file."""
    began = time.perf_counter()
    rows = [entry(name, parameters) for name, parameters in catalogue().items()]
    OPTIMA.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    seconds = time.perf_counter() - began
    print(f"{len(rows)} optima to thirty digits in {OPTIMA.name}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
