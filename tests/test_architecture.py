"""The house: imports point forward, and the package keeps its manners."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import cvxqueue as cq

PACKAGE = Path(cq.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# A room imports only from those before it.
ROOMS = (
    "interrupts",
    "formatting",
    "errors",
    "suggest",
    "json_values",
    "deadline",
    "whole_files",
    "tables",
    "findings",
    "numerics",
    "statistics",
    "model",
    "files",
    "duality",
    "certificates",
    "solution",
    "sensitivities",
    "dcp",
    "solvers",
    "integer",
    "answers",
    "references",
    "benchmark",
    "check",
    "testing",
    "simulation",
    "fitting",
    "sweeps",
    "plots",
    "cli",
)
# Where a new queue, service law or curve is written down; nothing else asks for the class. What is
# fitted to measurements, or generated, is an instance of given classes: two rooms make them.
DISPATCHING = ("__init__", "model", "files", "dcp", "simulation", "fitting", "references")
CONCRETE = frozenset(
    (
        *("FIFO", "ProcessorSharing", "BatchArrivals", "Vacations", "Setups"),
        *("AffineService", "QuadraticService"),
        *("SaturatingExponential", "PowerLaw", "MichaelisMenten", "PiecewiseLinear"),
        *("MixedAccuracy",),
    )
)


@cache
def parsed(source: str) -> ast.Module:
    """The tree of a source: most tests look at every file of the package."""
    return ast.parse(source)


def tree_of(module: Path) -> ast.Module:
    return parsed(module.read_text(encoding="utf-8"))


def room_of(module: Path) -> str:
    """First name of a module below the package; the package itself has none."""
    first = module.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(module: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, inside functions and for types alone included."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "cvxqueue":
            yield from ((node.lineno, f"cvxqueue.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if room_of(module) not in ("__init__", "__main__")],
    ids=lambda module: str(module.relative_to(PACKAGE)),
)
def test_a_room_imports_only_from_rooms_before_it(module: Path) -> None:
    room = room_of(module)
    assert room in ROOMS, f"{room} is no room of the house"
    for line, name in imports(module):
        if name == "cvxqueue":
            pytest.fail(f"{module}:{line} imports the whole package")
        if name.startswith("cvxqueue."):
            other = name.split(".")[1]
            assert other in ROOMS, f"{module}:{line} imports {name}, which is in no room"
            assert ROOMS.index(other) <= ROOMS.index(room), f"{module}:{line} imports {name}"


def imported_files(module: Path) -> set[Path]:
    """The files of the package that a file imports, by whatever names."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] != "cvxqueue":
            continue
        room = PACKAGE.joinpath(*(node.module or "").split(".")[1:])
        for name in (room / alias.name for alias in node.names):
            # A name is a module itself, or is in one, or in the head of a room.
            paths = name.with_suffix(".py"), room.with_suffix(".py"), room / "__init__.py"
            found |= {next(path for path in paths if path.exists())}
    return found - {module}


def circles(graph: Mapping[Path, set[Path]]) -> list[list[str]]:
    """Files that import each other, directly or by way of others."""
    reached = {module: set(others) for module, others in graph.items()}
    for middle in graph:
        for others in reached.values():
            if middle in others:
                others |= reached[middle]
    sets = {frozenset(n for n in reached[m] if m in reached[n]) for m in reached if m in reached[m]}
    return [sorted(module.name for module in found) for found in sets]


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {module: imported_files(module) for module in MODULES if module.parent != PACKAGE}
    graph |= {module: imported_files(module) for module in PACKAGE.glob("[!_]*.py")}
    assert circles(graph) == []


def test_this_test_can_see_a_circle() -> None:
    a, b, c, d = map(Path, "abcd")
    assert circles({a: {b}, b: {c}, c: {d}, d: {b}}) == [["b", "c", "d"]]
    assert circles({a: {b, c}, b: {c}, c: set(), d: {a}}) == []
    assert PACKAGE / "model" / "model.py" in imported_files(PACKAGE / "model" / "instance.py")


def words(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every name and string in code: docstrings with their examples left out."""
    tree = parsed(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if id(node) in docstrings:
            continue
        if isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.alias):
            yield node.lineno, node.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def concrete_classes(source: str) -> list[str]:
    """Where code names a concrete queue, service law or curve."""
    return [
        f"line {line}: {name}"
        for line, text in words(source)
        for name in re.findall(r"\w+", text)
        if name in CONCRETE
    ]


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if room_of(module) not in DISPATCHING],
    ids=lambda module: str(module.relative_to(PACKAGE)),
)
def test_only_the_rooms_that_dispatch_name_a_concrete_class(module: Path) -> None:
    assert concrete_classes(module.read_text(encoding="utf-8")) == []


def test_this_test_can_see_a_concrete_class() -> None:
    assert concrete_classes((PACKAGE / "dcp" / "natural_units.py").read_text(encoding="utf-8"))
    for line in ("from cvxqueue.model import FIFO", "model.FIFO()", "name == 'FIFO'"):
        assert concrete_classes(line) == ["line 1: FIFO"]
    assert concrete_classes('"""FIFO in a docstring."""') == []
    # Every class that people can use is on the list.
    public = {name for name in cq.__all__ if isinstance(getattr(cq, name), type)}
    # The closed forms at one allocation have prices, too.
    public -= {"Evaluation"}
    kinds = {
        name
        for name in public
        if any(
            hasattr(getattr(cq, name), marker) for marker in ("least_idle", "mean_slope", "slope")
        )
    }
    assert kinds == CONCRETE


# Statistics take the quantiles of distributions from SciPy, when an interval is asked for.
@pytest.mark.parametrize(
    "room",
    [
        *(room for room in ROOMS[: ROOMS.index("tables")] if room != "statistics"),
        "duality",
        "certificates",
        "solution",
    ],
)
def test_the_first_rooms_need_numpy_alone(room: str) -> None:
    known = {*sys.stdlib_module_names, "numpy", "cvxqueue"}
    for module in MODULES:
        if room_of(module) == room:
            for line, name in imports(module):
                assert name.split(".")[0] in known, f"{module}:{line} imports {name}"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_manners(module: Path) -> None:
    for node in ast.walk(tree_of(module)):
        where = f"{module}:{getattr(node, 'lineno', 0)}"
        assert not isinstance(node, ast.Assert), f"assert at {where}"
        if isinstance(node, ast.Call):
            assert getattr(node.func, "id", "") != "print", f"print at {where}"


# Where somebody else's code ends, whatever it raises.
BACK_ENDS = (
    *("solvers/back_ends.py", "json_values.py"),
    *("benchmark/child.py", "benchmark/solvers.py"),
)
# An error that is foreseen has a name or two; the most in one place, three, are of a setter that
# does not say which of them it raises.
MOST_FORESEEN = 3


def wide_handlers(source: str) -> list[int]:
    """Lines that catch what nobody foresaw: everything, or one of many classes.

    Classes may hide behind a name of the module, in a sum of tuples, or in ``suppress``.
    """
    tree = parsed(source)
    meanings = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def classes(node: ast.expr | None) -> set[str]:
        if node is None:
            return {"BaseException"}
        if isinstance(node, ast.Name):
            return classes(meanings[node.id]) if node.id in meanings else {node.id}
        if isinstance(node, ast.Attribute):
            return {node.attr}
        parts = (part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr))
        return set().union(*map(classes, parts))

    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = classes(node.type)
        elif isinstance(node, ast.Call) and "suppress" in classes(node.func):
            caught = set().union(*map(classes, node.args))
        else:
            continue
        if caught & {"Exception", "BaseException"} or len(caught) > MOST_FORESEEN:
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_only_back_ends_may_fail_in_ways_that_nobody_foresaw(module: Path) -> None:
    if module.relative_to(PACKAGE).as_posix() not in BACK_ENDS:
        assert wide_handlers(module.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "caught",
    [
        *("except:", "except Exception:", "except (KeyError, BaseException) as error:"),
        *("except* Exception:", "except builtins.Exception:", "except ALL:", "except MANY:"),
        *("except (KeyError, *MANY):", "except FEW + (OSError, LookupError):"),
    ],
)
def test_this_test_can_see_a_wide_handler(caught: str) -> None:
    names = "ALL = Exception\nFEW = (KeyError, TypeError)\nMANY = (*FEW, OSError, ValueError)\n"
    assert wide_handlers(f"{names}try:\n    pass\n{caught}\n    pass\n") == [6]


def test_this_test_can_see_what_is_suppressed() -> None:
    for call in ("suppress(Exception)", "contextlib.suppress(A, B, C, D)", "suppress(*ALL)"):
        assert wide_handlers(f"ALL = [Exception]\nwith {call}:\n    pass") == [2]
    narrow = "with suppress(OSError):\n    pass\ntry:\n    pass\nexcept (A, B, c.D):\n    pass"
    assert wide_handlers(narrow) == []


@pytest.mark.parametrize("name", cq.__all__)
def test_public_names_resolve_and_are_documented(name: str) -> None:
    assert (getattr(cq, name).__doc__ or "").strip()
    assert name in dir(cq)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'solv'"):
        _ = cq.solv


def test_the_version_is_that_of_the_installed_package() -> None:
    from importlib.metadata import version

    assert cq.__version__ == version("cvxqueue")


def constants(source: str) -> Iterator[str]:
    """Names in capitals that a module gives a value."""
    for node in parsed(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        for target in targets:
            for part in ast.walk(target):
                if isinstance(part, ast.Name) and part.id.lstrip("_").isupper():
                    yield part.id


def test_a_constant_has_one_name_and_one_value() -> None:
    assert list(constants("A, _B = 1, 2\nC: int = 3\nd = 4\n")) == ["A", "_B", "C"]
    places = defaultdict(list)
    for module in MODULES:
        for name in constants(module.read_text(encoding="utf-8")):
            places[name].append(str(module.relative_to(PACKAGE)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


# One idea with a part in several rooms: a command is called as what it calls.
SHARED = {
    "accuracy": {"model", "plots"},
    "check": {"check", "cli"},
    "explain": {"dcp", "cli"},
    "export": {"dcp", "cli"},
    "fit": {"fitting", "cli"},
    "report": {"benchmark", "cli"},
    "schema": {"files", "cli"},
    "simulate": {"simulation", "cli"},
    "solution": {"solution", "integer"},
    "solve": {"solvers", "integer", "cli"},
    "sweep": {"sweeps", "cli"},
    "verify": {"references", "cli"},
}


def test_no_file_name_means_two_ideas_in_two_rooms() -> None:
    rooms = defaultdict(set)
    for module in MODULES:
        if module.stem != "__init__":
            rooms[module.stem].add(room_of(module))
    assert {name: where for name, where in rooms.items() if len(where) > 1} == SHARED
