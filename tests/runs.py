"""Draws a synthetic run in three lines, without a framework."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from isometry.history.history import Column, History, Series
from isometry.history.run import Run
from isometry.network.architecture import Architecture, Layer
from isometry.network.signals import Signal

SIGNALS = sorted(Signal, key=lambda signal: len(signal), reverse=True)


def make_run(
    *,
    steps: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    layers: Sequence[Layer] | None = None,
    activation: str | None = None,
    scalars: Mapping[str, Series | ArrayLike] | None = None,
    events: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    provenance: Mapping[str, Any] | None = None,
    **columns: ArrayLike,
) -> Run:
    """A run in memory.

    Args:
        steps: numbers of the recorded steps; 0, 1, 2 … if not given.
        names: of the layers; fc1, fc2 … if not given.
        layers: in full, instead of names.
        activation: of every layer but the last, where ``layers`` are not given.
        scalars: as ``History.from_arrays`` takes them: ``{"loss": values}`` from step 0 on.
        events: by kind: ``{"optimizer": [{"step": 0, "name": "Adam"}]}``.
        provenance: as a recorder would be given it.
        **columns: ``delta_rms``, ``weight_gradient_abs_max`` …; shape (steps, layers), or (layers,) for the same in
            every step, or one number for all.
    """
    given = {_column(name): np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    recorded, width = _shape(given, steps, layers if layers is not None else names)
    if layers is None:
        layers = _chain(names or [f"fc{i + 1}" for i in range(width)], activation)
    history = History.from_arrays(
        steps=np.arange(recorded) if steps is None else steps,
        columns={key: np.broadcast_to(values, (recorded, width)).copy() for key, values in given.items()},
        scalars=scalars,
        events=events,
    )
    return Run(Architecture(tuple(layers), model="Drawn", framework="none"), history, dict(provenance or {}))


def _column(name: str) -> Column:
    for signal in SIGNALS:
        if name.startswith(f"{signal}_"):
            return signal, name.removeprefix(f"{signal}_")
    raise ValueError(f"{name}: begins with no signal's name")


def _shape(given: Mapping[Column, Any], steps: Sequence[int] | None, layers: Sequence[Any] | None) -> tuple[int, int]:
    shapes = [values.shape for values in given.values()]
    recorded = len(steps) if steps is not None else max((shape[0] for shape in shapes if len(shape) == 2), default=1)
    width = len(layers) if layers is not None else max((shape[-1] for shape in shapes if shape), default=1)
    return recorded, width


def _chain(names: Sequence[str], activation: str | None) -> list[Layer]:
    return [
        Layer(
            name=name,
            kind="linear",
            type="Linear",
            parameters=(f"{name}.weight", f"{name}.bias"),
            weight_shape=(64, 64),
            fan_in=64,
            fan_out=64,
            activation=None if i == len(names) - 1 else activation,
            inputs=(names[i - 1] if i else "",),
            output=i == len(names) - 1,
        )
        for i, name in enumerate(names)
    ]
