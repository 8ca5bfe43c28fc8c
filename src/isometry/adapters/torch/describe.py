"""What a PyTorch model is made of, told from its modules and, with a batch, from one forward pass."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from isometry.adapters.torch import measure
from isometry.adapters.torch.recording import tensors_in
from isometry.adapters.torch.sites import Site, Sites
from isometry.adapters.torch.trace import Tracer
from isometry.network.architecture import Architecture
from isometry.network.signals import Signal

__all__ = ["describe"]


def describe(model: nn.Module, *batch: Any, **named: Any) -> Architecture:
    """Layers of a model; with a batch in order of execution, with nonlinearities, norms, branches and sums.

    The model is left as it was: buffers are put back, and random numbers drawn in the pass are drawn from a copy of
    the generators.

    Args:
        model: any module.
        batch: what the model's ``forward`` takes. Without it, layers come as the model defines them.
        named: its keyword arguments.
    """
    sites = Sites()
    sites.add(model)
    if not batch and not named:
        return sites.architecture(("No batch was given: order, nonlinearities and sums are unknown.",))
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    tracer = Tracer(sites)
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        tracer.begin(_Unmeasured(), tensors_in([batch, named]))
        try:
            with tracer:
                result = model(*batch, **named)
            tracer.end(tensors_in(result))
        finally:
            tracer.abandon()
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    buffer.copy_(buffers[name])
    return sites.architecture()


class _Unmeasured:
    """A sink that wants structure only."""

    levels_only = True

    def row(self, tensor: Tensor) -> measure.Row:
        """Nothing is measured."""
        return (0.0,) * 8

    def wants(self, signal: Signal) -> bool:
        return False

    def forward(self, site: Site, signal: Signal, row: measure.Row, *, again: bool = False) -> None:
        """Nothing is measured."""

    def distribution(self, site: Site, signal: Signal, tensor: Tensor) -> None:
        """Nothing is measured."""

    def extra(self, site: Site, signal: Signal, statistic: str, value: float | Tensor) -> None:
        """Nothing is measured."""

    def active(self, site: Site, units: Tensor, samples: int) -> None:
        """Nothing is measured."""

    def through_time(self, site: Site, rms: Tensor) -> None:
        """Nothing is measured."""

    def same(self, site: Site, signal: Signal, other: Site, other_signal: Signal) -> None:
        """Nothing is measured."""

    def backward(self, site: Site, signal: Signal, call: int) -> Callable[[Tensor], None]:
        return lambda gradient: None

    def branch_gain(self, site: Site) -> tuple[Callable[[Tensor], None], Callable[[Tensor], None]]:
        return lambda gradient: None, lambda gradient: None

    def failed(self, fault: Exception) -> None:
        raise fault
