"""How activations are distributed, layer by layer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Chart, Line, Ribbon, Ridge, Ridges, Shape, Table
from isometry.report.columns import column, listed, telling_rows
from isometry.report.plot import plot
from isometry.report.words import called, clean, number, plural

Numbers = NDArray[np.float64]
Event = Mapping[str, Any]
MOST_RIDGES = 24


@plot("activations", place=60, proves=("saturated_activation",))
def activations(run: Run) -> Chart:
    """Distribution of the size of the activations of each layer, by powers of two, at the last and the first step kept.

    Where no histogram was kept, the mean and one standard deviation on either side are shown instead.
    """
    kept = _kept(run, Signal.ACTIVATION) or _kept(run, Signal.PRE_ACTIVATION)
    return _ridges(run, kept) if kept else _means(run)


def _kept(run: Run, signal: str) -> dict[str, tuple[Event, Event]]:
    """(first, last) histogram of each layer that has one, by name."""
    found: dict[str, tuple[Event, Event]] = {}
    for event in run.history.events("histogram"):
        if event.get("signal") == signal and event.get("counts") and event.get("layer") in run.architecture:
            layer = str(event["layer"])
            found[layer] = (found[layer][0], event) if layer in found else (event, event)
    return found


def _ridges(run: Run, kept: dict[str, tuple[Event, Event]]) -> Chart:
    order = [name for name in run.architecture.names if name in kept]
    shown = [order[k] for k in listed(order, MOST_RIDGES)]
    ridges = []
    for row, name in enumerate(shown):
        first, last = kept[name]
        x, now, before = _aligned(last, first)
        ridges.append(Ridge(row, x, now, before if first is not last else None))
    steps = sorted({int(event["step"]) for pair in kept.values() for event in pair})
    silent = max(order, key=lambda name: _share(kept[name][1], "zeros"))
    zeros = _share(kept[silent][1], "zeros")
    wide = [_middle(kept[name][1]) for name in order]
    some = "" if len(shown) == len(order) else f" {len(shown)} of {len(order):,} layers are shown."
    title = (
        f"{zeros:.0%} of the activations of {called(silent)} are exactly 0".replace("%", " %")
        if zeros >= 0.01
        else f"Typical activations: {number(min(wide))} to {number(max(wide))} over {plural(len(order), 'layer')}"
    )
    return Chart(
        title=title,
        reading=f"Share of elements by size, one row a layer, input on top.{some}",
        x=Axis("size of an activation", scale="log"),
        y=Axis("layer, input on top", scale="layers", names=tuple(shown)),
        shapes=(Ridges(tuple(ridges), f"step {steps[-1]:,}", f"step {steps[0]:,}" if len(steps) > 1 else ""),),
        alt=f"Distributions of activations by size, {plural(len(shown), 'layer')}, one above the other. {title}.",
        table=Table(
            ("layer", "typical size", "exactly 0", "not finite"),
            tuple(
                (
                    clean(n),
                    number(_middle(kept[n][1])),
                    _percent(_share(kept[n][1], "zeros")),
                    _percent(_broken(kept[n][1])),
                )
                for n in shown
            ),
        ),
    )


def _aligned(last: Event, first: Event) -> tuple[Numbers, Numbers, Numbers]:
    """Middles of the bins that either histogram fills, one empty one at each end, and the share of elements in them."""
    low = min(int(last["lowest"]), int(first["lowest"])) - 1
    high = max(int(event["lowest"]) + len(event["counts"]) for event in (last, first)) + 1
    shares = []
    for event in (last, first):
        share = np.zeros(high - low)
        start = int(event["lowest"]) - low
        share[start : start + len(event["counts"])] = np.array(event["counts"], dtype=np.float64) / _total(event)
        shares.append(share)
    middles: Numbers = np.exp2(np.arange(low, high, dtype=np.float64) + 0.5)
    return middles, shares[0], shares[1]


def _total(event: Event) -> float:
    counted = sum(event["counts"]) + sum(int(event.get(name, 0)) for name in ("zeros", "nan", "inf"))
    return float(max(counted, 1))


def _share(event: Event, name: str) -> float:
    return int(event.get(name, 0)) / _total(event)


def _broken(event: Event) -> float:
    return _share(event, "nan") + _share(event, "inf")


def _middle(event: Event) -> float:
    """Size in the middle of the elements that are not zero."""
    sums = np.cumsum(np.array(event["counts"], dtype=np.float64))
    place = int(np.searchsorted(sums, sums[-1] / 2))
    return float(2.0 ** (int(event["lowest"]) + place + 0.5))


def _percent(share: float) -> str:
    return "0" if share == 0 else f"{100 * share:.2g} %"


def _means(run: Run) -> Chart:
    mean, std = column(run, Signal.ACTIVATION, "mean"), column(run, Signal.ACTIVATION, "std")
    steps, names = run.history.steps, run.architecture.names
    rows = telling_rows(mean, steps)
    rows = [rows[0], rows[-1]] if len(rows) > 1 else rows
    shapes: list[Shape] = []
    for style, row in enumerate(rows):
        known = np.flatnonzero(np.isfinite(mean[row]) & np.isfinite(std[row]))
        x, middle, reach = known.astype(np.float64), mean[row][known], std[row][known]
        said = f"step {int(steps[row]):,}"
        shapes.append(Ribbon(f"mean ± standard deviation, {said}", x, middle - reach, middle + reach, style=2 * style))
        shapes.append(Line(said, x, middle, style=2 * style, markers=len(names) <= 60))
    last = rows[-1]
    widest = int(np.nanargmax(np.where(np.isfinite(std[last]), std[last], -1)))
    title = (
        f"Activations spread most in {called(names[widest])}: {number(float(mean[last][widest]))} "
        f"± {number(float(std[last][widest]))} at step {int(steps[last]):,}"
    )
    return Chart(
        title=title,
        reading="Mean of each layer's activations with one standard deviation on either side.",
        x=Axis("layer, input first", scale="layers", names=names),
        y=Axis("activation"),
        shapes=tuple(shapes),
        alt=f"Mean and standard deviation of the activations of {plural(len(names), 'layer')}. {title}.",
        table=Table(
            ("layer", "mean", "standard deviation"),
            tuple(
                (clean(names[k]), number(float(mean[last][k])), number(float(std[last][k]))) for k in listed(names, 60)
            ),
        ),
    )
