"""The trainings that one run holds: networks that were trained one after another, each judged by itself.

A script for cross-validation, or one that compares two networks, trains one network to its end and then begins with
the next. Their losses are no one curve, and their optimisers do not pull at one loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.history.history import Column, Floats, History, Integers, Series
from isometry.history.run import Run
from isometry.network.architecture import Architecture
from isometry.network.signals import Signal

__all__ = ["trainings"]

LEARNING = ((Signal.UPDATE, "applied"), (Signal.WEIGHT_GRADIENT, "count"), (Signal.DELTA, "count"))
"""Columns that tell in which steps a layer was trained, or passed a gradient on."""
STATES = frozenset({"formats", "loss_scale", "zero_rate"})
"""Events that hold until the next one of their kind."""
OF_THE_RUN = frozenset({"places", "trouble", "end", "no_gradient"})
"""Events that are no matter of one step."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Networks, as sets of layers, and the steps between which they were trained."""

    first: int
    last: int
    layers: frozenset[int]


def trainings(run: Run) -> tuple[Run, ...]:
    """The trainings that a run holds, in their order; the run itself where it is one training.

    Two trainings are told apart where the networks share no layer, no connection and no optimiser, and the one was
    trained for the last time before the other was for the first. Numbers of steps stay those of the run. Layers that
    were never trained belong to every training.
    """
    spans = _spans(run)
    if len(spans) < 2:
        return (run,)
    trained = frozenset().union(*(span.layers for span in spans))
    idle = frozenset(range(len(run.architecture))) - trained
    starts = [0, *(span.first for span in spans[1:]), max(run.history.total_steps, spans[-1].last + 1)]
    return tuple(
        _part(run, np.array(sorted(span.layers | idle)), start, stop)
        for span, (start, stop) in zip(spans, pairwise(starts), strict=True)
    )


def _spans(run: Run) -> list[_Span]:
    """Networks that were trained at different times; those whose times overlap are taken together."""
    learning = _learning(run)
    announced = {name: int(event["step"]) for event in reversed(_optimizers(run)) for name in event["parameters"]}
    spans: list[_Span] = []
    for network in _networks(run):
        layers = sorted(network)
        rows = np.flatnonzero(learning[:, layers].any(axis=1))
        steps = [announced[name] for k in layers for name in run.architecture.layers[k].parameters if name in announced]
        if not len(rows) or not steps:
            continue
        spans.append(_Span(min(steps), int(run.history.steps[rows[-1]]), network))
    merged: list[_Span] = []
    for span in sorted(spans, key=lambda span: span.first):
        if merged and span.first <= merged[-1].last:
            before = merged.pop()
            span = _Span(before.first, max(before.last, span.last), before.layers | span.layers)
        merged.append(span)
    return merged


def _learning(run: Run) -> NDArray[np.bool_]:
    """Whether a layer was trained in a recorded step. shape (recorded steps, layers)"""
    found = np.zeros((len(run.history.steps), len(run.architecture)), bool)
    for column in LEARNING:
        if column in run.history:
            found |= np.asarray(run.history[column]) > 0
    return found


def _optimizers(run: Run) -> list[dict[str, Any]]:
    return [event for event in run.history.events("optimizer") if event.get("parameters")]


def _networks(run: Run) -> list[frozenset[int]]:
    """Layers that hang together: by what they read, by a weight that they share, or by their optimiser."""
    architecture = run.architecture
    owners = {name: k for k, layer in enumerate(architecture) for name in layer.parameters}
    groups = [[owners[name] for name in event["parameters"] if name in owners] for event in _optimizers(run)]
    for k, layer in enumerate(architecture):
        named = (*layer.inputs, layer.tied_to, layer.norm, layer.branch)
        groups.append([k, *(architecture.index(name) for name in named if name and name in architecture)])
    network = list(range(len(architecture)))
    for group in groups:
        joined = {network[k] for k in group}
        network = [min(joined) if one in joined else one for one in network]
    return [frozenset(k for k, one in enumerate(network) if one == first) for first in sorted(set(network))]


def _part(run: Run, layers: Integers, start: int, stop: int) -> Run:
    """What the run holds of some layers from one step to before another."""
    history = run.history
    rows = np.flatnonzero((history.steps >= start) & (history.steps < stop))

    def read(column: Column, chosen: Integers | None) -> Floats:
        return np.array(history.rows(column, rows if chosen is None else rows[chosen])[:, layers])

    architecture = replace(run.architecture, layers=tuple(run.architecture.layers[k] for k in layers))
    part = History(
        history.steps[rows],
        history.columns,
        read,
        scalars={name: _cut(series, start, stop) for name, series in history.scalars.items()},
        events={kind: list(_events(history, kind, architecture, start, stop)) for kind in history.event_kinds},
        notes=history.notes,
        begin=start,
    )
    return replace(run, architecture=architecture, history=part)


def _cut(series: Series, start: int, stop: int) -> Series:
    inside = (series.steps >= start) & (series.steps < stop)
    return Series(series.steps[inside], series.values[inside])


def _events(history: History, kind: str, architecture: Architecture, start: int, stop: int) -> Iterator[dict[str, Any]]:
    """Events of one kind as far as they concern these layers and steps."""
    owned = {name for layer in architecture for name in layer.parameters}
    for event in history.events(kind):
        began = kind in STATES or event.get("step", start) >= start
        if kind not in OF_THE_RUN and not (began and event.get("step", start) < stop):
            continue
        if event.get("layer") and event["layer"] not in architecture:
            continue
        if kind == "end":
            event = event | {"steps": stop - start}
        elif kind == "no_gradient":
            event = event | {"parameters": [entry for entry in event["parameters"] if entry.get("name") in owned]}
        elif kind == "optimizer" and event.get("parameters") and owned.isdisjoint(event["parameters"]):
            continue
        yield event
