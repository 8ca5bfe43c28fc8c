"""D103: the last nonlinearity keeps the network from the answers that the loss asks for."""

from collections.abc import Iterable, Mapping
from typing import Any

from isometry.diagnosis import limits, words
from isometry.diagnosis.finding import Cause, Finding, Severity
from isometry.diagnosis.level import level_of
from isometry.diagnosis.rule import rule
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.statistics.guessing import guessing_loss
from isometry.statistics.reach import RANGES, least_loss

__all__ = ["answers_out_of_reach"]

LOGITS = ("cross_entropy", "binary_cross_entropy")
ELEMENTWISE = frozenset(RANGES) - {"softmax"}


@rule("D103", problem="unscaled_input", title="answers out of reach", reads=[])
def answers_out_of_reach(run: Run) -> Iterable[Finding]:
    """The output goes through a φ whose range leaves out what the loss asks for.

    Cross-entropy applies a softmax of its own, and binary cross-entropy with logits a sigmoid. Behind another softmax
    or sigmoid, which give 0 to 1, the surest answer over ten classes costs 1.46, and the slopes of both multiply. A
    regression behind ReLU, sigmoid or tanh cannot meet targets outside of their ranges.

    How it is told apart: by the graph behind the loss. Judged is φ right before the function that takes logits, or
    numbers of any size; a softmax whose logarithm goes into the negative log-likelihood, or a sigmoid before binary
    cross-entropy of probabilities, is as it should be. Said is what no weights can take away, as a share of the loss of
    guessing: a ReLU on targets that are not negative, or a tanh on those within ±1, leaves nothing over. Outputs that
    are multiplied or shifted behind φ, as clipped logits are, are not judged.

    What helps: the output without φ.

    Sources: Bridle 1990; PyTorch documentation, "CrossEntropyLoss", on unnormalised logits.
    """
    event = next(iter(run.history.events("loss_kind")), None)
    if event is None or "phi" not in event:
        raise NotRecorded("no loss whose graph tells what the output goes through")
    for term in event.get("terms") or [event]:
        if term["phi"] in RANGES:
            yield from _out_of_reach(run, term, first_step=int(event["step"]))


def _out_of_reach(run: Run, term: Mapping[str, Any], *, first_step: int) -> Iterable[Finding]:
    """Of a loss, or of one of those that it adds up."""
    phi, kind = str(term["phi"]), str(term["kind"])
    share = _share_left(kind, phi, term)
    if share is None or share < limits.OUT_OF_REACH.value:
        return
    low, high = RANGES[phi]
    wanted = "logits of any size" if kind in LOGITS else "numbers outside of it"
    layers = _behind(run, phi)
    where = f"the output of {words.span(layers)}" if layers else "the output"
    yield Finding(
        severity=_severity(run, share),
        summary=(
            f"{where} goes through {phi}, which gives {low:g} to {high:g}, and the loss asks for {wanted}: "
            f"{share:.0%} of what guessing loses stay whatever is learned"
        ),
        layers=layers,
        first_step=first_step,
        causes=(Cause("output activation", None, f"No weights take the answers out of the range of {phi}.", layers),),
        evidence=(limits.OUT_OF_REACH.evidence("least loss over that of guessing", share),),
        consequence="The loss cannot come down further, and the gradient passes one more slope.",
    )


def _share_left(kind: str, phi: str, event: Mapping[str, Any]) -> float | None:
    """The least loss that φ allows, over that of guessing; smooth absolute errors are judged by their squares."""
    kind = "mse" if kind == "smooth_l1" else kind
    targets, classes = event.get("targets"), event.get("classes")
    least = least_loss(kind, phi, classes=classes, targets=targets, beyond=event.get("beyond"))
    guessing = guessing_loss(kind, classes=classes, targets=targets)
    return None if least is None or not guessing else least / guessing


def _behind(run: Run, phi: str) -> tuple[str, ...]:
    """The output layer that φ belongs to; nothing where several may be meant."""
    known = phi if phi in ELEMENTWISE else None
    found = tuple(layer.name for layer in run.architecture if layer.output and layer.activation == known)
    return found if len(found) == 1 else ()


def _severity(run: Run, share: float) -> Severity:
    """Whether the loss has come down half of the way that φ leaves it."""
    try:
        level = level_of(run)
    except NotRecorded:
        return Severity.SLOWS
    if not level.guessing:
        return Severity.SLOWS
    gone = 1 - level.course.end / level.guessing
    return Severity.SLOWS if gone > limits.LEARNED.value * (1 - share) else Severity.HARMS
