"""Finds what a shelf holds: the decorated objects in a package's modules and in other packages' entry points.

Rules, plots, remedies and classics are added by adding one file. Nothing is registered anywhere else, so this walk is
the only list there is.
"""

import warnings
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from types import ModuleType
from typing import TypeVar

from isometry.errors import IsometryError

__all__ = ["collect"]

Item = TypeVar("Item")


def collect(kind: type[Item], *, package: str, group: str) -> tuple[Item, ...]:
    """Every object of a kind that stands in a package's modules or is offered under an entry point group.

    Args:
        kind: the class whose instances are collected, e.g. ``Rule``
        package: full name of the package whose modules are walked, e.g. ``isometry.diagnosis.rules``
        group: entry point group under which other packages offer an object, or a module that holds some

    Returns:
        The objects in the order of the modules' names and of definition in them, other packages' last.
    """
    shelf = import_module(package)
    found: dict[int, Item] = {}
    for entry in sorted(iter_modules(shelf.__path__), key=lambda entry: entry.name):
        module = import_module(f"{package}.{entry.name}")
        found.update((id(item), item) for item in _held(module, kind))
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
        found.update((id(item), item) for item in _offered(point, kind))
    return tuple(found.values())


def _held(module: ModuleType, kind: type[Item]) -> list[Item]:
    return [value for value in vars(module).values() if isinstance(value, kind)]


def _offered(point: EntryPoint, kind: type[Item]) -> list[Item]:
    """What one entry point gives. A broken one costs its own objects and is told; the rest stays usable."""
    try:
        value = point.load()
    except Exception as fault:  # noqa: BLE001  another package's code may raise anything while it is imported
        warnings.warn(f"{point.group} {point.name} = {point.value}: left out, {fault!r}", RuntimeWarning, stacklevel=3)
        return []
    if isinstance(value, kind):
        return [value]
    if isinstance(value, ModuleType):
        return _held(value, kind)
    raise IsometryError(
        f"Entry point {point.name} = {point.value} in group {point.group} gave a {type(value).__name__}; "
        f"a {kind.__name__} or a module that holds some was needed. Correct it in the package that offers it."
    )
