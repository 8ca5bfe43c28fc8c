"""The numbers of a check: layer by layer, and what would change them, as rows of words."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from isometry.diagnosis.check import Check, Counterfactual, Prediction
from isometry.report.chart import Table
from isometry.report.checks.words import place, reach, reference, size
from isometry.report.columns import listed
from isometry.report.words import called, clean

__all__ = [
    "CHANGES",
    "CHANGE_COLUMNS",
    "LAYERS",
    "LAYER_COLUMNS",
    "PREDICTED_COLUMNS",
    "change_rows",
    "changes_glossary",
    "layer_glossary",
    "layer_rows",
    "layer_table",
    "telling_rows",
]

LAYERS = "Layer by layer, in decades (factors of ten)"
LAYER_COLUMNS = ("layer", "φ", "δ", "predicted", "z", "predicted", "")
PREDICTED_COLUMNS = ("layer", "φ", "δ", "95 % of networks", "z", "95 % of networks")
CHANGES = "What would change it"
CHANGE_COLUMNS = ("change", "δ", "", "z", "")
MOST_ROWS = 14
"""Layers that are all listed; of more, only the ends and those that depart."""
SHOWN_EVENLY = 8
"""Layers of a long network that stand in the table in any case."""
MOST_DEPARTURES = 10

# Words only; nothing is judged by these.
LOST = 1.0
"""Decades that δ changes from the output to the input, up to which nothing needs a rescue."""
STILL = 0.2
"""Share of the present change, from which on what is left of it is called no rescue."""
WORSE = 0.5
"""Decades more than at present, from which on a change is called worse."""


# Layer by layer -------------------------------------------------------------------------------------------------------


def layer_glossary(prediction: Prediction, check: Check | None = None) -> str:
    """What the columns mean."""
    gone = check is not None and bool(np.isneginf(check.backward).any())
    return (
        f"δ is the size of the gradient at a layer, against that at {reference(prediction)}; z is the size (rms) of "
        "what a layer computes before its nonlinearity φ; predicted is where 95 % of such networks lie."
    ) + (" −∞: no gradient arrives there." if gone else "")


def layer_rows(prediction: Prediction, check: Check | None = None) -> list[tuple[str, ...]]:
    """One row for each layer, as ``LAYER_COLUMNS`` says, or ``PREDICTED_COLUMNS`` where nothing was measured."""
    forward, backward = prediction.forward, prediction.backward
    rows = []
    for k, layer in enumerate(prediction.architecture):
        delta = size(float((check.backward if check else backward.mean)[k]))
        z = size(float((check.forward if check else forward.mean)[k]))
        bands = [reach(float(band.low[k]), float(band.high[k])) for band in (backward, forward)]
        remark = (_remark(check, k),) if check else ()
        rows.append((clean(layer.name), layer.activation or "", delta, bands[0], z, bands[1], *remark))
    return rows


def layer_table(prediction: Prediction, check: Check | None = None) -> Table:
    """All rows with their heads."""
    return Table(LAYER_COLUMNS if check else PREDICTED_COLUMNS, tuple(layer_rows(prediction, check)))


def telling_rows(prediction: Prediction, check: Check | None = None) -> list[tuple[str, ...] | str]:
    """The rows of a short network; of a long one those that tell most, and between them what was left out."""
    rows = layer_rows(prediction, check)
    if len(rows) <= MOST_ROWS:
        return list(rows)
    if check is None:
        return [rows[k] for k in listed([row[0] for row in rows], MOST_ROWS)]
    shown = _telling(check)
    told: list[tuple[str, ...] | str] = [rows[shown[0]]]
    for before, after in pairwise(shown):
        if after > before + 1:
            told.append(_left_out(check, range(before + 1, after)))
        told.append(rows[after])
    return told


def _telling(check: Check) -> list[int]:
    """The layers that depart, those outside their bands, and some of the others, evenly from end to end."""
    architecture = check.prediction.architecture
    departing = [departure.layer for departure in check.departures if departure.layer in architecture]
    outside = [architecture.names[k] for k in range(len(architecture)) if _outside(check, k)]
    told = [*departing[:MOST_DEPARTURES], *(outside if len(outside) <= MOST_DEPARTURES else ())]
    places = {architecture.index(name) for name in told}
    evenly = np.linspace(0, len(architecture) - 1, SHOWN_EVENLY).round().astype(int)
    return sorted(places | set(evenly.tolist()))


def _left_out(check: Check, layers: Sequence[int]) -> str:
    """``… 88 more inside their bands``"""
    outside = sum(bool(_outside(check, k)) for k in layers)
    inside = sum("inside" in _places(check, k).values() and not _outside(check, k) for k in layers)
    without = len(layers) - outside - inside
    counts = ((inside, "inside their bands"), (outside, "outside their bands"), (without, "without a band"))
    return f"… {' and '.join(f'{count:,} more {words}' for count, words in counts if count)}"


def _places(check: Check, k: int) -> dict[str, str]:
    prediction = check.prediction
    held = {"δ": (prediction.backward, check.backward), "z": (prediction.forward, check.forward)}
    return {
        name: place(float(measured[k]), float(band.low[k]), float(band.high[k]))
        for name, (band, measured) in held.items()
    }


def _outside(check: Check, k: int) -> list[str]:
    return [f"{name} {where}" for name, where in _places(check, k).items() if where in ("below", "above")]


def _remark(check: Check, k: int) -> str:
    """``δ below``: on which side of its band a signal lies."""
    return ", ".join(_outside(check, k))


# What would change it -------------------------------------------------------------------------------------------------


def changes_glossary(prediction: Prediction) -> str:
    """What the numbers mean."""
    known = np.flatnonzero(~np.isnan(prediction.backward.mean))
    first = called(prediction.architecture.names[int(known[0])]) if known.size else "the input"
    return (
        f"Decades that δ gains (+) or loses (−) from {reference(prediction)} to {first}, give or take one standard "
        "deviation from one network to the next, and that z gains or loses on its way to the output."
    )


def change_rows(changes: Sequence[Counterfactual]) -> Iterator[tuple[str, str, str, str, str]]:
    """Name, δ, its standard deviation, z, and what to make of it; as ``CHANGE_COLUMNS`` says."""
    present = next((one.backward for one in changes if not one.edits), math.nan)
    for one in changes:
        spread = f"± {one.spread:.2f}" if math.isfinite(one.spread) else ""
        yield clean(one.name), _signed(one.backward), spread, _signed(one.forward), _rescue(one, present)


def _signed(value: float) -> str:
    return f"+{size(value)}" if value > 0 and size(value) != "0" else size(value)


def _rescue(one: Counterfactual, present: float) -> str:
    if not one.edits:
        return "◂ this network"
    if one.backward == -math.inf:
        return "no gradient arrives"
    if abs(one.backward) > abs(present) + WORSE:
        return "worse"
    if abs(present) > LOST and abs(one.backward) > max(LOST, STILL * abs(present)):
        return "overshoots" if one.backward * present < 0 else "no rescue"
    return ""
