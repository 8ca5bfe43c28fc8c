"""Pictures as they come out of a file, 0 to 255, and the same divided by 255 or standardised."""

import torch
from torch import Tensor, nn

from . import data as sets
from .case import Case, Family, Sick, Training
from .recipes import fit

__all__ = ["FAMILIES", "ZOO"]


def pictures(scale: float | str, *, size: int = 16) -> tuple[Tensor, Tensor]:
    """Digits as pictures of 0 to 255, times a factor or standardised. shape (1797, 1, size, size)"""
    x, y = sets.images()
    x = (x - x.min()) / (x.max() - x.min()) * 255
    x = nn.functional.interpolate(x, size=size, mode="bilinear").round()
    return ((x - x.mean()) / x.std() if scale == "standard" else x * float(scale)), y


def seen(
    *,
    scale: float | str = "standard",
    kind: str = "mlp",
    activation: str = "relu",
    norm: bool = False,
    optimizer: str = "adam",
    rate: float = 1e-3,
    steps: int = 150,
    size: int = 16,
) -> Training:
    """A dense or convolutional classifier of pictures."""
    x, y = pictures(scale, size=size)
    phi = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU}[activation]
    layers: list[nn.Module] = []
    if kind == "mlp":
        layers += [nn.Flatten(), nn.Linear(size * size, 128), *([nn.BatchNorm1d(128)] if norm else []), phi()]
        layers += [nn.Linear(128, 64), phi(), nn.Linear(64, 10)]
    else:
        layers += [nn.Conv2d(1, 12, 3, stride=2), *([nn.BatchNorm2d(12)] if norm else []), phi()]
        layers += [nn.Conv2d(12, 24, 3, stride=2), phi(), nn.Flatten()]
        with torch.no_grad():
            features = nn.Sequential(*layers)(x[:2]).shape[1]
        layers += [nn.Linear(features, 10)]
    return fit(nn.Sequential(*layers), x, y, optimizer=optimizer, rate=rate, steps=steps, batch=32)


HURT = ("learning_rate_too_high", "exploding_gradient", "non_finite", "dead_units", "saturated_activation")

FAMILIES = [
    Family("pictures, MLP, SGD", seen, 0.9, {"optimizer": "sgd", "rate": 0.05, "steps": 250},
           (Sick("unscaled_input", "scale", 1.0, HURT),)),
    Family("pictures, MLP, momentum", seen, 0.9, {"optimizer": "momentum", "rate": 0.01, "steps": 250},
           (Sick("unscaled_input", "scale", 1.0, HURT),)),
    Family("pictures, tanh MLP, Adam", seen, 0.95, {"activation": "tanh"},
           (Sick("unscaled_input", "scale", 1.0, HURT),)),
    Family("pictures, sigmoid MLP, Adam", seen, 0.85, {"activation": "sigmoid", "rate": 3e-3, "steps": 200},
           (Sick("unscaled_input", "scale", 1.0, HURT),)),
    Family("pictures, CNN, momentum", seen, 0.85, {"kind": "cnn", "optimizer": "momentum", "rate": 0.02, "steps": 250},
           (Sick("unscaled_input", "scale", 1.0, HURT),)),
]  # fmt: skip

ZOO = [
    Case(f"zoo / {name}", None, build, target, family="zoo")
    for name, target, build in (
        ("pictures from 0 to 1, MLP, Adam", 0.85, lambda: seen(scale=1 / 255, rate=3e-3)),
        ("pictures from 0 to 1, CNN, Adam", 0.85, lambda: seen(scale=1 / 255, kind="cnn", rate=5e-3, steps=200)),
        ("pictures from 0 to 255 into batch norm", 0.85,
         lambda: seen(scale=1.0, kind="cnn", norm=True, rate=5e-3, steps=200)),
    )
]  # fmt: skip
