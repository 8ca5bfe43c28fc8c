"""Where the tensors of a forward pass come from: whose signal each carries, or whose parameter it is."""

import weakref
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

from isometry.adapters.torch.sites import MATRIX_OPERATIONS, Site, Sites
from isometry.adapters.torch.trace.names import ADDITIONS, is_in_place
from isometry.adapters.torch.trace.operation import NOWHERE, Operation, Origin, leaves_of

__all__ = ["TensorOrigins", "carries_gradient", "is_learned"]

UNSEEN_AT_MOST = 256
"""Nodes of autograd's graph in which the origin of a tensor is looked for."""


class TensorOrigins:
    """The origins of the tensors of one pass, which it does not keep alive."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._origins: dict[int, tuple[weakref.ref[Tensor], Origin]] = {}
        self._nodes: dict[Any, Origin] = {}
        self._derived: dict[int, tuple[weakref.ref[Tensor], tuple[Site, ...]]] = {}

    def clear(self) -> None:
        """Forget the pass."""
        self._origins.clear()
        self._nodes.clear()
        self._derived.clear()

    # ------------------------------------------------------------------ signals

    def of(self, tensor: Tensor) -> Origin:
        """Where a tensor comes from."""
        entry = self._origins.get(id(tensor))
        if entry is not None and entry[0]() is tensor:
            return entry[1]
        if tensor.grad_fn is None or not self._nodes or self.owners(tensor):
            return NOWHERE
        origin = self._by_graph(tensor)
        if origin.past:
            self.keep(tensor, origin)
        return origin

    def keep(self, tensor: Tensor, origin: Origin) -> None:
        """Remember where a tensor comes from."""
        self._origins[id(tensor)] = (weakref.ref(tensor), origin)
        if origin.exact and tensor.grad_fn is not None:
            self._nodes[tensor.grad_fn] = origin

    def pass_on(self, name: str, tensors: list[Tensor], result: Any, origins: list[Origin] | None = None) -> None:
        """Any other operation: the result carries on the signal of its only source, or of none."""
        results = leaves_of(result)
        if not results:
            return
        origins = origins if origins is not None else [self.of(tensor) for tensor in tensors]
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
            if not is_in_place(name) and any(tensor is source for source in tensors):
                continue  # the operation handed its input back, as dropout does in evaluation
            if carries_gradient(tensor):
                self.keep(tensor, Origin(only.site, "", only.activated, past, mixed if len(mixed) > 1 else ()))
            else:  # numbers of places, comparisons: they depend on the layers, and carry no signal of theirs
                self.keep(tensor, Origin(past=past))

    def _by_graph(self, tensor: Tensor) -> Origin:
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

    # --------------------------------------------------------------- parameters

    def owners(self, tensor: Tensor) -> Sequence[Site]:
        """Layers that own a parameter, or the parameter that this tensor is a slice, a cast or a transpose of."""
        owners = self._sites.of_parameter.get(id(tensor))
        if owners is not None:
            return owners
        entry = self._derived.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else ()

    def lend(self, parameter: Tensor, site: Site) -> None:
        """A parameter stands in a layer for this pass, in place of its own."""
        if id(parameter) not in self._sites.of_parameter:
            self._derived[id(parameter)] = (weakref.ref(parameter), (site,))

    def derives(self, operation: Operation, result: Any) -> bool:
        """Whether the operation had parameters only; what came out is then still a parameter, and no signal."""
        if operation.name in MATRIX_OPERATIONS or not all(self.owners(tensor) for tensor in operation.tensors):
            return False
        owners = tuple(dict.fromkeys(site for tensor in operation.tensors for site in self.owners(tensor)))
        for tensor in leaves_of(result):
            self._derived[id(tensor)] = (weakref.ref(tensor), owners)
        return True


def carries_gradient(tensor: Tensor) -> bool:
    """Whether a gradient can pass through a tensor of its type."""
    return tensor.is_floating_point() or tensor.is_complex()


def is_learned(tensor: Tensor) -> bool:
    """Whether parameters that still learn have made a tensor, those of models not looked into among them.

    Data may ask for a gradient themselves (a penalty on it, a differential equation), and go through operations on
    their way into the network. What is inside of an autograd function is not known, nor what a long graph ends in:
    neither is taken for data.
    """
    waiting: list[Any] = [tensor.grad_fn]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if isinstance(node, BackwardCFunction) or len(seen) >= UNSEEN_AT_MOST:
            return True
        if isinstance(getattr(node, "variable", None), nn.Parameter):
            return True
        seen.add(node)
        waiting.extend(following for following, _ in node.next_functions)
    return False
