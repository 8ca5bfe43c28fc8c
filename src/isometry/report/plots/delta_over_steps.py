"""δ of every layer over the whole training, as a map."""

import numpy as np
from numpy.typing import NDArray

from isometry.history.run import Run
from isometry.network.signals import Signal
from isometry.report.chart import Axis, Chart, Heat, Table
from isometry.report.columns import column, gathered, listed, log10, optional
from isometry.report.plot import plot
from isometry.report.words import called, clean, measured, number, plural

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]


@plot("delta-over-steps", place=40, proves=("non_finite", "exploding_gradient", "vanishing_gradient"))
def delta_over_steps(run: Run) -> Chart:
    """The size of δ, layer by step, on a logarithmic colour scale; what is not finite or exactly zero bears a sign.

    Several recorded steps that share a column show the one that lies farthest from the layer's usual value, so that a
    spike of one step stays visible. A column without a recorded step repeats the one before it.
    """
    delta = column(run, Signal.DELTA, "rms")
    steps, names = run.history.steps, run.architecture.names
    edges, rows = gathered(steps)
    logs = np.stack([_extreme(log10(delta[part]), usual) for usual in [_usual(delta)] for part in rows], axis=1)
    nan, inf = (_any(optional(run, Signal.DELTA, statistic), rows, delta.shape[1]) for statistic in ("nan", "inf"))
    zero = np.stack([np.nan_to_num(delta[part], nan=1.0).max(axis=0) == 0 for part in rows], axis=1)
    finite = logs[np.isfinite(logs)]
    low, high = (10.0 ** float(finite.min()), 10.0 ** float(finite.max())) if finite.size else (np.nan, np.nan)
    return Chart(
        title=_breakdown(run) or _title(names, steps, rows, nan, inf, zero, low, high),
        reading="Each row is a layer, input on top; time runs to the right; dark is small.",
        x=Axis("step"),
        y=Axis("layer, input on top", scale="layers", names=names),
        shapes=(Heat(10.0**logs, edges, Axis("size of δ", unit="rms", scale="log"), nan, inf, zero),),
        alt=_alt(names, steps, nan, inf, zero, low, high),
        table=_table(names, delta, steps),
    )


def _usual(delta: Numbers) -> Numbers:
    """Median of log10 over the steps, of an even choice of them where there are many. shape (layers,)"""
    logs = log10(delta[:: max(1, len(delta) // 400)])
    known = np.isfinite(logs).any(axis=0)
    usual = np.full(delta.shape[1], np.nan)
    usual[known] = np.nanmedian(logs[:, known], axis=0)
    return usual


def _extreme(logs: Numbers, usual: Numbers) -> Numbers:
    """Of each layer's values the one farthest from its usual value. shape (layers,)"""
    away = np.nan_to_num(np.abs(logs - usual), nan=-1.0)
    chosen: Numbers = logs[away.argmax(axis=0), np.arange(logs.shape[1])]
    return chosen


def _any(counts: Numbers | None, rows: list[NDArray[np.int64]], layers: int) -> Flags:
    if counts is None:
        return np.zeros((layers, len(rows)), dtype=np.bool_)
    return np.stack([(counts[part] > 0).any(axis=0) for part in rows], axis=1)


def _breakdown(run: Run) -> str:
    """Where and when the first value was produced that is not finite, as far as the watch noted it."""
    noted = [event for event in run.history.events("non_finite") if event.get("layer")]
    if not noted:
        return ""
    first = next((event for event in noted if event.get("producer")), noted[0])
    since = f"From step {int(first['step']):,} on values are not finite"
    if first.get("direction") == "loss":
        return f"{since}, first where the loss is computed"
    where = {"forward": " in the forward pass", "backward": " in the backward pass"}.get(
        str(first.get("direction")), ""
    )
    return f"{since}, first{where} at {called(str(first['layer']))}"


def _title(
    names: tuple[str, ...],
    steps: NDArray[np.int64],
    rows: list[NDArray[np.int64]],
    nan: Flags,
    inf: Flags,
    zero: Flags,
    low: float,
    high: float,
) -> str:
    broken = nan | inf
    if broken.any():
        first = int(broken.any(axis=0).argmax())
        place = int(np.flatnonzero(broken[:, first]).max())
        word = "Inf" if inf[place, first] else "NaN"
        return f"δ is {word} in {called(names[place])} from step {int(steps[rows[first][0]]):,} on"
    if zero.any():
        return f"δ is exactly 0 in {plural(int(zero.any(axis=1).sum()), 'layer')} of {len(names):,}"
    if not np.isfinite(low):
        return "δ is nowhere positive"
    return f"Over all layers and steps δ spans {np.log10(high / low):.1f} decades, {number(low)} to {number(high)}"


def _alt(
    names: tuple[str, ...], steps: NDArray[np.int64], nan: Flags, inf: Flags, zero: Flags, low: float, high: float
) -> str:
    said = f"Heat map of δ, {plural(len(names), 'layer')} by {plural(len(steps), 'recorded step')}."
    said += f" From {number(low)} to {number(high)}."
    for flags, word in ((nan, "NaN"), (inf, "Inf"), (zero, "exactly zero")):
        if flags.any():
            said += f" {word} in {plural(int(flags.any(axis=1).sum()), 'layer')}."
    return said


def _table(names: tuple[str, ...], delta: Numbers, steps: NDArray[np.int64]) -> Table:
    columns = sorted({int(k) for k in np.linspace(0, len(steps) - 1, 6).round()})
    return Table(
        ("layer", *(f"step {int(steps[row]):,}" for row in columns)),
        tuple((clean(names[k]), *(measured(float(delta[row][k])) for row in columns)) for k in listed(names, 60)),
    )
