"""What nonlinearities give: activations, slopes, and which units are active."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from isometry.adapters.torch import measure
from isometry.adapters.torch.nonlinearity import INSENSITIVE, Nonlinearity
from isometry.adapters.torch.sites import Site
from isometry.adapters.torch.trace.forward_pass import ForwardPass
from isometry.adapters.torch.trace.operation import Operation, Origin
from isometry.network.signals import Signal

__all__ = ["Nonlinearities", "note_gates"]

SATURATED_BELOW = 0.05
"""A slope below this part of φ's greatest one counts as saturated."""
GATES = frozenset({"sigmoid", "hardsigmoid", "tanh", "hardtanh", "softplus", "exponential"})
"""φ that decide how much of another signal passes, where they are multiplied by one."""


class Nonlinearities:
    """Measures the nonlinearities of one pass."""

    def __init__(self, forward: ForwardPass, witness: Callable[[Site | None, str], None] | None) -> None:
        self._forward = forward
        self._witness = witness

    def measure_before(self, operation: Operation, nonlinearity: Nonlinearity, z: Tensor) -> None:
        """What needs z, which an in-place φ is about to overwrite."""
        origin = operation.origins[0]
        if origin.site is None or origin.activated or self._forward.recomputing or not measure.measurable(z):
            return
        if nonlinearity.slope is None or nonlinearity.from_output or operation.name == "prelu":
            return
        if self._forward.sink.wants(Signal.SLOPE):
            with torch.no_grad():
                operation.slope = nonlinearity.slope(z.detach(), z.detach())
                if nonlinearity.alive_above is not None:
                    operation.greatest = measure.greatest_per_unit(z, origin.site.unit_dimension)

    def read_composed(self, nonlinearity: Nonlinearity, z: Tensor, h: Tensor) -> None:
        """φ that a module has put together of several operations."""
        slope = None
        if nonlinearity.slope is not None and z is not h:
            with torch.no_grad():
                slope = nonlinearity.slope(z.detach(), h.detach())
        self.read(nonlinearity, h, self._forward.origins.of(z), slope)

    def read(
        self,
        nonlinearity: Nonlinearity,
        h: Tensor,
        origin: Origin,
        slope: Tensor | None,
        greatest: Tensor | None = None,
    ) -> None:
        """Give φ to the layer whose output it takes; ``origin`` is that of z, ``greatest`` its greatest by unit."""
        sink, origins = self._forward.sink, self._forward.origins
        site = origin.site
        if self._witness is not None and not self._forward.recomputing:
            self._witness(None if origin.activated else site, nonlinearity.name)
        if site is None or origin.activated:
            origins.keep(h, replace(origin, exact=""))
            return
        site.activation = site.activation or nonlinearity.name
        origins.keep(h, Origin(site, "h", True, origin.past))
        if h.requires_grad and not h.is_leaf and sink.wants(Signal.ACTIVATION_GRADIENT):
            h.register_hook(sink.backward(site, Signal.ACTIVATION_GRADIENT, site.calls))
        if self._forward.recomputing or not measure.measurable(h):
            return
        activation = None
        if sink.wants(Signal.ACTIVATION):
            activation = measure.row(h)
            sink.forward(site, Signal.ACTIVATION, activation)
            sink.distribution(site, Signal.ACTIVATION, h)
        if not sink.wants(Signal.SLOPE):
            return
        if nonlinearity.name == "relu" and activation is not None:
            sink.forward(site, Signal.SLOPE, measure.row_of_step_slope(activation))
            sink.active(site, measure.greatest_per_unit(h, site.unit_dimension) > 0, _samples(h))
        else:
            self._measure_slope(site, nonlinearity, h.detach(), slope, greatest)

    def _measure_slope(
        self, site: Site, nonlinearity: Nonlinearity, h: Tensor, slope: Tensor | None, greatest: Tensor | None
    ) -> None:
        sink = self._forward.sink
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
        if greatest is not None:
            sink.active(site, greatest > nonlinearity.alive_above, _samples(h))
        else:
            steepest = measure.greatest_per_unit(slope, site.unit_dimension)
            sink.active(site, steepest > INSENSITIVE * nonlinearity.greatest_slope, _samples(h))


def note_gates(origins: list[Origin]) -> None:
    """A φ whose output multiplies another signal of the network decides how much of it passes."""
    carrying = [origin for origin in origins if origin.past]
    if len(carrying) < 2:
        return
    for origin in carrying:
        if origin.exact == "h" and origin.site is not None and origin.site.activation in GATES:
            origin.site.gated = True


def _samples(tensor: Tensor) -> int:
    return int(tensor.shape[0]) if tensor.dim() > 1 else 1
