"""What the forms state of a curve, a law, a queue or a constraint, by its class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isabstract
from typing import Any, Generic, TypeVar

from cvxqueue.errors import InvalidInputError
from cvxqueue.formatting import shown

_Form = TypeVar("_Form")


class Forms(Generic[_Form]):
    """Forms by the class of an object: of exactly that class, as a subclass may compute anything.

    That of an abstract class is for all classes made of it. The `field` is what the object is of an
    instance, and `what` the forms are, for the message.
    """

    def __init__(
        self,
        field: str,
        by_class: Mapping[type, _Form] | None = None,
        otherwise: _Form | None = None,
        what: str = "cvxpy form",
    ) -> None:
        self._field, self._by_class, self._otherwise = field, dict(by_class or {}), otherwise
        self._what = what

    def register(self, kind: type) -> Callable[[_Form], _Form]:
        """Return a decorator that makes a function the form of a class."""

        def registered(form: _Form) -> _Form:
            self._by_class[kind] = form
            return form

        return registered

    def of(self, held: object) -> _Form:
        """Return the form of an object, or raise an error where its class has none."""
        if type(held) in self._by_class:
            return self._by_class[type(held)]
        for kind, form in self._by_class.items():
            if isabstract(kind) and isinstance(held, kind):
                return form
        if self._otherwise is None:
            known = ", ".join(sorted(kind.__name__ for kind in self._by_class))
            raise InvalidInputError(
                f"{self._field} = {shown(held)} has no {self._what}; those that do: {known}"
            )
        return self._otherwise

    def __call__(self, held: object, *arguments: Any) -> Any:
        """Return what the form of an object, a function, is for the object and the arguments."""
        return self.of(held)(held, *arguments)  # type: ignore[operator]
