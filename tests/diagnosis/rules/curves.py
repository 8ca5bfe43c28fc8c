"""Loss curves and update ratios for the rules that read them, drawn with a fixed seed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.history.run import Run
from tests.runs import make_run

Values = NDArray[np.float64]

STEPS = 400
CROSS_ENTROPY = {"step": 0, "kind": "cross_entropy", "classes": 10, "targets": None, "outputs": None}
GUESSING = float(np.log(10))


def noisy(level: Values, *, noise: float = 0.05, seed: int = 0) -> Values:
    """A level with multiplicative batch noise."""
    return np.asarray(level * np.exp(noise * np.random.default_rng(seed).normal(size=len(level))))


def falling(end: float = 0.1, *, steps: int = STEPS, pace: float = 60.0, noise: float = 0.2) -> Values:
    """An ordinary training: exponential decay from guessing to a low level."""
    return noisy(end + (GUESSING - end) * np.exp(-np.arange(steps) / pace), noise=noise)


def flat(level: float = GUESSING, *, steps: int = STEPS, noise: float = 0.03) -> Values:
    return noisy(np.full(steps, level), noise=noise)


def trained(loss: Values, ratio: Any, *, kind: dict[str, Any] | None = CROSS_ENTROPY, **more: Any) -> Run:
    """A run of three layers with the given update ratio, one for all or one a step."""
    steps = len(loss)
    ratios = np.broadcast_to(np.asarray(ratio, np.float64).reshape(-1, 1), (steps, 3))
    events = {"loss_kind": [kind]} if kind else {}
    return make_run(
        update_rms=0.1 * ratios,
        weight_rms=0.1,
        scalars={"loss": loss, **more.pop("scalars", {})},
        events={**events, **more.pop("events", {})},
        **more,
    )
