"""G101: δ falls along depth."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits, words
from isometry.diagnosis.attribution import attribute, causes_of
from isometry.diagnosis.blame import causes_among
from isometry.diagnosis.course import has_learned, is_adaptive, loss_progress, update_ratios
from isometry.diagnosis.finding import Cause, Evidence, Finding, Severity
from isometry.diagnosis.forecast import forecasts
from isometry.diagnosis.profile import Profile, Silence, fall, profile, silence
from isometry.diagnosis.rule import rule
from isometry.diagnosis.stretches import telling
from isometry.diagnosis.trunk import trunks
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal

DELTA_RMS = (Signal.DELTA, "rms")
DELTA_COUNT = (Signal.DELTA, "count")


@rule(
    "G101",
    problem="vanishing_gradient",
    reads=[DELTA_RMS, DELTA_COUNT],
    follows=[
        "no_gradient",
        "poor_initialization",
        "saturated_activation",
        "dead_units",
        "unscaled_input",
        "learning_rate_too_high",
    ],
)
def vanishing_gradient(run: Run) -> Iterable[Finding]:
    """δ falls on its way from the output to the input, so that the first layers hardly learn.

    Judged is log10 ‖δ‖ along the trunk: layers that multiply by a matrix and residual sums, residual branches left out.
    ‖δ‖ in the ℓ2 norm telescopes, whatever the widths and strides; behind a norm layer δ is read after the norm, where
    the scale of the weights cancels. What averaging over positions takes is given back, because the weight gradient
    adds the positions up again.

    How it is told apart: a converged network has a small δ everywhere and a level profile; only the fall along depth
    within one step counts, so multiplying the loss changes nothing. Weight gradients are not compared: their size mixes
    δ with the size of the activations. A fall that is gone in the later steps is a note, unless it was deep and
    lasted, or the loss never came down by half. Where δ is exactly zero, it is
    either below the range of the number format, which the slope above that place shows, or blocked by one layer; if
    that layer's units are all dead or saturated, this is told as such and not here. A fall that only came with the
    training is the work of its steps rather than of the network, and a note as long as the loss came down.
    Adaptive optimisers divide by the size of the gradient and hide the fall; then the layers move, but by noise.

    Sources: Hochreiter 1991; Glorot & Bengio 2010, section 4.2.2; Schoenholz et al. 2017.
    """
    judged = 0
    for trunk in trunks(run.architecture):
        silent = silence(run, trunk)
        if silent is not None and not silent.flat:
            judged += 1
            yield _silent(run, silent)
            continue
        found = profile(run, trunk)
        if found is not None:
            judged += 1
            yield from _fallen(run, found)
    if not judged:
        raise NotRecorded("no chain of three layers or more on which δ was recorded")


def _fallen(run: Run, found: Profile) -> Iterable[Finding]:
    early, late = float(fall(found.early).max()), float(fall(found.late).max())
    if max(early, late) < limits.FALL_SLOWS.value:
        return
    severity = _severity(run, found, early=early, late=late)
    recovered = late < limits.FALL_SLOWS.value
    decades = found.early if recovered else found.late
    rows = found.early_rows if recovered else found.late_rows
    lowest = int(fall(decades).argmax())
    highest = lowest + int(decades[lowest:].argmax())
    total = float(decades[highest] - decades[lowest])
    gains = attribute(run, found.trunk, rows=rows)
    concerned = found.names[lowest:highest]
    causes = causes_of([gain for gain in gains if gain.lower in concerned], run.architecture)
    yield Finding(
        severity=severity,
        summary=_summary(found.names, decades, causes, lowest=lowest, highest=highest, recovered=recovered),
        layers=tuple(
            name
            for name, depth in zip(found.names, decades[highest] - decades, strict=True)
            if depth >= limits.LITTLE.value and name in found.names[:highest]
        ),
        first_step=_first_step(run, found),
        causes=causes + causes_among(run, concerned, int(rows[0])),
        evidence=_evidence(run, early=early, late=late),
        consequence=_consequence(run, found, total=total, lowest=lowest, highest=highest, recovered=recovered),
        forecasts=forecasts(run, found.trunk, int(found.rows[0])) if early >= limits.FALL_SLOWS.value else (),
    )


def _severity(run: Run, found: Profile, *, early: float, late: float) -> Severity:
    if late < limits.FALL_SLOWS.value:
        return Severity.SLOWS if _delayed(run, found) or _cost(run, early) else Severity.NOTE
    if early < limits.FALL_SLOWS.value:
        return Severity.SLOWS if late >= limits.FALL_HARMS.value and not has_learned(run) else Severity.NOTE
    if has_learned(run):
        return Severity.SLOWS if late >= limits.FALL_HARMS.value else Severity.NOTE
    if late < limits.FALL_HARMS.value:
        return Severity.SLOWS
    return Severity.HARMS if early < limits.FALL_STOPS.value else Severity.STOPS


def _cost(run: Run, early: float) -> bool:
    """Whether a deep fall at the start shows in the loss; few looks do not tell how long the fall lasted."""
    progress = loss_progress(run)
    return early >= limits.FALL_DELAYS.value and progress is not None and progress <= limits.LEARNED.value


def _delayed(run: Run, found: Profile) -> bool:
    """Whether a deep fall lasted over a good part of the training before it went away."""
    deep = np.flatnonzero(fall(found.decades).max(axis=1) >= limits.FALL_DELAYS.value)
    if not len(deep):
        return False
    until = int(run.history.steps[found.rows[int(deep[-1])]])
    return bool(until - run.history.begin >= limits.DELAY.value * run.history.total_steps)


def _summary(
    names: tuple[str, ...],
    decades: NDArray[np.float64],
    causes: tuple[Cause, ...],
    *,
    lowest: int,
    highest: int,
    recovered: bool,
) -> str:
    steps = np.diff(decades[lowest : highest + 1])
    total = float(decades[highest] - decades[lowest])
    return words.sentence(
        "at first " * recovered + words.stretches(names[lowest:highest], steps, telling(steps), "lose"),
        words.because(causes, total, lost=True) or f"{words.decades(total)} are lost in all",
        "later the profile is level" * recovered,
    )


def _first_step(run: Run, found: Profile) -> int:
    deep = fall(found.decades).max(axis=1) >= limits.FALL_SLOWS.value
    row = int(deep.argmax()) if deep.any() else 0
    return int(run.history.steps[found.rows[row]])


def _evidence(run: Run, *, early: float, late: float) -> tuple[Evidence, ...]:
    pieces = [
        limits.FALL_SLOWS.evidence("fall of log10 ‖δ‖ along depth, first steps", early, DELTA_RMS, DELTA_COUNT),
        limits.FALL_SLOWS.evidence("fall of log10 ‖δ‖ along depth, later steps", late, DELTA_RMS, DELTA_COUNT),
    ]
    progress = loss_progress(run)
    if progress is not None:
        pieces.append(limits.LEARNED.evidence("share of the loss gone", progress))
    return tuple(pieces)


def _consequence(run: Run, found: Profile, *, total: float, lowest: int, highest: int, recovered: bool) -> str:
    below, above = words.called(found.names[lowest]), words.called(found.names[highest])
    words_first = words.opening(f"{below} receives {words.share(total)} of what {above} receives")
    if recovered:
        return f"{words_first} in the first steps; the network has grown out of it."
    moved = _moved(run, found.trunk.layers[lowest], found.rows)
    if moved is None:
        return f"{words_first}."
    ratio, path = moved
    tail = " (the optimiser divides by the gradient's own size and hides how small it is)" if is_adaptive(run) else ""
    reach = f"; in {run.history.total_steps:,} steps at most {words.of_its_size(path)}" if path < 1 else ""
    return f"{words_first}. It moves by {words.of_its_size(ratio)} in a step{reach}{tail}."


def _moved(run: Run, layer: int, rows: NDArray[np.int64]) -> tuple[float, float] | None:
    """Median update ratio of a layer, and the length of its way over the whole run relative to its size."""
    if (Signal.UPDATE, "rms") not in run.history or (Signal.WEIGHT, "rms") not in run.history:
        return None
    ratios = update_ratios(run, rows=rows, layers=(layer,))[:, 0]
    known = np.isfinite(ratios)
    if not known.any():
        return None
    return float(np.median(ratios[known])), float(ratios[known].mean()) * run.history.total_steps


def _silent(run: Run, found: Silence) -> Finding:
    heard = found.decades[found.silent :]
    first = words.called(found.names[found.silent])
    layers = found.names[: found.silent]
    slope = float(np.median(np.diff(heard))) if len(heard) > 1 else 0.0
    step = int(run.history.steps[found.rows[0]])
    if slope > 0 and _is_below_range(found, slope):
        total = slope * len(found.names)
        return Finding(
            severity=Severity.STOPS,
            summary=(
                f"From {words.called(layers[-1])} towards the input δ is below the range of {found.dtype}; above it "
                f"each layer loses {slope:.3f} decades, which over all {len(found.names)} layers is "
                f"−{total:.1f} decades"
            ),
            layers=layers,
            first_step=step,
            causes=(
                Cause(
                    "depth",
                    -total,
                    f"−{total:.1f} decades: {len(found.names)} layers that each lose {slope:.3f}",
                    found.names,
                ),
            ),
            evidence=(
                limits.FALL_HARMS.evidence("fall of log10 ‖δ‖ that the slope implies", total, DELTA_RMS, DELTA_COUNT),
            ),
            consequence=words.opening(words.span(layers)) + " receive exactly nothing and stay as they are.",
        )
    return Finding(
        severity=Severity.STOPS,
        summary=f"δ ends at {first}: {words.span(layers)} receive exactly zero",
        layers=layers,
        first_step=step,
        causes=(Cause("blocked", None, f"{first} or what follows it passes nothing on", (found.names[found.silent],)),),
        evidence=(limits.NOTHING.evidence(f"rms δ at {layers[-1]}", 0.0, DELTA_RMS),),
        consequence=words.opening(words.span(layers)) + " stay as they are.",
    )


def _is_below_range(found: Silence, slope: float) -> bool:
    """Whether one more layer would take even the greatest |δ| below the smallest number of the format."""
    smallest = limits.SMALLEST.get(found.dtype, limits.SMALLEST["float32"])
    return bool(np.log10(found.abs_max) - slope < smallest.value + limits.ROUNDING.value)
