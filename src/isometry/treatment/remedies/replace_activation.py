"""Another nonlinearity."""

from collections.abc import Iterable
from math import sqrt

from isometry.diagnosis.attribution import TWO_SIDED
from isometry.diagnosis.block import block
from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.diagnosis.words import span
from isometry.network.edits import Reinitialise, ReplaceActivation
from isometry.treatment.changes import changes, draw_with, is_hidden, with_what_is_foretold
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

NEVER_DEAD = "elu"
"""Passes a gradient wherever z lies, and bends as ReLU does. Sources: Clevert et al. 2016."""
CAN_DIE = frozenset({"relu", "relu6", "squared_relu", "hardswish"})
"""φ with a half-line on which the slope is zero."""


GROWS = frozenset({"exponential"})
"""φ whose slope grows without bound, so that a few layers of them leave the numbers."""


@remedy(
    "replace-activation",
    treats=["vanishing_gradient", "exploding_gradient", "saturated_activation", "dead_units", "non_finite"],
    effect=Effect.RESTRUCTURES,
)
def replace_activation(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Replace φ by one that lets the gradient through, with weights that suit it.

    ReLU with He's weights in place of φ that saturate on both sides: the slope of sigmoid is at most a quarter, so that
    each layer takes a factor of four or more from δ, which only much larger weights could give back. Likewise in place
    of exponentials, where gradients explode or numbers overflow. ELU in place of rectifiers whose units have died.

    Sources: Glorot et al. 2011; Clevert et al. 2016.
    """
    architecture = diagnosis.run.architecture
    if finding.problem == "dead_units":
        names = tuple(name for name in finding.layers if block(architecture, architecture[name]).activation in CAN_DIE)
        if names:
            words = f"Apply ELU behind {span(names)}, which has a slope wherever z lies, so that no unit is dead."
            yield Proposal((ReplaceActivation(names, NEVER_DEAD),), words)
        return
    growing = tuple(layer.name for layer in architecture if is_hidden(layer) and layer.activation in GROWS)
    if growing and finding.problem in ("exploding_gradient", "non_finite"):
        words = f"Apply relu behind {span(growing)}, which does not grow faster than z, with He's weights."
        yield Proposal((ReplaceActivation(growing, "relu"), Reinitialise(growing, sqrt(2))), words)
    if finding.problem == "non_finite":
        return
    for change in changes(diagnosis, finding):
        swaps = [edit for edit in change.edits if isinstance(edit, ReplaceActivation)]
        if not swaps or (finding.problem == "saturated_activation" and swaps[0].activation in TWO_SIDED):
            continue
        words = f"Apply {swaps[0].activation} behind {span([name for edit in swaps for name in edit.layers])}"
        if any(isinstance(edit, Reinitialise) for edit in change.edits):
            words += f", weights drawn anew with {draw_with(change.edits, architecture)}"
        yield Proposal(change.edits, with_what_is_foretold(words, change), change.expected)
