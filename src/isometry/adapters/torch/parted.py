"""Parts changes by the place where they are made: in the network, round it, in its optimiser."""

from collections.abc import Sequence
from dataclasses import dataclass

from isometry.adapters.torch.retuning import require_possible
from isometry.network.edits import Edit, NetworkEdit, ScaleLoss, SetPrecision, Standardise, TrainingEdit

__all__ = ["Parted", "parted"]


@dataclass(frozen=True, slots=True)
class Parted:
    """Changes by place; whoever carries them out goes from the network to the optimiser."""

    network: tuple[NetworkEdit, ...]
    """Inside the model."""
    standardises: bool
    """Round the model: what comes in gets mean 0 and variance 1."""
    format: str | None
    """Round the model: the floating-point format that it is to compute in."""
    tuning: tuple[TrainingEdit, ...]
    """In the optimiser."""

    @property
    def goes_round(self) -> bool:
        """Whether anything is put round the model."""
        return self.standardises or self.format is not None

    @property
    def scales_loss(self) -> bool:
        """Whether one of the optimiser's changes needs the loss of every backward pass."""
        return any(isinstance(edit, ScaleLoss) for edit in self.tuning)


def parted(edits: Sequence[Edit]) -> Parted:
    """Changes by place, each place's in the order in which they were given.

    Raises:
        CannotEdit: a training cannot be changed like this.
    """
    network = tuple(edit for edit in edits if isinstance(edit, NetworkEdit))
    training = tuple(edit for edit in edits if isinstance(edit, TrainingEdit))
    require_possible(training)
    return Parted(
        network=network,
        standardises=any(isinstance(edit, Standardise) for edit in training),
        format=next((edit.format for edit in training if isinstance(edit, SetPrecision)), None),
        tuning=tuple(edit for edit in training if not isinstance(edit, (Standardise, SetPrecision))),
    )
