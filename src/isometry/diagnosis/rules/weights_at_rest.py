"""L102: no weight moves."""

from collections.abc import Iterable

import numpy as np

from isometry.diagnosis import limits
from isometry.diagnosis.finding import Cause, Finding, Severity
from isometry.diagnosis.precision import is_rounded_away
from isometry.diagnosis.rule import rule
from isometry.errors import NotRecorded
from isometry.history.run import Run
from isometry.network.signals import Signal

__all__ = ["weights_at_rest"]

UPDATE_RMS = (Signal.UPDATE, "rms")
GRADIENT_RMS = (Signal.WEIGHT_GRADIENT, "rms")
INPUT_RMS = (Signal.INPUT, "rms")
DELTA_RMS = (Signal.DELTA, "rms")


@rule("L102", problem="loss_not_decreasing", reads=[], follows=["no_gradient", "non_finite", "precision_underflow"])
def weights_at_rest(run: Run) -> Iterable[Finding]:
    """No weight changed at any recorded step although gradients came back: the training does not train.

    The optimiser was told but never steps; or its rate is zero; or the gradients are cleared between the backward pass
    and the step. Which of them it is shows in what was recorded.

    How it is told apart: an update is measured as the difference of the weights before and after the step, so zero is
    zero whatever the optimiser. A warm-up that begins at zero moves the weights later; dead units leave gradients of
    zero, and are told as such. Where no optimiser was seen at all, gradients may be wanted for something else.

    Sources: none needed; the weights after the step are those before it.
    """
    if not run.history.events("optimizer"):
        raise NotRecorded("no optimiser was seen to hold weights of this model")
    if len(run.history.steps) < limits.FEWEST_RECORDS.value:
        raise NotRecorded(f"{len(run.history.steps)} recorded steps are too few")
    update = _known(run, UPDATE_RMS)
    if update is None:
        if not _ever_stepped(run) and _known(run, DELTA_RMS) is not None:
            yield _finding(run, "no step", "The optimiser was never seen to step: `optimizer.step()` is missing.")
        return
    if update.any() or len(update) < limits.FEWEST_RECORDS.value:
        return
    rate = _rates(run)
    if rate is not None and not rate.any():
        yield _finding(run, "rate zero", "The optimiser's learning rate is zero at every recorded step.")
    elif _are_cleared(run):
        words = "Gradients come back, but are gone when the optimiser steps: `zero_grad()` stands before `step()`."
        yield _finding(run, "cleared gradients", words)
    elif bool((_where_stepped(run, GRADIENT_RMS) > 0).any()):
        yield _finding(run, "steps without effect", "Gradients reach the optimiser, but its steps change nothing.")


def _known(run: Run, column: tuple[Signal, str]) -> np.ndarray | None:
    """What is known of a column, one row after another; None where nothing was recorded."""
    if column not in run.history:
        return None
    values = np.asarray(run.history[column], np.float64)
    values = values[np.isfinite(values)]
    return values if len(values) else None


def _where_stepped(run: Run, column: tuple[Signal, str]) -> np.ndarray:
    """A column at the steps and layers where an update was measured; NaN elsewhere. shape (steps, layers)"""
    stepped = np.isfinite(np.asarray(run.history[UPDATE_RMS], np.float64))
    if column not in run.history:
        return np.full(stepped.shape, np.nan)
    return np.where(stepped, np.asarray(run.history[column], np.float64), np.nan)


def _are_cleared(run: Run) -> bool:
    """Whether the optimiser finds no gradient where there must be one: none, or zeros at a layer with δ and input.

    Zeros alone are not enough: behind dead units, or zero weights, they are what backpropagation gives.
    """
    found, arriving, entering = (_where_stepped(run, column) for column in (GRADIENT_RMS, DELTA_RMS, INPUT_RMS))
    if not (arriving > 0).any() or (found > 0).any() or is_rounded_away(run).any():
        return False
    return bool(np.isnan(found).all() or ((found == 0) & (arriving > 0) & (entering > 0)).any())


def _rates(run: Run) -> np.ndarray | None:
    series = run.history.scalars.get("lr")
    return None if series is None or not len(series) else np.asarray(series.values, np.float64)


def _ever_stepped(run: Run) -> bool:
    """A step leaves its rate behind; an optimiser without one cannot be told."""
    tells = any(event.get("lr") is not None for event in run.history.events("optimizer"))
    return not tells or _rates(run) is not None


def _finding(run: Run, name: str, words: str) -> Finding:
    return Finding(
        severity=Severity.STOPS,
        summary=f"no weight changed in any of the {len(run.history.steps)} recorded steps",
        layers=tuple(layer.name for layer in run.architecture if layer.weighted and layer.trainable),
        first_step=int(run.history.steps[0]),
        causes=(Cause(name, None, words),),
        evidence=(limits.NOTHING.evidence("rms of every recorded update", 0.0, UPDATE_RMS),),
        consequence="The network stays exactly as it was initialised.",
    )
