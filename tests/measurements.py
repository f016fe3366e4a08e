"""Measured numbers that the tests of fits need, with their sources, and made-up ones like them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

# s1-32B under budget forcing: average thinking tokens and accuracy, from the vector coordinates of
# github.com/simplescaling/s1 (commit 77272c6, visuals/scaling.pdf, Apache-2.0), with the number of
# questions of each benchmark.
S1_CURVES = {
    "MATH500": (500, [498.7, 983.5, 1813.9, 2868.0, 3199.6], [0.64, 0.8, 0.856, 0.906, 0.932]),
    "AIME24": (
        30,
        [500.0, 1000.0, 2000.0, 3933.1, 5300.2, 6656.8, 7319.5],
        [0.0, 0.13333, 0.3, 0.43333, 0.5, 0.53333, 0.56667],
    ),
    "GPQA-Diamond": (
        198,
        [500.0, 985.4, 1742.3, 3231.2, 4648.9],
        [0.37879, 0.49495, 0.5101, 0.57576, 0.59596],
    ),
}

# Qwen3-8B in bf16 under vLLM on one H100-80GB: concurrency, prompt tokens, output tokens and mean
# end-to-end seconds; github.com/tgarg01/silybench-data (commit 93e4887,
# derived/csv/perf_points.csv), CC BY 4.0.
H100_TIMES = [
    (1, 2048, 2048, 14.385546),
    (1, 128, 128, 0.880844),
    (1, 128, 1024, 7.029918),
    (1, 8192, 512, 3.973647),
    (1, 1024, 128, 0.907825),
    (4, 128, 1024, 7.476467),
    (16, 128, 1024, 7.740032),
    (32, 128, 1024, 8.380092),
    (64, 128, 1024, 9.934248),
    (128, 128, 1024, 12.724251),
]

# The first rows of AzureLLMInferenceTrace_conv.csv; github.com/Azure/AzurePublicDataset, CC BY 4.0;
# Patel et al., "Splitwise", ISCA 2024.
AZURE_HEAD = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:15:46.6805900,374,44\r\n"
    "2023-11-16 18:15:50.9951690,396,109\r\n"
    "2023-11-16 18:15:51.2224670,879,55\r\n"
)
# What the whole trace says: arrivals, and the squared coefficient of variation of its gaps.
AZURE_ARRIVALS = 19366
AZURE_GAP_SCV = 1.20


def data_folder() -> Path | None:
    """Folder of the measured data: ``CVXQUEUE_DATA``, or ``shared/data`` beside the checkout."""
    named = os.environ.get("CVXQUEUE_DATA")
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(named) if named else beside
    return folder if folder.is_dir() else None


def azure_trace(folder: Path) -> Path:
    """The whole Azure trace if it is at hand, or a made-up one of its size and gaps.

    The gaps of the made-up one are a mixture of two exponentials of the scv of the real ones.
    """
    data = data_folder()
    real = None if data is None else data / "traces" / "AzureLLMInferenceTrace_conv.csv"
    if real is not None and real.is_file():
        return real
    rng = np.random.default_rng(20231116)
    # Balanced means: each phase contributes half of the mean gap.
    p = 0.5 * (1.0 + np.sqrt((AZURE_GAP_SCV - 1.0) / (AZURE_GAP_SCV + 1.0)))
    share = rng.random(AZURE_ARRIVALS) < p
    gaps = rng.exponential(1.0, AZURE_ARRIVALS) * np.where(share, 0.5 / p, 0.5 / (1.0 - p)) / 5.53
    times = np.datetime64("2023-11-16T18:15:46") + (1e6 * np.cumsum(gaps)).astype("timedelta64[us]")
    rows = [f"{str(time).replace('T', ' ')}0,374,44" for time in times]
    path = folder / "AzureLLMInferenceTrace_conv.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows) + "\n")
    return path


def vllm_result(*, requests: int = 12, per_token: float = 0.007, **changes: object) -> str:
    """A result of ``vllm bench serve --save-detailed``, one request at a time."""
    outputs = [64 + 32 * k for k in range(requests)]
    times = [0.05 + per_token * (n - 1) for n in outputs]
    result = {
        "date": "20260101-000000",
        "backend": "vllm",
        "num_prompts": requests,
        "request_rate": "inf",
        "max_concurrency": 1,
        "duration": sum(times),
        "completed": requests,
        "input_lens": [128] * requests,
        "output_lens": outputs,
        "ttfts": [0.05] * requests,
        "itls": [[per_token] * (n - 1) for n in outputs],
        "start_times": [1000.0 + sum(times[:k]) + 0.001 * k for k in range(requests)],
        "generated_texts": ["..."] * requests,
        "errors": [""] * requests,
    }
    return json.dumps({**result, **changes})
