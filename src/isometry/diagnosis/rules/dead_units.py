"""A101: units that are never active."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits, words
from isometry.diagnosis.course import has_learned, is_told_by_its_loss
from isometry.diagnosis.finding import Cause, Finding, Severity
from isometry.diagnosis.rule import rule
from isometry.diagnosis.trunk import column, sampled_rows
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal

DEAD = (Signal.ACTIVATION, "dead")
UNITS = (Signal.ACTIVATION, "units")
SEEN = (Signal.ACTIVATION, "seen")

LATE_SHARE = 4


@rule(
    "A101",
    problem="dead_units",
    reads=[],
    follows=["learning_rate_too_high", "unscaled_input", "poor_initialization", "loss_spike"],
)
def dead_units(run: Run) -> Iterable[Finding]:
    """Rectifier units that were active on no sample at all: no gradient reaches their weights, so they never learn.

    A unit is dead when φ′ was near zero on everything seen over a whole window of data, and only if that was enough: a
    unit that was silent in 128 samples is active in less than 2.3 % of them, with 95 % confidence. Of a layer that is
    silent as a whole, 128 looks at any of its units on 16 samples are enough.

    How it is told apart: half or more of the entries of a healthy rectifier layer are zero on any one sample; that is
    sparsity. Units that wake up again in later windows are not counted, nor are layers without a rectifier. Some dead
    units are common in wide layers and harmless; a layer without any living unit blocks the signal in both directions.
    But where the loss came down by half all of this is a note: what is dead was not needed, or is not the only way.

    Sources: Lu et al. 2019 (dying ReLU); Hanley & Lippman-Hand 1983 for the rule of three.
    """
    if any(name not in run.history for name in (DEAD, UNITS, SEEN)):
        raise NotRecorded("no rectifier whose units were watched")
    rows = sampled_rows(run)
    units, seen = (column(run, *name, rows=rows) for name in (UNITS, SEEN))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = column(run, *DEAD, rows=rows) / units
    share[~((units > 0) & (seen >= limits.SEEN.value))] = np.nan
    share[_off(run, rows, units)] = 1.0
    share[_broken(run, rows)] = np.nan
    watched = np.flatnonzero(~np.isnan(share).all(axis=0))
    if not len(watched):
        raise NotRecorded(f"no rectifier whose units were watched over {limits.SEEN.value:.0f} samples or more")
    late = {int(layer): _lasting(share[:, layer]) for layer in watched}
    concerned = [layer for layer, value in late.items() if value >= limits.DEAD_NOTE.value]
    if concerned:
        yield _finding(run, rows, share, late=late, concerned=concerned)


def _off(run: Run, rows: NDArray[np.int64], units: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Layers of which every unit was off on every sample, over steps in a row that hold looks enough.

    That needs no window, and each unit on each sample is a look: that all of a layer's are off by chance is far less
    likely than that one unit is.
    """
    if any((Signal.SLOPE, statistic) not in run.history for statistic in ("zeros", "count")):
        return np.zeros((len(rows), len(run.architecture)), dtype=bool)
    count = column(run, Signal.SLOPE, "count", rows=rows)
    off: NDArray[np.bool_] = (column(run, Signal.SLOPE, "zeros", rows=rows) == count) & (count > 0) & (units > 0)
    looks, samples = np.zeros(len(run.architecture)), np.zeros(len(run.architecture))
    told = np.zeros_like(off)
    for row in range(len(rows)):
        seen = np.divide(count[row], units[row], out=np.zeros_like(samples), where=off[row])
        looks = np.where(off[row], looks + count[row], 0.0)
        samples = np.where(off[row], samples + seen, 0.0)
        told[row] = (looks >= limits.SEEN.value) & (samples >= limits.FEWEST_SAMPLES.value)
    return told


def _broken(run: Run, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows in which some signal is not finite: nothing is active in them, and nothing follows from that."""
    found = np.zeros(len(rows), dtype=bool)
    for statistic in ("nan", "inf"):
        if (Signal.PRE_ACTIVATION, statistic) in run.history:
            found |= (column(run, Signal.PRE_ACTIVATION, statistic, rows=rows) > 0).any(axis=1)
    return found


def _lasting(share: NDArray[np.float64]) -> float:
    """The share that is dead in all of the later windows: the least of them."""
    known = share[~np.isnan(share)]
    return float(known[-max(1, len(known) // LATE_SHARE) :].min())


def _finding(
    run: Run,
    rows: NDArray[np.int64],
    share: NDArray[np.float64],
    *,
    late: dict[int, float],
    concerned: list[int],
) -> Finding:
    names = [run.architecture.layers[layer].name for layer in concerned]
    worst = max(concerned, key=lambda layer: late[layer])
    name = run.architecture.layers[worst].name
    blocked = [layer for layer in concerned if late[layer] >= 1 and run.architecture.layers[layer].branch is None]
    onset = _onset(share[:, worst], limits.DEAD_NOTE.value)
    others = f"; {len(names)} layers have dead units" if len(names) > 1 else ""
    born = onset == _first(share[:, worst])
    return Finding(
        severity=_severity(run, worst=late[worst], blocked=bool(blocked)),
        summary=f"{words.called(name)}: {late[worst]:.0%} of the units are never active on any sample{others}",
        layers=tuple(names),
        first_step=int(run.history.steps[rows[onset]]),
        causes=(
            Cause(
                "dead from the start" if born else "died in training",
                None,
                f"{words.called(name)}: dead since the first window of data"
                if born
                else f"{words.called(name)}: alive at first, dead since step {run.history.steps[rows[onset]]}",
                (name,),
            ),
        ),
        evidence=tuple(
            limits.DEAD_NOTE.evidence(
                f"share of units of {run.architecture.layers[layer].name} never active", late[layer], DEAD, UNITS, SEEN
            )
            for layer in concerned
        ),
        consequence=_consequence(run, blocked, share=late[worst], name=name),
    )


def _severity(run: Run, *, worst: float, blocked: bool) -> Severity:
    if has_learned(run):
        return Severity.NOTE
    if blocked:
        return Severity.STOPS
    if worst >= limits.DEAD_HARMS.value:
        return Severity.HARMS
    return Severity.SLOWS if worst >= limits.DEAD_SLOWS.value and is_told_by_its_loss(run) else Severity.NOTE


def _first(share: NDArray[np.float64]) -> int:
    return int(np.flatnonzero(~np.isnan(share))[0])


def _onset(share: NDArray[np.float64], limit: float) -> int:
    """The first row from which on the share never falls below the limit again."""
    below = np.flatnonzero(share < limit)
    after = share.copy()
    after[: int(below[-1]) + 1 if len(below) else 0] = np.nan
    return int(np.flatnonzero(~np.isnan(after))[0])


def _consequence(run: Run, blocked: list[int], *, share: float, name: str) -> str:
    if blocked:
        layers = words.span([run.architecture.layers[layer].name for layer in blocked])
        passes = "passes" if len(blocked) == 1 else "pass"
        return (
            f"{layers} {passes} nothing on: the output no longer depends on the input, and no gradient comes through."
        )
    return f"{words.called(name)} works with {1 - share:.0%} of its width."
