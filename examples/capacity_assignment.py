"""Capacity assignment: how fast each link of a network should be, for a given budget.

Messages cross the links of a network, λ_i of them per second over link i. Every link is an M/M/1
queue: with a capacity C_i bits per second and messages of 1/μ bits on average it serves μ C_i
messages per second, and a message spends 1/(μ C_i − λ_i) seconds there. A bit per second of link i
costs d_i, and there is a budget D. With γ messages entering the network per second, the problem is

    minimise    (1/γ) Σ λ_i / (μ C_i − λ_i)
    subject to  Σ d_i C_i ≤ D,

the mean delay of a message in the network. Nothing of it is about tokens; the atom
`mm1_system_time` states it in one line, and its domain keeps every link stable.

There is a closed form to compare with. Stationarity, λ_i μ / (γ (μ C_i − λ_i)²) = ν d_i, says that
the spare capacity C_i − λ_i/μ is in proportion to √(λ_i/d_i), and the budget says how much of it
there is: with the excess E = D − Σ d_i λ_i/μ that is left once every link can just carry its load,

    C_i = λ_i/μ + (E/d_i) √(λ_i d_i) / Σ √(λ_j d_j)   and   T = (Σ √(λ_i d_i))² / (γ μ E).

References
----------
Kleinrock, "Communication Nets: Stochastic Message Flow and Delay", McGraw-Hill 1964.
Kleinrock, "Queueing Systems, volume II: Computer Applications", Wiley 1976, chapter 5.
"""

from __future__ import annotations

from typing import NamedTuple

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from cvxqueue.dcp.atoms import mm1_system_time

# A made-up network of five links, of which two are expensive.
ARRIVAL_RATES = np.array([40.0, 25.0, 60.0, 8.0, 15.0])
COSTS = np.array([1.0, 1.0, 1.5, 4.0, 4.0])
MESSAGE_BITS = 1000.0
ENTERING = 90.0
BUDGET = 400_000.0


class Assignment(NamedTuple):
    """Capacities of the links, in bits per second, and the mean delay, in seconds."""

    capacities: NDArray[np.float64]
    delay: float


def solve(
    arrival_rates: NDArray[np.float64],
    costs: NDArray[np.float64],
    message_bits: float,
    entering: float,
    budget: float,
) -> Assignment:
    """Solve the assignment as a disciplined convex program."""
    # Messages per second rather than bits: of order one to a hundred, as the loads are.
    service_rates = cp.Variable(arrival_rates.size)
    delay = (arrival_rates / entering) @ mm1_system_time(service_rates, arrival_rates)
    spent = (costs * message_bits / budget) @ service_rates
    problem = cp.Problem(cp.Minimize(delay), [spent <= 1])
    problem.solve(solver="CLARABEL", tol_gap_rel=1e-11, tol_gap_abs=1e-11, tol_feas=1e-11)
    if service_rates.value is None:
        raise ValueError(f"budget = {budget!r} carries no load: {problem.status}")
    return Assignment(message_bits * service_rates.value, float(delay.value))


def closed_form(
    arrival_rates: NDArray[np.float64],
    costs: NDArray[np.float64],
    message_bits: float,
    entering: float,
    budget: float,
) -> Assignment:
    """Return Kleinrock's square-root assignment."""
    roots = np.sqrt(arrival_rates * costs)
    least = arrival_rates * message_bits
    excess = budget - float(costs @ least)
    capacities = least + excess / costs * roots / roots.sum()
    return Assignment(capacities, float(roots.sum() ** 2 * message_bits / (entering * excess)))


def compare() -> tuple[Assignment, Assignment]:
    """Return the computed and the reference assignment of the network above."""
    data = (ARRIVAL_RATES, COSTS, MESSAGE_BITS, ENTERING, BUDGET)
    return solve(*data), closed_form(*data)


def main() -> None:
    computed, reference = compare()
    print("link    load [1/s]    computed [bit/s]    closed form [bit/s]")
    rows = zip(ARRIVAL_RATES, computed.capacities, reference.capacities, strict=True)
    for link, (load, capacity, exact) in enumerate(rows, start=1):
        print(f"{link:4d}  {load:12.0f}  {capacity:18.1f}  {exact:21.1f}")
    print(f"mean delay: {computed.delay:.9f} s computed, {reference.delay:.9f} s in closed form")


if __name__ == "__main__":
    main()
