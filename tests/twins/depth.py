"""Signals that vanish or explode along depth or through time, and initialisations that never let a net start."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from . import data as sets
from .case import Family, Ladder, Sick, Training
from .nets import stack
from .recipes import conv, dense, fit, recurrent

__all__ = ["FAMILIES", "LADDERS"]

INIT = ("poor_initialization",)
"""A vanishing signal whose cause is the draw may be told by either name."""
BLOWN = ("poor_initialization", "non_finite", "learning_rate_too_high")


def deep_linear(*, factor: float = 1.0, depth: int = 152, width: int = 16, rate: float = 1e-2) -> Training:
    """W = factor · I in every layer of a deep linear net: fit the identity map of random points."""
    layers = [nn.Linear(width, width, bias=False) for _ in range(depth)]
    for layer in layers:
        with torch.no_grad():
            layer.weight.copy_(factor * torch.eye(width))
    x = torch.randn(256, width)
    y = x.roll(1, dims=1) * 0.5 + 0.5 * x
    model = nn.Sequential(*layers)

    def score() -> float:
        with torch.no_grad():
            return -float(functional.mse_loss(model(x), y))

    return fit(
        model,
        x,
        y,
        optimizer="sgd",
        rate=rate,
        steps=150,
        batch=32,
        loss_fn=functional.mse_loss,
        score=score,
    )


def autoencoder(
    *, activation: str = "tanh", depth: int = 3, optimizer: str = "momentum", rate: float = 0.05
) -> Training:
    """64 → 32 … → 8 → … 32 → 64, squared error over variance."""
    x, _ = sets.digits()
    coder = stack(64, 8, depth=depth, width=32, activation=activation)
    decoder = stack(8, 64, depth=depth, width=32, activation=activation)
    model = nn.Sequential(coder, decoder)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)

    def score() -> float:
        with torch.no_grad():
            return -float(functional.mse_loss(model(x), x) / x.var())

    return fit(model, x, x, optimizer=optimizer, rate=rate, steps=400, loss_fn=functional.mse_loss, score=score)


SGD: dict[str, Any] = {"optimizer": "momentum", "rate": 0.01}

FAMILIES = [
    Family(
        "MLP 8 × 64, momentum, digits",
        dense,
        0.9,
        {"depth": 8, **SGD},
        (
            Sick("vanishing_gradient", "activation", "sigmoid"),
            Sick("vanishing_gradient", "activation", "hardsigmoid"),
            Sick("exploding_gradient", "gain", 4.0, BLOWN),
            Sick("poor_initialization", "gain", 0.1, ("vanishing_gradient",)),
        ),
    ),
    Family(
        "MLP 10 × 64, Adam, digits",
        dense,
        0.9,
        {"depth": 10},
        (Sick("vanishing_gradient", "activation", "sigmoid"),),
    ),
    Family(
        "MLP 12 × 16, RMSprop, circles",
        dense,
        0.95,
        {"data": "circles", "depth": 12, "width": 16, "optimizer": "rmsprop"},
        (
            Sick("vanishing_gradient", "activation", "sigmoid"),
            Sick("exploding_gradient", "activation", "exp", ("non_finite", "poor_initialization")),
        ),
    ),
    Family(
        "sigmoid MLP, shallow or deep, Adam, digits",
        dense,
        0.85,
        {"depth": 1, "activation": "sigmoid", "init": "xavier", "rate": 3e-3},
        (Sick("vanishing_gradient", "depth", 7), Sick("vanishing_gradient", "depth", 15)),
    ),
    Family(
        "tanh MLP 10 × 64, momentum, digits",
        dense,
        0.9,
        {"depth": 10, "activation": "tanh", "init": "lecun", **SGD},
        (
            Sick("vanishing_gradient", "gain", 0.25, INIT),
            Sick("poor_initialization", "init", "zeros", ("vanishing_gradient",)),
            Sick("vanishing_gradient", "activation", "sigmoid"),
        ),
    ),
    Family(
        "ReLU MLP 30 × 64, momentum, digits",
        dense,
        0.5,
        {"depth": 30, "width": 64, "optimizer": "momentum", "rate": 0.005, "steps": 300},
        (
            Sick("vanishing_gradient", "init", "default", INIT),
            Sick("poor_initialization", "init", "xavier", ("vanishing_gradient",)),
            Sick("vanishing_gradient", "activation", "sigmoid"),
        ),
    ),
    Family(
        "linear 152 × 16, SGD",
        deep_linear,
        -0.05,
        {"rate": 1e-3},
        (
            Sick("vanishing_gradient", "factor", 0.5, INIT),
            Sick("vanishing_gradient", "factor", 0.9, INIT),
            Sick("exploding_gradient", "factor", 1.1, BLOWN),
            Sick("exploding_gradient", "factor", 1.5, BLOWN),
        ),
    ),
    Family(
        "CNN with six dense layers, Adam, digits",
        conv,
        0.9,
        {"depth": 2, "channels": 8, "extra": 6},
        (Sick("vanishing_gradient", "extra_activation", "sigmoid"),),
    ),
    Family(
        "plain CNN 16, momentum, digits",
        conv,
        0.85,
        {"depth": 16, "channels": 8, **SGD},
        (
            Sick("vanishing_gradient", "activation", "sigmoid"),
            Sick("vanishing_gradient", "init", "default", INIT),
            Sick("poor_initialization", "gain", 0.3, ("vanishing_gradient",)),
            Sick("exploding_gradient", "gain", 2.0, BLOWN),
        ),
    ),
    Family(
        "layer norm around sigmoid, 12 × 64, momentum, digits",
        dense,
        0.9,
        {"depth": 12, "activation": "sigmoid", "init": "xavier", "norm": "layer after", **SGD},
        (Sick("vanishing_gradient", "norm", "layer before"), Sick("vanishing_gradient", "norm", None)),
    ),
    Family(
        "autoencoder 64-8-64, momentum, digits",
        autoencoder,
        -0.4,
        {},
        (Sick("vanishing_gradient", "activation", "sigmoid"),),
    ),
    Family(
        "tanh MLP 12 × 32, SGD, diabetes",
        dense,
        -0.55,
        {
            "data": "diabetes",
            "depth": 12,
            "width": 32,
            "activation": "tanh",
            "init": "lecun",
            "optimizer": "sgd",
            "rate": 0.02,
        },
        (
            Sick("vanishing_gradient", "gain", 0.3, INIT),
            Sick("vanishing_gradient", "activation", "sigmoid"),
        ),
    ),
    Family(
        "residual MLP 40 × 32, momentum, digits",
        dense,
        0.6,
        {"depth": 40, "width": 32, "skip": True, "branch": 0.1, "optimizer": "momentum", "rate": 0.003},
        (Sick("exploding_gradient", "branch", 1.0, BLOWN),),
    ),
    Family(
        "batch norm 40 × 32, SGD, digits",
        dense,
        0.85,
        {"depth": 40, "width": 32, "norm": "batch", "skip": True, "optimizer": "sgd", "rate": 0.05, "steps": 200},
        (Sick("exploding_gradient", "skip", False, ("learning_rate_too_high",)),),
    ),
    Family(
        "tanh MLP 20 × 64, SGD, digits",
        dense,
        0.9,
        {
            "depth": 20,
            "activation": "tanh",
            "init": "lecun",
            "gain": 1.1,
            "optimizer": "sgd",
            "rate": 0.02,
        },
        (Sick("exploding_gradient", "gain", 5.0, ("saturated_activation", *BLOWN)),),
    ),
    Family(
        "leaky ReLU MLP 20 × 32, momentum, wine",
        dense,
        0.95,
        {
            "data": "wine",
            "depth": 20,
            "width": 32,
            "activation": "leaky_relu",
            "batch": 32,
            "optimizer": "momentum",
            "rate": 3e-3,
        },
        (
            Sick("exploding_gradient", "gain", 3.0, BLOWN),
            Sick("poor_initialization", "gain", 0.2, ("vanishing_gradient",)),
        ),
    ),
    Family(
        "RNN 40 steps, Adam, first symbol",
        recurrent,
        0.6,
        {"length": 40, "gain": 1.0, "steps": 400},
        (
            Sick("vanishing_gradient", "gain", 0.05, INIT),
            Sick("exploding_gradient", "gain", 3.0, ("saturated_activation", *BLOWN)),
        ),
    ),
    Family(
        "RNN, short or long memory, Adam, first symbol",
        recurrent,
        0.9,
        {"length": 5, "steps": 400},
        (Sick("vanishing_gradient", "length", 60),),
    ),
    Family(
        "ReLU RNN 10 steps, Adam, first symbol",
        recurrent,
        0.9,
        {"length": 10, "nonlinearity": "relu", "gain": 1.0, "rate": 1e-3, "steps": 400},
        (Sick("vanishing_gradient", "gain", 0.1, INIT),),
    ),
    Family(
        "LSTM 40 steps, Adam, first symbol",
        recurrent,
        0.9,
        {"cell": "lstm", "length": 40, "forget_bias": 4.0, "gain": 1.0, "rate": 2e-2, "steps": 500},
        (Sick("vanishing_gradient", "forget_bias", -4.0, ("saturated_activation", "poor_initialization")),),
    ),
    Family(
        "ReLU MLP 10 × 64, Adam, digits, first draw",
        dense,
        0.9,
        {"depth": 10, "rate": 3e-4},
        (
            Sick("poor_initialization", "init", "zeros", ("vanishing_gradient", "dead_units")),
            Sick("poor_initialization", "init", "constant", ("exploding_gradient",)),
            Sick("poor_initialization", "head_gain", 1000.0),
        ),
    ),
    Family(
        "ReLU MLP 6 × 64, SGD, digits, N(0, σ²)",
        dense,
        0.9,
        {"depth": 6, "init": "normal", "gain": 0.17, "optimizer": "sgd", "rate": 0.03},
        (
            Sick("poor_initialization", "gain", 0.01, ("vanishing_gradient",)),
            Sick("poor_initialization", "gain", 0.05, ("vanishing_gradient",)),
            Sick("poor_initialization", "gain", 1.0, ("exploding_gradient", "non_finite", "learning_rate_too_high")),
        ),
    ),
    Family(
        "MLP 2 × 64, momentum, digits, symmetry",
        dense,
        0.9,
        {"depth": 2, "init": "xavier", **SGD},
        (
            Sick("poor_initialization", "init", "constant", ("exploding_gradient",)),
            Sick("poor_initialization", "init", "zeros", ("vanishing_gradient", "dead_units")),
        ),
    ),
]

LADDERS = [
    Ladder(
        "sigmoid MLP × 64, Adam, digits",
        "vanishing_gradient",
        dense,
        0.85,
        "depth",
        (1, 2, 3, 4, 6, 10),
        {"activation": "sigmoid", "init": "xavier", "rate": 3e-3},
    ),
    Ladder(
        "ReLU MLP 10 × 64, momentum, digits",
        "poor_initialization",
        dense,
        0.85,
        "gain",
        (0.05, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5, 4.0),
        {"depth": 10, **SGD},
        ("vanishing_gradient", "exploding_gradient", "non_finite", "learning_rate_too_high"),
    ),
    Ladder(
        "residual MLP 40 × 32, momentum, digits",
        "exploding_gradient",
        dense,
        0.85,
        "branch",
        (0.0, 0.1, 0.2, 0.4, 0.7, 1.0),
        {"depth": 40, "width": 32, "skip": True, "optimizer": "momentum", "rate": 0.003},
        BLOWN,
    ),
    Ladder(
        "RNN, Adam, first symbol",
        "vanishing_gradient",
        recurrent,
        0.9,
        "length",
        (3, 10, 20, 40, 80),
        {"steps": 400},
        INIT,
    ),
]
