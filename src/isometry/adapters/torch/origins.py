"""Where in the user's source things come from: modules, calls of φ, optimisers and their first step.

While a script is watched, each module and optimiser that it makes is noted with the code that made it and the place in
that code, which costs a walk over some frames; lines and columns are looked up when they are told. What cannot be
known (code without a file, an interpreter that was told to forget columns, objects that are copies) is left out.
"""

import functools
import os
import sys
import sysconfig
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from inspect import CO_OPTIMIZED
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from isometry.adapters.scratch import original
from isometry.adapters.torch import process
from isometry.adapters.torch.nonlinearity import nonlinearity_of_module
from isometry.adapters.torch.sites import Site, Sites

__all__ = ["Origins"]

CALL = nn.Module._call_impl.__code__
"""What runs once in every call of a module."""
TORCH = str(Path(torch.__file__).parent) + os.sep
OURS = str(Path(__file__).parents[2]) + os.sep
INSTALLED = tuple(
    {str(Path(path)) + os.sep for name, path in sysconfig.get_paths().items() if name.endswith(("lib", "stdlib"))}
)
"""Folders of packages, whose files nobody edits."""
FRAMES = 8
"""So many frames, from the optimiser's constructor outwards, are looked at for the variables that hold things."""
MOST_MODULES = 5_000
"""Of which places are told."""
TELLINGS = 4
"""How often places may be told: a script may train one model after another."""


@dataclass(frozen=True, eq=False, slots=True)
class _Point:
    """An instruction. Code is compared by identity: to hash all that is in it costs more than all else here."""

    code: CodeType
    offset: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Point) and other.code is self.code and other.offset == self.offset

    def __hash__(self) -> int:
        return hash((id(self.code), self.offset))


@dataclass(slots=True)
class _Frame:
    """A function of the user's that was under way, and the names that it has for modules."""

    point: _Point
    names: list[tuple[str, weakref.ref[nn.Module]]]


@dataclass(slots=True)
class _Making:
    """How an optimiser was made."""

    optimizer: weakref.ref[Optimizer]
    frames: list[_Frame]
    """Innermost first."""
    step: _Frame | None = None


@dataclass(slots=True)
class _Use:
    """One computation of φ."""

    site: Site | None
    function: str
    module: weakref.ref[nn.Module] | None
    """The one that computes φ; or the one whose forward() calls it."""
    point: _Point | None
    """Of that call; None where a module does nothing but φ."""


@dataclass(slots=True)
class _Places:
    """Places as they are told: each once, by its number."""

    folder: str
    listed: list[list[Any]] = field(default_factory=list)
    instances: list[int | None] = field(default_factory=list)
    """So many live modules may stand at that place, whether the network has them or not."""
    files: dict[str, str] = field(default_factory=dict)
    numbers: dict[_Point, int | None] = field(default_factory=dict)

    def number(self, point: _Point | None) -> int | None:
        if point is None:
            return None
        if point not in self.numbers:
            place = self._place(point.code, point.offset)
            self.numbers[point] = None if place is None else len(self.listed)
            if place is not None:
                self.listed.append(place)
                self.instances.append(None)
        return self.numbers[point]

    def _place(self, code: CodeType, offset: int) -> list[Any] | None:
        """File, line, end line, column, end column; lines from 1, columns in bytes of UTF-8 from 0."""
        extent = next(islice(code.co_positions(), offset // 2, None), (None,))
        path = original(os.path.normpath(code.co_filename))
        if None in extent or not path.endswith(".py") or path.startswith(INSTALLED) or not Path(path).is_file():
            return None
        name = os.path.relpath(path, self.folder) if path.startswith(self.folder + os.sep) else path
        if name not in self.files:
            self.files[name] = blake2b(Path(path).read_bytes(), digest_size=8).hexdigest()
        return [name, *extent]


class Origins:
    """What is known of the origin of things made in this process; nothing of ours is raised into the user's code."""

    def __init__(self) -> None:
        self.trouble: str | None = None
        self._folder = original(str(Path.cwd()))
        self._alive: weakref.WeakValueDictionary[int, nn.Module] = weakref.WeakValueDictionary()
        self._copies: weakref.WeakValueDictionary[int, nn.Module] = weakref.WeakValueDictionary()
        self._made: dict[int, _Point] = {}
        self._makings: dict[int, _Making] = {}
        self._uses: dict[tuple[int, str, int, _Point | None], _Use] = {}
        self._originals: list[tuple[type, str, Any, Any]] = []
        self._told: tuple[int, ...] = ()
        self._tellings = 0
        self._looks = True
        self._is_open = False

    def attach(self) -> None:
        """Note from now on what is made."""
        self._is_open = True
        # Functions: the compiler, which may read this code, knows no bound methods there.
        self._follow(nn.Module, "__init__", lambda module: self._module_made(module))
        self._follow(nn.Module, "__setstate__", lambda module: self._module_copied(module))
        # Its __init__ is a treatment's to replace.
        self._follow(Optimizer, "add_param_group", lambda optimizer: self._optimizer_made(optimizer))

    def detach(self) -> None:
        """Torch as it was; where somebody has put functions of their own round ours, ours do nothing any more."""
        self._is_open = False
        while self._originals:
            owner, name, before, ours = self._originals.pop()
            if vars(owner).get(name) is ours:
                setattr(owner, name, before)

    def _follow(self, owner: type, name: str, note: Callable[[Any], None]) -> None:
        before = vars(owner)[name]

        @functools.wraps(before)
        def followed(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = before(self, *args, **kwargs)
            if not torch.compiler.is_compiling():
                note(self)
            return result

        setattr(owner, name, followed)
        self._originals.append((owner, name, before, followed))

    # ------------------------------------------------------------------- notes

    def _module_made(self, module: nn.Module) -> None:
        if not self._is_open:
            return
        try:
            frame = _maker(module)
            if frame is not None:
                self._alive[id(module)] = module
                self._made[id(module)] = _Point(frame.f_code, frame.f_lasti)
        except Exception as fault:  # noqa: BLE001  promise: watching never stops training
            self._failed(fault)

    def _module_copied(self, module: nn.Module) -> None:
        if not self._is_open:
            return
        try:
            self._copies[id(module)] = module
        except Exception as fault:  # noqa: BLE001  promise: watching never stops training
            self._failed(fault)

    def _optimizer_made(self, optimizer: Optimizer) -> None:
        if not self._is_open:
            return
        try:
            known = self._makings.get(id(optimizer))
            maker = _maker(optimizer)
            if maker is not None and (known is None or known.optimizer() is not optimizer):
                self._makings[id(optimizer)] = _Making(weakref.ref(optimizer), list(_frames(maker)))
        except Exception as fault:  # noqa: BLE001  promise: watching never stops training
            self._failed(fault)

    def stepping(self, optimizer: Optimizer) -> None:
        """It is about to step. Of the first time the place is kept."""
        making = self._makings.get(id(optimizer))
        if making is None or making.step is not None or self.trouble is not None:
            return
        try:
            making.step = next(_frames(_user(sys._getframe(1))), None)
        except Exception as fault:  # noqa: BLE001  promise: watching never stops training
            self._failed(fault)

    def activation(self, site: Site | None, function: str) -> None:
        """φ of a site, or of something that is none, has just been computed."""
        if not self._looks or self.trouble is not None:
            return
        try:
            module, point = _caller()
            use = _Use(site, function, weakref.ref(module) if module is not None else None, point)
            self._uses.setdefault((id(site), function, id(module), point), use)
        except Exception as fault:  # noqa: BLE001  promise: watching never stops training
            self._failed(fault)

    def _failed(self, fault: Exception) -> None:
        self.trouble = f"{type(fault).__name__}: {fault}"
        self._uses.clear()

    # --------------------------------------------------------------- the account

    def news(self, sites: Sites) -> dict[str, Any] | None:
        """The fields of an event ``places``, where there is more to tell than the last time."""
        steps = sum(making.step is not None for making in self._makings.values())
        known = (len(sites.models), len(self._uses), steps)
        may_tell = self._tellings < TELLINGS
        self._looks = may_tell and known[0] > (self._told[0] if self._told else 0)  # once, and where a model came anew
        if known == self._told or not may_tell:
            return None
        self._told, self._tellings = known, self._tellings + 1
        if self.trouble is not None:
            self._tellings = TELLINGS
            return {"words": f"Places are not known: {self.trouble}"}
        return self._account(sites)

    def _account(self, sites: Sites) -> dict[str, Any]:
        places = _Places(self._folder)
        names = dict(islice(((id(module), name) for name, module in _named(sites)), MOST_MODULES))
        modules = {name: places.number(self._origin(key)) for key, name in names.items() if key in self._made}
        activations = [self._told_use(use, names, places) for use in self._uses.values()]
        self._count(places)
        model = next(iter(sites.models.values())) if len(sites.models) == 1 else None
        return {
            "folder": self._folder,
            "modules": {name: number for name, number in modules.items() if number is not None},
            "activations": activations,
            "optimizers": [
                _told_making(optimizer, making, model, places)
                for making in self._makings.values()
                if (optimizer := making.optimizer()) is not None and making.step is not None
            ],
            "places": places.listed,
            "instances": places.instances,
            "files": places.files,
        }

    def _origin(self, key: int) -> _Point | None:
        return self._made.get(key) if key in self._alive else None

    def _told_use(self, use: _Use, names: Mapping[int, str], places: _Places) -> dict[str, Any]:
        module = use.module() if use.module is not None else None
        made = self._origin(id(module)) if module is not None and _is_function(module) else None
        return {
            "layer": use.site.name if use.site is not None else None,
            "function": use.function,
            "module": names.get(id(module)),
            "type": type(module).__name__,
            "called": use.point is not None,
            "place": places.number(use.point if use.point is not None else made),
        }

    def _count(self, places: _Places) -> None:
        """How many modules may be meant by each place: those made there, and copies, of which nobody knows it."""
        known, copied = list(self._alive.items()), list(self._copies.values())
        copies = Counter(map(type, copied))
        kinds = copies + Counter(type(module) for _, module in known)
        made: dict[_Point, list[type]] = {}
        for key, module in known:
            made.setdefault(self._made[key], []).append(type(module))
        for point, number in places.numbers.items():
            if number is not None and point in made:
                places.instances[number] = len(made[point]) + sum(copies[kind] for kind in set(made[point]))
        for use in self._uses.values():
            number, holder = places.number(use.point), use.module() if use.module is not None else None
            if number is not None and holder is not None:
                places.instances[number] = kinds[type(holder)]


# ---------------------------------------------------------------------------- frames


def _maker(made: nn.Module | Optimizer) -> FrameType | None:
    """The frame of the user's that has called the class of an object whose constructor is under way."""
    kind: Any = type(made)
    constructors = _constructors(kind)
    seen: dict[int, CodeType] = {}
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(OURS):
            if id(code) not in constructors or id(code) in seen:  # once more: that of another object of the same class
                break
            seen[id(code)] = code
        frame = frame.f_back
    is_new = not isinstance(made, Optimizer) or any(code.co_name == "__init__" for code in seen.values())
    return frame if is_new and frame is not None and not frame.f_code.co_filename.startswith(TORCH) else None


@functools.lru_cache(maxsize=1_024)
def _constructors(kind: type) -> frozenset[int]:
    """Ids of the code that runs for one object of a class while it is made."""
    functions = [vars(part).get(name) for part in kind.__mro__ for name in ("__init__", "add_param_group")]
    return frozenset(id(code) for function in functions if (code := getattr(function, "__code__", None)) is not None)


def _user(frame: FrameType | None) -> FrameType | None:
    """The first frame that is neither torch's nor ours."""
    while frame is not None and frame.f_code.co_filename.startswith((TORCH, OURS)):
        frame = frame.f_back
    return frame


def _caller() -> tuple[nn.Module | None, _Point | None]:
    """Who has called φ: a module of torch's that stands for it, or a line of the user's in the forward() of one."""
    frame: FrameType | None = sys._getframe(2)
    point: _Point | None = None
    while frame is not None:
        if frame.f_code is CALL:
            return frame.f_locals["self"], point
        if point is None and not frame.f_code.co_filename.startswith((TORCH, OURS)):
            point = _Point(frame.f_code, frame.f_lasti)
        frame = frame.f_back
    return None, point


def _frames(frame: FrameType | None) -> Iterator[_Frame]:
    """Frames of the user's, one inside the other, as far as one calls the next one itself."""
    for _ in range(FRAMES):
        if frame is None or frame.f_code.co_filename.startswith((TORCH, OURS, "<", *INSTALLED)):
            return
        yield _Frame(_Point(frame.f_code, frame.f_lasti), list(_names(frame)))
        frame = frame.f_back


def _names(frame: FrameType) -> Iterator[tuple[str, weakref.ref[nn.Module]]]:
    """What code in a frame can write for a module: a variable, or an attribute of ``self``."""
    local = frame.f_locals
    variables = dict(local)
    if frame.f_code.co_flags & CO_OPTIMIZED and type(local) is dict:
        local.clear()  # a copy until Python 3.12, which would keep alive what the user deletes
    attributes = getattr(variables.get("self"), "__dict__", {})
    parts = {**attributes, **(attributes.get("_modules") or {})}
    own = {f"self.{name}": part for name, part in parts.items()}
    outer = {name: value for name, value in frame.f_globals.items() if name not in variables}
    for name, value in (*variables.items(), *own.items(), *outer.items()):
        if issubclass(type(value), nn.Module):
            yield name, weakref.ref(value)


# --------------------------------------------------------------------------- telling


def _told_making(optimizer: Optimizer, making: _Making, model: nn.Module | None, places: _Places) -> dict[str, Any]:
    rate = optimizer.defaults.get("lr")
    return {
        "type": type(optimizer).__name__,
        "rate": float(rate) if rate is not None else None,
        "groups": len(optimizer.param_groups),
        "frames": [_told_frame(frame, model, places) for frame in making.frames],
        "stepped": _told_frame(making.step, model, places) if making.step is not None else None,
    }


def _told_frame(frame: _Frame, model: nn.Module | None, places: _Places) -> dict[str, Any]:
    return {"place": places.number(frame.point), "model": _name_of(model, frame)}


def _name_of(model: nn.Module | None, frame: _Frame) -> str | None:
    """What the user's code calls the network there; through what has wrapped or compiled it, where it must."""
    for name, reference in frame.names:
        value = reference()
        if value is None or model is None:
            continue
        if value is model:
            return name
        if process.unwrapped(value) is model:
            inner = "_orig_mod" if hasattr(value, "_orig_mod") else "module"
            return f"{name}.{inner}" if getattr(value, inner, None) is model else None
    return None


def _is_function(module: nn.Module) -> bool:
    """Whether a module does nothing but φ; other ones of torch's compute one on the way."""
    if module._modules:
        return False
    if any(kind.__module__ == nn.modules.activation.__name__ for kind in type(module).__mro__):
        return True
    return not module._parameters and nonlinearity_of_module(type(module).__name__) is not None


def _named(sites: Sites) -> Iterator[tuple[str, nn.Module]]:
    for prefix, model in sites.models.items():
        for name, module in model.named_modules():
            yield ".".join(part for part in (prefix, name) if part), module
