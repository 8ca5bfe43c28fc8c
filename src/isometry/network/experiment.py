"""All that is needed to train a network again from nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from isometry.errors import IsometryError

__all__ = ["Experiment"]


@dataclass(frozen=True, slots=True)
class Experiment:
    """A training that can be repeated: fresh model, fresh optimiser, the same data.

    The objects belong to the framework; nothing here looks into them.
    """

    build: Callable[[], Any]
    """Gives a fresh, untrained model; random numbers come from the framework's global generator."""
    data: Any
    """``(inputs, targets)``, a dataset with a length, or batches in a list or a loader, that can be gone through again
    and again; or a pair of any two of these, for training and for validation. A function from the seed to
    ``(inputs, targets)`` draws anew for each."""
    loss_fn: Callable[[Any, Any], Any]
    """(model's output, targets) → loss, one number."""
    optimizer: Callable[[Any], Any]
    """The model's parameters → a fresh optimiser."""
    epochs: int = 1
    batch_size: int = 32
    metric: Callable[[Any], float] | None = None
    """Model → quality, higher is better."""

    def __post_init__(self) -> None:
        for name, value in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            if value < 1:
                raise IsometryError(f"{name}={value}: a whole number from 1 upwards is needed.")
