"""What a run tells of its rate: how large its steps were, how large they ought to be, and where to clip.

A rate is high or low only against the network. Its measure is the first step: the weights still are as they were drawn,
and what the step does to them is in proportion to the rate, whatever the loss and the optimiser.
"""

from collections.abc import Mapping
from math import log10, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.diagnosis.course import is_adaptive
from isometry.diagnosis.pace import Pace, pace_of, rate_of, rate_rise, relative_step, without_momentum
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal

__all__ = [
    "HALF_DECADE",
    "LESS",
    "adam_rate",
    "epsilon_of",
    "fitting_factor",
    "gradient_norms",
    "half_decade",
    "is_high_enough",
    "loss_multiplier",
    "rate_of",
    "rate_rises",
    "relative_step",
    "sgd_rate",
    "threshold",
    "two_digits",
    "warm_up_steps",
]

Array = NDArray[np.float64]

FITTING = 0.02
"""Update ratio of the first step, momentum's build-up included, at the rates that serve best: 0.003 to 0.13 over five
small networks under Adam, SGD and SGD with momentum, calibrated 2026-11; 0.02 is within a factor of seven of them all.
"""
CURVED = 1 / 8
"""Part of 2 (1 − β) / λ, with λ the sharpness before the first step, that lay beyond the largest rate that trains in
none of 39 cases; 2 (1 − β) / λ itself did in 4. Measured 2026-11: benchmarks/curvature.py."""
FARTHER = 30
"""Times the rate with which steps fit, at most, that curvature may ask for. In networks of one layer the best rate was
so much higher; where signals vanish there is no curvature either, and that says nothing."""
HALF_DECADE = sqrt(10)
"""Rates are not worth telling more finely: the best ones of different networks scatter by more."""
LESS = 0.3
"""A rate that may be too high is lowered at least so far: by half a decade."""
PART = 0.1
"""Of the training that a warm-up takes at most …"""
PART_OF_ADAPTIVE = 1 / 3
"""… and of one whose optimiser has to learn the sizes of the gradients first."""
AT_ITS_RATE = 30
"""Times the rate, or parts of it, that an adaptive optimiser's steps are, at most. By their formulas the first step of
Adam and Adagrad is the rate, that of RMSprop 1 / √(1 − α) = 10 times as much; that of Adadelta √(ε / (1 − ρ)) = 1 / 316
as much, where gradients are far above √ε."""
LATE = frozenset({"radam"})
"""Optimisers that do not divide their first steps, so that these do not tell how large the others are."""
FORGETTING = 0.999
"""β₂ of Adam where the run does not tell it."""
FEWEST = 4
"""A warm-up of fewer steps is none."""
QUIET = 5
"""Fewer recorded steps before the trouble do not tell how large a gradient is in good health."""
MOMENTUM = 0.9
"""What SGD is usually given. Sources: Sutskever et al. 2013."""


def fitting_factor(run: Run) -> float | None:
    """What to multiply the rate by, so that steps have the size that serves best; None where no step was seen.

    Where an optimiser divides by the gradient's size, its rate is its step: then the size of ordinary weights decides,
    and not what the sick ones were. Where its steps turn out to be far smaller or larger, as those of Adadelta are,
    they are taken as they were measured. Where the curvature of the loss is known, gradient descent may take the larger
    steps that this allows: they fit shallow networks. A power of √10, as nothing finer is known.
    """
    rate = rate_of(run)
    if is_adaptive(run) and rate and not _is_off_its_rate(run, rate):
        fitting = adam_rate(run)
        return None if fitting is None else half_decade(fitting / rate)
    step = relative_step(run)
    if step is None:
        return None
    factor = FITTING / step
    return half_decade(max(factor, min(_factor_by_curvature(run) or factor, FARTHER * factor)))


def _is_off_its_rate(run: Run, rate: float) -> bool:
    """Whether no recorded step of an adaptive optimiser was near its rate, though no ε held the steps back."""
    columns = [(signal, "rms") for signal in (Signal.UPDATE, Signal.WEIGHT_GRADIENT)]
    epsilon = epsilon_of(run) or 0.0
    if any(column not in run.history for column in columns):
        return False
    places = [run.architecture.index(name) for name in _learning(run)]
    update, gradient = (np.asarray(run.history[column], np.float64)[:, places] for column in columns)
    moved = np.where((update > 0) & np.isfinite(update) & (gradient > epsilon), update / rate, np.nan)
    seen = np.isfinite(moved).any(axis=1)
    if not seen.any() or str(_optimizer(run).get("name", "")).lower() in LATE:
        return False
    typical = np.nanmedian(moved[seen], axis=1)
    return bool(np.max(typical) < 1 / AT_ITS_RATE or np.min(typical) > AT_ITS_RATE)


def adam_rate(run: Run) -> float | None:
    """The rate of Adam with which steps fit: its first step changes every weight by the rate, whatever the gradient."""
    fan_in = [run.architecture[name].fan_in for name in _learning(run)]
    sizes = [1 / sqrt(count) for count in fan_in if count]
    return half_decade(FITTING * float(np.median(sizes))) if sizes else None


def sgd_rate(run: Run) -> float | None:
    """The rate of SGD with momentum 0.9 with which steps fit, by the gradients of the first step."""
    place = _first_gradients(run)
    if place is None:
        return None
    weight, gradient = place
    return half_decade(FITTING * (1 - MOMENTUM) * float(np.median(weight / gradient)))


def epsilon_of(run: Run) -> float | None:
    """ε of the optimiser; None where it has none, or the run does not tell."""
    value = _optimizer(run).get("eps")
    return float(value) if isinstance(value, int | float) and value > 0 else None


def loss_multiplier(run: Run) -> float:
    """How many times the mean over the batch a loss is that was added up, or multiplied; 1 where that is not known."""
    event = next(iter(run.history.events("loss_kind")), None)
    series = run.history.scalars.get("loss")
    mean = event.get("value") if event is not None else None
    if event is None or series is None or not len(series) or not mean or not np.isfinite(mean):
        return 1.0
    place = min(int(np.searchsorted(series.steps, int(event["step"]))), len(series) - 1)
    found = float(series.values[place]) / float(mean)
    return found if 0 < found < np.inf else 1.0


def gradient_norms(run: Run) -> tuple[NDArray[np.int64], Array]:
    """ℓ2 norm of the weights' gradient as the optimiser received it, at the recorded steps where it was finite.

    Biases are not recorded; they have few elements. shapes (steps,), both empty where gradients were not recorded
    """
    columns = [(Signal.WEIGHT_GRADIENT, statistic) for statistic in ("rms", "count")]
    if any(column not in run.history for column in columns):
        return np.zeros(0, np.int64), np.zeros(0)
    rms, count = (np.asarray(run.history[column], np.float64) for column in columns)
    with np.errstate(over="ignore"):
        norms = np.sqrt(np.nansum(rms**2 * count, axis=1))
    sound = np.isfinite(norms) & (norms > 0)
    for statistic in ("nan", "inf"):
        if (Signal.WEIGHT_GRADIENT, statistic) in run.history:
            sound &= ~(np.nan_to_num(run.history[Signal.WEIGHT_GRADIENT, statistic]) > 0).any(axis=1)
    return run.history.steps[sound], norms[sound]


def threshold(run: Run, first_step: int | None) -> float | None:
    """The norm to clip gradients at: that of ordinary steps, before the trouble began.

    Under plain gradient descent no larger than what changes the weights by a fitting share of their size, so that
    gradients which were too large from the first step on are cut too.

    Args:
        run: with recorded weight gradients.
        first_step: of the trouble; None where the run does not say.

    Returns:
        None where no gradient was recorded.
    """
    steps, norms = gradient_norms(run)
    if not len(norms):
        return None
    before = norms[steps < first_step] if first_step is not None else norms[:0]
    ordinary = float(np.median(before if len(before) >= QUIET else norms))
    return two_digits(min(ordinary, _largest_fitting(run) or ordinary))


def half_decade(value: float) -> float:
    """The nearest of … 0.1, 0.3, 1, 3, 10 …, on a logarithmic scale."""
    halves = round(2 * log10(value))
    return float(f"{10 ** (halves / 2):.0e}")


def two_digits(value: float) -> float:
    """Rounded to two significant digits."""
    return float(f"{value:.2g}")


def _pace(run: Run) -> Pace | None:
    try:
        return pace_of(run)
    except NotRecorded:
        return None


def _learning(run: Run) -> tuple[str, ...]:
    """Names of the layers that an optimiser moves; of those that could be moved, where no step was seen."""
    pace = _pace(run)
    if pace is not None:
        return pace.names
    return tuple(layer.name for layer in run.architecture if layer.weighted and layer.trainable)


def is_high_enough(run: Run) -> bool:
    """Whether the rate is none that ought to be raised, as far as is known."""
    factor = fitting_factor(run)
    return factor is not None and factor <= HALF_DECADE


def warm_up_steps(run: Run) -> int | None:
    """How long the rate of such a training may rise; None where it does so already, or the training is too short."""
    adaptive = is_adaptive(run)
    most = int((PART_OF_ADAPTIVE if adaptive else PART) * run.history.total_steps)
    if most < FEWEST or rate_rises(run):
        return None
    return min(round(2 / (1 - _forgetting(run))), most) if adaptive else most


def _forgetting(run: Run) -> float:
    for event in run.history.events("optimizer"):
        betas = event.get("betas")
        if isinstance(betas, list) and betas and 0 <= betas[-1] < 1:
            return float(betas[-1])
    return FORGETTING


def rate_rises(run: Run) -> bool:
    """Whether the rate begins lower than it becomes."""
    return rate_rise(run, 0) > 1


def _optimizer(run: Run) -> Mapping[str, Any]:
    events = run.history.events("optimizer")
    return events[-1] if events else {}


def _factor_by_curvature(run: Run) -> float | None:
    """What to multiply the rate by, so that no step overshoots by the curvature before the first one."""
    event, rate = next(iter(run.history.events("curvature")), None), rate_of(run)
    sharpness = event.get("sharpness") if event is not None else None
    if not sharpness or not 0 < sharpness < np.inf or rate is None:
        return None
    return float(CURVED * 2 * without_momentum(run) / (sharpness * rate))


def _first_gradients(run: Run) -> tuple[Array, Array] | None:
    """Rms W and rms ∂L/∂W of the layers that learn, at the first step where the latter are known. shapes (layers,)"""
    columns = [(signal, "rms") for signal in (Signal.WEIGHT, Signal.WEIGHT_GRADIENT)]
    if any(column not in run.history for column in columns):
        return None
    places = [run.architecture.index(name) for name in _learning(run)]
    weight, gradient = (np.asarray(run.history[column], np.float64)[:, places] for column in columns)
    known = np.isfinite(weight) & np.isfinite(gradient) & (weight > 0) & (gradient > 0)
    rows = np.flatnonzero(known.any(axis=1))
    if not len(rows):
        return None
    row = int(rows[0])
    return weight[row, known[row]], gradient[row, known[row]]


def _largest_fitting(run: Run) -> float | None:
    """Norm of the gradient with which a step of plain gradient descent fits; None under adaptive optimisers."""
    rate = rate_of(run)
    columns = [(Signal.WEIGHT, statistic) for statistic in ("rms", "count")]
    if is_adaptive(run) or rate is None or any(column not in run.history for column in columns):
        return None
    rms, count = (np.asarray(run.history[column], np.float64)[0] for column in columns)
    size = sqrt(float(np.nansum(rms**2 * count)))
    return FITTING * without_momentum(run) * size / rate if 0 < size < np.inf else None
