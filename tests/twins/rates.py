"""Learning rates too high and too low, inputs and targets out of scale."""

from typing import Any

from torch import nn
from torch.nn import functional

from . import data as sets
from .case import Family, Ladder, Sick, Training
from .recipes import conv, dense, fit, recurrent, transformer

__all__ = ["FAMILIES", "LADDERS"]

HIGH = ("non_finite", "dead_units", "exploding_gradient", "loss_not_decreasing", "saturated_activation")
LOW = ("loss_not_decreasing",)
UNSCALED = ("learning_rate_too_high", "exploding_gradient", "non_finite", "dead_units", "saturated_activation")


def linear(
    *, data: str = "wine", raw: bool = False, optimizer: str = "sgd", rate: float = 0.1, steps: int = 300
) -> Training:
    """Softmax regression."""
    x, y = getattr(sets, data)(raw=raw) if raw else getattr(sets, data)()
    return fit(nn.Linear(x.shape[1], int(y.max()) + 1), x, y, optimizer=optimizer, rate=rate, batch=32, steps=steps)


def regression(
    *,
    column_scale: float = 1.0,
    target_scale: float = 1.0,
    target_shift: float = 0.0,
    optimizer: str = "sgd",
    rate: float = 0.02,
    steps: int = 400,
) -> Training:
    """A small net on diabetes, one column of which may be in other units."""
    x, y = sets.diabetes()
    x = x.clone()
    x[:, 2] *= column_scale
    y = y * target_scale + target_shift
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))

    def score() -> float:
        return -float(functional.mse_loss(model(x), y).detach() / y.var())

    return fit(
        model, x, y, optimizer=optimizer, rate=rate, steps=steps, batch=32, loss_fn=functional.mse_loss, score=score
    )


PLAIN: dict[str, Any] = {"depth": 2, "init": "default"}

FAMILIES = [
    Family(
        "MLP 2 × 64, SGD, digits, rate",
        dense,
        0.9,
        {**PLAIN, "optimizer": "sgd", "rate": 0.2},
        (
            Sick("learning_rate_too_high", "rate", 5.0, HIGH),
            Sick("learning_rate_too_high", "rate", 30.0, HIGH),
            Sick("learning_rate_too_low", "rate", 1e-5, LOW),
            Sick("learning_rate_too_low", "rate", 1e-3, LOW),
        ),
    ),
    Family(
        "MLP 2 × 64, Adam, digits, rate",
        dense,
        0.9,
        {**PLAIN, "optimizer": "adam", "rate": 2e-3},
        (
            Sick("learning_rate_too_high", "rate", 1.0, HIGH),
            Sick("learning_rate_too_high", "rate", 0.3, HIGH),
            Sick("learning_rate_too_low", "rate", 1e-7, LOW),
            Sick("learning_rate_too_low", "rate", 1e-5, LOW),
        ),
    ),
    Family(
        "tanh MLP 3 × 64, momentum, digits, rate",
        dense,
        0.9,
        {"depth": 3, "activation": "tanh", "init": "lecun", "optimizer": "momentum", "rate": 0.02},
        (
            Sick("learning_rate_too_high", "rate", 3.0, HIGH),
            Sick("learning_rate_too_low", "rate", 1e-6, LOW),
        ),
    ),
    Family(
        "MLP 3 × 32, RMSprop, circles, rate",
        dense,
        0.95,
        {"data": "circles", "depth": 3, "width": 32, "optimizer": "rmsprop", "rate": 2e-3},
        (
            Sick("learning_rate_too_high", "rate", 0.5, HIGH),
            Sick("learning_rate_too_low", "rate", 1e-7, LOW),
        ),
    ),
    Family(
        "CNN, momentum, digits, rate",
        conv,
        0.9,
        {"depth": 3, "optimizer": "momentum", "rate": 0.02},
        (
            Sick("learning_rate_too_high", "rate", 1.0, HIGH),
            Sick("learning_rate_too_low", "rate", 1e-6, LOW),
        ),
    ),
    Family(
        "CNN with batch norm, Adam, digits, rate",
        conv,
        0.9,
        {"depth": 3, "norm": "batch", "optimizer": "adam", "rate": 3e-3},
        (Sick("learning_rate_too_low", "rate", 1e-7, LOW),),
    ),
    Family(
        "transformer, Adam, digits, rate",
        transformer,
        0.85,
        {"optimizer": "adam", "rate": 2e-3, "batch": 32, "steps": 250},
        (
            Sick("learning_rate_too_high", "rate", 0.2, HIGH),
            Sick("learning_rate_too_low", "rate", 1e-6, LOW),
        ),
    ),
    Family(
        "LSTM 6 steps, Adam, first symbol, rate",
        recurrent,
        0.9,
        {"cell": "lstm", "length": 6, "rate": 1e-2, "steps": 400},
        (
            Sick("learning_rate_too_high", "rate", 10.0, HIGH),
            Sick("learning_rate_too_low", "rate", 1e-6, LOW),
        ),
    ),
    Family(
        "MLP 2 × 32, SGD, diabetes, rate",
        regression,
        -0.6,
        {},
        (
            Sick("learning_rate_too_high", "rate", 1.0, HIGH),
            Sick("learning_rate_too_low", "rate", 1e-6, LOW),
        ),
    ),
    Family(
        "softmax regression, SGD, wine",
        linear,
        0.95,
        {},
        (
            Sick("learning_rate_too_low", "rate", 1e-5, LOW),
            Sick("unscaled_input", "raw", True, UNSCALED),
        ),
    ),
    Family(
        "softmax regression, SGD, cancer",
        linear,
        0.95,
        {"data": "cancer"},
        (Sick("unscaled_input", "raw", True, UNSCALED),),
    ),
    Family(
        "MLP 2 × 64, SGD, digits, input",
        dense,
        0.9,
        {**PLAIN, "optimizer": "sgd", "rate": 0.1},
        (
            Sick("unscaled_input", "input_scale", 255.0, UNSCALED),
            Sick("unscaled_input", "input_shift", 100.0, UNSCALED),
            Sick("unscaled_input", "input_scale", 1e-4, ("learning_rate_too_low", "poor_initialization", *LOW)),
        ),
    ),
    Family(
        "MLP 2 × 32, Adam, diabetes, input and target",
        regression,
        -0.6,
        {"optimizer": "adam", "rate": 3e-3},
        (
            Sick("unscaled_input", "column_scale", 1e4, UNSCALED),
            Sick("unscaled_input", "target_scale", 1e5, ("learning_rate_too_low", "exploding_gradient", *LOW)),
            Sick("unscaled_input", "target_shift", 1e4, ("learning_rate_too_low", "exploding_gradient", *LOW)),
        ),
    ),
    Family(
        "MLP 2 × 32, SGD, diabetes, input and target",
        regression,
        -0.6,
        {},
        (
            Sick("unscaled_input", "column_scale", 1e3, UNSCALED),
            Sick("unscaled_input", "target_scale", 1e3, UNSCALED),
        ),
    ),
    Family(
        "CNN, momentum, digits, input",
        conv,
        0.9,
        {"depth": 3, "optimizer": "momentum", "rate": 0.02},
        (
            Sick("unscaled_input", "input_scale", 100.0, UNSCALED),
            Sick("unscaled_input", "input_shift", 128.0, UNSCALED),
        ),
    ),
    Family(
        "MLP 3 × 32, Adam, circles, input",
        dense,
        0.95,
        {"data": "circles", "depth": 3, "width": 32},
        (Sick("unscaled_input", "input_shift", 1000.0, UNSCALED),),
    ),
    Family(
        "MLP 2 × 32, momentum, wine, raw",
        dense,
        0.95,
        {"data": "wine", "depth": 2, "width": 32, "optimizer": "momentum", "rate": 0.01, "batch": 32},
        (Sick("unscaled_input", "raw", True, UNSCALED),),
    ),
]

LADDERS = [
    Ladder(
        "MLP 2 × 64, SGD, digits",
        "learning_rate_too_high",
        dense,
        0.9,
        "rate",
        (0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
        {**PLAIN, "optimizer": "sgd"},
        HIGH,
    ),
    Ladder(
        "MLP 2 × 64, Adam, digits (high)",
        "learning_rate_too_high",
        dense,
        0.9,
        "rate",
        (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0),
        {**PLAIN, "optimizer": "adam"},
        HIGH,
    ),
    Ladder(
        "MLP 2 × 64, Adam, digits (low)",
        "learning_rate_too_low",
        dense,
        0.9,
        "rate",
        (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 1e-6),
        {**PLAIN, "optimizer": "adam"},
        LOW,
    ),
    Ladder(
        "MLP 2 × 64, SGD, digits, input",
        "unscaled_input",
        dense,
        0.9,
        "input_scale",
        (0.5, 1.0, 3.0, 10.0, 30.0, 100.0, 255.0),
        {**PLAIN, "optimizer": "sgd", "rate": 0.1},
        UNSCALED,
    ),
]
