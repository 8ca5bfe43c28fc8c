"""G301: parameters that ought to learn and that the loss never reaches."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from isometry.diagnosis import limits
from isometry.diagnosis.finding import Cause, Finding, Severity
from isometry.diagnosis.rule import rule
from isometry.history.run import Run
from isometry.network.signals import Signal

__all__ = ["no_gradient"]

GRADIENT_RMS = (Signal.WEIGHT_GRADIENT, "rms")
SLOPE_RMS = (Signal.SLOPE, "rms")
DEAD, UNITS = (Signal.ACTIVATION, "dead"), (Signal.ACTIVATION, "units")
SHOWN = 3
"""Names given in a sentence before it says how many more there are."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One way in which a parameter can be left without gradient."""

    what: str
    why: str
    consequence: str
    mistake: bool
    """Whether nobody would want this of a parameter that an optimiser holds."""


REASONS = {
    "detached": Reason(
        "cut off from the loss",
        "their output takes part in the loss, but `detach()`, `.data`, `.item()` or NumPy on the way cuts the gradient",
        "They stay as they were initialised, although an optimiser holds them.",
        mistake=True,
    ),
    "ran without gradient": Reason(
        "run without gradient",
        "they ran under `no_grad` or `inference_mode`",
        "They stay as they were initialised, although an optimiser holds them.",
        mistake=True,
    ),
    "output unused": Reason(
        "without influence on the loss",
        "they run, but what they compute does not reach the loss",
        "They do not learn; right for a head that is kept for later, wrong if it was meant to be trained.",
        mistake=False,
    ),
    "never ran": Reason(
        "never run",
        "the forward pass never calls them",
        "They do not learn and cost memory.",
        mistake=False,
    ),
    "not in any optimizer": Reason(
        "in no optimiser",
        "they get a gradient, but no optimiser was given them",
        "They never move; if that is meant, `requires_grad_(False)` saves their gradient.",
        mistake=False,
    ),
}
"""What is worth a word; a frozen parameter is somebody's decision and is none of it."""


@rule("G301", problem="no_gradient", reads=[], confidence=0.95)
def no_gradient(run: Run) -> Iterable[Finding]:
    """A trainable parameter gets no gradient, and so never learns.

    Parameters that an optimiser holds while the graph between them and the loss is cut, by `detach` or by running under
    `no_grad`, are a mistake: the optimiser is meant to move them and cannot. So is a gradient that is exactly zero at
    every recorded step of a layer before living ones, and any reason that leaves nothing at all to learn.

    How it is told apart: frozen parameters are somebody's decision and are passed over. Parameters that never ran, that
    feed an unused output or that were given to no optimiser are only noted; so are those of a target network that no
    optimiser holds. What counts is the state after the last change, so a part that joins the training late is no
    finding. Zeros behind dead units are the dead units' fault.

    Sources: PyTorch documentation, "Autograd mechanics", on gradients that are None.
    """
    entries = _last_state(run)
    held = _held_by_optimisers(run)
    nothing_learns = _is_everything(run, [entry for entry in entries if entry.get("reason") != "frozen"])
    for name, reason in REASONS.items():
        concerned = [entry for entry in entries if entry.get("reason") == name]
        wrong = [entry for entry in concerned if reason.mistake and _is_held(entry, held)]
        harmless = [entry for entry in concerned if entry not in wrong]
        if wrong:
            yield _finding(run, wrong, reason, _gravity(run, wrong))
        if harmless:
            yield _finding(run, harmless, reason, Severity.STOPS if nothing_learns else Severity.NOTE)
    if flat := _zero_layers(run):
        yield _zero_finding(run, flat)


def _last_state(run: Run) -> list[dict[str, Any]]:
    events = run.history.events("no_gradient")
    return list(events[-1].get("parameters", ())) if events else []


def _held_by_optimisers(run: Run) -> set[str] | None:
    """Names of the parameters that optimisers hold; None where the run does not say."""
    events = run.history.events("optimizer")
    return {name for event in events for name in event.get("parameters", ())} or None


def _is_held(entry: dict[str, Any], held: set[str] | None) -> bool:
    return held is None or entry.get("name") in held


def _gravity(run: Run, wrong: list[dict[str, Any]]) -> Severity:
    """Nothing can be learned if every trainable parameter is cut off; otherwise a part of the net is lost."""
    return Severity.STOPS if _is_everything(run, wrong) else Severity.HARMS


def _is_everything(run: Run, entries: list[dict[str, Any]]) -> bool:
    lost = {entry.get("name") for entry in entries}
    trainable = {name for layer in run.architecture if layer.trainable for name in layer.parameters}
    return bool(trainable) and trainable <= lost


def _zero_layers(run: Run) -> tuple[str, ...]:
    """Layers whose weight gradient was exactly zero at every recorded step, while a later layer's was not.

    Layers behind a dead one are left out: death explains their zeros and has its own rule.
    """
    if GRADIENT_RMS not in run.history:
        return ()
    gradient = np.asarray(run.history[GRADIENT_RMS], np.float64)
    recorded = np.isfinite(gradient).sum(axis=0) >= limits.FEWEST_RECORDS.value
    zero = recorded & (np.nan_to_num(gradient) == 0).all(axis=0)
    alive = np.flatnonzero(recorded & ~zero)
    if not len(alive) or _any_dead(run):
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
    words = "An operation with zero slope lies between them and the loss: rounding, a comparison, an index."
    return Finding(
        severity=Severity.HARMS,
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
        summary=f"{count} trainable parameter{'s' if count > 1 else ''} {reason.what}: {words}",
        layers=layers,
        first_step=int(run.history.events("no_gradient")[-1]["step"]),
        causes=(Cause(reason.what, None, f"{_capital(reason.why)}.", layers),),
        consequence=reason.consequence,
    )


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
