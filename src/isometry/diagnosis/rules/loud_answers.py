"""W103: the untrained network is far surer of wrong answers than guessing."""

from collections.abc import Iterable

from isometry.diagnosis import limits
from isometry.diagnosis.finding import Cause, Finding, Severity
from isometry.diagnosis.rule import rule
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.statistics.guessing import guessing_loss

__all__ = ["loud_answers"]

CLASSES = frozenset({"cross_entropy", "nll", "binary_cross_entropy"})


@rule(
    "W103",
    problem="poor_initialization",
    title="loud first answers",
    reads=[],
    follows=["unscaled_input", "exploding_gradient", "poor_initialization"],
)
def loud_answers(run: Run) -> Iterable[Finding]:
    """Before the first step the loss of a classifier is many times what guessing loses.

    Logits of size s that know nothing of the classes lose about s where guessing loses ln(classes). So the loss tells
    the size of the signal at the output also where no layer could be followed: networks of bare weight matrices,
    einsums, operations of one's own. Gradients grow with the signal, so plain SGD leaves the numbers at rates that suit
    the task, and a softmax that is sure of one class hands on a gradient of samples that are wrong alone.

    How it is told apart: only networks that have not taken a step are judged, for a training shows by its own loss what
    such a start did to it; and only losses over classes, whose guessing level does not depend on the scale of targets.
    A factor on the loss is left out. A last layer that begins ten times too large costs little and is not told.

    Sources: first losses of 411 twins and of heads drawn too large; see the limits.
    """
    if (Signal.UPDATE, "rms") in run.history:
        raise NotRecorded("a training shows by the course of its loss what its start did to it")
    event = next(iter(run.history.events("loss_kind")), {})
    kind, value = str(event.get("kind")), event.get("value")
    if kind not in CLASSES or value is None:
        raise NotRecorded("no loss over classes whose value was seen")
    guessing = guessing_loss(kind, classes=event.get("classes"), targets=event.get("targets"))
    if not guessing:
        raise NotRecorded("what guessing loses is not known")
    times = float(value) / guessing
    if not times > limits.LOUD.value:
        return
    output = tuple(layer.name for layer in run.architecture if layer.output)
    yield Finding(
        severity=Severity.HARMS if times > limits.DEAFENING.value else Severity.SLOWS,
        summary=f"the first loss is {float(value):.3g}, {times:,.0f} times what guessing loses ({guessing:.3g})",
        layers=output,
        first_step=0,
        causes=(
            Cause("size of the answers", None, "The network's answers are too large before it knows any.", output),
        ),
        evidence=(limits.LOUD.evidence("first loss over that of guessing", times),),
        consequence="The first steps go into making the answers small again, and large ones leave the numbers.",
    )
