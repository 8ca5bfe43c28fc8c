"""Networks of ordinary shapes for the tests of the torch adapter, each with data and a loss."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Net:
    build: Callable[[], nn.Module]
    batch: Callable[[torch.Generator], tuple[Tensor, Tensor]]
    loss: Callable[[Tensor, Tensor], Tensor]


class ResidualBlock(nn.Module):
    """The usual block of a ResNet, in-place ReLU and ``+=`` included."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.layer1 = ResidualBlock(8, 8)
        self.layer2 = ResidualBlock(8, 16, 2)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.stem(x)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Tagger(nn.Module):
    """Embedding, LSTM, head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 12)
        self.lstm = nn.LSTM(12, 16, num_layers=2, dropout=0.2, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(tokens))[0][:, -1])


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.position = nn.Parameter(torch.randn(12, 16) * 0.02)
        layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 20)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.encoder(self.embedding(tokens) + self.position)))


class HandMadeRnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.i2h = nn.Linear(4, 16)
        self.h2h = nn.Linear(16, 16)
        self.out = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(x.shape[0], 16)
        for step in range(x.shape[1]):
            state = torch.tanh(self.i2h(x[:, step]) + self.h2h(state))
        return self.out(state)


def classes(generator: torch.Generator, count: int = 16) -> Tensor:
    return torch.randint(0, 10, (count,), generator=generator)


def mlp(depth: int = 5, activation: type[nn.Module] = nn.Sigmoid, width: int = 24) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), activation(), nn.Dropout(0.1)]
    return nn.Sequential(*layers, nn.Linear(width, 10))


NETS = {
    "mlp": Net(mlp, lambda g: (torch.randn(16, 24, generator=g), classes(g)), F.cross_entropy),
    "resnet": Net(ResNet, lambda g: (torch.randn(16, 1, 8, 8, generator=g), classes(g)), F.cross_entropy),
    "lstm": Net(Tagger, lambda g: (torch.randint(0, 20, (16, 9), generator=g), classes(g)), F.cross_entropy),
    "transformer": Net(
        Transformer,
        lambda g: (tokens := torch.randint(0, 20, (8, 12), generator=g), tokens.roll(-1, 1)),
        lambda out, target: F.cross_entropy(out.flatten(0, 1), target.flatten()),
    ),
    "rnn": Net(HandMadeRnn, lambda g: (torch.randn(16, 12, 4, generator=g), classes(g)), F.cross_entropy),
}


def train(
    net: Net,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    each: Callable[[int], None] | None = None,
) -> list[float]:
    """An ordinary loop; the losses."""
    generator = torch.Generator().manual_seed(7)
    losses = []
    for step in range(steps):
        inputs, targets = net.batch(generator)
        loss = net.loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if each is not None:
            each(step)
    return losses
