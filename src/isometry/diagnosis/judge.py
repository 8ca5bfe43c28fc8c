"""From what an inspection measured and drew to what it says."""

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits
from isometry.diagnosis.blame import outliers
from isometry.diagnosis.block import block
from isometry.diagnosis.check import Band, Check, Counterfactual, Departure, Prediction
from isometry.diagnosis.diagnose import diagnose
from isometry.history.inspection import Drawn, Inspection
from isometry.network.architecture import Architecture, Layer
from isometry.network.edits import NetworkEdit
from isometry.network.signals import Signal
from isometry.theory.explain import Explanation, HiddenLayer, explain

__all__ = ["check", "counterfactual", "predict"]

Floats = NDArray[np.float64]

LIKELY = 0.95
"""Probability with which a value lies in its band."""
LEAST_SCATTER = 1e-3
"""Rounding in single precision, over a hundred layers. [decades]"""


def predict(inspection: Inspection) -> Prediction:
    """What networks of the same architecture and the same law of weights show."""
    architecture, drawn = inspection.run.architecture, inspection.drawn
    reference = _reference(drawn)
    backward = _against(drawn.backward, reference)
    first = _first(architecture, drawn)
    return Prediction(
        architecture=architecture,
        forward=band(drawn.forward),
        backward=band(backward),
        dead=float(np.mean(np.isneginf(drawn.backward[:, first]))),
        nets=drawn.nets,
        explanation=_explanation(architecture, inspection),
        notes=inspection.notes,
    )


def check(inspection: Inspection, counterfactuals: Iterable[Counterfactual] = ()) -> Check:
    """The verdict on a network before its first step."""
    forward, backward = inspection.measured.forward[0], inspection.measured.backward[0]
    return Check(
        diagnosis=diagnose(inspection.run),
        prediction=predict(inspection),
        forward=forward,
        backward=_against(backward[None], _reference(inspection.drawn))[0],
        departures=_departures(inspection, forward, backward),
        counterfactuals=tuple(sorted(counterfactuals, key=_harm)),
        jacobian=inspection.jacobian,
        outliers=outliers(inspection.run),
    )


def counterfactual(name: str, edits: Sequence[NetworkEdit], drawn: Drawn, architecture: Architecture) -> Counterfactual:
    """What one change does to the signals between the first layer and the last."""
    first, last = _first(architecture, drawn), _reference(drawn)
    back = _against(drawn.backward, last)[:, first]
    forth = _against(drawn.forward, first)[:, last]
    alive = np.isfinite(back)
    return Counterfactual(
        name=name,
        edits=tuple(edits),
        backward=float(np.mean(back[alive])) if alive.any() else -math.inf if np.isneginf(back).any() else math.nan,
        forward=float(np.mean(forth[np.isfinite(forth)])) if np.isfinite(forth).any() else math.nan,
        spread=float(np.std(back[alive], ddof=1)) if alive.sum() > 1 else math.nan,
    )


def band(values: Floats) -> Band:
    """Where one more network lies with a probability of 95 %, by Student's law of logarithms.

    Networks whose signal is exactly zero or not finite are left out. shape of ``values``: (nets, layers)
    """
    finite = np.where(np.isfinite(values), values, np.nan)
    count = np.asarray(np.isfinite(values).sum(axis=0), dtype=np.int64)
    some = np.flatnonzero(count > 1)
    mean, reach = np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    mean[some] = np.nanmean(finite[:, some], axis=0)
    scatter = np.maximum(np.nanstd(finite[:, some], axis=0, ddof=1), LEAST_SCATTER)
    reach[some] = student_quantile(LIKELY, count[some] - 1) * scatter * np.sqrt(1 + 1 / count[some])
    return Band(mean, mean - reach, mean + reach)


def student_quantile(probability: float, freedom: NDArray[np.int64] | int) -> Floats:
    """How many standard deviations to both sides of the mean hold so much of Student's law.

    Right to 0.2 % from three degrees of freedom on, and to 4 % for two, at a probability of 0.95; further out it needs
    more of them.

    Sources: Abramowitz & Stegun 1964, equation 26.7.5.
    """
    x, n = NormalDist().inv_cdf((1 + probability) / 2), np.asarray(freedom, dtype=np.float64)
    return np.asarray(
        x
        + (x**3 + x) / (4 * n)
        + (5 * x**5 + 16 * x**3 + 3 * x) / (96 * n**2)
        + (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / (384 * n**3)
        + (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / (92160 * n**4)
    )


def _against(sizes: Floats, place: int) -> Floats:
    """Sizes against that of one layer; 0 against itself, also where that is −∞. shape of ``sizes``: (nets, layers)"""
    with np.errstate(invalid="ignore"):
        differences = sizes - sizes[:, [place]]
    differences[:, place] = np.where(np.isneginf(sizes[:, place]), 0.0, differences[:, place])
    return np.asarray(differences)


def _reference(drawn: Drawn) -> int:
    """The last layer that δ was measured at in every network; in any, where there is none."""
    everywhere = np.flatnonzero(np.isfinite(drawn.backward).all(axis=0))
    return int((everywhere if len(everywhere) else _measured(drawn))[-1])


def _first(architecture: Architecture, drawn: Drawn) -> int:
    """The first layer with a matrix that δ was measured at."""
    measured = _measured(drawn)
    weighted = [k for k in measured if architecture.layers[k].weighted]
    return int(weighted[0] if weighted else measured[0])


def _measured(drawn: Drawn) -> NDArray[np.intp]:
    """The layers that δ was measured at; all where there is none, for then nothing is said of any."""
    measured = np.flatnonzero(np.any(~np.isnan(drawn.backward), axis=0))
    return measured if len(measured) else np.arange(drawn.backward.shape[1])


def _harm(told: Counterfactual) -> tuple[bool, float]:
    """The more a signal is lost or blown up on its way, forwards or backwards, the later it stands."""
    worst = max(abs(told.backward), abs(told.forward) if math.isfinite(told.forward) else math.inf)
    return not math.isfinite(told.backward), worst


# --------------------------------------------------------------------- departures


def _departures(inspection: Inspection, forward: Floats, backward: Floats) -> tuple[Departure, ...]:
    """Layers whose gain no drawn network shows: their weights are not independent of each other, or of the data."""
    architecture, drawn = inspection.run.architecture, inspection.drawn
    steps = [
        (layer, architecture.index(layer.inputs[0]), k) for k, layer in enumerate(architecture) if _follows_one(layer)
    ]
    found = []
    for layer, before, here in steps:
        for signal, sizes, measured, sign in (
            (Signal.PRE_ACTIVATION, drawn.forward, forward, 1),
            (Signal.DELTA, drawn.backward, backward, -1),
        ):
            with np.errstate(invalid="ignore"):  # −∞ against −∞ in dead networks
                gains = sign * (sizes[:, here] - sizes[:, before])
                gain = sign * (measured[here] - measured[before])
            departure = _departure(layer, signal, gains[np.isfinite(gains)], gain, comparisons=2 * len(steps))
            if departure is not None:
                found.append(departure)
    return tuple(found)


def _follows_one(layer: Layer) -> bool:
    return layer.weighted and len(layer.inputs) == 1 and layer.inputs[0] != "" and not layer.recurrent


def _departure(layer: Layer, signal: Signal, gains: Floats, gain: float, comparisons: int) -> Departure | None:
    if len(gains) < limits.FEWEST_DRAWN.value or not math.isfinite(gain):
        return None
    scatter = max(float(np.std(gains, ddof=1)), LEAST_SCATTER) * math.sqrt(1 + 1 / len(gains))
    reach = float(student_quantile(1 - limits.CHANCE.value / comparisons, len(gains) - 1)) * scatter
    mean = float(np.mean(gains))
    if abs(gain - mean) <= reach:
        return None
    way = "its signal" if signal is Signal.PRE_ACTIVATION else "δ"
    changed = "loses" if gain < 0 else "gains"
    return Departure(
        layer=layer.name,
        signal=signal,
        measured=gain,
        low=mean - reach,
        high=mean + reach,
        words=(
            f"{layer.name}: {way} {changed} {abs(gain):.2f} decades there, and {mean:+.2f} ± {reach:.2f} is what "
            "independent weights of this size give: its weights have a structure, or fit the data."
        ),
    )


# -------------------------------------------------------------------- explanation


def _explanation(architecture: Architecture, inspection: Inspection) -> Explanation | None:
    hidden = []
    for layer, sigma_w, sigma_b in zip(architecture, inspection.sigma_w, inspection.sigma_b, strict=True):
        if layer.fan_in is None or layer.output or not math.isfinite(sigma_w):
            continue
        around = block(architecture, layer)
        hidden.append(
            HiddenLayer(
                activation=around.activation,
                sigma_w=float(sigma_w),
                sigma_b=float(sigma_b),
                fan_in=layer.fan_in,
                kind=layer.kind,
                normalised=around.norm is not None and not around.after,
                residual=layer.branch is not None,
                norm=around.averages_over,
                after=around.after,
            )
        )
    return explain(hidden)
