"""N203: values too large for float16."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from isometry.diagnosis import limits
from isometry.diagnosis.course import has_learned
from isometry.diagnosis.finding import Cause, Finding, Severity
from isometry.diagnosis.precision import arriving, formats, loss_scale
from isometry.diagnosis.rule import rule
from isometry.diagnosis.words import called, sentence
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal

__all__ = ["precision_overflow"]

FORWARD, BACKWARD = Signal.PRE_ACTIVATION, Signal.DELTA
WHAT = {FORWARD: "the output", BACKWARD: "the backward signal δ"}
KINDS = ("nan", "inf", "abs_max")


@dataclass(frozen=True, slots=True)
class Overflow:
    """Where infinity was first seen in float16, with everything finite before it."""

    row: int
    layer: str
    signal: Signal
    share: float
    """Of the recorded steps with an overflow of this kind."""
    is_over: bool
    """None came in the later half of the recorded steps."""


@rule(
    "N203",
    problem="precision_overflow",
    reads=[(FORWARD, kind) for kind in KINDS],
    follows=["learning_rate_too_high", "exploding_gradient", "poor_initialization", "unscaled_input", "loss_spike"],
)
def precision_overflow(run: Run) -> Iterable[Finding]:
    """A value over 65,504 was computed in float16, and is infinite.

    float16 ends at 65,504, float32 and bfloat16 at 3.4e38. Large inputs, sums over many units and activations without
    bound reach the former in trainings that are healthy otherwise.

    How it is told apart: the first layer with infinity is one that computes in float16, and it read finite numbers with
    finite weights, so a sum of products left the format. Values of more than 1e19, whose squares leave float32 as well,
    are no matter of precision. Under a loss scaler δ overflows now and then on purpose, and such steps are skipped;
    that is no finding. A scaler written by hand is not seen; but where δ overflows and all weights stay finite, such
    steps are left out as well. Once that is over, or where the loss fell all the same, it is a note. An overflow of the
    forward pass no scaler can help.

    Sources: Micikevicius et al. 2018, sections 3.2 and 3.3; IEEE 754-2019.
    """
    half = {name for name, kind in formats(run).items() if kind == "float16"}
    if not half:
        raise NotRecorded("no layer computes in float16")
    found = _first(run, half, FORWARD) or _first(run, half, BACKWARD)
    if found is None:
        return
    forward = found.signal is FORWARD
    severity = _severity(run, found)
    greatest = limits.GREATEST["float16"]
    where, step = called(found.layer), int(run.history.steps[found.row])
    yield Finding(
        severity=severity,
        summary=sentence(f"{WHAT[found.signal]} of {where} is over 65,504, the end of float16, at step {step}"),
        layers=(found.layer,),
        first_step=step,
        causes=(Cause("float16", None, _words(forward), (found.layer,)),),
        evidence=(
            greatest.evidence("largest finite value beside it", _largest(run, found), (found.signal, "abs_max")),
            limits.NOTHING.evidence("share of recorded steps that overflow", found.share, (found.signal, "inf")),
        ),
        consequence=_consequence(run),
    )


def _words(forward: bool) -> str:
    if forward:
        return "The layer read finite numbers, and its sums of products left float16; float32 and bfloat16 hold them."
    return "What was computed before was finite, and δ left float16; float32 and bfloat16 hold it."


def _consequence(run: Run) -> str:
    spent = np.flatnonzero(loss_scale(run) == 0)
    if len(spent):
        step = int(run.history.steps[spent[0]])
        return (
            f"Such steps are skipped and halve the loss scale; it is 0 by step {step}, and nothing is learned any more."
        )
    return "Its steps are lost, and without a loss scaler that skips them the weights too."


def _first(run: Run, half: set[str], signal: Signal) -> Overflow | None:
    """The first step and layer in which float16 was left; None where there is none, or a scaler takes care of it."""
    if any((signal, kind) not in run.history for kind in KINDS):
        return None
    nan, inf = (np.asarray(run.history[signal, kind], np.float64) for kind in KINDS[:-1])
    bad = (nan > 0) | (inf > 0)
    hit = np.zeros(len(run.history.steps), bool)
    names: dict[int, str] = {}
    order = list(range(len(run.architecture)))
    for row in map(int, np.flatnonzero(bad.any(axis=1))):
        if signal is BACKWARD and _is_bad(run, FORWARD, row):
            continue
        ways = order if signal is FORWARD else order[::-1]
        place = next(place for place in ways if bad[row, place])
        name = run.architecture.names[place]
        if name in half and _left_float16(run, row, place, signal, inf[row, place] > 0):
            hit[row], names[row] = True, name
    scaled = loss_scale(run) != 1
    if not hit.any() or (signal is BACKWARD and scaled[hit].all()):
        return None
    first = int(np.flatnonzero(hit)[0])
    return Overflow(first, names[first], signal, float(hit.mean()), not hit[len(hit) // 2 :].any())


def _is_bad(run: Run, signal: Signal, row: int) -> bool:
    return any(bool((np.asarray(run.history[signal, kind])[row] > 0).any()) for kind in KINDS[:-1])


def _left_float16(run: Run, row: int, place: int, signal: Signal, has_infinity: bool) -> bool:
    """Whether finite numbers made infinity here: weights and inputs, or what the loss sent, were finite."""
    for origin in (Signal.WEIGHT, Signal.INPUT):
        columns = [(origin, kind) for kind in KINDS[:-1] if (origin, kind) in run.history]
        if any(np.asarray(run.history[column])[row, place] > 0 for column in columns):
            return False
    if signal is FORWARD:
        return has_infinity or _reads_finite_numbers(run, row, place)
    came = arriving(run, "largest")[row]
    return bool(has_infinity and (np.isnan(came) or came < limits.GREATEST["float32"].value))


def _reads_finite_numbers(run: Run, row: int, place: int) -> bool:
    """Whether it is known what a matrix was multiplied with: then only infinity less infinity makes NaN of it."""
    count = (Signal.INPUT, "count")
    is_known = count in run.history and float(run.history[count][row, place]) > 0
    return is_known and run.architecture.layers[place].kind in {"linear", "conv"}


def _largest(run: Run, found: Overflow) -> float:
    place = run.architecture.index(found.layer)
    beside = float(run.history[found.signal, "abs_max"][found.row, place])
    if np.isfinite(beside):
        return beside
    return float("nan")


def _severity(run: Run, found: Overflow) -> Severity:
    if found.share >= limits.MOSTLY.value or _is_lost(run):
        return Severity.STOPS
    is_taken_care_of = found.signal is BACKWARD and not _is_ever_lost(run)
    return Severity.NOTE if is_taken_care_of and (found.is_over or has_learned(run)) else Severity.SLOWS


def _is_lost(run: Run) -> bool:
    """Whether the weights are not finite at the last recorded step."""
    return (Signal.WEIGHT, "nan") in run.history and _is_bad(run, Signal.WEIGHT, len(run.history.steps) - 1)


def _is_ever_lost(run: Run) -> bool:
    """Whether weights were not finite at any recorded step, or were not looked at."""
    columns = [(Signal.WEIGHT, kind) for kind in KINDS[:-1]]
    return any(column not in run.history or bool((np.asarray(run.history[column]) > 0).any()) for column in columns)
