"""Whether two experiments train the same way, as far as their objects show."""

import enum
import functools
import inspect
import os
import sysconfig
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any

import numpy as np

__all__ = ["likeness"]


def likeness(experiment: Any) -> str:
    """A short text that stays the same while an experiment trains the same way, as far as its objects show.

    It is made of the code of its functions and classes and of whatever these mention, their closures and defaults, of
    numbers, texts and arrays among the data, and of the version of isometry. Other packages count by name. Not seen:
    files that are read while training, and data that do not show their numbers.
    """
    seen = _Likeness()
    seen.add(version("isometry"))
    seen.add(experiment)
    return seen.hexdigest()


_PLAIN = (type(None), bool, int, float, complex, str, bytes, PurePath, enum.Enum, np.generic, range, slice)
_LIBRARIES = (
    *{
        str(Path(sysconfig.get_path(name)).resolve()) + os.sep
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
    },
    str(Path(__file__).resolve().parents[1]) + os.sep,
    "<frozen",
)
LARGEST_WALK = 100_000
"""So many objects are looked at; what is more than that is kept in arrays, of which each is one."""
DEEPEST_WALK = 100
"""So far one inside the other; each takes up to five frames of Python's stack."""


class _Likeness:
    """Walks through an experiment and takes in what it finds, in an order that is always the same."""

    def __init__(self) -> None:
        self._digest = blake2b(digest_size=5)
        self._seen: dict[int, Any] = {}
        self._depth = 0

    def hexdigest(self) -> str:
        return self._digest.hexdigest()

    def add(self, value: Any) -> None:
        if isinstance(value, _PLAIN):
            self._take(type(value).__qualname__, repr(value))
        elif id(value) in self._seen or len(self._seen) > LARGEST_WALK or self._depth > DEEPEST_WALK:
            self._take("no further")
        else:
            self._seen[id(value)] = value  # held, so that no other object gets its id meanwhile
            self._depth += 1
            self._enter(value)
            self._depth -= 1

    def _take(self, *words: str) -> None:
        for word in words:
            self._digest.update(word.encode("utf-8", "backslashreplace") + b"\0")

    def _enter(self, value: Any) -> None:
        self._take(type(value).__qualname__)
        if isinstance(value, types.CodeType):
            self._take(value.co_code.hex(), *value.co_names)
            self._add_all(value.co_consts)
        elif isinstance(value, types.FunctionType):
            self._enter_function(value)
        elif isinstance(value, types.MethodType):
            self._add_all((value.__func__, value.__self__))
        elif isinstance(value, functools.partial):
            self._add_all((value.func, value.args, value.keywords))
        elif isinstance(value, type):
            self._enter_class(value)
        elif isinstance(value, Mapping):
            self._add_all(part for pair in value.items() for part in pair)
        elif isinstance(value, list | tuple):
            self._add_all(value)
        elif isinstance(value, set | frozenset):
            self._take(*sorted(map(repr, value)))
        elif hasattr(value, "shape") and hasattr(value, "dtype"):
            self._enter_array(value)
        elif isinstance(value, types.ModuleType) or (callable(value) and not hasattr(value, "__dict__")):
            self._take(getattr(value, "__qualname__", getattr(value, "__name__", "")))
        else:
            self._enter_object(value)

    def _add_all(self, values: Any) -> None:
        for value in values:
            self.add(value)

    def _enter_function(self, function: types.FunctionType) -> None:
        self._take(function.__qualname__)
        self._add_all((function.__defaults__, function.__kwdefaults__))
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:  # a name that nothing was assigned to yet
                self._take("empty")
        if not _of_a_library(function.__code__.co_filename):
            self.add(function.__code__)
            self._add_mentioned(function.__code__, function.__globals__)

    def _add_mentioned(self, code: types.CodeType, known: Mapping[str, Any]) -> None:
        """What a function's names stand for: numbers and texts at the top of its module, functions and classes."""
        for name in code.co_names:
            if name in known:
                self._add_named(known[name], code.co_names)
        for inner in code.co_consts:
            if isinstance(inner, types.CodeType):
                self._add_mentioned(inner, known)

    def _add_named(self, value: Any, names: Sequence[str]) -> None:
        if isinstance(value, types.ModuleType):
            if not _of_a_library(getattr(value, "__file__", None) or "<frozen"):
                for name in names:
                    self._add_named(vars(value).get(name), ())
        else:
            self.add(value)

    def _enter_class(self, kind: type) -> None:
        self._take(kind.__qualname__)
        if kind.__module__ == "builtins" or _of_a_library(_file_of(kind)):
            return
        self._add_all(kind.__bases__)
        for name, value in vars(kind).items():
            inner = getattr(value, "__func__", getattr(value, "fget", value))
            if isinstance(inner, types.FunctionType) or (isinstance(inner, _PLAIN) and not name.startswith("__")):
                self._take(name)
                self.add(inner)

    def _enter_array(self, array: Any) -> None:
        self._take(str(tuple(array.shape)), str(array.dtype))
        try:
            values = np.ascontiguousarray(array)
        except (TypeError, ValueError, RuntimeError):
            return  # on another device, or in a format that NumPy lacks: its shape has to do
        if values.dtype.hasobject:
            self._add_all(values.ravel().tolist())
        else:
            self._digest.update(values.data.cast("B") if values.size else b"")

    def _enter_object(self, value: Any) -> None:
        self.add(type(value))
        names = [field.name for field in fields(value)] if is_dataclass(value) else [*getattr(value, "__dict__", ())]
        for name in names:
            self._take(name)
            self.add(getattr(value, name, None))


def _file_of(kind: type) -> str:
    try:
        return inspect.getfile(kind)
    except (TypeError, OSError):  # made in a notebook or at a prompt
        return ""


def _of_a_library(file: str) -> bool:
    return file.startswith(_LIBRARIES) or str(Path(file).resolve()).startswith(_LIBRARIES)
