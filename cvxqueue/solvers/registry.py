"""The methods: what each is, what it needs, and what it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from inspect import Parameter, Signature, signature
from pkgutil import resolve_name

from cvxqueue.errors import InfeasibleError, InvalidInputError, MissingDependencyError, pip_install
from cvxqueue.formatting import shown
from cvxqueue.model import Instance, assumed
from cvxqueue.numerics.checks import require_that
from cvxqueue.solvers.driver import Proposals
from cvxqueue.solvers.open_method import OpenMethod, own_name, proposals
from cvxqueue.suggest import nearest

# Parameters that `solve` fills in by itself: of any method, and of those below.
_OF_ANY = frozenset({"start", "tolerance", "max_iterations"})
_OF_OURS = frozenset({"prices", "limits"})


@dataclass(frozen=True, repr=False)
class Method:
    """A method that `solve` knows, or somebody's own.

    Parameters
    ----------
    name : str
        Name to call it by.
    summary : str
        What it is, and when it is right.
    function : str or callable
        Where it lives, as ``"package.module:function"``, imported when it is first used; or
        somebody's own callable.
    requires : tuple of str
        Packages beyond numpy that it imports.
    tolerance : float or None
        Default relative gap; ``None`` for the least that float64 can prove.
    max_iterations : int
        Default limit.
    is_general : bool
        Whether it keeps constraints on all types together, and takes curves with kinks.
    needs_form : bool
        Whether it needs a cvxpy form of every class.
    """

    name: str
    summary: str
    function: str | OpenMethod
    requires: tuple[str, ...] = ()
    tolerance: float | None = 1e-9
    max_iterations: int = 10_000
    is_general: bool = True
    needs_form: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it is somebody's own callable."""
        return callable(self.function)

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
                    f"{pip_install(package)}"
                )
        if callable(self.function):
            return partial(proposals, self.name, self.function)
        found: Callable[..., Proposals] = resolve_name(self.function)
        return found

    @cached_property
    def signature(self) -> Signature:
        """What it takes, the instance first."""
        try:
            return signature(self.function if callable(self.function) else self.load())
        except (NameError, TypeError, ValueError):
            # Some compiled callables do not say, and annotations may name what is not imported.
            return signature(lambda instance, **settings: None)

    @cached_property
    def parameters(self) -> frozenset[str]:
        """Names of everything that it takes besides the instance."""
        by_name = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        others = list(self.signature.parameters.values())[1:]
        return frozenset(each.name for each in others if each.kind in by_name)

    @property
    def takes_any(self) -> bool:
        """Whether it takes settings of any name."""
        return any(it.kind is Parameter.VAR_KEYWORD for it in self.signature.parameters.values())

    @cached_property
    def filled_in(self) -> frozenset[str]:
        """Names of what `solve` hands on to it by itself."""
        names = self.parameters & (_OF_ANY if self.is_open else _OF_ANY | _OF_OURS)
        return names | {"start"} if self.takes_any else names

    def options(self) -> tuple[str, ...]:
        """Names of the options of its own."""
        return tuple(sorted(self.parameters - self.filled_in))

    def obstacle(self, instance: Instance) -> str | None:
        """Why the method cannot take an instance, or ``None``."""
        if self.needs_form and (missing := _missing_form(instance)):
            return f"method {self.name!r}: {missing}; method 'newton' needs none"
        if self.is_general:
            return None
        if instance.model.couplings:
            reason = f"cannot keep {instance.model.couplings[0].label}"
        elif not instance.accuracy.is_smooth:
            reason = (
                "needs accuracy curves with a continuous slope that falls, and one has kinks or "
                "straight pieces"
            )
        else:
            return None
        able = ", ".join(repr(it.name) for it in METHODS.values() if it.is_general)
        return f"method {self.name!r} {reason}; methods that can take it: {able}"

    def __repr__(self) -> str:
        return f"Method({self.name!r})"

    def __str__(self) -> str:
        missing = "" if self.is_installed else f" (needs {', '.join(self.requires)})"
        return f"{self.name}: {self.summary}{missing}"


def _missing_form(instance: Instance) -> str:
    """Say which class has no cvxpy form; those of the package all have one."""
    if assumed(instance) and find_spec("cvxpy") is not None:
        from cvxqueue.dcp import formulate

        try:
            formulate(instance)
        except InvalidInputError as error:
            return str(error)
        except InfeasibleError:
            # That is not for a method to say.
            return ""
    return ""


METHODS = {
    method.name: method
    for method in (
        Method(
            name="newton",
            summary="safeguarded Newton on the two prices: the fast default",
            function="cvxqueue.solvers.newton:newton",
            tolerance=None,
            max_iterations=500,
        ),
        Method(
            name="conic",
            summary="the disciplined convex program, by Clarabel or another conic solver: the "
            "reference",
            function="cvxqueue.solvers.conic:conic",
            requires=("cvxpy", "clarabel", "scipy"),
            max_iterations=20_000,
            needs_form=True,
        ),
        Method(
            name="fixed-point",
            summary="best responses to the marginal costs, with backtracking; plain with "
            "damping=1, at light load",
            function="cvxqueue.solvers.fixed_point:fixed_point",
            is_general=False,
        ),
        Method(
            name="projected-gradient",
            summary="accelerated projected gradient in a diagonal metric: a guaranteed rate, "
            "nothing to tune",
            function="cvxqueue.solvers.projected_gradient:projected_gradient",
            max_iterations=100_000,
            is_general=False,
        ),
    )
}


def find_method(method: str | OpenMethod) -> Method:
    """Return a method by name, or somebody's own as one, whose name is not that of another."""
    if callable(method):
        name = own_name(method)
        if name in METHODS:
            raise InvalidInputError(
                f"a callable named {shown(name)} would be taken for the method of the package: "
                "rename it (its __name__ counts), or give the name as a string"
            )
        return Method(name, "somebody's own", method)
    allowed = "a name such as 'newton' or a callable"
    require_that(isinstance(method, str), "method", method, allowed)
    if method not in METHODS:
        raise InvalidInputError(f"unknown method {shown(method)}: {nearest(method, METHODS)}")
    return METHODS[method]


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
