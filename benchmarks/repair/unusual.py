"""Trainings as others write them: losses, data, optimisers and ways to write a network that the other cases have not.

Pairs of images, two heads, a variational autoencoder, transformers of another package, gates, weights applied again and
again, half precision. They were written by somebody who knew neither the rules nor the remedies.

Every sick one has a healthy twin, the same task as somebody would write it who knows what is wrong; the target of both
is what the twin reaches from every seed. ``python benchmarks/repair/run.py --cases unusual`` scores the sick ones, and
``python benchmarks/repair/unusual.py`` the twins. GPT-2 and BERT need transformers, of which nothing is downloaded.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from cases import Autocast, adam, he, normal, sgd, times
from heldout import (
    BINARY,
    Data,
    Pair,
    Reader,
    accuracy,
    cases_of,
    chain,
    digits,
    explained,
    images_again,
    print_scores,
    split,
    standard,
    symbols,
    training,
    tumours,
    wines,
)
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F

from isometry import Experiment

__all__ = ["UNUSUAL"]

SEED = 7
"""Of the order in which data are split: other ones are held out than elsewhere."""


# Data -----------------------------------------------------------------------------------------------------------------


DIGITS, WINES = digits(SEED), wines(SEED)


def _standard_targets(data: Data) -> Data:
    mean, deviation = data[1].mean(0), data[1].std(0)
    return data[0], (data[1] - mean) / deviation, data[2], (data[3] - mean) / deviation


def _rescaled(data: Data, *, factor: float = 1.0, shift: float = 0.0) -> Data:
    return factor * data[0] + shift, data[1], factor * data[2] + shift, data[3]


@cache
def tumour_kinds() -> Data:
    """30 measurements, each of mean 0 and deviation 1; two classes as numbers."""
    inputs, targets, others, wanted = standard(tumours(SEED))
    return inputs, targets[:, 0].long(), others, wanted[:, 0].long()


@cache
def circuit() -> Data:
    """Friedman's second function: the impedance of a circuit, of mean 0 and deviation 1, by four measurements."""
    inputs, targets = datasets.make_friedman2(1200, random_state=3)
    return _standard_targets(split(inputs, targets[:, None], seed=SEED))


@cache
def roll() -> Data:
    """Where along a rolled-up sheet a point of space lies."""
    inputs, targets = datasets.make_swiss_roll(1200, noise=0.1, random_state=3)
    return _standard_targets(standard(split(inputs, targets[:, None], seed=SEED)))


@cache
def image_pairs() -> Data:
    """Two digits each, half of them of the same kind: 1 where they are."""
    inputs, targets, _, _ = DIGITS
    draw, kinds = np.random.default_rng(0), targets.numpy()
    first, same = draw.integers(0, len(inputs), 2000), draw.random(2000) < 0.5
    second = np.array(
        [draw.choice(np.flatnonzero((kinds == kinds[one]) == alike)) for one, alike in zip(first, same, strict=True)]
    )
    return split(torch.stack([inputs[first], inputs[second]], 1), same.astype(np.int64), seed=SEED)


@cache
def recurrence(count: int = 800, length: int = 12, kinds: int = 11) -> Data:
    """Sequences where each symbol follows from the two before; the next one is asked at every place."""
    draw = np.random.default_rng(0)
    found = np.zeros((count, length + 1), dtype=np.int64)
    found[:, :2] = draw.integers(0, kinds, (count, 2))
    for place in range(2, length + 1):
        found[:, place] = (found[:, place - 1] + 2 * found[:, place - 2] + 1) % kinds
    return split(found[:, :-1], found[:, 1:], seed=SEED)


@cache
def first_and_last(count: int = 1000, length: int = 6, kinds: int = 4) -> Data:
    """Whether a sequence ends with the symbol that it begins with."""
    draw = np.random.default_rng(1)
    found, same = draw.integers(0, kinds, (count, length)), draw.integers(0, 2, count)
    other = (found[:, 0] + draw.integers(1, kinds, count)) % kinds
    found[:, -1] = np.where(same == 1, found[:, 0], other)
    return split(found, same, seed=SEED)


@cache
def discs(count: int = 240, side: int = 8) -> Data:
    """Noisy images of one to three discs; which pixels lie in one is asked."""
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    images, masks = [], []
    for _ in range(count):
        mask = np.zeros((side, side), bool)
        for _ in range(draw.integers(1, 4)):
            row, column, radius = draw.integers(1, side - 1), draw.integers(1, side - 1), draw.integers(1, 3)
            mask |= (rows - row) ** 2 + (columns - column) ** 2 <= radius * radius
        images.append(mask + 0.5 * draw.standard_normal((side, side)))
        masks.append(mask)
    return split(np.array(images)[:, None], np.array(masks, dtype=np.float32)[:, None], seed=SEED)


def priced(mean: float, deviation: float) -> Data:
    """The kind of a digit, and a price that is a sum over its pixels."""
    inputs, kinds, others, wanted = DIGITS
    weights = torch.randn(64, generator=torch.Generator().manual_seed(1))
    spread = ((inputs - inputs.mean(0)) @ weights).std()

    def with_price(images: Tensor, labels: Tensor) -> Tensor:
        price = ((images - inputs.mean(0)) @ weights / spread) * deviation + mean
        return torch.stack([labels.float(), price], 1)

    return inputs, with_price(inputs, kinds), others, with_price(others, wanted)


def batches(*, spoiled: bool) -> list[tuple[Tensor, Tensor]]:
    """The digits in batches of 32, always in this order; of the spoiled ones the fourth is 300 times as bright."""
    inputs, targets, _, _ = DIGITS
    full = len(inputs) // 32 * 32
    made = list(zip(inputs[:full].clone().split(32), targets[:full].split(32), strict=True))
    if spoiled:
        made[3][0].mul_(300.0)
    return made


@cache
def counts() -> Data:
    """Counts, by six numbers of which one is an income and one an age."""
    draw = np.random.default_rng(2)
    z = draw.standard_normal((1200, 6))
    found = draw.poisson(np.exp(1 + 0.5 * z[:, 0] - 0.4 * z[:, 1] * (z[:, 2] > 0) + 0.3 * z[:, 3])).astype(np.float32)
    return split(z * [1, 20, 1, 3000, 5, 1] + [0, 60, 0, 40000, 10, 0], found[:, None], seed=SEED)


@cache
def labels() -> Data:
    """20 word counts, each of mean 0 and deviation 1; any of eight labels."""
    inputs, targets = datasets.make_multilabel_classification(1200, 20, n_classes=8, n_labels=3, random_state=0)
    return standard(split(inputs, targets.astype(np.float32), seed=SEED))


# Losses and scores ----------------------------------------------------------------------------------------------------


def contrastive(distances: Tensor, same: Tensor) -> Tensor:
    """Nothing between images of one kind, at least 1 between others."""
    alike = same.float()
    return (alike * distances**2 + (1 - alike) * F.relu(1 - distances) ** 2).mean()


def _told_apart(distances: Tensor, same: Tensor) -> float:
    return float(((distances < 0.5) == (same > 0)).float().mean())


def at_every_place(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def faint(outputs: Tensor, targets: Tensor) -> Tensor:
    return 1e-5 * BINARY(outputs, targets)


def _dice(outputs: Tensor, targets: Tensor) -> float:
    found = (outputs > 0).float()
    return float(2 * (found * targets).sum() / (found.sum() + targets.sum() + 1e-6))


def evidence(outputs: Any, targets: Tensor) -> Tensor:
    """Squares, and 0.1 times the divergence from N(0, 1)."""
    images, mean, log_variance = outputs
    squares = F.mse_loss(images, targets, reduction="none").sum(-1)
    loss: Tensor = (squares + 0.05 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1)).mean()
    return loss


def _pixels_explained(outputs: Any, targets: Tensor) -> float:
    return float(1 - (outputs[0] - targets).square().mean() / (targets - targets.mean(0)).square().mean())


def kind_and_price(outputs: Any, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs[0], targets[:, 0].long()) + F.mse_loss(outputs[1][:, 0], targets[:, 1])


def _worse_head(outputs: Any, targets: Tensor) -> float:
    return min(accuracy(outputs[0], targets[:, 0].long()), explained(outputs[1][:, 0], targets[:, 1]))


def _counts_explained(outputs: Tensor, targets: Tensor) -> float:
    return explained(outputs.clamp(max=20).exp(), targets)


def _labels_right(outputs: Tensor, targets: Tensor) -> float:
    return float(((outputs > 0) == (targets > 0.5)).float().mean())


def of_five(outputs: Tensor, targets: Tensor) -> Tensor:
    """Another task on the same images: the digit modulo 5."""
    return F.cross_entropy(outputs, targets % 5)


def _right_of_five(outputs: Tensor, targets: Tensor) -> float:
    return accuracy(outputs, targets % 5)


# Networks -------------------------------------------------------------------------------------------------------------


class Called(nn.Module):
    """Linear layers between these widths; what is behind them is a function call, not a module."""

    def __init__(
        self,
        widths: list[int],
        activation: Callable[[Tensor], Tensor],
        last: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths[:-1]))
        self.out = nn.Linear(widths[-2], widths[-1])
        self.activation, self.last = activation, last

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = self.activation(layer(x))
        out: Tensor = self.out(x)
        return out if self.last is None else self.last(out)


class Distance(nn.Module):
    """How far apart one network puts the two images of a pair."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.tower = Called([64, *[48] * 10, 8], activation)
        for layer in self.tower.hidden:
            he(layer.get_parameter("weight"))

    def forward(self, pair: Tensor) -> Tensor:
        apart: Tensor = self.tower(pair[:, 0]) - self.tower(pair[:, 1])
        return apart.pow(2).sum(-1).add(1e-6).sqrt()


def _gated(shift: float) -> Callable[[], nn.Module]:
    """A GRU whose update gates are moved: upwards it keeps, downwards it takes the new."""

    def build() -> nn.Module:
        cell = nn.GRU(5, 32, batch_first=True)
        with torch.no_grad():
            cell.get_parameter("bias_ih_l0")[32:64] += shift
        return Reader(cell, 32, 5)

    return build


class Gpt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        from transformers import GPT2Config, GPT2LMHeadModel

        self.model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=11,
                n_positions=16,
                n_embd=48,
                n_layer=2,
                n_head=4,
                resid_pdrop=0,
                embd_pdrop=0,
                attn_pdrop=0,
                use_cache=False,
                bos_token_id=0,
                eos_token_id=0,
            )
        )

    def forward(self, symbols: Tensor) -> Tensor:
        out: Tensor = self.model(input_ids=symbols).logits
        return out


class Bert(nn.Module):
    """Its weights are drawn from N(0, std²)."""

    def __init__(self, std: float) -> None:
        super().__init__()
        from transformers import BertConfig, BertForSequenceClassification

        self.model = BertForSequenceClassification(
            BertConfig(
                vocab_size=4,
                hidden_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=96,
                max_position_embeddings=16,
                hidden_dropout_prob=0,
                attention_probs_dropout_prob=0,
                initializer_range=std,
                pad_token_id=None,
            )
        )

    def forward(self, symbols: Tensor) -> Tensor:
        out: Tensor = self.model(input_ids=symbols).logits
        return out


class Tokens(nn.Module):
    """A transformer, norm first, that answers at the last symbol; embeddings are drawn from N(0, std²)."""

    def __init__(self, std: float, width: int = 32) -> None:
        super().__init__()
        self.symbol, self.place = nn.Embedding(4, width), nn.Embedding(6, width)
        for embedding in (self.symbol, self.place):
            nn.init.normal_(embedding.weight, 0.0, std)
        block = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "relu", batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 2)

    def forward(self, symbols: Tensor) -> Tensor:
        read = self.body(self.symbol(symbols) + self.place(torch.arange(symbols.shape[1])))
        out: Tensor = self.head(read[:, -1])
        return out


class Brain(nn.Module):
    """Holds its weights in bfloat16."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x.bfloat16()).float()
        return out


class UNet(nn.Module):
    """Down twice, up twice, with what was seen on the way down."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, 2 * width, 3, padding=1)
        self.middle = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.up, self.upper = nn.Conv2d(4 * width, width, 3, padding=1), nn.Conv2d(2 * width, width, 3, padding=1)
        self.out = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = F.relu(self.fine(x))
        coarse = F.relu(self.coarse(F.max_pool2d(fine, 2)))
        middle = F.relu(self.middle(F.max_pool2d(coarse, 2)))
        up = F.relu(self.up(torch.cat([F.interpolate(middle, scale_factor=2), coarse], 1)))
        out: Tensor = self.out(F.relu(self.upper(torch.cat([F.interpolate(up, scale_factor=2), fine], 1))))
        return out


class Branches(nn.Module):
    """x + V gelu(W x) without any norm, V times a part of He's weights."""

    def __init__(self, blocks: int, part: float, width: int = 40) -> None:
        super().__init__()
        self.entry, self.out = nn.Linear(3, width), nn.Linear(width, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)) for _ in range(blocks)
        )
        for block in self.blocks:
            first, second = block.get_parameter("0.weight"), block.get_parameter("2.weight")
            he(first)
            he(second)
            second.data *= part

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x)
        for block in self.blocks:
            x = x + block(x)
        out: Tensor = self.out(x)
        return out


class Variational(nn.Module):
    """An autoencoder that draws its code; a std is that of the weights of the head which tells log σ²."""

    def __init__(self, std: float | None = None) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(64, 8), nn.Linear(64, 8)
        self.decoder = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64))
        if std is not None:
            nn.init.normal_(self.log_variance.weight, 0.0, std)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        code = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean) if self.training else mean
        return self.decoder(code), mean, log_variance


class TwoHeads(nn.Module):
    """One tells the kind, the other the price."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.kind, self.price = nn.Linear(64, 10), nn.Linear(64, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.kind(h), self.price(h)


class Repeated(nn.Module):
    """h ← tanh(W h), the same W again and again, orthogonal times a number."""

    def __init__(self, gain: float, times: int = 25, width: int = 48) -> None:
        super().__init__()
        self.entry, self.step, self.out = nn.Linear(64, width), nn.Linear(width, width), nn.Linear(width, 10)
        self.times = times
        nn.init.orthogonal_(self.step.weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.entry(x))
        for _ in range(self.times):
            h = torch.tanh(self.step(h))
        out: Tensor = self.out(h)
        return out


class LeNet(nn.Module):
    """Two convolutions and three layers that share one module as their activation."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(3))
        self.out, self.activation = nn.Linear(64, 10), activation

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.activation(self.first(x.view(-1, 1, 8, 8))), 2)
        x = F.max_pool2d(self.activation(self.second(x)), 2).flatten(1)
        for layer in self.layers:
            x = self.activation(layer(x))
        out: Tensor = self.out(x)
        return out


class Bounded(nn.Module):
    """Three convolutions with ReLU6, He's weights."""

    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.third, self.out = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(64, 10)
        for layer in (self.first, self.second, self.third):
            he(layer.weight)
            nn.init.constant_(layer.get_parameter("bias"), bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.first(x.view(-1, 1, 8, 8)))
        x = F.relu6(self.second(F.max_pool2d(x, 2)))
        out: Tensor = self.out(F.max_pool2d(F.relu6(self.third(x)), 2).flatten(1))
        return out


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x


class Highway(nn.Module):
    """g relu(W x) + (1 − g) x, g = sigmoid(V x + bias)."""

    def __init__(self, bias: float, depth: int = 18, width: int = 40) -> None:
        super().__init__()
        self.entry, self.out = nn.Linear(64, width), nn.Linear(width, 10)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.gates = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        for gate in self.gates:
            nn.init.constant_(gate.get_parameter("bias"), bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x)
        for layer, gate in zip(self.layers, self.gates, strict=True):
            part = torch.sigmoid(gate(x))
            x = part * torch.relu(layer(x)) + (1 - part) * x
        out: Tensor = self.out(x)
        return out


def sparse() -> nn.Module:
    """400 units that are silent for most images."""
    model = chain([64, 400, 10], nn.ReLU, fill=he)()
    nn.init.constant_(model.get_parameter("0.bias"), -0.9)
    return model


TRUNK = chain([64, 96, 64, 10], nn.ReLU)


@cache
def pretrained() -> dict[str, Tensor]:
    """All weights but those of the last layer, after 150 steps on the ten digits."""
    inputs, targets, _, _ = DIGITS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TRUNK()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return {name: weight for name, weight in model.state_dict().items() if not name.startswith("4")}


def new_head() -> nn.Module:
    """The pretrained layers, frozen, and a last layer to be trained."""
    model = TRUNK()
    model.load_state_dict(pretrained(), strict=False)
    for name in pretrained():
        model.get_parameter(name).requires_grad_(False)
    return model


SGD, RMS, NADAM, ADAMW = torch.optim.SGD, torch.optim.RMSprop, torch.optim.NAdam, torch.optim.AdamW
ADAGRAD, ADADELTA = torch.optim.Adagrad, torch.optim.Adadelta


def _nesterov(rate: float) -> Callable[[Any], Any]:
    return partial(SGD, lr=rate, momentum=0.9, nesterov=True)


def _twins(
    name: str,
    target: float,
    *both: tuple[Callable[[], nn.Module], Data, Callable[[Any], Any]],
    **settings: Any,
) -> Pair:
    """A sick training and its twin, where networks, data and optimisers may differ, but no other setting."""
    sick, twin = (training(*parts, **settings) for parts in both)
    return name, target, sick, twin


def _in_batches(data: list[tuple[Tensor, Tensor]]) -> Experiment:
    return replace(training(chain([64, 48, 48, 48, 10], nn.ReLU), DIGITS, sgd(0.1, 0.9), epochs=8), data=data)


def _eight_labels(reduction: str) -> Experiment:
    network, loss = chain([20, 48, 48, 48, 8], nn.ReLU), partial(BINARY, reduction=reduction)
    return training(network, labels(), sgd(0.2, 0.9), loss=loss, score=_labels_right, epochs=8)


PAIRS: tuple[Pair, ...] = (
    _twins(
        "pairs of images, contrastive loss, 10 sigmoid layers",
        0.85,
        (lambda: Distance(torch.sigmoid), image_pairs(), adam(1e-3)),
        (lambda: Distance(torch.relu), image_pairs(), adam(1e-3)),
        loss=contrastive,
        score=_told_apart,
        epochs=8,
    ),
    _twins(
        "GRU, update gate shut to the past, 40 steps",
        0.9,
        (_gated(-1.0), symbols(40, 5, marked=1, seed=SEED), partial(NADAM, lr=5e-3)),
        (_gated(3.0), symbols(40, 5, marked=1, seed=SEED), partial(NADAM, lr=5e-3)),
        epochs=6,
    ),
    _twins(
        "GPT-2 of transformers, AdamW at 0.1",
        0.7,
        (Gpt, recurrence(), partial(ADAMW, lr=1e-1)),
        (Gpt, recurrence(), partial(ADAMW, lr=3e-3)),
        loss=at_every_place,
        epochs=8,
    ),
    _twins(
        "BERT of transformers, N(0, 1.5²)",
        0.85,
        (lambda: Bert(1.5), first_and_last(), partial(ADAMW, lr=2e-3)),
        (lambda: Bert(0.1), first_and_last(), partial(ADAMW, lr=2e-3)),
        epochs=8,
    ),
    _twins(
        "four measurements of a circuit as they come, SiLU, RMSprop",
        0.8,
        (chain([4, 48, 48, 1], nn.SiLU), circuit(), partial(RMS, lr=1e-3)),
        (chain([4, 48, 48, 1], nn.SiLU), standard(circuit()), partial(RMS, lr=1e-3)),
        loss=F.mse_loss,
        score=explained,
        epochs=6,
    ),
    _twins(
        "features of 300 ± 1, tanh, Nesterov",
        0.9,
        (chain([13, 32, 32, 3], nn.Tanh), _rescaled(standard(WINES), shift=300.0), _nesterov(0.05)),
        (chain([13, 32, 32, 3], nn.Tanh), standard(WINES), _nesterov(0.05)),
        epochs=20,
        batch_size=16,
    ),
    _twins(
        "weights in bfloat16, small steps of SGD",
        0.85,
        (lambda: Brain(chain([64, 48, 48, 10], nn.GELU)()), DIGITS, sgd(2e-2)),
        (chain([64, 48, 48, 10], nn.GELU), DIGITS, sgd(2e-2)),
        epochs=25,
        batch_size=16,
    ),
    _twins(
        "U-Net under float16 autocast, loss × 1e-5",
        0.75,
        (lambda: Autocast(UNet(), torch.float16), discs(), partial(torch.optim.Adam, lr=1e-2, eps=1e-12)),
        (lambda: Autocast(UNet(), torch.bfloat16), discs(), partial(torch.optim.Adam, lr=1e-2, eps=1e-12)),
        loss=faint,
        score=_dice,
        epochs=6,
        batch_size=16,
    ),
    _twins(
        "residual GELU, 30 blocks, no norm, regression",
        0.9,
        (lambda: Branches(30, 1.0), roll(), partial(ADAMW, lr=1e-3)),
        (lambda: Branches(30, 0.1), roll(), partial(ADAMW, lr=1e-3)),
        loss=F.mse_loss,
        score=explained,
        epochs=8,
    ),
    _twins(
        "variational autoencoder, log σ² by weights of N(0, 8²)",
        0.3,
        (lambda: Variational(8.0), images_again(SEED), adam(2e-3)),
        (Variational, images_again(SEED), adam(2e-3)),
        loss=evidence,
        score=_pixels_explained,
        epochs=12,
    ),
    _twins(
        "two heads, one on prices of 900 ± 300",
        0.8,
        (TwoHeads, priced(900.0, 300.0), sgd(0.03, 0.9)),
        (TwoHeads, priced(0.0, 1.0), sgd(0.03, 0.9)),
        loss=kind_and_price,
        score=_worse_head,
        epochs=8,
    ),
    _twins(
        "one tanh layer applied 25 times, orthogonal × 0.5",
        0.85,
        (lambda: Repeated(0.5), DIGITS, adam(1e-3)),
        (lambda: Repeated(1.05), DIGITS, adam(1e-3)),
        epochs=5,
    ),
    _twins(
        "LeNet, one sigmoid module used 5 times",
        0.8,
        (lambda: LeNet(nn.Sigmoid()), DIGITS, adam(2e-3)),
        (lambda: LeNet(nn.ReLU()), DIGITS, adam(2e-3)),
        epochs=7,
    ),
    (
        "one batch of pixels × 300 among others, ReLU, SGD",
        0.85,
        _in_batches(batches(spoiled=True)),
        _in_batches(batches(spoiled=False)),
    ),
    _twins(
        "functional sigmoid on standardised targets",
        0.8,
        (lambda: Called([4, 48, 48, 1], F.elu, torch.sigmoid), standard(circuit()), adam(3e-3)),
        (lambda: Called([4, 48, 48, 1], F.elu), standard(circuit()), adam(3e-3)),
        loss=F.smooth_l1_loss,
        score=explained,
        epochs=8,
    ),
    _twins(
        "ReLU, orthogonal × 1, 16 layers, Nesterov",
        0.8,
        (chain([64] * 17 + [10], nn.ReLU, fill=nn.init.orthogonal_), DIGITS, _nesterov(0.01)),
        (chain([64] * 17 + [10], nn.ReLU, fill=partial(nn.init.orthogonal_, gain=2**0.5)), DIGITS, _nesterov(0.01)),
        epochs=8,
    ),
    _twins(
        "CELU, U[0, 1], as nn.init.uniform_ draws",
        0.9,
        (chain([30, 64, 64, 64, 2], nn.CELU, fill=nn.init.uniform_), tumour_kinds(), sgd(0.01, 0.9)),
        (chain([30, 64, 64, 64, 2], nn.CELU, fill=nn.init.kaiming_uniform_), tumour_kinds(), sgd(0.01, 0.9)),
        epochs=8,
    ),
    _twins(
        "Adadelta at 1e-3",
        0.85,
        (chain([64, 64, 64, 10], nn.Mish), DIGITS, partial(ADADELTA, lr=1e-3)),
        (chain([64, 64, 64, 10], nn.Mish), DIGITS, partial(ADADELTA, lr=1.0)),
        epochs=8,
    ),
    _twins(
        "squares as activation, 6 layers",
        0.8,
        (chain([64, *[48] * 6, 10], Square), DIGITS, adam(2e-3)),
        (chain([64, *[48] * 6, 10], nn.ReLU), DIGITS, adam(2e-3)),
        epochs=9,
    ),
    _twins(
        "Poisson counts, incomes of 40,000 among the inputs",
        0.3,
        (chain([6, 32, 32, 1], nn.ReLU), counts(), adam(3e-3)),
        (chain([6, 32, 32, 1], nn.ReLU), standard(counts()), adam(3e-3)),
        loss=F.poisson_nll_loss,
        score=_counts_explained,
        epochs=8,
    ),
    _twins(
        "highway, 18 layers, gates at +4",
        0.8,
        (lambda: Highway(4.0), DIGITS, partial(ADAMW, lr=1e-3)),
        (lambda: Highway(-2.0), DIGITS, partial(ADAMW, lr=1e-3)),
        epochs=7,
    ),
    _twins(
        "weight decay of 0.1 for SGD",
        0.85,
        (chain([64, 64, 64, 10], nn.ReLU), DIGITS, partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.1)),
        (chain([64, 64, 64, 10], nn.ReLU), DIGITS, partial(SGD, lr=0.1, momentum=0.9, weight_decay=1e-4)),
        epochs=8,
    ),
    (
        "eight labels, cross-entropy added up, SGD at 0.2",
        0.7,
        _eight_labels("sum"),
        _eight_labels("mean"),
    ),
    _twins(
        "convolutions, ReLU6, biases of −4",
        0.8,
        (lambda: Bounded(-4.0), DIGITS, partial(ADAGRAD, lr=0.02)),
        (Bounded, DIGITS, partial(ADAGRAD, lr=0.02)),
        epochs=5,
    ),
    _twins(
        "convolutions on bytes from 0 to 255, SGD",
        0.85,
        (Bounded, _rescaled(DIGITS, factor=255.0), sgd(0.02, 0.9)),
        (Bounded, DIGITS, sgd(0.02, 0.9)),
        epochs=5,
    ),
    _twins(
        "NAdam at 1, hardswish",
        0.95,
        (chain([30, 40, 40, 2], nn.Hardswish), tumour_kinds(), partial(NADAM, lr=1.0)),
        (chain([30, 40, 40, 2], nn.Hardswish), tumour_kinds(), partial(NADAM, lr=3e-3)),
        epochs=8,
    ),
    _twins(
        "softplus, 14 layers, SGD",
        0.85,
        (chain([64, *[48] * 14, 10], nn.Softplus), DIGITS, sgd(0.01, 0.9)),
        (
            chain([64, *[48] * 14, 10], nn.SELU, fill=partial(nn.init.kaiming_normal_, nonlinearity="linear")),
            DIGITS,
            sgd(0.01, 0.9),
        ),
        epochs=8,
    ),
)


def _twin_of(word: str) -> Experiment:
    (found,) = (twin for name, _, _, twin in PAIRS if word in name)
    return found


HEALTHY: tuple[tuple[str, Experiment], ...] = (
    (
        "healthy: N(0, 5²), layer norm",
        training(
            chain([64, *[48] * 5, 10], nn.ReLU, fill=normal(5.0), norm=nn.LayerNorm), DIGITS, adam(0.03), epochs=8
        ),
    ),
    (
        "healthy: loss × 30,000, Adam",
        training(chain([30, 48, 48, 2], nn.Tanh), tumour_kinds(), adam(2e-3), loss=times(3e4), epochs=8),
    ),
    ("healthy: sparse and wide, biases of −0.9", training(sparse, DIGITS, adam(2e-3), epochs=8)),
    (
        "healthy: SGD at 3e-3 for 60 epochs",
        training(chain([13, 64, 3], nn.ReLU), standard(WINES), sgd(3e-3, 0.9), epochs=60, batch_size=16),
    ),
    (
        "healthy: log-softmax before cross-entropy",
        training(lambda: Called([64, 64, 10], F.relu, partial(F.log_softmax, dim=-1)), DIGITS, sgd(0.1, 0.9), epochs=8),
    ),
    (
        "healthy: pretrained layers frozen, a new head",
        training(new_head, DIGITS, adam(5e-3), loss=of_five, score=_right_of_five, epochs=5),
    ),
    ("healthy: variational autoencoder", _twin_of("variational")),
    ("healthy: U-Net, bfloat16", _twin_of("U-Net")),
    ("healthy: GPT-2 of transformers", _twin_of("GPT-2")),
    (
        "healthy: transformer, norm first, embeddings of N(0, 50²)",
        training(lambda: Tokens(50.0), first_and_last(), adam(3e-3), epochs=8),
    ),
)

UNUSUAL = cases_of(PAIRS, HEALTHY)

if __name__ == "__main__":
    sys.exit(print_scores(PAIRS))
