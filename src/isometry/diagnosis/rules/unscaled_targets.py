"""D102: what the network is asked to produce is out of scale."""

from collections.abc import Iterable, Mapping
from typing import Any

from isometry.diagnosis import limits, words
from isometry.diagnosis.course import toll
from isometry.diagnosis.finding import Cause, Finding, Severity
from isometry.diagnosis.rule import rule
from isometry.errors import NotRecorded
from isometry.history.run import Run

__all__ = ["unscaled_targets"]

REGRESSION = frozenset({"mse", "l1", "smooth_l1"})
ALONE = "Most of the training goes into finding the scale and the mean, not into the task."


@rule("D102", problem="unscaled_input", title="unscaled targets", reads=[])
def unscaled_targets(run: Run) -> Iterable[Finding]:
    """A regression is asked for numbers much larger or smaller than 1, or far from zero compared with their spread.

    A fresh network answers with numbers of about 0 to 1. Targets around 1e5 make the first errors, and with them the
    gradients, as large: SGD leaps, and Adam, whose steps do not depend on the gradient, takes 1e5 / rate of them to get
    there. Targets of 1e-4 drown in what the untrained network answers.

    How it is told apart: only squared, absolute and smooth absolute errors are judged, by the targets of the first
    recorded step; classes have no scale. Where the network's answers are multiplied by a constant, the targets are
    measured by it, from where the first answers lie, if those lie near them. Of a loss that adds several up each is
    judged by itself.

    Sources: LeCun et al. 1998, "Efficient BackProp", section 4.5. Limits: benchmarks/input_scale.py.
    """
    event = next(iter(run.history.events("loss_kind")), None)
    terms: list[Mapping[str, Any]] = event.get("terms") or [event] if event is not None else []
    judged = [term for term in terms if term.get("kind") in REGRESSION and term.get("targets")]
    if event is None or not judged:
        raise NotRecorded("no regression loss whose targets were seen")
    for term in judged:
        yield from _unscaled(run, term, first_step=int(event["step"]), alone=len(terms) == 1)


def _unscaled(run: Run, term: Mapping[str, Any], *, first_step: int, alone: bool) -> Iterable[Finding]:
    """The targets of a loss, or of one of those that it adds up."""
    targets: Mapping[str, float] = term["targets"]
    mean, std = float(targets["mean"]), float(targets["std"])
    if _is_scaled(term, mean, std):
        return
    size = (mean**2 + std**2) ** 0.5
    shift = abs(mean) / std if std > 0 else 0.0
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
    if term.get("layer") in output:
        output = (str(term["layer"]),)
    told = f"mean {mean:.3g} and standard deviation {std:.3g}"
    where = "" if alone else f" of {words.span(output)}" if len(output) == 1 else " of one term of the loss"
    yield Finding(
        severity=severity,
        summary=f"the targets{where} have {told}{'' if alone else _to_ask_for(mean, std)}",
        layers=output,
        first_step=first_step,
        causes=(Cause("scale of the targets", None, "A fresh network answers with numbers of about 0 to 1.", output),),
        evidence=(evidence,),
        consequence=ALONE if alone else _beside_others(str(term["kind"]), mean=mean, std=std),
    )


def _to_ask_for(mean: float, std: float) -> str:
    """What brings one term of a sum to the scale of the others, which the network and the optimiser cannot."""
    asked = f"(y − {mean:.3g}) / {std:.3g}" if std > 0 else f"y / {abs(mean):.3g}"
    return f"; what the loss adds up is of one scale only if it asks for {asked} there"


def _beside_others(kind: str, *, mean: float, std: float) -> str:
    """What the scale does to a sum of losses."""
    size = (mean**2 + std**2) ** 0.5
    times = size**2 if kind == "mse" else size
    return (
        f"Their first errors cost about {times:.2g} times as much as those of targets of size 1, beside other terms of "
        "the loss. At no rate do all of them learn well; the loss itself has to change."
    )


def _is_scaled(event: Mapping[str, Any], mean: float, std: float) -> bool:
    """Whether a constant factor, and a shift if need be, brings ordinary answers to the scale of the targets."""
    factor, outputs = abs(float(event.get("factor") or 1.0)), event.get("outputs")
    if not outputs:
        return False
    away = abs(mean - float(outputs["mean"])) / factor
    is_near = away <= limits.TARGET_SHIFT_COUNTS.value
    return is_near and limits.TARGET_SMALL.value <= std / factor <= limits.TARGET_LARGE.value
