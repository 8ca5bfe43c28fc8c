"""How far inputs and targets may be out of scale before a training suffers, measured.

The same small nets train on the same data, seeds and number of steps, with inputs (or targets) multiplied or shifted.
``worse`` is the share of what the scaled twin gained that the changed one did not gain. The table is what the limits on
input and target scale are read from.

Usage::

    python benchmarks/input_scale.py
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from loss_curves import binary, cancer, conv, cross_entropy, diabetes, digits, friedman, mlp, mse, standardised
from torch import Tensor, nn

STEPS = 300
SCALES = (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
SHIFTS = (1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=3e-3),
}


@dataclass(frozen=True)
class Task:
    name: str
    data: Callable[[], tuple[np.ndarray, np.ndarray]]
    build: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]


def pictures() -> tuple[np.ndarray, np.ndarray]:
    x, y = digits()
    return (x - x.mean()) / x.std(), y


TASKS = (
    Task("digits mlp", pictures, mlp(64, 64, 64, 10), cross_entropy),
    Task("digits tanh", pictures, mlp(64, 64, 64, 10, phi=nn.Tanh), cross_entropy),
    Task("digits conv", pictures, conv(norm=False), cross_entropy),
    Task("digits conv norm", pictures, conv(norm=True), cross_entropy),
    Task("cancer", cancer, mlp(30, 24, 24, 1), binary),
    Task("diabetes", diabetes, mlp(10, 32, 32, 1), mse),
    Task("friedman", lambda: (standardised(friedman()[0]), friedman()[1]), mlp(10, 64, 64, 1), mse),
)


def final(task: Task, optimiser: str, change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Loss at the start and at the end, on all data."""
    torch.manual_seed(0)
    x, y = (torch.as_tensor(part) for part in task.data())
    x, y = (part.float() if part.is_floating_point() else part for part in (x, y))
    net = task.build()
    x, y = change(x, y)
    step = OPTIMISERS[optimiser](net.parameters())
    spread = float(y.var()) if task.loss is mse else 1.0  # losses of scaled targets are told in their own unit
    start = float(task.loss(net(x), y).detach()) / spread
    for _ in range(STEPS):
        rows = torch.randint(len(x), (32,))
        step.zero_grad()
        task.loss(net(x[rows]), y[rows]).backward()
        step.step()
    with torch.no_grad():
        return start, float(task.loss(net(x), y)) / spread


def table(title: str, values: tuple[float, ...], change: Callable[[float], Callable], tasks: tuple[Task, ...]) -> None:
    print(f"\n{title}: worse by\n{'':24s}" + "".join(f"{value:8g}" for value in values))
    for task in tasks:
        for optimiser in OPTIMISERS:
            start, best = final(task, optimiser, lambda x, y: (x, y))
            ends = [final(task, optimiser, change(value))[1] for value in values]
            worse = [(end - best) / (start - best) if np.isfinite(end) else np.inf for end in ends]
            print(f"{task.name:18s} {optimiser:5s}" + "".join(f"{min(value, 99):8.2f}" for value in worse), flush=True)


def one_column(factor: float) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def change(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = x.clone()
        x[:, 0] *= factor
        return x, y

    return change


def main() -> int:
    torch.set_num_threads(1)
    regressions = tuple(task for task in TASKS if task.loss is mse)
    columns = tuple(task for task in TASKS if not task.name.startswith("digits"))
    table("inputs times", SCALES, lambda s: lambda x, y: (x * s, y), TASKS)
    table("inputs plus", SHIFTS, lambda s: lambda x, y: (x + s, y), TASKS)
    table("one column times", SCALES[6:], one_column, columns)
    table("targets times", SCALES, lambda s: lambda x, y: (x, y * s), regressions)
    table("targets plus", SHIFTS, lambda s: lambda x, y: (x, y + s), regressions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
