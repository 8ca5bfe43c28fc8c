"""Signals that vanish in other ways: loops written by hand, gates, softmax in the middle, decay of the weights."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import data as sets
from .case import Case, Family, Sick, Training
from .nets import initialise, stack
from .recipes import dense, fit

__all__ = ["FAMILIES", "ZOO"]


class Loop(nn.Module):
    """A recurrent net written out; reads its last state, or all of them."""

    def __init__(self, cell: str, width: int, *, gain: float, every: bool) -> None:
        super().__init__()
        self.kind, self.width, self.every = cell, width, every
        if cell == "cell":
            self.cell: nn.Module = nn.RNNCell(4, width)
            nn.init.orthogonal_(self.cell.weight_hh, gain)
        elif cell == "gru":
            self.cell = nn.GRUCell(4, width)
        else:
            self.into, self.over = nn.Linear(4, width), nn.Linear(width, width)
            nn.init.orthogonal_(self.over.weight, gain)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), self.width)
        for token in x.unbind(1):
            if self.kind == "linear":
                state = torch.tanh(self.into(token) + self.over(state))
            else:
                state = self.cell(token, state)
        return self.head(state)


def loop(
    *, cell: str = "cell", length: int = 8, gain: float = 1.0, rate: float = 3e-3, steps: int = 400, width: int = 32
) -> Training:
    """Name the first symbol after a loop over all of them."""
    x, y = sets.first_symbol(length)
    return fit(Loop(cell, width, gain=gain, every=False), x, y, rate=rate, batch=32, steps=steps)


class Middle(nn.Module):
    """A classifier with something in the middle of it."""

    def __init__(self, middle: str, depth: int = 3, width: int = 48) -> None:
        super().__init__()
        self.first = nn.Linear(64, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.middle = middle
        self.head = nn.Linear(width, 10)
        initialise(self, "he")

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(x))
        for layer in self.hidden:
            match self.middle:
                case "softmax":
                    x = functional.softmax(layer(x), -1)
                case "square":
                    x = 0.1 * torch.sigmoid(layer(x)) ** 2
                case "small factor":
                    x = 0.02 * functional.relu(layer(x))
                case "gate":
                    z = layer(x)
                    x = torch.tanh(z) * torch.sigmoid(z - 6)
                case _:
                    x = functional.relu(layer(x))
        return self.head(x)


def middle(*, middle: str = "relu", optimizer: str = "momentum", rate: float = 0.02, steps: int = 300) -> Training:
    """Digits by way of three hidden layers of some kind."""
    x, y = sets.digits()
    return fit(Middle(middle), x, y, optimizer=optimizer, rate=rate, steps=steps)


class Posts(nn.Module):
    """Attention blocks; scores may be divided until all tokens look the same."""

    def __init__(self, depth: int, *, branch: float, width: int = 32, skip: bool = True) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.blocks = nn.ModuleList(nn.MultiheadAttention(width, 2, batch_first=True) for _ in range(depth))
        self.mixes = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, 10)
        self.branch, self.skip = branch, skip

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x.reshape(-1, 8, 8))
        for block, mix in zip(self.blocks, self.mixes, strict=True):
            a = functional.gelu(mix(block(h, h, h, need_weights=False)[0]))
            h = h + self.branch * a if self.skip else a
        return self.head(h.mean(1))


def posts(*, depth: int = 6, skip: bool = True, rate: float = 2e-3, steps: int = 250) -> Training:
    """Attention with and without residual sums."""
    x, y = sets.digits()
    return fit(Posts(depth, branch=0.3, skip=skip), x, y, rate=rate, steps=steps, batch=32)


def coder(*, activation: str = "relu", optimizer: str = "adam", rate: float = 2e-3, steps: int = 300) -> Training:
    """Cancer by way of a funnel: 30-64-32-16-8-4-2."""
    x, y = sets.cancer()
    widths = (30, 64, 32, 16, 8, 4)
    phi = {"relu": nn.LeakyReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}[activation]
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), phi()]
    model = nn.Sequential(*layers, nn.Linear(4, 2))
    return fit(model, x, y, optimizer=optimizer, rate=rate, batch=32, steps=steps)


SMALL = ("poor_initialization",)
PLATEAU = ("loss_not_decreasing",)

FAMILIES = [
    Family(
        "loop of RNNCell, Adam, first symbol",
        loop,
        0.9,
        {},
        (Sick("vanishing_gradient", "length", 150),),
    ),
    Family(
        "loop of linear layers, Adam, first symbol",
        loop,
        0.9,
        {"cell": "linear"},
        (Sick("vanishing_gradient", "length", 70), Sick("vanishing_gradient", "gain", 0.05, SMALL)),
    ),
    Family(
        "something in the middle, momentum, digits",
        middle,
        0.9,
        {},
        (
            Sick("vanishing_gradient", "middle", "softmax"),
            Sick("vanishing_gradient", "middle", "square"),
            Sick("vanishing_gradient", "middle", "small factor", SMALL),
            Sick("vanishing_gradient", "middle", "gate", ("saturated_activation",)),
        ),
    ),
    Family(
        "attention blocks, Adam, digits",
        posts,
        0.8,
        {},
        (Sick("vanishing_gradient", "skip", False, SMALL),),
    ),
    Family(
        "funnel, SGD, cancer",
        coder,
        0.9,
        {"optimizer": "momentum", "rate": 0.02},
        (Sick("vanishing_gradient", "activation", "sigmoid"),),
    ),
    Family(
        "tanh MLP 6 × 64, momentum, moons, decay",
        dense,
        0.95,
        {"data": "moons", "depth": 6, "activation": "tanh", "init": "lecun", "optimizer": "momentum", "rate": 0.05},
        (Sick("vanishing_gradient", "weight_decay", 0.5, PLATEAU),),
    ),
    Family(
        "ReLU MLP 6 × 64, momentum, spirals, decay",
        dense,
        0.8,
        {"data": "spirals", "depth": 6, "optimizer": "momentum", "rate": 0.05, "steps": 500},
        (Sick("vanishing_gradient", "weight_decay", 0.1, PLATEAU),),
    ),
]

ZOO = [
    Case(f"zoo / {name}", None, build, target, family="zoo")
    for name, target, build in (
        ("loop of GRUCell, 16 steps", 0.9, lambda: loop(cell="gru", length=16, rate=1e-2, steps=400)),
        ("funnel of tanh, Adam", 0.9, lambda: coder(activation="tanh")),
        ("tanh MLP with a little decay", 0.9,
         lambda: dense(depth=5, activation="tanh", init="lecun", weight_decay=1e-3, optimizer="momentum", rate=0.02)),
        ("softmax attention over features", 0.9, lambda: _attended()),
    )
]  # fmt: skip


class Attended(nn.Module):
    """A softmax in the middle that only weighs."""

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Linear(64, 64)
        self.body = stack(64, 10, depth=2, width=64)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(64 * functional.softmax(self.weigh(x), -1) * x)


def _attended() -> Training:
    x, y = sets.digits()
    return fit(Attended(), x, y, rate=2e-3)
