"""N201: gradients too small for float16."""

from collections.abc import Iterable

import numpy as np

from isometry.diagnosis import limits
from isometry.diagnosis.course import has_learned
from isometry.diagnosis.finding import Cause, Evidence, Finding, Severity
from isometry.diagnosis.precision import arriving, formats, is_rounded_away, loss_scale, size_of_nonzero
from isometry.diagnosis.rule import rule
from isometry.diagnosis.words import span
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal

__all__ = ["precision_underflow"]

DELTA_RMS = (Signal.DELTA, "rms")


@rule("N201", problem="precision_underflow", reads=[DELTA_RMS], follows=["vanishing_gradient", "poor_initialization"])
def precision_underflow(run: Run) -> Iterable[Finding]:
    """Gradients that are computed in float16 lie at its smallest number or below, and are rounded to zero.

    float16 holds nothing between 0 and 2^-24, about 6e-8; up to 2^-14 its numbers stand 2^-24 apart, so they have few
    digits. A loss that is a mean over many, or that is multiplied by a small number, sends gradients of that size.
    bfloat16 and float32 hold them, and so does float16 where the loss is scaled up before the backward pass.

    How it is told apart: only elements that are not zero are looked at. Silent units and rows of an embedding that
    nobody asked for leave zeros and no tiny numbers; what vanishes in float32 is smaller by far and still there. Where
    nothing is left of δ, as little must arrive from the next layer, or from the loss, where it is measured before it is
    rounded. Under a loss scale the scaled gradients count. It is a note where the loss fell all the same, and where
    the loss sends gradients of ordinary size, four decades above: then it is the network that loses them.

    Sources: Micikevicius et al. 2018, section 3.2; IEEE 754-2019.
    """
    half = [name for name, kind in formats(run).items() if kind == "float16"]
    if not half:
        raise NotRecorded("no layer computes in float16")
    lost = is_rounded_away(run)
    share = _share_of_steps(run, lost)
    concerned = [name for name in run.architecture.names if share[run.architecture.index(name)] >= limits.MOSTLY.value]
    if not concerned:
        return
    first = int(np.flatnonzero(lost.any(axis=1))[0])
    sizes = _sizes(run)
    smallest = limits.SMALLEST_FLOAT16
    yield Finding(
        severity=_severity(run, concerned, half),
        summary=_summary(concerned, sizes, run),
        layers=tuple(concerned),
        first_step=int(run.history.steps[first]),
        causes=(Cause("float16", None, _words(run), tuple(concerned)),),
        evidence=(
            smallest.evidence("rms of what is left of δ", float(np.nanmin(sizes[concerned[0]])), DELTA_RMS),
            *_evidence_of_loss(run),
        ),
        consequence="What is rounded to zero moves no weight; float32 would hold it.",
    )


def _share_of_steps(run: Run, lost: np.ndarray) -> np.ndarray:
    """Of the recorded steps in which a layer's δ was seen. shape (layers,)"""
    seen = np.isfinite(np.asarray(run.history[DELTA_RMS], np.float64))
    return np.asarray((lost & seen).sum(axis=0) / np.maximum(seen.sum(axis=0), 1))


def _sizes(run: Run) -> dict[str, np.ndarray]:
    sizes = size_of_nonzero(run, Signal.DELTA)
    return {name: sizes[:, place] for place, name in enumerate(run.architecture.names)}


def _severity(run: Run, concerned: list[str], half: list[str]) -> Severity:
    if has_learned(run) or _fallen(run) >= limits.FALL_HARMS.value:
        return Severity.NOTE
    gone = [name for name in concerned if np.nanmedian(_sizes(run)[name]) == 0]
    weighted = [name for name in half if run.architecture[name].weighted and run.architecture[name].trainable]
    if gone and set(weighted) <= set(gone):
        return Severity.STOPS
    return Severity.HARMS if gone or set(weighted) <= set(concerned) else Severity.SLOWS


def _fallen(run: Run) -> float:
    """Decades from what arrives, of the loss or else at the last layer, down to what float16 rounds away."""
    came = arriving(run, "size")
    if not np.isfinite(came).any():
        sizes = size_of_nonzero(run, Signal.DELTA)
        known = np.flatnonzero(np.isfinite(sizes).any(axis=0))
        came = sizes[:, known[-1]]
    size = float(np.nanmedian(came))
    least = limits.UNDERFLOW.value * limits.SMALLEST_FLOAT16.value
    return float(np.log10(size / least)) if size > 0 else 0.0


def _summary(concerned: list[str], sizes: dict[str, np.ndarray], run: Run) -> str:
    gone = [name for name in concerned if np.nanmedian(sizes[name]) == 0]
    where = span(concerned)
    if gone:
        return f"δ is too small for float16 in {where}: nothing is left of it in {len(gone)} of {len(concerned)} layers"
    return f"δ is at the smallest number of float16, 6e-8, in {where}: most of it is rounded to zero"


def _words(run: Run) -> str:
    came, scale = arriving(run, "size"), loss_scale(run)
    known = np.isfinite(came)
    if not known.any():
        return "Gradients pass the network in float16, which holds nothing between 0 and 6e-8."
    scaled = f", scaled by {np.median(scale[known]):g}," if np.median(scale[known]) != 1 else ""
    return (
        f"The loss sends gradients of {np.median(came[known]):.1e}{scaled} into a network that computes in float16, "
        "which holds nothing between 0 and 6e-8."
    )


def _evidence_of_loss(run: Run) -> tuple[Evidence, ...]:
    came = arriving(run, "size")
    if not np.isfinite(came).any():
        return ()
    return (limits.SMALLEST_FLOAT16.evidence("rms of the gradient from the loss", float(np.nanmedian(came))),)
