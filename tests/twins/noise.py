"""Losses that are mostly noise, and losses that wait: regressions on rough targets, small batches, long plateaus."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .case import Case, Family, Sick, Training
from .nets import stack
from .recipes import accuracy, batches, fit, optimizer_of

__all__ = ["FAMILIES", "ZOO"]


@cache
def rough(noise: float, *, linear: bool = False) -> tuple[Tensor, Tensor]:
    """1,500 points of a smooth function (Friedman's first, or a plane) of variance 1, and noise on top."""
    random = np.random.default_rng(3)
    x = random.random((1500, 10))
    if linear:
        y = (x - 0.5) @ random.standard_normal(10)
    else:
        y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    y = (y - y.mean()) / y.std() + noise * random.standard_normal(len(y))
    x = (x - x.mean(0)) / x.std(0)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)[:, None]


def regression(
    *,
    noise: float = 1.0,
    linear: bool = False,
    depth: int = 2,
    batch: int = 8,
    fault: str | None = None,
    loss: str = "mse",
    optimizer: str = "adam",
    rate: float = 3e-3,
    steps: int = 400,
) -> Training:
    """Least squares on rough targets; scored by how much of their variance is gone, over what noise leaves."""
    x, y = rough(noise, linear=linear)
    model: nn.Module = stack(10, 1, depth=depth, width=32) if depth else nn.Linear(10, 1)
    chosen = optimizer_of(optimizer, model.parameters(), 0.0 if fault == "rate zero" else rate)
    loss_fn = {"mse": functional.mse_loss, "l1": functional.l1_loss, "huber": functional.smooth_l1_loss}[loss]

    def run() -> Iterator[float]:
        for pick in batches(len(x), batch, steps):
            inputs, targets = x[pick], y[pick]
            if fault == "targets of other samples":
                targets = y[torch.randint(len(y), (len(pick),))]
            if fault == "shapes":
                targets = targets[:, 0]
            if fault == "inputs of other samples":
                inputs = x[torch.randint(len(x), (len(pick),))]
            chosen.zero_grad()
            value = (model(inputs) - targets).square().mean() if fault == "shapes" else loss_fn(model(inputs), targets)
            value.backward()
            if fault != "step forgotten":
                chosen.step()
            yield value.item()

    def score() -> float:
        with torch.no_grad():
            return 1 - float(functional.mse_loss(model(x), y) / y.var())

    return Training(model, (chosen,), run(), score)


def parity(
    *, bits: int = 2, rate: float = 0.03, optimizer: str = "momentum", fault: str | None = None, steps: int = 500
) -> Training:
    """The sign of a product of coordinates: the loss waits before it falls."""
    random = torch.Generator().manual_seed(5)
    x = torch.randn(1024, 8, generator=random)
    y = (x[:, :bits].prod(1) > 0).long()
    if fault == "labels at random":
        y = torch.randint(2, y.shape, generator=random)
    model = stack(8, 2, depth=2, width=64, activation="tanh")
    true = (x[:, :bits].prod(1) > 0).long()
    return fit(
        model, x, y, optimizer=optimizer, rate=rate, batch=32, steps=steps, score=lambda: accuracy(model, x, true)
    )


BROKEN = ("no_gradient",)

FAMILIES = [
    Family(
        "rough targets, batches of 8, Adam",
        regression,
        0.3,
        {},
        (
            Sick("loss_not_decreasing", "fault", "targets of other samples"),
            Sick("loss_not_decreasing", "fault", "inputs of other samples"),
            Sick("loss_not_decreasing", "fault", "shapes"),
            Sick("loss_not_decreasing", "fault", "rate zero", ("learning_rate_too_low",)),
            Sick("loss_not_decreasing", "fault", "step forgotten", ("learning_rate_too_low",)),
        ),
    ),
    Family(
        "rough targets, batches of 16, SGD, absolute error",
        regression,
        0.25,
        {"batch": 16, "loss": "l1", "optimizer": "momentum", "rate": 0.01},
        (
            Sick("loss_not_decreasing", "fault", "targets of other samples"),
            Sick("loss_not_decreasing", "fault", "step forgotten", ("learning_rate_too_low",)),
        ),
    ),
    Family(
        "rough plane, batches of 4, SGD",
        regression,
        0.3,
        {"batch": 4, "linear": True, "depth": 0, "optimizer": "sgd", "rate": 0.02, "steps": 600},
        (
            Sick("loss_not_decreasing", "fault", "targets of other samples"),
            Sick("loss_not_decreasing", "fault", "rate zero", ("learning_rate_too_low",)),
        ),
    ),
    Family(
        "rough targets, batches of 8, Huber, momentum",
        regression,
        0.4,
        {"noise": 0.7, "loss": "huber", "optimizer": "momentum", "rate": 0.02, "steps": 300},
        (Sick("loss_not_decreasing", "fault", "targets of other samples"),),
    ),
    Family(
        "sign of a product, momentum",
        parity,
        0.9,
        {},
        (
            Sick("loss_not_decreasing", "fault", "labels at random"),
            Sick("loss_not_decreasing", "rate", 1e-3, ("learning_rate_too_low",)),
        ),
    ),
]

ZOO = [
    Case(f"zoo / {name}", None, build, target, family="zoo")
    for name, target, build in (
        ("faint signal, batches of 8", 0.1, lambda: regression(noise=2.0, steps=600, rate=2e-3)),
        ("faint signal, batches of 32", 0.1, lambda: regression(noise=2.0, batch=32, steps=400, rate=2e-3)),
        ("plane learned within ten steps, batches of 8", 0.3, lambda: regression(linear=True, depth=0, rate=0.1)),
        ("plane learned at once, batches of 32", 0.3,
         lambda: regression(linear=True, depth=0, rate=0.3, optimizer="sgd", batch=32, steps=300)),
        ("faint plane, absolute error, batches of 4", 0.1,
         lambda: regression(noise=2.0, linear=True, depth=0, loss="l1", batch=4, rate=0.02, steps=500)),
        ("rough targets, one sample at a time", 0.25,
         lambda: regression(batch=1, optimizer="sgd", rate=3e-3, steps=2000)),
        ("sign of a product, Adam", 0.9, lambda: parity(optimizer="adam", rate=3e-3)),
        ("sign of a product of three, a long wait", 0.9,
         lambda: parity(bits=3, optimizer="adam", rate=3e-3, steps=900)),
    )
]  # fmt: skip
