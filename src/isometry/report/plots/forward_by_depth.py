"""The forward signal along depth: what is left of the input at each layer."""

import numpy as np
from numpy.typing import NDArray

from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Chart, Line, Table
from isometry.report.columns import chains, column, ends, listed, optional, telling_rows
from isometry.report.plot import plot
from isometry.report.words import called, clean, measured, plural

Numbers = NDArray[np.float64]
LEVEL = 0.5
"""Decades between the ends below which the title calls the profile level; words only."""


@plot("signal-by-depth", place=20, proves=("poor_initialization", "unscaled_input"))
def forward_by_depth(run: Run) -> Chart:
    """How much of each layer's output depends on the input, at the first and the last recorded step.

    The spread of z is its standard deviation over the samples of a batch: what is left when everything that is the same
    for every input is taken away. Where it falls with depth, late layers cannot tell inputs apart; where it
    grows, numbers run away. Without it the root mean square of the activations is shown.
    """
    spread = optional(run, Signal.PRE_ACTIVATION, "spread")
    size = spread if spread is not None else column(run, Signal.ACTIVATION, "rms")
    what = "spread of z over the samples" if spread is not None else "size of the activations"
    steps, names = run.history.steps, run.architecture.names
    rows = telling_rows(size, steps)
    rows = [rows[0], rows[-1]] if len(rows) > 1 else rows
    lines = []
    for style, row in enumerate(rows):
        for place, chain in enumerate(chains(run.architecture)):
            shown = chain[np.isfinite(size[row][chain]) & (size[row][chain] > 0)]
            said = f"step {int(steps[row]):,}" if place == 0 else ""
            lines.append(
                Line(said, shown.astype(np.float64), size[row][shown], style=2 * style, markers=len(names) <= 60)
            )
    told = [_sentence(size[row], chains(run.architecture)[0], names, spread is not None) for row in rows]
    at = [f"at step {int(steps[row]):,}" for row in rows]
    return Chart(
        title=f"{told[0]}, {at[0]}",
        reading="The signal runs from the input (left) to the output (right).",
        x=Axis("layer, input first", scale="layers", names=names),
        y=Axis(what, unit="standard deviation" if spread is not None else "rms", scale="log"),
        shapes=tuple(lines),
        alt=f"Line chart of {what} at {plural(len(names), 'layer')}, log scale. "
        + " ".join(f"{words}, {when}." for words, when in zip(told, at, strict=True)),
        table=Table(
            ("layer", *at),
            tuple((clean(names[k]), *(measured(float(size[row][k])) for row in rows)) for k in listed(names, 60)),
        ),
    )


def _sentence(profile: Numbers, chain: NDArray[np.int64], names: tuple[str, ...], spread: bool) -> str:
    subject = "The trace of the input" if spread else "The forward signal"
    found = ends(profile, chain)
    if found is None:
        return f"{subject} reaches fewer than two layers"
    first, last = found
    change = float(np.log10(profile[last]) - np.log10(profile[first]))
    way = f"from {called(names[first])} to {called(names[last])}"
    if abs(change) < LEVEL:
        return f"{subject} keeps its size {way}"
    return f"{subject} {'grows' if change > 0 else 'falls'} by {abs(change):.1f} decades {way}"
