"""How far does the curvature at the first step tell which learning rate a network can be trained at?

Small networks are trained at rates that double from 1/256 to 64 times 2 (1 − β) / λ, with λ the largest eigenvalue of
the Hessian of the loss on the first batch, before the first step. Of a quadratic loss, gradient descent without
momentum diverges beyond that; with momentum β its effective rate is rate / (1 − β). A rate *trains* if the loss of the
last steps has come at least half of the way from that of guessing to the lowest of all rates. Beside it stands the rate
whose first step changes the weights by a fiftieth of their size, momentum built up.

Usage::

    python benchmarks/curvature.py [--seeds 1] [--steps 200] [--write docs/curvature.md]
"""

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from isometry.adapters.torch.curvature import sharpness_of
from isometry.treatment.paces import CURVED, FITTING

DOUBLINGS = range(-8, 7)
MOMENTA = (0.0, 0.9)
LAST = 0.1
"""Part of the steps whose loss counts."""
TRAINED = 0.8
"""Of the loss of guessing: a network that does not come below at any rate says nothing of rates."""

Data = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


# Data -----------------------------------------------------------------------------------------------------------------


@cache
def labelled() -> Data:
    """20 numbers, and which of 5 outputs of a random network with one hidden layer is the largest."""
    inputs, outputs = taught(5)
    return inputs, outputs.argmax(-1)


@cache
def taught(size: int = 3) -> Data:
    """20 numbers and what a random network with one hidden layer makes of them, of mean 0 and deviation 1."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2048, 20, generator=generator)
    hidden = torch.tanh(inputs @ torch.randn(20, 30, generator=generator) / 20**0.5 * 1.5)
    outputs = hidden @ torch.randn(30, size, generator=generator)
    return inputs, (outputs - outputs.mean(0)) / outputs.std(0)


@cache
def bars() -> Data:
    """Noisy images of 8 by 8 pixels with a bar in one of four directions."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 4, (2048,), generator=generator)
    shifts = torch.rand(2048, generator=generator) * 4 - 2
    rows, columns = torch.meshgrid(torch.arange(8) - 3.5, torch.arange(8) - 3.5, indexing="ij")
    angles = labels * math.pi / 4
    away = torch.cos(angles)[:, None, None] * rows + torch.sin(angles)[:, None, None] * columns
    images = (away - shifts[:, None, None]).abs() < 1
    return (images.float() + 0.5 * torch.randn(2048, 8, 8, generator=generator))[:, None], labels


@cache
def signs() -> Data:
    """8 numbers one after another; the label is whether the sum of the first three is positive."""
    inputs = torch.randn(2048, 8, 1, generator=torch.Generator().manual_seed(2))
    return inputs, (inputs[:, :3, 0].sum(1) > 0).long()


# Networks -------------------------------------------------------------------------------------------------------------


def stack(
    activation: Callable[[], nn.Module],
    depth: int,
    *,
    outputs: int = 5,
    width: int = 48,
    gain: float | None = None,
    norm: Callable[[int], nn.Module] | None = None,
) -> nn.Sequential:
    """So many hidden layers; weights of standard deviation gain / √fan-in, PyTorch's own without one."""
    parts: list[nn.Module] = []
    for place in range(depth):
        layer = nn.Linear(20 if place == 0 else width, width)
        parts += [layer, *([norm(width)] if norm else []), activation()]
    parts.append(nn.Linear(width, outputs))
    for part in parts:
        if gain is not None and isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=gain / part.in_features**0.5)
            nn.init.zeros_(part.bias)
    return nn.Sequential(*parts)


class Residual(nn.Module):
    """x + f(x), so many times, without norms."""

    def __init__(self, blocks: int, width: int = 40) -> None:
        super().__init__()
        self.entry, self.leave = nn.Linear(20, width), nn.Linear(width, 5)
        self.up = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x)
        for up, down in zip(self.up, self.down, strict=True):
            x = x + down(torch.relu(up(x)))
        left: Tensor = self.leave(x)
        return left


def convolutions(depth: int, *, norm: bool = False) -> nn.Sequential:
    """3 by 3, eight channels, then a mean over the image."""
    parts: list[nn.Module] = []
    for place in range(depth):
        parts += [nn.Conv2d(1 if place == 0 else 8, 8, 3, padding=1), *([nn.BatchNorm2d(8)] if norm else [])]
        parts.append(nn.ReLU())
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 4))


class Recurrent(nn.Module):
    """The last state of a recurrent layer, read by a linear one."""

    def __init__(self) -> None:
        super().__init__()
        self.over = nn.RNN(1, 32, batch_first=True)
        self.head = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        read: Tensor = self.head(self.over(x)[0][:, -1])
        return read


class Encoder(nn.Module):
    """A transformer over the rows of an image."""

    def __init__(self, blocks: int, *, before: bool) -> None:
        super().__init__()
        self.entry = nn.Linear(8, 32)
        self.places = nn.Parameter(0.1 * torch.randn(8, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=before)
        self.blocks = nn.TransformerEncoder(layer, blocks, enable_nested_tensor=False)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        read: Tensor = self.head(self.blocks(self.entry(x[:, 0]) + self.places).mean(1))
        return read


@dataclass(frozen=True)
class Case:
    """A network with its data."""

    name: str
    build: Callable[[], nn.Module]
    data: Callable[[], Data] = labelled
    loss: Loss = F.cross_entropy


CASES = (
    Case("softmax regression", lambda: nn.Linear(20, 5)),
    Case("tanh, 1 layer", lambda: stack(nn.Tanh, 1)),
    Case("tanh, 6 layers, σ_w = 1", lambda: stack(nn.Tanh, 6, gain=1.0)),
    Case("tanh, 6 layers, σ_w = 2.5", lambda: stack(nn.Tanh, 6, gain=2.5)),
    Case("ReLU, 2 layers", lambda: stack(nn.ReLU, 2)),
    Case("ReLU, 6 layers, He", lambda: stack(nn.ReLU, 6, gain=2**0.5)),
    Case("ReLU, 12 layers, He", lambda: stack(nn.ReLU, 12, gain=2**0.5)),
    Case("ReLU, 6 layers, 1.5 He", lambda: stack(nn.ReLU, 6, gain=1.5 * 2**0.5)),
    Case("GELU, 4 layers", lambda: stack(nn.GELU, 4, gain=2**0.5)),
    Case("sigmoid, 2 layers", lambda: stack(nn.Sigmoid, 2, gain=2.0)),
    Case("layer norm, 8 layers", lambda: stack(nn.ReLU, 8, norm=nn.LayerNorm)),
    Case("batch norm, 8 layers", lambda: stack(nn.ReLU, 8, norm=nn.BatchNorm1d)),
    Case("residual, 12 blocks", lambda: Residual(12)),
    Case("regression, tanh, 3 layers", lambda: stack(nn.Tanh, 3, outputs=3, gain=1.0), taught, F.mse_loss),
    Case("regression, ReLU, 4 layers", lambda: stack(nn.ReLU, 4, outputs=3, gain=2**0.5), taught, F.mse_loss),
    Case("convolutions, 4 layers", lambda: convolutions(4), bars),
    Case("convolutions, batch norm", lambda: convolutions(4, norm=True), bars),
    Case("recurrent, tanh", Recurrent, signs),
    Case("transformer, norm first", lambda: Encoder(2, before=True), bars),
    Case("transformer, norm last", lambda: Encoder(2, before=False), bars),
)


# Trainings ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """Rates of one network under one optimiser, as multiples of the bound of a quadratic."""

    case: str
    momentum: float
    sharpness: float
    largest: float
    """That trains."""
    best: float
    fitting: float
    """Whose first step changes the weights by a fiftieth of their size."""
    gaps: int
    """Rates below the largest one that do not train, although a lower one does."""


def batches(data: Data, steps: int, seed: int) -> Iterator[Data]:
    inputs, targets = data
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randint(0, len(inputs), (64,), generator=generator)
        yield inputs[chosen], targets[chosen]


def fresh(case: Case, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return case.build().train()


def trained(case: Case, *, rate: float, momentum: float, steps: int, seed: int) -> float:
    """Median loss of the last steps; infinite where it left the numbers."""
    model = fresh(case, seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
    losses = []
    for inputs, targets in batches(case.data(), steps, seed):
        optimizer.zero_grad()
        loss = case.loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            return math.inf
    return float(np.median(losses[-int(LAST * steps) :]))


def guessing(case: Case) -> float:
    """The loss of the best answer that ignores the input."""
    _, targets = case.data()
    if targets.is_floating_point():
        return float(case.loss(targets.mean(0).expand_as(targets), targets))
    shares = targets.bincount() / len(targets)
    return float(case.loss(shares.log().expand(len(targets), -1), targets))


def first_step(case: Case, seed: int) -> tuple[float, float]:
    """λ, and the rate whose step on the first gradient is a fiftieth of the weights, median over the layers."""
    model = fresh(case, seed)
    inputs, targets = next(batches(case.data(), 1, seed))
    sharpness = sharpness_of(lambda: case.loss(model(inputs), targets), list(model.parameters()))
    case.loss(model(inputs), targets).backward()
    ratios = [
        float(w.detach().norm() / w.grad.norm()) for w in model.parameters() if w.dim() > 1 and w.grad is not None
    ]
    return sharpness.value, FITTING * float(np.median(ratios))


def measured(case: Case, *, momentum: float, steps: int, seed: int) -> Found | None:
    sharpness, fitting = first_step(case, seed)
    bound = 2 * (1 - momentum) / sharpness
    times = [2.0**doubling for doubling in DOUBLINGS]
    ends = [trained(case, rate=one * bound, momentum=momentum, steps=steps, seed=seed) for one in times]
    guess = guessing(case)
    if min(ends) > TRAINED * guess:
        print(
            f"{case.name}, β = {momentum}, seed {seed}: no rate trains, the best ends at {min(ends):.3g}.", flush=True
        )
        return None
    trains = [end <= (guess + min(ends)) / 2 for end in ends]
    largest = max(place for place, does in enumerate(trains) if does)
    lowest = trains.index(True)
    return Found(
        case.name,
        momentum,
        sharpness,
        largest=times[largest],
        best=times[int(np.argmin(ends))],
        fitting=fitting * (1 - momentum) / bound,
        gaps=trains[lowest:largest].count(False),
    )


# The table ------------------------------------------------------------------------------------------------------------


def decades(values: list[float]) -> str:
    logs = np.log10(values)
    return f"{10 ** np.median(logs):.2g} (from {min(values):.2g} to {max(values):.2g}; {np.std(logs):.2f} decades)"


def told(found: list[Found], *, steps: int, seeds: int) -> str:
    lines = [
        f"{len(CASES)} networks, {seeds} seed{'s' if seeds > 1 else ''} each, {steps} steps of 64 samples, "
        f"torch {torch.__version__}. Rates as multiples of 2 (1 − β) / λ before the first step, of which "
        f"{2.0 ** DOUBLINGS[-1]:g} is the largest that was tried; means over seeds on a logarithmic scale.",
        "",
        "| network | λ | SGD: largest | best | by size of step | momentum 0.9: largest | best | by size of step |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        cells = [case.name]
        for momentum in MOMENTA:
            mine = [one for one in found if one.case == case.name and one.momentum == momentum]
            if momentum == MOMENTA[0]:
                cells.append(mean([one.sharpness for one in found if one.case == case.name]))
            cells += [mean([getattr(one, name) for one in mine]) for name in ("largest", "best", "fitting")]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    for momentum in MOMENTA:
        mine = [one for one in found if one.momentum == momentum]
        lines += [
            f"- momentum {momentum:g}: largest rate that trains over the bound: {decades([f.largest for f in mine])}",
            f"  - below the bound: {sum(f.largest < 1 for f in mine)} of {len(mine)}; trainings at a lower rate than "
            f"the largest that fail: {sum(f.gaps for f in mine)}",
            f"  - best rate over the bound: {decades([f.best for f in mine])}",
            f"  - best rate over that by size of step: {decades([f.best / f.fitting for f in mine])}",
            f"  - largest rate over that by size of step: {decades([f.largest / f.fitting for f in mine])}",
            f"  - best rate over the larger one of that and an eighth of the bound: "
            f"{decades([f.best / max(f.fitting, CURVED) for f in mine])}",
            f"  - largest rate over the same: {decades([f.largest / max(f.fitting, CURVED) for f in mine])}",
            f"  - best rate over the smaller one of that and the bound: "
            f"{decades([f.best / min(f.fitting, 1.0) for f in mine])}",
        ]
    return "\n".join(lines)


def mean(values: list[float]) -> str:
    return f"{np.exp(np.mean(np.log(values))):.2g}" if values else "none trains"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--only", default="", help="networks with this in their names")
    parser.add_argument("--write", type=Path, help="page whose text between <!-- curvature: begin/end --> to replace")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for case in (case for case in CASES if options.only in case.name):
        for momentum in MOMENTA:
            for seed in range(options.seeds):
                one = measured(case, momentum=momentum, steps=options.steps, seed=seed)
                print(one, flush=True)
                found += [one] if one is not None else []
    if options.only:
        return
    text = told(found, steps=options.steps, seeds=options.seeds)
    print(text)
    if options.write:
        page = options.write.read_text(encoding="utf-8")
        before, after = page.split("<!-- curvature: begin -->")[0], page.split("<!-- curvature: end -->")[1]
        options.write.write_text(
            f"{before}<!-- curvature: begin -->\n{text}\n<!-- curvature: end -->{after}", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
