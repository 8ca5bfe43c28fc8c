"""Lead the signal round the layers."""

from collections.abc import Iterable

from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.diagnosis.words import span
from isometry.network.architecture import Layer
from isometry.network.edits import AddSkip
from isometry.treatment.changes import changes, with_what_is_foretold
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy


@remedy("add-skip", treats=["vanishing_gradient", "exploding_gradient"], effect=Effect.RESTRUCTURES)
def add_skip(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Add to a layer's output what it reads, h = φ(z) + x, so that δ has a way back that nothing shrinks.

    Only where both have one shape. Signals then grow with depth where branches are strong; what is foretold says
    by how much.

    Sources: He et al. 2016; Hanin & Rolnick 2018.
    """
    architecture = diagnosis.run.architecture
    for change in changes(diagnosis, finding):
        skips = [edit for edit in change.edits if isinstance(edit, AddSkip)]
        if skips and len(skips) == len(change.edits):
            fitting = [name for edit in skips for name in edit.layers if _keeps_shape(architecture[name])]
            words = f"Add skip connections round {span(fitting)}"
            yield Proposal(change.edits, with_what_is_foretold(words, change), change.expected)


def _keeps_shape(layer: Layer) -> bool:
    return layer.fan_in == layer.fan_out
