"""An output without a nonlinearity."""

from collections.abc import Iterable

from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.diagnosis.words import span
from isometry.network.edits import ReplaceActivation
from isometry.treatment.changes import is_out_of_reach
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy


@remedy("free-output", treats=["unscaled_input"], effect=Effect.RESTRUCTURES)
def free_output(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Take the nonlinearity off the output, where the loss applies one of its own or the targets lie outside its range.

    Softmax and sigmoid belong into the loss, which computes them together with the logarithm. Whoever reads
    probabilities off the network applies them there; which class is the likeliest does not change.

    Sources: Goodfellow et al. 2016, section 6.2.2.
    """
    if is_out_of_reach(finding) and finding.layers:
        words = f"Let {span(finding.layers)} give its own output, without a nonlinearity."
        yield Proposal((ReplaceActivation(finding.layers, "identity"),), words)
