"""Normalise what the layers put out."""

from collections.abc import Iterable
from dataclasses import replace
from math import isfinite

from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.diagnosis.words import span
from isometry.history.run import Run
from isometry.network.edits import InsertNorm
from isometry.network.signals import Signal
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

    Batch norm lets samples and, in sequences, later steps be seen by others, and is noisy where batches are small.
    There a group norm, over eight channels or more, takes its place in convolutions, and an rms norm elsewhere: of z
    with a mean of zero, as fresh weights give, it does what layer norm does, at less cost.

    Sources: Ioffe & Szegedy 2015; Ba et al. 2016; Wu & He 2018; Zhang & Sennrich 2019; Yang et al. 2019.
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
            norm = _fitting(diagnosis.run, norms[0])
            side = "after" if norms[0].after else "before"
            words = f"Insert {norm} norm {side} φ of {span(norms[0].layers)}"
            edits = tuple(replace(edit, norm=norm) for edit in norms)
            yield Proposal(edits, with_what_is_foretold(words, change), change.expected)


def _fitting(run: Run, edit: InsertNorm) -> str:
    """The norm that is to stand where theory has foretold one: batch norm only where samples may see each other."""
    if edit.norm != "batch":
        return edit.norm
    samples = _samples(run)
    is_sequential = any(layer.kind in SEQUENTIAL for layer in run.architecture)
    if not is_sequential and (samples is None or samples >= FEW):
        return "batch"
    return "group" if all(run.architecture[name].kind == "conv" for name in edit.layers) else "rms"


def _samples(run: Run) -> int | None:
    """How many answers a batch has, by the numbers that a linear layer gives; None where the run does not tell."""
    column = (Signal.PRE_ACTIVATION, "count")
    if column not in run.history:
        return None
    counts = run.history[column][0]
    found = [
        count / layer.fan_out
        for layer, count in zip(run.architecture, counts, strict=True)
        if layer.kind == "linear" and layer.fan_out and layer.calls and isfinite(count)
    ]
    return round(min(found)) if found else None


SEQUENTIAL = frozenset({"recurrent", "attention"})
"""Kinds of layers by which a network that reads sequences is told."""
FEW = 16
"""Samples of a batch below which batch norm costs accuracy. Sources: Wu & He 2018, figure 1."""
SHIFTED = ("saturated_activation", "dead_units")
"""Problems of where z lies on φ, which a norm behind φ does not change."""
