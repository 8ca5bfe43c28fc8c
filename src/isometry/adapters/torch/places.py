"""Where in a forward pass φ of each layer is computed, by which module, and what the layer had read."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from isometry.adapters.torch.alteration import Alteration
from isometry.adapters.torch.inspector import own_numbers
from isometry.adapters.torch.passes import Call, follow
from isometry.adapters.torch.recording import Recording, tensors_in
from isometry.adapters.torch.rewiring import (
    ANY_RUN,
    Address,
    Position,
    is_change_under_way,
    parameter_names,
    parameter_taken,
    told_of_changed,
)
from isometry.adapters.torch.sites import Site, Sites
from isometry.adapters.torch.trace import Origin, Tracer
from isometry.errors import IsometryError
from isometry.network.signals import Signal

__all__ = ["Activation", "Places", "Step", "look"]

CALL = nn.Module._call_impl.__code__
"""What runs once in every call of a module."""


@dataclass(eq=False, slots=True)
class Step:
    """One operation."""

    function: str
    """Empty for a module without parameters that computes φ in several operations."""
    parameter: int | None
    """Id of the last parameter that it takes."""
    calls: tuple[int, ...]
    """The calls of modules that it stands in, outermost first."""
    by_change: bool
    """Whether it belongs to an earlier edit, and not to the model."""
    layer: str = ""
    """The layer that reads a signal here."""
    position: int = 0
    """Which of the operation's tensors that is."""
    shape: tuple[int, ...] = ()
    """Of that signal."""


@dataclass(eq=False, slots=True)
class Activation:
    """One computation of a layer's φ."""

    layer: str
    """The layer; where norms stand between the two, the one that the first of them reads."""
    norms: tuple[str, ...]
    """Norms between the two, input first."""
    site: Site
    """The one whose output z is: the last of them, or the layer."""
    step: Step
    z: torch.Size
    dtype: torch.dtype
    device: torch.device
    h: torch.Size
    reading: Step | None
    """Where the layer has read."""
    in_place: bool
    """Whether h has been written into z."""
    repeated: int
    """How many of its calls, innermost ones, are made again where the backward pass computes it once more."""
    module: nn.Module | None = None
    """A module that does nothing but this."""
    named: bool = True
    """False for a module of the user's own that nobody knows the function of."""

    @property
    def unit(self) -> int:
        """Dimension of z that counts the units."""
        of_image = self.site.kind == "sum" and len(self.z) > 3
        return 1 if of_image else self.site.unit_dimension


@dataclass(eq=False)
class Places:
    """What one forward pass showed."""

    sites: Sites
    called: list[nn.Module] = field(default_factory=list)
    """The module of each call."""
    steps: list[Step] = field(default_factory=list)
    activations: list[Activation] = field(default_factory=list)

    def of(self, layer: str) -> list[Activation]:
        """Where φ of a layer is computed, named by the layer itself or by a norm in between."""
        return [one for one in self.activations if layer in (one.layer, *one.norms)]

    def calls_of(self, module: nn.Module) -> int:
        """How often a module was called."""
        return sum(one is module for one in self.called)

    def around(self, activation: Activation) -> list[nn.Module]:
        """The modules that a φ is computed in whenever it is, innermost first."""
        calls = activation.step.calls
        return [self.called[call] for call in reversed(calls[len(calls) - activation.repeated :])]

    def call_of(self, step: Step, module: nn.Module) -> int | None:
        """The innermost call of a module that a step stands in."""
        return next((call for call in reversed(step.calls) if self.called[call] is module), None)

    def addresses(self, module: nn.Module, *, every_run: bool) -> dict[Step, Address]:
        """The address of each operation inside a module.

        Args:
            module: the one whose forward pass is looked at.
            every_run: leave out how often a parameter had been taken.
        """
        names = parameter_names(module)
        positions: dict[int, Position] = {}
        found = {}
        for step in self.steps:
            call = self.call_of(step, module)
            if call is None or step.by_change or not step.function:
                continue
            position = positions.setdefault(call, Position())
            address = position.step(step.function, names.get(step.parameter) if step.parameter is not None else None)
            found[step] = address._replace(run=ANY_RUN) if every_run else address
        return found


def look(model: nn.Module, call: Call) -> Places:
    """Follow one forward pass; model, buffers and random numbers stay as they were.

    Raises:
        UnsupportedModel: the forward pass fails.
    """
    sites = Sites()
    sites.add(model)
    tracer = Tracer(sites)
    recording = Recording(0, frozenset({Signal.ACTIVATION}), _raise, levels_only=True)
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    observer = _Observer(model, sites, recording, tracer.origin_of)
    tracer.alteration = cast(Alteration, observer)  # it has its methods, and changes nothing
    tracer.begin(recording, ())
    try:
        with own_numbers(0, devices), tracer, observer.among_modules(), told_of_changed(observer):
            follow(model, call, observer, 0)
    finally:
        tracer.abandon()
    return observer.places


class _Observer(TorchFunctionMode):
    """Writes down each operation, and what the tracer beneath finds in it."""

    def __init__(
        self, model: nn.Module, sites: Sites, recording: Recording, origin_of: Callable[[Tensor], Origin]
    ) -> None:
        super().__init__()
        self._origin_of = origin_of
        self.places = Places(sites)
        self._names = parameter_names(model)
        self._ids = {name: number for number, name in self._names.items()}
        self._by_name = {site.name: site for site in sites.all}
        self._recording = recording
        self._told = 0
        self._calls: list[int] = []
        self._readings: dict[str, Step] = {}
        self._step: Step | None = None
        self._inputs: list[Tensor] = []
        self._last: tuple[Step, Any, Any] | None = None
        """The last operation, with what it took first and gave."""

    # ------------------------------------------------------------- the operations

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__" or not self._calls:
            return func(*args, **kwargs)
        step = self._next(name, args, kwargs, by_change=is_change_under_way())
        self._step, self._inputs = step, tensors_in([args, kwargs])
        result = func(*args, **kwargs)
        self._step = None
        self._last = (step, args[0] if args else None, result)
        for site in self._activated() or self._across_units(name, args):
            self._activation(site, step, args[0], result)
        self._inputs = []
        return result

    def count(self, function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """An operation that an earlier edit replaces."""
        self._next(function, args, kwargs, by_change=False)

    def _next(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, by_change: bool) -> Step:
        taken = parameter_taken(self._names, args, kwargs)
        step = Step(name, self._ids[taken] if taken is not None else None, tuple(self._calls), by_change)
        self.places.steps.append(step)
        return step

    def _activated(self) -> list[Site]:
        """The layers whose φ has been computed since this was last asked."""
        entries = self._recording.entries[self._told :]
        self._told = len(self._recording.entries)
        return [site for _, site, signal, _, _ in entries if signal is Signal.ACTIVATION]

    def _across_units(self, name: str, args: tuple[Any, ...]) -> list[Site]:
        """The layer behind which a softmax stands; the tracer knows φ alone that work element by element."""
        if name != "softmax" or not args or not isinstance(args[0], Tensor):
            return []
        origin = self._origin_of(args[0])
        return [origin.site] if origin.site is not None and origin.exact == "z" and not origin.activated else []

    def _activation(self, site: Site, step: Step, z: Tensor, h: Tensor) -> Activation:
        norms: list[str] = []
        layer = site
        while layer.kind == "norm" and len(layer.inputs) == 1 and layer.inputs[0] in self._by_name:
            norms.insert(0, layer.name)
            layer = self._by_name[layer.inputs[0]]
        found = Activation(
            layer=layer.name,
            norms=tuple(norms),
            site=site,
            step=step,
            z=z.shape,
            dtype=h.dtype,
            device=h.device,
            h=h.shape,
            reading=self._readings.get(layer.name),
            in_place=h is z,
            repeated=_repeated(step),
        )
        self.places.activations.append(found)
        return found

    # ------------------------------------------------- what the tracer asks and tells

    def reads(self, site: Site, tensor: Tensor) -> None:
        """A layer runs on this tensor."""
        place = next((place for place, one in enumerate(self._inputs) if one is tensor), None)
        if self._step is not None and place is not None:
            self._step.layer, self._step.position, self._step.shape = site.name, place, tensor.shape
            self._readings[site.name] = self._step

    def concerns(self, site: Site | None) -> bool:
        """Nothing is computed otherwise."""
        return False

    # ---------------------------------------------------------------- the modules

    @contextmanager
    def among_modules(self) -> Iterator[None]:
        """Follow which modules are under way; after the tracer has begun, so that it hears of each end first."""
        register = nn.modules.module
        hooks = [
            register.register_module_forward_pre_hook(self._begins),
            register.register_module_forward_hook(self._ends, always_call=True),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _begins(self, module: nn.Module, args: Any) -> None:
        self._calls.append(len(self.places.called))
        self.places.called.append(module)

    def _ends(self, module: nn.Module, args: Any, result: Any) -> None:
        if not self._calls or self.places.called[self._calls[-1]] is not module:
            return
        only = self._only_step(args, result)
        for site in self._activated():  # told at the end of a module that is named after its φ
            step = only or Step("", None, tuple(self._calls), is_change_under_way())
            self._activation(site, step, args[0], result).module = module
        unnamed = self._before_unnamed(module, args, result)
        if unnamed is not None:
            step = Step("", None, tuple(self._calls), is_change_under_way())
            found = self._activation(unnamed, step, args[0], result)
            found.module, found.named = module, False
        self._calls.pop()
        for activation in self.places.activations[-1:]:
            if only is not None and activation.step is only and not only.by_change:
                activation.module = module

    def _before_unnamed(self, module: nn.Module, args: tuple[Any, ...], result: Any) -> Site | None:
        """The layer of whose z alone a module makes something of its shape, in a way that has no name here."""
        is_own = not type(module).__module__.startswith(f"{torch.__name__}.")
        if not is_own or next(module.children(), None) is not None or next(module.parameters(), None) is not None:
            return None
        if len(args) != 1 or not isinstance(args[0], Tensor) or not isinstance(result, Tensor) or result is args[0]:
            return None
        origin = self._origin_of(args[0])
        told = any(one.step.calls[-1:] == (self._calls[-1],) for one in self.places.activations)
        is_after_z = origin.exact == "z" and not origin.activated and result.shape == args[0].shape
        return origin.site if is_after_z and not told else None

    def _only_step(self, args: tuple[Any, ...], result: Any) -> Step | None:
        """The operation that is all that the innermost module does."""
        if self._last is None or len(args) != 1:
            return None
        step, taken, given = self._last
        call = self._calls[-1]
        inside = sum(call in one.calls for one in self.places.steps[-2:])
        is_all = inside == 1 and step.calls[-1] == call and taken is args[0] and given is result
        return step if is_all else None


def _repeated(step: Step) -> int:
    """The calls of modules inside the innermost ``checkpoint``; all of them where there is none."""
    inside = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == checkpoint.__module__:
            return inside
        inside += frame.f_code is CALL
        frame = frame.f_back
    return len(step.calls)


def _raise(fault: Exception) -> None:
    """A fault of ours, not of the model."""
    raise IsometryError(
        f"isometry failed at following this model: {type(fault).__name__}: {fault}. What it does is not supported yet."
    ) from fault
