"""Normalise what the layers put out."""

from collections.abc import Iterable

from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.diagnosis.words import span
from isometry.network.edits import InsertNorm
from isometry.treatment.changes import changes, is_hidden, reads_input, with_what_is_foretold
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy


@remedy(
    "insert-norm",
    treats=[
        "vanishing_gradient",
        "exploding_gradient",
        "poor_initialization",
        "saturated_activation",
        "dead_units",
        "unscaled_input",
    ],
    effect=Effect.RESTRUCTURES,
)
def insert_norm(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Give the signal its size back at every layer, by layer or batch normalisation on the side of φ where it helps.

    Before φ the size of the weights cancels, and z is where φ is steep; but what φ takes from the gradient stays lost:
    of a sigmoid network δ fades by 0.4 decades a layer all the same. After φ the norm gives that back as well. Which
    side helps is what theory foretells of each. For inputs out of scale the layer that reads them is normalised.

    Sources: Ioffe & Szegedy 2015; Ba et al. 2016; Yang et al. 2019.
    """
    architecture = diagnosis.run.architecture
    if finding.problem == "unscaled_input":
        readers = tuple(name for name in finding.layers if is_hidden(architecture[name]))
        if readers and reads_input(finding):
            words = f"Insert batch norm right behind {span(readers)}, in which scale and mean of the input cancel."
            yield Proposal((InsertNorm(readers, "batch"),), words)
        return
    if any(cause.name == "symmetry" for cause in finding.causes):
        return  # equal units stay equal behind a norm
    for change in changes(diagnosis, finding):
        norms = [edit for edit in change.edits if isinstance(edit, InsertNorm)]
        if norms and len(norms) == len(change.edits) and not (norms[0].after and finding.problem in SHIFTED):
            side = "after" if norms[0].after else "before"
            words = f"Insert {norms[0].norm} norm {side} φ of {span(norms[0].layers)}"
            yield Proposal(change.edits, with_what_is_foretold(words, change), change.expected)


SHIFTED = ("saturated_activation", "dead_units")
"""Problems of where z lies on φ, which a norm behind φ does not change."""
