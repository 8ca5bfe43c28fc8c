"""Trainings that no remedy was written for or tried on before they were scored: other networks, in part other data.

Every sick one has a healthy twin, the same task as somebody would write it who knows what is wrong; the target of both
is what the twin reaches from every seed. ``python benchmarks/repair/run.py --cases heldout`` scores the sick ones, and
``python benchmarks/repair/heldout.py`` the twins.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from cases import Case, adam, he, normal, sgd
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F

from isometry import Experiment
from isometry.adapters.torch.trials import TorchTrainer

__all__ = [
    "BINARY",
    "HELD_OUT",
    "Data",
    "Pair",
    "Reader",
    "accuracy",
    "cases_of",
    "chain",
    "digits",
    "explained",
    "images_again",
    "print_scores",
    "split",
    "standard",
    "symbols",
    "training",
    "tumours",
    "wines",
]

Data = tuple[Tensor, Tensor, Tensor, Tensor]
"""Inputs and targets to train on, then those to score by."""
Pair = tuple[str, float, Experiment, Experiment]
"""Name, target, the sick training and its twin."""


# Data -----------------------------------------------------------------------------------------------------------------


def split(inputs: Any, targets: Any, *, seed: int = 1) -> Data:
    """Three quarters to train on. Numbers that are not whole become float32."""
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    x, y = (_single(torch.as_tensor(np.asarray(values)))[order] for values in (inputs, targets))
    cut = int(0.75 * len(x))
    return x[:cut], y[:cut], x[cut:], y[cut:]


def _single(values: Tensor) -> Tensor:
    return values.float() if values.is_floating_point() else values


def standard(data: Data) -> Data:
    """Each input of mean 0 and deviation 1."""
    mean, deviation = data[0].mean(0), data[0].std(0).clamp(min=1e-6)
    return (data[0] - mean) / deviation, data[1], (data[2] - mean) / deviation, data[3]


@cache
def tumours(seed: int = 1) -> Data:
    """30 measurements of very different sizes; two classes as one column."""
    found = datasets.load_breast_cancer()
    return split(found.data, found.target.astype(np.float32)[:, None], seed=seed)


@cache
def wines(seed: int = 1) -> Data:
    """13 measurements; three classes."""
    found = datasets.load_wine()
    return split(found.data, found.target, seed=seed)


@cache
def digits(seed: int = 1) -> Data:
    """Images of 8 × 8 pixels from 0 to 1."""
    found = datasets.load_digits()
    return split(found.data / 16, found.target, seed=seed)


@cache
def surface() -> Data:
    """Friedman's first function of ten numbers, of mean 0 and deviation 1; 1,200 points."""
    inputs, targets = datasets.make_friedman1(1200, noise=0.5, random_state=0)
    return split(inputs, ((targets - targets.mean()) / targets.std()).astype(np.float32)[:, None])


@cache
def moons() -> Data:
    """Two half circles, 1,200 points."""
    inputs, targets = datasets.make_moons(1200, noise=0.15, random_state=0)
    return split(inputs, targets)


@cache
def symbols(length: int, kinds: int = 6, *, marked: int = 0, seed: int = 1) -> Data:
    """Sequences of noise of which one entry is marked: which of the kinds it was is asked at the end."""
    draw = np.random.default_rng(0)
    targets = draw.integers(0, kinds, 1600)
    inputs = 0.1 * draw.standard_normal((1600, length, kinds))
    inputs[np.arange(1600), marked, targets] += 1.0
    return split(inputs, targets, seed=seed)


def _scaled(data: Data, mean: float, deviation: float) -> Data:
    return data[0], mean + deviation * data[1], data[2], mean + deviation * data[3]


# Scores ---------------------------------------------------------------------------------------------------------------


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Of right answers."""
    if outputs.shape[-1] == 1:
        return float(((outputs > 0) == (targets > 0.5)).float().mean())
    return float((outputs.argmax(-1) == targets).float().mean())


def _over_half(outputs: Tensor, targets: Tensor) -> float:
    """Of right answers, where outputs are probabilities."""
    return float(((outputs > 0.5) == (targets > 0.5)).float().mean())


def explained(outputs: Tensor, targets: Tensor) -> float:
    """Share of the variance."""
    return float(1 - (outputs - targets).square().mean() / targets.var(correction=0))


def training(
    build: Callable[[], nn.Module],
    data: Data,
    optimizer: Callable[[Any], Any],
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    score: Callable[[Tensor, Tensor], float] = accuracy,
    epochs: int = 10,
    batch_size: int = 32,
) -> Experiment:
    def metric(model: nn.Module) -> float:
        with torch.no_grad():
            return score(model(data[2]), data[3])

    return Experiment(
        build=build,
        data=data[:2],
        loss_fn=loss,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        metric=metric,
    )


# Networks -------------------------------------------------------------------------------------------------------------


def chain(
    widths: list[int],
    activation: Callable[[], nn.Module],
    *,
    fill: Callable[[Tensor], Any] | None = None,
    norm: Callable[[int], nn.Module] | None = None,
    last: Callable[[], nn.Module] | None = None,
) -> Callable[[], nn.Module]:
    """Linear layers between these widths."""

    def build() -> nn.Module:
        parts: list[nn.Module] = []
        for place, (inputs, outputs) in enumerate(pairwise(widths)):
            layer = nn.Linear(inputs, outputs)
            if fill is not None:
                fill(layer.weight)
            parts.append(layer)
            if place < len(widths) - 2:
                parts += [*([norm(outputs)] if norm else []), activation()]
        return nn.Sequential(*parts, *([last()] if last else []))

    return build


class Reader(nn.Module):
    """A recurrent network that answers at the end of a sequence."""

    def __init__(self, cell: nn.Module, hidden: int, kinds: int) -> None:
        super().__init__()
        self.cell, self.answer = cell, nn.Linear(hidden, kinds)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cell(x)
        out: Tensor = self.answer(states[:, -1])
        return out


class Loop(nn.Module):
    """h ← tanh(U x + W h), written out, W orthogonal times a number."""

    def __init__(self, inputs: int, hidden: int, kinds: int, gain: float) -> None:
        super().__init__()
        self.take, self.keep, self.answer = (
            nn.Linear(inputs, hidden),
            nn.Linear(hidden, hidden),
            nn.Linear(hidden, kinds),
        )
        nn.init.orthogonal_(self.keep.weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), self.keep.in_features)
        for step in range(x.shape[1]):
            h = torch.tanh(self.take(x[:, step]) + self.keep(h))
        out: Tensor = self.answer(h)
        return out


class Signal(nn.Module):
    """Convolutions along a line of 64 pixels."""

    def __init__(self, depth: int, activation: Callable[[Tensor], Tensor], norm: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(1 if k == 0 else 16, 16, 5, padding=2) for k in range(depth))
        self.norms = nn.ModuleList(nn.BatchNorm1d(16) if norm else nn.Identity() for _ in range(depth))
        self.head, self.activation = nn.Linear(16 * 16, 10), activation

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, None]
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.activation(norm(layer(x)))
        out: Tensor = self.head(F.avg_pool1d(x, 4).flatten(1))
        return out


class Sums(nn.Module):
    """Convolutions with skips: x + V relu(W relu(x)), without any norm."""

    def __init__(self, blocks: int, part: float) -> None:
        super().__init__()
        self.entry, self.head = nn.Conv2d(1, 16, 3, padding=1), nn.Linear(16, 10)
        self.first = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(blocks))
        for layer in (*self.first, *self.second):
            he(layer.weight)
        for layer in self.second:
            layer.weight.data *= part

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x.view(-1, 1, 8, 8))
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(F.relu(first(F.relu(x))))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


class Patches(nn.Module):
    """A transformer over sixteen patches of 2 × 2 pixels."""

    def __init__(self, depth: int, *, norm_first: bool, width: int = 48) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(4, width), nn.Parameter(0.1 * torch.randn(16, width))
        block = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=norm_first)
        self.body = nn.TransformerEncoder(block, depth, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        parts = F.unfold(x.view(-1, 1, 8, 8), 2, stride=2).transpose(1, 2)
        out: Tensor = self.head(self.norm(self.body(self.embed(parts) + self.place)).mean(1))
        return out


def _rebuild(width: int, fill: Callable[[Tensor], Any] | None) -> Callable[[], nn.Module]:
    return chain([64, width, width, 16, width, width, 64], nn.Tanh, fill=fill)


def images_again(seed: int = 1) -> Data:
    """The digits as their own targets."""
    inputs, _, others, _ = digits(seed)
    return inputs, inputs, others, others


def _with(kind: Any, **settings: Any) -> Callable[[Any], Any]:
    return lambda parameters: kind(parameters, **settings)


def _uniform(weight: Tensor) -> Tensor:
    return nn.init.uniform_(weight, -1.0, 1.0)


def _memory(forget: float) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        cell = nn.LSTM(6, 32, batch_first=True)
        with torch.no_grad():
            cell.bias_ih_l0[32:64] += forget
            cell.bias_ih_l0[:32] -= forget
        return Reader(cell, 32, 6)

    return build


BINARY = F.binary_cross_entropy_with_logits
RMS, ADAGRAD, ADAMW = torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.AdamW

PAIRS: tuple[Pair, ...] = (
    (
        "measurements as they come, tanh, Adam",
        0.93,
        training(chain([30, 48, 48, 48, 1], nn.Tanh), tumours(), adam(1e-3), loss=BINARY),
        training(chain([30, 48, 48, 48, 1], nn.Tanh), standard(tumours()), adam(1e-3), loss=BINARY),
    ),
    (
        "measurements as they come, ReLU, SGD",
        0.9,
        training(chain([13, 40, 40, 3], nn.ReLU), wines(), sgd(0.05, 0.9), epochs=20),
        training(chain([13, 40, 40, 3], nn.ReLU), standard(wines()), sgd(0.05, 0.9), epochs=20),
    ),
    (
        "targets of 2,000 ± 150, GELU, SGD with momentum",
        0.6,
        training(
            chain([10, 64, 64, 1], nn.GELU),
            _scaled(surface(), 2000, 150),
            sgd(0.02, 0.9),
            loss=F.mse_loss,
            score=explained,
        ),
        training(chain([10, 64, 64, 1], nn.GELU), surface(), sgd(0.02, 0.9), loss=F.mse_loss, score=explained),
    ),
    (
        "ELU, N(0, 0.5²), 10 layers, regression",
        0.6,
        training(
            chain([10, *[56] * 9, 1], nn.ELU, fill=normal(0.5)),
            surface(),
            adam(1e-3),
            loss=F.mse_loss,
            score=explained,
        ),
        training(
            chain([10, *[56] * 9, 1], nn.ELU, fill=normal(1 / 56**0.5)),
            surface(),
            adam(1e-3),
            loss=F.mse_loss,
            score=explained,
        ),
    ),
    (
        "softsign, 18 layers",
        0.8,
        training(chain([64, *[40] * 18, 10], nn.Softsign), digits(), adam(1e-3)),
        training(chain([64, *[40] * 18, 10], nn.Tanh, fill=nn.init.xavier_normal_), digits(), adam(1e-3)),
    ),
    (
        "sigmoid, 9 narrow layers, two moons",
        0.95,
        training(chain([2, *[16] * 9, 2], nn.Sigmoid), moons(), adam(5e-3)),
        training(chain([2, *[16] * 9, 2], nn.ReLU, fill=he), moons(), adam(5e-3)),
    ),
    (
        "LSTM that has to remember for 50 steps",
        0.9,
        training(_memory(0.0), symbols(50), adam(1e-2), epochs=6),
        training(_memory(4.0), symbols(50), adam(1e-2), epochs=6),
    ),
    (
        "recurrent, W of norm 1.6, SGD",
        0.8,
        training(lambda: Loop(6, 40, 6, 1.6), symbols(20), sgd(0.2, 0.9), epochs=6),
        training(lambda: Loop(6, 40, 6, 1.0), symbols(20), adam(3e-3), epochs=6),
    ),
    (
        "sigmoid convolutions along a line, 10 layers",
        0.8,
        training(lambda: Signal(10, torch.sigmoid, False), digits(), adam(2e-3), epochs=6),
        training(lambda: Signal(10, torch.relu, True), digits(), adam(2e-3), epochs=6),
    ),
    (
        "residual convolutions without norm, 24 blocks, SGD",
        0.8,
        training(lambda: Sums(24, 1.0), digits(), sgd(0.05, 0.9), epochs=10),
        training(lambda: Sums(24, 0.2), digits(), adam(3e-3), epochs=10),
    ),
    (
        "transformer of patches, norm last, Adam at 3e-3",
        0.8,
        training(lambda: Patches(8, norm_first=False), digits(), adam(3e-3), epochs=6),
        training(lambda: Patches(8, norm_first=True), digits(), adam(1e-3), epochs=6),
    ),
    (
        "transformer of patches, norm first, Adam at 0.05",
        0.75,
        training(lambda: Patches(4, norm_first=True), digits(), adam(5e-2), epochs=6),
        training(lambda: Patches(4, norm_first=True), digits(), adam(2e-3), epochs=6),
    ),
    (
        "autoencoder, tanh, N(0, 0.01²)",
        0.8,
        training(
            _rebuild(48, normal(0.01)), images_again(), sgd(0.5, 0.9), loss=F.mse_loss, score=explained, epochs=15
        ),
        training(
            _rebuild(48, nn.init.xavier_normal_),
            images_again(),
            sgd(0.5, 0.9),
            loss=F.mse_loss,
            score=explained,
            epochs=15,
        ),
    ),
    (
        "AdamW at 3e-7, layer norm",
        0.85,
        training(chain([64, 64, 64, 10], nn.GELU, norm=nn.LayerNorm), digits(), _with(ADAMW, lr=3e-7)),
        training(chain([64, 64, 64, 10], nn.GELU, norm=nn.LayerNorm), digits(), _with(ADAMW, lr=1e-3)),
    ),
    (
        "RMSprop at 0.3",
        0.85,
        training(chain([64, 64, 64, 10], nn.ReLU), digits(), _with(RMS, lr=0.3)),
        training(chain([64, 64, 64, 10], nn.ReLU), digits(), _with(RMS, lr=1e-3)),
    ),
    (
        "Adagrad at 3e-5",
        0.85,
        training(chain([64, 64, 64, 10], nn.ReLU), digits(), _with(ADAGRAD, lr=3e-5)),
        training(chain([64, 64, 64, 10], nn.ReLU), digits(), _with(ADAGRAD, lr=2e-2)),
    ),
    (
        "SELU, U[−1, 1], 6 wide layers, Adam",
        0.93,
        training(chain([64, *[160] * 6, 10], nn.SELU, fill=_uniform), digits(), adam(1e-3), epochs=6),
        training(chain([64, *[160] * 6, 10], nn.SELU, fill=normal(160**-0.5)), digits(), adam(1e-3), epochs=6),
    ),
    (
        "sigmoid before a loss of logits, one output",
        0.92,
        training(
            chain([30, 32, 32, 1], nn.ReLU, last=nn.Sigmoid),
            standard(tumours()),
            sgd(0.01),
            loss=BINARY,
            score=_over_half,
        ),
        training(chain([30, 32, 32, 1], nn.ReLU), standard(tumours()), sgd(0.05), loss=BINARY),
    ),
    (
        "hardtanh, N(0, 2²), 8 layers",
        0.85,
        training(chain([64, *[48] * 8, 10], nn.Hardtanh, fill=normal(2.0)), digits(), adam(2e-3)),
        training(chain([64, *[48] * 8, 10], nn.Hardtanh, fill=nn.init.xavier_normal_), digits(), adam(2e-3)),
    ),
    (
        "squares added up over batch and units, SGD",
        0.7,
        training(
            _rebuild(48, None),
            images_again(),
            sgd(0.02),
            loss=lambda outputs, targets: F.mse_loss(outputs, targets, reduction="sum"),
            score=explained,
        ),
        training(
            _rebuild(48, None),
            images_again(),
            sgd(0.02 / 20),
            loss=lambda outputs, targets: F.mse_loss(outputs, targets, reduction="sum"),
            score=explained,
        ),
    ),
    (
        "loss multiplied by 1,000, SGD with momentum",
        0.85,
        training(
            chain([64, 48, 48, 10], nn.ReLU),
            digits(),
            sgd(0.05, 0.9),
            loss=lambda outputs, targets: 1000 * F.cross_entropy(outputs, targets),
        ),
        training(chain([64, 48, 48, 10], nn.ReLU), digits(), sgd(0.05, 0.9)),
    ),
    (
        "SiLU, 9 layers, torch's own weights, SGD",
        0.8,
        training(chain([64, *[48] * 9, 10], nn.SiLU), digits(), sgd(0.05, 0.9)),
        training(chain([64, *[48] * 9, 10], nn.SiLU, norm=nn.BatchNorm1d), digits(), sgd(0.05, 0.9)),
    ),
)

HEALTHY: tuple[tuple[str, Experiment], ...] = (
    ("healthy: measurements, standardised", PAIRS[0][3]),
    ("healthy: regression, GELU, SGD with momentum", PAIRS[2][3]),
    ("healthy: convolutions along a line, batch norm", PAIRS[8][3]),
    ("healthy: transformer of patches, norm first", PAIRS[11][3]),
    ("healthy: autoencoder", PAIRS[12][3]),
    ("healthy: AdamW, layer norm", PAIRS[13][3]),
    ("healthy: RMSprop", PAIRS[14][3]),
    ("healthy: Adagrad", PAIRS[15][3]),
)


def cases_of(pairs: Sequence[Pair], healthy: Sequence[tuple[str, Experiment]]) -> tuple[Case, ...]:
    """The sick ones of these pairs, then the healthy ones."""
    return (
        *(Case(name, True, sick, target) for name, target, sick, _ in pairs),
        *(Case(name, False, experiment, 0.0) for name, experiment in healthy),
    )


def print_scores(pairs: Sequence[Pair]) -> int:
    """Train both of each pair whose name has one of the words of the command line; 1 if a twin misses its target."""
    torch.set_num_threads(1)
    missed = 0
    for name, target, *both in pairs:
        if not any(word in name for word in sys.argv[1:] or [""]):
            continue
        ill, twin = (
            [TorchTrainer(experiment).train((), seed=seed, run=None).score for seed in range(3)] for experiment in both
        )
        missed += min(twin) < target
        print(
            f"{target:.2f}  twin {min(twin):.2f} to {max(twin):.2f}, sick {statistics.median(ill):.2f}  "
            f"{name}{'  TARGET NOT REACHED' if min(twin) < target else ''}",
            flush=True,
        )
    return int(missed > 0)


HELD_OUT = cases_of(PAIRS, HEALTHY)

if __name__ == "__main__":
    sys.exit(print_scores(PAIRS))
