"""The profile of δ along a trunk, early and late in a training, and what it loses or gains on its way to the input."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis import limits
from isometry.diagnosis.precision import computes_in
from isometry.diagnosis.trunk import Trunk, column, delta_decades, pooling_decades, sampled_rows
from isometry.history.run import Run
from isometry.network.signals import Signal

__all__ = ["Profile", "Silence", "climb", "fall", "profile", "silence"]

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

EARLY_ROWS = 8
LATE_SHARE = 4


@dataclass(frozen=True, slots=True)
class Profile:
    """log10 ‖δ‖ at the places of a trunk relative to its output end, medians over some rows; pooling taken out."""

    trunk: Trunk
    """Only places that were recorded."""
    names: tuple[str, ...]
    early: Array
    late: Array
    early_rows: Rows
    late_rows: Rows
    rows: Rows
    decades: Array
    """Row by row. shape (rows, places)"""
    beyond: tuple[str, ...] = ()
    """Layers towards the input where δ was never finite, so that the profile begins behind them."""


@dataclass(frozen=True, slots=True)
class Silence:
    """δ is exactly zero from some layer on towards the input, and stays so."""

    names: tuple[str, ...]
    silent: int
    """How many places, counted from the input, are exactly zero."""
    decades: Array
    """log10 ‖δ‖ of the places; −inf where it is zero. shape (places,)"""
    abs_max: float
    """Greatest |δ| at the last place that still has one."""
    dtype: str
    flat: bool
    """The last layer that passes nothing has a nonlinearity whose slope is zero everywhere: its units are dead or
    saturated, which is a finding of its own."""
    rows: Rows


def profile(run: Run, trunk: Trunk) -> Profile | None:
    """The profile where δ is positive at every recorded place; None where it hardly ever is.

    Rows in which δ is exactly zero somewhere are left out: in a network whose last layer or residual branches start at
    zero the first row or two are of that kind and say nothing about the rest.
    """
    rows, decades = _finite_rows(run, trunk)
    places = _recorded_places(decades)
    if len(places) < limits.FEWEST_PLACES.value:
        return None
    decades = decades + _averages_undone(run, trunk, rows)
    decades = decades[:, places]
    whole = np.isfinite(decades).all(axis=1)
    if not whole.any():
        return None
    rows, decades = rows[whole], decades[whole]
    decades = decades - decades[:, -1:]
    overflown = [place for place in range(places[0]) if _broken(run, trunk.places[place], rows[:1])[0]]
    late = max(1, len(rows) // LATE_SHARE)
    return Profile(
        trunk=_reduced(trunk, places),
        names=_names(run, trunk, places),
        early=np.median(decades[:EARLY_ROWS], axis=0),
        late=np.median(decades[-late:], axis=0),
        early_rows=rows[:EARLY_ROWS],
        late_rows=rows[-late:],
        rows=rows,
        decades=decades,
        beyond=_names(run, trunk, overflown),
    )


def silence(run: Run, trunk: Trunk) -> Silence | None:
    """Whether δ is exactly zero below some place in most of the later rows although it is not at the output end."""
    rows, decades = _finite_rows(run, trunk)
    places = _recorded_places(decades)
    if len(places) < limits.FEWEST_PLACES.value:
        return None
    decades = decades[:, places]
    speaking = np.isfinite(decades[:, -1]) & ~np.isnan(decades).any(axis=1)
    rows, decades = rows[speaking], decades[speaking]
    late = max(1, len(rows) // LATE_SHARE)
    rows, decades = rows[-late:], decades[-late:]
    zero = np.isneginf(decades)
    if not len(rows) or np.median(zero.any(axis=1)) < 1:
        return None
    rows, zero = rows[zero.any(axis=1)], zero[zero.any(axis=1)]
    typical = np.median(decades[-len(rows) :], axis=0)
    last = int(np.flatnonzero(np.isneginf(typical)).max(initial=-1))
    if last < 0:
        return None
    above = trunk.places[places[last + 1]]
    return Silence(
        names=_names(run, trunk, places),
        silent=last + 1,
        decades=typical,
        abs_max=float(np.median(column(run, Signal.DELTA, "abs_max", rows=rows, layers=(above,)))),
        dtype=computes_in(run, run.architecture.names[above]),
        flat=_is_flat(run, trunk.places[places[last]], rows),
        rows=rows,
    )


def _is_flat(run: Run, layer: int, rows: Rows) -> bool:
    if (Signal.SLOPE, "rms") not in run.history:
        return False
    return bool(np.median(column(run, Signal.SLOPE, "rms", rows=rows, layers=(layer,))) == 0)


def fall(decades: Array) -> Array:
    """How far each place lies beneath the highest place above it, in decades. shape (..., places)"""
    reached = np.maximum.accumulate(decades[..., ::-1], axis=-1)[..., ::-1]
    return reached - decades


def climb(decades: Array) -> Array:
    """How far each place lies above the lowest place above it, in decades. shape (..., places)"""
    return fall(-decades)


def _finite_rows(run: Run, trunk: Trunk) -> tuple[Rows, Array]:
    """Rows without a δ that is not finite, and log10 ‖δ‖ in them. Steps that no δ of the trunk was heard in,
    such as those of another network's training, are left out.

    Where there is no such row, the first one in which δ is finite at the output end stands for all: the signal leaves
    the range of its number format on the way, and what it did before is known.
    """
    rows = sampled_rows(run)
    decades = delta_decades(run, trunk, rows=rows)
    broken = np.stack([_broken(run, place, rows) for place in trunk.places], axis=1)
    reached = (broken | ~np.isnan(decades)).any(axis=1)
    rows, decades, broken = rows[reached], decades[reached], broken[reached]
    sound = ~broken.any(axis=1)
    if not sound.any() and len(rows):
        sound = np.arange(len(rows)) == int((~broken[:, -1]).argmax())
    return rows[sound], decades[sound]


def _broken(run: Run, layer: int, rows: Rows) -> NDArray[np.bool_]:
    """Rows in which some element of a layer's δ is not finite."""
    found = np.zeros(len(rows), dtype=bool)
    for statistic in ("nan", "inf"):
        if (Signal.DELTA, statistic) in run.history:
            found |= column(run, Signal.DELTA, statistic, rows=rows, layers=(layer,))[:, 0] > 0
    return found


def _averages_undone(run: Run, trunk: Trunk, rows: Rows) -> Array:
    """What averaging over positions took from each place, all averages above it together. shape (rows, places)"""
    taken = pooling_decades(run, trunk, rows=rows)
    from_output = np.cumsum(taken[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([from_output, np.zeros((len(rows), 1))], axis=1)


def _recorded_places(decades: Array) -> list[int]:
    """Places with a number in most rows. Beneath frozen layers no δ is computed; those drop out here."""
    if not len(decades):
        return []
    return [int(place) for place in np.flatnonzero(np.median(np.isnan(decades), axis=0) < 1)]


def _names(run: Run, trunk: Trunk, places: Sequence[int]) -> tuple[str, ...]:
    return tuple(run.architecture.layers[trunk.layers[place]].name for place in places)


def _reduced(trunk: Trunk, places: Sequence[int]) -> Trunk:
    return Trunk(
        tuple(trunk.layers[place] for place in places), tuple(trunk.places[place] for place in places), trunk.path
    )
