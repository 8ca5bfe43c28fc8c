"""Bring the inputs to scale."""

from collections.abc import Iterable

from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.diagnosis.words import span
from isometry.network.edits import Standardise
from isometry.treatment.changes import reads_input
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy


@remedy("standardise-inputs", treats=["unscaled_input"], effect=Effect.RETUNES)
def standardise_inputs(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Subtract the mean of every input feature and divide by its standard deviation, as the training data have them.

    Weights are drawn for inputs of mean 0 and size 1, and one rate suits all columns only if they are alike. Targets
    out of scale are another matter.

    Sources: LeCun et al. 1998, section 4.3.
    """
    if reads_input(finding):
        words = f"Standardise the inputs that {span(finding.layers)} reads, feature by feature, to mean 0 and size 1."
        yield Proposal((Standardise(),), words)
