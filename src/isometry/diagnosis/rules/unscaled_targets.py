"""D102: what the network is asked to produce is out of scale."""

from collections.abc import Iterable, Mapping
from typing import Any

from isometry.diagnosis import limits
from isometry.diagnosis.course import toll
from isometry.diagnosis.finding import Cause, Finding, Severity
from isometry.diagnosis.rule import rule
from isometry.errors import NotRecorded
from isometry.history.run import Run

__all__ = ["unscaled_targets"]

REGRESSION = frozenset({"mse", "l1", "smooth_l1"})


@rule("D102", problem="unscaled_input", title="unscaled targets", reads=[])
def unscaled_targets(run: Run) -> Iterable[Finding]:
    """A regression is asked for numbers much larger or smaller than 1, or far from zero compared with their spread.

    A fresh network answers with numbers of about 0 to 1. Targets around 1e5 make the first errors, and with them the
    gradients, as large: SGD leaps, and Adam, whose steps do not depend on the gradient, takes 1e5 / rate of them to get
    there. Targets of 1e-4 drown in what the untrained network answers.

    How it is told apart: only squared, absolute and smooth absolute errors are judged, by the targets of the first
    recorded step; classes have no scale. Where the network's answers are multiplied by a constant, the targets are
    measured by it, from where the first answers lie, if those lie near them.

    Sources: LeCun et al. 1998, "Efficient BackProp", section 4.5. Limits: benchmarks/input_scale.py.
    """
    event = next(iter(run.history.events("loss_kind")), None)
    if event is None or event.get("kind") not in REGRESSION or not event.get("targets"):
        raise NotRecorded("no regression loss whose targets were seen")
    targets: Mapping[str, float] = event["targets"]
    mean, std = float(targets["mean"]), float(targets["std"])
    if _is_scaled(event, mean, std):
        return
    size = (mean**2 + std**2) ** 0.5
    shift = abs(mean) / std if std > 0 else 0.0
    words = f"the targets have mean {mean:.3g} and standard deviation {std:.3g}"
    if size > limits.TARGET_LARGE.value:
        severity = toll(run, usually=Severity.HARMS if size > limits.TARGET_HUGE.value else Severity.SLOWS)
        evidence = limits.TARGET_LARGE.evidence("rms of the targets", size)
    elif 0 < size < limits.TARGET_SMALL.value:
        severity = toll(run, usually=Severity.SLOWS)
        evidence = limits.TARGET_SMALL.evidence("rms of the targets", size)
    elif shift > limits.TARGET_SHIFTED.value and size > limits.TARGET_SHIFT_COUNTS.value:
        severity = toll(run, usually=Severity.SLOWS)
        evidence = limits.TARGET_SHIFTED.evidence("distance of the targets' mean from zero", shift)
    else:
        return
    output = tuple(layer.name for layer in run.architecture if layer.output)
    yield Finding(
        severity=severity,
        summary=words,
        layers=output,
        first_step=int(event["step"]),
        causes=(Cause("scale of the targets", None, "A fresh network answers with numbers of about 0 to 1.", output),),
        evidence=(evidence,),
        consequence="Most of the training goes into finding the scale and the mean, not into the task.",
    )


def _is_scaled(event: Mapping[str, Any], mean: float, std: float) -> bool:
    """Whether a constant factor, and a shift if need be, brings ordinary answers to the scale of the targets."""
    factor, outputs = abs(float(event.get("factor") or 1.0)), event.get("outputs")
    if not outputs:
        return False
    away = abs(mean - float(outputs["mean"])) / factor
    is_near = away <= limits.TARGET_SHIFT_COUNTS.value
    return is_near and limits.TARGET_SMALL.value <= std / factor <= limits.TARGET_LARGE.value
