"""Small causal transformers with the norm before each branch or behind each sum, and texts made up for them."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from isometry.classics.build.data import DATA
from isometry.classics.build.initialising import normal
from isometry.network.experiment import Experiment

__all__ = ["KINDS", "WORDS", "Start", "Transformer", "WarmUp", "loss", "on_text", "start", "text"]

Floats = NDArray[np.float64]

KINDS = ("pre-norm", "post-norm")
WORDS = 8
HEADS = 4
NOISE = 0.2
"""Share of the words that are drawn at random, so that texts do not run in circles."""


class Attention(nn.Module):
    """Every token looks at itself and at those before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.look = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        parts = self.look(x).reshape(batch, tokens, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = parts[0], parts[1], parts[2]
        ahead = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
        logits = query @ key.transpose(-1, -2) * (width // HEADS) ** -0.5
        seen = logits.masked_fill(ahead, -torch.inf).softmax(-1) @ value
        mixed: Tensor = self.out(seen.transpose(1, 2).reshape(batch, tokens, width))
        return mixed


class Block(nn.Module):
    """x + f(norm(x)) or norm(x + f(x)), once for attention and once for two layers with a ReLU between them."""

    def __init__(self, width: int, *, before: bool) -> None:
        super().__init__()
        self.before = before
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def feed(self, x: Tensor) -> Tensor:
        """Each token by itself."""
        fed: Tensor = self.down(torch.relu(self.up(x)))
        return fed

    def forward(self, x: Tensor) -> Tensor:
        for norm, branch in ((self.first, self.attention), (self.second, self.feed)):
            x = x + branch(norm(x)) if self.before else norm(x + branch(x))
        return x


class Transformer(nn.Module):
    """Words and places in, logits of the next word out; weights of variance 1 / n_in, biases 0.

    Words and places are drawn with a variance of 1/2 each, so that their sum is as large as what a norm gives.
    """

    def __init__(self, kind: str, *, blocks: int, width: int, tokens: int) -> None:
        super().__init__()
        before = kind == "pre-norm"
        self.words, self.places = nn.Embedding(WORDS, width), nn.Embedding(tokens, width)
        self.blocks = nn.Sequential(*(Block(width, before=before) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width) if before else nn.Identity()
        self.head = nn.Linear(width, WORDS)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                normal(1.0)(part.weight)
                nn.init.zeros_(part.bias)
            elif isinstance(part, nn.Embedding):
                nn.init.normal_(part.weight, std=0.5**0.5)

    def forward(self, text: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.blocks(self.words(text) + self.places.weight)))
        return logits


def text(rows: int, *, tokens: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Texts in which the two last words decide the next, by a table; a fifth of the words is random.

    All seeds share the table. shapes (rows, tokens), what is read and what comes next.
    """
    table = np.random.default_rng(DATA).integers(0, WORDS, (WORDS, WORDS))
    generator = np.random.default_rng([seed, DATA])
    found = generator.integers(0, WORDS, (rows, tokens + 1))
    follows = generator.random(found.shape) >= NOISE
    for place in range(2, tokens + 1):
        ruled = table[found[:, place - 2], found[:, place - 1]]
        found[:, place] = np.where(follows[:, place], ruled, found[:, place])
    return torch.tensor(found[:, :-1]), torch.tensor(found[:, 1:])


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over all tokens."""
    return cross_entropy(logits.flatten(0, 1), targets.flatten())


class WarmUp:
    """An optimiser whose learning rate rises evenly over its first steps."""

    def __init__(self, optimizer: torch.optim.Optimizer, *, steps: int) -> None:
        self.optimizer, self.steps, self.done = optimizer, steps, 0
        self.rates = [float(group["lr"]) for group in optimizer.param_groups]

    def zero_grad(self) -> None:
        """As the optimiser."""
        self.optimizer.zero_grad()

    def step(self) -> None:
        """As the optimiser, at this step's rate."""
        self.done += 1
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * min(1.0, self.done / self.steps)
        self.optimizer.step()


def on_text(kind: str, *, blocks: int, rate: float, rows: int, warm_up: int = 0) -> Experiment:
    """Adam, one pass over so many texts of 16 words in batches of 16; width 32; over ``warm_up`` steps if any."""

    def optimizer(parameters: Iterable[Tensor]) -> Any:
        adam = torch.optim.Adam(parameters, lr=rate, fused=True)
        return WarmUp(adam, steps=warm_up) if warm_up else adam

    return Experiment(
        build=lambda: Transformer(kind, blocks=blocks, width=32, tokens=16),
        data=text(rows, tokens=16),
        loss_fn=loss,
        optimizer=optimizer,
        batch_size=16,
        metric=_accuracy(text(256, tokens=16, seed=1)),
    )


def _accuracy(fresh: tuple[Tensor, Tensor]) -> Callable[[nn.Module], float]:
    """Share of the next words that are guessed, from the third on, which the table decides."""

    def measure(model: nn.Module) -> float:
        with torch.no_grad():
            right = model(fresh[0]).argmax(-1) == fresh[1]
        return float(right[:, 1:].double().mean())

    return measure


class Start(NamedTuple):
    """What is read of an untrained transformer at one batch."""

    delta: Floats
    """At the sum behind every branch, input first. [rms], shape (2 blocks,)"""
    cosines: Floats
    """Mean cosine of two tokens of a text behind every block. shape (blocks,)"""
    last: float
    """‖∂L/∂W‖ of the last layer in front of the output's."""


def start(kind: str, *, blocks: int, seed: int) -> Start:
    """One transformer of width 64 at 8 texts of 32 words."""
    inputs, targets = text(8, tokens=32, seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Transformer(kind, blocks=blocks, width=64, tokens=32)
    sums: list[Tensor] = []
    streams: list[Tensor] = []

    def keep_sum(module: nn.Module, given: object, output: Tensor) -> None:
        output.retain_grad()
        sums.append(output)

    def keep_stream(module: nn.Module, given: object, output: Tensor) -> None:
        streams.append(output.detach())

    parts = [block for block in model.blocks if isinstance(block, Block)]
    for block in parts:
        block.attention.register_forward_hook(keep_sum)  # δ at a branch's end is δ at the sum that it enters
        block.down.register_forward_hook(keep_sum)
        block.register_forward_hook(keep_stream)
    loss(model(inputs), targets).backward()
    deltas = [one.grad for one in sums]
    weight = parts[-1].down.weight.grad
    assert weight is not None
    return Start(
        delta=np.array([float(one.double().square().mean().sqrt()) for one in deltas if one is not None]),
        cosines=np.array([_alike(stream) for stream in streams]),
        last=float(weight.double().norm()),
    )


def _alike(stream: Tensor) -> float:
    """Mean cosine of two different tokens of the same text."""
    unit = nn.functional.normalize(stream.double(), dim=-1)
    tokens = unit.shape[1]
    return float(((unit.sum(1).square().sum(-1) - tokens) / (tokens * (tokens - 1))).mean())
