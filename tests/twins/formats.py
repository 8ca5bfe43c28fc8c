"""Number formats: gradients too small, and values too large, for float16; weights too coarse for their updates."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import data as sets
from .case import Case, Family, Sick, Training
from .recipes import batches, optimizer_of

__all__ = ["FAMILIES", "ZOO", "computed"]

STUCK = ("loss_not_decreasing", "learning_rate_too_low", "no_gradient", "vanishing_gradient")
LOST = ("non_finite",)


def _net(name: str, units: int, classes: int) -> nn.Module:
    match name:
        case "relu" | "gelu" | "tanh" | "sigmoid":
            phi = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[name]
            widths = [units, *[48] * (8 if name == "sigmoid" else 3)]
            layers = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), phi())]
            return nn.Sequential(*layers, nn.Linear(48, classes))
        case "norm first":
            return nn.Sequential(
                nn.Linear(units, 48), nn.LayerNorm(48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, classes)
            )
        case "dead":
            net = _net("relu", units, classes)
            nn.init.constant_(net[2].bias, -30.0)
            return net
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(256, classes),
    )  # fmt: skip


def computed(
    *,
    net: str = "relu",
    format: str = "float16",
    weights: str = "float32",
    factor: float = 1.0,
    scaler: bool = False,
    scale: float = 1.0,
    optimizer: str = "momentum",
    rate: float = 0.02,
    steps: int = 200,
) -> Training:
    """A classifier of digits under autocast. Plain descent takes the same steps whatever factor the loss has."""
    x, y = sets.digits()
    x = x * scale
    held = getattr(torch, weights)
    model = _net(net, x.shape[1], 10).to(held)
    plain = optimizer not in {"adam", "adamw"}
    chosen = optimizer_of(optimizer, model.parameters(), rate / factor if plain else rate)
    scaling = torch.amp.GradScaler("cpu", enabled=scaler)
    picks = batches(len(x), 64, steps)

    def answers(rows: Tensor) -> Tensor:
        is_half = format != "float32"
        dtype = getattr(torch, format) if is_half else torch.bfloat16
        with torch.autocast("cpu", dtype=dtype, enabled=is_half and weights == "float32"):
            return model(rows.to(held)).float()

    def run() -> Iterator[float]:
        for pick in picks:
            chosen.zero_grad()
            loss = factor * functional.cross_entropy(answers(x[pick]), y[pick])
            scaling.scale(loss).backward()
            scaling.step(chosen)
            scaling.update()
            yield float(loss.detach())

    def score() -> float:
        with torch.no_grad():
            return float((answers(x).argmax(1) == y).double().mean())

    return Training(model, (chosen,), run(), score)


def _too_small(name: str, target: float = 0.8, **healthy: Any) -> Family:
    twins = tuple(Sick("precision_underflow", "factor", value, STUCK) for value in (1e-6, 1e-7))
    return Family(f"float16, {name}", computed, target, {"factor": 1.0, **healthy}, twins)


def _too_large(name: str, **fixed: Any) -> Family:
    twin = Sick("precision_overflow", "format", "float16", LOST)
    return Family(f"bfloat16, {name}", computed, 0.8, {"format": "bfloat16", **fixed}, (twin,))


FAMILIES = [
    _too_small("MLP"),
    _too_small("GELU", net="gelu", optimizer="nesterov"),
    _too_small("tanh, SGD", net="tanh", optimizer="sgd", rate=0.2),
    _too_small("convolutions", net="conv", steps=60, rate=0.05),
    _too_small("layer norm", net="norm first"),
    *(
        Family(
            f"weights, {name}",
            computed,
            target,
            {"weights": "float32", "format": "float32", "steps": 800, **knobs},
            (Sick("precision_underflow", "weights", "bfloat16", STUCK),),
        )
        for name, target, knobs in (
            ("Adam at 0.0001", 0.8, {"optimizer": "adam", "rate": 1e-4}),
            ("SGD at 0.003, GELU", 0.6, {"optimizer": "sgd", "rate": 3e-3, "net": "norm first"}),
            ("Adam at 0.0001, tanh", 0.8, {"optimizer": "adam", "rate": 1e-4, "net": "tanh"}),
        )
    ),
    _too_large("large inputs, layer norm", net="norm first", scale=1e6),
    _too_large("larger inputs, layer norm", net="norm first", scale=1e7),
    _too_large("loss times 1e7", factor=1e7),
    _too_large("loss times 1e8, tanh", factor=1e8, net="tanh"),
]

ZOO = [
    Case(f"float16 / {name}", None, lambda knobs=knobs: computed(**knobs), 0.8, family="float16")
    for name, knobs in {
        "GradScaler": {"scaler": True},
        "GradScaler, loss of 1e-6": {"scaler": True, "factor": 1e-6},
        "GradScaler, convolutions": {"scaler": True, "net": "conv", "steps": 60, "rate": 0.05},
        "GradScaler, loss times 1e4": {"scaler": True, "factor": 1e4},
        "GradScaler, tanh": {"scaler": True, "net": "tanh", "rate": 0.05},
        "Adam": {"optimizer": "adam", "rate": 2e-3},
        "bfloat16": {"format": "bfloat16"},
        "bfloat16, loss of 1e-7": {"format": "bfloat16", "factor": 1e-7},
        "float32, loss of 1e-7": {"format": "float32", "factor": 1e-7},
        "float32, inputs of 1e6": {"format": "float32", "net": "norm first", "scale": 1e6},
    }.items()
]
