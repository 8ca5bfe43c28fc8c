"""G301: parameters that ought to learn and that the loss never reaches."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isometry.diagnosis import limits
from isometry.diagnosis.course import has_learned
from isometry.diagnosis.finding import Cause, Finding, Severity
from isometry.diagnosis.level import level_of
from isometry.diagnosis.precision import is_rounded_away
from isometry.diagnosis.rule import rule
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal

__all__ = ["no_gradient"]

GRADIENT_RMS = (Signal.WEIGHT_GRADIENT, "rms")
WEIGHT_RMS, WEIGHT_MAX = (Signal.WEIGHT, "rms"), (Signal.WEIGHT, "abs_max")
SLOPE_RMS = (Signal.SLOPE, "rms")
DEAD, UNITS = (Signal.ACTIVATION, "dead"), (Signal.ACTIVATION, "units")
SHOWN = 3
"""Names given in a sentence before it says how many more there are."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One way in which a parameter can be left without gradient, or without an optimiser."""

    what: str
    why: str
    consequence: str
    gravity: Severity
    """What it does to a training that does not get on although an optimiser was meant to move the parameter."""
    least: Severity = Severity.NOTE
    """What it does to one that gets on nevertheless."""
    kind: str = "trainable "


UNTOUCHED = "They stay as they were initialised, although an optimiser holds them."

REASONS = {
    "optimizer holds another": Reason(
        "in no optimiser, which holds others instead",
        "the optimiser holds parameters that no gradient ever reaches: those of another model, or of this one before "
        "it was copied, rebuilt or given a new part; make the optimiser after the model is complete",
        "They never move, and the optimiser's steps change nothing that the loss depends on.",
        Severity.HARMS,
        Severity.SLOWS,
    ),
    "detached": Reason(
        "cut off from the loss",
        "their output takes part in the loss, but a comparison, `argmax`, `detach()`, `.data`, `.item()` or NumPy on "
        "the way cuts the gradient",
        UNTOUCHED,
        Severity.HARMS,
    ),
    "ran without gradient": Reason(
        "run without gradient",
        "they ran under `no_grad` or `inference_mode`",
        UNTOUCHED,
        Severity.HARMS,
    ),
    "not in any optimizer": Reason(
        "in no optimiser",
        "they get a gradient, but no optimiser was given them",
        "They never move; if that is meant, `requires_grad_(False)` saves their gradient.",
        Severity.HARMS,
    ),
    "frozen": Reason(
        "frozen",
        "an optimiser holds them, but `requires_grad` is off",
        UNTOUCHED,
        Severity.HARMS,
        kind="",
    ),
    "output unused": Reason(
        "without influence on the loss",
        "they run, but what they compute does not reach the loss",
        "They do not learn; right for a head that is kept for later, wrong if it was meant to be trained.",
        Severity.HARMS,
    ),
    "never ran": Reason(
        "never run",
        "the forward pass never calls them",
        "They do not learn and cost memory.",
        Severity.NOTE,
    ),
}
"""In the order in which they are told."""

OFTEN_MEANT = ("not in any optimizer", "output unused", "frozen")
"""Reasons that are often meant: they weigh as much as the training shows that something is missing."""


@rule("G301", problem="no_gradient", reads=[])
def no_gradient(run: Run) -> Iterable[Finding]:
    """A trainable parameter gets no gradient, or no optimiser moves it, and so it never learns.

    If what the optimisers hold and what the loss reaches have nothing in common, nothing can be learned at all, and the
    training stops there. If only a part is left out, the training itself tells whether that was meant: a frozen
    encoder, a target network or an idle head is somebody's decision as long as the loss comes down by half, and a note
    at most. Where the loss does not, and an optimiser holds what is cut off (`detach`, `.data`, `no_grad`, a
    comparison, an index), or nobody holds what gets a gradient, it harms. An optimiser that was made for another model,
    or for this one before a part of it was replaced, is a mistake in any case.

    How it is told apart: weights that move although no gradient reaches them are moving averages or copies. Parts that
    feed an unused output, or that were frozen on purpose, count only if they are a good part of the network and the
    loss stays up. Where the kind of the loss is unknown, whether it comes down says nothing. What counts is the state
    after the last change, so a part that joins the training late is no finding. A gradient of exactly zero at every
    recorded step of a layer before living ones is told too; zeros behind dead units are the dead units' fault, and a
    residual branch that starts at zero gets its gradient after the first step. What is cut off on purpose was trained
    before: weights that still are the uniform draw they began as are told even if the loss comes down.

    Sources: PyTorch documentation, "Autograd mechanics", on gradients that are None; Bachlechner et al. 2021 for
    branches that start at zero.
    """
    entries = [entry for entry in _last_state(run) if not _moves_by_itself(run, str(entry.get("layer", "")))]
    held = _held_by_optimisers(run)
    unmoved = [entry for entry in entries if entry.get("reason") != "frozen"]
    nothing_learns = _is_everything(run, unmoved) and not has_learned(run)
    for name, reason in REASONS.items():
        concerned = [entry for entry in entries if entry.get("reason") == name]
        if name == "frozen":
            concerned = [entry for entry in concerned if _is_held(entry, held)]
        if not concerned:
            continue
        if nothing_learns:
            yield _finding(run, concerned, reason, Severity.STOPS)
            return
        intended = [entry for entry in concerned if name not in LOOSE and not _is_held(entry, held)]
        suspect = [entry for entry in concerned if entry not in intended]
        if suspect:
            severity = _severity(run, suspect, name)
            if name != "frozen" or severity > Severity.NOTE:
                yield _finding(run, suspect, reason, severity)
        if intended:
            yield _finding(run, intended, ASIDE.get(name, reason), Severity.NOTE)
    if flat := _zero_layers(run):
        yield _zero_finding(run, flat)


CUT = ("detached", "ran without gradient")
LOOSE = ("optimizer holds another", "not in any optimizer")
"""Reasons that say themselves that no optimiser holds the parameter."""

ASIDE = {
    name: replace(REASONS[name], consequence="No optimiser holds them: right for a copy kept aside, a target network.")
    for name in ("detached", "ran without gradient")
}


def _severity(run: Run, entries: list[dict[str, Any]], name: str) -> Severity:
    """What a part that does not learn means for this training, as its loss tells."""
    reason = REASONS[name]
    if has_learned(run):
        untrained = name in CUT and any(_is_fresh(run, str(entry.get("layer", ""))) for entry in entries)
        return Severity.SLOWS if untrained else reason.least
    if name in OFTEN_MEANT and not _is_stuck(run):
        told = _part(run, entries) >= limits.LARGE_PART.value and not _progress_is_vague(run) and name != "frozen"
        return Severity.SLOWS if told else Severity.NOTE
    if name in ("output unused", "frozen") and _part(run, entries) < limits.LARGE_PART.value:
        return Severity.NOTE
    return reason.gravity


def _is_stuck(run: Run) -> bool:
    """Whether the loss has a floor and nevertheless kept most of its height; False where it cannot be told."""
    try:
        level = level_of(run)
    except NotRecorded:
        return False
    return level.has_floor and not level.began_trained and level.fallen < limits.STUCK.value


def _progress_is_vague(run: Run) -> bool:
    try:
        return not level_of(run).has_floor
    except NotRecorded:
        return True


def _part(run: Run, entries: list[dict[str, Any]]) -> float:
    """Which share of the layers with weights the entries are."""
    named = {entry.get("layer") for entry in entries}
    weighted = [layer.name for layer in run.architecture if layer.weighted]
    return sum(name in named for name in weighted) / max(len(weighted), 1)


def _is_fresh(run: Run, layer: str) -> bool:
    """Whether weights still are a uniform draw, which ends where its greatest value is; training gives them tails."""
    if layer not in run.architecture or any(column not in run.history for column in (WEIGHT_RMS, WEIGHT_MAX)):
        return False
    place = run.architecture.index(layer)
    rms, greatest = (np.asarray(run.history[column][:, place], np.float64) for column in (WEIGHT_RMS, WEIGHT_MAX))
    with np.errstate(divide="ignore", invalid="ignore"):
        peaks = greatest / rms
    peaks = peaks[np.isfinite(peaks)]
    return bool(run.architecture[layer].weighted and len(peaks) and peaks[-1] < limits.UNIFORM.value)


def _moves_by_itself(run: Run, layer: str) -> bool:
    """Whether weights change although the optimiser leaves them alone: moving averages, copies, steps by hand."""
    columns = [(signal, "rms") for signal in (Signal.UPDATE, Signal.WEIGHT)]
    if layer not in run.architecture or any(column not in run.history for column in columns):
        return False
    place = run.architecture.index(layer)
    update, weight = (np.asarray(run.history[column][:, place], np.float64) for column in columns)
    update, weight = update[np.isfinite(update)], weight[np.isfinite(weight)]
    if not len(weight) or update.any():
        return False
    return bool(np.ptp(weight) > limits.SAME.value * np.abs(weight).max())


def _last_state(run: Run) -> list[dict[str, Any]]:
    events = run.history.events("no_gradient")
    return list(events[-1].get("parameters", ())) if events else []


def _held_by_optimisers(run: Run) -> set[str] | None:
    """Names of the parameters that optimisers hold; None where the run does not say."""
    events = run.history.events("optimizer")
    return {name for event in events for name in event.get("parameters", ())} or None


def _is_held(entry: dict[str, Any], held: set[str] | None) -> bool:
    return held is None or entry.get("name") in held


def _is_everything(run: Run, entries: list[dict[str, Any]]) -> bool:
    lost = {entry.get("name") for entry in entries}
    trainable = {name for layer in run.architecture if layer.trainable for name in layer.parameters}
    return bool(trainable) and trainable <= lost


def _zero_layers(run: Run) -> tuple[str, ...]:
    """Layers whose weight gradient was exactly zero at every recorded step, while a later layer's was not.

    Layers behind a dead one are left out: death explains their zeros and has its own rule. So has rounding to zero.
    """
    if GRADIENT_RMS not in run.history:
        return ()
    gradient = np.asarray(run.history[GRADIENT_RMS], np.float64)
    recorded = np.isfinite(gradient).sum(axis=0) >= limits.FEWEST_RECORDS.value
    zero = recorded & (np.nan_to_num(gradient) == 0).all(axis=0)
    alive = np.flatnonzero(recorded & ~zero)
    if not len(alive) or _any_dead(run) or is_rounded_away(run).any():
        return ()
    layers = list(run.architecture)
    return tuple(
        layers[k].name for k in np.flatnonzero(zero) if k < alive[-1] and layers[k].trainable and layers[k].weighted
    )


def _any_dead(run: Run) -> bool:
    """Whether a whole layer of rectifiers, or the slope of a whole layer, was out of action."""
    if SLOPE_RMS in run.history and (np.asarray(run.history[SLOPE_RMS]) == 0).any():
        return True
    if DEAD not in run.history or UNITS not in run.history:
        return False
    return bool((np.asarray(run.history[DEAD]) >= np.asarray(run.history[UNITS])).any())


def _zero_finding(run: Run, layers: tuple[str, ...]) -> Finding:
    words = "An operation with zero slope lies between them and the loss: rounding, a comparison, a factor of zero."
    aside = all(run.architecture[name].branch is not None for name in layers)
    return Finding(
        severity=Severity.NOTE if aside and has_learned(run) else Severity.HARMS,
        summary=f"the weight gradient is exactly zero at every recorded step: {_listed(list(layers))}",
        layers=layers,
        first_step=int(run.history.steps[0]),
        causes=(Cause("zero slope", None, words, layers),),
        evidence=(limits.NOTHING.evidence("rms of the weight gradient", 0.0, GRADIENT_RMS),),
        consequence="They stay as they were initialised.",
    )


def _finding(run: Run, entries: list[dict[str, Any]], reason: Reason, severity: Severity) -> Finding:
    named = {entry.get("layer", "") for entry in entries}
    layers = tuple(name for name in run.architecture.names if name in named)
    count = len(entries)
    words = _listed([str(entry.get("name", "")) for entry in entries])
    return Finding(
        severity=severity,
        summary=f"{count} {reason.kind}parameter{'s' if count > 1 else ''} {reason.what}: {words}",
        layers=layers,
        first_step=int(run.history.steps[0]),
        causes=(Cause(reason.what, None, f"{_capital(reason.why)}.", layers),),
        consequence=reason.consequence,
    )


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
