"""What a run tells of the number formats that its layers compute in."""

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits
from isometry.history.run import Run
from isometry.network.signals import Signal

__all__ = ["HALF", "arriving", "computes_in", "formats", "is_rounded_away", "loss_scale", "size_of_nonzero"]

Floats = NDArray[np.float64]

HALF = ("float16", "bfloat16")
"""Formats of 16 bits."""


def formats(run: Run) -> dict[str, str]:
    """Half-precision formats by the names of the layers that compute in them; their weights may be float32."""
    known: dict[str, str] = {}
    for event in run.history.events("formats"):
        known |= {str(name): str(kind) for name, kind in (event.get("formats") or {}).items()}
    return {name: kind for name, kind in known.items() if name in run.architecture}


def computes_in(run: Run, name: str) -> str:
    """The number format of a layer's signals, ``float32``; that of its weights where nothing else is known."""
    return formats(run).get(name, run.architecture[name].dtype)


def loss_scale(run: Run) -> Floats:
    """What gradients were multiplied by on their way through the network; shape (steps,).

    1 without a loss scale, 0 once a scaler has halved it too often.
    """
    scale = np.ones(len(run.history.steps))
    for event in run.history.events("loss_scale"):
        value = event.get("scale")
        scale[run.history.steps >= event["step"]] = 1.0 if value is None else float(value)
    return scale


def arriving(run: Run, field: str) -> Floats:
    """What came from the loss before it was rounded to float16, loss scale and all; NaN where unknown. shape (steps,)

    Args:
        run: of any training.
        field: ``size``, the rms, or ``largest``, the largest magnitude.
    """
    came = np.full(len(run.history.steps), np.nan)
    for event in run.history.events("rounded"):
        value = event.get(field)
        came[run.history.steps == event["step"]] = np.nan if value is None else float(value)
    return came


def size_of_nonzero(run: Run, signal: Signal) -> Floats:
    """Rms of the elements that are not zero, in the format that they were computed in, with the loss scale.

    0 where all are zero, NaN where nothing was recorded. Zeros that are there by nature, behind units that are silent
    or in rows of an embedding that nobody asked for, do not count. shape (steps, layers)
    """
    columns = [(signal, kind) for kind in ("rms", "zeros", "count", "nan", "inf")]
    if any(column not in run.history for column in columns):
        return np.full((len(run.history.steps), len(run.architecture)), np.nan)
    rms, zeros, count, nan, inf = (np.asarray(run.history[column], np.float64) for column in columns)
    finite = count - nan - inf
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.where(finite > zeros, rms * np.sqrt(finite / (finite - zeros)), np.where(finite > 0, 0.0, np.nan))
    return np.asarray(sizes * loss_scale(run)[:, None])


def is_rounded_away(run: Run) -> NDArray[np.bool_]:
    """Where gradients that were computed in float16 lie at its smallest number or below. shape (steps, layers)

    Of δ and of the weight gradient what is left is at most twice the smallest number; or nothing is left of δ although
    as little, and not nothing, arrives from the next layer towards the output, or from the loss.
    """
    steps, names = len(run.history.steps), run.architecture.names
    is_half = np.array([formats(run).get(name) == "float16" for name in names], bool)
    least = limits.UNDERFLOW.value * limits.SMALLEST_FLOAT16.value
    delta, gradient = size_of_nonzero(run, Signal.DELTA), size_of_nonzero(run, Signal.WEIGHT_GRADIENT)
    lost = np.zeros((steps, len(names)), bool)
    with np.errstate(invalid="ignore"):
        for tensor in (delta, gradient):
            lost |= (tensor > 0) & (tensor < least)
        came = arriving(run, "size")
        is_little = (came > 0) & (came < least)  # what the next layer towards the output was sent, or kept
        for place in reversed(range(len(names))):
            if not is_half[place]:
                continue
            lost[:, place] |= is_little & (delta[:, place] == 0)
            known = np.isfinite(delta[:, place])
            is_little = np.where(known, lost[:, place], is_little)
    return np.asarray(lost & is_half & ~_is_lost(run)[:, None])


def _is_lost(run: Run) -> NDArray[np.bool_]:
    """Whether any δ of a step is not finite: then what else is missing says nothing of small numbers. shape (steps,)"""
    lost = np.zeros(len(run.history.steps), bool)
    for kind in ("nan", "inf"):
        if (Signal.DELTA, kind) in run.history:
            lost |= (np.asarray(run.history[Signal.DELTA, kind]) > 0).any(axis=1)
    return lost
