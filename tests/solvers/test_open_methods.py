"""Methods of one's own: callables, what they are called with, and whatever they return."""

from __future__ import annotations

import asyncio
import copy
import functools
import json
import pickle
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import cvxpy as cp
import numpy as np
import pytest

import cvxqueue as cq
from cvxqueue.numerics.arrays import FloatArray
from cvxqueue.solvers.registry import METHODS, find_method
from tests.instances import CATALOGUE

SERVER = CATALOGUE["qwen3-8b-h100"].instance
OPTIMUM = cq.solve(SERVER)
CAPPED = SERVER.replace(constraints=[cq.MaxMeanSystemTime(0.9 * OPTIMUM.mean_system_time)])
CAPPED_OPTIMUM = cq.solve(CAPPED)
# A stranger does not ask what is allowed.
ANSWER: Any = cq.Answer


def finds_it(instance: cq.Instance) -> FloatArray:
    """The optimum, as an array that its owner may write to."""
    return np.array(cq.solve(instance).tokens)


def giving(*answers: Any) -> Callable[..., Any]:
    """A callable that returns something, or yields several."""

    def given(instance: cq.Instance) -> Any:
        return answers[0] if len(answers) == 1 else iter(answers)

    return given


def solved(method: Any, instance: cq.Instance = SERVER, **options: Any) -> cq.Solution:
    return cq.solve(instance, method, on_failure="return", **options)


# What a method may be


def best_responses(instance: cq.Instance, start: Any = None, damping: float = 0.5) -> Iterator[Any]:
    tokens = instance.lower if start is None else start
    while True:
        point = instance.evaluate(tokens)
        yield tokens
        tokens = tokens + damping * (point.response - tokens)


class Descent:
    """A method with a state of its own."""

    def __init__(self, damping: float) -> None:
        self.damping = damping

    def __call__(self, instance: cq.Instance) -> Iterator[Any]:
        return best_responses(instance, damping=self.damping)

    def run(self, instance: cq.Instance) -> Iterator[Any]:
        return self(instance)


class Iterates:
    """An iterator that is no generator, made by calling its class."""

    def __init__(self, instance: cq.Instance) -> None:
        self.left = [finds_it(instance), np.zeros(instance.size)]

    def __iter__(self) -> Iterates:
        return self

    def __next__(self) -> FloatArray:
        if not self.left:
            raise StopIteration
        return self.left.pop()


def renamed(name: str) -> Callable[..., Any]:
    half = functools.partial(best_responses, damping=0.25)
    half.__name__ = name  # type: ignore[attr-defined]
    return half


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (finds_it, "finds_it"),
        (lambda instance: finds_it(instance), "<lambda>"),
        (lambda instance: finds_it(instance).tolist(), "<lambda>"),
        (lambda instance: cq.Answer(finds_it(instance)), "<lambda>"),
        (best_responses, "best_responses"),
        (functools.partial(best_responses, damping=0.25), "best_responses"),
        (functools.partial(functools.partial(best_responses), damping=0.25), "best_responses"),
        (renamed("a quarter of the way"), "a quarter of the way"),
        (Descent(0.5), "Descent"),
        (Descent(0.5).run, "run"),
        (Iterates, "Iterates"),
        (functools.lru_cache(finds_it), "finds_it"),
    ],
    ids=[
        *("function", "array", "list", "Answer", "generator", "partial", "partial of a partial"),
        *("renamed", "object", "bound method", "class", "cached"),
    ],
)
def test_a_callable_is_a_method_of_its_own_name(method: Any, name: str) -> None:
    instance = CATALOGUE["fifo-affine-exponential"].instance
    solution = cq.solve(instance, method)
    assert (solution.method, solution.is_optimal) == (name, True)
    assert solution.ended is cq.Ended.CONVERGED
    assert solution.objective <= cq.solve(instance).upper_bound
    np.testing.assert_array_equal(
        solution.tokens, cq.certify(instance, solution.tokens).tokens, strict=True
    )


def test_a_callable_without_a_name_has_that_of_its_class() -> None:
    class Nameless:
        __name__ = 3

        def __call__(self, instance: cq.Instance) -> FloatArray:
            return finds_it(instance)

    assert solved(Nameless()).method == "Nameless"


@pytest.mark.parametrize("name", METHODS)
def test_a_callable_is_not_taken_for_a_method_of_the_package(name: str) -> None:
    def method(instance: cq.Instance) -> FloatArray:
        return finds_it(instance)

    method.__name__ = name
    for call in (cq.solve, lambda instance, one: cq.cross_validate(instance, [one])):
        with pytest.raises(cq.InvalidInputError, match=rf"a callable named '{name}' .* rename it"):
            call(SERVER, method)
    # What is advised is done.
    method.__name__ = f"my {name}"
    assert cq.solve(SERVER, method).method == f"my {name}"
    assert cq.solve(SERVER, name).method == name


def test_the_methods_of_the_package_are_what_they_were() -> None:
    before = cq.methods()
    cq.solve(SERVER, finds_it)
    assert cq.methods() == before
    assert not any(method.is_open for method in before)


@pytest.mark.parametrize(
    "method",
    [None, 3, ["newton"], finds_it(SERVER), cq.methods()[0], b"f"],
    ids=lambda value: type(value).__name__,
)
def test_what_is_neither_a_name_nor_callable_is_refused(method: Any) -> None:
    with pytest.raises(cq.InvalidInputError, match=r"method must be a name .* or a callable"):
        cq.solve(SERVER, method)


# What it returns


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (5.0, r"tokens must have shape \(5,\).*got shape \(\)"),
        (512, r"got shape \(\)"),
        ([1.0, 2.0], r"got shape \(2,\)"),
        (np.ones((1, 5)), r"got shape \(1, 5\)"),
        ([], r"got shape \(0,\)"),
        ([OPTIMUM.tokens], r"got shape \(1, 5\)"),
        ([[1.0, 2.0], [3.0]], r"must be numbers.*\[\[1\.0, 2\.0\], \[3\.0\]\]"),
        ([True] * 5, "must be numbers"),
        (["1"] * 5, "must be numbers"),
        ([1j] * 5, "must be numbers"),
        ("optimal", "must be numbers of .* got 'optimal'"),
        ({"tokens": [1.0] * 5}, "must be numbers of .* got {'tokens'"),
        ((OPTIMUM.tokens, 3), "must be numbers"),
        (OPTIMUM, r"got Solution\(.*; hand over its tokens"),
        (SERVER.evaluate(OPTIMUM.tokens), r"got Evaluation\(.*; hand over its tokens"),
        (OPTIMUM.certificate, r"got Certificate\(.*; hand over its tokens"),
        (cp.Variable(5), r"got Variable\(.*; hand over its value"),
        (cq.Solution, "got <class 'cvxqueue.solution.Solution'>"),
        (finds_it, "got <function finds_it"),
        (ANSWER(ANSWER(OPTIMUM.tokens)), r"got Answer\("),
        (ANSWER(OPTIMUM), r"got Solution\("),
        (iter([3.0]), r"got shape \(\)"),
        (map(float, OPTIMUM.tokens), r"got shape \(\)"),
        (iter([OPTIMUM.tokens - 1.0, OPTIMUM]), r"got Solution\("),
    ],
    ids=[
        *("number", "whole number", "short", "matrix", "empty", "list of one", "ragged", "truths"),
        *("texts", "complex", "text", "dict", "tuple", "Solution", "Evaluation", "Certificate"),
        *("variable", "class", "function", "Answer in an Answer", "Solution in an Answer"),
        *("iterator of a number", "iterator of numbers", "second of an iterator"),
    ],
)
def test_what_is_no_allocation_is_refused(returned: Any, says: str) -> None:
    with pytest.raises(
        cq.InvalidInputError,
        match=rf"(?s)method 'given' must return or yield tokens or a cvxqueue\.Answer: .*{says}",
    ):
        cq.solve(SERVER, giving(returned))


def test_coroutines_are_refused() -> None:
    async def waits(instance: cq.Instance) -> FloatArray:
        await asyncio.sleep(0.0)
        return finds_it(instance)

    async def waits_and_yields(instance: cq.Instance) -> Any:
        yield finds_it(instance)

    methods: list[tuple[Any, str]] = [(waits, "coroutine"), (waits_and_yields, "async_generator")]
    for method, got in methods:
        with pytest.raises(cq.InvalidInputError, match=f"{method.__name__}' must .* <{got} object"):
            cq.solve(SERVER, method)


NAN = np.full(5, np.nan)


@pytest.mark.parametrize(
    "failed",
    [
        *(None, NAN, np.where(np.arange(5) == 2, np.inf, 100.0), [1.0, 2.0, None, 4.0, 5.0]),
        np.ma.masked_array(OPTIMUM.tokens, [False, True, False, False, False]),
        *(cp.Variable(5).value, ANSWER(None, multipliers=[None], iterations=3)),
        cq.Answer(NAN, backend_status="it fell over"),
    ],
    ids=["None", "NaN", "infinite", "a hole", "masked", "no value", "Answer", "words"],
)
def test_no_number_is_a_failure_that_says_what_came(failed: Any) -> None:
    solution = solved(giving(failed))
    assert solution.status is cq.Status.NUMERICAL_ERROR
    np.testing.assert_array_equal(solution.tokens, SERVER.lower)
    words = getattr(failed, "backend_status", "") or "given returned"
    assert solution.backend_status.startswith(words)
    # What was good before stays the answer, and nothing that comes after is asked for.
    later = solved(giving(OPTIMUM.tokens + 1.0, failed, OPTIMUM.tokens))
    assert later.status is cq.Status.NUMERICAL_ERROR
    np.testing.assert_array_equal(later.tokens, OPTIMUM.tokens + 1.0)


@pytest.mark.parametrize(
    "returned",
    [
        *(OPTIMUM.tokens.astype(int), OPTIMUM.tokens.astype(np.float32), OPTIMUM.tokens[::-1]),
        *(SERVER.max_tokens + 1.0, -OPTIMUM.tokens, np.full(5, 1e308), np.full(5, -1e308)),
        *(np.zeros(5), SERVER.lower, np.full(5, 100), [0, 10**400, 0, 0, 0][:1] * 5),
    ],
    ids=[
        *("ints", "float32", "reversed", "above", "negative", "huge", "lost"),
        *("zeros", "ours", "whole", "small"),
    ],
)
@pytest.mark.parametrize("instance", [SERVER, CAPPED], ids=["free", "capped"])
def test_any_allocation_is_graded_by_the_certificate_alone(
    instance: cq.Instance, returned: Any
) -> None:
    best = OPTIMUM if instance is SERVER else CAPPED_OPTIMUM
    for method in (giving(returned), giving(returned, returned)):
        solution = solved(method, instance)
        assert solution.is_optimal == (solution.relative_gap <= 1e-9)
        if solution.is_optimal:
            assert np.max(np.abs(solution.tokens - best.tokens)) < 1e-3
            continue
        assert (solution.status is cq.Status.STALLED) or not instance.evaluate(
            instance.model.boxed(np.asarray(returned, dtype=float))
        ).is_stable
        # They lie in the box and keep the constraints, and the optimum lies where the proof says.
        assert cq.certify(instance, solution.tokens).is_feasible
        assert solution.objective <= best.upper_bound
        assert best.objective <= solution.upper_bound
        bounds = solution.token_bounds
        assert np.all((bounds[:, 0] <= best.tokens) & (best.tokens <= bounds[:, 1]))


def test_tokens_outside_the_box_are_moved_into_it_as_those_of_any_method() -> None:
    narrow = SERVER.replace(max_tokens=1000.0)
    solution = cq.solve(narrow, giving(OPTIMUM.tokens + 10.0), tolerance=0.01)
    assert solution.tokens.max() == 1000.0
    assert not cq.certify(narrow, OPTIMUM.tokens + 10.0).is_feasible


def test_unstable_tokens_end_it() -> None:
    lost = giving(np.full(5, 30_000.0))
    with pytest.raises(cq.ConvergenceError, match=r"'diverged' .*; use method 'newton'\)"):
        cq.solve(SERVER, lost)
    kept = solved(giving(OPTIMUM.tokens + 1.0, np.full(5, 30_000.0)))
    assert kept.status is cq.Status.DIVERGED
    np.testing.assert_array_equal(kept.tokens, OPTIMUM.tokens + 1.0)


def test_a_method_of_ones_own_is_not_told_to_change_the_instance() -> None:
    stalled = solved(giving(np.zeros(5)))
    assert stalled.relative_gap > 0.01
    assert stalled.advice == "no further progress; use method 'newton'"
    near = solved(giving(OPTIMUM.tokens + 1.0))
    assert near.advice == "no further progress; loosen the tolerance, or use method 'newton'"


def test_a_generator_that_never_yields_leaves_the_least_tokens() -> None:
    solution = solved(giving(iter(())))
    assert (solution.status, solution.iterations) == (cq.Status.STALLED, 0)
    np.testing.assert_array_equal(solution.tokens, SERVER.lower)
    assert solution.history == ()


def test_what_the_caller_changes_later_changes_nothing() -> None:
    array, multipliers = np.array(CAPPED_OPTIMUM.tokens), np.ones(1)
    solution = solved(giving(cq.Answer(array, multipliers)), CAPPED)
    before = (pickle.dumps(solution), solution.objective, solution.gap)
    array[:], multipliers[:] = -1.0, -1.0
    assert array.flags.writeable
    assert (pickle.dumps(solution), solution.objective, solution.gap) == before
    assert not solution.tokens.flags.writeable


def test_a_generator_may_yield_one_array_again_and_again() -> None:
    def in_place(instance: cq.Instance) -> Iterator[FloatArray]:
        tokens = np.zeros(instance.size)
        for share in (0.5, 1.0, 2.0):
            tokens[:] = share * OPTIMUM.tokens
            yield tokens

    seen = []

    def record_tokens(row: cq.Iterate) -> bool:
        seen.append(row.tokens)
        return False

    solution = solved(in_place, callback=record_tokens)
    assert solution.is_optimal
    np.testing.assert_array_equal(seen, [0.5 * OPTIMUM.tokens, OPTIMUM.tokens])


def test_the_instance_cannot_be_altered() -> None:
    def meddles(instance: cq.Instance) -> FloatArray:
        for array in (instance.probabilities, instance.max_tokens, instance.lower):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0.5
        with pytest.raises(AttributeError):
            instance.arrival_rate = 0.0  # type: ignore[misc]
        return finds_it(instance)

    assert cq.solve(SERVER, meddles).instance == SERVER


# Answers with more than tokens


def test_what_an_answer_says_beside_its_tokens_is_kept() -> None:
    words = ANSWER(OPTIMUM.tokens, None, 17, 0.0, "SCS: optimal")
    solution = cq.solve(SERVER, giving(words))
    assert (solution.iterations, solution.backend_status) == (17, "SCS: optimal")
    several = solved(giving(words._replace(tokens=np.zeros(5)), words))
    assert several.iterations == 34
    assert [row.iteration for row in several.history] == [17, 34]
    # Of words that are no text, the text is kept.
    assert cq.solve(SERVER, giving(words._replace(backend_status=3))).backend_status == "3"


@pytest.mark.parametrize("seconds", [1e-9, 1e9])
def test_no_more_time_was_spent_than_passed(seconds: float) -> None:
    solution = cq.solve(SERVER, giving(cq.Answer(OPTIMUM.tokens, setup_time=seconds)))
    assert 0.0 < solution.setup_time <= seconds
    assert solution.solve_time >= 0.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"iterations": -1}, "iterations = -1 must be a whole number from 0"),
        ({"iterations": 2.5}, "iterations = 2.5 must be a whole number"),
        ({"iterations": None}, "iterations must be one number, got None"),
        ({"iterations": 10**400}, "iterations must be one number, got 10000"),
        ({"setup_time": -1.0}, r"setup_time = -1\.0 must be ≥ 0 \(seconds\)"),
        ({"setup_time": np.nan}, "setup_time = nan must be finite"),
        ({"claims_optimal": "yes"}, "claims_optimal must be True, False or None, got 'yes'"),
        ({"multipliers": [-1.0]}, r"multipliers\[0\] = -1\.0 must be ≥ 0"),
        ({"multipliers": [np.nan]}, r"multipliers\[0\] = nan must be finite"),
        ({"multipliers": np.inf}, "multipliers = inf must be finite"),
        ({"multipliers": [1.0, 2.0]}, "each of the 1 constraints on all types together, got 2"),
        ({"multipliers": [[1.0]]}, r"multipliers .* got an array of shape \(1, 1\)"),
        ({"multipliers": [None]}, r"multipliers\[0\] is missing"),
        ({"multipliers": []}, "multipliers must have at least one entry"),
        ({"multipliers": "dear"}, "multipliers must be .* numbers, got 'dear'"),
        ({"multipliers": np.ma.masked_array([1.0], [True])}, r"multipliers\[0\] is missing"),
    ],
)
def test_what_an_answer_cannot_say_is_refused(changes: dict[str, Any], says: str) -> None:
    answer = cq.Answer(CAPPED_OPTIMUM.tokens)._replace(**changes)
    with pytest.raises(cq.InvalidInputError, match=rf"method 'given' must return .*: .*{says}"):
        cq.solve(CAPPED, giving(answer))


def test_where_nothing_couples_the_types_there_are_no_multipliers() -> None:
    assert cq.solve(SERVER, giving(cq.Answer(OPTIMUM.tokens, multipliers=np.zeros(0)))).is_optimal
    with pytest.raises(cq.InvalidInputError, match="each of the 0 constraints on all types"):
        cq.solve(SERVER, giving(cq.Answer(OPTIMUM.tokens, multipliers=[1.0])))


@pytest.mark.parametrize("value", [0.0, 1e-300, 0.5, 1e3, 1e30, 1e300, 1e308])
@pytest.mark.parametrize("shift", [0.0, -1.0, -500.0, 50.0])
def test_multipliers_can_make_a_proof_worse_and_never_wrong(value: float, shift: float) -> None:
    tokens = np.maximum(CAPPED_OPTIMUM.tokens + shift, 0.0)
    one, none = cq.Answer(tokens, [value]), cq.Answer(np.zeros(5), [value])
    for answers in ([one], [one, none], [none, one]):
        solution = solved(giving(*answers), CAPPED)
        assert solution.objective <= CAPPED_OPTIMUM.upper_bound
        assert CAPPED_OPTIMUM.objective <= solution.upper_bound < np.inf
        bounds = solution.token_bounds
        optimum = CAPPED_OPTIMUM.tokens
        assert np.all((bounds[:, 0] <= optimum) & (optimum <= bounds[:, 1]))
        # A good allocation is not given up for its multipliers: others are looked for in the end.
        alone = solved(giving(tokens), CAPPED)
        assert solution.gap <= alone.gap * (1.0 + 1e-9)
        assert solution.is_optimal == (shift == 0.0)


def test_where_constraints_miss_each_other_nothing_is_claimed() -> None:
    both = CAPPED.replace(
        constraints=[
            cq.MaxMeanSystemTime(0.3 * OPTIMUM.mean_system_time),
            cq.MinMeanAccuracy(OPTIMUM.mean_accuracy),
        ]
    )
    solution = solved(giving(np.full(5, 100.0), OPTIMUM.tokens), both)
    assert (solution.objective, solution.gap) == (-np.inf, np.inf)
    assert solution.status is cq.Status.STALLED
    assert "none may exist; relax a constraint" in solution.advice
    np.testing.assert_array_equal(solution.tokens, both.lower)


def test_good_multipliers_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def unused(*arguments: Any) -> Any:
        raise AssertionError("estimated")

    answer = cq.Answer(CAPPED_OPTIMUM.tokens, CAPPED_OPTIMUM.certificate.multipliers)
    with monkeypatch.context() as without:
        without.setattr("cvxqueue.solvers.driver.estimated_multipliers", unused)
        assert cq.solve(CAPPED, giving(answer)).is_optimal
        with pytest.raises(AssertionError, match="estimated"):
            cq.solve(CAPPED, giving(answer.tokens))


# What it is called with


def record(seen: dict[str, Any], **settings: Any) -> FloatArray:
    seen.update(settings)
    return OPTIMUM.tokens


def test_settings_reach_it_by_name() -> None:
    seen: dict[str, Any] = {}

    def takes(instance: cq.Instance, step: float, *, metric: str = "l2") -> FloatArray:
        return record(seen, step=step, metric=metric)

    cq.solve(SERVER, takes, step=0.5)
    assert seen == {"step": 0.5, "metric": "l2"}
    cq.solve(SERVER, functools.partial(takes, step=0.1), metric="l1")
    assert seen == {"step": 0.1, "metric": "l1"}
    # These are arguments of what takes the methods of the package, and nothing of the caller's.
    names = {"name": 1, "limits": 2, "prices": 3, "callable": 4, "settings": 5}

    def names_them(instance: cq.Instance, limits: int = 0, prices: int = 0) -> FloatArray:
        return record(seen, limits=limits, prices=prices)

    cq.solve(SERVER, names_them, limits=7)
    assert (seen["limits"], seen["prices"]) == (7, 0)

    def takes_any(problem: cq.Instance, **settings: Any) -> FloatArray:
        return record(seen, **settings)

    seen.clear()
    cq.solve(SERVER, takes_any, **names)  # type: ignore[arg-type]
    assert seen == names


def needs_nothing() -> FloatArray:
    return finds_it(SERVER)


def needs_more(instance: cq.Instance, step: float) -> FloatArray:
    return finds_it(instance)


def by_place(instance: cq.Instance, step: float = 1.0, /) -> FloatArray:
    return finds_it(instance)


def steps(instance: cq.Instance, step_size: float = 1.0) -> FloatArray:
    return finds_it(instance)


@pytest.mark.parametrize(
    ("method", "options", "says"),
    [
        (steps, {"stepsize": 1.0}, "'steps' has no option 'stepsize': did you mean 'step_size'"),
        (steps, {"tolerence": 1e-3}, "did you mean 'tolerance'"),
        (finds_it, {"damping": 0.5}, "'finds_it' has no option 'damping': known: callback"),
        (steps, {"instanse": SERVER}, "no option 'instanse'"),
        (by_place, {"step": 1.0}, "no option 'step'"),
        (needs_more, {}, "'needs_more' cannot be called .* nothing else: .*required.*'step'"),
        (needs_nothing, {}, "'needs_nothing' cannot be called .*: too many positional"),
        (finds_it, {"start": OPTIMUM.tokens}, "'finds_it' takes no start; leave it out"),
        (finds_it, {"time_limit": 3.0}, "'finds_it' is a callable, which no time_limit can"),
        (finds_it, {"time_limit": 0.0}, r"time_limit = 0\.0 must be > 0"),
        (finds_it, {"tolerance": 1.0}, "tolerance"),
        (finds_it, {"max_iterations": 0}, "max_iterations"),
        (finds_it, {"callback": 3}, "callback must be callable"),
        (finds_it, {"on_failure": "ignore"}, "on_failure"),
    ],
)
def test_what_it_cannot_take_is_refused_by_name(
    method: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(cq.InvalidInputError, match=says) as refused:
        cq.solve(SERVER, method, **options)
    assert "time_limit, " not in str(refused.value)


def test_nothing_runs_where_no_allocation_is_stable() -> None:
    called: list[cq.Instance] = []
    for instance, error in (
        (SERVER.replace(arrival_rate=9.0), cq.UnstableQueueError),
        (SERVER.replace(constraints=[cq.MaxMeanSystemTime(1e-6)]), cq.InfeasibleError),
    ):
        with pytest.raises(error):
            cq.solve(instance, lambda instance: called.append(instance))
    assert not called


def test_a_start_goes_to_whom_it_concerns() -> None:
    seen: dict[str, Any] = {}

    def starts(instance: cq.Instance, start: Any = None) -> FloatArray:
        return record(seen, start=start)

    def takes_any(instance: cq.Instance, **settings: Any) -> FloatArray:
        return record(seen, **settings)

    for method in (starts, takes_any):
        for start, tokens in (
            (OPTIMUM, OPTIMUM.tokens),
            (OPTIMUM.tokens,) * 2,
            (100.0, [100.0] * 5),
        ):
            cq.solve(SERVER, method, start=start)
            np.testing.assert_array_equal(seen.pop("start"), tokens)
        with pytest.raises(cq.InvalidInputError, match="start makes the queue unstable"):
            cq.solve(SERVER, method, start=30_000.0)
        assert seen == {}
        # An answer that is no longer stable is no start.
        busy = SERVER.replace(arrival_rate=0.15)
        assert not busy.evaluate(OPTIMUM.tokens).is_stable
        solved(method, busy, start=OPTIMUM)
        assert seen.pop("start", None) is None


def test_limits_that_were_given_reach_a_method_that_has_them() -> None:
    seen: dict[str, Any] = {}

    def limited(
        instance: cq.Instance, tolerance: float = 0.5, max_iterations: int = 7
    ) -> FloatArray:
        return record(seen, tolerance=tolerance, max_iterations=max_iterations)

    def takes_any(instance: cq.Instance, **settings: Any) -> FloatArray:
        return record(seen, **settings)

    assert cq.solve(SERVER, limited).tolerance == 1e-9
    assert seen == {"tolerance": 0.5, "max_iterations": 7}
    cq.solve(SERVER, limited, tolerance=1e-3, max_iterations=9)
    assert seen == {"tolerance": 1e-3, "max_iterations": 9}
    seen.clear()
    cq.solve(SERVER, takes_any, tolerance=1e-3, max_iterations=9)
    assert seen == {}


def test_a_callable_that_says_nothing_of_itself_is_called() -> None:
    seen: dict[str, Any] = {}

    class Compiled:
        __signature__ = "unknown"

        def __call__(self, instance: cq.Instance, **settings: Any) -> FloatArray:
            return record(seen, **settings)

    cq.solve(SERVER, Compiled(), step=0.5)
    assert seen == {"step": 0.5}
    with pytest.raises(TypeError, match="not iterable"):
        solved(dict)


# Limits


def crawls(instance: cq.Instance) -> Iterator[FloatArray]:
    while True:
        yield np.full(instance.size, 100.0)


def idles(instance: cq.Instance) -> Iterator[cq.Answer]:
    while True:
        yield cq.Answer(np.full(instance.size, 100.0), iterations=0)


@pytest.mark.parametrize(("method", "counted"), [(crawls, 5), (idles, 0)])
def test_one_that_never_ends_is_ended(method: Any, counted: int) -> None:
    solution = solved(method, max_iterations=5)
    assert solution.status is cq.Status.ITERATION_LIMIT
    assert (len(solution.history), solution.iterations) == (5, counted)
    stopped = solved(method, callback=lambda row: row.seconds >= 0.0)
    assert (stopped.status, len(stopped.history)) == (cq.Status.STOPPED, 1)
    # Where nobody gave a limit, there is one all the same.
    assert find_method(method).max_iterations == 10_000


def test_a_tolerance_ends_it_when_it_is_reached() -> None:
    loose, tight = (cq.solve(SERVER, Descent(0.1), tolerance=it) for it in (1e-2, 1e-9))
    assert loose.is_optimal
    assert tight.is_optimal
    assert loose.iterations < tight.iterations


def test_a_method_that_is_left_can_clean_up() -> None:
    events = []

    def cleans_up(instance: cq.Instance) -> Iterator[FloatArray]:
        try:
            while True:
                yield np.full(instance.size, 100.0)
        finally:
            events.append("closed")

    kept = cleans_up(SERVER)
    solution = solved(lambda instance: kept, max_iterations=3)
    assert (events, solution.iterations) == (["closed"], 3)

    def breaks(row: cq.Iterate) -> bool:
        raise OutOfLuckError("luck")

    # While the error still holds on to all that led to it.
    with pytest.raises(OutOfLuckError) as held:
        solved(cleans_up, callback=breaks)
    assert (events, held.value.args) == (["closed", "closed"], ("luck",))


def test_settings_of_numpy_stay_with_those_who_made_them() -> None:
    inside = []

    def careful(instance: cq.Instance) -> Iterator[FloatArray]:
        inside.append(np.geterr()["over"])
        with np.errstate(over="call"):
            for _ in range(3):
                yield np.full(instance.size, 100.0)
                inside.append(np.geterr()["over"])

    with np.errstate(over="raise"):
        solved(careful)
        assert np.geterr()["over"] == "raise"
        # Left in the middle, it takes its settings back all the same.
        solved(careful, max_iterations=2)
    assert inside == ["raise", "call", "call", "call", "raise", "call"]


# Errors of its own


class OutOfLuckError(Exception):
    """What the package knows nothing of."""


@pytest.mark.parametrize(
    "error",
    [OutOfLuckError("luck"), KeyError("k"), KeyboardInterrupt(), cq.InvalidInputError("mine")],
    ids=lambda error: type(error).__name__,
)
def test_what_it_raises_is_raised(error: BaseException) -> None:
    def raises(instance: cq.Instance) -> FloatArray:
        raise error

    def raises_later(instance: cq.Instance) -> Iterator[FloatArray]:
        yield instance.lower
        raise error

    for method in (raises, raises_later):
        with pytest.raises(type(error)) as caught:
            solved(method)
        assert caught.value is error
        assert method.__name__ in [entry.name for entry in caught.traceback]
        with pytest.raises(type(error)):
            cq.cross_validate(SERVER, ["newton", method])
    # Nothing of it is left.
    assert cq.solve(SERVER).is_optimal


def test_an_answer_that_is_not_certified_inside_is_its_own_affair() -> None:
    def gives_up(instance: cq.Instance) -> FloatArray:
        return cq.solve(instance, max_iterations=1).tokens

    with pytest.raises(cq.ConvergenceError, match="method 'newton' stopped"):
        solved(gives_up)


def test_a_back_end_that_fails_is_a_status() -> None:
    def fails(instance: cq.Instance) -> FloatArray:
        raise cq.BackendError("no licence") from OSError("license server")

    def fails_later(instance: cq.Instance) -> Iterator[FloatArray]:
        yield OPTIMUM.tokens + 1.0
        raise cq.BackendError("no licence")

    for method, tokens, words in (
        (fails, SERVER.lower, "OSError: no licence"),
        (fails_later, OPTIMUM.tokens + 1.0, "BackendError: no licence"),
    ):
        solution = solved(method)
        assert (solution.status, solution.backend_status) == (cq.Status.NUMERICAL_ERROR, words)
        np.testing.assert_array_equal(solution.tokens, tokens)
        with pytest.raises(cq.ConvergenceError, match="see backend_status"):
            cq.solve(SERVER, method)


# The solution, and several of them


def test_a_solution_of_a_callable_comes_back_as_it_was() -> None:
    solution = cq.solve(SERVER, lambda instance: cq.Answer(finds_it(instance), None, 3))
    for twin in (pickle.loads(pickle.dumps(solution)), copy.deepcopy(solution)):
        assert twin == solution
        assert (twin.method, str(twin)) == ("<lambda>", str(solution))
    assert str(solution).startswith("<lambda>: optimal")
    data = json.loads(json.dumps(solution.to_dict()))
    assert (data["method"], data["status"]) == ("<lambda>", "optimal")
    again = cq.solve(SERVER.replace(arrival_rate=0.052), start=solution)
    assert again.is_optimal


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_callable_is_as_good_as_a_name(name: str) -> None:
    instance, _, _, objective, _ = CATALOGUE[name]
    comparison = cq.cross_validate(instance, ["newton", finds_it, best_responses_until_it_pays])
    assert comparison.outcome in ("agree", "undecided")
    own = comparison.solutions[1]
    assert own.is_optimal
    for solution in comparison.solutions:
        assert Fraction(solution.objective) <= objective <= Fraction(solution.upper_bound)


def best_responses_until_it_pays(instance: cq.Instance) -> Iterator[FloatArray]:
    """A short path, from inside the stability region towards the optimum and not to it."""
    best = cq.solve(instance).tokens
    for share in (0.0, 0.5, 0.9):
        yield instance.lower + share * (best - instance.lower)


def test_callables_and_names_are_compared_in_one_table() -> None:
    names: list[str] = []
    comparison = cq.cross_validate(
        SERVER, [finds_it, "newton", Descent(0.1)], tolerance=1e-6, progress=names.append
    )
    assert names == ["finds_it", "newton", "Descent"]
    assert [solution.method for solution in comparison.solutions] == names
    assert comparison.outcome == "agree"
    assert {solution.tolerance for solution in comparison.solutions} == {1e-6}
    for name in names:
        assert f"\n{name} " in str(comparison)
    assert [row["method"] for row in comparison.to_dict()["methods"]] == names
    poor = cq.cross_validate(SERVER, ["newton", giving(np.full(5, 100.0))])
    assert (poor.outcome, poor.best.method) == ("undecided", "newton")


@pytest.mark.parametrize(
    ("methods", "options", "says"),
    [
        (["newton", finds_it, finds_it], {}, "2 of the name 'finds_it'.*__name__"),
        ([giving(1.0), giving(2.0)], {}, "2 of the name 'given'"),
        (["newton", "newton"], {}, "2 of the name 'newton'"),
        (["newton", finds_it], {"time_limit": 3.0}, "'finds_it' is a callable, which no time_lim"),
        (finds_it, {}, "methods must be a sequence of names and callables, got <function"),
        ("newton", {}, "methods must be a sequence of names and callables, got 'newton'"),
        (["newton", 3], {}, "method must be a name .* or a callable, got 3"),
    ],
)
def test_comparisons_that_are_not_allowed(methods: Any, options: dict[str, Any], says: str) -> None:
    ran: list[str] = []
    with pytest.raises(cq.InvalidInputError, match=says):
        cq.cross_validate(SERVER, methods, progress=ran.append, **options)
    # Nothing is found out after half of them have run.
    assert ran == []


def test_one_function_with_two_settings_is_compared_under_two_names() -> None:
    half, quarter = (functools.partial(best_responses, damping=it) for it in (0.5, 0.25))
    with pytest.raises(cq.InvalidInputError, match="give a callable a __name__ of its own"):
        cq.cross_validate(SERVER, [half, quarter])
    quarter.__name__ = "a quarter"  # type: ignore[attr-defined]
    comparison = cq.cross_validate(SERVER, [half, quarter], tolerance=1e-3)
    assert [it.method for it in comparison.solutions] == ["best_responses", "a quarter"]


def test_ten_seconds_are_not_for_callables(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    def limited(*arguments: Any, time_limit: float, **options: Any) -> cq.Solution:
        limits.append(time_limit)
        return cq.solve(*arguments, time_limit=time_limit, **options)

    monkeypatch.setattr("cvxqueue.solvers.cross_validation.solve", limited)
    cq.cross_validate(SERVER, ["newton", finds_it, "fixed-point"])
    assert limits == [np.inf, np.inf, 10.0]
