"""Units that are dead or saturated."""

from typing import Any

from .case import Family, Ladder, Sick
from .recipes import conv, dense, recurrent

__all__ = ["FAMILIES", "LADDERS"]

COLLAPSE = ("learning_rate_too_high", "loss_spike", "loss_not_decreasing")

SGD: dict[str, Any] = {"optimizer": "sgd", "rate": 0.05}

FAMILIES = [
    Family(
        "ReLU MLP 3 × 64, SGD, digits",
        dense,
        0.9,
        {"depth": 3, **SGD},
        (
            Sick("dead_units", "bias", -5.0, ("poor_initialization", "vanishing_gradient")),
            Sick("dead_units", "init", "negative", ("poor_initialization", "vanishing_gradient")),
        ),
    ),
    Family(
        "ReLU MLP 2 × 32, Adam, digits",
        dense,
        0.9,
        {"depth": 2, "width": 32},
        (Sick("dead_units", "bias", -10.0, ("poor_initialization", "vanishing_gradient")),),
    ),
    Family(
        "ReLU MLP 4 × 64, momentum, digits, rate",
        dense,
        0.9,
        {"depth": 4, "optimizer": "momentum", "rate": 0.02},
        (
            Sick("dead_units", "rate", 1.0, ("non_finite", "exploding_gradient", *COLLAPSE)),
            Sick("dead_units", "rate", 0.5, ("non_finite", "exploding_gradient", *COLLAPSE)),
        ),
    ),
    Family(
        "narrow MLP 20 × 4, Adam, circles",
        dense,
        0.8,
        {
            "data": "circles",
            "depth": 20,
            "width": 4,
            "activation": "leaky_relu",
            "rate": 3e-3,
            "steps": 600,
        },
        (Sick("dead_units", "activation", "relu", ("vanishing_gradient", "poor_initialization")),),
    ),
    Family(
        "ReLU CNN, SGD, digits",
        conv,
        0.9,
        {"depth": 3, **SGD},
        (Sick("dead_units", "bias", -6.0, ("poor_initialization", "vanishing_gradient")),),
    ),
    Family(
        "ReLU on the output, Adam, diabetes",
        dense,
        -0.6,
        {"data": "diabetes", "depth": 2, "rate": 3e-3, "target_shift": -3.0},
        # That the targets lie where a ReLU cannot reach is D103, of the problem unscaled_input.
        (Sick("dead_units", "last", "relu", ("loss_not_decreasing", "unscaled_input")),),
    ),
    Family(
        "ReLU6 MLP 3 × 64, Adam, digits",
        dense,
        0.9,
        {"depth": 3, "activation": "relu6"},
        (Sick("dead_units", "bias", -8.0, ("saturated_activation", "poor_initialization", "vanishing_gradient")),),
    ),
    Family(
        "tanh MLP 4 × 128, momentum, digits",
        dense,
        0.9,
        {"depth": 4, "width": 128, "activation": "tanh", "init": "lecun", "optimizer": "momentum", "rate": 0.01},
        (
            Sick("saturated_activation", "init", "normal", ("poor_initialization", "exploding_gradient")),
            Sick("saturated_activation", "gain", 30.0, ("poor_initialization", "exploding_gradient")),
            Sick("saturated_activation", "input_scale", 300.0, ("unscaled_input",)),
            Sick("saturated_activation", "bias", 6.0, ("poor_initialization", "vanishing_gradient")),
        ),
    ),
    Family(
        "sigmoid MLP 2 × 64, Adam, digits",
        dense,
        0.9,
        {"depth": 2, "activation": "sigmoid", "init": "xavier", "rate": 5e-3},
        (
            Sick("saturated_activation", "gain", 60.0, ("poor_initialization", "exploding_gradient")),
            Sick("saturated_activation", "bias", -12.0, ("poor_initialization", "vanishing_gradient")),
            Sick("saturated_activation", "input_scale", 1000.0, ("unscaled_input",)),
        ),
    ),
    Family(
        "hardtanh MLP 4 × 64, SGD, digits",
        dense,
        0.9,
        {"depth": 4, "activation": "hardtanh", "init": "lecun", **SGD},
        (
            Sick(
                "saturated_activation",
                "gain",
                40.0,
                ("poor_initialization", "exploding_gradient", "vanishing_gradient"),
            ),
            Sick("saturated_activation", "bias", 5.0, ("poor_initialization", "vanishing_gradient")),
        ),
    ),
    Family(
        "tanh CNN, momentum, digits",
        conv,
        0.9,
        {"depth": 3, "activation": "tanh", "init": "lecun", "optimizer": "momentum", "rate": 0.02},
        (
            Sick("saturated_activation", "init", "normal", ("poor_initialization", "exploding_gradient")),
            Sick("saturated_activation", "input_shift", 200.0, ("unscaled_input",)),
        ),
    ),
    Family(
        "RNN 8 steps, SGD, first symbol",
        recurrent,
        0.9,
        {"length": 8, "optimizer": "momentum", "rate": 0.05, "gain": 1.0, "steps": 400},
        (Sick("saturated_activation", "input_gain", 80.0, ("poor_initialization", "vanishing_gradient")),),
    ),
    Family(
        "tanh on the output, Adam, diabetes",
        dense,
        -0.6,
        {"data": "diabetes", "depth": 2, "rate": 3e-3, "last": "tanh"},
        (
            Sick("saturated_activation", "head_gain", 200.0, ("poor_initialization",)),
            Sick("saturated_activation", "target_shift", 8.0, ("unscaled_input", "loss_not_decreasing")),
        ),
    ),
]

LADDERS = [
    Ladder(
        "ReLU MLP 3 × 64, SGD, digits",
        "dead_units",
        dense,
        0.9,
        "bias",
        (0.0, -0.5, -1.0, -2.0, -4.0, -8.0),
        {"depth": 3, **SGD},
        ("poor_initialization", "vanishing_gradient"),
    ),
    Ladder(
        "tanh MLP 4 × 128, momentum, digits",
        "saturated_activation",
        dense,
        0.9,
        "gain",
        (1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
        {"depth": 4, "width": 128, "activation": "tanh", "init": "lecun", "optimizer": "momentum", "rate": 0.01},
        ("poor_initialization", "exploding_gradient"),
    ),
]
