"""Cases for the final word: other data, architectures, losses and seeds than the rules were written with.

Nothing here may be used to choose a limit. Read the rates, not the cases.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import data as sets
from .case import Case, Family, Sick, Training
from .nets import ACTIVATIONS
from .recipes import accuracy, batches, fit, optimizer_of

__all__ = ["CASES", "FAMILIES"]


def draw(model: nn.Module, scheme: str, gain: float = 1.0) -> None:
    """Initialise every matrix by one of torch's own functions."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):
            match scheme:
                case "kaiming":
                    nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                case "xavier":
                    nn.init.xavier_uniform_(module.weight, gain)
                case "orthogonal":
                    nn.init.orthogonal_(module.weight, gain)
                case "normal":
                    nn.init.normal_(module.weight, std=gain)
                case "truncated":
                    nn.init.trunc_normal_(module.weight, std=gain, a=-2 * gain, b=2 * gain)
            if module.bias is not None and scheme != "default":
                nn.init.zeros_(module.bias)


class Pyramid(nn.Module):
    """Widths that taper, written with functional calls; an odd number of layers."""

    def __init__(self, inputs: int, outputs: int, depth: int, widest: int, activation: str, shift: float) -> None:
        super().__init__()
        widths = [inputs, *(max(12, round(widest * 0.93**index)) for index in range(depth))]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.out = nn.Linear(widths[-1], outputs)
        self.activation = activation
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        call = {
            "relu": functional.relu,
            "tanh": torch.tanh,
            "sigmoid": torch.sigmoid,
            "logsigmoid": functional.logsigmoid,
            "celu": functional.celu,
            "gelu": functional.gelu,
        }[self.activation]
        for layer in self.layers:
            x = call(layer(x) + self.shift)
        return self.out(x)


def tapering(
    *,
    data: str = "cancer",
    raw: bool = False,
    depth: int = 7,
    widest: int = 80,
    activation: str = "relu",
    scheme: str = "kaiming",
    gain: float = 1.0,
    shift: float = 0.0,
    factor: float = 1.0,
    optimizer: str = "nesterov",
    rate: float = 5e-3,
    batch: int = 48,
    steps: int = 350,
    smooth: bool = False,
) -> Training:
    """Tables with a tapering net."""
    x, y = getattr(sets, data)(raw=True) if raw else getattr(sets, data)()
    x = x * factor
    model = Pyramid(x.shape[1], int(y.max()) + 1, depth, widest, activation, shift)
    draw(model, scheme, gain)
    loss_fn: Any = nn.CrossEntropyLoss(label_smoothing=0.05) if smooth else functional.cross_entropy
    return fit(model, x, y, optimizer=optimizer, rate=rate, batch=batch, steps=steps, loss_fn=loss_fn)


def waves(count: int = 900, length: int = 40) -> tuple[Tensor, Tensor]:
    """Three kinds of noisy waves: sine, square, saw. shape (count, 1, length)"""
    generator = torch.Generator().manual_seed(7)
    kind = torch.randint(3, (count,), generator=generator)
    pace = 2 + 2 * torch.rand(count, 1, generator=generator)
    begin = torch.rand(count, 1, generator=generator)
    turn = (begin + pace * torch.linspace(0, 1, length)) % 1
    shapes = torch.stack([torch.sin(2 * math.pi * turn), torch.sign(turn - 0.5), 2 * turn - 1])
    x = shapes[kind, torch.arange(count)] + 0.3 * torch.randn(count, length, generator=generator)
    return x[:, None] / x.std(), kind


class Waves(nn.Module):
    """1-D convolutions with dilation, read by mean."""

    def __init__(self, depth: int, channels: int, activation: str, norm: bool, skip: bool) -> None:
        super().__init__()
        self.enter = nn.Conv1d(1, channels, 5, padding=2)
        self.convs = nn.ModuleList(
            nn.Conv1d(channels, channels, 3, padding=2 ** (index % 3), dilation=2 ** (index % 3))
            for index in range(depth)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) if norm else nn.Identity() for _ in range(depth))
        self.activation = ACTIVATIONS[activation]()
        self.skip = skip
        self.head = nn.Linear(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.enter(x))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = self.activation(norm(conv(x)))
            x = x + h if self.skip else h
        return self.head(x.mean(-1))


def temporal(
    *,
    depth: int = 4,
    channels: int = 20,
    activation: str = "relu",
    norm: bool = False,
    skip: bool = False,
    scheme: str = "kaiming",
    gain: float = 1.0,
    factor: float = 1.0,
    offset: float = 0.0,
    optimizer: str = "adamw",
    rate: float = 3e-3,
    steps: int = 250,
    bias: float = 0.0,
) -> Training:
    """A temporal CNN on waves."""
    x, y = waves()
    model = Waves(depth, channels, activation, norm, skip)
    draw(model, scheme, gain)
    if bias:
        for module in model.convs:
            nn.init.constant_(module.bias, bias)
    return fit(model, x * factor + offset, y, optimizer=optimizer, rate=rate, steps=steps, batch=50)


class Cells(nn.Module):
    """A recurrent cell stepped by hand; adds the two marked numbers."""

    def __init__(self, kind: str, hidden: int, gain: float | None) -> None:
        super().__init__()
        self.kind = kind
        self.hidden = hidden
        self.cell = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}[kind](2, hidden)
        if gain is not None:
            for block in self.cell.weight_hh.data.split(hidden):
                nn.init.orthogonal_(block, gain)
        self.read = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        state: Any = x.new_zeros(len(x), self.hidden)
        if self.kind == "lstm":
            state = (state, state)
        for token in x.unbind(1):
            state = self.cell(token, state)
        return self.read(state[0] if self.kind == "lstm" else state)


def adding(
    *,
    kind: str = "gru",
    length: int = 10,
    hidden: int = 28,
    gain: float | None = None,
    optimizer: str = "adam",
    rate: float = 1e-2,
    steps: int = 400,
    clip: float | None = None,
    target_factor: float = 1.0,
) -> Training:
    """The adding problem: two numbers of a sequence are marked, one early, one late."""
    generator = torch.Generator().manual_seed(3)
    values = torch.rand(1500, length, generator=generator)
    marks = torch.zeros(1500, length)
    marks[torch.arange(1500), torch.randint(length // 3 + 1, (1500,), generator=generator)] = 1
    marks[torch.arange(1500), length - 1 - torch.randint(length // 3 + 1, (1500,), generator=generator)] = 1
    x = torch.stack([values, marks], -1)
    y = target_factor * ((values * marks).sum(1, keepdim=True) - 1)
    model = Cells(kind, hidden, gain)

    def score() -> float:
        with torch.no_grad():
            return -float(functional.mse_loss(model(x), y) / y.var())

    return fit(
        model,
        x,
        y,
        optimizer=optimizer,
        rate=rate,
        batch=40,
        steps=steps,
        clip=clip,
        loss_fn=functional.mse_loss,
        score=score,
    )


def friedman(
    *,
    depth: int = 3,
    activation: str = "gelu",
    optimizer: str = "adam",
    rate: float = 3e-3,
    target_factor: float = 1.0,
    target_offset: float = 0.0,
    column_factor: float = 1.0,
    huber: bool = True,
    scheme: str = "default",
    gain: float = 1.0,
    steps: int = 400,
    stop: str | None = None,
    poison: int | None = None,
) -> Training:
    """A generated regression with interactions; `stop` names a fault of the loop."""
    generator = torch.Generator().manual_seed(11)
    x = torch.randn(800, 9, generator=generator)
    y = torch.sin(2 * x[:, 0]) * x[:, 1] + 0.5 * x[:, 2].square() + x[:, 3] - 0.5
    y = (target_factor * y / y.std() + target_offset)[:, None]
    x = x.clone()
    x[:, 5] *= column_factor
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Linear(9 if index == 0 else 40, 40), ACTIVATIONS[activation]()]
    model = nn.Sequential(*layers, nn.Linear(40, 1))
    draw(model, scheme, gain)
    chosen = optimizer_of(optimizer, model.parameters(), rate)
    loss_fn: Callable[..., Tensor] = functional.smooth_l1_loss if huber else functional.mse_loss
    spread = float(y.var())
    late: list[float] = []

    def run() -> Iterator[float]:
        for step, pick in enumerate(batches(len(x), 40, steps)):
            chosen.zero_grad()
            inputs, targets = x[pick], y[pick]
            if step == poison:
                targets = targets * 1e4
            if stop == "targets out of order":
                targets = targets[torch.randperm(len(targets))]
            outputs = model(inputs)
            if stop == "outputs cut":
                outputs = outputs.detach().requires_grad_()
            loss = loss_fn(outputs, targets)
            (-loss if stop == "uphill" else loss).backward()
            if stop != "no step":
                chosen.step()
            if step >= steps - 100:
                late.append(loss.item())
            yield loss.item()

    def score() -> float:
        with torch.no_grad():
            ending = -float(functional.mse_loss(model(x), y)) / spread
        return ending if poison is None else -sum(late) / len(late)

    return Training(model, (chosen,), run(), score)


class Pair(nn.Module):
    """Two towers, one for each half of an image; their product decides."""

    def __init__(self, broken: str | None) -> None:
        super().__init__()
        self.broken = broken
        self.left = nn.Sequential(nn.Linear(32, 40), nn.SiLU(), nn.Linear(40, 4))
        self.right = nn.Sequential(nn.Linear(32, 40), nn.SiLU(), nn.Linear(40, 4))
        self.join = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 40), nn.SiLU(), nn.Linear(40, 10))

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.left(x[:, :32]), self.right(x[:, 32:])
        match self.broken:
            case "argmax":
                left = functional.one_hot(left.argmax(-1), 4).float()
                right = functional.one_hot(right.argmax(-1), 4).float()
            case "item":
                right = torch.tensor(right.tolist())
                left = torch.tensor(left.tolist())
            case "inverse":
                left = 1 / functional.relu(left)
            case "power":
                left = left.pow(1.5)
        return self.join(torch.cat([left, right], 1))


def towers(*, broken: str | None = None, optimizer: str = "adam", rate: float = 5e-3, steps: int = 350) -> Training:
    """Two narrow towers and a joint head."""
    x, y = sets.digits()
    return fit(Pair(broken), x, y, optimizer=optimizer, rate=rate, steps=steps, batch=100)


FAMILIES = [
    Family(
        "tapering 13 layers, Nesterov, cancer",
        tapering,
        0.93,
        {"depth": 13},
        (
            Sick("vanishing_gradient", "activation", "sigmoid", ("poor_initialization",)),
            Sick("poor_initialization", "scheme", "default", ("vanishing_gradient",)),
            Sick("dead_units", "shift", -4.0, ("vanishing_gradient", "poor_initialization")),
        ),
    ),
    Family(
        "tapering 9 layers, tanh, SGD, digits",
        tapering,
        0.88,
        {
            "data": "digits",
            "depth": 9,
            "activation": "tanh",
            "scheme": "xavier",
            "optimizer": "sgd",
            "rate": 0.08,
        },
        (
            Sick("vanishing_gradient", "gain", 0.2, ("poor_initialization",)),
            Sick(
                "saturated_activation",
                "gain",
                12.0,
                ("poor_initialization", "exploding_gradient", "learning_rate_too_high"),
            ),
            Sick("saturated_activation", "shift", 4.5, ("vanishing_gradient", "poor_initialization")),
            Sick("learning_rate_too_low", "rate", 2e-5, ("loss_not_decreasing",)),
        ),
    ),
    Family(
        "tapering 6 layers, CELU, RMSprop, spirals",
        tapering,
        0.9,
        {
            "data": "spirals",
            "depth": 6,
            "widest": 50,
            "activation": "celu",
            "optimizer": "rmsprop",
            "rate": 2e-3,
            "steps": 600,
        },
        (
            Sick("learning_rate_too_high", "rate", 3.0, ("non_finite", "exploding_gradient", "loss_not_decreasing")),
            Sick("learning_rate_too_low", "rate", 3e-7, ("loss_not_decreasing",)),
        ),
    ),
    Family(
        "tapering 3 layers, SGD, cancer, raw",
        tapering,
        0.94,
        {"depth": 3, "optimizer": "sgd", "rate": 0.03},
        (
            Sick(
                "unscaled_input",
                "raw",
                True,
                ("learning_rate_too_high", "exploding_gradient", "dead_units", "non_finite"),
            ),
            Sick(
                "unscaled_input",
                "factor",
                500.0,
                ("learning_rate_too_high", "exploding_gradient", "dead_units", "non_finite"),
            ),
            Sick(
                "learning_rate_too_high",
                "rate",
                20.0,
                ("non_finite", "dead_units", "exploding_gradient", "loss_not_decreasing"),
            ),
        ),
    ),
    Family(
        "temporal CNN, 14 layers, AdamW, waves",
        temporal,
        0.85,
        {"depth": 14, "channels": 12, "rate": 1e-3},
        (Sick("vanishing_gradient", "activation", "sigmoid", ("poor_initialization",)),),
    ),
    Family(
        "temporal CNN, 4 layers, momentum, waves",
        temporal,
        0.85,
        {"optimizer": "momentum", "rate": 0.02},
        (
            Sick("dead_units", "bias", -8.0, ("vanishing_gradient", "poor_initialization")),
            Sick(
                "unscaled_input",
                "factor",
                200.0,
                ("learning_rate_too_high", "exploding_gradient", "dead_units", "non_finite"),
            ),
            Sick(
                "unscaled_input",
                "offset",
                150.0,
                ("learning_rate_too_high", "exploding_gradient", "dead_units", "non_finite"),
            ),
            Sick(
                "learning_rate_too_high",
                "rate",
                2.0,
                ("non_finite", "dead_units", "exploding_gradient", "loss_not_decreasing"),
            ),
        ),
    ),
    Family(
        "temporal CNN, 24 residual blocks, SGD, waves",
        temporal,
        0.7,
        {
            "depth": 24,
            "channels": 12,
            "skip": True,
            "norm": True,
            "optimizer": "sgd",
            "rate": 0.05,
            "steps": 200,
        },
        (
            Sick(
                "exploding_gradient",
                "norm",
                False,
                ("poor_initialization", "non_finite", "learning_rate_too_high"),
            ),
        ),
    ),
    Family(
        "adding problem, GRU cell, Adam",
        adding,
        -0.2,
        {},
        (
            Sick("learning_rate_too_low", "rate", 1e-6, ("loss_not_decreasing",)),
            Sick(
                "learning_rate_too_high",
                "rate",
                3.0,
                ("loss_not_decreasing", "saturated_activation", "exploding_gradient", "loss_spike"),
            ),
            Sick("unscaled_input", "target_factor", 1e4, ("learning_rate_too_low", "loss_not_decreasing")),
        ),
    ),
    Family(
        "adding problem, RNN cell, Adam",
        adding,
        -0.5,
        {"kind": "rnn", "length": 8, "rate": 3e-3, "gain": 1.0, "steps": 500},
        (
            Sick(
                "exploding_gradient",
                "gain",
                6.0,
                ("saturated_activation", "poor_initialization", "learning_rate_too_high"),
            ),
            Sick("vanishing_gradient", "length", 80, ()),
        ),
    ),
    Family(
        "generated regression, Adam",
        friedman,
        -0.35,
        {},
        (
            Sick("loss_not_decreasing", "stop", "targets out of order", ()),
            Sick("loss_not_decreasing", "stop", "outputs cut", ("no_gradient",)),
            Sick(
                "loss_not_decreasing",
                "stop",
                "uphill",
                ("exploding_gradient", "non_finite", "learning_rate_too_high"),
            ),
            Sick("loss_not_decreasing", "stop", "no step", ("learning_rate_too_low", "no_gradient")),
            Sick("unscaled_input", "target_offset", 3000.0, ("loss_not_decreasing", "learning_rate_too_low")),
            Sick("unscaled_input", "column_factor", 3e4, ("learning_rate_too_high", "exploding_gradient")),
        ),
    ),
    Family(
        "generated regression, momentum, squares",
        friedman,
        -0.35,
        {"huber": False, "optimizer": "momentum", "rate": 5e-3},
        (
            Sick("non_finite", "rate", 20.0, ("learning_rate_too_high", "exploding_gradient", "dead_units")),
            Sick(
                "unscaled_input", "target_factor", 1e3, ("learning_rate_too_high", "exploding_gradient", "non_finite")
            ),
            Sick("learning_rate_too_low", "rate", 1e-7, ("loss_not_decreasing",)),
        ),
    ),
    Family(
        "generated regression, SGD, one bad batch",
        lambda **knobs: friedman(huber=False, optimizer="sgd", rate=0.02, **{"poison": 10_000, **knobs}),
        -0.8,
        {},
        (
            Sick(
                "loss_spike",
                "poison",
                320,
                ("exploding_gradient", "learning_rate_too_high", "unscaled_input", "non_finite"),
            ),
        ),
    ),
    Family(
        "two towers, Adam, digits",
        towers,
        0.85,
        {},
        (
            Sick("no_gradient", "broken", "argmax"),
            Sick("no_gradient", "broken", "item"),
            Sick("non_finite", "broken", "inverse", ("loss_not_decreasing",)),
            Sick("non_finite", "broken", "power", ("loss_not_decreasing",)),
        ),
    ),
]


# Healthy ones.

ZOO: list[Case] = []


def healthy(name: str, *, target: float) -> Callable[[Callable[[], Training]], Callable[[], Training]]:
    """Put a training on the held-out shelf."""

    def keep(build: Callable[[], Training]) -> Callable[[], Training]:
        ZOO.append(Case(f"held out / {name}", None, build, target, family="held out"))
        return build

    return keep


def shelve(name: str, target: float, recipe: Callable[..., Training], **knobs: Any) -> None:
    """Put a recipe with its knobs on the held-out shelf."""
    healthy(name, target=target)(lambda: recipe(**knobs))


shelve("tapering GELU, AdamW", 0.9, tapering, data="digits", depth=8, activation="gelu", optimizer="adamw", rate=1e-3)
shelve("tapering, smooth labels, wine", 0.95, tapering, data="wine", depth=4, smooth=True, batch=20)
shelve("tapering tanh, moons", 0.9, tapering, data="moons", depth=4, widest=30, activation="tanh", scheme="xavier",
       optimizer="adam", rate=3e-3)  # fmt: skip
shelve("cancer past convergence", 0.99, tapering, depth=2, optimizer="adam", rate=3e-3, steps=1500)
shelve("temporal CNN with batch norm", 0.85, temporal, norm=True)
shelve("temporal residual CNN, RMSprop", 0.85, temporal, norm=True, skip=True, depth=6, optimizer="rmsprop", rate=1e-3)
shelve("temporal CNN, SiLU, orthogonal", 0.8, temporal, activation="silu", scheme="orthogonal", depth=5)
shelve("adding, LSTM cell, clipped", -0.3, adding, kind="lstm", length=8, clip=1.0)
shelve("adding, ReLU-free GRU, momentum", -0.6, adding, optimizer="nesterov", rate=0.05)
shelve("generated regression, eight layers of SiLU", -0.3, friedman, depth=8, activation="silu", rate=2e-3)
shelve("generated regression, Adagrad", -0.5, friedman, optimizer="adagrad", rate=3e-2)
shelve("towers, momentum", 0.85, towers, optimizer="momentum", rate=0.05)
shelve("towers, fifty steps", 0.4, towers, steps=50)


class Gated(nn.Module):
    """Gated linear units between RMS norms."""

    def __init__(self, width: int = 40, depth: int = 5) -> None:
        super().__init__()
        self.enter = nn.Linear(64, width)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(depth))
        self.wide = nn.ModuleList(nn.Linear(width, 4 * width, bias=False) for _ in range(depth))
        self.back = nn.ModuleList(nn.Linear(2 * width, width, bias=False) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for norm, wide, back in zip(self.norms, self.wide, self.back, strict=True):
            a, gate = wide(norm(x)).chunk(2, -1)
            x = x + back(a * functional.silu(gate))
        return self.head(x)


@healthy("SwiGLU blocks with RMS norm", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    return fit(Gated(), x, y, optimizer="adamw", rate=2e-3, batch=100)


class Dense(nn.Module):
    """Each layer sees all before it."""

    def __init__(self, growth: int = 16, depth: int = 6) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64 + growth * index, growth) for index in range(depth))
        self.head = nn.Linear(64 + growth * depth, 10)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, functional.relu(layer(x))], 1)
        return self.head(x)


@healthy("densely connected", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    return fit(Dense(), x, y, rate=2e-3)


class Separable(nn.Module):
    """Depthwise and pointwise convolutions, hard-swish, squeeze and excitation."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1, channels, 3, padding=1)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.BatchNorm2d(channels)
        self.squeeze = nn.Sequential(nn.Linear(channels, 4), nn.ReLU(), nn.Linear(4, channels), nn.Sigmoid())
        self.pointwise = nn.Conv2d(channels, 2 * channels, 1)
        self.head = nn.Linear(2 * channels * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.hardswish(self.enter(x))
        x = functional.hardswish(self.norm(self.depthwise(x)))
        x = x * self.squeeze(x.mean((2, 3)))[:, :, None, None]
        x = functional.hardswish(self.pointwise(x))
        return self.head(functional.adaptive_avg_pool2d(x, 2).flatten(1))


@healthy("separable convolutions with squeeze and excitation", target=0.9)
def _() -> Training:
    x, y = sets.images()
    return fit(Separable(), x, y, rate=5e-3, batch=32, steps=300)


class Siamese(nn.Module):
    """Distances between two images."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(64, 48), nn.LeakyReLU(0.1), nn.Linear(48, 12))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return functional.pairwise_distance(self.tower(a), self.tower(b))


@healthy("siamese net with a margin", target=-0.2)
def _() -> Training:
    x, y = sets.digits()
    model = Siamese()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    losses: list[float] = []

    def run() -> Iterator[float]:
        for pick in batches(len(x), 96, 400):
            partner = pick[torch.randperm(len(pick))]
            same = (y[pick] == y[partner]).float()
            gap = model(x[pick], x[partner])
            loss = (same * gap.square() + (1 - same) * functional.relu(2 - gap).square()).mean()
            optimizer.zero_grad(set_to_none=False)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            yield losses[-1]

    return Training(model, (optimizer,), run(), lambda: -sum(losses[-40:]) / 40)


@healthy("hinge loss on sparse words", target=0.8)
def _() -> Training:
    generator = torch.Generator().manual_seed(5)
    words = torch.randint(600, (1200, 9), generator=generator)
    mood = torch.randn(600, generator=generator)
    y = (mood[words].sum(1) > 0).long()

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(600, 12, padding_idx=0)
            self.body = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.body(self.table(x).mean(1))

    return fit(Bag(), words, y, rate=1e-2, loss_fn=functional.multi_margin_loss, steps=400)


@healthy("diffusion: noise predicted at random times", target=-0.75)
def _() -> Training:
    points, _ = sets.moons()

    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.time = nn.Linear(8, 64)
            self.enter = nn.Linear(2, 64)
            self.body = nn.Sequential(nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
            self.out = nn.Linear(64, 2)
            nn.init.zeros_(self.out.weight)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            phase = t * torch.arange(1, 5) * math.pi
            return self.out(self.body(self.enter(x) + self.time(torch.cat([phase.sin(), phase.cos()], 1))))

    model = Denoiser()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    losses: list[float] = []

    def run() -> Iterator[float]:
        for pick in batches(len(points), 100, 400):
            t = torch.rand(len(pick), 1)
            noise = torch.randn(len(pick), 2)
            mixed = (1 - t).sqrt() * points[pick] + t.sqrt() * noise
            loss = functional.mse_loss(model(mixed, t), noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            yield losses[-1]

    return Training(model, (optimizer,), run(), lambda: -sum(losses[-60:]) / 60)


@healthy("Q-learning on a chain with a target net", target=0.8)
def _() -> Training:
    size = 6
    model = nn.Sequential(nn.Linear(size, 24), nn.ReLU(), nn.Linear(24, 2))
    target = nn.Sequential(nn.Linear(size, 24), nn.ReLU(), nn.Linear(24, 2))
    target.load_state_dict(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    eye = torch.eye(size)

    def run() -> Iterator[float]:
        for step in range(600):
            place = torch.randint(size, (32,))
            move = torch.randint(2, (32,))
            after = (place + 2 * move - 1).clamp(0, size - 1)
            reward = (after == size - 1).float()
            with torch.no_grad():
                goal = reward + 0.8 * (1 - reward) * target(eye[after]).max(1).values
            value = model(eye[place]).gather(1, move[:, None])[:, 0]
            loss = functional.smooth_l1_loss(value, goal)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 25 == 0:
                target.load_state_dict(model.state_dict())
            yield loss.item()

    def score() -> float:
        with torch.no_grad():
            return float((model(eye[:-1]).argmax(1) == 1).float().mean())

    return Training(model, (optimizer,), run(), score)


class Cross(nn.Module):
    """An encoder of tokens and a decoder that attends to it: reverse a sequence."""

    def __init__(self, kinds: int = 8, width: int = 32, length: int = 6) -> None:
        super().__init__()
        self.embed = nn.Embedding(kinds, width)
        self.place = nn.Parameter(0.1 * torch.randn(length, width))
        self.ask = nn.Parameter(0.1 * torch.randn(length, width))
        self.encoder = nn.TransformerEncoderLayer(width, 2, 64, 0.0, batch_first=True, norm_first=True)
        self.decoder = nn.TransformerDecoderLayer(width, 2, 64, 0.0, batch_first=True, norm_first=True)
        self.head = nn.Linear(width, kinds)

    def forward(self, x: Tensor) -> Tensor:
        memory = self.encoder(self.embed(x) + self.place)
        return self.head(self.decoder(self.ask.expand(len(x), -1, -1), memory))


@healthy("encoder and decoder that reverse a sequence", target=0.8)
def _() -> Training:
    x = torch.randint(8, (2000, 6), generator=torch.Generator().manual_seed(9))
    y = x.flip(1)
    model = Cross()

    def loss_fn(outputs: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(outputs.flatten(0, 1), y.flatten())

    return fit(model, x, y, rate=4e-3, batch=64, steps=300, loss_fn=loss_fn)


@healthy("graph convolution on a ring", target=0.9)
def _() -> Training:
    x, y = sets.moons()
    near = functional.softmax(-torch.cdist(x, x).square() * 20, 1)
    first, second = nn.Linear(2, 32), nn.Linear(32, 2)

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = first, second

        def forward(self, x: Tensor) -> Tensor:
            return near @ self.second(torch.relu(near @ self.first(x)))

    model = Graph()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2, weight_decay=5e-4)

    def run() -> Iterator[float]:
        for _ in range(200):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            yield loss.item()

    return Training(model, (optimizer,), run(), lambda: accuracy(model, x, y))


@healthy("step decay, four-fold cut twice", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    model = nn.Sequential(nn.Linear(64, 72), nn.ReLU(), nn.Linear(72, 36), nn.ReLU(), nn.Linear(36, 10))
    return fit(
        model, x, y, optimizer="momentum", rate=0.1, schedule=lambda step: 0.25 ** (step // 100), batch=80, steps=300
    )


@healthy("one cycle of the rate, momentum", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    model = nn.Sequential(nn.Linear(64, 60), nn.ELU(), nn.Linear(60, 30), nn.ELU(), nn.Linear(30, 10))
    return fit(
        model,
        x,
        y,
        optimizer="momentum",
        rate=0.05,
        schedule=lambda step: 1 - abs(step - 150) / 151,
        batch=80,
        steps=300,
    )


@healthy("mixture density, two modes", target=-1.2)
def _() -> Training:
    x = torch.rand(800, 1) * 2 - 1
    y = torch.where(torch.rand(800, 1) < 0.5, x.square() + 0.5, -x - 0.5) + 0.1 * torch.randn(800, 1)
    model = nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 6))

    def loss_fn(outputs: Tensor, y: Tensor) -> Tensor:
        weight, mean, spread = outputs.chunk(3, -1)
        law = torch.distributions.MixtureSameFamily(
            torch.distributions.Categorical(logits=weight),
            torch.distributions.Normal(mean, functional.softplus(spread) + 0.05),
        )
        return -law.log_prob(y[:, 0]).mean()

    def score() -> float:
        with torch.no_grad():
            return -float(loss_fn(model(x), y))

    return fit(model, x, y, rate=5e-3, batch=80, steps=500, loss_fn=loss_fn, score=score)


@healthy("kernel of random features, last layer only", target=0.85)
def _() -> Training:
    x, y = sets.digits()
    features = nn.Linear(64, 300)
    features.weight.data.normal_(0, 0.08)
    features.requires_grad_(False)

    class Fourier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = features
            self.head = nn.Linear(300, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cos(self.features(x)))

    model = Fourier()
    return fit(model, x, y, optimizer=torch.optim.SGD(model.head.parameters(), 0.2), steps=400)


CASES: list[Case] = [case for family in FAMILIES for case in family.cases()] + ZOO
