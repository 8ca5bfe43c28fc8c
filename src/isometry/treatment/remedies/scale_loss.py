"""Gradients scaled up on their way through the network."""

from collections.abc import Iterable

from isometry.diagnosis.finding import Diagnosis, Finding
from isometry.diagnosis.precision import formats, loss_scale
from isometry.network.edits import Edit, ScaleLoss, SetPrecision
from isometry.treatment.prescription import Effect
from isometry.treatment.remedy import Proposal, remedy

FACTOR = 2.0**16
"""Sources: torch.amp.GradScaler begins with it."""


@remedy("scale-loss", treats=["precision_underflow"], effect=Effect.RETUNES)
def scale_loss(diagnosis: Diagnosis, finding: Finding) -> Iterable[Proposal]:
    """Multiply the loss before the backward pass, and divide gradients before the step, so that float16 holds them.

    The factor begins at 65,536. A step whose gradients are not finite is left out and halves it, 2,000 good ones in a
    row double it, so it finds its place by itself. Weights in float16 get float32 copies first, as gradients that are
    divided again would round to zero in them. Nothing is proposed where the loss is scaled already, and against weights
    that are too coarse for their updates, which no scale helps.

    Sources: Micikevicius et al. 2018, section 3.2; torch.amp.GradScaler for the factors.
    """
    run = diagnosis.run
    if "float16" not in formats(run).values() or (loss_scale(run) != 1).any():
        return
    if not any(quantity.quantity.startswith("rms of") for quantity in finding.evidence):
        return  # it is the updates that are lost
    edits: tuple[Edit, ...] = (ScaleLoss(FACTOR),)
    words = f"Multiply the loss by {FACTOR:,.0f} before the backward pass, and divide the gradients again"
    if any(layer.dtype == "float16" for layer in run.architecture):
        edits = (SetPrecision("float16"), *edits)
        words += ", with weights held in float32"
    yield Proposal(edits, f"{words}; the factor adapts itself.")
