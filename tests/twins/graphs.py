"""What the loss reaches and what the optimiser holds: graphs cut by mistake, optimisers of the wrong parameters."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from . import data as sets
from .case import Case, Family, Sick, Training
from .nets import Recurrent, stack
from .recipes import accuracy, batches, fit, optimizer_of

__all__ = ["FAMILIES", "ZOO"]


class Glimpse(nn.Module):
    """A convolutional encoder with few outputs and a head; the graph may be cut between them."""

    def __init__(self, cut: str | None, features: int = 3) -> None:
        super().__init__()
        self.cut = cut
        self.features = features
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, features)
        )
        self.head = nn.Sequential(nn.Linear(features, 48), nn.ReLU(), nn.Linear(48, 10))

    def forward(self, x: Tensor) -> Tensor:
        if self.cut == "inference":
            with torch.no_grad():
                return self.head(self.encoder(x))
        h = self.encoder(x)
        match self.cut:
            case "argmax":
                h = functional.one_hot(h.argmax(-1), self.features).float()
            case "list":
                h = torch.tensor([[value.item() for value in row] for row in h])
            case "data":
                h = h.data
            case "array":
                h = torch.as_tensor(h.detach().cpu().numpy())
            case "threshold":
                h = torch.where(h > 0, 1.0, -1.0)
            case "rank":
                h = h.argsort(-1).float()
            case "new tensor":
                h = h.new_tensor(h.tolist())
        return self.head(h)


def glimpse(
    *, cut: str | None = None, optimizer: str = "adamw", rate: float = 3e-3, frozen: bool = False, steps: int = 400
) -> Training:
    """Three numbers must be learned that tell ten digits apart."""
    x, y = sets.images()
    model = Glimpse(cut)
    model.encoder.requires_grad_(not frozen)
    return fit(model, x, y, optimizer=optimizer, rate=rate, batch=32, steps=steps)


class Encoded(nn.Module):
    """A recurrent encoder and a head, in two parts."""

    def __init__(self, cut: str | None) -> None:
        super().__init__()
        self.cut = cut
        self.embed = nn.Linear(4, 16)
        self.body = Recurrent(16, 24, 2, cell="gru")
        self.head = nn.Linear(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(torch.tanh(self.embed(x)))
        if self.cut == "no_grad":
            with torch.no_grad():
                h = self.body(torch.tanh(self.embed(x)))
        if self.cut == "rounded to an index":
            h = h.long().float()
        return self.head(h)


def encoded(*, cut: str | None = None, rate: float = 1e-2) -> Training:
    """Name the first symbol by way of two numbers."""
    x, y = sets.first_symbol(6)
    return fit(Encoded(cut), x, y, rate=rate, batch=32, steps=300)


def built(
    *,
    held: str = "model",
    data: str = "moons",
    optimizer: str = "adam",
    rate: float = 1e-2,
    activation: str = "relu",
    width: int = 24,
    steps: int = 250,
) -> Training:
    """The optimiser is made too early, or for the wrong thing."""
    x, y = getattr(sets, data)()
    squared = data == "diabetes"
    outputs = 1 if squared else int(y.max()) + 1
    model: nn.Module = stack(x.shape[1], outputs, depth=3, width=width, activation=activation)
    chosen: Optimizer
    match held:
        case "another model":
            other = stack(x.shape[1], outputs, depth=3, width=width, activation=activation)
            chosen = optimizer_of(optimizer, other.parameters(), rate)
        case "the original of a copy":
            chosen = optimizer_of(optimizer, model.parameters(), rate)
            model = copy.deepcopy(model)
        case "layers that were replaced":
            chosen = optimizer_of(optimizer, model.parameters(), rate)
            for index in (2, 4):
                model[index] = nn.Linear(width, width)  # type: ignore[index, operator]
            model[0] = nn.Linear(x.shape[1], width)  # type: ignore[index, operator]
        case "weights that were replaced":
            chosen = optimizer_of(optimizer, model.parameters(), rate)
            for layer in model.modules():
                if isinstance(layer, nn.Linear):
                    layer.weight = nn.Parameter(torch.randn_like(layer.weight) / layer.in_features**0.5)
        case "biases":
            small = [p for p in model.parameters() if p.dim() == 1]
            chosen = optimizer_of(optimizer, small, rate)
        case "first layer":
            chosen = optimizer_of(optimizer, model[0].parameters(), rate)  # type: ignore[index, operator]
        case "nothing that has a gradient":
            chosen = optimizer_of(optimizer, [p.detach().clone().requires_grad_() for p in model.parameters()], rate)
        case _:
            chosen = optimizer_of(optimizer, model.parameters(), rate)
    loss_fn = functional.mse_loss if squared else functional.cross_entropy

    def score() -> float:
        if not squared:
            return accuracy(model, x, y)
        with torch.no_grad():
            return -float(functional.mse_loss(model(x), y))

    return fit(model, x, y, optimizer=chosen, steps=steps, batch=32, loss_fn=loss_fn, score=score)


PARTS = ("loss_not_decreasing", "learning_rate_too_low")

FAMILIES = [
    Family(
        "conv encoder and head, AdamW, digits",
        glimpse,
        0.8,
        {},
        (
            Sick("no_gradient", "cut", "argmax"),
            Sick("no_gradient", "cut", "list"),
            Sick("no_gradient", "cut", "data"),
            Sick("no_gradient", "cut", "array"),
            Sick("no_gradient", "cut", "threshold"),
            Sick("no_gradient", "cut", "rank"),
            Sick("no_gradient", "cut", "new tensor"),
            Sick("no_gradient", "frozen", True),
        ),
    ),
    Family(
        "GRU encoder and head, Adam, first symbol",
        encoded,
        0.9,
        {},
        (
            Sick("no_gradient", "cut", "no_grad", PARTS),
            Sick("no_gradient", "cut", "rounded to an index", PARTS),
        ),
    ),
    Family(
        "optimiser of the wrong parameters, Adam, moons",
        built,
        0.95,
        {},
        (
            Sick("no_gradient", "held", "another model", PARTS),
            Sick("no_gradient", "held", "the original of a copy", PARTS),
            Sick("no_gradient", "held", "nothing that has a gradient", PARTS),
        ),
    ),
    Family(
        "optimiser of the wrong parameters, momentum, digits",
        built,
        0.9,
        {"data": "digits", "optimizer": "momentum", "rate": 0.02, "activation": "tanh", "width": 48},
        (
            Sick("no_gradient", "held", "the original of a copy", PARTS),
            Sick("no_gradient", "held", "layers that were replaced", PARTS),
            Sick("no_gradient", "held", "weights that were replaced", PARTS),
            Sick("no_gradient", "held", "biases", PARTS),
            Sick("no_gradient", "held", "first layer", PARTS),
        ),
    ),
    Family(
        "optimiser of the wrong parameters, Adam, diabetes",
        built,
        -0.5,
        {"data": "diabetes", "rate": 3e-3},
        (
            Sick("no_gradient", "held", "another model", PARTS),
            Sick("no_gradient", "held", "biases", PARTS),
        ),
    ),
]


# Healthy trainings in which a part has no gradient, or no optimiser, on purpose.

ZOO: list[Case] = []


def _healthy(name: str, target: float, build: Any) -> None:
    ZOO.append(Case(f"zoo / {name}", None, build, target, family="zoo"))


def _pretrained() -> tuple[nn.Sequential, nn.Linear, Tensor, Tensor]:
    x, y = sets.digits()
    encoder = stack(64, 32, depth=2, width=64)
    for _ in fit(nn.Sequential(encoder, nn.ReLU(), nn.Linear(32, 10)), x, (y + 3) % 10, rate=3e-3, steps=150).steps:
        pass
    return encoder, nn.Linear(32, 10), x, y


class Under(nn.Module):
    """An encoder run under `no_grad`, or detached, and a head."""

    def __init__(self, encoder: nn.Module, head: nn.Module, *, detached: bool) -> None:
        super().__init__()
        self.encoder, self.head, self.detached = encoder, head, detached

    def forward(self, x: Tensor) -> Tensor:
        if self.detached:
            return self.head(functional.relu(self.encoder(x)).detach())
        with torch.no_grad():
            h = functional.relu(self.encoder(x))
        return self.head(h)


def _probe(*, detached: bool, held: str = "all") -> Training:
    encoder, head, x, y = _pretrained()
    model = Under(encoder, head, detached=detached)
    parameters = model.parameters() if held == "all" else head.parameters()
    return fit(model, x, y, optimizer=torch.optim.Adam(parameters, 1e-2), steps=250)


def _open_probe() -> Training:
    """The encoder gets gradients that nobody uses."""
    encoder, head, x, y = _pretrained()
    model = nn.Sequential(encoder, nn.ReLU(), head)
    return fit(model, x, y, optimizer=torch.optim.Adam(head.parameters(), 1e-2), steps=250)


class Pair(nn.Module):
    """Two nets alike; the second follows the first."""

    def __init__(self, build: Any) -> None:
        super().__init__()
        self.online = build()
        self.target = copy.deepcopy(self.online)

    def forward(self, x: Tensor) -> Tensor:
        return self.online(x)


def _averaged() -> Training:
    """A moving average inside the model, held by the optimiser like everything else; it also teaches."""
    x, y = sets.moons()
    model = Pair(lambda: stack(2, 2, depth=2, width=32))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)

    def run() -> Iterator[float]:
        for pick in batches(len(x), 32, 300):
            optimizer.zero_grad()
            logits = model(x[pick])
            with torch.no_grad():
                taught = functional.softmax(model.target(x[pick]), -1)
            loss = functional.cross_entropy(logits, y[pick]) + 0.3 * functional.cross_entropy(logits, taught)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for slow, fast in zip(model.target.parameters(), model.online.parameters(), strict=True):
                    slow.lerp_(fast, 0.05)
            yield loss.item()

    return Training(model, (optimizer,), run(), lambda: accuracy(model.target, x, y))


def _values() -> Training:
    """Temporal differences on a ring of ten states: a target network, copied every twenty steps."""
    model = Pair(lambda: nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 1)))
    optimizer = torch.optim.Adam(model.online.parameters(), 1e-2)
    states = torch.eye(10)
    reward = torch.tensor([1.0 if k == 0 else 0.0 for k in range(10)])
    true = torch.linalg.solve(torch.eye(10) - 0.7 * torch.eye(10).roll(-1, 0).T, reward)

    def run() -> Iterator[float]:
        for step in range(600):
            pick = torch.randint(10, (32,))
            following = (pick - 1) % 10
            optimizer.zero_grad()
            with torch.no_grad():
                goal = reward[pick] + 0.7 * model.target(states[following])[:, 0]
            loss = functional.mse_loss(model.online(states[pick])[:, 0], goal)
            loss.backward()
            optimizer.step()
            if step % 20 == 0:
                model.target.load_state_dict(model.online.state_dict())
            yield loss.item()

    def score() -> float:
        with torch.no_grad():
            return -float((model.online(states)[:, 0] - true).abs().max())

    return Training(model, (optimizer,), run(), score)


class Siamese(nn.Module):
    """SimSiam: two views, a predictor, a stopped gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32))
        self.norm = nn.BatchNorm1d(32, affine=False)
        self.predictor = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 32))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.norm(self.encoder(x))
        return self.predictor(h), h.detach()


def _siamese() -> Training:
    x, y = sets.digits()
    model = Siamese()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)

    def view(batch: Tensor) -> Tensor:
        return batch + 0.5 * torch.randn_like(batch)

    def run() -> Iterator[float]:
        for pick in batches(len(x), 128, 200):
            optimizer.zero_grad()
            p1, z1 = model(view(x[pick]))
            p2, z2 = model(view(x[pick]))
            alike = functional.cosine_similarity
            loss = -(alike(p1, z2).mean() + alike(p2, z1).mean()) / 2
            loss.backward()
            optimizer.step()
            yield loss.item()

    def score() -> float:
        """Share of digits whose nearest neighbour in the encoding is of the same class."""
        model.eval()
        with torch.no_grad():
            h = functional.normalize(model(x)[1], dim=1)
        near = (h @ h.T - 2 * torch.eye(len(h))).argmax(1)
        return float((y[near] == y).float().mean())

    return Training(model, (optimizer,), run(), score)


class Quantised(nn.Module):
    """An autoencoder with a book of codes and a straight-through gradient."""

    def __init__(self, codes: int = 64, width: int = 4) -> None:
        super().__init__()
        self.coder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8 * width))
        self.book = nn.Embedding(codes, width)
        self.decoder = nn.Sequential(nn.Linear(8 * width, 64), nn.ReLU(), nn.Linear(64, 64))
        self.width = width

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.coder(x).reshape(-1, self.width)
        nearest = torch.cdist(h, self.book.weight).argmin(-1)
        q = self.book(nearest)
        match_loss = functional.mse_loss(q, h.detach()) + 0.25 * functional.mse_loss(h, q.detach())
        q = h + (q - h).detach()
        return self.decoder(q.reshape(len(x), -1)), match_loss


def _quantised() -> Training:
    x, _ = sets.digits()
    model = Quantised()

    def loss_fn(outputs: Any, x: Tensor) -> Tensor:
        return functional.mse_loss(outputs[0], x) + outputs[1]

    def score() -> float:
        with torch.no_grad():
            return -float(functional.mse_loss(model(x)[0], x))

    return fit(model, x, x, rate=3e-3, steps=400, loss_fn=loss_fn, score=score)


class Binary(nn.Module):
    """Signs forwards, the identity backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(64, 96), nn.Linear(96, 96), nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.first, self.second):
            h = torch.tanh(layer(x))
            x = h + (h.sign() - h).detach()
        return self.head(x)


def _binary() -> Training:
    x, y = sets.digits()
    return fit(Binary(), x, y, rate=2e-3, steps=300)


def _master_copy() -> Training:
    """Weights in bfloat16, and a copy of them in float32 that the optimiser moves."""
    x, y = sets.digits()
    model = stack(64, 10, depth=2, width=64).bfloat16()
    masters = [p.detach().float().requires_grad_() for p in model.parameters()]
    optimizer = torch.optim.Adam(masters, 2e-3)

    def run() -> Iterator[float]:
        for pick in batches(len(x), 64, 300):
            model.zero_grad()
            loss = functional.cross_entropy(model(x[pick].bfloat16()).float(), y[pick])
            loss.backward()
            for master, p in zip(masters, model.parameters(), strict=True):
                master.grad = p.grad.float()  # type: ignore[union-attr]
            optimizer.step()
            with torch.no_grad():
                for master, p in zip(masters, model.parameters(), strict=True):
                    p.copy_(master)
            yield loss.item()

    def score() -> float:
        with torch.no_grad():
            return float((model(x.bfloat16()).argmax(-1) == y).float().mean())

    return Training(model, (optimizer,), run(), score)


class Late(nn.Module):
    """Residual blocks times one learned number that starts at zero (ReZero), or times a norm's zero scale."""

    def __init__(self, *, norm: bool, depth: int = 10, width: int = 40) -> None:
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth)) if norm else None
        self.scales = nn.Parameter(torch.zeros(depth))
        self.scales.requires_grad_(not norm)
        if self.norms is not None:
            for each in self.norms:
                nn.init.zeros_(each.weight)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            h = block(x)
            x = x + (self.scales[index] * h if self.norms is None else self.norms[index](h))
        return self.head(x)


def _late(*, norm: bool, steps: int, warm: int = 0) -> Training:
    x, y = sets.digits()
    schedule = (lambda step: min(1.0, step / warm)) if warm else None
    return fit(Late(norm=norm), x, y, rate=3e-3, steps=steps, schedule=schedule)


_healthy("linear probe, encoder under no_grad, all held", 0.8, lambda: _probe(detached=False))
_healthy("linear probe, encoder detached, all held", 0.8, lambda: _probe(detached=True))
_healthy("linear probe, encoder detached, head held", 0.8, lambda: _probe(detached=True, held="head"))
_healthy("linear probe, encoder with gradient, head held", 0.8, _open_probe)
_healthy("moving average held by the optimiser", 0.95, _averaged)
_healthy("values with a target network", -0.1, _values)
_healthy("SimSiam with a stopped gradient", 0.8, _siamese)
_healthy("vector quantisation, straight through", -0.5, _quantised)
_healthy("binary activations, straight through", 0.9, _binary)
_healthy("float32 copy of bfloat16 weights", 0.9, _master_copy)
_healthy("ReZero, ten blocks", 0.9, lambda: _late(norm=False, steps=200))
_healthy("zero-gamma layer norm, ten blocks", 0.9, lambda: _late(norm=True, steps=200))
_healthy("ReZero under a warm-up from zero", 0.85, lambda: _late(norm=False, steps=200, warm=50))
