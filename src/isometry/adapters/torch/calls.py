"""Which calls of models a loss was computed from, read off its graph.

Each call of a model leaves a note in the autograd graph, at the operations its output comes from. So the graph of a
loss tells by itself which calls it was computed from, and a forward pass that nothing is learnt from takes its note
along when it is thrown away: a validation pass before the training costs no memory and is never mistaken for a step.
"""

import contextlib
import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.utils._pytree import tree_map

from isometry.adapters.torch import process
from isometry.adapters.torch.recording import tensors_in

__all__ = ["Call", "Edges", "calls_behind", "chosen", "copied", "cotangents", "learns", "note", "without_graph"]

NOTE = "isometry"
"""Key of our notes in an operation's metadata."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """An outermost call of a module. It must not know its output, or the graph would keep itself alive."""

    number: int
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shapes: tuple[torch.Size, ...]
    """Of the tensors it gave."""


Edges = dict[int, GradientEdge]
"""Where the graph of a loss meets the tensors of one output, by their places in it."""


def note(call: Call, output: list[Tensor]) -> None:
    """Leave a note of a call where the tensors of its output were computed."""
    for place, tensor in enumerate(output):
        node: Any = tensor.grad_fn
        if node is not None:
            node.metadata.setdefault(NOTE, {}).setdefault(tensor.output_nr, (call, place))


def calls_behind(roots: Iterable[Tensor]) -> dict[Call, Edges]:
    """The calls that some tensors were computed from, in their order, and by which of their outputs."""
    found: dict[Call, Edges] = {}
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


def _last(outputs: dict[Call, Edges]) -> dict[Call, Edges]:
    """The outputs that no other one was computed from."""
    nodes = {edge.node for edges in outputs.values() for edge in edges.values()}
    earlier = set(_behind(following for node in nodes for following in node.next_functions))
    kept = {
        call: {place: edge for place, edge in edges.items() if (edge.node, edge.output_nr) not in earlier}
        for call, edges in outputs.items()
    }
    return {call: edges for call, edges in kept.items() if edges}


def cotangents(roots: list[Tensor], outputs: Edges, size: int, scale: float) -> list[Tensor | None]:
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


def learns(calls: Iterable[Call], targets: Sequence[Any]) -> bool:
    """Whether a gradient is asked for a parameter; one for the input alone is a part of some larger loss."""
    parameters = {id(parameter) for call in calls for parameter in call.module.parameters()}
    return any(id(target) in parameters for target in targets)


def chosen(calls: dict[Call, Edges]) -> tuple[Call, Edges, list[str]]:
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


def _called_whole(modules: list[nn.Module], calls: dict[Call, Edges]) -> tuple[Call, Edges] | None:
    """The model whose parts were called one by one, as a call of its own: where that gives outputs of the same shapes.

    Autoencoders are trained so, and whatever is called as ``model.forward(x)``.
    """
    whole = process.find_whole(modules[0])
    parts = {id(part) for part in whole.modules()}
    if any(id(module) not in parts or module is whole for module in modules):
        return None
    first = next(iter(calls))
    args, kwargs = tree_map(without_graph, (first.args, first.kwargs))
    with contextlib.suppress(Exception), torch.no_grad():  # its forward pass may be about something else
        outputs = tensors_in(copied(whole)(*copy.deepcopy(args), **copy.deepcopy(kwargs)))
        shapes = tuple(output.shape for output in outputs)
        edges = _matched(shapes, _last(calls))
        if edges is not None:
            return Call(first.number, whole, args, kwargs, shapes), edges
    return None


def _matched(shapes: tuple[torch.Size, ...], kept: dict[Call, Edges]) -> Edges | None:
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


def copied(model: nn.Module) -> nn.Module:
    """A copy of a model; the model itself where it cannot be copied.

    States that it keeps from one call to the next carry their graph, and would refuse.
    """
    try:
        states = [
            value for part in model.modules() for value in vars(part).values() if isinstance(value, Tensor | tuple)
        ]
        return copy.deepcopy(model, {id(state): state.detach() for state in tensors_in(states) if not state.is_leaf})
    except Exception:  # noqa: BLE001  anything may refuse to be copied
        return model


def without_graph(value: Any) -> Any:
    """A tensor as its own origin; anything else as it is."""
    if isinstance(value, Tensor) and value.requires_grad:
        return value.detach().requires_grad_()
    return value
