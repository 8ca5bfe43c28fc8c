"""What could be changed in the network of a diagnosis, with what is foretold of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log10, sqrt

import numpy as np

from isometry.diagnosis import limits
from isometry.diagnosis.alternatives import alternatives
from isometry.diagnosis.attribution import UNNAMED_FUNCTION
from isometry.diagnosis.block import block
from isometry.diagnosis.finding import AS_IT_IS, Diagnosis, Finding, Forecast, Severity
from isometry.diagnosis.trunk import trunks
from isometry.diagnosis.words import decades, span
from isometry.errors import IsometryError
from isometry.history.run import Run
from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import InsertNorm, NetworkEdit, Reinitialise
from isometry.network.signals import Signal
from isometry.theory import ACTIVATIONS, gain, steady_critical_point

__all__ = [
    "Change",
    "changes",
    "decades_that_stay",
    "draw_with",
    "is_hidden",
    "is_out_of_reach",
    "is_through_time",
    "is_unexplained",
    "reads_input",
    "with_what_is_foretold",
]

OUTPUT_ACTIVATION = "output activation"
"""Name of the cause where the last φ keeps the answers in a range."""
RECURRENCE = "recurrence"
"""Name of the cause where one step is repeated through time."""
PROFILE_COUNTS = min(limits.FALL_SLOWS.value, limits.CLIMB_SLOWS.value)
"""Decades from which on a profile of δ is called a problem."""
PROFILES = ("vanishing_gradient", "exploding_gradient")
"""Problems that are what the forecasts speak of."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change to the network that is worth a trial."""

    edits: tuple[NetworkEdit, ...]
    expected: float | None = None
    """log10 of ‖δ‖ at the first layer over that at the last, with the change; None where theory has no say.
    [decades]"""
    present: float | None = None
    """The same without it."""


def changes(diagnosis: Diagnosis, finding: Finding) -> tuple[Change, ...]:
    """Changes to the network that may help against a finding, those foretold to keep δ best first.

    Where the finding, or another one of the diagnosis, foretells what changes would do, those that leave more than two
    fifths of what is lost or gained now are left out. Where none of it draws weights anew, those that were drawn far
    too large are drawn anew by themselves. Where a network kept δ well before its first step, no change to it would
    make its profile better: what came later is the work of the steps. Nothing for δ through time.
    """
    if is_through_time(finding) or _came_with_training(finding):
        return ()
    told = [
        one.forecasts for one in (finding, *diagnosis.findings) if any(forecast.edits for forecast in one.forecasts)
    ]
    if told:
        found = _foretold(told[0])
    else:
        proposed = alternatives(diagnosis.run.architecture, sigma_b=0.0)
        found = [Change(edits) for _, edits in proposed if not any(map(_is_orthogonal, edits))]
        found = found or list(_by_itself(diagnosis.run.architecture, finding))
    if not any(_draws(edits) for edits in [change.edits for change in found] + [one.edits for one in _all(told)]):
        found += _smaller(diagnosis)
    found += _before_unnamed(diagnosis.run.architecture, finding)
    return tuple(_completed(diagnosis, change) for change in found)


def _came_with_training(finding: Finding) -> bool:
    """Whether the network was in order before its first step, and what was found is the work of the steps.

    Units that were alive at first, and a profile of δ that was level: the first evidence of a finding about profiles is
    that of the first steps, and its forecasts begin there.
    """
    if finding.problem not in PROFILES:
        return any(cause.name == "died in training" for cause in finding.causes)
    present = _present(finding.forecasts)
    if present is not None:
        return abs(present) < PROFILE_COUNTS
    first = next(iter(finding.evidence), None)
    return first is not None and first.limit is not None and first.measured < first.limit


def decades_that_stay(diagnosis: Diagnosis, finding: Finding) -> float | None:
    """What δ changes by along the network, or through time, as long as the network stays as it is. [decades]

    None where no finding tells it.
    """
    through_time = [cause.decades for cause in finding.causes if cause.name == RECURRENCE and cause.decades]
    told = [present for one in (finding, *diagnosis.findings) if (present := _present(one.forecasts)) is not None]
    return next(iter(through_time + told), None)


def is_through_time(finding: Finding) -> bool:
    """Whether it is about the way of δ through a sequence, not along depth."""
    return any(cause.name == RECURRENCE for cause in finding.causes)


def _present(forecasts: Sequence[Forecast]) -> float | None:
    return next((one.decades for one in forecasts if one.name == AS_IT_IS), None)


def _all(groups: Iterable[Sequence[Forecast]]) -> list[Forecast]:
    return [forecast for group in groups for forecast in group]


def _draws(edits: Iterable[NetworkEdit]) -> bool:
    return any(isinstance(edit, Reinitialise) for edit in edits)


def _is_orthogonal(edit: NetworkEdit) -> bool:
    """In mean field the same as independent weights, so that both need not be tried."""
    return isinstance(edit, Reinitialise) and edit.orthogonal


def _foretold(forecasts: Sequence[Forecast]) -> list[Change]:
    present = _present(forecasts)
    if present is None:
        return []
    most = limits.HELPS.value * abs(present) if abs(present) >= PROFILE_COUNTS else limits.LITTLE.value
    return [Change(one.edits, one.decades, present) for one in forecasts if one.edits and abs(one.decades) <= most]


def _by_itself(architecture: Architecture, finding: Finding) -> Iterable[Change]:
    """Where theory has no chain to follow: the layers of the finding drawn anew, each by its own φ."""
    layers = [architecture[name] for name in finding.layers]
    drawn = _drawn(architecture, [layer for layer in layers if _is_plain(layer) and layer.norm is None])
    if drawn:
        yield Change(drawn)


def _smaller(diagnosis: Diagnosis) -> list[Change]:
    """The layers whose weights were drawn far too large drawn anew, each by its own φ; also those in front of a norm.

    There the function does not depend on their size, but steps are small beside them; and where attention compares what
    they give, its softmax takes one token alone.
    """
    drawn = _drawn(diagnosis.run.architecture, _oversized(diagnosis.run))
    return [Change(drawn)] if drawn else []


def _before_unnamed(architecture: Architecture, finding: Finding) -> list[Change]:
    """A norm in front of functions without a name, so that they work on numbers of size 1 at every depth."""
    large = [cause for cause in finding.causes if abs(cause.decades or 0.0) >= limits.LITTLE.value]
    named = [name for cause in large if cause.name == UNNAMED_FUNCTION for name in cause.layers]
    layers = tuple(name for name in named if is_hidden(architecture[name]) and architecture[name].norm is None)
    return [Change((InsertNorm(layers, "layer"),))] if layers else []


def _drawn(architecture: Architecture, layers: Iterable[Layer]) -> tuple[Reinitialise, ...]:
    """Edits that draw these layers anew; those without a gain are left out."""
    groups: dict[float, list[str]] = {}
    for layer in layers:
        size = _gain_of(architecture, layer)
        if size is not None:
            groups.setdefault(size, []).append(layer.name)
    return tuple(Reinitialise(tuple(names), size) for size, names in groups.items())


def _gain_of(architecture: Architecture, layer: Layer) -> float | None:
    """The σ_w that suits a layer's own φ: critical, else the one that keeps z; None for φ without a name.

    1 for layers without φ, and for outputs, whose φ belongs to the loss.
    """
    phi = block(architecture, layer).activation or "identity"
    if layer.output or phi == "identity":
        return 1.0
    if phi not in ACTIVATIONS:
        return None
    point = steady_critical_point(phi, 0.0)
    try:
        return point.sigma_w if point is not None else gain(phi)
    except IsometryError:
        return None


# Layers that a redraw must not leave out ------------------------------------------------------------------------------


def _completed(diagnosis: Diagnosis, change: Change) -> Change:
    """Where weights are drawn anew, also those without φ that are to blame: an output layer drawn as all the others."""
    if not _draws(change.edits):
        return change
    run, named = diagnosis.run, {name for edit in change.edits for name in edit.layers}
    badly = _drawn_badly(diagnosis)
    others = badly + [layer for layer in _oversized(run) if layer not in badly]
    drawn = _drawn(run.architecture, [layer for layer in others if layer.name not in named])
    if not drawn:
        return change
    expected = change.expected
    if expected is not None:  # δ passes each of them once, in proportion to its σ_w
        passed = {
            run.architecture.layers[place].name for trunk in trunks(run.architecture)[:1] for place in trunk.layers
        }
        for edit in drawn:
            scales = [_sigma_w(run, run.architecture[name]) for name in edit.layers if name in passed]
            expected += sum(log10(edit.gain / scale) for scale in scales if scale)
    return Change(change.edits + drawn, expected, change.present)


def _drawn_badly(diagnosis: Diagnosis) -> list[Layer]:
    """Layers without φ that a finding about the draw of the weights names, or that stand right behind such a layer."""
    architecture = diagnosis.run.architecture
    named: set[str] = set()
    for finding in diagnosis.findings:
        if finding.problem == "poor_initialization" and finding.severity >= Severity.SLOWS:
            named |= set(finding.layers)
    return [
        layer
        for layer in architecture
        if _is_plain(layer) and block(architecture, layer).activation is None and layer.norm is None
        if layer.name in named or named.intersection(layer.inputs)
    ]


def _oversized(run: Run) -> list[Layer]:
    """Layers that began with several times the σ_w that suits their φ; none whose weights another layer shares."""
    shared = {layer.tied_to for layer in run.architecture if layer.tied_to}
    return [
        layer
        for layer in run.architecture
        if (_is_plain(layer) or _attends(layer)) and layer.tied_to is None and layer.name not in shared
        if _sigma_w(run, layer) >= limits.OVERSIZED.value * (_gain_of(run.architecture, layer) or np.inf)
    ]


def _sigma_w(run: Run, layer: Layer) -> float:
    """σ_w of a layer's weights at the first recorded step; 0 where it is not known."""
    if (Signal.WEIGHT, "rms") not in run.history or not layer.fan_in:
        return 0.0
    values = np.asarray(run.history[Signal.WEIGHT, "rms"][:, run.architecture.index(layer.name)], np.float64)
    known = values[np.isfinite(values)]
    return float(known[0]) * sqrt(layer.fan_in) if len(known) else 0.0


def _is_plain(layer: Layer) -> bool:
    """Whether it multiplies by a matrix of its own once, and learns."""
    return layer.kind in {"linear", "conv"} and layer.trainable and layer.calls > 0 and not layer.recurrent


def _attends(layer: Layer) -> bool:
    """Whether it is an attention with matrices of its own, and learns."""
    return layer.kind == "attention" and layer.trainable and layer.calls > 0


def is_hidden(layer: Layer) -> bool:
    """Whether it is a plain layer inside the network, its φ no gate."""
    return _is_plain(layer) and not layer.output and not layer.gated


def reads_input(finding: Finding) -> bool:
    """Whether it is about what the network reads, not about what it is asked for."""
    return any(signal == Signal.INPUT for piece in finding.evidence for signal, _ in piece.reads)


def is_out_of_reach(finding: Finding) -> bool:
    """Whether it is about answers that the last nonlinearity cannot give."""
    return any(cause.name == OUTPUT_ACTIVATION for cause in finding.causes)


def is_unexplained(finding: Finding) -> bool:
    """Whether it is a loss that does not fall for no reason that was found."""
    guesses = all(cause.name == "guessing" for cause in finding.causes)
    return finding.problem == "loss_not_decreasing" and not finding.follows and guesses


# Words ----------------------------------------------------------------------------------------------------------------


def draw_with(edits: Iterable[NetworkEdit], architecture: Architecture) -> str:
    """``σ_w = 1.41 in fc1 … fc9 and 1 in head``"""
    gains: dict[float, list[str]] = {}
    for edit in edits:
        if isinstance(edit, Reinitialise):
            gains.setdefault(edit.gain, []).extend(edit.layers)
    parts = [f"{gain:.3g} in {span(sorted(names, key=architecture.index))}" for gain, names in gains.items()]
    return "σ_w = " + " and ".join(parts)


def with_what_is_foretold(words: str, change: Change) -> str:
    """The words with what δ would change by on its way to the input, where that is known."""
    if change.expected is None or change.present is None:
        return f"{words}."
    return f"{words}: {_told(change.expected)} instead of {_signed(change.present)} are foretold."


def _told(expected: float) -> str:
    return f"{_signed(expected)} decades of δ from the output to the input"


def _signed(value: float) -> str:
    return ("+" if value > 0 else "−" if value < 0 else "") + decades(abs(value))
