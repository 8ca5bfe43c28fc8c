"""Additions that join a branch with the signal that it left."""

from typing import Any

from torch import Tensor

from isometry.adapters.torch.sites import Site
from isometry.adapters.torch.trace.forward_pass import ForwardPass
from isometry.adapters.torch.trace.layers import Layers
from isometry.adapters.torch.trace.operation import Operation, Origin, layers_of
from isometry.network.signals import Signal

__all__ = ["ResidualSums"]


class ResidualSums:
    """Finds the residual sums of one pass, and measures them as it does layers."""

    def __init__(self, forward: ForwardPass, layers: Layers) -> None:
        self._forward = forward
        self._layers = layers

    def joins(self, operation: Operation, result: Any, module: str) -> bool:
        """Whether an addition inside a module joins a branch with the signal that it left: then it becomes a site."""
        sites, ancestry = self._forward.sites, self._forward.ancestry
        if not isinstance(result, Tensor) or result.dim() < 2 or len(operation.tensors) < 2:
            return False
        first, second = operation.origins[:2]
        branch = ancestry.branch(first.past, second.past, module=module)
        if not branch:
            return False
        site = sites.sum_at(module, branch)
        for member in branch:
            if member.branch is None and member is not site:
                member.branch = site.name
        past = first.past | second.past
        if not site.inputs:
            site.inputs = layers_of([first, second])
        sites.runs(site)
        past |= ancestry.begin_run(site, past)
        self._layers.measure_output(site, result)
        self._forward.origins.keep(result, Origin(site, "z", False, past))
        self._layers.listen(site, result)
        self._listen_at_fork(operation, site, result)
        return True

    def _listen_at_fork(self, operation: Operation, site: Site, result: Tensor) -> None:
        """Where x + f(x) adds x itself, ∂L/∂x less δ of the sum is what came back through f."""
        sink, (first, second) = self._forward.sink, operation.origins[:2]
        shared = first.past & second.past
        if first.past == second.past or shared not in (first.past, second.past) or not sink.wants(Signal.DELTA):
            return
        fork = operation.tensors[0 if first.past == shared else 1]
        if fork is result or not fork.requires_grad or fork.is_leaf or fork.shape != result.shape:
            return
        at_sum, at_fork = sink.branch_gain(site)
        result.register_hook(at_sum)
        fork.register_hook(at_fork)
