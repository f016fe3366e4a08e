"""Solvers compared: each run in a process of its own, each answer graded by the certificate."""

from cvxqueue.benchmark.run import Benchmark, run_benchmark

__all__ = ["Benchmark", "run_benchmark"]
