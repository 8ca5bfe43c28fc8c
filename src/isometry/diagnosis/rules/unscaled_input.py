"""D101: what the network reads is out of scale."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from isometry.diagnosis import limits
from isometry.diagnosis.course import toll
from isometry.diagnosis.finding import Cause, Evidence, Finding, Severity
from isometry.diagnosis.level import level_of
from isometry.diagnosis.rule import rule
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.architecture import Layer
from isometry.network.signals import Signal

__all__ = ["unscaled_input"]

MEAN, STD, RMS, ABS_MAX = ((Signal.INPUT, name) for name in ("mean", "std", "rms", "abs_max"))
COUNT, ZEROS = (Signal.INPUT, "count"), (Signal.INPUT, "zeros")


@dataclass(frozen=True, slots=True)
class Scale:
    """Moments of one layer's raw input, the median over the recorded steps."""

    layer: str
    mean: float
    std: float
    rms: float
    filled: float
    """Share of elements that are not zero."""

    @property
    def shift(self) -> float:
        """How far the mean lies from zero, in standard deviations."""
        return abs(self.mean) / self.std if self.std > 0 else 0.0

    @property
    def present(self) -> float:
        """Rms of the elements that are not zero, so that one-hot rows and sparse counts are not taken for small."""
        return self.rms / float(np.sqrt(self.filled)) if self.filled > 0 else self.rms


@rule("D101", problem="unscaled_input", reads=[MEAN, STD, RMS])
def unscaled_input(run: Run) -> Iterable[Finding]:
    """The network reads numbers much larger or smaller than 1, or far from zero compared with their spread.

    Weights are drawn for inputs of mean 0 and size 1. Inputs of 0 to 255 drive the first layer's z, and
    its gradient, a hundred times too far; inputs of 1e-4 leave the first layer without effect; a mean of many standard
    deviations makes one direction of the loss far steeper than all others, and the rate has to suit that one.
    Inputs of size 10 to 30, or 0.03 to 0.1, are only named where the loss hardly falls. It harms where the loss does
    not get half of the way down from guessing, and slows where it does.

    How it is told apart: numbers that name a row of an embedding have no scale; a norm layer that reads the input, or
    takes up the first layer's output, undoes any scale; pictures between 0 and 1 and one-hot rows are in order.

    What is not seen: single columns that are out of scale in small company, because moments pool all columns.

    Sources: LeCun et al. 1998, "Efficient BackProp", section 4.3. Limits: benchmarks/input_scale.py.
    """
    readers = [layer for layer in run.architecture if _is_judged(layer)]
    scales = [scale for layer in readers if (scale := _scale(run, layer)) is not None]
    if not scales:
        raise NotRecorded("no layer reads the raw input in a way that depends on its scale")
    for scale in scales:
        yield from _judged(run, scale)


def _is_judged(layer: Layer) -> bool:
    return layer.kind not in ("embedding", "norm", "sum") and layer.norm is None


def _scale(run: Run, layer: Layer) -> Scale | None:
    place = run.architecture.index(layer.name)

    def middle(column: tuple[Signal, str]) -> float:
        values = np.asarray(run.history[column][:, place], np.float64)
        values = values[np.isfinite(values)]
        return float(np.median(values)) if len(values) else np.nan

    mean, std, rms = middle(MEAN), middle(STD), middle(RMS)
    if not np.isfinite([mean, std, rms]).all():
        return None
    filled = 1.0
    if COUNT in run.history and ZEROS in run.history and (count := middle(COUNT)) > 0:
        filled = 1 - middle(ZEROS) / count
    return Scale(layer.name, mean, std, rms, filled)


def _judged(run: Run, scale: Scale) -> Iterable[Finding]:
    if scale.rms > limits.INPUT_LARGE.value:
        severity = toll(run, usually=Severity.HARMS if scale.rms > limits.INPUT_HUGE.value else Severity.SLOWS)
        evidence = limits.INPUT_LARGE.evidence("rms of the input", scale.rms, RMS)
        yield _finding(run, scale, severity, f"numbers of size {scale.rms:.3g}", "too large", evidence)
    elif scale.rms > limits.INPUT_LOUD.value and _learns_little(run):
        evidence = limits.INPUT_LOUD.evidence("rms of the input, while the loss hardly fell", scale.rms, RMS)
        yield _finding(run, scale, Severity.SLOWS, f"numbers of size {scale.rms:.3g}", "large", evidence)
    elif 0 < scale.present < limits.INPUT_SMALL.value:
        severity = toll(run, usually=Severity.HARMS if scale.present < limits.INPUT_TINY.value else Severity.SLOWS)
        evidence = limits.INPUT_SMALL.evidence("rms of the input's elements that are not zero", scale.present, RMS)
        yield _finding(run, scale, severity, f"numbers of size {scale.present:.3g}", "too small", evidence)
    elif 0 < scale.present < limits.INPUT_QUIET.value and _learns_little(run):
        evidence = limits.INPUT_QUIET.evidence("rms of the input, while the loss hardly fell", scale.present, RMS)
        yield _finding(run, scale, Severity.SLOWS, f"numbers of size {scale.present:.3g}", "small", evidence)
    elif scale.shift > limits.INPUT_SHIFTED.value and scale.rms > limits.INPUT_SHIFT_COUNTS.value:
        evidence = limits.INPUT_SHIFTED.evidence("distance of the input's mean from zero", scale.shift, MEAN, STD)
        words = f"numbers around {scale.mean:.3g} that vary by {scale.std:.3g}"
        yield _finding(run, scale, toll(run, usually=Severity.SLOWS), words, "not centred", evidence)


def _learns_little(run: Run) -> bool:
    """Whether the loss shows that something is in the way; False where it cannot be told."""
    try:
        return level_of(run).fallen < limits.TOO_LITTLE_FALLEN.value
    except NotRecorded:
        return False


def _finding(run: Run, scale: Scale, severity: Severity, what: str, name: str, evidence: Evidence) -> Finding:
    return Finding(
        severity=severity,
        summary=f"{scale.layer} reads {what} (mean {scale.mean:.3g}, standard deviation {scale.std:.3g})",
        layers=(scale.layer,),
        first_step=run.history.begin,
        causes=(Cause(name, None, "Initial weights are made for inputs of mean 0 and size 1.", (scale.layer,)),),
        evidence=(evidence,),
        consequence="The first layer starts far from where it can learn, and one rate cannot suit it and the others.",
    )
