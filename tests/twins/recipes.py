"""Recipes: trainings with knobs. Families and ladders turn them; the defaults are ordinary, healthy choices."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from . import data as sets
from .case import Training
from .nets import Recurrent, initialise, plain_conv, stack

__all__ = ["accuracy", "conv", "dense", "fit", "optimizer_of", "recurrent", "transformer"]

Loss = Callable[[Tensor, Tensor], Tensor]

CLASSES = {"digits": 10, "circles": 2, "moons": 2, "spirals": 3, "wine": 3, "cancer": 2}


def optimizer_of(kind: str, parameters: Any, rate: float, *, weight_decay: float = 0.0) -> Optimizer:
    """A fresh optimizer by name."""
    match kind:
        case "sgd":
            return torch.optim.SGD(parameters, rate, weight_decay=weight_decay)
        case "momentum":
            return torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=weight_decay)
        case "nesterov":
            return torch.optim.SGD(parameters, rate, momentum=0.9, nesterov=True, weight_decay=weight_decay)
        case "adam":
            return torch.optim.Adam(parameters, rate, weight_decay=weight_decay)
        case "adamw":
            return torch.optim.AdamW(parameters, rate, weight_decay=weight_decay)
        case "rmsprop":
            return torch.optim.RMSprop(parameters, rate, weight_decay=weight_decay)
        case "adagrad":
            return torch.optim.Adagrad(parameters, rate, weight_decay=weight_decay)
    raise ValueError(f"{kind!r} is no optimizer known here.")


def batches(count: int, size: int, steps: int) -> Iterator[Tensor]:
    """Row numbers of `steps` random batches, from a generator of their own."""
    generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    order = torch.randperm(count, generator=generator)
    at = 0
    for _ in range(steps):
        if at + size > count:
            order, at = torch.randperm(count, generator=generator), 0
        yield order[at : at + size]
        at += size


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of samples classified right."""
    model.eval()
    with torch.no_grad():
        outputs = model(x)
    if not torch.isfinite(outputs).all():
        return -float("inf")
    return float((outputs.argmax(-1) == y).float().mean())


def fit(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    optimizer: str | Optimizer = "adam",
    rate: float = 1e-3,
    batch: int = 64,
    steps: int = 300,
    loss_fn: Loss = functional.cross_entropy,
    score: Callable[[], float] | None = None,
    weight_decay: float = 0.0,
    clip: float | None = None,
    schedule: Callable[[int], float] | None = None,
) -> Training:
    """The loop that everybody writes."""
    if isinstance(optimizer, str):
        optimizer = optimizer_of(optimizer, model.parameters(), rate, weight_decay=weight_decay)
    chosen = optimizer
    scheduler = torch.optim.lr_scheduler.LambdaLR(chosen, schedule) if schedule else None
    picks = batches(len(x), batch, steps)

    def run() -> Iterator[float]:
        model.train()
        for pick in picks:
            chosen.zero_grad()
            loss = loss_fn(model(x[pick]), y[pick])
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            chosen.step()
            if scheduler:
                scheduler.step()
            yield loss.item()

    return Training(model, (chosen,), run(), score or (lambda: accuracy(model, x, y)))


def dense(
    *,
    data: str = "digits",
    raw: bool = False,
    depth: int = 4,
    width: int = 64,
    activation: str = "relu",
    init: str = "he",
    gain: float = 1.0,
    bias: float = 0.0,
    norm: str | None = None,
    skip: bool = False,
    branch: float = 1.0,
    input_scale: float = 1.0,
    input_shift: float = 0.0,
    target_scale: float = 1.0,
    target_shift: float = 0.0,
    head_gain: float = 1.0,
    last: str = "identity",
    **training: Any,
) -> Training:
    """A multilayer perceptron on tables; regression scores minus the mean squared error over the target's variance."""
    x, y = getattr(sets, data)(raw=True) if raw else getattr(sets, data)()
    x = x * input_scale + input_shift
    inputs = x.shape[1]
    outputs = CLASSES.get(data, 1)
    model: nn.Module = stack(
        inputs, outputs, depth=depth, width=width, activation=activation, norm=norm, skip=skip, branch=branch
    )
    initialise(model, init, gain=gain, bias=bias)
    head = model[-1]  # type: ignore[index]
    with torch.no_grad():
        head.bias.zero_()
        head.weight.mul_(head_gain)
    if last != "identity":
        model = nn.Sequential(model, {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[last]())
    if data in CLASSES:
        return fit(model, x, y, **training)
    y = y * target_scale + target_shift
    spread = float(y.var())

    def score() -> float:
        model.eval()
        with torch.no_grad():
            return -float(functional.mse_loss(model(x), y)) / spread

    return fit(model, x, y, loss_fn=functional.mse_loss, score=score, **training)


def conv(
    *,
    depth: int = 3,
    channels: int = 16,
    activation: str = "relu",
    init: str = "he",
    gain: float = 1.0,
    bias: float = 0.0,
    norm: str | None = None,
    skip: bool = False,
    extra: int = 0,
    extra_activation: str = "relu",
    input_scale: float = 1.0,
    input_shift: float = 0.0,
    batch: int = 32,
    **training: Any,
) -> Training:
    """A convolutional net on the images."""
    x, y = sets.images()
    model = plain_conv(
        depth=depth,
        channels=channels,
        activation=activation,
        norm=norm,
        skip=skip,
        extra=extra,
        extra_activation=extra_activation,
    )
    initialise(model, init, gain=gain, bias=bias)
    return fit(model, x * input_scale + input_shift, y, batch=batch, **training)


def recurrent(
    *,
    cell: str = "rnn",
    length: int = 20,
    hidden: int = 32,
    nonlinearity: str = "tanh",
    gain: float | None = None,
    input_gain: float = 1.0,
    forget_bias: float | None = None,
    batch: int = 32,
    rate: float = 3e-3,
    **training: Any,
) -> Training:
    """Name the first symbol of a sequence at its end; `gain` makes the recurrent matrices orthogonal times that."""
    x, y = sets.first_symbol(length)
    model = Recurrent(x.shape[-1], hidden, x.shape[-1], cell=cell, nonlinearity=nonlinearity)
    with torch.no_grad():
        for name, weight in model.recurrent.named_parameters():
            if name.startswith("weight_hh") and gain is not None:
                for block in weight.split(hidden):
                    nn.init.orthogonal_(block, gain)
            if name.startswith("weight_ih"):
                weight.mul_(input_gain)
            if name.startswith("bias_ih") and forget_bias is not None:
                weight[hidden : 2 * hidden].fill_(forget_bias)
    return fit(model, x, y, batch=batch, rate=rate, **training)


class Encoder(nn.Module):
    """A small transformer over the rows of an image, each row a token."""

    def __init__(self, *, width: int, depth: int, heads: int, norm_first: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.position = nn.Parameter(0.02 * torch.randn(8, width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x.reshape(-1, 8, 8)) + self.position
        return self.head(self.norm(self.encoder(tokens)).mean(1))


def transformer(
    *,
    width: int = 32,
    depth: int = 2,
    heads: int = 4,
    norm_first: bool = True,
    input_scale: float = 1.0,
    **training: Any,
) -> Training:
    """A transformer that reads the images row by row."""
    x, y = sets.digits()
    model = Encoder(width=width, depth=depth, heads=heads, norm_first=norm_first)
    return fit(model, x * input_scale, y, **training)
