"""One forward pass while it is followed: where measured rows go, and what is known of it so far."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from isometry.adapters.torch import measure
from isometry.adapters.torch.ancestry import Ancestry
from isometry.adapters.torch.sites import Site, Sites
from isometry.adapters.torch.trace.tensor_origins import TensorOrigins
from isometry.network.signals import Signal

__all__ = ["ForwardPass", "Sink"]


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
class ForwardPass:
    """What all who read one forward pass share."""

    sink: Sink
    sites: Sites
    origins: TensorOrigins
    ancestry: Ancestry
    recomputing: bool
    """In the backward pass: checkpointed layers run again, only to give their gradients."""
