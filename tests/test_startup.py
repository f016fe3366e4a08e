"""What is loaded: nothing heavy by the import, and by a command what it uses. No clock."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cvxqueue as cq
from tests.paths import SERVER

PACKAGE = Path(cq.__file__).parent
HEAVY = ("clarabel", "cvxpy", "matplotlib", "pydantic", "rich", "scipy.optimize", "scipy.stats")
# Nothing without a heavy package: loaded by name, inside the function that needs one of them.
HOMES = (
    *("dcp/", "solvers/conic", "solvers/back_ends"),
    *("files/schema", "files/messages", "plots/notebook_figure"),
)

ARRIVALS = "".join(f"{time}\n" for time in ("arrival_s", 0.5, 4, 5.2, 9, 9.1, 12, 15, 19, 20, 26))
TIMES = "tokens,latency_s,concurrency\n10,0.11,1\n20,0.21,1\n30,0.31,1\n40,0.39,1\n50,0.52,1\n"
SHARED = TIMES.replace("0.21,1", "0.41,2")
ANSWERS = "tokens,correct,total\n0,20,99\n500,60,99\n1000,80,99\n4000,95,99\n"


def loaded_after(statement: str) -> set[str]:
    """Heavy packages that a fresh interpreter has loaded after a statement."""
    code = (
        f"import sys; {statement}; "
        f"sys.stderr.write('\\n' + ' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stderr.rpartition("\n")[2].split())


def test_importing_the_package_is_light() -> None:
    assert loaded_after("import cvxqueue") == set()


def test_solving_by_newton_is_light() -> None:
    statement = (
        "import cvxqueue as cq; cq.solve(cq.Instance(arrival_rate=0.1, accuracy_weight=9.0, "
        "max_tokens=99.0, probabilities=1.0, service=cq.AffineService(base=1.0, per_token=0.1), "
        "accuracy=cq.SaturatingExponential(floor=0.0, gain=1.0, rate=0.1)))"
    )
    assert loaded_after(statement) == set()


def test_this_test_can_see_a_heavy_import() -> None:
    assert "cvxpy" in loaded_after("import cvxqueue; cvxqueue.formulate")
    assert "pydantic" not in loaded_after("import cvxqueue; cvxqueue.load, cvxqueue.fit")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("--help", ""),
        ("--version", ""),
        ("solve --help", ""),
        ("solve no-such-file.toml", ""),
        ("schema", "pydantic"),
        (f"check {SERVER}", "pydantic rich"),
        (f"check {SERVER} --json", "pydantic"),
        (f"solve {SERVER} --method newton", "pydantic rich"),
        (f"solve {SERVER} --method newton --json", "pydantic"),
        (f"solve {SERVER} --method fixed-point", "pydantic rich"),
        (f"solve {SERVER} --method projected-gradient", "pydantic rich"),
        (
            f"solve {SERVER} --method newton --plot picture.svg",
            "matplotlib pydantic rich scipy.optimize",
        ),
        (f"simulate {SERVER} --queries 1000", "pydantic rich"),
        (f"simulate {SERVER} --queries 1000 --integer --json", "pydantic"),
        (f"simulate {SERVER} --trace arrivals.csv --match-rate", "pydantic rich"),
        ("fit --trace arrivals.csv", "rich"),
        ("fit --service times.csv --json", "scipy.optimize"),
        ("fit --accuracy answers.csv", "rich scipy.optimize"),
        ("diagnose arrivals.csv", "rich"),
        ("diagnose times.csv", "rich scipy.optimize"),
        ("diagnose shared.csv --json", "scipy.optimize scipy.stats"),
    ],
)
def test_a_command_loads_what_it_uses(
    command: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"arrivals": ARRIVALS, "times": TIMES, "shared": SHARED, "answers": ANSWERS}
    for name, content in files.items():
        (tmp_path / f"{name}.csv").write_text(content, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    statement = f"from cvxqueue.cli import main; main({command.split()!r})"
    assert loaded_after(statement) == set(expected.split())


@pytest.mark.parametrize("command", [f"solve {SERVER} --method conic --json", "info --json"])
def test_cvxpy_comes_with_what_it_loads_itself_and_no_more(command: str) -> None:
    found = loaded_after(f"from cvxqueue.cli import main; main({command.split()!r})")
    own = {"pydantic"} if command.startswith("solve") else set()
    assert "cvxpy" in found
    assert found <= loaded_after("import cvxpy, clarabel") | own


def loaded_at_once(source: str) -> Iterator[str]:
    """The packages that a module imports as it is loaded."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize(
    "module", [str(path.relative_to(PACKAGE)) for path in sorted(PACKAGE.rglob("*.py"))]
)
def test_heavy_packages_are_imported_where_they_are_used(module: str) -> None:
    heavy = {name.split(".")[0] for name in HEAVY}
    found = heavy & set(loaded_at_once((PACKAGE / module).read_text(encoding="utf-8")))
    assert not found or module.startswith(HOMES)


def test_this_test_can_see_what_is_loaded_at_once() -> None:
    source = "import rich\nfrom scipy.optimize import milp\ndef f():\n    import cvxpy\n"
    assert set(loaded_at_once(source)) == {"rich", "scipy"}
