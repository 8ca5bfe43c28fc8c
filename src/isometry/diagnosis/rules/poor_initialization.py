"""W101: the draw of the weights makes the signal collapse or blow up along depth."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits, words
from isometry.diagnosis.course import has_learned
from isometry.diagnosis.finding import Cause, Evidence, Finding, Severity
from isometry.diagnosis.profile import Profile, climb, fall, profile
from isometry.diagnosis.rule import rule
from isometry.diagnosis.trunk import Trunk, column, trunks
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.architecture import Layer
from isometry.network.signals import Signal

SPREAD = (Signal.PRE_ACTIVATION, "spread")
WEIGHT_RMS = (Signal.WEIGHT, "rms")
WEIGHT_MEAN = (Signal.WEIGHT, "mean")
WEIGHT_COUNT = (Signal.WEIGHT, "count")
DELTA_RMS = (Signal.DELTA, "rms")
DELTA_COUNT = (Signal.DELTA, "count")


@dataclass(frozen=True, slots=True)
class _Drift:
    """What the signals do along a trunk at the first steps, and which part the draw of the weights explains."""

    names: tuple[str, ...]
    forward: float
    """log10 of spread at the output end over that at the input end, the extreme on the way; negative: collapse."""
    backward: float
    """The same of ‖δ‖ from the output to the input."""
    explained: NDArray[np.float64]
    """log10 of σ_w over the σ_w that would keep the signals, for each step of the trunk."""
    scale: NDArray[np.float64]
    """σ_w for each step of the trunk, or what the mean of the weights makes of a signal that all units share, where
    that is greater; NaN where no draw of weights decides."""
    wanted: NDArray[np.float64]
    by_mean: NDArray[np.bool_]
    """Where it is the mean of the weights."""
    later: float
    """The greater of both drifts in the later steps."""

    @property
    def drift(self) -> float:
        return max(self.forward, self.backward, key=abs)


@rule("W101", problem="poor_initialization", reads=[SPREAD, WEIGHT_RMS, DELTA_RMS, DELTA_COUNT])
def poor_initialization(run: Run) -> Iterable[Finding]:
    """The weights were drawn so small or so large that the signal collapses or blows up with depth from the first step.

    Judged are, at the first steps, the part of z that depends on the input (the standard deviation between samples), as
    it travels forwards, and ‖δ‖ as it travels backwards. In an even collapse both shrink by the same factor a layer,
    the weight gradients of all layers are equally tiny, and a ratio of first to last gradient sees nothing.

    How it is told apart: a drift counts only if the scale of the weights explains most of it, measured as
    σ_w = rms W · √fan-in against the value that keeps both signals with this nonlinearity (√2 for ReLU, 1 for tanh).
    So a sigmoid network with standard weights is a case of a vanishing gradient, not of a poor draw. Weights whose mean
    is not zero, as those from U(0, 1), multiply what all units share by their mean times fan-in, which counts where it
    is more than σ_w. Behind a norm layer the scale of the weights cancels and is not looked at. What the network
    repairs itself is a note.

    Sources: Glorot & Bengio 2010; He et al. 2015; Poole et al. 2016; Schoenholz et al. 2017.
    """
    judged = 0
    for trunk in trunks(run.architecture):
        found = profile(run, trunk)
        if found is None:
            continue
        drift = _drift(run, found)
        if drift is not None:
            judged += 1
            yield from _judged(run, drift)
    if not judged:
        raise NotRecorded("no chain of three layers or more on which the spread of z and δ were recorded")


def _drift(run: Run, found: Profile) -> _Drift | None:
    early, late = _spread(run, found.trunk, found.early_rows[:1]), _spread(run, found.trunk, found.late_rows)
    if not np.isfinite(early).all():
        return None
    first = found.decades[0]
    scale, wanted, by_mean = _scales(run, found)
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = np.nan_to_num(np.log10(scale / wanted))
    later = [_extreme(found.late)] + ([_extreme(late[::-1])] if np.isfinite(late).all() else [])
    return _Drift(
        names=found.names,
        forward=_extreme(early[::-1]),
        backward=_extreme(first),
        explained=explained,
        scale=scale,
        wanted=wanted,
        by_mean=by_mean,
        later=max(later, key=abs),
    )


def _spread(run: Run, trunk: Trunk, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """log10 of the spread of z at the places of a trunk, median over rows."""
    with np.errstate(divide="ignore"):
        typical: NDArray[np.float64] = np.median(np.log10(column(run, *SPREAD, rows=rows, layers=trunk.places)), axis=0)
    return typical


def _extreme(decades: NDArray[np.float64]) -> float:
    """The greatest loss or gain on the way from the end of a profile to its beginning, with its sign."""
    down, up = float(fall(decades).max()), float(climb(decades).max())
    return -down if down > up else up


def _scales(run: Run, found: Profile) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """What the weights between each place and the next multiply by, the σ_w that suits the nonlinearity in front of
    them, and whether it is their mean that multiplies.
    """
    layers = [run.architecture.layers[position] for position in found.trunk.layers]
    norms = [place != layer for place, layer in zip(found.trunk.places, found.trunk.layers, strict=True)]
    weight = column(run, *WEIGHT_RMS, rows=found.early_rows[:1], layers=found.trunk.layers)[0]
    mean = _mean(run, found, weight)
    scale, wanted, by_mean = (np.full(len(layers) - 1, empty) for empty in (np.nan, np.nan, False))
    for step, upper in enumerate(layers[1:]):
        place = run.architecture.layers[found.trunk.places[step]]
        if upper.kind not in ("linear", "conv") or upper.fan_in is None or norms[step + 1]:
            continue
        sigma_w, shared = weight[step + 1] * np.sqrt(upper.fan_in), mean[step + 1] * upper.fan_in
        scale[step] = max(sigma_w, shared)
        by_mean[step] = shared > sigma_w
        wanted[step] = _wanted(place)
    return scale, wanted, by_mean


def _mean(run: Run, found: Profile, rms: NDArray[np.float64]) -> NDArray[np.float64]:
    """|mean| of the weights of each layer of a trunk; 0 where it is that of a draw around zero, or was not recorded."""
    if WEIGHT_MEAN not in run.history or WEIGHT_COUNT not in run.history:
        return np.zeros(len(rms))
    mean, count = (
        column(run, *statistic, rows=found.early_rows[:1], layers=found.trunk.layers)[0]
        for statistic in (WEIGHT_MEAN, WEIGHT_COUNT)
    )
    return np.where(np.abs(mean) * np.sqrt(count) > limits.ABOVE_NOISE.value * rms, np.abs(mean), 0.0)


def _wanted(place: Layer) -> float:
    fallback = limits.CRITICAL_WEIGHT["none"]
    return limits.CRITICAL_WEIGHT.get(place.activation or "none", fallback).value


def _judged(run: Run, found: _Drift) -> Iterable[Finding]:
    sign = np.sign(found.drift)
    explained = float(found.explained.sum())
    if abs(found.drift) < limits.DRIFT_SLOWS.value or explained * sign < limits.BLAMED.value * abs(found.drift):
        return
    share = found.explained * sign
    worst = int(share.argmax())
    off = np.flatnonzero(share >= limits.EVEN.value * share[worst])
    layers = tuple(found.names[step + 1] for step in off)
    size = "small" if sign < 0 else "large"
    yield Finding(
        severity=_severity(run, found),
        summary=(
            f"Weights drawn too {size}: {_measure(found, off)} is {np.median(found.scale[off]):.2g} in "
            f"{words.span(layers)}, where {np.median(found.wanted[off]):.2g} keeps the signal; {_told(found)}"
        ),
        layers=layers,
        first_step=int(run.history.steps[0]),
        causes=(
            Cause(
                "weight scale",
                explained,
                f"{explained:+.1f} decades: ".replace("-", "−")
                + f"weights too {size}, most so in {words.called(found.names[worst + 1])}",
                layers,
            ),
        ),
        evidence=_evidence(found),
        consequence=_consequence(found),
    )


def _measure(found: _Drift, steps: NDArray[np.int64]) -> str:
    by_mean = found.by_mean[steps]
    return "their mean times fan-in" if np.count_nonzero(by_mean) > np.count_nonzero(~by_mean) else "σ_w"


def _told(found: _Drift) -> str:
    """``forwards it loses 4.2 decades, backwards 4.3``"""
    forward = f"forwards it {'loses' if found.forward < 0 else 'gains'} {words.decades(abs(found.forward))} decades"
    backward = f"backwards it {'loses' if found.backward < 0 else 'gains'} {words.decades(abs(found.backward))}"
    return f"{forward}, {backward}"


def _severity(run: Run, found: _Drift) -> Severity:
    if abs(found.later) < limits.DRIFT_SLOWS.value:
        return Severity.NOTE
    mild = abs(found.drift) < limits.DRIFT_HARMS.value or has_learned(run)
    return Severity.SLOWS if mild else Severity.HARMS


def _evidence(found: _Drift) -> tuple[Evidence, ...]:
    return (
        limits.DRIFT_SLOWS.evidence("log10 of the spread of z along depth, first step", found.forward, SPREAD),
        limits.DRIFT_SLOWS.evidence(
            "log10 ‖δ‖ from output to input, first step", found.backward, DELTA_RMS, DELTA_COUNT
        ),
        limits.DRIFT_SLOWS.evidence("the greater of both, later steps", found.later, SPREAD, DELTA_RMS, DELTA_COUNT),
    )


def _consequence(found: _Drift) -> str:
    if found.drift < 0 and found.forward < 0:
        return "The output hardly depends on the input: all samples look alike, and the weights get no direction."
    if found.drift < 0:
        return "The first layers receive next to nothing."
    return "The first steps are those of a network that is far out of range; they overshoot."
