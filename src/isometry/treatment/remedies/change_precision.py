"""Another number format for what passes through the network, and float32 for its weights."""

from collections.abc import Iterable

from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.diagnosis.precision import HALF, formats
from isometry.network.edits import SetPrecision
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

OF_FLOAT16 = "float16"


@remedy("change-precision", treats=["precision_overflow", "precision_underflow", "non_finite"], effect=Effect.RETUNES)
def change_precision(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Compute in bfloat16 in place of float16, with weights in float32; or in float32 altogether.

    bfloat16 has the range of float32 in 16 bits, so what is too small or too large for float16 is held, with 8 binary
    digits in place of 11. No scale has to be found and no step is left out; gradients that float16 rounds to zero are
    scaled first all the same, which keeps the digits. Of an overflow in the forward pass loss scaling is no cure.
    Weights in float32 take up updates of less than half a unit in the last place. float32 altogether is proposed last:
    twice the memory, on accelerators several times the time.

    Sources: Micikevicius et al. 2018, section 3.1; Kalamkar et al. 2019 for bfloat16.
    """
    run = diagnosis.run
    half = set(formats(run).values()) | {layer.dtype for layer in run.architecture if layer.dtype in HALF}
    if not half or (finding.problem == "non_finite" and not _is_of_float16(diagnosis, finding)):
        return
    if finding.problem == "precision_underflow" and not half & {OF_FLOAT16}:
        yield Proposal((SetPrecision("bfloat16"),), "Hold the weights in float32 and go on computing in bfloat16.")
    else:
        yield Proposal(
            (SetPrecision("bfloat16"),), "Compute in bfloat16, which has the range of float32, with weights in float32."
        )
    yield Proposal((SetPrecision("float32"),), "Compute in float32.")


def _is_of_float16(diagnosis: Diagnosis, finding: Finding) -> bool:
    codes = [other.code for other in diagnosis.findings if other.problem == "precision_overflow"]
    return bool(set(codes) & set(finding.follows))
