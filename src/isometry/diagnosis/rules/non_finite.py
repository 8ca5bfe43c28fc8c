"""N101: where the first value that is no number came from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from isometry.diagnosis import limits
from isometry.diagnosis.finding import Cause, Evidence, Finding, Severity
from isometry.diagnosis.precision import computes_in
from isometry.diagnosis.rule import rule
from isometry.diagnosis.words import called, sentence
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
    Signal.DELTA: "the backward signal δ",
    Signal.INPUT_GRADIENT: "the gradient sent on",
    Signal.WEIGHT_GRADIENT: "the weight gradient",
    Signal.UPDATE: "the update",
}


BACKWARD = frozenset(ORDER) - FORWARD - {Signal.UPDATE}


@dataclass(frozen=True, slots=True)
class Operation:
    """What the watch knows of the operation that made a value, or its gradient, not finite."""

    name: str = ""
    """``log``"""
    fault: str = ""
    """``logarithm of zero (3 of 64 values)``; empty where its operands could not be seen."""
    after: str = ""
    """The last layer before it."""
    in_loss: bool = False
    """Between the last layer and the loss; else inside the network."""

    @property
    def place(self) -> str:
        after = called(self.after) if self.after else ""
        if self.in_loss:
            return f"between {after} and the loss" if after else "where the loss is computed"
        return f"after {after}" if after else "before the first layer"


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
    operation: Operation = Operation()
    risky: tuple[str, ...] = ()
    """Operations behind the loss that may have made a gradient not finite, where a weight was found lost."""

    @property
    def forward(self) -> bool:
        return self.signal in FORWARD


@rule(
    "N101",
    problem="non_finite",
    reads=[],
    follows=[
        "learning_rate_too_high",
        "exploding_gradient",
        "poor_initialization",
        "unscaled_input",
        "loss_spike",
        "precision_overflow",
    ],
)
def non_finite(run: Run) -> Iterable[Finding]:
    """A value became NaN or infinite; named are the first step and the layer that produced it.

    Signals come into being in a fixed order: inputs and weights, then outputs from the input to the loss, then
    gradients from the loss to the input, then updates. The first of them that is not finite is the producer; every
    later one of the same step merely passes it on. If the values had grown towards the end of their number format
    before, the cause is an overflow; if they were of ordinary size, it is an operation without result (log 0, 0/0,
    the root of a negative number) or the data. Where autograd still holds its operands, the operation is named: in the
    network, in the computation of the loss, or in a backward formula (the root of zero, a masked log of zero).

    How it is told apart: gradients that overflow for a step and are then finite again are what a loss scaler does on
    purpose, and are only noted. Values that stay lost stop the training.

    Sources: IEEE 754-2019; Micikevicius et al. 2018, section 3.2, on loss scaling.
    """
    origin = _origin(run)
    if origin is None:
        return
    yield Finding(
        severity=_severity(run, origin),
        summary=_summary(run, origin),
        layers=(origin.layer,) if origin.layer in run.architecture else (),
        first_step=origin.step,
        causes=_causes(run, origin),
        evidence=_evidence(run, origin),
        consequence=_consequence(run, origin),
    )


def _origin(run: Run) -> Origin | None:
    """The earliest sighting in events, columns and loss; in one step the one that came into being first.

    Events of the same step are believed before columns: they were written in the order in which the values came.
    """
    told, counted, lost = _from_events(run), _from_columns(run), _from_loss(run)
    seen = [origin for origin in (told, counted, lost) if origin is not None]
    if not seen:
        return None
    first = min(seen, key=lambda origin: (origin.step, origin is not told, _rank(origin.signal)))
    passing = max((origin.passing for origin in seen if origin.step == first.step), key=len)
    return replace(first, passing=tuple(name for name in passing if name != first.layer))


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
    at_loss = producer.get("direction") == LOSS
    return Origin(
        step,
        signal=LOSS if at_loss else str(producer.get("signal") or _usual(producer)),
        layer="" if at_loss else str(producer.get("layer") or ""),
        passing=tuple(dict.fromkeys(str(event.get("layer", "")) for event in together if event.get("layer"))),
        words=str(producer.get("words") or ""),
        operation=_operation(producer),
        risky=_texts(producer.get("risky")),
    )


def _operation(event: Mapping[str, object]) -> Operation:
    """What an event says of an operation, as far as it belongs to what the event is about."""
    direction, place = event.get("direction"), event.get("place")
    is_nonlinearity = event.get("signal") == Signal.ACTIVATION and event.get("after") == event.get("layer")
    if direction == "forward" and place == LOSS and not is_nonlinearity:
        return Operation()  # a layer failed before the loss was reached
    if direction == LOSS and place != LOSS:
        return Operation()
    name, fault, after = (str(event.get(key) or "") for key in ("operation", "fault", "after"))
    return Operation(name, fault, after, in_loss=place == LOSS)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()


def _usual(event: Mapping[str, object]) -> Signal:
    """The signal that is meant where an event gives a direction alone."""
    return {"backward": Signal.DELTA, "weight": Signal.WEIGHT}.get(str(event.get("direction")), Signal.PRE_ACTIVATION)


def _from_columns(run: Run) -> Origin | None:
    """The first recorded step with a count of NaN or infinity, and there the signal that comes first."""
    counted = {signal: bad for signal in ORDER if (bad := _bad(run, signal)) is not None}
    rows = [int(bad.any(axis=1).argmax()) for bad in counted.values() if bad.any()]
    if not rows:
        return None
    row = min(rows)
    lost = {signal: bad[row] for signal, bad in counted.items() if bad[row].any()}
    signal = next(iter(lost))
    names, upstream = run.architecture.names, lost[signal]
    if signal in BACKWARD:  # what is nearest to the loss comes first, whichever of these signals it is
        together = [lost[each][::-1] for each in ORDER if each in BACKWARD and each in lost]
        names, upstream = names[::-1], np.any(together, axis=0)
        signal = next(
            each for each in ORDER if each in BACKWARD and each in lost and lost[each][::-1][upstream.argmax()]
        )
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


def _summary(run: Run, origin: Origin) -> str:
    operation = origin.operation
    if origin.signal == LOSS:
        since = f"The loss is not finite from step {origin.step} on"
        if operation.fault and _growth(run, origin):
            return f"{since}, for what it is computed from had grown too large: {operation.fault}"
        if operation.fault:
            return f"{since}, and its own computation made it so: {operation.fault}"
        seen = f"; first seen at {operation.name} {operation.place}" if operation.name else ""
        return f"{since}, while no layer was seen to fail before it{seen}"
    rest = f"; {_others(len(origin.passing))} on" if len(origin.passing) else ""
    when = f"in the {_phase(origin)} of step {origin.step}"
    if origin.forward and operation.fault:
        return f"The first value that is not finite was made by {operation.name} {operation.place}, {when}{rest}"
    what = WORDS.get(Signal(origin.signal), origin.signal) if origin.signal in set(Signal) else origin.signal
    are = "are" if origin.signal == Signal.WEIGHT else "is"
    return sentence(f"{what} of {called(origin.layer)} {are} the first that {are} not finite, {when}{rest}")


def _phase(origin: Origin) -> str:
    if origin.signal == Signal.UPDATE:
        return "optimiser's part"
    return "forward pass" if origin.forward else "backward pass"


def _others(count: int) -> str:
    return "another layer passes it" if count == 1 else f"{count} other layers pass it"


def _consequence(run: Run, origin: Origin) -> str:
    if _is_lasting(run):
        return f"Nothing after step {origin.step} is of use; training cannot recover from it."
    if origin.forward or origin.signal == LOSS:
        return "The run went on, but these steps were lost."
    return "The gradients were finite again later, as under a loss scaler; the weights stayed finite."


def _causes(run: Run, origin: Origin) -> tuple[Cause, ...]:
    operation, layers = origin.operation, (origin.layer,) if origin.layer else ()
    if origin.signal == Signal.INPUT and not operation.fault:
        return (Cause("data", None, "The data fed to the network already hold NaN or infinity.", layers),)
    grown = _growth(run, origin)
    if grown:
        made = f"{operation.fault}, at {operation.name} {operation.place}" if operation.fault else ""
        return (Cause("overflow", None, sentence(grown, made) + ".", layers),)
    if operation.fault:
        return (Cause(_kind_of(origin), None, _words_on(operation) + _what_was_finite(origin), layers),)
    if origin.signal == LOSS:
        return (Cause("loss function", None, _words_on_loss(run)),)
    if origin.risky:
        return (Cause("backward formula", None, _words_on_risks(origin), layers),)
    if origin.signal == Signal.UPDATE:
        words = "What reached the optimiser was finite; what it made of it was not: its own arithmetic, or its rate."
        return (Cause("optimiser", None, words, layers),)
    largest = _largest_before(run, origin)
    if largest is None:
        words = origin.words or "No earlier step was recorded to compare with."
        return (Cause("first step", None, sentence(words), layers),)
    words = (
        f"Its largest value was {largest:.1e} at the recorded step before, {_room(run, origin, largest):.0f} decades "
        f"below the end of its number format: {_operations_without_result(origin)}"
        + (", no overflow." if origin.step - 1 in run.history.steps else ".")
    )
    return (Cause("invalid operation", None, words, layers),)


def _kind_of(origin: Origin) -> str:
    if origin.signal == LOSS:
        return "loss function"
    return "invalid operation" if origin.forward else "backward formula"


def _words_on(operation: Operation) -> str:
    return sentence(f"{operation.fault}, at {operation.name} {operation.place}")


def _what_was_finite(origin: Origin) -> str:
    if origin.signal == LOSS:
        return "; what the network had put out was finite."
    return "." if origin.forward else "; the loss was finite, and so was what each layer put out."


def _words_on_risks(origin: Origin) -> str:
    return (
        "The loss before was finite and the values of ordinary size, so it was the gradient that was lost: of the "
        f"operations behind the loss, {', '.join(origin.risky)} can send back one that is not finite."
    )


def _operations_without_result(origin: Origin) -> str:
    if origin.signal in BACKWARD:
        return "a backward formula without result (the root of zero, a masked log of zero or quotient by zero)"
    return "an operation without result (log 0, 0/0, root of a negative number) or the data"


def _growth(run: Run, origin: Origin) -> str:
    """How large the values had become before they were lost, where that is what lost them."""
    signal = replace(origin, signal=Signal.PRE_ACTIVATION, layer=origin.operation.after)
    for seen, what in ((origin, "Its largest value"), (signal, f"The output of {called(signal.layer)}")):
        largest = _largest_before(run, seen)
        if largest is not None and (_room(run, seen, largest) < limits.OVERFLOW_ROOM.value or _has_grown(run, seen)):
            return f"{what} had grown to {largest:.1e} at the recorded step before: an overflow"
    return _growth_of_loss(run, origin)


def _growth_of_loss(run: Run, origin: Origin) -> str:
    series = run.history.scalars.get(LOSS)
    if series is None:
        return ""
    before = np.abs(series.values[(series.steps < origin.step) & np.isfinite(series.values) & (series.values != 0)])
    if len(before) <= 1 or np.log10(before[-1] / before[0]) < limits.OVERFLOW_GROWTH.value:
        return ""
    return f"The loss had grown from {before[0]:.1e} to {before[-1]:.1e} before: an overflow"


def _room(run: Run, origin: Origin, largest: float) -> float:
    """Decades between a value and the end of its number format."""
    return float(np.log10(_greatest(run, origin.layer)) - np.log10(max(largest, np.finfo(np.float64).tiny)))


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
    return limits.GREATEST.get(computes_in(run, layer), limits.GREATEST["float32"]).value


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
