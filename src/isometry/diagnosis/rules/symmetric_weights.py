"""W102: neighbouring layers whose weights are all the same number."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from isometry.diagnosis import limits, words
from isometry.diagnosis.course import has_learned
from isometry.diagnosis.finding import Cause, Finding, Severity
from isometry.diagnosis.rule import rule
from isometry.diagnosis.trunk import column, trunks
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal

WEIGHT_RMS = (Signal.WEIGHT, "rms")
WEIGHT_STD = (Signal.WEIGHT, "std")


@rule("W102", problem="poor_initialization", reads=[WEIGHT_RMS, WEIGHT_STD])
def symmetric_weights(run: Run) -> Iterable[Finding]:
    """Two layers in a row began with one number in all their weights: the units between them stay copies.

    Equal weights going in and equal weights going out give every unit of a layer the same value and the same gradient,
    so no training tells them apart: the layer is one unit wide.

    How it is told apart: one constant layer between random ones is harmless, because its neighbour breaks the symmetry.
    That covers last layers and residual branches that start at zero, and scales of norm layers that start at one.

    Sources: Goodfellow et al. 2016, section 8.4.
    """
    chains = trunks(run.architecture)
    if not chains:
        raise NotRecorded("no chain of layers with weights")
    rows = np.zeros(1, dtype=np.int64)
    rms, std = column(run, *WEIGHT_RMS, rows=rows)[0], column(run, *WEIGHT_STD, rows=rows)[0]
    same = std <= limits.SAME.value * rms
    for trunk in chains:
        weighted = [position for position in trunk.layers if run.architecture.layers[position].weighted]
        copies = [
            lower for lower, upper in pairwise(weighted) if same[lower] and same[upper] and _has_units(run, lower)
        ]
        if copies:
            yield _finding(run, [run.architecture.layers[position].name for position in copies], float(rms[copies[0]]))


def _has_units(run: Run, position: int) -> bool:
    layer = run.architecture.layers[position]
    return layer.trainable and layer.fan_out is not None and layer.fan_out > 1


def _finding(run: Run, names: list[str], value: float) -> Finding:
    number = "zero" if value == 0 else f"the same number ({value:.2g} in {names[0]})"
    return Finding(
        severity=Severity.SLOWS if has_learned(run) else Severity.HARMS,
        summary=f"All weights of {words.span(names)} and of the layers that follow began as {number}",
        layers=tuple(names),
        first_step=int(run.history.steps[0]),
        causes=(Cause("symmetry", None, "equal weights in and out make all units of a layer copies", tuple(names)),),
        evidence=(limits.SAME.evidence(f"std W over rms W in {names[0]}", 0.0, WEIGHT_STD, WEIGHT_RMS),),
        consequence=f"{words.span(names)} work as if they had a single unit.",
    )
