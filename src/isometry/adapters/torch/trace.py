"""Follows one forward pass: which layer makes which tensor, and what is measured of it.

A ``TorchFunctionMode`` sees every operation in order, functional ones included, so that no model has to be rewritten
and no module hook stays behind. The operation's result is returned untouched; only a tensor hook is put on it.
"""

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from isometry.adapters.torch import measure
from isometry.adapters.torch.alteration import Alteration
from isometry.adapters.torch.ancestry import Ancestry
from isometry.adapters.torch.nonlinearity import INSENSITIVE, Nonlinearity, nonlinearity_of_module, recognise
from isometry.adapters.torch.sites import MATRIX_OPERATIONS, NORM_OPERATIONS, Site, Sites
from isometry.network.signals import Signal

__all__ = ["Sink", "Tracer"]

SATURATED_BELOW = 0.05
"""A slope below this part of φ's greatest one counts as saturated."""

ADDITIONS = frozenset({"add", "__add__", "__radd__", "add_", "__iadd__"})
PRODUCTS = frozenset({"mul", "__mul__", "__rmul__", "mul_", "__imul__"})
GATES = frozenset({"sigmoid", "hardsigmoid", "tanh", "hardtanh", "softplus", "exponential"})
CELLS = frozenset({"lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"})
SEQUENCES = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
STATEFUL = NORM_OPERATIONS | SEQUENCES | CELLS
CUTS = frozenset({"detach", "detach_"})
ATTRIBUTES = frozenset({"T", "mT", "H", "mH", "data", "real", "imag"})
NOT_OPERATIONS = frozenset(
    {"size", "dim", "numel", "stride", "is_floating_point", "is_complex", "requires_grad_", "register_hook", "__len__"}
)


_numbering = threading.Lock()
"""Held while hooks are registered: torch numbers them, and two threads at once might get one number."""


class Sink(Protocol):
    """Where measured rows go."""

    levels_only: bool
    """Nothing but counts and root mean squares is wanted."""

    def row(self, tensor: Tensor) -> measure.Row: ...
    def forward(self, site: Site, signal: Signal, row: measure.Row, *, again: bool = False) -> None: ...
    def distribution(self, site: Site, signal: Signal, tensor: Tensor) -> None: ...
    def extra(self, site: Site, signal: Signal, statistic: str, value: "float | Tensor") -> None: ...
    def active(self, site: Site, units: Tensor, samples: int) -> None: ...
    def through_time(self, site: Site, rms: Tensor) -> None: ...
    def backward(self, site: Site, signal: Signal, call: int) -> Callable[[Tensor], None]: ...
    def branch_gain(self, site: Site) -> tuple[Callable[[Tensor], None], Callable[[Tensor], None]]: ...
    def same(self, site: Site, signal: Signal, other: Site, other_signal: Signal) -> None: ...
    def failed(self, fault: Exception) -> None: ...
    def wants(self, signal: Signal) -> bool: ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tensor comes from."""

    site: Site | None = None
    """The layer whose signal it carries on, through reshaping, dropout, pooling and the like."""
    exact: str = ""
    """``z`` or ``h`` where it is that very signal of the site."""
    activated: bool = False
    """Whether the site's φ has been applied."""
    past: int = 0
    """The runs of layers (and the inputs) that it depends on, one bit each."""
    mixed: tuple[Site, ...] = ()
    """The layers whose signals meet in it, where they are several."""

    @property
    def sources(self) -> tuple[Site, ...]:
        """The layers whose signal it carries on, one or several."""
        return self.mixed or (() if self.site is None else (self.site,))


class Tracer(TorchFunctionMode):
    """Measures one forward pass after another of the watched models."""

    def __init__(self, sites: Sites) -> None:
        super().__init__()
        self.sites = sites
        self.sink: Sink | None = None
        self.alteration: Alteration | None = None
        """Changes to try on the way; never while somebody's training is watched."""
        self.witness: Callable[[Site | None, str], None] | None = None
        """Told of every φ, by the site whose signal it takes first, where there is one; its caller is still on the
        stack."""
        self.seconds = 0.0
        """What following has cost so far, the user's operations left out."""
        self.recomputing = False
        """In the backward pass: checkpointed layers run again, only to give their gradients."""
        self._origins: dict[int, tuple[weakref.ref[Tensor], Origin]] = {}
        self._derived: dict[int, tuple[weakref.ref[Tensor], tuple[Site, ...]]] = {}
        self._ancestry = Ancestry()
        self._thread = 0
        self._nodes: dict[Any, Origin] = {}
        self._modules: list[nn.Module] = []
        self._norm_inputs: dict[Site, Tensor] = {}
        self._composed: list[Nonlinearity] = []
        self._hooks: list[Any] = []

    # ---------------------------------------------------------------- the pass

    def begin(self, sink: Sink, inputs: Iterable[Tensor]) -> None:
        """Start to follow a pass; the mode itself is entered by the caller."""
        self.sink = sink
        self._thread = threading.get_ident()
        for site in self.sites.all:
            site.calls = 0
        for tensor in inputs:
            self._keep(tensor, Origin(past=self._ancestry.begin_run(None)))
        register = nn.modules.module
        with _numbering:
            self._hooks = [
                register.register_module_forward_pre_hook(self._module_begins),
                register.register_module_forward_hook(self._module_ends, always_call=True),
            ]

    def end(self, outputs: Iterable[Tensor]) -> None:
        """Stop following; note which layers reach what the network returns."""
        for tensor in outputs:
            origin = self._origin(tensor)
            if origin.site is not None:
                origin.site.output = True
        self._ancestry.mark_cut_sites()
        self._ancestry.note_readers()
        self.abandon()

    def abandon(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._origins.clear()
        self._derived.clear()
        self._nodes.clear()
        self._ancestry.clear()
        self._modules.clear()
        self._norm_inputs.clear()
        self._composed.clear()
        self.sink = None

    # ------------------------------------------------------------- the modules

    def _module_begins(self, module: nn.Module, args: Any) -> None:
        if torch.compiler.is_compiling() or threading.get_ident() != self._thread:
            return
        self._modules.append(module)
        nonlinearity = self._composed_nonlinearity(module)
        if nonlinearity is not None:
            self._composed.append(nonlinearity)
        site = self.sites.of_module.get(id(module))
        if site is not None:
            for parameter in _parameters(module):  # others than its own while torch.func.functional_call puts them in
                if parameter is not None and id(parameter) not in self.sites.of_parameter:
                    self._derived[id(parameter)] = (weakref.ref(parameter), (site,))
        if site is not None and site.kind == "norm" and args and isinstance(args[0], Tensor):
            self._norm_inputs[site] = args[0]

    def _module_ends(self, module: nn.Module, args: Any, result: Any) -> None:
        if (
            torch.compiler.is_compiling()
            or threading.get_ident() != self._thread
            or not self._modules
            or self._modules[-1] is not module
        ):
            return
        self._modules.pop()
        if self._norm_inputs:
            self._norm_inputs.pop(self.sites.of_module.get(id(module)), None)  # type: ignore[arg-type]
        if not self._composed or self._composed_nonlinearity(module) is None:
            return
        nonlinearity = self._composed.pop()
        if self.sink is not None and args and isinstance(args[0], Tensor) and isinstance(result, Tensor):
            self._guarded(lambda: self._activation(nonlinearity, args[0], result, None, None))

    @staticmethod
    def _composed_nonlinearity(module: nn.Module) -> Nonlinearity | None:
        """A module without parameters or children, of a class that torch does not know, named after its φ."""
        if type(module).__module__.startswith("torch.nn") or module._parameters or module._modules:
            return None
        return nonlinearity_of_module(type(module).__name__)

    @property
    def _module_name(self) -> str:
        for module in reversed(self._modules):
            name = self.sites.module_names.get(id(module))
            if name is not None:
                return name
        return ""

    # ---------------------------------------------------------- the operations

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__":
            name = getattr(getattr(func, "__self__", None), "__name__", "")
            if name not in ATTRIBUTES:
                return func(*args, **kwargs)
        if self.sink is None or self._composed or name in NOT_OPERATIONS or _transformed():
            result = func(*args, **kwargs)
            if self.sink is not None and self._composed:
                self._guarded(lambda: self._inside_composed(name, args, kwargs, result))
            return result
        started = perf_counter()
        prepared: _Operation | None = None
        try:
            with _undisturbed():
                prepared = self._prepare(name, args, kwargs)
        except Exception as fault:  # noqa: BLE001  promise: watching never stops training
            self._fail(fault)
        self.seconds += perf_counter() - started
        if prepared is None:
            return func(*args, **kwargs)
        result = self._computed(func, prepared)
        started = perf_counter()
        self._guarded(lambda: self._after(prepared, result))
        self.seconds += perf_counter() - started
        return result

    def _computed(self, func: Callable[..., Any], operation: "_Operation") -> Any:
        """What the user's operation gives; under an alteration, what it would give."""
        if self.alteration is not None and operation.nonlinearity is not None:
            origin = operation.origins[0]
            if not origin.activated and origin.site is not None and self.alteration.concerns(origin.site):
                with _undisturbed():
                    return self.alteration.activation(origin.site, func, operation.args, operation.kwargs)
        return func(*operation.args, **operation.kwargs)

    def _guarded(self, action: Callable[[], None]) -> None:
        """A fault of ours never reaches the user's forward pass."""
        try:
            with _undisturbed():
                action()
        except Exception as fault:  # noqa: BLE001  promise: watching never stops training
            self._fail(fault)

    def _fail(self, fault: Exception) -> None:
        if self.sink is not None:
            self.sink.failed(fault)

    def _inside_composed(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """A module named after its φ may call that φ after all: then the call says which form of it."""
        called = recognise(name, args, kwargs)
        if called is not None and called.name.partition("_")[0] == self._composed[-1].name.partition("_")[0]:
            self._composed[-1] = called
        self._pass_on(name, _tensors(args, kwargs), result)

    def _prepare(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "_Operation":
        tensors = _tensors(args, kwargs)
        operation = _Operation(name, args, kwargs, tensors)
        operation.site = self._site_of(name, tensors)
        operation.origins = [self._origin(tensor) for tensor in tensors]
        if operation.site is not None and name in SEQUENCES and torch.is_grad_enabled() and not self.recomputing:
            self._listen_through_time(operation)
        nonlinearity = recognise(name, args, kwargs) if operation.site is None or name == "prelu" else None
        if nonlinearity is not None and tensors and tensors[0] is args[0]:
            operation.nonlinearity = nonlinearity
            operation.site = None
            self._measure_before(operation, args[0])
        return operation

    def _site_of(self, name: str, tensors: list[Tensor]) -> Site | None:
        """The layer whose parameter takes part, or the module in which a computed weight is used."""
        current = self.sites.of_module.get(id(self._modules[-1])) if self._modules else None
        owners: list[Site] = []
        for tensor in tensors:
            owners.extend(self._owners(tensor))
        if owners:
            return current if current in owners else owners[0]
        if current is not None and (name in MATRIX_OPERATIONS or name in NORM_OPERATIONS):
            return current
        return None

    def _owners(self, tensor: Tensor) -> Sequence[Site]:
        """Layers that own a parameter, or the parameter that this tensor is a slice, a cast or a transpose of."""
        owners = self.sites.of_parameter.get(id(tensor))
        if owners is not None:
            return owners
        entry = self._derived.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else ()

    def _derives(self, operation: "_Operation", result: Any) -> bool:
        """Whether the operation had parameters only; what came out is then still a parameter, and no signal."""
        if operation.name in MATRIX_OPERATIONS or not all(self._owners(tensor) for tensor in operation.tensors):
            return False
        owners = tuple(dict.fromkeys(site for tensor in operation.tensors for site in self._owners(tensor)))
        for tensor in _leaves(result):
            self._derived[id(tensor)] = (weakref.ref(tensor), owners)
        return True

    def _after(self, operation: "_Operation", result: Any) -> None:
        name, tensors = operation.name, operation.tensors
        if operation.nonlinearity is not None and isinstance(result, Tensor):
            if operation.reader is not None:  # PReLU has a weight of its own
                self._listen(operation.reader, result)
            self._activation(operation.nonlinearity, None, result, operation.origins[0], operation.slope, operation)
            return
        if operation.site is not None and self._derives(operation, result):
            return
        if operation.site is not None and _first(result) is not None:
            self._layer(operation, operation.site, result)
            return
        if name in CUTS or name == "data" or (tensors and not torch.is_grad_enabled()):
            self._cut(operation.origins)
        if name in ADDITIONS and self._residual_sum(operation, result):
            return
        if name in PRODUCTS:
            self._gates(operation.origins)
        self._pass_on(name, tensors, result, operation.origins)

    # ------------------------------------------------------------------ layers

    def _layer(self, operation: "_Operation", site: Site, result: Any) -> None:
        output = _first(result)
        assert output is not None
        data = self._data(operation)
        past = 0
        for origin in (*operation.origins, *(origin for _, origin in data)):
            past |= origin.past
        continued = operation.name not in MATRIX_OPERATIONS and any(
            origin.site is site and origin.exact == "z" for _, origin in data
        )
        if not continued:
            self.sites.runs(site)
            self._note_inputs(operation, site, data, past)
            if site.kind != "parameter" or operation.name in MATRIX_OPERATIONS:
                past |= self._ancestry.begin_run(site, past)
        if operation.name in MATRIX_OPERATIONS and site.kind in ("other", "parameter"):
            site.kind = MATRIX_OPERATIONS[operation.name]
        self._ancestry.note_past(site, past)
        self._measure_output(site, output, past, continued)
        if not self.recomputing and not torch.is_grad_enabled():
            site.cut = True
        for tensor in _leaves(result):
            exact = "z" if tensor is output else ""
            self._keep(tensor, Origin(site, exact, False, past))
            self._listen(site, tensor)

    def _data(self, operation: "_Operation") -> list[tuple[Tensor, Origin]]:
        """What the layer reads besides its parameters; a tensor of unknown origin is an input of the network."""
        data: list[tuple[Tensor, Origin]] = []
        only_first = operation.name in STATEFUL  # running statistics and hidden states are no input
        for tensor, origin in zip(operation.tensors, operation.origins, strict=True):
            if only_first and data:
                break
            if self._owners(tensor):
                continue
            if not _carries(tensor) and not operation.name.startswith("embedding"):
                continue
            if not origin.past:
                origin = Origin(past=self._ancestry.begin_run(None))
                self._keep(tensor, origin)
            data.append((tensor, origin))
        return data

    def _note_inputs(self, operation: "_Operation", site: Site, data: list[tuple[Tensor, Origin]], past: int) -> None:
        """Where the layer reads from, and the signals on its input side."""
        if self._ancestry.is_fed_by_itself(site, past):
            site.recurrent = True
        if not data or self.recomputing:
            return
        tensor, origin = data[0]
        if self.alteration is not None:
            self.alteration.reads(site, tensor)
        whole = self._norm_inputs.get(site)
        if whole is not None and whole is not tensor:  # a norm written by hand: its own operations come first
            tensor, origin = whole, self._origin(whole)
        if not site.inputs:
            site.inputs = _names([origin, *(other for _, other in data[1:])])
        if origin.site is not None and origin.exact and site.kind == "norm" and not origin.activated:
            origin.site.norm = origin.site.norm or site.name
        sink = self.sink
        assert sink is not None
        if not self._ancestry.has_layers(past) and measure.measurable(tensor) and sink.wants(Signal.INPUT):
            sink.forward(site, Signal.INPUT, sink.row(tensor))
        if not sink.wants(Signal.INPUT_GRADIENT) or operation.name in SEQUENCES:
            return
        if origin.site is not None and origin.exact and origin.site is not site:
            signal = Signal.ACTIVATION_GRADIENT if origin.exact == "h" else Signal.DELTA
            sink.same(site, Signal.INPUT_GRADIENT, origin.site, signal)
        elif tensor.requires_grad and not tensor.is_leaf:
            tensor.register_hook(sink.backward(site, Signal.INPUT_GRADIENT, site.calls))

    def _measure_output(self, site: Site, output: Tensor, past: int, continued: bool) -> None:
        sink = self.sink
        assert sink is not None
        site.ran_with_graph = site.ran_with_graph or output.requires_grad
        if self.recomputing or not measure.measurable(output):
            return
        if sink.wants(Signal.PRE_ACTIVATION):
            sink.forward(site, Signal.PRE_ACTIVATION, sink.row(output), again=continued)
            sink.distribution(site, Signal.PRE_ACTIVATION, output)
            if site.kind != "embedding" and not sink.levels_only:
                sink.extra(site, Signal.PRE_ACTIVATION, "spread", measure.spread(output))

    def _listen(self, site: Site, tensor: Tensor) -> None:
        if tensor.requires_grad and not tensor.is_leaf and self.sink is not None and self.sink.wants(Signal.DELTA):
            tensor.register_hook(self.sink.backward(site, Signal.DELTA, site.calls))

    def _listen_through_time(self, operation: "_Operation") -> None:
        """∂L/∂x of every time step is Wᵀδ of that step: fused kernels show their δ nowhere else.

        The kernel reads an alias of x that asks for a gradient, so data that ask for none are heard too, and other
        readers of x are not.
        """
        args, site, sink = operation.args, operation.site, self.sink
        assert site is not None and sink is not None
        if not measure.measurable(args[0]) or not sink.wants(Signal.DELTA):
            return
        packed = isinstance(args[3], list | tuple)
        settings = args[4:] if packed else args[3:]
        bidirectional = bool(settings[4]) if len(settings) > 4 else False
        if bidirectional:
            return
        alias = args[0].view_as(args[0]) if args[0].requires_grad else args[0].detach().requires_grad_()
        batch_sizes = args[1].tolist() if packed else None
        batch_first = not packed and len(settings) > 5 and bool(settings[5])

        def heard(gradient: Tensor) -> None:
            self._guarded(lambda: sink.through_time(site, _rms_by_time(gradient, batch_sizes, batch_first)))

        alias.register_hook(heard)
        if args[0].requires_grad and sink.wants(Signal.INPUT_GRADIENT):
            alias.register_hook(sink.backward(site, Signal.INPUT_GRADIENT, site.calls))
        operation.args = (alias, *args[1:])

    # ----------------------------------------------------------- nonlinearities

    def _measure_before(self, operation: "_Operation", z: Tensor) -> None:
        """What needs z, which an in-place φ is about to overwrite."""
        nonlinearity, origin = operation.nonlinearity, operation.origins[0]
        assert nonlinearity is not None and self.sink is not None
        if operation.name == "prelu":
            operation.reader = self._site_of("prelu", operation.tensors)
            if operation.reader is not None:
                self.sites.runs(operation.reader)
        if origin.site is None or origin.activated or self.recomputing or not measure.measurable(z):
            return
        if nonlinearity.slope is None or nonlinearity.from_output or operation.name == "prelu":
            return
        if self.sink.wants(Signal.SLOPE):
            with torch.no_grad():
                operation.slope = nonlinearity.slope(z.detach(), z.detach())
                if nonlinearity.alive_above is not None:
                    operation.greatest = measure.greatest_per_unit(z, origin.site.unit_dimension)

    def _activation(
        self,
        nonlinearity: Nonlinearity,
        z: Tensor | None,
        h: Tensor,
        origin: Origin | None,
        slope: Tensor | None,
        operation: "_Operation | None" = None,
    ) -> None:
        """Give φ to the layer whose output it takes."""
        if origin is None:
            assert z is not None
            origin = self._origin(z)
            if nonlinearity.slope is not None and z is not h:
                with torch.no_grad():
                    slope = nonlinearity.slope(z.detach(), h.detach())
        site = origin.site
        if self.witness is not None and not self.recomputing:
            self.witness(None if origin.activated else site, nonlinearity.name)
        if site is None or origin.activated or self.sink is None:
            self._keep(h, replace(origin, exact=""))
            return
        site.activation = site.activation or nonlinearity.name
        self._keep(h, Origin(site, "h", True, origin.past))
        if h.requires_grad and not h.is_leaf and self.sink.wants(Signal.ACTIVATION_GRADIENT):
            h.register_hook(self.sink.backward(site, Signal.ACTIVATION_GRADIENT, site.calls))
        if self.recomputing or not measure.measurable(h):
            return
        activation = None
        if self.sink.wants(Signal.ACTIVATION):
            activation = measure.row(h)
            self.sink.forward(site, Signal.ACTIVATION, activation)
            self.sink.distribution(site, Signal.ACTIVATION, h)
        if not self.sink.wants(Signal.SLOPE):
            return
        if nonlinearity.name == "relu" and activation is not None:
            self.sink.forward(site, Signal.SLOPE, measure.row_of_step_slope(activation))
            self.sink.active(site, measure.greatest_per_unit(h, site.unit_dimension) > 0, _samples(h))
        else:
            self._measure_slope(site, nonlinearity, h.detach(), slope, operation)

    def _measure_slope(
        self, site: Site, nonlinearity: Nonlinearity, h: Tensor, slope: Tensor | None, operation: "_Operation | None"
    ) -> None:
        sink = self.sink
        assert sink is not None
        if slope is None and nonlinearity.slope is not None and nonlinearity.from_output:
            with torch.no_grad():
                slope = nonlinearity.slope(h, h)
        if slope is None:
            return
        sink.forward(site, Signal.SLOPE, measure.row(slope))
        if nonlinearity.saturates:
            flat = slope < SATURATED_BELOW * nonlinearity.greatest_slope
            sink.extra(site, Signal.SLOPE, "saturated", measure.share(flat))
        if nonlinearity.alive_above is None:
            return
        greatest = operation.greatest if operation is not None else None
        if greatest is not None:
            sink.active(site, greatest > nonlinearity.alive_above, _samples(h))
        else:
            steepest = measure.greatest_per_unit(slope, site.unit_dimension)
            sink.active(site, steepest > INSENSITIVE * nonlinearity.greatest_slope, _samples(h))

    def _gates(self, origins: list[Origin]) -> None:
        """A φ whose output multiplies another signal of the network decides how much of it passes."""
        carrying = [origin for origin in origins if origin.past]
        if len(carrying) < 2:
            return
        for origin in carrying:
            if origin.exact == "h" and origin.site is not None and origin.site.activation in GATES:
                origin.site.gated = True

    # -------------------------------------------------------------------- sums

    def _residual_sum(self, operation: "_Operation", result: Any) -> bool:
        """Whether the addition joins a branch with the signal that it left: then it becomes a site."""
        if not isinstance(result, Tensor) or result.dim() < 2 or len(operation.tensors) < 2:
            return False
        first, second = operation.origins[:2]
        branch = self._ancestry.branch(first.past, second.past, module=self._module_name)
        if not branch:
            return False
        site = self.sites.sum_at(self._module_name, branch)
        for member in branch:
            if member.branch is None and member is not site:
                member.branch = site.name
        past = first.past | second.past
        if not site.inputs:
            site.inputs = _names([first, second])
        self.sites.runs(site)
        past |= self._ancestry.begin_run(site, past)
        self._measure_output(site, result, past, False)
        self._keep(result, Origin(site, "z", False, past))
        self._listen(site, result)
        self._listen_at_fork(operation, site, result)
        return True

    def _listen_at_fork(self, operation: "_Operation", site: Site, result: Tensor) -> None:
        """Where x + f(x) adds x itself, ∂L/∂x less δ of the sum is what came back through f."""
        sink, (first, second) = self.sink, operation.origins[:2]
        assert sink is not None
        shared = first.past & second.past
        if first.past == second.past or shared not in (first.past, second.past) or not sink.wants(Signal.DELTA):
            return
        fork = operation.tensors[0 if first.past == shared else 1]
        if fork is result or not fork.requires_grad or fork.is_leaf or fork.shape != result.shape:
            return
        at_sum, at_fork = sink.branch_gain(site)
        result.register_hook(at_sum)
        fork.register_hook(at_fork)

    # ------------------------------------------------------------------ origins

    def _pass_on(self, name: str, tensors: list[Tensor], result: Any, origins: list[Origin] | None = None) -> None:
        """Any other operation: the result carries on the signal of its only source, or of none."""
        results = _leaves(result)
        if not results:
            return
        origins = origins if origins is not None else [self._origin(tensor) for tensor in tensors]
        past = 0
        for origin in origins:
            past |= origin.past
        if not past:
            return
        sources = {id(origin.site): origin for origin in origins if origin.site is not None}
        mixed = tuple(dict.fromkeys(site for origin in origins for site in origin.sources))
        one = len(sources) == 1 and all(origin.site is not None for origin in origins if origin.sources)
        only = next(iter(sources.values())) if one else Origin()
        if name in ADDITIONS and len(sources) > 1 and all(origin.exact == "z" for origin in sources.values()):
            only = max(sources.values(), key=lambda origin: origin.past)  # W x + U h: φ belongs to the last matrix
        for tensor in results:
            if not _in_place(name) and any(tensor is source for source in tensors):
                continue  # the operation handed its input back, as dropout does in evaluation
            if _carries(tensor):
                self._keep(tensor, Origin(only.site, "", only.activated, past, mixed if len(mixed) > 1 else ()))
            else:  # numbers of places, comparisons: they depend on the layers, and carry no signal of theirs
                self._keep(tensor, Origin(past=past))

    def _cut(self, origins: list[Origin]) -> None:
        for origin in origins:
            self._ancestry.note_cut(origin.past)

    def origin_of(self, tensor: Tensor) -> Origin:
        """Where a tensor of the pass that is being followed comes from."""
        return self._origin(tensor)

    def _origin(self, tensor: Tensor) -> Origin:
        entry = self._origins.get(id(tensor))
        if entry is not None and entry[0]() is tensor:
            return entry[1]
        if tensor.grad_fn is None or not self._nodes or self._owners(tensor):
            return NOWHERE
        origin = self._origin_by_graph(tensor)
        if origin.past:
            self._keep(tensor, origin)
        return origin

    def _origin_by_graph(self, tensor: Tensor) -> Origin:
        """Of a tensor that no operation was seen to make: autograd functions and compiled parts make such."""
        waiting: list[Any] = [tensor.grad_fn]
        seen: set[Any] = set()
        found: list[Origin] = []
        while waiting and len(seen) < UNSEEN_AT_MOST:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            known = self._nodes.get(node)
            if known is None:
                waiting.extend(following for following, _ in node.next_functions)
            else:
                found.append(known)
        past = 0
        for origin in found:
            past |= origin.past
        sources = tuple(dict.fromkeys(site for origin in found for site in origin.sources))
        if len(sources) != 1:
            return Origin(past=past, mixed=sources)
        return Origin(sources[0], "", any(origin.activated for origin in found), past)

    def _keep(self, tensor: Tensor, origin: Origin) -> None:
        self._origins[id(tensor)] = (weakref.ref(tensor), origin)
        if origin.exact and tensor.grad_fn is not None:
            self._nodes[tensor.grad_fn] = origin


NOWHERE = Origin()
UNSEEN_AT_MOST = 256
"""Nodes of autograd's graph in which the origin of a tensor is looked for."""


def _carries(tensor: Tensor) -> bool:
    """Whether a gradient can pass through a tensor of its type."""
    return tensor.is_floating_point() or tensor.is_complex()


def _names(origins: Iterable[Origin]) -> tuple[str, ...]:
    """Names of the layers that these signals come from; the empty name for the network's input."""
    return tuple(dict.fromkeys(name for origin in origins for name in _names_of(origin)))


def _names_of(origin: Origin) -> tuple[str, ...]:
    return tuple(site.name for site in origin.sources) or ("",)


def _parameters(module: nn.Module) -> Iterable[Tensor | None]:
    return () if isinstance(module, torch.jit.ScriptModule) else module._parameters.values()


def _transformed() -> bool:
    """Whether a ``torch.func`` transform is under way, whose tensors have no values to be measured."""
    return torch._C._functorch.peek_interpreter_stack() is not None


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Our own operations are no business of the modes that the user's run in: counters, caches, profilers of theirs."""
    with torch._C.DisableTorchFunction():
        if torch._C._len_torch_dispatch_stack() == 0:
            yield
        else:
            with _disable_current_modes():
                yield


class _Operation:
    """One call of a torch function, with what was found out before it."""

    __slots__ = (
        "args", "greatest", "kwargs", "name", "nonlinearity", "origins", "reader", "site", "slope", "tensors",
    )  # fmt: skip

    def __init__(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Tensor]) -> None:
        self.name = name
        self.args = args
        self.kwargs = kwargs
        self.tensors = tensors
        self.site: Site | None = None
        self.reader: Site | None = None
        self.origins: list[Origin] = []
        self.nonlinearity: Nonlinearity | None = None
        self.slope: Tensor | None = None
        self.greatest: Tensor | None = None


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Tensors among the arguments, and one level inside lists and tuples."""
    found: list[Tensor] = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found.extend(item for item in value if isinstance(item, Tensor))
    return found


def _in_place(name: str) -> bool:
    return name.startswith("__i") if name.startswith("__") else name.endswith("_")


def _first(result: Any) -> Tensor | None:
    if isinstance(result, Tensor):
        return result
    if isinstance(result, list | tuple) and result and isinstance(result[0], Tensor):
        return result[0]
    return None


def _leaves(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, list | tuple):
        return [item for item in result if isinstance(item, Tensor)]
    return []


def _samples(tensor: Tensor) -> int:
    return int(tensor.shape[0]) if tensor.dim() > 1 else 1


def _rms_by_time(gradient: Tensor, batch_sizes: list[int] | None, batch_first: bool) -> Tensor:
    """Root mean square of the gradient at every time step, earliest first. shape (steps,)"""
    values = gradient.detach().double().square()
    if batch_sizes is not None:
        return torch.stack([part.mean() for part in values.split(batch_sizes)]).sqrt()
    if values.dim() == 2:
        return values.mean(1).sqrt()
    return values.mean(dim=(0, 2) if batch_first else (1, 2)).sqrt()
