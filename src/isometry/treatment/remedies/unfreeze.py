"""Let frozen layers learn."""

from collections.abc import Iterable

from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.diagnosis.words import span
from isometry.network.edits import Unfreeze
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

FROZEN = "frozen"
"""Name of the cause."""


@remedy("unfreeze", treats=["no_gradient"], effect=Effect.RETUNES)
def unfreeze(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Let parameters ask for a gradient again that an optimiser holds, but that were frozen, where training is stuck.

    Other reasons for a missing gradient want a line of the program changed, and no edit stands for it. Where
    `detach()`, `.data`, `.item()`, NumPy, a comparison or `argmax` cuts the graph, compute on with the tensor itself:
    softmax in place of `argmax`, or a straight-through estimator. Where no optimiser holds a parameter, make the
    optimiser after the model is complete, from all of `model.parameters()`.

    Sources: PyTorch documentation, "Autograd mechanics", on `requires_grad`; Bengio et al. 2013 for straight-through.
    """
    architecture = diagnosis.run.architecture
    layers = tuple(name for cause in finding.causes if cause.name == FROZEN for name in cause.layers)
    frozen = tuple(name for name in layers if name in architecture)
    if frozen:
        yield Proposal((Unfreeze(frozen),), f"Let {span(frozen)} learn, which an optimiser holds, but which is frozen.")
