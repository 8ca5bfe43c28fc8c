"""How the values of every room come to be readable: they say *that* they can be shown, the report room says how.

The report room registers a presenter for each public value when it is imported, and ``import isometry`` imports it.
"""

from collections.abc import Callable
from typing import Any

__all__ = ["Shown", "presents"]

_presenters: dict[type, Callable[[Any], str]] = {}


def presents(kind: type) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
    """Register the decorated function as the one that words values of ``kind``."""

    def register(presenter: Callable[[Any], str]) -> Callable[[Any], str]:
        _presenters[kind] = presenter
        return presenter

    return register


class Shown:
    """A value that ``print`` and the last line of a notebook cell show readably."""

    __slots__ = ()

    def __str__(self) -> str:
        return _presenters[type(self)](self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Notebooks and IPython show the words too, not the constructor call."""
        printer.text("…" if cycle else str(self))
