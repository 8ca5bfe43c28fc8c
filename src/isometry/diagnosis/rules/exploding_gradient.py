"""G201: δ grows along depth."""

from collections.abc import Iterable

import numpy as np

from isometry.diagnosis import limits, words
from isometry.diagnosis.attribution import attribute, causes_of
from isometry.diagnosis.blame import causes_among
from isometry.diagnosis.course import has_learned, loss_progress, update_ratios
from isometry.diagnosis.finding import Evidence, Finding, Severity
from isometry.diagnosis.forecast import forecasts
from isometry.diagnosis.precision import computes_in
from isometry.diagnosis.profile import Profile, climb, profile
from isometry.diagnosis.rule import rule
from isometry.diagnosis.stretches import telling
from isometry.diagnosis.trunk import trunks
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal

DELTA_RMS = (Signal.DELTA, "rms")
DELTA_COUNT = (Signal.DELTA, "count")


@rule(
    "G201",
    problem="exploding_gradient",
    reads=[DELTA_RMS, DELTA_COUNT],
    follows=["poor_initialization", "unscaled_input"],
)
def exploding_gradient(run: Run) -> Iterable[Finding]:
    """δ grows on its way from the output to the input: steps that suit the last layers throw the first ones about.

    Judged is log10 ‖δ‖ along the trunk, read after the norm layer where one follows, so that a small scale of weights
    or embeddings in front of a norm, which the network's function does not see, is no explosion.

    How it is told apart: large gradients at every layer are a matter of the loss or its scale; only growth along depth
    within one step counts, so multiplying the loss changes nothing. Growth that the network takes back is a note.
    Batch normalisation without skip connections explodes by 0.08 decades a layer with ReLU, whatever the weights.

    Sources: Pascanu et al. 2013; Schoenholz et al. 2017; Yang et al. 2019 for batch normalisation.
    """
    judged = 0
    for trunk in trunks(run.architecture):
        found = profile(run, trunk)
        if found is not None:
            judged += 1
            yield from _grown(run, found)
    if not judged:
        raise NotRecorded("no chain of three layers or more on which a finite δ was recorded")


def _grown(run: Run, found: Profile) -> Iterable[Finding]:
    early, late = float(climb(found.early).max()), float(climb(found.late).max())
    if max(early, late) < limits.CLIMB_SLOWS.value:
        return
    receded = late < limits.CLIMB_SLOWS.value
    decades = found.early if receded else found.late
    highest = int(climb(decades).argmax())
    lowest = highest + int(decades[highest:].argmin())
    total = float(decades[highest] - decades[lowest])
    names = found.names[highest:lowest]
    rows = found.early_rows if receded else found.late_rows
    gains = attribute(run, found.trunk, rows=rows)
    causes = causes_of([gain for gain in gains if gain.lower in names], run.architecture)
    steps = -np.diff(decades[highest : lowest + 1])
    reason = words.because(causes, total, lost=False) or f"{words.decades(total)} are gained in all"
    start = "at first " * receded + words.stretches(names, steps, telling(steps), "gain")
    yield Finding(
        severity=_severity(run, early=early, late=late),
        summary=words.sentence(start, reason, "later the profile is level" * receded, _overflow(run, found)),
        layers=found.beyond
        + tuple(
            name
            for name, height in zip(found.names[:lowest], decades[:lowest] - decades[lowest], strict=True)
            if height >= limits.LITTLE.value
        ),
        first_step=_first_step(run, found),
        causes=causes + causes_among(run, names, int(rows[0])),
        evidence=_evidence(run, early=early, late=late),
        consequence=_consequence(run, found, total=total, highest=highest, lowest=lowest),
        forecasts=forecasts(run, found.trunk, int(found.rows[0])) if early >= limits.CLIMB_SLOWS.value else (),
    )


def _overflow(run: Run, found: Profile) -> str:
    if not found.beyond:
        return ""
    dtype = computes_in(run, found.names[0])
    return f"from {found.beyond[-1]} towards the input δ is beyond the range of {dtype}"


def _severity(run: Run, *, early: float, late: float) -> Severity:
    if late < limits.CLIMB_SLOWS.value:
        return Severity.NOTE
    if has_learned(run):
        return Severity.SLOWS if late >= limits.CLIMB_HARMS.value else Severity.NOTE
    if late < limits.CLIMB_HARMS.value:
        return Severity.SLOWS
    return Severity.STOPS if _left_the_numbers(run) else Severity.HARMS


def _left_the_numbers(run: Run) -> bool:
    series = run.history.scalars.get("loss")
    return series is not None and len(series.values) > 0 and not np.isfinite(series.values[-1])


def _first_step(run: Run, found: Profile) -> int:
    high = climb(found.decades).max(axis=1) >= limits.CLIMB_SLOWS.value
    return int(run.history.steps[found.rows[int(high.argmax()) if high.any() else 0]])


def _evidence(run: Run, *, early: float, late: float) -> tuple[Evidence, ...]:
    pieces = [
        limits.CLIMB_SLOWS.evidence("growth of log10 ‖δ‖ along depth, first steps", early, DELTA_RMS, DELTA_COUNT),
        limits.CLIMB_SLOWS.evidence("growth of log10 ‖δ‖ along depth, later steps", late, DELTA_RMS, DELTA_COUNT),
    ]
    progress = loss_progress(run)
    if progress is not None:
        pieces.append(limits.LEARNED.evidence("share of the loss gone", progress))
    return tuple(pieces)


def _consequence(run: Run, found: Profile, *, total: float, highest: int, lowest: int) -> str:
    first, last = words.called(found.names[highest]), words.called(found.names[lowest])
    text = f"‖δ‖ at {first} is {words.times(total)} that at {last}"
    if (Signal.UPDATE, "rms") not in run.history or (Signal.WEIGHT, "rms") not in run.history:
        return f"{text}."
    layers = (found.trunk.layers[highest], found.trunk.layers[lowest])
    ratios = update_ratios(run, rows=found.rows, layers=layers)
    if np.isnan(ratios).all(axis=0).any():
        return f"{text}."
    early, late = np.nanmedian(ratios, axis=0)
    return f"{text}. In a step {first} moves by {words.of_its_size(early)}, {last} by {words.of_its_size(late)}."
