"""Writes the records of the library: ``python -m tests.references.make_library``.

A released record never changes, so that one that is there stays as it is, and a correction has
another name. The numbers of an instance are here, in the examples, or in a generator.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import cvxqueue as cq
from cvxqueue.files.storage import write_values
from cvxqueue.references import exact, exact_by_hand, library, planted
from tests.paths import INSTANCES

RELEASED = Path(__file__).with_name("released.txt")
"""Name and digest of each record: a line is written with the record, and never again."""

# Whole tokens are proven up to so many types; levels of effort have none.
MOST_TYPES = 20

EXAMPLES = (
    "one-type",
    "two-types-one-at-zero",
    "three-types-one-at-cap",
    "qwen3-8b-h100",
    "qwen3-8b-batched",
    "deepseek-r1-distill-llama-8b",
)

AFFINE: dict[str, Any] = {"base": [1.0, 0.5, 0.25], "per_token": [0.002, 0.003, 0.001]}
LAWS = {
    "affine": cq.AffineService(**AFFINE),
    "varying": cq.AffineService(**AFFINE, token_scv=[1.0, 0.0, 0.5]),
    "quadratic": cq.QuadraticService(**AFFINE, per_squared_token=[1e-7, 0.0, 2e-7]),
}
EXPONENTIAL = cq.SaturatingExponential(
    floor=[0.1, 0.2, 0.3], gain=[0.6, 0.7, 0.5], rate=[0.002, 0.004, 0.001]
)
POINTS = cq.PiecewiseLinear(
    tokens=[[0, 250, 500, 2000], [0, 100, 400, 1000], [0, 500, 1000, 3000]],
    accuracy=[[0.1, 0.4, 0.5, 0.6], [0.2, 0.6, 0.8, 0.85], [0.3, 0.6, 0.7, 0.75]],
)
CURVES = {
    "exponential": EXPONENTIAL,
    "power": cq.PowerLaw(floor=0.1, gain=[0.6, 0.7, 0.5], scale=200.0, exponent=[1.5, 1.0, 0.5]),
    "michaelis": cq.MichaelisMenten(
        floor=0.1, gain=[0.6, 0.7, 0.5], half_saturation=[300.0, 150.0, 600.0]
    ),
    "points": POINTS,
    "mixed": cq.MixedAccuracy(
        curves=[
            cq.PowerLaw(floor=0.1, gain=[0.6], scale=200.0, exponent=1.5),
            cq.MichaelisMenten(floor=0.1, gain=[0.7], half_saturation=150.0),
            cq.PiecewiseLinear(tokens=[[0, 500, 1000, 3000]], accuracy=[[0.3, 0.6, 0.7, 0.75]]),
        ],
        which=[0, 1, 2],
    ),
}
QUEUES = {
    "fifo": cq.FIFO(),
    "processor-sharing": cq.ProcessorSharing(),
    "batch-arrivals": cq.BatchArrivals(mean_size=2.0, size_second_moment=6.0),
    "vacations": cq.Vacations(mean=1.0, second_moment=1.5),
    "setups": cq.Setups(mean=1.0, second_moment=1.5),
}
CONSTRAINTS: dict[str, tuple[str, list[Any]]] = {
    "waiting": ("The mean waiting time has a cap", [cq.MaxMeanWaitingTime(1.0)]),
    "time": ("The mean system time has a cap", [cq.MaxMeanSystemTime(3.0)]),
    "tail": ("A long wait is to be rare", [cq.WaitingTimeTail(6.0, 0.05)]),
    "rate": ("The tokens per second have a cap", [cq.MaxTokenRate(200.0)]),
    "mean-accuracy": ("The mean accuracy has a floor", [cq.MinMeanAccuracy(0.72)]),
    "accuracy": ("The accuracy of one type has a floor", [cq.MinAccuracy(0.75, type=2)]),
    "several": (
        "Two constraints hold with equality, and a third does not matter",
        [cq.MinMeanAccuracy(0.68), cq.MaxTokenRate(240.0), cq.MaxMeanWaitingTime(4.0)],
    ),
}
DOMAINS: dict[str, tuple[str, Any]] = {
    "multiples": ("Tokens are multiples of 64", cq.Multiples(64)),
    "menu": ("Tokens come from a menu", cq.Menu([0, 128, 256, 512, 1024, 2048])),
    "zero-or-at-least": (
        "A type thinks for 1,024 tokens at least or not at all",
        cq.ZeroOrAtLeast(1024),
    ),
    "mixed": (
        "Each type has a domain of its own",
        [cq.Integers(), cq.Multiples(100), cq.Menu([0, 512, 1024])],
    ),
    "levels": (
        "One type has levels of effort in place of tokens",
        [cq.LevelMenu([0.1, 0.4, 0.6], [1.0, 1.5, 3.0], [1.0, 2.5, 9.5]), *[cq.Integers()] * 2],
    ),
}


def server(**changes: Any) -> cq.Instance:
    """Three types of task, whose numbers have few digits."""
    options: dict[str, Any] = {
        "arrival_rate": 0.25,
        "accuracy_weight": 50.0,
        "max_tokens": 5000.0,
        "probabilities": [0.5, 0.25, 0.25],
        "service": LAWS["affine"],
        "accuracy": EXPONENTIAL,
        "sources": ["all numbers: ours"],
    }
    return cq.Instance(**options | changes)


def catalogue() -> Iterator[tuple[str, str, cq.Instance]]:
    """Yield name, reason and instance; one that has both in it needs no reason here."""
    yield "exact-by-hand", "", exact_by_hand().instance
    for name in EXAMPLES:
        yield name, "", cq.load(INSTANCES / f"{name}.toml")
    for power in range(1, 7):
        reason = f"Heavy traffic: the server is idle for 10^-{power} of the time"
        instance = planted(5, utilization=1 - 10**-power, zero_share=0.2, seed=power).instance
        yield f"heavy-traffic-{power}", reason, instance
    for types, power in ((3, 2), (20, 20), (1000, 6)):
        reason = f"A rational optimum of {types:,} types, known exactly, at an idle fraction of"
        yield f"exact-{types}", f"{reason} 2^-{power}", exact(types, idle=2.0**-power).instance
    for types in (1, 10, 100, 1000):
        reason = f"{types:,} types of all roles, for what grows with their number"
        if types == 1:
            reason = "One type, the least that there is"
        instance = planted(types, zero_share=0.2, cap_share=0.2, seed=types).instance
        yield f"types-{types}", reason, instance
    yield from active_sets()
    yield from conditioning()
    yield from families()
    for name, (reason, constraints) in CONSTRAINTS.items():
        yield f"constraint-{name}", reason, server(constraints=constraints)
    for name, (reason, domains) in DOMAINS.items():
        yield f"domain-{name}", reason, server(domains=domains)
    yield from rounding()


def active_sets() -> Iterator[tuple[str, str, cq.Instance]]:
    """Every set of types at a bound, and bounds that hold with equality by themselves."""
    shares = {
        "all-at-zero": ("No type is worth a token", 1.0, 0.0),
        "all-at-cap": ("Every type would take more than it may", 0.0, 1.0),
        "bounds-mixed": ("Types at zero, at their caps and between", 0.3, 0.3),
    }
    for name, (reason, zeros, caps) in shares.items():
        instance = planted(8, zero_share=zeros, cap_share=caps, seed=1).instance
        yield name, reason, instance
    yield (
        "lower-bounds",
        "Lower bounds above zero, at one of them, and a box that is a point",
        server(min_tokens=[100.0, 700.0, 300.0], max_tokens=[5000.0, 5000.0, 300.0]),
    )
    for bound in ("max_tokens", "min_tokens"):
        found = exact(3, seed=7)
        at = "caps" if bound == "max_tokens" else "lower-bounds"
        yield (
            f"degenerate-{at}",
            f"Degenerate: what is best without {at.replace('-', ' ')} is at them, with price zero",
            found.instance.replace(**{bound: [float(count) for count in found.tokens]}),
        )
    yield (
        "straight-piece",
        "Straight curves under processor sharing: many optima, and the objective alone is proven",
        straight_piece(),
    )


def straight_piece() -> cq.Instance:
    """Two types with one slope, worth the price where the load is a half.

    There the price of a second is 1/y² = 4, and that of a token 4/1024 = 1/256: as much as
    64 (1/2)/8192. It is the load of the two together that is determined.
    """
    return cq.Instance(
        arrival_rate=0.25,
        accuracy_weight=64.0,
        max_tokens=8192.0,
        probabilities=[0.5, 0.5],
        queue=cq.ProcessorSharing(),
        service=cq.AffineService(base=[1.0, 1.0], per_token=1 / 1024),
        accuracy=cq.PiecewiseLinear(tokens=[[0, 8192]] * 2, accuracy=[[0.25, 0.75]] * 2),
        sources=["all numbers: ours"],
    )


def conditioning() -> Iterator[tuple[str, str, cq.Instance]]:
    """What is small, large, zero or twice there."""
    yield (
        "wide-spread",
        "Rates, times per token and shares over six orders of magnitude",
        planted(8, spread=1e6, seed=2).instance,
    )
    yield (
        "tiny-mix",
        "One type is one query in 10^12, so that its tokens hardly matter",
        server(probabilities=[0.5, 0.5 - 1e-12, 1e-12]),
    )
    yield (
        "wide-scales",
        "Units of very different size in one instance",
        cq.Instance(
            arrival_rate=0.002,
            accuracy_weight=4e4,
            probabilities=[0.01, 0.09, 0.2, 0.7],
            min_tokens=[0.0, 10.0, 0.0, 0.0],
            max_tokens=[1e6, 1e5, 50.0, 1e6],
            importance=[1.0, 100.0, 0.01, 1.0],
            service=cq.AffineService(
                base=[100.0, 0.0, 1e-3, 1e-6], per_token=[0.1, 1e-2, 1.0, 1e-6]
            ),
            accuracy=cq.SaturatingExponential(
                floor=[0.0, 0.5, 0.2, 1e-6],
                gain=[1.0, 1e-3, 0.7, 0.9],
                rate=[1e-3, 1e-4, 0.5, 1e-6],
            ),
            sources=["all numbers: ours"],
        ),
    )
    yield "light-traffic", "Hardly ever a query waits", planted(5, utilization=1e-3).instance
    yield (
        "no-base-time",
        "No query takes time but for its tokens",
        server(service=cq.AffineService(base=0.0, per_token=AFFINE["per_token"])),
    )
    yield (
        "nothing-to-gain",
        "One type has no importance, and one nothing to gain",
        server(
            importance=[0.0, 1.0, 2.0],
            accuracy=cq.SaturatingExponential(
                floor=[0.1, 0.9, 0.3], gain=[0.6, 0.0, 0.5], rate=[0.002, 0.004, 0.001]
            ),
        ),
    )
    yield "no-accuracy-weight", "Accuracy is worth nothing", server(accuracy_weight=0.0)
    twice = [0, 1, 2, 0]
    yield (
        "split-type",
        "A type written as two of the same kind",
        server(
            probabilities=[0.25, 0.25, 0.25, 0.25],
            service=cq.AffineService(
                **{key: [column[k] for k in twice] for key, column in AFFINE.items()}
            ),
            accuracy=cq.SaturatingExponential(
                floor=EXPONENTIAL.floor[twice],
                gain=EXPONENTIAL.gain[twice],
                rate=EXPONENTIAL.rate[twice],
            ),
        ),
    )


def families() -> Iterator[tuple[str, str, cq.Instance]]:
    """Every queue with two laws and two curves, and every curve with two queues."""
    laws, curves = list(LAWS), list(CURVES)
    for (i, queue), j in product(enumerate(QUEUES), range(2)):
        law, curve = laws[(i + j) % len(laws)], curves[(i + 2 * j) % len(curves)]
        reason = f"Queue {queue} with {law} service times and {curve} accuracy"
        instance = server(queue=QUEUES[queue], service=LAWS[law], accuracy=CURVES[curve])
        yield f"{queue}-{law}-{curve}", reason, instance


def rounding() -> Iterator[tuple[str, str, cq.Instance]]:
    """Few tokens that take long, so that whole ones differ much from the others."""
    few: dict[str, Any] = {
        "accuracy_weight": 400.0,
        "max_tokens": 64.0,
        "accuracy": cq.SaturatingExponential(floor=0.1, gain=0.8, rate=[0.5, 0.4, 0.3]),
    }
    yield (
        "rounding-loses",
        "The nearest whole tokens lose a sixth of the objective, and others hardly any",
        server(
            arrival_rate=0.4375,
            service=cq.AffineService(base=0.25, per_token=[0.5, 0.75, 0.25]),
            **few,
        ),
    )
    yield (
        "rounding-unstable",
        "The nearest whole tokens are unstable",
        server(
            arrival_rate=0.5, service=cq.AffineService(base=0.25, per_token=[1.0, 0.75, 0.5]), **few
        ),
    )


def named(name: str, reason: str, instance: cq.Instance) -> cq.Instance:
    """Return an instance with its name, and its reason as the first line of the description."""
    if not reason:
        return instance
    rest = f"\n\n{instance.description}" if instance.description else ""
    return instance.replace(name=name, description=f"{reason}.{rest}")


def main() -> None:
    """Write the records that are not there."""
    for name, reason, instance in catalogue():
        path = library.path_of(name)
        if path.exists():
            continue
        began = time.perf_counter()
        has_levels = instance.domains is not None and instance.domains.has_levels
        is_whole = instance.size <= MOST_TYPES and not has_levels
        record = cq.prove(named(name, reason, instance), integer=is_whole)
        proven = time.perf_counter()
        found = cq.verify(record)
        write_values(path, record)
        with RELEASED.open("a", encoding="utf-8") as released:
            released.write(f"{name} {record['sha256']}\n")
        print(
            f"{name:34} {instance.size:5} types, tokens {found.proves_tokens!s:5} "
            f"whole {is_whole!s:5} proven in {proven - began:6.2f} s, "
            f"verified in {time.perf_counter() - proven:5.2f} s"
        )


if __name__ == "__main__":
    main()
