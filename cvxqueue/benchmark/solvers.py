"""What is compared: the methods, solvers as their users have them, and anybody's callables.

Each is a callable ``f(instance, **settings)`` that returns tokens or an `Answer`, known by a text
from which another process gets it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np

from cvxqueue.benchmark.smooth import SmoothProgram
from cvxqueue.errors import InvalidInputError, MissingDependencyError, pip_install
from cvxqueue.files.provenance import installed_version
from cvxqueue.formatting import shown
from cvxqueue.model import Instance
from cvxqueue.numerics.checks import require_that
from cvxqueue.solvers.driver import Answer
from cvxqueue.solvers.open_method import OpenMethod, own_name
from cvxqueue.solvers.registry import METHODS, Method
from cvxqueue.solvers.solve import solve
from cvxqueue.suggest import nearest

SETTINGS = ("default", "tight")
"""What a solver does by itself, and what it does asked for 1e-9."""
TIGHT = 1e-9
MAIN = "__main__"
"""Module of the script that runs, which another process imports to have what it has."""
_HERE = "cvxqueue.benchmark.solvers"
# Options of the conic solvers that CVXPY has adapters for, by which an accuracy is asked for.
_CONIC_TOLERANCES = {
    "CLARABEL": ("tol_gap_abs", "tol_gap_rel", "tol_feas"),
    "CUCLARABEL": ("tol_gap_abs", "tol_gap_rel", "tol_feas"),
    "ECOS": ("abstol", "reltol", "feastol"),
    "MOSEK": ("eps",),
    "SCS": ("eps_abs", "eps_rel"),
}
_TRUST_TOLERANCES = ("gtol", "xtol", "barrier_tol")
# The one stopping test of nlopt that its tutorial sets; by default it has none.
_NLOPT_DEFAULT = {"xtol_rel": 1e-4}

# What takes seconds to import; a solver of one's own has it at once if its module imports it.
_COSTLY = ("scipy.optimize", "cvxpy", "clarabel", "scs", "nlopt", "unopy")
# In no extra: their wheels bundle libraries under other licences than ours.
_FURTHER = {"uno": "unopy", "nlopt-mma": "nlopt"}


@dataclass(frozen=True)
class Solver:
    """One of those that are compared.

    Parameters
    ----------
    name : str
        As the rows have it.
    reference : str
        Where the callable is: ``"package.module:function"``.
    version : str
        Of what computes; a rerun resumes only rows of the same.
    default, tight : mapping of str to object
        Settings that it gets; ``None`` where it cannot be asked for an accuracy.
    imports : tuple of str
        Modules that a process has before the first call.
    """

    name: str
    reference: str
    version: str
    default: Mapping[str, Any] = field(default_factory=dict)
    tight: Mapping[str, Any] | None = None
    imports: tuple[str, ...] = ()

    def settings(self, name: str) -> Mapping[str, Any] | None:
        """Return the settings of a name in `SETTINGS`."""
        return self.default if name == "default" else self.tight

    @property
    def function(self) -> OpenMethod:
        """The callable, imported where it is asked for."""
        return resolve_name(self.reference)  # type: ignore[no-any-return]


def available(*, by_cvxpy: bool = True) -> dict[str, Solver]:
    """Return all that is installed, by name; to find those of CVXPY takes seconds."""
    found = [
        Solver(
            name,
            f"{_HERE}:by_method",
            _versions(*method.requires),
            {"method": name},
            {"method": name, "tolerance": TIGHT},
            method.requires,
        )
        for name, method in METHODS.items()
        if method.is_installed
    ]
    if by_cvxpy and find_spec("cvxpy") is not None:
        from cvxqueue.solvers.back_ends import able_solvers

        found += map(_by_cvxpy, able_solvers())
    optimize = ("by_minimize", ("scipy",), ("scipy.optimize",))
    # CVXPY's nonlinear grammar takes the textbook form.
    textbook = {"form": "textbook", "nlp": True, "solver": "UNO"}
    careful = ("primal_tolerance", "dual_tolerance")
    here: dict[str, tuple[Any, ...]] = {
        "scipy-slsqp": (*optimize, {"method": "SLSQP"}, ("ftol",)),
        "scipy-trust-constr": (*optimize, {"method": "trust-constr"}, _TRUST_TOLERANCES),
        "uno": ("by_form", ("unopy", "cvxpy"), ("cvxpy", "unopy"), textbook, careful),
        "nlopt-mma": ("by_mma", ("nlopt",), ("nlopt",), _NLOPT_DEFAULT, tuple(_NLOPT_DEFAULT)),
    }
    for name, (function, packages, imports, default, options) in here.items():
        if find_spec(packages[0]) is not None:
            reference, tight = f"{_HERE}:{function}", default | dict.fromkeys(options, TIGHT)
            found.append(Solver(name, reference, _versions(*packages), default, tight, imports))
    return {solver.name: solver for solver in found}


def _by_cvxpy(name: str) -> Solver:
    options, default = _CONIC_TOLERANCES.get(name), {"form": "dcp", "solver": name}
    return Solver(
        f"cvxpy-{name.lower()}",
        f"{_HERE}:by_form",
        _versions(name.lower(), "cvxpy"),
        default,
        None if options is None else default | dict.fromkeys(options, TIGHT),
        ("cvxqueue.dcp", "cvxpy", name.lower()),
    )


def _versions(*packages: str) -> str:
    # The package states the problem, whoever solves it.
    names = dict.fromkeys((*packages, "cvxqueue"))
    return ", ".join(f"{package} {installed_version(package)}" for package in names)


def find_solvers(given: Sequence[str | OpenMethod] | None) -> list[Solver]:
    """Return solvers by name, by ``"package.module:function"`` or as callables; by default all.

    Raises
    ------
    InvalidInputError
        If there is none of that name, or another process could not import a callable.
    MissingDependencyError
        If it is known, and not installed.
    """
    if given is None:
        return list(available().values())
    is_list = not isinstance(given, str) and isinstance(given, Sequence)
    require_that(is_list and given, "solvers", given, "a list of one or more")
    known = available(by_cvxpy=False)
    if any(isinstance(each, str) and ":" not in each and each not in known for each in given):
        known = available()
    found: dict[str, Solver] = {}
    for each in given:
        if isinstance(each, str) and ":" not in each:
            if each in _FURTHER and each not in known:
                raise MissingDependencyError(
                    f"solver {each!r} needs the package {_FURTHER[each]!r}, which is not "
                    f"installed: {pip_install(_FURTHER[each])}"
                )
            if each not in known:
                raise InvalidInputError(
                    f"unknown solver {shown(each)}: {nearest(each, known)}; one of your own is "
                    "named package.module:function"
                )
            solver = known[each]
        else:
            solver = _own(each)
        if found.setdefault(solver.name, solver).reference != solver.reference:
            raise InvalidInputError(f"two solvers are called {solver.name!r}: rename a file of one")
    return list(found.values())


def main_script() -> dict[str, str]:
    """Return what `multiprocessing.spawn.prepare` takes to have ``__main__`` in another process.

    Nothing where that is a session, whose functions are in no file.
    """
    module = sys.modules[MAIN]
    if module.__spec__ is not None:
        return {"init_main_from_name": module.__spec__.name}
    path = getattr(module, "__file__", None)
    return {"init_main_from_path": str(Path(path).resolve())} if path else {}


def _own(given: str | OpenMethod) -> Solver:
    """Return somebody's own, which another process must be able to import."""
    reference = given if isinstance(given, str) else _reference(given)
    try:
        function = resolve_name(reference) if isinstance(given, str) else given
    # The module is anybody's, and may end as it likes.
    except (Exception, SystemExit) as error:
        raise InvalidInputError(
            f"solver {shown(given)} must name a callable as package.module:function: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not callable(function):
        raise InvalidInputError(f"solver {shown(given)} must be callable, got {shown(function)}")
    method = Method(own_name(function), "somebody's own", function)
    takes = method.takes_any or "tolerance" in method.parameters
    place, _, attribute = reference.rpartition(":")
    if place == MAIN and not main_script():
        raise InvalidInputError(
            f"solver {shown(given)} lives in a session that no other process can import: put it "
            "into a module"
        )
    name = Path(next(iter(main_script().values()))).stem if place == MAIN else place
    return Solver(
        f"{name}:{attribute}",
        reference,
        _own_version(place, function),
        tight={"tolerance": TIGHT} if takes else None,
        imports=tuple(name for name in _COSTLY if name in sys.modules),
    )


def _reference(function: OpenMethod) -> str:
    """Return where a callable is, or say that no other process could import it."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    name = getattr(function, "__qualname__", "")
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if module is None or found is not function:
        raise InvalidInputError(
            f"solver {shown(function)} must be a function at the top of a module or of a script: "
            "each run is a process of its own, which imports it by name"
        )
    return f"{module.__name__}:{name}"


def _own_version(place: str, function: Any) -> str:
    """Return the version that somebody's module states, and a digest of its file.

    An edit of the solver is another version: a rerun does not take old rows for its own. What is
    called may live elsewhere than its name does, as what a partial wraps.
    """
    while isinstance(function, partial):
        function = function.func
    home = getattr(function, "__module__", None) or type(function).__module__
    modules = [sys.modules[name] for name in sorted({place, home} & set(sys.modules))]
    stated = [str(it.__version__) for it in modules if hasattr(it, "__version__")]
    paths = [Path(getattr(it, "__file__", None) or "") for it in modules]
    content = b"".join(path.read_bytes() for path in paths if path.is_file())
    stated += [f"source {sha256(content).hexdigest()[:12]}"] if content else []
    return ", ".join(stated) or "unknown"


def by_method(instance: Instance, method: str, **options: Any) -> Answer:
    """One of the package's methods; its claim is the certificate's."""
    found = solve(instance, method, on_failure="return", **options)
    return Answer(
        found.tokens,
        found.certificate.multipliers,
        found.iterations,
        found.setup_time,
        found.backend_status or found.status.value,
        found.is_optimal,
    )


def by_form(instance: Instance, form: str, **options: Any) -> Answer:
    """A form as people read it, handed to a solver as CVXPY has it."""
    from cvxqueue.dcp import formulate

    formulation = formulate(instance, form)
    problem = formulation.problem
    problem.solve(**options)
    statistics = problem.solver_stats
    return Answer(
        formulation.tokens.value,
        iterations=int(getattr(statistics, "num_iters", None) or 0),
        setup_time=float(problem.compilation_time or 0.0),
        backend_status=problem.status,
        claims_optimal=problem.status == "optimal",
    )


def by_minimize(instance: Instance, method: str, **options: Any) -> Answer:
    """A method of SciPy for smooth programs; a Hessian it estimates itself."""
    # Its types know no callables of arrays whose shape is not known.
    optimize: Any = import_module("scipy.optimize")
    program = SmoothProgram(instance)
    # Outside the stable region there is no objective. SLSQP does not know the option.
    keeps = method == "trust-constr"
    found = optimize.minimize(
        program.cost,
        program.start,
        jac=program.gradient,
        method=method,
        bounds=optimize.Bounds(
            np.zeros(instance.size), np.ones(instance.size), keep_feasible=keeps
        ),
        constraints=[
            optimize.NonlinearConstraint(
                limit.room,
                0.0,
                np.inf,
                jac=limit.gradient,
                keep_feasible=keeps and limit.is_kept_at_start,
            )
            for limit in program.limits
        ],
        options=options,
    )
    return Answer(
        program.tokens(found.x),
        iterations=int(found.nit),
        backend_status=str(found.message),
        claims_optimal=bool(found.success),
    )


def by_mma(instance: Instance, xtol_rel: float) -> Answer:
    """The method of moving asymptotes of nlopt."""
    import nlopt

    program = SmoothProgram(instance)
    search = nlopt.opt(nlopt.LD_MMA, instance.size)

    def handed(
        value: Callable[[Any], float], gradient: Callable[[Any], Any], sign: float
    ) -> Callable[[Any, Any], float]:
        def both(point: Any, slot: Any) -> float:
            if slot.size:
                slot[:] = sign * gradient(point)
            return sign * value(point)

        return both

    search.set_min_objective(handed(program.cost, program.gradient, 1.0))
    search.set_lower_bounds(np.zeros(instance.size))
    search.set_upper_bounds(np.ones(instance.size))
    for limit in program.limits:
        search.add_inequality_constraint(handed(limit.room, limit.gradient, -1.0), 0.0)
    search.set_xtol_rel(xtol_rel)
    found = search.optimize(program.start)
    # Of the positive results these say that a limit was reached, and not that the search converged.
    code = search.last_optimize_result()
    limited = (nlopt.MAXEVAL_REACHED, nlopt.MAXTIME_REACHED)
    return Answer(
        program.tokens(found),
        iterations=search.get_numevals(),
        backend_status=f"nlopt result {code}",
        claims_optimal=code > 0 and code not in limited,
    )
