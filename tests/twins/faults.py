"""Programming faults: numbers that leave the numbers, graphs cut by mistake, loops that do not learn, bad batches."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import data as sets
from .case import Family, Sick, Training
from .nets import Recurrent, stack
from .recipes import accuracy, batches, fit, optimizer_of

__all__ = ["FAMILIES"]

BROKEN = ("loss_not_decreasing",)


# Numbers that stop being numbers.


class HandWritten(nn.Module):
    """A classifier with a probability layer, a norm and a distance written by hand."""

    def __init__(self, fault: str | None) -> None:
        super().__init__()
        self.fault = fault
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)
        self.head = nn.Linear(64, 10)

    def standardise(self, x: Tensor) -> Tensor:
        """Each pixel of the batch to mean 0, variance 1; corner pixels are constant."""
        spread = x.std(0)
        return (x - x.mean(0)) / (spread if self.fault == "division by a constant pixel's spread" else spread + 1e-2)

    def distance(self, h: Tensor) -> Tensor:
        """Mean distance between the samples of a batch; each has distance zero to itself."""
        square = (h[:, None] - h[None]).square().sum(-1)
        return torch.sqrt(square if self.fault == "square root at zero" else square + 1e-6).mean()

    def forward(self, x: Tensor) -> Tensor:
        x = self.standardise(x)
        h = torch.relu(self.first(x))
        if self.fault == "half precision":
            h = (h * 3e4).half().float() / 3e4
        h = torch.relu(self.second(h))
        return self.head(4 * h / (1 + self.distance(h)))


class LogOf(nn.Module):
    """log softmax, written out."""

    def __init__(self, fault: str | None, scale: float) -> None:
        super().__init__()
        self.fault = fault
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        logits = self.scale * self.body(x)
        match self.fault:
            case "log of zero":
                return torch.log(functional.softmax(logits, -1))
            case "exp without a shift":
                powers = torch.exp(logits)
                return torch.log(powers / powers.sum(-1, keepdim=True) + 1e-6)
            case "log of a rectified value":
                return torch.log(functional.relu(logits))
            case _:
                return functional.log_softmax(logits, -1)


class Masked(nn.Module):
    """Attention pooling over rows of an image; empty rows are masked, and some images have no row left."""

    def __init__(self, fault: str | None) -> None:
        super().__init__()
        self.fault = fault
        self.value = nn.Linear(8, 32)
        self.weigh = nn.Linear(8, 1)
        self.body = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, 8, 8)
        empty = rows.abs().sum(-1) < (9.5 if self.fault else 3)
        scores = self.weigh(rows).squeeze(-1).masked_fill(empty, -torch.inf if self.fault else -1e4)
        weights = functional.softmax(scores, -1)
        return self.body((weights[..., None] * self.value(rows)).sum(1))


class Uncertain(nn.Module):
    """A regression with a predicted spread: the Gaussian's negative logarithm as loss."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def hand_written(*, fault: str | None = None, optimizer: str = "adam", rate: float = 3e-3) -> Training:
    """A standardising net with hand-written norms."""
    x, y = sets.digits()
    return fit(HandWritten(fault), x, y, optimizer=optimizer, rate=rate)


def written_out(
    *, fault: str | None = None, scale: float = 300.0, optimizer: str = "adam", rate: float = 1e-3
) -> Training:
    """Cross-entropy by hand."""
    x, y = sets.digits()
    return fit(LogOf(fault, scale), x, y, optimizer=optimizer, rate=rate, loss_fn=functional.nll_loss)


def masked(*, fault: str | None = None) -> Training:
    """Masked pooling."""
    x, y = sets.digits()
    return fit(Masked(fault), x, y, rate=3e-3, steps=400)


def gaussian(*, fault: str | None = None, optimizer: str = "adam", rate: float = 3e-3) -> Training:
    """Mean and spread of a target; the faulty one takes the logarithm of an unconstrained spread."""
    x, y = sets.diabetes()
    model = Uncertain()

    def loss_fn(outputs: Tensor, y: Tensor) -> Tensor:
        mean, spread = outputs[:, :1], outputs[:, 1:] - 0.2
        spread = spread if fault else functional.softplus(spread) + 1e-2
        return (torch.log(spread) + (y - mean).square() / (2 * spread.square())).mean()

    def score() -> float:
        return -float(functional.mse_loss(model(x)[:, :1], y).detach())

    return fit(model, x, y, optimizer=optimizer, rate=rate, batch=32, loss_fn=loss_fn, score=score)


def dirty(*, data: str = "digits", bad: float | None = None, optimizer: str = "sgd", rate: float = 0.1) -> Training:
    """One value of one sample is not a number."""
    x, y = getattr(sets, data)()
    if bad is not None:
        x = x.clone()
        x[17, 1] = bad
    kept = torch.arange(len(x)) != 17
    outputs = int(y.max()) + 1
    model = nn.Sequential(nn.Linear(x.shape[1], 32), nn.Tanh(), nn.Linear(32, outputs))
    return fit(
        model,
        x,
        y,
        optimizer=optimizer,
        rate=rate,
        batch=32,
        score=lambda: accuracy(model, x[kept], y[kept]),
    )


def squares(*, rate: float = 1e-2, optimizer: str = "sgd", depth: int = 3) -> Training:
    """Least squares with a deep net."""
    x, y = sets.diabetes()
    layers: list[nn.Module] = [nn.Linear(10, 64), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Linear(64, 64), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(64, 1))

    def score() -> float:
        return -float(functional.mse_loss(model(x), y).detach())

    return fit(
        model, x, y, optimizer=optimizer, rate=rate, batch=32, loss_fn=functional.mse_loss, score=score, steps=400
    )


# Graphs cut by mistake.


class Halves(nn.Module):
    """A narrow encoder and a classifier; `cut` breaks the graph between them."""

    def __init__(self, cut: str | None, features: int = 3) -> None:
        super().__init__()
        self.cut = cut
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, features))
        self.classifier = nn.Sequential(nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        match self.cut:
            case "detach":
                h = self.encoder(x).detach()
            case "data":
                h = self.encoder(x).data
            case "no_grad":
                with torch.no_grad():
                    h = self.encoder(x)
            case "compared":
                h = (self.encoder(x) > 0).float()
            case "rounded":
                h = self.encoder(x).round()
            case "numpy":
                h = torch.from_numpy(self.encoder(x).detach().numpy())
            case _:
                h = self.encoder(x)
        return self.classifier(h)


def halves(
    *, cut: str | None = None, trained: str = "all", optimizer: str = "adam", rate: float = 3e-3, steps: int = 400
) -> Training:
    """The encoder must be trained: three random features do not tell ten digits apart."""
    x, y = sets.digits()
    model = Halves(cut)
    parameters = {"all": model, "classifier": model.classifier}[trained].parameters()
    chosen = optimizer_of(optimizer, parameters, rate)
    return fit(model, x, y, optimizer=chosen, steps=steps)


class CutRecurrent(nn.Module):
    """A hand-written recurrent cell whose state is detached at every step, or not."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.cut = cut
        self.embed = nn.Linear(4, 32)
        self.cell = nn.GRUCell(32, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 32)
        for token in x.unbind(1):
            if self.cut:
                state = state.detach()
            state = self.cell(torch.tanh(self.embed(token)), state)
        return self.head(state.detach() if self.cut else state)


def hand_recurrent(*, cut: bool = False, length: int = 6) -> Training:
    """Name the first symbol with a hand-written loop."""
    x, y = sets.first_symbol(length)
    return fit(CutRecurrent(cut), x, y, rate=1e-2, batch=32)


class ListOfLayers(nn.Module):
    """A middle part that a forward pass forgot, or not; the encoder is narrow."""

    def __init__(self, forgotten: bool) -> None:
        super().__init__()
        self.forgotten = forgotten
        self.projection = nn.Linear(64, 2)
        self.learned = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
        self.head = nn.Sequential(nn.Linear(18, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        learned = self.learned(x)
        if self.forgotten:
            learned = torch.zeros_like(learned)
        return self.head(torch.cat([self.projection(x), learned], 1))


def forgotten_part(*, forgotten: bool = False, steps: int = 120) -> Training:
    """A branch computed and not used."""
    x, y = sets.digits()
    return fit(ListOfLayers(forgotten), x, y, rate=3e-3, steps=steps)


# Loops that do not learn.


def loop(
    *,
    fault: str | None = None,
    data: str = "digits",
    activation: str = "relu",
    optimizer: str = "sgd",
    rate: float = 0.1,
    steps: int = 300,
) -> Training:
    """The ordinary loop with one line wrong."""
    x, y = getattr(sets, data)()
    squared = data == "diabetes"
    outputs = 1 if squared else int(y.max()) + 1
    loss_fn: Callable[..., Tensor] = functional.mse_loss if squared else functional.cross_entropy
    model = stack(x.shape[1], outputs, depth=2, width=64, activation=activation)
    other = stack(x.shape[1], outputs, depth=2, width=64, activation=activation)
    trained = other if fault == "optimizer of another model" else model
    chosen = optimizer_of(optimizer, trained.parameters(), 0.0 if fault == "rate zero" else rate)

    def run() -> Iterator[float]:
        model.train()
        for pick in batches(len(x), 64, steps):
            labels = y[torch.randperm(len(y))[: len(pick)]] if fault == "labels of other samples" else y[pick]
            if fault != "gradients never cleared":
                chosen.zero_grad()
            logits = model(x[pick])
            match fault:
                case "softmax twice":
                    logits = functional.softmax(functional.softmax(logits, -1), -1)
                case "rectified logits":
                    logits = functional.relu(logits - 3)
            loss = loss_fn(logits, labels)
            if fault == "wrong sign":
                loss = -loss
            if fault == "loss rebuilt from a number":
                loss = torch.tensor(loss.item(), requires_grad=True)
            loss.backward()
            if fault == "cleared before the step":
                chosen.zero_grad()
            if fault != "step forgotten":
                chosen.step()
            yield loss.item()

    def score() -> float:
        if not squared:
            return accuracy(model, x, y)
        with torch.no_grad():
            return -float(functional.mse_loss(model(x), y))

    return Training(model, (chosen,), run(), score)


def broadcast(*, squeezed: bool = False, optimizer: str = "adam", rate: float = 3e-3) -> Training:
    """Outputs of shape (N, 1) against targets of shape (N,): every output is compared with every target."""
    x, y = sets.diabetes()
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def loss_fn(outputs: Tensor, y: Tensor) -> Tensor:
        return (outputs - (y[:, 0] if squeezed else y)).square().mean()

    def score() -> float:
        return -float(functional.mse_loss(model(x), y).detach())

    return fit(model, x, y, optimizer=optimizer, rate=rate, batch=32, loss_fn=loss_fn, score=score)


# Poisoned batches.


def poisoned(
    *,
    at: int | None = None,
    kind: str = "input",
    optimizer: str = "momentum",
    rate: float = 0.02,
    steps: int = 300,
    recurrent: bool = False,
    data: str = "digits",
    jump: float = 100.0,
) -> Training:
    """One batch out of scale; scored by the mean loss of the last 25 steps, the bad one left out."""
    x, y = sets.first_symbol(8) if recurrent else getattr(sets, data)()
    squared = data == "diabetes"
    model: nn.Module = nn.Sequential(
        nn.Linear(x.shape[-1], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1 if squared else 10)
    )
    if recurrent:
        model = Recurrent(4, 32, 4, cell="gru")
    chosen = optimizer_of(optimizer, model.parameters(), rate)
    losses: list[float] = []
    loss_fn: Callable[..., Any] = functional.mse_loss if squared else functional.cross_entropy

    def run() -> Iterator[float]:
        for step, pick in enumerate(batches(len(x), 32, steps)):
            inputs, labels = x[pick], y[pick]
            if step == at and kind == "input":
                inputs = inputs * 300
            if step == at and kind == "target":
                labels = labels + 1000
            if step == at and kind == "rate":
                chosen.param_groups[0]["lr"] = jump * rate
            chosen.zero_grad()
            loss = loss_fn(model(inputs), labels)
            loss.backward()
            chosen.step()
            if step == at and kind == "rate":
                chosen.param_groups[0]["lr"] = rate
            if step != at:
                losses.append(loss.item())
            yield loss.item()

    return Training(model, (chosen,), run(), lambda: -sum(losses[-25:]) / 25)


NAN = ("loss_not_decreasing",)
AFTER = ("exploding_gradient", "learning_rate_too_high", "dead_units", "unscaled_input", "loss_not_decreasing")

FAMILIES = [
    Family(
        "hand-written norms, Adam, digits",
        hand_written,
        0.9,
        {},
        (
            Sick("non_finite", "fault", "division by a constant pixel's spread", NAN),
            Sick("non_finite", "fault", "square root at zero", NAN),
            Sick("non_finite", "fault", "half precision", NAN),
        ),
    ),
    Family(
        "log softmax written out, Adam, digits",
        written_out,
        0.9,
        {},
        (
            Sick("non_finite", "fault", "log of zero", NAN),
            Sick("non_finite", "fault", "exp without a shift", NAN),
            Sick("non_finite", "fault", "log of a rectified value", NAN),
        ),
    ),
    Family(
        "masked pooling, Adam, digits",
        masked,
        0.6,
        {},
        (Sick("non_finite", "fault", "every row masked", NAN),),
    ),
    Family(
        "mean and spread, Adam, diabetes",
        gaussian,
        -0.6,
        {},
        (Sick("non_finite", "fault", "log of a negative spread", NAN),),
    ),
    Family(
        "tanh MLP, SGD, digits, one bad value",
        dirty,
        0.9,
        {},
        (
            Sick("non_finite", "bad", float("nan"), (*NAN, "unscaled_input")),
            Sick("non_finite", "bad", float("inf"), (*NAN, "unscaled_input")),
        ),
    ),
    Family(
        "tanh MLP, Adam, spirals, one bad value",
        lambda **knobs: dirty(data="spirals", optimizer="adam", rate=1e-2, **knobs),
        0.6,
        {},
        (Sick("non_finite", "bad", float("nan"), (*NAN, "unscaled_input")),),
    ),
    Family(
        "least squares, SGD, diabetes",
        squares,
        -0.6,
        {},
        (
            Sick(
                "non_finite", "rate", 30.0, ("learning_rate_too_high", "exploding_gradient", "loss_spike", "dead_units")
            ),
        ),
    ),
    Family(
        "encoder and classifier, Adam, digits",
        halves,
        0.8,
        {},
        (
            Sick("no_gradient", "cut", "detach"),
            Sick("no_gradient", "cut", "data"),
            Sick("no_gradient", "cut", "no_grad"),
            Sick("no_gradient", "cut", "numpy"),
            Sick("no_gradient", "cut", "compared"),
            Sick("no_gradient", "cut", "rounded", ("vanishing_gradient",)),
            Sick("no_gradient", "trained", "classifier"),
        ),
    ),
    Family(
        "encoder and classifier, momentum, digits",
        halves,
        0.8,
        {"optimizer": "momentum", "rate": 0.1},
        (Sick("no_gradient", "cut", "detach"),),
    ),
    Family(
        "hand-written GRU, Adam, first symbol",
        hand_recurrent,
        0.9,
        {},
        (Sick("no_gradient", "cut", True),),
    ),
    Family(
        "two branches, Adam, digits",
        forgotten_part,
        0.85,
        {},
        (Sick("no_gradient", "forgotten", True),),
    ),
    Family(
        "the ordinary loop, SGD, digits",
        loop,
        0.9,
        {},
        (
            Sick(
                "loss_not_decreasing",
                "fault",
                "wrong sign",
                ("non_finite", "exploding_gradient", "learning_rate_too_high"),
            ),
            Sick("loss_not_decreasing", "fault", "loss rebuilt from a number", ("no_gradient",)),
            Sick("loss_not_decreasing", "fault", "step forgotten", ("no_gradient", "learning_rate_too_low")),
            Sick(
                "loss_not_decreasing", "fault", "optimizer of another model", ("no_gradient", "learning_rate_too_low")
            ),
            Sick("loss_not_decreasing", "fault", "rate zero", ("learning_rate_too_low",)),
            Sick("loss_not_decreasing", "fault", "cleared before the step", ("no_gradient", "learning_rate_too_low")),
            Sick("loss_not_decreasing", "fault", "labels of other samples"),
            Sick(  # an output that cannot be what the loss asks for: D103, which is of unscaled_input, says just that
                "loss_not_decreasing",
                "fault",
                "softmax twice",
                ("vanishing_gradient", "learning_rate_too_low", "unscaled_input"),
            ),
            Sick(
                "loss_not_decreasing", "fault", "rectified logits", ("dead_units", "no_gradient", "vanishing_gradient")
            ),
            Sick(
                "learning_rate_too_high",
                "fault",
                "gradients never cleared",
                ("loss_not_decreasing", "exploding_gradient", "dead_units", "loss_spike"),
            ),
        ),
    ),
    Family(
        "the ordinary loop, Adam, digits",
        loop,
        0.9,
        {"optimizer": "adam", "rate": 2e-3},
        (
            Sick(
                "loss_not_decreasing",
                "fault",
                "wrong sign",
                ("non_finite", "exploding_gradient", "learning_rate_too_high"),
            ),
            Sick(
                "loss_not_decreasing", "fault", "optimizer of another model", ("no_gradient", "learning_rate_too_low")
            ),
            Sick("loss_not_decreasing", "fault", "labels of other samples"),
            Sick("loss_not_decreasing", "fault", "rate zero", ("learning_rate_too_low",)),
        ),
    ),
    Family(
        "the ordinary loop, momentum, diabetes",
        loop,
        -0.6,
        {"data": "diabetes", "optimizer": "momentum", "rate": 0.01},
        (
            Sick(
                "loss_not_decreasing",
                "fault",
                "wrong sign",
                ("non_finite", "exploding_gradient", "learning_rate_too_high"),
            ),
            Sick("loss_not_decreasing", "fault", "loss rebuilt from a number", ("no_gradient",)),
            Sick("loss_not_decreasing", "fault", "step forgotten", ("no_gradient", "learning_rate_too_low")),
            Sick("loss_not_decreasing", "fault", "rate zero", ("learning_rate_too_low",)),
            Sick("loss_not_decreasing", "fault", "labels of other samples"),
        ),
    ),
    Family(
        "the ordinary loop, tanh, RMSprop, wine",
        loop,
        0.95,
        {"data": "wine", "activation": "tanh", "optimizer": "rmsprop", "rate": 1e-3, "steps": 150},
        (
            Sick(
                "loss_not_decreasing",
                "fault",
                "wrong sign",
                ("non_finite", "exploding_gradient", "learning_rate_too_high"),
            ),
            Sick("loss_not_decreasing", "fault", "step forgotten", ("no_gradient", "learning_rate_too_low")),
            Sick(
                "loss_not_decreasing", "fault", "optimizer of another model", ("no_gradient", "learning_rate_too_low")
            ),
            Sick("loss_not_decreasing", "fault", "labels of other samples"),
        ),
    ),
    Family(
        "regression, Adam, diabetes, shapes",
        broadcast,
        -0.6,
        {},
        (Sick("loss_not_decreasing", "squeezed", True),),
    ),
    Family(
        "MLP 2 × 64, momentum, digits, one batch",
        poisoned,
        -0.3,
        {},
        (Sick("loss_spike", "at", 280, AFTER),),
    ),
    Family(
        "MLP 2 × 64, momentum, digits, one step's rate",
        lambda **knobs: poisoned(kind="rate", optimizer="sgd", rate=0.1, **knobs),
        -0.3,
        {},
        (Sick("loss_spike", "at", 280, AFTER),),
    ),
    Family(
        "MLP 2 × 64, SGD, diabetes, one batch's targets",
        lambda **knobs: poisoned(kind="target", optimizer="sgd", rate=0.02, data="diabetes", **knobs),
        -0.7,
        {},
        (Sick("loss_spike", "at", 280, (*AFTER, "non_finite")),),
    ),
    Family(
        "MLP 2 × 64, Adam, digits, one batch",
        lambda **knobs: poisoned(optimizer="adam", rate=1e-3, **knobs),
        -0.3,
        {},
        (Sick("loss_spike", "at", 280, AFTER),),
    ),
]
