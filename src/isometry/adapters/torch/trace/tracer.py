"""The mode under which a forward pass runs while it is followed.

A ``TorchFunctionMode`` sees every operation in order, functional ones included, so that no model has to be rewritten
and no module hook stays behind. The operation's result is returned untouched; only a tensor hook is put on it.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from isometry.adapters.torch.alteration import Alteration
from isometry.adapters.torch.ancestry import Ancestry
from isometry.adapters.torch.nonlinearity import Nonlinearity, nonlinearity_of_module, recognise
from isometry.adapters.torch.roots import is_transforming
from isometry.adapters.torch.sites import MATRIX_OPERATIONS, NORM_OPERATIONS, Site, Sites
from isometry.adapters.torch.trace.forward_pass import ForwardPass, Sink
from isometry.adapters.torch.trace.layers import Layers
from isometry.adapters.torch.trace.names import ADDITIONS, ATTRIBUTES, CUTS, NOT_OPERATIONS, PRODUCTS, SEQUENCES
from isometry.adapters.torch.trace.nonlinearities import Nonlinearities, note_gates
from isometry.adapters.torch.trace.operation import Operation, Origin, first_of, tensors_among
from isometry.adapters.torch.trace.sums import ResidualSums
from isometry.adapters.torch.trace.tensor_origins import TensorOrigins, is_learned

__all__ = ["Tracer"]

_numbering = threading.Lock()
"""Held while hooks are registered: torch numbers them, and two threads at once might get one number."""


@dataclass(frozen=True, slots=True)
class _Readers:
    """Who reads the operations of the pass that is under way."""

    layers: Layers
    nonlinearities: Nonlinearities
    sums: ResidualSums


class Tracer(TorchFunctionMode):
    """Measures one forward pass after another of the watched models."""

    def __init__(self, sites: Sites) -> None:
        super().__init__()
        self.sites = sites
        self.alteration: Alteration | None = None
        """Changes to try on the way; never while somebody's training is watched."""
        self.witness: Callable[[Site | None, str], None] | None = None
        """Told of every φ, by the site whose signal it takes first, where there is one; its caller is still on the
        stack."""
        self.seconds = 0.0
        """What following has cost so far, the user's operations left out."""
        self.recomputing = False
        """In the backward pass: checkpointed layers run again, only to give their gradients. Set before a pass."""
        self._origins = TensorOrigins(sites)
        self._ancestry = Ancestry()
        self._sink: Sink | None = None
        self._readers: _Readers | None = None
        self._thread = 0
        self._modules: list[nn.Module] = []
        self._composed: list[Nonlinearity] = []
        self._hooks: list[Any] = []

    # ---------------------------------------------------------------- the pass

    def begin(self, sink: Sink, inputs: Iterable[Tensor]) -> None:
        """Start to follow a pass; the mode itself is entered by the caller."""
        forward = ForwardPass(sink, self.sites, self._origins, self._ancestry, self.recomputing)
        layers = Layers(forward, self.alteration, self._guarded)
        self._sink = sink
        self._readers = _Readers(layers, Nonlinearities(forward, self.witness), ResidualSums(forward, layers))
        self._thread = threading.get_ident()
        for site in self.sites.all:
            site.calls = 0
        for tensor in inputs:
            self._origins.keep(tensor, Origin(past=self._ancestry.begin_input(learned=is_learned(tensor))))
        register = nn.modules.module
        with _numbering:
            self._hooks = [
                register.register_module_forward_pre_hook(self._module_begins),
                register.register_module_forward_hook(self._module_ends, always_call=True),
            ]

    def end(self, outputs: Iterable[Tensor]) -> None:
        """Stop following; note which layers reach what the network returns."""
        for tensor in outputs:
            origin = self._origins.of(tensor)
            if origin.site is not None:
                origin.site.output = True
        self._ancestry.mark_cut_sites()
        self._ancestry.note_readers()
        self.abandon()

    def abandon(self) -> None:
        """Stop following, and forget the pass."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._origins.clear()
        self._ancestry.clear()
        self._modules.clear()
        self._composed.clear()
        self._readers = None
        self._sink = None

    def origin_of(self, tensor: Tensor) -> Origin:
        """Where a tensor of the pass that is being followed comes from."""
        return self._origins.of(tensor)

    # ------------------------------------------------------------- the modules

    def _module_begins(self, module: nn.Module, args: Any) -> None:
        if torch.compiler.is_compiling() or threading.get_ident() != self._thread:
            return
        self._modules.append(module)
        nonlinearity = _composed_nonlinearity(module)
        if nonlinearity is not None:
            self._composed.append(nonlinearity)
        site = self.sites.of_module.get(id(module))
        if site is None or self._readers is None:
            return
        for parameter in _parameters(module):  # others than its own while torch.func.functional_call puts them in
            if parameter is not None:
                self._origins.lend(parameter, site)
        if site.kind == "norm" and args and isinstance(args[0], Tensor):
            self._readers.layers.norm_inputs[site] = args[0]

    def _module_ends(self, module: nn.Module, args: Any, result: Any) -> None:
        if (
            torch.compiler.is_compiling()
            or threading.get_ident() != self._thread
            or not self._modules
            or self._modules[-1] is not module
        ):
            return
        self._modules.pop()
        readers = self._readers
        if readers is not None and readers.layers.norm_inputs:
            readers.layers.norm_inputs.pop(self.sites.of_module.get(id(module)), None)  # type: ignore[arg-type]
        if not self._composed or _composed_nonlinearity(module) is None:
            return
        nonlinearity = self._composed.pop()
        if readers is not None and args and isinstance(args[0], Tensor) and isinstance(result, Tensor):
            self._guarded(lambda: readers.nonlinearities.read_composed(nonlinearity, args[0], result))

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
        if self._sink is None or self._composed or name in NOT_OPERATIONS or is_transforming():
            result = func(*args, **kwargs)
            if self._sink is not None and self._composed:
                self._guarded(lambda: self._inside_composed(name, args, kwargs, result))
            return result
        started = perf_counter()
        prepared: Operation | None = None
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

    def _computed(self, func: Callable[..., Any], operation: Operation) -> Any:
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
        if self._sink is not None:
            self._sink.failed(fault)

    def _inside_composed(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """A module named after its φ may call that φ after all: then the call says which form of it."""
        called = recognise(name, args, kwargs)
        if called is not None and called.name.partition("_")[0] == self._composed[-1].name.partition("_")[0]:
            self._composed[-1] = called
        self._origins.pass_on(name, tensors_among(args, kwargs), result)

    def _prepare(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation:
        """What must be known before the operation runs."""
        readers = self._readers
        assert readers is not None
        tensors = tensors_among(args, kwargs)
        operation = Operation(name, args, kwargs, tensors)
        operation.site = self._site_of(name, tensors)
        operation.origins = [self._origins.of(tensor) for tensor in tensors]
        if operation.site is not None and name in SEQUENCES and torch.is_grad_enabled() and not self.recomputing:
            readers.layers.listen_through_time(operation)
        nonlinearity = recognise(name, args, kwargs) if operation.site is None or name == "prelu" else None
        if nonlinearity is not None and tensors and tensors[0] is args[0]:
            operation.nonlinearity = nonlinearity
            operation.reader, operation.site = operation.site, None
            if operation.reader is not None:
                self.sites.runs(operation.reader)
            readers.nonlinearities.measure_before(operation, nonlinearity, args[0])
        return operation

    def _site_of(self, name: str, tensors: list[Tensor]) -> Site | None:
        """The layer whose parameter takes part, or the module in which a computed weight is used."""
        current = self.sites.of_module.get(id(self._modules[-1])) if self._modules else None
        owners: list[Site] = []
        for tensor in tensors:
            owners.extend(self._origins.owners(tensor))
        if owners:
            return current if current in owners else owners[0]
        if current is not None and (name in MATRIX_OPERATIONS or name in NORM_OPERATIONS):
            return current
        return None

    def _after(self, operation: Operation, result: Any) -> None:
        """Give what the operation has made to those who read it."""
        readers = self._readers
        assert readers is not None
        name, tensors, site = operation.name, operation.tensors, operation.site
        if operation.nonlinearity is not None and isinstance(result, Tensor):
            if operation.reader is not None:  # PReLU has a weight of its own
                readers.layers.listen(operation.reader, result)
            readers.nonlinearities.read(
                operation.nonlinearity, result, operation.origins[0], operation.slope, operation.greatest
            )
            return
        if site is not None and self._origins.derives(operation, result):
            return
        if site is not None and first_of(result) is not None:
            readers.layers.read(operation, site, result)
            return
        if name in CUTS or name == "data" or (tensors and not torch.is_grad_enabled()):
            for origin in operation.origins:
                self._ancestry.note_cut(origin.past)
        if name in ADDITIONS and readers.sums.joins(operation, result, self._module_name):
            return
        if name in PRODUCTS:
            note_gates(operation.origins)
        self._origins.pass_on(name, tensors, result, operation.origins)


def _composed_nonlinearity(module: nn.Module) -> Nonlinearity | None:
    """A module without parameters or children, of a class that torch does not know, named after its φ."""
    if type(module).__module__.startswith("torch.nn") or module._parameters or module._modules:
        return None
    return nonlinearity_of_module(type(module).__name__)


def _parameters(module: nn.Module) -> Iterable[Tensor | None]:
    return () if isinstance(module, torch.jit.ScriptModule) else module._parameters.values()


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Our own operations are no business of the modes that the user's run in: counters, caches, profilers of theirs."""
    with torch._C.DisableTorchFunction():
        if torch._C._len_torch_dispatch_stack() == 0:
            yield
        else:
            with _disable_current_modes():
                yield
