"""The methods by name: what each is, what it needs, and which options it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec

from cvxqueue.errors import InvalidInputError, MissingDependencyError
from cvxqueue.formatting import shown
from cvxqueue.model import Instance, assumed
from cvxqueue.solvers.driver import Proposals
from cvxqueue.suggest import nearest

# Parameters that a method may have and that `solve` fills in by itself.
_COMMON = frozenset({"start", "prices", "limits"})


@dataclass(frozen=True)
class Method:
    """A method that `solve` knows.

    Parameters
    ----------
    name : str
        Name to call it by.
    summary : str
        What it is, and when it is right.
    requires : tuple of str
        Packages beyond numpy that it imports.
    module, function : str
        Where it lives; imported when it is first used.
    tolerance : float or None
        Default relative gap; ``None`` for the least that float64 can prove.
    max_iterations : int
        Default limit.
    takes_couplings : bool
        Whether it can keep constraints on all types together.
    takes_kinks : bool
        Whether it needs no continuous slope of the accuracy curves.
    needs_form : bool
        Whether it needs a cvxpy form of every class.
    """

    name: str
    summary: str
    requires: tuple[str, ...]
    module: str
    function: str
    tolerance: float | None
    max_iterations: int
    takes_couplings: bool = True
    takes_kinks: bool = True
    needs_form: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether everything that it requires is there."""
        return all(find_spec(package) is not None for package in self.requires)

    def load(self) -> Callable[..., Proposals]:
        """Import the method.

        Raises
        ------
        MissingDependencyError
            If a package that it requires is not installed.
        """
        for package in self.requires:
            if find_spec(package) is None:
                raise MissingDependencyError(
                    f"method {self.name!r} needs the package {package!r}, which is not installed: "
                    f"pip install {package}"
                )
        function: Callable[..., Proposals] = getattr(import_module(self.module), self.function)
        return function

    @cached_property
    def parameters(self) -> frozenset[str]:
        """Names of everything that it takes besides the instance."""
        return frozenset(inspect.signature(self.load()).parameters) - {"instance"}

    def options(self) -> tuple[str, ...]:
        """Names of the options of its own."""
        return tuple(sorted(self.parameters - _COMMON))

    def obstacle(self, instance: Instance) -> str | None:
        """Why the method cannot take an instance, or ``None``."""
        if instance.model.couplings and not self.takes_couplings:
            able = ", ".join(
                repr(name) for name, method in METHODS.items() if method.takes_couplings
            )
            return (
                f"method {self.name!r} cannot keep {instance.model.couplings[0].label}; methods "
                f"that can take constraints on all types together: {able}"
            )
        if not instance.accuracy.is_smooth and not self.takes_kinks:
            able = ", ".join(repr(name) for name, method in METHODS.items() if method.takes_kinks)
            return (
                f"method {self.name!r} needs accuracy curves with a continuous slope, and one has "
                f"kinks; methods that can take it: {able}"
            )
        if self.needs_form and self.is_installed and assumed(instance):
            # The package's own classes all have one.
            from cvxqueue.dcp import formulate

            try:
                formulate(instance)
            except InvalidInputError as error:
                able = ", ".join(repr(it.name) for it in METHODS.values() if not it.needs_form)
                return f"method {self.name!r}: {error}; methods that need none: {able}"
        return None

    def __str__(self) -> str:
        missing = "" if self.is_installed else f" (needs {', '.join(self.requires)})"
        return f"{self.name}: {self.summary}{missing}"


METHODS = {
    method.name: method
    for method in (
        Method(
            name="newton",
            summary="safeguarded Newton on the two prices: the fast default",
            requires=(),
            module="cvxqueue.solvers.newton",
            function="newton",
            tolerance=None,
            max_iterations=500,
        ),
        Method(
            name="conic",
            summary="the disciplined convex program, by Clarabel or another conic solver: the "
            "reference",
            requires=("cvxpy", "clarabel", "scipy"),
            module="cvxqueue.solvers.conic",
            function="conic",
            tolerance=1e-9,
            max_iterations=20_000,
            needs_form=True,
        ),
        Method(
            name="fixed-point",
            summary="best responses to the marginal costs, with backtracking; plain with "
            "damping=1, at light load",
            requires=(),
            module="cvxqueue.solvers.fixed_point",
            function="fixed_point",
            tolerance=1e-9,
            max_iterations=10_000,
            takes_couplings=False,
            takes_kinks=False,
        ),
        Method(
            name="projected-gradient",
            summary="accelerated projected gradient in a diagonal metric: a guaranteed rate, "
            "nothing to tune",
            requires=(),
            module="cvxqueue.solvers.projected_gradient",
            function="projected_gradient",
            tolerance=1e-9,
            max_iterations=100_000,
            takes_couplings=False,
            takes_kinks=False,
        ),
    )
}


def find_method(name: str) -> Method:
    """Return a method by name.

    Raises
    ------
    InvalidInputError
        If there is none of that name.
    """
    if not isinstance(name, str):
        raise InvalidInputError(f"method must be a name such as 'newton', got {shown(name)}")
    if name not in METHODS:
        raise InvalidInputError(f"unknown method {shown(name)}: {nearest(name, METHODS)}")
    return METHODS[name]


def methods(instance: Instance | None = None) -> tuple[Method, ...]:
    """Return the methods: name, what each is, what it needs, and whether that is installed.

    Parameters
    ----------
    instance : Instance, optional
        Leave out those that are not installed or cannot take it.

    Examples
    --------
    >>> import cvxqueue as cq
    >>> [method.name for method in cq.methods()]
    ['newton', 'conic', 'fixed-point', 'projected-gradient']
    """
    return tuple(
        method
        for method in METHODS.values()
        if instance is None or (method.is_installed and method.obstacle(instance) is None)
    )
