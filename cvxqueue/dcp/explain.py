"""Why the rules of disciplined convex programming accept an expression, or where they refuse it.

A function of expressions is convex by the rules if it is convex in its arguments, and each argument
is affine, or convex where the function does not fall in it, or concave where it does not rise in
it; concave with the words exchanged. That is the only rule. A program is accepted if it minimises a
convex function, or maximises a concave one, under convex ≤ concave and affine = affine.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import cvxpy as cp
from cvxpy.atoms.affine.affine_atom import AffAtom
from cvxpy.atoms.atom import Atom as CvxpyAtom
from cvxpy.atoms.elementwise.power import Power
from cvxpy.constraints.nonpos import Inequality
from cvxpy.expressions.leaf import Leaf
from cvxpy.utilities.scopes import dpp_scope

from cvxqueue.dcp.ways_out import Atom, way_out
from cvxqueue.errors import InvalidInputError
from cvxqueue.files.storage import as_path
from cvxqueue.formatting import clipped, plain, shown
from cvxqueue.numerics.arithmetic import quiet
from cvxqueue.tables import WIDTH, Column, Part, Report, Table, width_for
from cvxqueue.whole_files import write_whole

Explainable: TypeAlias = cp.Expression | cp.Constraint | cp.Problem
_Part: TypeAlias = Explainable | cp.Minimize | cp.Maximize

# What people call them; the others have the names of their classes.
_SIGNS = {
    "AddExpression": "+",
    "NegExpression": "−",
    "MulExpression": "@",
    "multiply": "∘",
    "DivExpression": "/",
    "QuadForm": "quad_form",
    "Inequality": "≤",
    "Equality": "=",
    "Zero": "= 0",
    "NonNeg": "≥ 0",
    "NonPos": "≤ 0",
    "SOC": "second-order cone",
    "ExpCone": "exponential cone",
    "PSD": "semidefinite",
    "PowCone3D": "power cone",
    "index": "entries",
    "special_index": "entries",
}
_WORDS_OF_SIGNS = {"NONNEGATIVE": "≥ 0", "NONPOSITIVE": "≤ 0", "ZERO": "0"}
_REFUSED = "refused"
_ABOVE = "as above"
_VERDICT_STYLES = {"convex": "green", "concave": "green", "affine": "", "constant": ""}
_VERDICT_STYLES |= {"accepted": "green", _REFUSED: "bold red", "unknown": "yellow"}


class Argument(NamedTuple):
    """What the rule asks of one argument."""

    curvature: str
    monotonicity: str
    """``"nondecreasing"``, ``"nonincreasing"``, ``"constant"`` if both, ``""`` if neither."""

    @property
    def lets(self) -> frozenset[str]:
        """Which curvatures the composition may have with it."""
        if self.curvature in ("constant", "affine") or self.monotonicity == "constant":
            return frozenset(("convex", "concave"))
        if self.curvature == "unknown" or not self.monotonicity:
            return frozenset()
        if self.monotonicity == "nondecreasing":
            return frozenset((self.curvature,))
        return frozenset(("convex", "concave")) - {self.curvature}


class Rule(NamedTuple):
    """The composition rule at one function: what it is in its arguments, and what they are."""

    function: str
    """``"affine"``, ``"convex"``, ``"concave"`` or ``"unknown"``."""
    arguments: tuple[Argument, ...]
    """Of each, its curvature and how the function changes with it."""

    @property
    def curvature(self) -> str:
        """What the rule implies."""
        lets = frozenset(_FUNCTIONS[self.function]).intersection(
            *(it.lets for it in self.arguments)
        )
        return "affine" if len(lets) == 2 else next(iter(lets), "unknown")

    def __str__(self) -> str:
        if any(it.curvature == "unknown" for it in self.arguments):
            return "an argument is refused"
        if self.function == "unknown":
            return "neither convex nor concave in its arguments"
        places: dict[Argument, list[str]] = {}
        for place, it in enumerate(self.arguments, 1):
            if it.curvature in ("convex", "concave"):
                places.setdefault(it, []).append(str(place))
        words = [f"{self.function} in its arguments" if not places else self.function]
        for it, found in places.items():
            where = f"argument{'s' * (len(found) > 1)} {', '.join(found)} ({it.curvature})"
            words.append(f"{_VERBS[it.monotonicity]} {where}" + self._wish(it))
        return "; ".join(words)

    def _wish(self, argument: Argument) -> str:
        """What an argument must be where it is not."""
        if self.curvature != "unknown" or argument.lets.intersection(_FUNCTIONS[self.function]):
            return ""
        bends = ("convex", "concave")
        fit = [it for it in bends if self.function in argument._replace(curvature=it).lets]
        return f", which must be {[*fit, 'affine'][0]}"


_VERBS = {"nondecreasing": "rises in", "nonincreasing": "falls in"}
_VERBS |= {"constant": "constant in", "": "not monotone in"}

# What a function is, by whether it is convex and concave, and what a composition with it may be.
_BENDS = {
    (True, True): "affine",
    (True, False): "convex",
    (False, True): "concave",
    (False, False): "unknown",
}
# Whether it does not fall, and does not rise.
_MONOTONICITIES = {
    (True, True): "constant",
    (True, False): "nondecreasing",
    (False, True): "nonincreasing",
    (False, False): "",
}
_FUNCTIONS = {
    word: tuple(it for it, may in zip(("convex", "concave"), allowed, strict=True) if may)
    for allowed, word in _BENDS.items()
}


# Equal are parts that are the same: == of two expressions is a constraint.
@dataclass(frozen=True, eq=False)
class Node:
    """One node of an explained expression.

    Attributes
    ----------
    label : str
        Its name, if it has one, and what it is: a function, a variable, a number, or data.
    curvature : str
        What CVXPY says: ``"constant"``, ``"affine"``, ``"convex"``, ``"concave"``, ``"unknown"``;
        of a constraint, an objective and a problem ``"accepted"`` or ``"refused"``.
    sign : str
        ``"≥ 0"``, ``"≤ 0"``, ``"0"``, or empty where it is not known.
    shape : tuple of int
        Empty of a scalar.
    rule : Rule or str
        What gives the curvature.
    remedy : str
        A way out where the rule fails and one is known; else empty.
    arguments : tuple of Node
        What it is a function of; empty where that is explained further above.
    text : str
        What is refused as CVXPY writes it, where the rule fails; else empty.
    """

    label: str
    curvature: str
    sign: str
    shape: tuple[int, ...]
    rule: Rule | str
    remedy: str = ""
    arguments: tuple[Node, ...] = ()
    text: str = ""

    @property
    def is_refused(self) -> bool:
        """Whether the rule fails here, and not only further below."""
        return bool(self.text)

    def walk(self) -> Iterator[Node]:
        """Return this node and all below it, in the order of reading."""
        yield self
        for argument in self.arguments:
            yield from argument.walk()


@quiet
@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Report):
    """An expression as a tree, with curvature, sign and rule of each node.

    Attributes
    ----------
    tree : Node
        The outermost node.
    with_parameters : bool
        Whether the rules are those for parameters (DPP), which are affine there and not constant.
    """

    tree: Node
    with_parameters: bool

    @property
    def is_accepted(self) -> bool:
        """Whether the rules accept all of it."""
        return self.tree.curvature not in ("unknown", _REFUSED)

    @property
    def refused(self) -> tuple[Node, ...]:
        """Where a rule fails although it has accepted the arguments, in the order of reading."""
        return tuple(node for node in self.tree.walk() if node.is_refused)

    def table(self) -> Table:
        """Return one row for each node."""
        lines = list(_drawn(self.tree))
        nodes = [node for _, node in lines]
        return Table(
            [
                Column("expression", [guide + node.label for guide, node in lines]),
                Column(
                    "curvature",
                    [node.curvature for node in nodes],
                    lambda curvature: (curvature, _VERDICT_STYLES[curvature]),
                ),
                Column("sign", [node.sign for node in nodes]),
                Column("shape", [" × ".join(map(str, node.shape)) for node in nodes]),
                Column("rule", [str(node.rule) for node in nodes]),
            ],
            most=len(nodes),
            wraps=False,
        )

    def _parts(self) -> Iterable[Part]:
        rules = "DPP" if self.with_parameters else "DCP"
        yield self.table()
        yield ""
        if self.is_accepted:
            yield (f"Accepted by the rules ({rules}).", "green")
        for node in self.refused:
            where = f"“{node.label}”, {clipped(node.text)}"
            yield (_filled(f"Refused by the rules ({rules}) at {where}: {node.rule}."), "red")
            if node.remedy:
                yield _filled(f"A way out: {node.remedy}.")

    def to_svg(self, path: str | Path | None = None) -> str | None:
        """Return a drawing of it as SVG, or write it to a file.

        Parameters
        ----------
        path : str or path, optional
            The file; by default the text is returned.
        """
        from rich.console import Console

        width = width_for(self.table(), WIDTH)
        console = Console(file=io.StringIO(), record=True, width=width, force_jupyter=False)
        console.print(self)
        # A font from elsewhere would be asked for wherever it is shown.
        text = re.sub(
            r"@font-face \{.*?\}", "", console.export_svg(title="explain"), flags=re.DOTALL
        )
        if path is None:
            return text
        write_whole(as_path(path), text.encode())
        return None

    def __repr__(self) -> str:
        verdict = "accepted" if self.is_accepted else f"refused at {self.refused[0].label!r}"
        return f"Explanation({self.tree.label!r}, {verdict})"


@quiet
def explain(expression: Explainable, *, with_parameters: bool = False) -> Explanation:
    """Explain how the rules of CVXPY come to the curvature of an expression.

    Parameters
    ----------
    expression : cvxpy.Expression, cvxpy.Constraint or cvxpy.Problem
        Anybody's. A `Formulation` has a method `explain`, which knows the names of its parts.
    with_parameters : bool, default False
        Whether to apply the rules for parameters (DPP): what they accept is compiled only once.

    Returns
    -------
    Explanation
        A table with one row for each node of the tree, as every result is.

    Raises
    ------
    InvalidInputError
        If it is none of these.

    Examples
    --------
    >>> import cvxpy as cp
    >>> import cvxqueue as cq
    >>> rate = cp.Variable(name="rate")
    >>> cq.explain(1 / (rate - 2))
    Explanation('/', refused at '/')
    >>> cq.explain(cp.inv_pos(rate - 2)).tree.curvature
    'convex'
    """
    return explained(expression, {}, with_parameters=with_parameters)


def explained(
    expression: Explainable, names: Mapping[int, str], *, with_parameters: bool
) -> Explanation:
    """Return the explanation of an expression whose parts have names by their identity."""
    if not isinstance(expression, Explainable):
        raise InvalidInputError(
            "expression must be a cvxpy expression, constraint or problem, got "
            f"{shown(expression)}; a formulation explains itself: form.explain()"
        )
    with dpp_scope() if with_parameters else nullcontext():
        tree = _Builder(names).node(expression)
    return Explanation(tree, with_parameters)


class _Builder:
    """Makes the nodes of one tree; what stands in it twice is explained once."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self.names = names
        self.seen: dict[int, Node] = {}

    def node(self, part: _Part) -> Node:
        found = self.seen.get(id(part))
        if found is not None:
            rule = _ABOVE if found.arguments else found.rule
            return Node(found.label, found.curvature, found.sign, found.shape, rule)
        self.seen[id(part)] = found = self._made(part)
        return found

    def _made(self, part: _Part) -> Node:
        if isinstance(part, cp.Expression):
            return self._of_expression(part)
        if isinstance(part, cp.Problem):
            parts = [part.objective, *part.constraints]
            rule = "objective and constraints must be accepted"
        else:
            parts, rule = list(part.args), _asked(part)
        arguments = tuple(self.node(it) for it in parts)
        curvature = "accepted" if part.is_dcp() else _REFUSED
        text = str(part) if curvature == _REFUSED and _are_accepted(arguments) else ""
        return Node(self._label(part), curvature, "", (), rule, arguments=arguments, text=text)

    def _of_expression(self, part: Atom) -> Node:
        curvature, sign = _curvature(part), _WORDS_OF_SIGNS.get(part.sign, "")
        label = self._label(part)
        is_leaf = isinstance(part, Leaf)
        if is_leaf or _is_of_constants(part):
            rule = type(part).__name__.lower() if is_leaf else "of constants alone"
            return Node(label, curvature, sign, part.shape, rule)
        arguments = tuple(self.node(it) for it in part.args)
        text, found = "", None
        if curvature == "unknown" and _are_accepted(arguments):
            text, found = str(part), way_out(part)
        composed = "of constants alone" if part.is_constant() else _rule(part)
        remedy = "" if found is None else found.words
        return Node(label, curvature, sign, part.shape, composed, remedy, arguments, text)

    def _label(self, part: _Part) -> str:
        name = self.names.get(id(part))
        if isinstance(part, Leaf) and not isinstance(part, cp.Constant):
            return str(name or part.name())
        word = _word(part)
        return word if name is None else f"{name}: {word}"


def _are_accepted(nodes: Iterable[Node]) -> bool:
    return not any(it.curvature in ("unknown", _REFUSED) for it in nodes)


def _is_of_constants(part: cp.Expression) -> bool:
    return part.is_constant() and not part.parameters()


def _is_number(part: cp.Expression) -> bool:
    """Whether it is one number, and no work to evaluate."""
    if isinstance(part, cp.Constant):
        return bool(part.size == 1)
    return isinstance(part, AffAtom) and part.size == 1 and all(map(_is_number, part.args))


def _word(part: Atom) -> str:
    """Return what a node is, but for its name."""
    if isinstance(part, cp.Expression) and _is_of_constants(part):
        value: Any = part.value if _is_number(part) else None
        return "data" if value is None else plain(value.item())
    if isinstance(part, cp.Minimize | cp.Maximize):
        return part.NAME
    if isinstance(part, Power):
        exponent: Any = part.p
        is_known = isinstance(exponent, cp.Constant)
        return f"power {plain(exponent.value.item()) if is_known else exponent}"
    # Some atoms have a class for the solvers that take their cones, and one for the others.
    kind = type(part).__name__.removesuffix("Approx")
    return _SIGNS.get(kind, kind.lower())


def _filled(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def _drawn(node: Node, first: str = "", rest: str = "") -> Iterator[tuple[str, Node]]:
    """Return the nodes in the order of reading, each with the lines that lead to it."""
    yield first, node
    for place, argument in enumerate(node.arguments, 1):
        is_last = place == len(node.arguments)
        yield from _drawn(
            argument, rest + ("└─ " if is_last else "├─ "), rest + ("   " if is_last else "│  ")
        )


def _asked(part: cp.Constraint | cp.Minimize | cp.Maximize) -> str:
    """What a constraint or an objective asks of its arguments."""
    asked = (words for kind, words in _ASKED.items() if isinstance(part, kind))
    return next(asked, "its arguments must be affine")


_ASKED: dict[type, str] = {
    cp.Minimize: "its argument must be convex",
    cp.Maximize: "its argument must be concave",
    Inequality: "must be convex ≤ concave",
    cp.NonPos: "its argument must be convex",
    cp.NonNeg: "its argument must be concave",
}


def _curvature(part: cp.Expression) -> str:
    for curvature in ("constant", "affine", "convex", "concave"):
        if getattr(part, f"is_{curvature}")():
            return curvature
    return "unknown"


def _rule(part: Atom) -> Rule | str:
    if not isinstance(part, CvxpyAtom):
        return "as its class says"
    arguments = []
    for place, argument in enumerate(part.args):
        monotonicity = _MONOTONICITIES[part.is_incr(place), part.is_decr(place)]
        arguments.append(Argument(_curvature(argument), monotonicity))
    return Rule(_BENDS[part.is_atom_convex(), part.is_atom_concave()], tuple(arguments))
