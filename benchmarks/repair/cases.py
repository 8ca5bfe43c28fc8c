"""Trainings to repair: sick ones of the kinds that the literature lists, and healthy ones that must be left alone.

All of them are small networks on scikit-learn's handwritten digits, 1,347 images to train on and 450 to be scored by.
Every case has a target that a healthy network of its kind reaches within the same number of steps. Of the kinds that
follow the residual and recurrent ones, these twins were trained from seeds 0 to 2 (the transformers from 0 and 1):

====================================  ==============================================  ===================
case                                  twin                                            scores of the twin
====================================  ==============================================  ===================
targets around 5,000, SGD             targets of mean 0 and deviation 1               0.95, 0.96, 0.96
targets out of scale, Adam            the same                                        0.99, 0.99, 0.99
ReLU on negative targets              no ReLU, mean 0                                 0.99, 0.99, 0.99
tanh on targets up to 10              no tanh                                         0.98, 0.98, 0.98
softmax twice, SGD                    no softmax                                      0.90, 0.95, 0.96
sigmoid twice                         no sigmoid                                      0.92, 0.89, 0.92
exponential, 8 layers                 ReLU, He's weights                              0.92, 0.96, 0.95
LSTM, 40 empty steps to remember      forget gates at 3.7, input gates at −3.7        0.94, 0.92, 0.96
transformer, norm last, no warm-up    norm first; a warm-up of 80 steps               0.93, 0.92; 0.89, 0.93
loss summed over a batch of 128       a mean                                          0.92, 0.90, 0.88
====================================  ==============================================  ===================
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from isometry import Experiment

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """One training and the accuracy that counts as repaired."""

    name: str
    sick: bool
    experiment: Experiment
    target: float


@cache
def images(scale: float = 1 / 16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels as rows of 64 numbers, and labels: for training, then for scoring."""
    found = load_digits()
    inputs = torch.tensor(found.data, dtype=torch.float32) * scale
    targets = torch.tensor(found.target)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    train, test = order[:1347], order[1347:]
    return inputs[train], targets[train], inputs[test], targets[test]


def _accuracy(scale: float) -> Callable[[Any], float]:
    _, _, inputs, targets = images(scale)

    def measure(model: nn.Module) -> float:
        with torch.no_grad():
            return float((model(inputs).argmax(-1) == targets).float().mean())

    return measure


def _case(
    name: str,
    build: Callable[[], nn.Module],
    *,
    sick: bool = True,
    optimizer: Callable[[Any], Any] = lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    epochs: int = 8,
    scale: float = 1 / 16,
    target: float = 0.85,
    batch_size: int = 64,
) -> Case:
    inputs, targets, _, _ = images(scale)
    experiment = Experiment(
        build=build,
        data=(inputs, targets),
        loss_fn=loss,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        metric=_accuracy(scale),
    )
    return Case(name, sick, experiment, target)


def _numbers(mean: float, deviation: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images with how far down their ink lies, as numbers of this mean and deviation."""
    inputs, _, others, _ = images()
    rows = torch.arange(8.0).repeat_interleave(8)
    train, test = ((given @ rows / given.sum(1))[:, None] for given in (inputs, others))
    return inputs, *(mean + deviation * (given - train.mean()) / train.std() for given in (train, test)), others


def _regression(
    name: str,
    build: Callable[[], nn.Module],
    *,
    mean: float,
    deviation: float,
    optimizer: Callable[[Any], Any],
    loss: Callable[[Tensor, Tensor], Tensor] = F.mse_loss,
    target: float = 0.8,
) -> Case:
    """A case whose score is the share of the targets' variance that is explained, in the units of the targets."""
    inputs, targets, wanted, others = _numbers(mean, deviation)

    def explained(model: nn.Module) -> float:
        with torch.no_grad():
            return float(1 - (model(others) - wanted).square().mean() / wanted.var(correction=0))

    experiment = Experiment(
        build=build,
        data=(inputs, targets),
        loss_fn=loss,
        optimizer=optimizer,
        epochs=8,
        batch_size=64,
        metric=explained,
    )
    return Case(name, sick=True, experiment=experiment, target=target)


# Networks -------------------------------------------------------------------------------------------------------------


def stack(
    activation: Callable[[], nn.Module],
    depth: int,
    width: int = 48,
    *,
    fill: Callable[[Tensor], Any] | None = None,
    bias: float = 0.0,
    norm: Callable[[int], nn.Module] | None = None,
) -> Callable[[], nn.Module]:
    """So many hidden layers; PyTorch's own weights without ``fill``."""

    def build() -> nn.Module:
        parts: list[nn.Module] = []
        for place in range(depth):
            layer = nn.Linear(64 if place == 0 else width, width)
            if fill is not None:
                fill(layer.weight)
                nn.init.constant_(layer.bias, bias)
            parts += [layer, *([norm(width)] if norm else []), activation()]
        head = nn.Linear(width, 10)
        if fill is not None:
            fill(head.weight)
            nn.init.zeros_(head.bias)
        return nn.Sequential(*parts, head)

    return build


def he(weight: Tensor) -> Tensor:
    """N(0, 2 / n)."""
    return nn.init.kaiming_normal_(weight, nonlinearity="relu")


class Functional(nn.Module):
    """Hidden layers whose nonlinearity is a function call, not a module."""

    def __init__(self, function: Callable[[Tensor], Tensor], depth: int, width: int = 40) -> None:
        super().__init__()
        self.entry = nn.Linear(64, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.leave = nn.Linear(width, 10)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        x = self.function(self.entry(x))
        for layer in self.hidden:
            x = self.function(layer(x))
        return self.leave(x)


class Residual(nn.Module):
    """x + W relu(V relu(x)), He's weights, no norm."""

    def __init__(self, blocks: int, width: int = 48, *, scale: float = 1.0) -> None:
        super().__init__()
        self.entry = nn.Linear(64, width)
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.leave = nn.Linear(width, 10)
        for layer in (*self.first, *self.second):
            he(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            for layer in self.second:
                layer.weight.mul_(scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x)
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(torch.relu(first(torch.relu(x))))
        return self.leave(x)


def convolutions(activation: Callable[[], nn.Module], depth: int, *, gain: float | None = None) -> Callable[[], Any]:
    """A plain stack of 3 × 3 convolutions of 12 channels on the 8 × 8 images, averaged at the end."""

    def build() -> nn.Module:
        parts: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
        for place in range(depth):
            layer = nn.Conv2d(1 if place == 0 else 12, 12, 3, padding=1)
            if gain is not None:
                nn.init.normal_(layer.weight, 0.0, gain / (9 * layer.in_channels) ** 0.5)
                nn.init.zeros_(layer.bias)
            parts += [layer, activation()]
        return nn.Sequential(*parts, nn.Flatten(), nn.Linear(12 * 64, 10))

    return build


def lenet(extra: int) -> Callable[[], nn.Module]:
    """A LeNet for 8 × 8 images with extra sigmoid layers in front of its head."""

    def build() -> nn.Module:
        layers = [part for _ in range(extra) for part in (nn.Linear(32, 32), nn.Sigmoid())]
        return nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 12, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(48, 32),
            nn.ReLU(),
            *layers,
            nn.Linear(32, 10),
        )

    return build


class Rows(nn.Module):
    """A recurrent network that reads the rows of an image several times over."""

    def __init__(self, times: int, cell: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.times, self.cell, self.leave = times, cell(8, 32, batch_first=True), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.view(-1, 8, 8)
        blank = torch.zeros(len(rows), self.times, 8)
        states, _ = self.cell(torch.cat([rows, blank], dim=1))
        return self.leave(states[:, -1])


class Recall(nn.Module):
    """Says after many blank steps which image it had read in one."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times, self.cell, self.leave = times, nn.LSTM(64, 32, batch_first=True), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cell(torch.cat([x[:, None], torch.zeros(len(x), self.times, 64)], dim=1))
        return self.leave(states[:, -1])


class Encoder(nn.Module):
    """A transformer over the eight rows of an image."""

    def __init__(self, depth: int, *, norm_first: bool) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(8, 32), nn.Parameter(torch.randn(8, 32) / 32**0.5)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True, norm_first=norm_first) for _ in range(depth)
        )
        self.leave = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.view(-1, 8, 8)) + self.place
        for block in self.blocks:
            x = block(x)
        return self.leave(x.mean(1))


class Exponential(nn.Module):
    """e^z"""

    def forward(self, z: Tensor) -> Tensor:
        return z.exp()


def headed(last: Callable[[], nn.Module], outputs: int = 10) -> Callable[[], nn.Module]:
    """Two hidden layers, and a nonlinearity behind the output."""
    return lambda: nn.Sequential(
        nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, outputs), last()
    )


def one_against_all(outputs: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of ten logits."""
    return F.binary_cross_entropy_with_logits(outputs, F.one_hot(targets, 10).float())


def sgd(rate: float, momentum: float = 0.0) -> Callable[[Any], Any]:
    """Stochastic gradient descent."""
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, momentum=momentum)


def adam(rate: float) -> Callable[[Any], Any]:
    """Adam at a rate."""
    return lambda parameters: torch.optim.Adam(parameters, lr=rate)


def summed(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy added up over the batch instead of averaged."""
    return F.cross_entropy(outputs, targets, reduction="sum")


def normal(std: float) -> Callable[[Tensor], Tensor]:
    """N(0, std²) whatever the width."""
    return lambda weight: nn.init.normal_(weight, 0.0, std)


def _filled(model: nn.Module, fill: Callable[[Tensor], Any]) -> nn.Module:
    for parameter in model.parameters():
        if parameter.dim() > 1:
            fill(parameter)
    return model


class Autocast(nn.Module):
    """Computes in half precision, with weights in float32; the loss is computed in float32."""

    def __init__(self, network: nn.Module, format: torch.dtype = torch.float16) -> None:
        super().__init__()
        self.network, self.format = network, format

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, dtype=self.format):
            return self.network(x).float()


class Half(nn.Module):
    """Holds its weights in float16."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.half())


def in_half(build: Callable[[], nn.Module], kind: Callable[[nn.Module], nn.Module] = Autocast) -> Callable[[], Any]:
    return lambda: kind(build())


def times(factor: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy on another scale, which plain descent makes up for by its rate."""
    return lambda outputs, targets: factor * F.cross_entropy(outputs.float(), targets)


def brightened(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """A norm layer behind the first layer takes any scale of the pixels."""

    def made() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 48), nn.LayerNorm(48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), build())

    return made


# The cases ------------------------------------------------------------------------------------------------------------

CASES: tuple[Case, ...] = (
    _case("sigmoid, 8 layers", stack(nn.Sigmoid, 8)),
    _case("sigmoid, 14 layers, SGD", stack(nn.Sigmoid, 14), optimizer=sgd(0.1, 0.9)),
    _case("sigmoid, functional, 10 layers", lambda: Functional(torch.sigmoid, 10)),
    _case("hardsigmoid, 10 layers", stack(nn.Hardsigmoid, 10)),
    _case("tanh, weights 0.3 of critical, 16 layers", stack(nn.Tanh, 16, fill=normal(0.3 / 48**0.5))),
    _case("tanh, N(0, 1), 10 layers", stack(nn.Tanh, 10, fill=normal(1.0))),
    _case("tanh, functional, N(0, 0.02²), 12 layers", lambda: _filled(Functional(torch.tanh, 12), normal(0.02))),
    _case("ReLU, PyTorch's weights, 20 layers", stack(nn.ReLU, 20)),
    _case("ReLU, N(0, 0.01²), 8 layers, SGD", stack(nn.ReLU, 8, fill=normal(0.01)), optimizer=sgd(0.05, 0.9)),
    _case("ReLU, twice He, 20 layers, SGD", stack(nn.ReLU, 20, fill=normal(2 * (2 / 48) ** 0.5)), optimizer=sgd(0.01)),
    _case("ReLU, born dead by biases of −2", stack(nn.ReLU, 6, fill=he, bias=-2.0)),
    _case("ReLU, constant weights", stack(nn.ReLU, 4, fill=lambda weight: nn.init.constant_(weight, 0.02))),
    _case("ReLU, zero weights", stack(nn.ReLU, 3, fill=nn.init.zeros_), optimizer=sgd(0.1, 0.9)),
    _case("rate too high for Adam", stack(nn.ReLU, 4, fill=he), optimizer=adam(0.3)),
    _case("rate too high for SGD", stack(nn.ReLU, 4, fill=he), optimizer=sgd(3.0)),
    _case("rate too high for SGD with momentum, tanh", stack(nn.Tanh, 4), optimizer=sgd(3.0, 0.9)),
    _case("rate too low for Adam", stack(nn.ReLU, 3, fill=he), optimizer=adam(1e-6)),
    _case("rate too low for SGD", stack(nn.ReLU, 3, fill=he), optimizer=sgd(1e-5)),
    _case("pixels from 0 to 4,080", stack(nn.Tanh, 4), scale=255.0),
    _case("pixels from 0 to 4,080, ReLU, SGD", stack(nn.ReLU, 4, fill=he), optimizer=sgd(0.05), scale=255.0),
    _case("pixels of 0.0001", stack(nn.Tanh, 4), optimizer=sgd(0.1, 0.9), scale=1e-5),
    _case("loss summed over the batch", stack(nn.ReLU, 4, fill=he), loss=summed, optimizer=sgd(0.1)),
    _case("plain convolutions, 14 layers", convolutions(nn.ReLU, 14, gain=0.6)),
    _case("sigmoid convolutions, 8 layers", convolutions(nn.Sigmoid, 8)),
    _case("LeNet with 8 sigmoid layers", lenet(8)),
    _case("residual, 40 blocks, no norm, SGD", lambda: Residual(40), optimizer=sgd(0.01, 0.9)),
    _case("residual, 60 blocks, no norm, Adam", lambda: Residual(60), optimizer=adam(1e-3)),
    _case("batch norm, 40 layers, no skips, SGD", stack(nn.ReLU, 40, norm=nn.BatchNorm1d), optimizer=sgd(0.1)),
    _case("recurrent, 24 empty steps to remember", lambda: Rows(24, nn.RNN), target=0.5),
    _case("SELU, N(0, 1), 8 layers", stack(nn.SELU, 8, fill=normal(1.0)), optimizer=sgd(0.01)),
    _regression("targets around 5,000, SGD", headed(nn.Identity, 1), mean=5e3, deviation=800.0, optimizer=sgd(0.05)),
    _regression("targets around 90,000, Adam", headed(nn.Identity, 1), mean=9e4, deviation=400.0, optimizer=adam(3e-3)),
    _regression("targets of 0.0003, Adam", headed(nn.Identity, 1), mean=0.0, deviation=3e-4, optimizer=adam(3e-3)),
    _regression("ReLU on negative targets", headed(nn.ReLU, 1), mean=-1.0, deviation=1.0, optimizer=adam(3e-3)),
    _regression("tanh on targets up to 10", headed(nn.Tanh, 1), mean=0.0, deviation=4.0, optimizer=adam(3e-3)),
    _case("softmax twice, SGD", headed(lambda: nn.Softmax(-1)), optimizer=sgd(0.1, 0.9)),
    _case("sigmoid twice", headed(nn.Sigmoid), loss=one_against_all, optimizer=adam(1e-2)),
    _case("exponential, 8 layers", stack(Exponential, 8), optimizer=adam(3e-3)),
    _case("LSTM, 40 empty steps to remember", lambda: Recall(40), optimizer=adam(1e-2)),
    _case("transformer, norm last, no warm-up", lambda: Encoder(6, norm_first=False), optimizer=adam(1e-2)),
    _case("loss summed over a batch of 128", stack(nn.Tanh, 3), loss=summed, optimizer=sgd(0.5), batch_size=128),
    _case(
        "float16 by autocast, loss of 1e-6",
        in_half(stack(nn.ReLU, 4, fill=he)),
        loss=times(1e-6),
        optimizer=sgd(2e4, 0.9),
    ),
    _case(
        "float16 weights, loss of 1e-5",
        in_half(stack(nn.ReLU, 4, fill=he), Half),
        loss=times(1e-5),
        optimizer=sgd(1e4),
        epochs=16,
    ),
    _case(
        "float16 by autocast, pixels of a million",
        in_half(brightened(lambda: nn.Linear(48, 10))),
        scale=1e5,
        optimizer=sgd(0.05, 0.9),
    ),
    _case(
        "healthy: float16 by autocast, loss scaled by hand",
        in_half(stack(nn.ReLU, 4, fill=he)),
        sick=False,
        loss=times(1024.0),
        optimizer=sgd(0.02 / 1024, 0.9),
    ),
    _case(
        "healthy: bfloat16 by autocast",
        in_half(stack(nn.ReLU, 4, fill=he), lambda network: Autocast(network, torch.bfloat16)),
        sick=False,
    ),
    _case("healthy: ReLU, He, 4 layers", stack(nn.ReLU, 4, fill=he), sick=False),
    _case("healthy: tanh, 4 layers", stack(nn.Tanh, 4), sick=False),
    _case("healthy: sigmoid, 1 layer", stack(nn.Sigmoid, 1, 96), sick=False, optimizer=adam(5e-3)),
    _case("healthy: SELU, 8 layers", stack(nn.SELU, 8), sick=False),
    _case("healthy: GELU, 4 layers", stack(nn.GELU, 4), sick=False),
    _case("healthy: layer norm, 10 layers", stack(nn.ReLU, 10, norm=nn.LayerNorm), sick=False),
    _case("healthy: batch norm, 6 layers, SGD", stack(nn.ReLU, 6, norm=nn.BatchNorm1d), sick=False, optimizer=sgd(0.1)),
    _case("healthy: convolutions, 3 layers", convolutions(nn.ReLU, 3), sick=False),
    _case("healthy: LeNet", lenet(0), sick=False),
    _case("healthy: residual, 10 blocks, scaled", lambda: Residual(10, scale=0.3), sick=False),
    _case("healthy: SGD with momentum", stack(nn.ReLU, 3, fill=he), sick=False, optimizer=sgd(0.05, 0.9)),
    _case("healthy: LSTM", lambda: Rows(0, nn.LSTM), sick=False, optimizer=adam(5e-3)),
    _case("healthy: GRU", lambda: Rows(2, nn.GRU), sick=False, optimizer=adam(5e-3)),
    _case("healthy: functional ReLU", lambda: Functional(torch.relu, 3), sick=False),
    _case("healthy: ELU, wide", stack(nn.ELU, 2, 128), sick=False),
)
