"""The models that a script calls, under the names that a watch gives them, and what of a change is meant for each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from isometry.adapters.torch import process
from isometry.adapters.torch.sites import kind_of
from isometry.network.edits import NetworkEdit

__all__ = ["CalledModels", "Likeness", "Part", "fitting", "told_apart"]

Likeness = tuple[Any, ...]
"""Equal for models that one line of a script makes again and again, one for each fold of a cross-validation."""


@dataclass(frozen=True, slots=True)
class Part:
    """A module that the script has called: a model, or a part of one that is called by itself."""

    names: dict[str, str]
    """Its layers and parameters: what a watch calls them → what they are called inside of it."""
    likeness: Likeness

    def found(self, layers: Sequence[str]) -> dict[str, str]:
        """Those of these layers that are its own, as in ``names``."""
        return {name: self.names[name] for name in layers if name in self.names}


class CalledModels:
    """The models of a script, in the order of their first calls.

    As for a watch, the first one's layers keep their own names, unless a second one is called before the first step;
    all others have the name of their variable before them, with a line under it for each that had it before.
    """

    def __init__(self) -> None:
        self._prefixes: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
        self._taken: set[str] = set()
        self._parts: WeakKeyDictionary[nn.Module, Part] = WeakKeyDictionary()

    def part(self, module: nn.Module, named: Sequence[str]) -> Part:
        """What has been called, as it was when it was called for the first time.

        Args:
            module: it, or a part of it.
            named: layers that are to be found in one model or another; they tell how the first one is named.
        """
        if module not in self._parts:
            whole = process.find_whole(module)
            variable = process.find_name(whole)
            if whole not in self._prefixes:
                self._prefixes[whole] = self._prefix(whole, variable, named)
                self._taken.add(self._prefixes[whole])
            path = next((name for name, inner in whole.named_modules() if inner is module), "")
            shapes = tuple((name, _shape(value)) for name, value in module.named_parameters())
            names = _names(module, prefix=_joined(self._prefixes[whole], path))
            self._parts[module] = Part(names, (variable, path, type(module), shapes))
        return self._parts[module]

    def _prefix(self, whole: nn.Module, variable: str, named: Sequence[str]) -> str:
        if not self._taken:
            bare = {name for name in _names(whole, prefix="") if name in named}
            inner = {own for name, own in _names(whole, prefix=variable).items() if name in named}
            return "" if bare and not (inner and inner.isdisjoint(bare)) else variable
        prefix = variable
        while prefix in self._taken:
            prefix += "_"
        return prefix


def told_apart(part: Part, edits: Sequence[NetworkEdit]) -> tuple[list[NetworkEdit], list[NetworkEdit]]:
    """What of these changes a part can be given, under its own names, and what is left for others."""
    here, later = [], []
    for one in edits:
        found = part.found(one.layers)
        left = tuple(name for name in one.layers if name not in found)
        here += [replace(one, layers=tuple(found.values()))] if found else []
        later += [replace(one, layers=left)] if left else []
    return here, later


def fitting(module: nn.Module, part: Part, edits: Sequence[NetworkEdit]) -> Part:
    """The part under the first name whose layers it has, all of them, where it has none under its own.

    A watch may have met a model under another variable: where its optimiser stepped, and not where it was called.
    """
    named = [name for one in edits for name in one.layers]
    for variable in dict.fromkeys(name.partition(".")[0] for name in named):
        other = Part(_names(module, prefix=variable), part.likeness)
        if other.found(named).keys() == {name for name in named if name.partition(".")[0] == variable}:
            return other
    return part


def _names(module: nn.Module, *, prefix: str) -> dict[str, str]:
    """One that is a layer itself is named after its class."""
    inside = [name for name in (*dict(module.named_modules()), *dict(module.named_parameters())) if name]
    names = {_joined(prefix, name): name for name in inside}
    if kind_of(module) != "other" or next(module.children(), None) is None:
        names[prefix or type(module).__name__] = type(module).__name__
    return names


def _shape(parameter: Tensor) -> tuple[int, ...] | None:
    return None if is_lazy(parameter) else tuple(parameter.shape)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name
