"""Edits made while a model's own forward pass runs, where there is no module that another could be put in place of.

The module in which the operations stand gets a ``forward`` of its own: the class's, under a ``TorchFunctionMode`` that
counts the operations from one parameter to the next. So an operation has an address, and no tensor has to be followed:
the same one in training and evaluation, under ``torch.func``, in copies of the model, and for sequences of any length.
It is no hook, for hooks are taken off where somebody looks at a copy of the model.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from isometry.adapters.torch.alteration import FUNCTIONS
from isometry.adapters.torch.recording import tensors_in

__all__ = [
    "ANY_RUN",
    "Address",
    "Change",
    "Counter",
    "Notes",
    "Position",
    "Rewired",
    "is_change_under_way",
    "noting",
    "parameter_names",
    "parameter_taken",
    "told_of_changed",
]

ANY_RUN = -1


class Address(NamedTuple):
    """An operation of a module's forward pass."""

    parameter: str
    """The last parameter that an operation of the module took, by its name there; empty before the first."""
    function: str
    nth: int
    """Operations of the same name since then."""
    run: int = ANY_RUN
    """How often that parameter had been taken by then, where that matters."""


class Position:
    """Where in a forward pass one is."""

    def __init__(self) -> None:
        self._parameter, self._run = "", 0
        self._runs: dict[str, int] = {}
        self._seen: dict[str, int] = {}

    def step(self, function: str, parameter: str | None) -> Address:
        """The address of the next operation."""
        if parameter is not None:
            self._parameter = parameter
            self._run = self._runs[parameter] = self._runs.get(parameter, 0) + 1
            self._seen.clear()
        nth = self._seen.get(function, 0)
        self._seen[function] = nth + 1
        return Address(self._parameter, function, nth, self._run)


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of φ at one address."""

    layer: str
    """The layer that φ belongs to, by its name in the whole model."""
    norms: tuple[str, ...] = ()
    """Norms of the model's own between the two."""
    activation: str | None = None
    """Another φ; None for the model's own."""
    before: str | None = None
    """Path of a norm layer, from the module that is rewired."""
    after: str | None = None
    skip: bool = False
    gate: str | None = None
    """Path of the module that scales the skip."""
    in_place: bool = False
    """Whether the result is to be found in z, where the model looks for it."""


def parameter_names(module: nn.Module) -> dict[int, str]:
    """First name of every parameter by its id, or of what ``torch.func`` has put in its place."""
    names: dict[int, str] = {}
    for path, part in module.named_modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                names.setdefault(id(parameter), f"{path}.{name}" if path else name)
    return names


def parameter_taken(names: Mapping[int, str], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """The last parameter among an operation's arguments, and one level inside lists."""
    taken = None
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            taken = names.get(id(value), taken)
        elif isinstance(value, list | tuple):
            for item in value:
                taken = names.get(id(item), taken) if isinstance(item, Tensor) else taken
    return taken


# ------------------------------------------------------------------- what is under way


class Counter(Protocol):
    """Counts operations; is told of those that it cannot see, because another one has replaced them."""

    def count(self, function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any: ...


class Notes:
    """What a pass showed of the changes made in it."""

    def __init__(self) -> None:
        self.met: set[tuple[int, Address]] = set()
        """Id of the ``Rewired`` and address of each change that was reached."""
        self.read_later: set[tuple[int, Address]] = set()
        """Those whose z was read afterwards, as if φ had been written into it."""
        self.left_behind: list[tuple[Tensor, tuple[int, Address]]] = []

    def reads(self, value: Any) -> None:
        """An operation takes these values, or a module returns them."""
        if self.left_behind:
            for tensor in tensors_in(value):
                self.read_later.update(key for z, key in self.left_behind if z is tensor)


class _UnderWay(threading.local):
    def __init__(self) -> None:
        self.counters: list[Counter] = []
        """Innermost last."""
        self.changing = False
        self.notes: Notes | None = None


_under_way = _UnderWay()


def is_change_under_way() -> bool:
    """Whether the operations seen now are those of a change, not the model's own."""
    return _under_way.changing


@contextmanager
def told_of_changed(counter: Counter) -> Iterator[None]:
    """Tell a counter of the operations that changes replace."""
    _under_way.counters.append(counter)
    try:
        yield
    finally:
        _under_way.counters.remove(counter)


@contextmanager
def noting() -> Iterator[Notes]:
    """Keep what passes show of the changes made in them."""
    _under_way.notes = notes = Notes()
    try:
        yield notes
    finally:
        _under_way.notes = None


# -------------------------------------------------------------------------- the pass


class Rewired:
    """Stands as ``forward`` in one module and makes its changes; goes along when the module is copied or pickled."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.own: Callable[..., Any] | None = module.__dict__.get("forward")
        """A forward that the instance had before; None for that of its class."""
        self.changes: dict[Address, Change] = {}
        self.reads: dict[Address, tuple[str, int]] = {}
        """Where a layer with a skip reads: its name, and which of the operation's tensors."""

    @property
    def __wrapped__(self) -> Callable[..., Any]:  # what the signature is asked of
        return self.own if self.own is not None else type(self.module).forward.__get__(self.module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        under_way = _Pass(self)
        with told_of_changed(under_way), under_way:
            result = self.__wrapped__(*args, **kwargs)
        if _under_way.notes is not None:
            _under_way.notes.reads(result)
        return result


class _Pass(TorchFunctionMode):
    """One forward pass of a module that is rewired."""

    def __init__(self, rewired: Rewired) -> None:
        super().__init__()
        self._rewired = rewired
        self._names = parameter_names(rewired.module)
        self._position = Position()
        self._read: dict[str, Tensor] = {}

    def count(self, function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Address:
        return self._position.step(function, parameter_taken(self._names, args, kwargs))

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__" or _under_way.changing:
            return func(*args, **kwargs)
        here = self.count(name, args, kwargs)
        if _under_way.notes is not None:
            _under_way.notes.reads([args, kwargs])
        reading = self._found(self._rewired.reads, here)
        if reading is not None:
            layer, place = self._rewired.reads[reading]
            self._read[layer] = tensors_in([args, kwargs])[place]
        changed = self._found(self._rewired.changes, here)
        if changed is None:
            return func(*args, **kwargs)
        for outer in _under_way.counters[: _under_way.counters.index(self)]:
            outer.count(name, args, kwargs)
        _under_way.changing = True
        try:
            return self._changed(changed, func, args, kwargs)
        finally:
            _under_way.changing = False

    @staticmethod
    def _found(among: Mapping[Address, Any], here: Address) -> Address | None:
        if here in among:
            return here
        always = here._replace(run=ANY_RUN)
        return always if always in among else None

    def _changed(self, at: Address, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        change, z = self._rewired.changes[at], args[0]
        h = z.clone() if change.in_place else z
        if change.before is not None:
            h = self._rewired.module.get_submodule(change.before)(h)
        h = FUNCTIONS[change.activation](h) if change.activation is not None else func(h, *args[1:], **kwargs)
        if change.after is not None:
            h = self._rewired.module.get_submodule(change.after)(h)
        read = self._read.pop(change.layer, None) if change.skip else None
        if read is not None and read.shape == h.shape:
            h = h + read if change.gate is None else self._rewired.module.get_submodule(change.gate)(h, read)
        if _under_way.notes is not None:
            key = (id(self._rewired), at)
            _under_way.notes.met.add(key)
            if h is not z and not change.in_place:
                _under_way.notes.left_behind.append((z, key))
        return z.copy_(h) if change.in_place else h
