"""A201: units that sit where their nonlinearity is flat."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits, words
from isometry.diagnosis.attribution import TWO_SIDED
from isometry.diagnosis.course import has_learned, is_told_by_its_loss
from isometry.diagnosis.finding import Cause, Finding, Severity
from isometry.diagnosis.rule import rule
from isometry.diagnosis.trunk import column, sampled_rows
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.architecture import Layer
from isometry.network.signals import Signal

SATURATED = (Signal.SLOPE, "saturated")
SLOPE_RMS = (Signal.SLOPE, "rms")
Z_MEAN = (Signal.PRE_ACTIVATION, "mean")
Z_STD = (Signal.PRE_ACTIVATION, "std")

EARLY_ROWS = 8
LATE_SHARE = 4


@rule(
    "A201",
    problem="saturated_activation",
    reads=[],
    follows=["unscaled_input", "poor_initialization", "learning_rate_too_high"],
)
def saturated_activation(run: Run) -> Iterable[Finding]:
    """Most of a layer's units sit where their nonlinearity is flat, so neither signal nor gradient comes through.

    An element is saturated where |φ′| is less than a twentieth of φ's steepest slope: |z| above 4.4 for sigmoid, 2.2
    for tanh. Only two-sided nonlinearities of hidden layers are looked at, and no gates: an output that is sure, or a
    gate that is open, is flat for a good reason.

    How it is told apart: a trained network saturates units because it has become certain; that is a note as long as
    the loss has fallen and most units were not flat from the very first steps. And a sigmoid network whose gradient
    vanishes need not be saturated at all: its slope is at most a quarter. That is the vanishing gradient's cause.

    Sources: Glorot & Bengio 2010, section 3; LeCun et al. 1998.
    """
    if SATURATED not in run.history:
        raise NotRecorded("no nonlinearity that saturates on both sides")
    rows = sampled_rows(run)
    share = column(run, *SATURATED, rows=rows)
    recorded = np.flatnonzero(~np.isnan(share).all(axis=0))
    watched = [int(position) for position in recorded if _counts(run, int(position))]
    if not watched:
        raise NotRecorded("no hidden layer with a nonlinearity that saturates on both sides")
    early, late = {}, {}
    for position in watched:
        known = share[~np.isnan(share[:, position]), position]
        early[position] = float(np.median(known[:EARLY_ROWS]))
        late[position] = float(np.median(known[-max(1, len(known) // LATE_SHARE) :]))
    concerned = [place for place in watched if max(early[place], late[place]) >= limits.SATURATED_NOTE.value]
    if not concerned:
        return
    worst = max(concerned, key=lambda place: late[place])
    names = tuple(run.architecture.layers[place].name for place in concerned)
    high = share[:, worst] >= limits.SATURATED_NOTE.value
    layer = run.architecture.layers[worst]
    yield Finding(
        severity=_severity(run, early=early[worst], late=late[worst]),
        summary=(
            f"{words.called(layer.name)}: {late[worst]:.0%} of the {layer.activation} outputs are saturated"
            + (f"; {words.span(names)} are concerned" if len(names) > 1 else "")
        ),
        layers=names,
        first_step=int(run.history.steps[rows[int(high.argmax())]]),
        causes=_causes(run, layer, worst, rows),
        evidence=tuple(
            limits.SATURATED_NOTE.evidence(f"share of {name} saturated", late[position], SATURATED)
            for name, position in zip(names, concerned, strict=True)
        ),
        consequence=(
            f"Where they are flat, {words.called(names[-1])} and all layers before it learn from few samples or none."
        ),
    )


def _counts(run: Run, position: int) -> bool:
    layer = run.architecture.layers[position]
    return not layer.output and not layer.gated and not layer.recurrent


def _severity(run: Run, *, early: float, late: float) -> Severity:
    if late < limits.SATURATED_NOTE.value:
        return Severity.NOTE
    if has_learned(run):
        lasting = min(early, late) >= limits.SATURATED_HARMS.value
        return Severity.SLOWS if lasting else Severity.NOTE
    if late >= limits.SATURATED_HARMS.value:
        return Severity.HARMS
    return Severity.SLOWS if is_told_by_its_loss(run) else Severity.NOTE


def _causes(run: Run, layer: Layer, position: int, rows: NDArray[np.int64]) -> tuple[Cause, ...]:
    """Whether z is spread too wide or lies to one side, and what that costs."""
    if any(name not in run.history for name in (SLOPE_RMS, Z_MEAN, Z_STD)) or layer.activation not in TWO_SIDED:
        return ()
    slope, mean, std = (_latest(run, name, position, rows) for name in (SLOPE_RMS, Z_MEAN, Z_STD))
    if not np.isfinite([slope, mean, std]).all():
        return ()
    cost = float(np.log10(slope / TWO_SIDED[layer.activation])) if slope > 0 else None
    wide = std >= abs(mean)
    where = f"z of {words.called(layer.name)} has mean {mean:.1f} and standard deviation {std:.1f}"
    return (Cause("spread of z" if wide else "shift of z", cost, where, (layer.name,)),)


def _latest(run: Run, name: tuple[Signal, str], position: int, rows: NDArray[np.int64]) -> float:
    values = column(run, *name, rows=rows, layers=(position,))[:, 0]
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else float("nan")
