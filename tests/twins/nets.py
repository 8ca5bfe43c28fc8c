"""Networks with knobs, written as one writes them: the cases turn one knob at a time."""

import math
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "Block", "Recurrent", "initialise", "plain_conv", "stack"]


class Exponential(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(x)


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


ACTIVATIONS: dict[str, Any] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "prelu": nn.PReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "hardsigmoid": nn.Hardsigmoid,
    "hardtanh": nn.Hardtanh,
    "softsign": nn.Softsign,
    "softplus": nn.Softplus,
    "relu6": nn.ReLU6,
    "exp": Exponential,
    "sine": Sine,
    "identity": nn.Identity,
}


class Block(nn.Module):
    """x + scale · branch(x)."""

    def __init__(self, branch: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.branch = branch
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.branch(x)


def initialise(model: nn.Module, scheme: str, *, gain: float = 1.0, bias: float | None = 0.0) -> nn.Module:
    """Draw all matrices and kernels afresh; `bias` fills the biases, None leaves them."""
    with torch.no_grad():
        for module in model.modules():
            if not isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
                continue
            _fill(module.weight, scheme, gain)
            if module.bias is not None and bias is not None:
                module.bias.fill_(bias)
    return model


def _fill(weight: Tensor, scheme: str, gain: float) -> None:
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
    match scheme:
        case "default":
            weight.mul_(gain)
        case "he":
            weight.normal_(0, gain * math.sqrt(2 / fan_in))
        case "lecun":
            weight.normal_(0, gain * math.sqrt(1 / fan_in))
        case "xavier":
            weight.normal_(0, gain * math.sqrt(2 / (fan_in + fan_out)))
        case "normal":
            weight.normal_(0, gain)
        case "uniform":
            weight.uniform_(-gain, gain)
        case "negative":
            weight.normal_(0, math.sqrt(2 / fan_in)).abs_().neg_().mul_(gain)
        case "constant":
            weight.fill_(gain)
        case "zeros":
            weight.zero_()
        case "orthogonal":
            nn.init.orthogonal_(weight, gain)
        case _:
            raise ValueError(f"{scheme!r} is no scheme known here.")


def stack(
    inputs: int,
    outputs: int,
    *,
    depth: int,
    width: int,
    activation: str = "relu",
    norm: str | None = None,
    skip: bool = False,
    branch: float = 1.0,
    dropout: float = 0.0,
) -> nn.Sequential:
    """`depth` hidden layers and a linear head; with `skip`, all hidden layers but the first are residual blocks."""
    layers: list[nn.Module] = []
    for index in range(depth):
        parts: list[nn.Module] = [nn.Linear(inputs if index == 0 else width, width)]
        if norm == "layer before":
            parts.append(nn.LayerNorm(width))
        if norm == "batch":
            parts.append(nn.BatchNorm1d(width))
        parts.append(ACTIVATIONS[activation]())
        if norm == "layer after":
            parts.append(nn.LayerNorm(width))
        if dropout:
            parts.append(nn.Dropout(dropout))
        if skip and index > 0:
            layers.append(Block(nn.Sequential(*parts), branch))
        else:
            layers.extend(parts)
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def plain_conv(
    *,
    depth: int,
    channels: int = 16,
    activation: str = "relu",
    norm: str | None = None,
    skip: bool = False,
    extra: int = 0,
    extra_activation: str = "relu",
    classes: int = 10,
) -> nn.Sequential:
    """3 × 3 convolutions, pooling, `extra` dense layers, a head."""
    layers: list[nn.Module] = []
    for index in range(depth):
        parts: list[nn.Module] = [nn.Conv2d(1 if index == 0 else channels, channels, 3, padding=1)]
        if norm == "batch":
            parts.append(nn.BatchNorm2d(channels))
        if norm == "group":
            parts.append(nn.GroupNorm(4, channels))
        parts.append(ACTIVATIONS[activation]())
        if skip and index > 0:
            layers.append(Block(nn.Sequential(*parts)))
        else:
            layers.extend(parts)
    layers += [nn.MaxPool2d(2), nn.Flatten()]
    features = channels * 16
    for _ in range(extra):
        layers += [nn.Linear(features, 48), ACTIVATIONS[extra_activation]()]
        features = 48
    return nn.Sequential(*layers, nn.Linear(features, classes))


class Recurrent(nn.Module):
    """A recurrent layer read at its last step, and a linear head."""

    def __init__(
        self, inputs: int, hidden: int, outputs: int, *, cell: str = "rnn", nonlinearity: str = "tanh"
    ) -> None:
        super().__init__()
        if cell == "rnn":
            self.recurrent: nn.Module = nn.RNN(inputs, hidden, nonlinearity=nonlinearity, batch_first=True)
        else:
            self.recurrent = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](inputs, hidden, batch_first=True)
        self.head = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.recurrent(x)
        return self.head(states[:, -1])
