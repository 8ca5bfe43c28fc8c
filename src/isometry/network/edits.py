"""Changes to a training, in words that no framework owns; adapters carry them out."""

from dataclasses import asdict, dataclass
from typing import Any

__all__ = [
    "AddSkip",
    "ChangeOptimizer",
    "Clip",
    "Decay",
    "Edit",
    "InsertNorm",
    "NetworkEdit",
    "Reinitialise",
    "ReplaceActivation",
    "ScaleLoss",
    "ScaleOutput",
    "ScaleRate",
    "ScaleWeights",
    "SetEpsilon",
    "SetForgetBias",
    "SetPrecision",
    "Standardise",
    "TrainingEdit",
    "Unfreeze",
    "WarmUp",
    "edit_facts",
]


# The network ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reinitialise:
    """Draw the weights of these layers anew, independent and normal or orthogonal."""

    layers: tuple[str, ...]
    gain: float
    """σ_w: weights have the standard deviation σ_w / √fan_in."""
    orthogonal: bool = False


@dataclass(frozen=True, slots=True)
class ReplaceActivation:
    """Apply another φ to the output of these layers."""

    layers: tuple[str, ...]
    activation: str
    """A name of ``network.nonlinearity.FUNCTIONS``."""


@dataclass(frozen=True, slots=True)
class InsertNorm:
    """Normalise the output of these layers, before φ or after it."""

    layers: tuple[str, ...]
    norm: str
    """``layer``: over the units of each sample; ``rms``: likewise, by their size alone, without taking a mean off;
    ``group``: over eight units or more of each sample at a time; ``batch``: over the samples, unit by unit."""
    after: bool = False


@dataclass(frozen=True, slots=True)
class AddSkip:
    """h = φ(z) + x, wherever x, which the layer reads, has the shape of h."""

    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScaleWeights:
    """Multiply the weights and biases of these layers."""

    layers: tuple[str, ...]
    factor: float


@dataclass(frozen=True, slots=True)
class SetForgetBias:
    """Let the gates by which these layers keep their past begin with this bias in all.

    Of an LSTM they are called forget gates, of a GRU update gates.
    """

    layers: tuple[str, ...]
    value: float
    opposed: bool = False
    """Whether the input gates begin with −value: what keeps for long takes in little at a time. A GRU has none; its
    update gate does both."""


@dataclass(frozen=True, slots=True)
class Unfreeze:
    """Let the parameters of these layers ask for a gradient again."""

    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScaleOutput:
    """Let the network that ends with these layers give shift + factor · f(x), two constants that nothing learns."""

    layers: tuple[str, ...]
    shift: float
    factor: float


NetworkEdit = (
    Reinitialise | ReplaceActivation | InsertNorm | AddSkip | ScaleWeights | SetForgetBias | Unfreeze | ScaleOutput
)


# The training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScaleRate:
    """Multiply every learning rate."""

    factor: float


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Let the learning rate rise evenly over the first steps."""

    steps: int


@dataclass(frozen=True, slots=True)
class Decay:
    """Let the learning rate fall evenly to zero."""

    steps: int
    """Of the whole training; it is zero afterwards."""


@dataclass(frozen=True, slots=True)
class ChangeOptimizer:
    """Another optimiser for the same parameters."""

    name: str
    """``adam`` or ``sgd``."""
    rate: float


@dataclass(frozen=True, slots=True)
class SetEpsilon:
    """What an adaptive optimiser adds to the gradient's size before it divides by it."""

    value: float


@dataclass(frozen=True, slots=True)
class Clip:
    """Clip the gradient before every step."""

    threshold: float
    by: str = "norm"
    """What the threshold is of. ``norm``: the norm of the whole gradient, which keeps its direction, as with all others
    but ``value``, where it is every element. ``adaptive``: the norm of what one unit gets, over that of its weights.
    ``percentile``: the place of the norm among the last 1,000. ``zscore``: its distance from their moving mean, in
    standard deviations."""


@dataclass(frozen=True, slots=True)
class Standardise:
    """Let the network see inputs of mean 0 and deviation 1, feature by feature, as the training data have them."""


@dataclass(frozen=True, slots=True)
class SetPrecision:
    """Hold the weights in float32 and compute in another number format."""

    format: str
    """``float32``, ``bfloat16`` or ``float16``: of what autocast lets pass through the network."""


@dataclass(frozen=True, slots=True)
class ScaleLoss:
    """Multiply gradients on their way through the network, and divide them before the step.

    A step whose gradients are not finite is left out, and the factor halved; after many good ones it is doubled.
    """

    factor: float
    """To begin with; a power of two rounds nothing."""


TrainingEdit = ScaleRate | WarmUp | Decay | ChangeOptimizer | SetEpsilon | Clip | Standardise | SetPrecision | ScaleLoss
Edit = NetworkEdit | TrainingEdit


def edit_facts(edit: Edit) -> dict[str, Any]:
    """An edit as plain data, with its kind."""
    return {"edit": type(edit).__name__} | asdict(edit)
