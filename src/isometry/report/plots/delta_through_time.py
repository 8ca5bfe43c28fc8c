"""δ of recurrent layers along the time steps of a sequence."""

import numpy as np
from numpy.typing import NDArray

from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.report.chart import Axis, Chart, Line, Shape, Table
from isometry.report.columns import listed
from isometry.report.plot import plot
from isometry.report.words import clean, number, shortened

Numbers = NDArray[np.float64]
LEVEL = 0.5
"""Decades between the ends below which the title calls the profile level; words only."""
MOST = 3


@plot("delta-through-time", place=15, proves=("G102", "G202"))
def delta_through_time(run: Run) -> Chart:
    """δ of each recurrent layer at every time step of the sequence, at the last recorded step of the training.

    It travels from the last time step (right) to the first (left). Where it has fallen by many decades, what happened
    early in the sequence is not learned.
    """
    kept: dict[str, list[tuple[int, Numbers]]] = {}
    for event in run.history.events("through_time"):
        profile = np.array(event["rms"], dtype=np.float64)
        if profile.size > 1 and np.isfinite(profile).any():
            kept.setdefault(str(event["layer"]), []).append((int(event["step"]), profile))
    if not kept:
        raise NotRecorded("no recurrent layer whose δ was kept by time step")
    worst = sorted(kept, key=lambda layer: -abs(_change(kept[layer][-1][1])))[:MOST]
    shapes: list[Shape] = []
    for style, layer in enumerate(worst):
        step, profile = kept[layer][-1]
        time = np.arange(len(profile), dtype=np.float64)
        said = f"{shortened(clean(layer), 16)}, step {step:,}"
        shapes.append(Line(said, time, profile, style=style, markers=len(profile) <= 40))
        if len(kept[layer]) > 1 and len(worst) == 1:
            first, early = kept[layer][0]
            shapes.append(
                Line(f"step {first:,}", np.arange(len(early), dtype=np.float64), early, style=4, role="context")
            )
    told = [_sentence(clean(layer), kept[layer][-1][1]) for layer in worst]
    return Chart(
        title=told[0],
        reading="δ runs from the last time step (right) back to the first (left).",
        x=Axis("time step of the sequence"),
        y=Axis("size of δ", unit="rms", scale="log"),
        shapes=tuple(shapes),
        alt="Line chart of δ over the time steps of a sequence, log scale. " + " ".join(f"{words}." for words in told),
        table=_table({layer: kept[layer][-1][1] for layer in worst}),
    )


def _change(profile: Numbers) -> float:
    """Decades from the last to the first time step at which δ is positive."""
    positive = profile[np.isfinite(profile) & (profile > 0)]
    return float(np.log10(positive[0]) - np.log10(positive[-1])) if len(positive) > 1 else 0.0


def _sentence(layer: str, profile: Numbers) -> str:
    change = _change(profile)
    silent = int((profile == 0).sum())
    tail = f"; it is exactly 0 at {silent} of them" if silent else ""
    if abs(change) < LEVEL:
        return f"In {layer} δ keeps its size over {len(profile)} time steps{tail}"
    verb = "grows" if change > 0 else "falls"
    return f"In {layer} δ {verb} by {abs(change):.1f} decades over {len(profile)} time steps{tail}"


def _table(profiles: dict[str, Numbers]) -> Table:
    longest = max(len(profile) for profile in profiles.values())
    rows = listed([""] * longest, 40)
    return Table(
        ("time step", *(clean(layer) for layer in profiles)),
        tuple(
            (f"{t:,}", *(number(float(profile[t])) if t < len(profile) else "" for profile in profiles.values()))
            for t in rows
        ),
    )
