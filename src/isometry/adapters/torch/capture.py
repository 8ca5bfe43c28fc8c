"""Follows an unmodified training up to its first backward pass, and takes what is needed to inspect its network.

Each call of a model leaves a note in the autograd graph, at the operations its output comes from. So the graph of a
loss tells by itself which calls it was computed from, and a forward pass that nothing is learnt from takes its note
along when it is thrown away: a validation pass before the training costs no memory and is never mistaken for a step.
"""

import contextlib
import copy
import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._pytree import tree_map

from isometry.adapters.torch import process
from isometry.adapters.torch.loss import describe_loss
from isometry.adapters.torch.recording import tensors_in
from isometry.adapters.torch.watch import HOOKS_AND_COMPILER

__all__ = ["Captured", "TorchCapture", "capturing"]

NOTE = "isometry"
"""Key of our notes in an operation's metadata."""
STEPS_WITHOUT_MODEL = 100
"""Optimiser steps, none of whose gradients came from a module's call, after which a script is not followed further."""


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """One training step up to its backward pass, which has not been run."""

    model: nn.Module
    """A copy of it as it was then; the model itself where it cannot be copied."""
    args: tuple[Any, ...]
    """What it was called with; nothing in here carries a graph."""
    kwargs: dict[str, Any]
    cotangents: list[Tensor | None]
    """∂L/∂output for each tensor of the output, without the factor of a gradient scaler. None where the loss does not
    use it, or only what another one was computed from, so that nothing is counted twice."""
    loss: float
    loss_kind: dict[str, Any]
    """As ``describe_loss`` has it."""
    others: tuple[str, ...] = ()
    """Other models that were called."""
    notes: tuple[str, ...] = ()
    """What was left out, one sentence each."""


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """An outermost call of a module. It must not know its output, or the graph would keep itself alive."""

    number: int
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shapes: tuple[torch.Size, ...]
    """Of the tensors it gave."""


@dataclass(slots=True)
class _Open(threading.local):
    """Modules whose forward pass is under way in this thread, outermost first."""

    modules: list[nn.Module] = field(default_factory=list)


Edges = dict[int, GradientEdge]
"""Where the graph of a loss meets the tensors of one output, by their places in it."""


def capturing() -> "TorchCapture":
    """Follow this process until the first training step of any model in it."""
    return TorchCapture()


class TorchCapture:
    """A training that is being followed. Once it has what it wants, it leaves the script as ``sys.exit()`` does.

    That is the one exception which ``except Exception``, threads and event loops all let pass in silence. A script may
    still swallow it, so it is raised anew wherever the training is met again.
    """

    def __init__(self) -> None:
        self.captured: Captured | None = None
        self.trouble: str | None = None
        """Why nothing was captured although a step was met."""
        self._process = os.getpid()
        self._open = _Open()
        self._numbers = count()
        self._names: dict[int, tuple[nn.Module, str]] = {}
        self._scale: Tensor | None = None
        self._steps = 0
        self._busy = False
        self._closed = False
        warnings.filterwarnings("ignore", message=HOOKS_AND_COMPILER, category=UserWarning)
        self._hooks = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, with_kwargs=True, always_call=True),
        ]
        process.open_listener(self)

    @property
    def is_reached(self) -> bool:
        """The script is not needed any more."""
        return self.captured is not None or self.trouble is not None

    def close(self, ending: str = "finished") -> None:
        """Take every hook off; may be called again."""
        if not self._closed and os.getpid() == self._process:
            self._closed = True
            process.close_listener(self)
            for hook in self._hooks:
                hook.remove()
            self._names.clear()

    @property
    def _off(self) -> bool:
        return self._busy or self._closed or os.getpid() != self._process

    def _leave_script(self) -> None:
        if self.is_reached:
            raise SystemExit(0)

    # ------------------------------------------------------------ forward pass

    def _enter(self, module: nn.Module, args: Any) -> None:
        if torch.compiler.is_compiling() or self._off:
            return
        self._leave_script()
        self._open.modules.append(module)

    def _leave(self, module: nn.Module, *called: Any) -> None:
        """After a forward pass. If it raised, torch leaves its keyword arguments out."""
        if torch.compiler.is_compiling() or self._off:
            return
        modules = self._open.modules
        while modules and modules.pop() is not module:  # those that something else than an Exception ended
            pass
        if modules or len(called) < 3 or not torch.is_grad_enabled():
            return
        if any(parameter.requires_grad for parameter in module.parameters()):
            self._note(_unwrapped(module), *called)

    def _note(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if id(module) not in self._names:
            self._names[id(module)] = (module, process.find_name(module))
        tensors = tensors_in(output)
        call = _Call(next(self._numbers), module, args, kwargs, tuple(tensor.shape for tensor in tensors))
        for place, tensor in enumerate(tensors):
            node: Any = tensor.grad_fn
            if node is not None:
                node.metadata.setdefault(NOTE, {}).setdefault(tensor.output_nr, (call, place))

    # ----------------------------------------------------------- backward pass

    def backward_begins(self, roots: list[Tensor], targets: list[Any] | None) -> None:
        """A backward pass is about to start; if a model learns from it, this is as far as the script goes."""
        if self._off:
            return
        self._leave_script()
        self._busy = True
        try:
            self.captured = self._capture(roots, targets)
        except Exception as fault:  # noqa: BLE001  rather no check than a training in full that nobody asked for
            self.trouble = f"the first step could not be taken down: {type(fault).__name__}: {fault}"
        finally:
            self._busy = False
        self._leave_script()

    def _capture(self, roots: list[Tensor], targets: list[Any] | None) -> Captured | None:
        roots = [root for root in roots if isinstance(root, Tensor) and root.grad_fn is not None]
        calls = _calls_behind(roots)
        if not calls or (targets is not None and not _learns(calls, targets)):
            return None
        call, outputs, notes = _chosen(calls)
        loss = sum(float(root.detach().sum()) for root in roots)
        scale = float(self._scale) if self._scale is not None else 1.0
        if any(root.numel() != 1 for root in roots):
            notes.append("The loss is several numbers at once; their sum is followed.")
        kind = describe_loss(roots[0])  # before the graph is used up
        parts = {id(part) for part in call.module.modules()}
        return Captured(
            model=_copied(call.module),
            args=tree_map(_without_graph, call.args),
            kwargs=tree_map(_without_graph, call.kwargs),
            cotangents=_cotangents(roots, outputs, len(call.shapes), scale),
            loss=loss / scale,
            loss_kind=kind,
            others=tuple(dict.fromkeys(name for module, name in self._names.values() if id(module) not in parts)),
            notes=tuple(notes),
        )

    def backward_ended(self, targets: list[Any] | None, gradients: Any) -> None:
        """It was none that a model learns from."""

    def loss_scaled(self, scale: Tensor) -> None:
        """A gradient scaler multiplied a loss by ``scale``."""
        self._scale = scale

    # -------------------------------------------------------------- optimisers

    def step_begins(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """An optimiser is about to step, so no backward pass before was worth stopping at."""
        if self._off:
            return
        self._leave_script()
        self._steps += 1
        if self._steps > STEPS_WITHOUT_MODEL:
            self.trouble = (
                f"{STEPS_WITHOUT_MODEL} steps of an optimizer were seen, and none followed a backward pass through a "
                "torch.nn.Module that was called. Let the training call the module itself: model(x)"
            )
            self._leave_script()

    def step_ended(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """It has stepped."""

    def recomputation(self) -> AbstractContextManager[object]:
        """Of a checkpoint, in a backward pass that is let through."""
        return nullcontext()


def _unwrapped(module: nn.Module) -> nn.Module:
    """The network itself, where it is called by way of ``torch.compile`` or a parallel wrapper."""
    while type(module).__name__ in process.WRAPPERS:
        module = getattr(module, "_orig_mod", None) or module.get_submodule("module")
    return module


def _copied(model: nn.Module) -> nn.Module:
    """What the script does to its model on the way out (moving it, switching it to evaluation) must not reach us."""
    try:
        return copy.deepcopy(model)
    except Exception:  # noqa: BLE001  anything may refuse to be copied
        return model


def _without_graph(value: Any) -> Any:
    if isinstance(value, Tensor) and value.requires_grad:
        return value.detach().requires_grad_()
    return value


# The graph ------------------------------------------------------------------------------------------------------------


def _calls_behind(roots: Iterable[Tensor]) -> dict[_Call, Edges]:
    """The calls that some tensors were computed from, in their order, and by which of their outputs."""
    found: dict[_Call, Edges] = {}
    for edge in _behind((root.grad_fn, root.output_nr) for root in roots):
        node, number = edge
        call, place = node.metadata.get(NOTE, {}).get(number, (None, 0))
        if call is not None:
            found.setdefault(call, {})[place] = GradientEdge(node, number)
    return {call: found[call] for call in sorted(found, key=lambda call: call.number)}


def _behind(edges: Iterable[tuple[Any, int]]) -> Iterator[tuple[Any, int]]:
    """These edges of a graph and all that they were computed from."""
    waiting = list(edges)
    seen: set[tuple[Any, int]] = set()  # which also keeps the nodes alive, so that each stays the same object
    nodes: set[Any] = set()
    while waiting:
        edge = waiting.pop()
        node = edge[0]
        if node is None or edge in seen:
            continue
        seen.add(edge)
        yield edge
        if node not in nodes:
            nodes.add(node)
            waiting.extend(node.next_functions)


def _last(outputs: dict[_Call, Edges]) -> dict[_Call, Edges]:
    """The outputs that no other one was computed from."""
    nodes = {edge.node for edges in outputs.values() for edge in edges.values()}
    earlier = set(_behind(following for node in nodes for following in node.next_functions))
    kept = {
        call: {place: edge for place, edge in edges.items() if (edge.node, edge.output_nr) not in earlier}
        for call, edges in outputs.items()
    }
    return {call: edges for call, edges in kept.items() if edges}


def _cotangents(roots: list[Tensor], outputs: Edges, size: int, scale: float) -> list[Tensor | None]:
    """∂(sum of the roots)/∂output for each place of an output of ``size`` tensors."""
    gradients = torch.autograd.grad(
        roots, list(outputs.values()), [torch.ones_like(root) for root in roots], allow_unused=True
    )
    found = dict(zip(outputs, gradients, strict=True))
    return [_unscaled(found.get(place), scale) for place in range(size)]


def _unscaled(gradient: Tensor | None, scale: float) -> Tensor | None:
    """Half precision would lose what the scale was there to keep."""
    if gradient is None or scale == 1.0:
        return gradient
    return (gradient.float() if gradient.dtype.itemsize < 4 else gradient) / scale


def _learns(calls: Iterable[_Call], targets: Sequence[Any]) -> bool:
    """Whether a gradient is asked for a parameter; one for the input alone is a part of some larger loss."""
    parameters = {id(parameter) for call in calls for parameter in call.module.parameters()}
    return any(id(target) in parameters for target in targets)


# Which call -----------------------------------------------------------------------------------------------------------


def _chosen(calls: dict[_Call, Edges]) -> tuple[_Call, Edges, list[str]]:
    """The call to inspect, the outputs by which the loss depends on it, and what is left out by that."""
    modules = list({id(call.module): call.module for call in calls}.values())
    if len(modules) > 1:
        whole = _called_whole(modules, calls)
        if whole is not None:
            return *whole, []
        largest = max(modules, key=_size)
        calls = {call: edges for call, edges in calls.items() if call.module is largest}
    kept = _last(calls)
    call = next(iter(kept))
    notes = []
    if len(modules) > 1:
        notes.append(
            f"{len(modules)} models feed the loss and no model that holds them all is called; "
            f"the one with most parameters is followed, a {type(call.module).__name__}."
        )
    if len(calls) > 1:
        notes.append(f"The model is called {len(calls)} times for one loss; one of these calls is followed.")
    return call, kept[call], notes


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _called_whole(modules: list[nn.Module], calls: dict[_Call, Edges]) -> tuple[_Call, Edges] | None:
    """The model whose parts were called one by one, as a call of its own: where that gives outputs of the same shapes.

    Autoencoders are trained so, and whatever is called as ``model.forward(x)``.
    """
    whole = process.find_whole(modules[0])
    parts = {id(part) for part in whole.modules()}
    if any(id(module) not in parts or module is whole for module in modules):
        return None
    first = next(iter(calls))
    args, kwargs = tree_map(_without_graph, (first.args, first.kwargs))
    with contextlib.suppress(Exception), torch.no_grad():  # its forward pass may be about something else
        outputs = tensors_in(copy.deepcopy(whole)(*copy.deepcopy(args), **copy.deepcopy(kwargs)))
        shapes = tuple(output.shape for output in outputs)
        edges = _matched(shapes, _last(calls))
        if edges is not None:
            return _Call(first.number, whole, args, kwargs, shapes), edges
    return None


def _matched(shapes: tuple[torch.Size, ...], kept: dict[_Call, Edges]) -> Edges | None:
    """A place of the same shape for each output that is kept; None where one finds none."""
    places: Edges = {}
    for call, edges in kept.items():
        for own, edge in edges.items():
            fitting = (k for k, shape in enumerate(shapes) if k not in places and shape == call.shapes[own])
            place = next(fitting, None)
            if place is None:
                return None
            places[place] = edge
    return places
