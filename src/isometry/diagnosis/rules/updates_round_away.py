"""N202: weights held in half precision, whose updates are too small for them."""

from collections.abc import Iterable

import numpy as np

from isometry.diagnosis import limits
from isometry.diagnosis.course import has_learned, loss_progress
from isometry.diagnosis.finding import Cause, Finding, Severity
from isometry.diagnosis.precision import HALF
from isometry.diagnosis.rule import rule
from isometry.diagnosis.words import span
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal

__all__ = ["updates_round_away"]

GRADIENT, UPDATE = Signal.WEIGHT_GRADIENT, Signal.UPDATE
READS = [(signal, kind) for signal in (GRADIENT, UPDATE) for kind in ("count", "zeros")]


@rule("N202", problem="precision_underflow", reads=READS)
def updates_round_away(run: Run) -> Iterable[Finding]:
    """Weights are held in float16 or bfloat16, and most of them stay where they are although a gradient came.

    The numbers of bfloat16 stand 2^-8 to 2^-7 of their size apart, those of float16 2^-11 to 2^-10. A step of less than
    half of that changes nothing, however often it is taken; ordinary steps are a thousandth. float32 copies of the
    weights add such steps up.

    How it is told apart: among the weights with a gradient those are counted that did not move, and only of layers
    whose weights themselves are held in half precision; autocast leaves them in float32. Few of them are no harm: the
    others go on. Steps at a rate of 0 do not count, nor those of a warm-up, whose rate is still to rise. Where the loss
    fell all the same, or little is left of the run after the warm-up, it is a note; but it slows where every hidden
    layer stands still and a fifth of what guessing loses is left at the end.

    Sources: Micikevicius et al. 2018, section 3.1; IEEE 754-2019.
    """
    half = [place for place, layer in enumerate(run.architecture) if layer.weighted and layer.dtype in HALF]
    if not half:
        raise NotRecorded("no weights are held in half precision")
    still = np.where(_is_stepped(run), _share_still(run), np.nan)[:, half]
    if not np.isfinite(still).any():
        raise NotRecorded("no step with gradients and a rate that is not 0 was recorded")
    first = int(run.history.steps[np.isfinite(still).any(axis=1).argmax()])
    with np.errstate(invalid="ignore"):
        typical = np.array([np.median(column[np.isfinite(column)]) for column in still.T if np.isfinite(column).any()])
    places = [place for place, column in zip(half, still.T, strict=True) if np.isfinite(column).any()]
    concerned = [place for place, share in zip(places, typical, strict=True) if share >= limits.KEPT_STILL.value]
    if not concerned:
        return
    names = tuple(run.architecture.names[place] for place in concerned)
    share, kind = float(typical.max()), run.architecture[names[0]].dtype
    yield Finding(
        severity=_severity(run, first, len(concerned) == len(places), set(places[:-1]) <= set(concerned)),
        summary=f"Updates round away in {span(names)}: {share:.0%} of the weights with a gradient stay as they are",
        layers=names,
        first_step=first,
        causes=(Cause(kind, None, f"The weights are held in {kind}, too coarse for such updates.", names),),
        evidence=(limits.KEPT_STILL.evidence("share of weights with a gradient that stay", share, *READS),),
        consequence="However many steps are taken, these weights do not move; in float32 the steps would add up.",
    )


def _share_still(run: Run) -> np.ndarray:
    """Of the weights with a gradient those that a step left as they were; NaN without. shape (steps, layers)"""
    columns = {column: np.asarray(run.history[column], np.float64) for column in READS}
    moved = columns[UPDATE, "count"] - columns[UPDATE, "zeros"]
    pushed = columns[GRADIENT, "count"] - columns[GRADIENT, "zeros"]
    with np.errstate(divide="ignore", invalid="ignore"):
        known = (pushed > 0) & (columns[UPDATE, "count"] > 0)
        return np.asarray(np.where(known, 1 - np.minimum(moved / pushed, 1.0), np.nan))


def _is_stepped(run: Run) -> np.ndarray:
    """Where a layer has a rate that is not 0, in steps whose rate is not to rise any more. shape (steps, layers)"""
    steps, names = run.history.steps, run.architecture.names
    stepped = np.ones((len(steps), len(names)), bool)
    for event in run.history.events("zero_rate"):
        stepped[steps >= event["step"]] = [name not in event["layers"] for name in names]
    rate = run.history.scalars.get("lr")
    if rate is not None:
        highest = np.maximum.accumulate(rate.values[::-1])[::-1]
        stepped[np.isin(steps, rate.steps[rate.values < highest])] = False
    return stepped


def _severity(run: Run, first: int, is_everywhere: bool, is_hidden: bool) -> Severity:
    """``is_hidden``: whether every layer but the last one stands still."""
    if run.history.total_steps - first < limits.ADDED_UP.value:
        return Severity.NOTE
    if has_learned(run):
        left = 1 - (loss_progress(run) or 0.0)
        return Severity.SLOWS if is_hidden and left > limits.LEFT_UNDONE.value else Severity.NOTE
    return Severity.HARMS if is_everywhere else Severity.SLOWS
