"""Run folders for the tests of this room: small, deterministic, and damaged on purpose."""

from pathlib import Path

import numpy as np

from isometry.history.recorder import Recorder
from isometry.network.architecture import Architecture, Layer
from isometry.network.signals import Signal

DELTA_RMS = (Signal.DELTA, "rms")
DELTA_COUNT = (Signal.DELTA, "count")
WEIGHT_RMS = (Signal.WEIGHT, "rms")
COLUMNS = [DELTA_RMS, DELTA_COUNT, WEIGHT_RMS]


def network(*names: str) -> Architecture:
    """A chain of linear layers of those names."""
    layers = tuple(Layer(name=name, kind="linear", type="Linear", activation="tanh") for name in names)
    return Architecture(layers, model="Chain", framework="none", notes=("made for a test",))


def row(step: int, layers: int = 3) -> dict[tuple[str, str], np.ndarray]:
    """What is recorded in a step: numbers that name their step and layer."""
    return {DELTA_RMS: step + np.arange(layers) / 10, DELTA_COUNT: np.full(layers, step + 1.0)}


def write_run(folder: Path, steps: int = 5) -> Path:
    """A run of three layers that ended well, with losses and an event."""
    with Recorder(folder, provenance={"seed": 7}) as recorder:
        recorder.begin(network("a", "b", "c"), COLUMNS)
        for step in range(steps):
            recorder.record(step, row(step))
            recorder.scalar(step, "loss", 1 / (step + 1))
        recorder.event("alarm", 2, words="the loss rose")
        recorder.event("end", steps, steps=steps, recorded=steps, cost=0.01, elapsed=1.0, ending="finished")
    return folder
