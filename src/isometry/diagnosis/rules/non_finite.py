"""N101: where the first value that is no number came from."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from isometry.diagnosis import limits
from isometry.diagnosis.finding import Cause, Evidence, Finding, Severity
from isometry.diagnosis.rule import rule
from isometry.history.run import Run
from isometry.network.signals import Signal

__all__ = ["non_finite"]

ORDER = (
    Signal.INPUT,
    Signal.WEIGHT,
    Signal.PRE_ACTIVATION,
    Signal.ACTIVATION,
    Signal.ACTIVATION_GRADIENT,
    Signal.DELTA,
    Signal.INPUT_GRADIENT,
    Signal.WEIGHT_GRADIENT,
    Signal.UPDATE,
)
"""The order in which the signals of one step come into being; the loss stands between the two halves."""

FORWARD = frozenset({Signal.INPUT, Signal.WEIGHT, Signal.PRE_ACTIVATION, Signal.ACTIVATION})
LOSS = "loss"

WORDS = {
    Signal.INPUT: "the input",
    Signal.WEIGHT: "the weights",
    Signal.PRE_ACTIVATION: "the output",
    Signal.ACTIVATION: "the activation",
    Signal.ACTIVATION_GRADIENT: "the gradient arriving",
    Signal.DELTA: "δ",
    Signal.INPUT_GRADIENT: "the gradient sent on",
    Signal.WEIGHT_GRADIENT: "the weight gradient",
    Signal.UPDATE: "the update",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something that is not finite was first seen."""

    step: int
    signal: str
    """A signal, or ``loss``."""
    layer: str
    """Empty for the loss."""
    passing: tuple[str, ...] = ()
    """Layers where it was seen in the same step, in the order in which it reached them."""
    words: str = ""
    """What the watch itself wrote about it."""

    @property
    def forward(self) -> bool:
        return self.signal in FORWARD


@rule("N101", problem="non_finite", reads=[], confidence=1.0)
def non_finite(run: Run) -> Iterable[Finding]:
    """A value became NaN or infinite; named are the first step and the layer that produced it.

    Signals come into being in a fixed order: inputs and weights, then outputs from the input to the loss, then
    gradients from the loss to the input, then updates. The first of them that is not finite is the producer; every
    later one of the same step merely passes it on. If the values had grown towards the end of their number format
    before, the cause is an overflow; if they were of ordinary size, it is an operation without result (log 0, 0/0,
    the root of a negative number) or the data.

    How it is told apart: gradients that overflow for a step and are then finite again are what a loss scaler does on
    purpose, and are only noted. Values that stay lost stop the training.

    Sources: IEEE 754-2019; Micikevicius et al. 2018, section 3.2, on loss scaling.
    """
    origin = _origin(run)
    if origin is None:
        return
    yield Finding(
        severity=_severity(run, origin),
        summary=_summary(origin),
        layers=(origin.layer,) if origin.layer in run.architecture else (),
        first_step=origin.step,
        causes=_causes(run, origin),
        evidence=_evidence(run, origin),
        consequence=_consequence(run, origin),
    )


def _origin(run: Run) -> Origin | None:
    """The earliest sighting in events, columns and loss; in one step the one that came into being first."""
    seen = [origin for origin in (_from_events(run), _from_columns(run), _from_loss(run)) if origin is not None]
    if not seen:
        return None
    first = min(seen, key=lambda origin: (origin.step, _rank(origin.signal)))
    passing = max((origin.passing for origin in seen if origin.step == first.step), key=len)
    words = next((origin.words for origin in seen if origin.step == first.step and origin.words), "")
    rest = tuple(name for name in passing if name != first.layer)
    return Origin(first.step, first.signal, first.layer, rest, words)


def _rank(signal: str) -> float:
    """Place of a signal in the order of a step; the loss comes after everything forward."""
    if signal == LOSS:
        return ORDER.index(Signal.ACTIVATION) + 0.5
    return ORDER.index(Signal(signal)) if signal in set(Signal) else len(ORDER)


def _from_events(run: Run) -> Origin | None:
    events = run.history.events("non_finite")
    if not events:
        return None
    step = min(int(event["step"]) for event in events)
    together = [event for event in events if int(event["step"]) == step]
    producer = next((event for event in together if event.get("producer")), together[0])
    signal = LOSS if producer.get("direction") == LOSS else str(producer.get("signal") or _usual(producer))
    passing = tuple(dict.fromkeys(str(event.get("layer", "")) for event in together if event.get("layer")))
    return Origin(step, signal, str(producer.get("layer", "")), passing, str(producer.get("words", "")))


def _usual(event: dict[str, object]) -> Signal:
    """The signal that is meant where an event gives a direction alone."""
    return {"backward": Signal.DELTA, "weight": Signal.WEIGHT}.get(str(event.get("direction")), Signal.PRE_ACTIVATION)


def _from_columns(run: Run) -> Origin | None:
    """The first recorded step with a count of NaN or infinity, and there the signal that comes first."""
    counted = {signal: bad for signal in ORDER if (bad := _bad(run, signal)) is not None}
    rows = [int(bad.any(axis=1).argmax()) for bad in counted.values() if bad.any()]
    if not rows:
        return None
    row = min(rows)
    signal = next(signal for signal, bad in counted.items() if bad[row].any())
    upstream = counted[signal][row] if signal in FORWARD else counted[signal][row][::-1]
    names = run.architecture.names if signal in FORWARD else run.architecture.names[::-1]
    passing = tuple(name for name, is_bad in zip(names, upstream, strict=True) if is_bad)
    return Origin(int(run.history.steps[row]), str(signal), passing[0], passing)


def _bad(run: Run, signal: Signal) -> np.ndarray | None:
    """Whether a layer's signal held something that is not finite. shape (steps, layers)"""
    columns = [run.history[signal, kind] for kind in ("nan", "inf") if (signal, kind) in run.history]
    return np.asarray(np.any([column > 0 for column in columns], axis=0)) if columns else None


def _from_loss(run: Run) -> Origin | None:
    series = run.history.scalars.get(LOSS)
    if series is None:
        return None
    lost = ~np.isfinite(series.values)
    return Origin(int(series.steps[lost.argmax()]), LOSS, "") if lost.any() else None


def _severity(run: Run, origin: Origin) -> Severity:
    if _is_lasting(run):
        return Severity.STOPS
    return Severity.SLOWS if origin.forward or origin.signal == LOSS else Severity.NOTE


def _is_lasting(run: Run) -> bool:
    """Whether the weights, or the last loss of the run, are still not finite."""
    series = run.history.scalars.get(LOSS)
    if series is not None and len(series.values) and not np.isfinite(series.values[-1]):
        return True
    if any(event.get("direction") == "weight" for event in run.history.events("non_finite")):
        return True
    return any(
        bad is not None and bool(bad[-1:].any())
        for bad in (_bad(run, signal) for signal in (Signal.WEIGHT, Signal.UPDATE))
    )


def _summary(origin: Origin) -> str:
    if origin.signal == LOSS:
        return f"the loss is not finite from step {origin.step} on, while no layer was seen to fail before it"
    direction = "forward pass" if origin.forward else "backward pass"
    what = WORDS.get(Signal(origin.signal), origin.signal) if origin.signal in set(Signal) else origin.signal
    rest = f"; {len(origin.passing)} other layers pass it on" if len(origin.passing) > 1 else ""
    return f"{what} of {origin.layer} is the first that is not finite, in the {direction} of step {origin.step}{rest}"


def _consequence(run: Run, origin: Origin) -> str:
    if _is_lasting(run):
        return f"Nothing after step {origin.step} is of use; training cannot recover from it."
    if origin.forward or origin.signal == LOSS:
        return "The run went on, but these steps were lost."
    return "The gradients were finite again later, as under a loss scaler; the weights stayed finite."


def _causes(run: Run, origin: Origin) -> tuple[Cause, ...]:
    if origin.signal == Signal.INPUT:
        return (Cause("data", None, "The data fed to the network already hold NaN or infinity.", (origin.layer,)),)
    if origin.signal == LOSS:
        return (Cause("loss function", None, origin.words or _words_on_loss(run)),)
    largest = _largest_before(run, origin)
    layers = (origin.layer,)
    if largest is None:
        words = origin.words or "No earlier step was recorded to compare with."
        return (Cause("first step", None, words, layers),)
    room = float(np.log10(_greatest(run, origin.layer)) - np.log10(max(largest, np.finfo(np.float64).tiny)))
    if room < limits.OVERFLOW_ROOM.value or _has_grown(run, origin):
        words = f"Its largest value had grown to {largest:.1e} at the recorded step before: an overflow."
        return (Cause("overflow", None, words, layers),)
    words = (
        f"Its largest value was {largest:.1e} at the recorded step before, {room:.0f} decades below the end of its "
        "number format: an operation without result (log 0, 0/0, root of a negative number) or the data, no overflow."
    )
    return (Cause("invalid operation", None, words, layers),)


def _words_on_loss(run: Run) -> str:
    kind = next((str(event.get("kind")) for event in run.history.events("loss_kind")), "unknown")
    return f"All recorded signals were finite up to there; what remains is the loss function itself (kind: {kind})."


def _largest_before(run: Run, origin: Origin) -> float | None:
    """Largest magnitude of the same signal and layer at the last recorded step before."""
    values = _magnitudes(run, origin)
    return float(values[-1]) if len(values) else None


def _magnitudes(run: Run, origin: Origin) -> np.ndarray:
    column = (origin.signal, "abs_max")
    if column not in run.history or origin.layer not in run.architecture:
        return np.zeros(0)
    before = run.history.steps < origin.step
    values = np.asarray(run.history[column][before, run.architecture.index(origin.layer)], float)
    return np.asarray(values[np.isfinite(values) & (values > 0)])


def _has_grown(run: Run, origin: Origin) -> bool:
    """Whether the signal was on its way up by decades before it was lost."""
    values = _magnitudes(run, origin)
    return bool(len(values) > 1 and np.log10(values[-1] / values.min()) > limits.OVERFLOW_GROWTH.value)


def _greatest(run: Run, layer: str) -> float:
    """The largest number that the layer's format can hold."""
    return limits.GREATEST.get(run.architecture[layer].dtype, limits.GREATEST["float32"]).value


def _evidence(run: Run, origin: Origin) -> tuple[Evidence, ...]:
    if origin.signal == LOSS or origin.layer not in run.architecture:
        return ()
    pieces = []
    row = np.flatnonzero(run.history.steps == origin.step)
    place = run.architecture.index(origin.layer)
    for kind in ("nan", "inf"):
        column = (origin.signal, kind)
        if column in run.history and len(row):
            count = float(run.history[column][row[0], place])
            pieces.append(Evidence(f"{kind} values in {origin.layer}", count, 0.0, "elements", (column,), "IEEE 754"))
    return tuple(pieces)
