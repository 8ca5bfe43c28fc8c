"""The healthy zoo: ordinary trainings that work, chosen for what makes them look ill to a naive rule."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from . import data as sets
from .case import Case, Training
from .nets import ACTIVATIONS, Block, Recurrent, Sine, initialise, plain_conv, stack
from .recipes import accuracy, batches, conv, dense, fit, optimizer_of, recurrent, transformer

__all__ = ["CASES"]

CASES: list[Case] = []


def healthy(name: str, *, target: float) -> Callable[[Callable[[], Training]], Callable[[], Training]]:
    """Put a training on the shelf."""

    def keep(build: Callable[[], Training]) -> Callable[[], Training]:
        CASES.append(Case(f"zoo / {name}", None, build, target, family="zoo"))
        return build

    return keep


def shelve(name: str, target: float, recipe: Callable[..., Training], **knobs: Any) -> None:
    """Put a recipe with its knobs on the shelf."""
    healthy(name, target=target)(lambda: recipe(**knobs))


# Recipes turned to other healthy settings.

shelve("wide MLP", 0.95, dense, depth=2, width=512, steps=150)
shelve("twenty steps only", 0.5, dense, depth=2, rate=3e-3, steps=20)
shelve("tanh with N(0, 1) weights, narrow", 0.9, dense, data="circles", depth=6, width=5, activation="tanh",
       init="normal", optimizer="rmsprop", rate=1e-2, steps=400)  # fmt: skip
shelve("deep GELU", 0.9, dense, depth=10, activation="gelu")
shelve("deep SiLU", 0.9, dense, depth=10, activation="silu")
shelve("deep Mish", 0.9, dense, depth=10, activation="mish")
shelve("deep SELU, LeCun", 0.9, dense, depth=10, activation="selu", init="lecun")
shelve("deep ELU, momentum", 0.9, dense, depth=8, activation="elu", optimizer="momentum", rate=0.01)
shelve("leaky ReLU", 0.9, dense, depth=6, activation="leaky_relu")
shelve("PReLU", 0.9, dense, depth=5, activation="prelu")
shelve("softplus", 0.9, dense, depth=3, activation="softplus")
shelve("softsign", 0.9, dense, depth=4, activation="softsign", init="xavier")
shelve("default initialisation", 0.9, dense, depth=3, init="default", rate=2e-3)
shelve("ReLU6", 0.9, dense, depth=4, activation="relu6")
shelve("standardised targets, regression", -0.5, dense, data="diabetes", depth=2)
shelve("five units, sigmoid, one layer", 0.6, dense, data="circles", depth=1, width=5, activation="sigmoid",
       init="xavier", rate=3e-2, steps=600)  # fmt: skip
shelve("pre-norm residual MLP", 0.9, dense, depth=16, width=48, norm="layer before", skip=True, branch=0.5)
shelve("batch norm, two layers, large rate", 0.9, dense, depth=2, norm="batch", optimizer="sgd", rate=0.5)
shelve("Adagrad", 0.9, dense, depth=3, optimizer="adagrad", rate=2e-2)
shelve("weight decay", 0.9, dense, depth=3, optimizer="adamw", weight_decay=0.1)
shelve("gradient clipping, always active", 0.85, dense, depth=3, optimizer="sgd", rate=0.1, clip=0.5)
shelve("warm-up", 0.9, dense, depth=3, schedule=lambda step: min(1.0, (step + 1) / 60), rate=2e-3)
shelve("cosine schedule to zero", 0.9, dense, depth=3, schedule=lambda step: 0.5 * (1 + math.cos(math.pi * step / 300)),
       rate=3e-3)  # fmt: skip
shelve("batch of one", 0.85, dense, depth=2, optimizer="sgd", rate=5e-3, batch=1, steps=1500)
shelve("batch norm CNN", 0.9, conv, depth=4, norm="batch", rate=3e-3)
shelve("group norm CNN", 0.9, conv, depth=4, norm="group", rate=3e-3, steps=200)
shelve("residual CNN", 0.9, conv, depth=6, channels=8, norm="batch", skip=True, rate=3e-3, steps=200)
shelve("positive pixels from 0 to 1", 0.9, conv, depth=2, input_scale=6.0 / 16, input_shift=0.3, rate=3e-3)
shelve("Nesterov, cancer", 0.95, dense, data="cancer", depth=3, optimizer="nesterov", rate=0.01)
shelve("tanh, spirals", 0.9, dense, data="spirals", depth=4, activation="tanh", init="lecun", rate=5e-3, steps=500)
shelve("GELU CNN, AdamW", 0.9, conv, depth=3, activation="gelu", optimizer="adamw", rate=2e-3, weight_decay=0.05)
shelve("layer norm after tanh", 0.9, dense, depth=6, activation="tanh", init="xavier", norm="layer after")
shelve("LSTM", 0.9, recurrent, cell="lstm", length=6, rate=1e-2, steps=300)
shelve("GRU", 0.9, recurrent, cell="gru", length=12, rate=1e-2, steps=300)
shelve("GRU, clipped", 0.9, recurrent, cell="gru", length=12, rate=1e-2, steps=300, clip=1.0)
shelve("transformer, pre-norm", 0.85, transformer, rate=2e-3, steps=250)
shelve("transformer, post-norm, shallow", 0.85, transformer, rate=1e-3, norm_first=False, steps=300)
shelve("transformer, four blocks, clipped", 0.85, transformer, depth=4, width=32, rate=1e-3, steps=200, clip=1.0)


@healthy("softmax regression, rate 0.5", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    return fit(nn.Linear(64, 10), x, y, optimizer="sgd", rate=0.5)


@healthy("trained long past convergence", target=1.0)
def _() -> Training:
    x, y = sets.wine()
    model = stack(13, 3, depth=2, width=64)
    return fit(model, x, y, optimizer="adam", rate=1e-2, batch=89, steps=1500)


@healthy("trained long past convergence, SGD", target=0.98)
def _() -> Training:
    x, y = sets.circles()
    x, y = x[x.norm(dim=1).sub(1.05).abs() > 0.12], y[x.norm(dim=1).sub(1.05).abs() > 0.12]
    return fit(stack(2, 2, depth=3, width=32), x, y, optimizer="momentum", rate=0.1, steps=1500)


@healthy("least squares to machine precision", target=-1e-4)
def _() -> Training:
    x = torch.randn(256, 8)
    y = x @ torch.randn(8, 1)
    model = nn.Linear(8, 1)

    def score() -> float:
        return -float(functional.mse_loss(model(x), y).detach())

    return fit(model, x, y, optimizer="sgd", rate=0.1, loss_fn=functional.mse_loss, score=score, steps=400)


@healthy("fine-tuning from converged weights, tiny rate", target=0.95)
def _() -> Training:
    x, y = sets.digits()
    model = stack(64, 10, depth=2, width=64)
    for _ in fit(model, x, y, rate=3e-3, steps=250).steps:
        pass
    return fit(model, x, y, rate=1e-5, steps=150)


class ZeroGamma(nn.Module):
    """A residual CNN whose branches start at zero."""

    def __init__(self, blocks: int = 4, channels: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.blocks = nn.ModuleList()
        for _ in range(blocks):
            last = nn.BatchNorm2d(channels)
            nn.init.zeros_(last.weight)
            self.blocks.append(
                nn.Sequential(
                    nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                    last,
                )
            )
        self.head = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = functional.relu(x + block(x))
        return self.head(functional.adaptive_avg_pool2d(x, 2)[:, :, 0, 0])


@healthy("zero-gamma residual net", target=0.8)
def _() -> Training:
    x, y = sets.images()
    return fit(ZeroGamma(), x, y, optimizer="adam", rate=1e-2, batch=32, steps=200)


class Scaled(nn.Module):
    """Residual blocks with a learned scale: one number (ReZero) or one a channel (LayerScale)."""

    def __init__(self, width: int, depth: int, *, per_channel: bool, begin: float) -> None:
        super().__init__()
        self.embed = nn.Linear(64, width)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(depth)
        )
        size = width if per_channel else 1
        self.scales = nn.ParameterList(nn.Parameter(torch.full((size,), begin)) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for branch, scale in zip(self.branches, self.scales, strict=True):
            x = x + scale * branch(x)
        return self.head(x)


@healthy("ReZero", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    return fit(Scaled(48, 12, per_channel=False, begin=0.0), x, y, rate=2e-3, steps=200)


@healthy("LayerScale 1e-5", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    return fit(Scaled(48, 8, per_channel=True, begin=1e-5), x, y, rate=3e-3, steps=250)


@healthy("frozen encoder, trained head", target=0.75)
def _() -> Training:
    x, y = sets.digits()
    encoder = stack(64, 64, depth=2, width=64)
    head = nn.Linear(64, 10)
    encoder.requires_grad_(False)
    model = nn.Sequential(encoder, head)
    return fit(model, x, y, optimizer=optimizer_of("adam", head.parameters(), 1e-2))


class TwoHeads(nn.Module):
    def __init__(self, *, used: bool) -> None:
        super().__init__()
        self.used = used
        self.trunk = stack(64, 64, depth=2, width=64)
        self.classes = nn.Linear(64, 10)
        self.ink = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        h = functional.relu(self.trunk(x))
        return (self.classes(h), self.ink(h)) if self.used and self.training else self.classes(h)


@healthy("unused head", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    return fit(TwoHeads(used=False), x, y)


@healthy("two tasks", target=0.9)
def _() -> Training:
    x, y = sets.digits()

    def loss_fn(outputs: Any, y: Tensor) -> Tensor:
        classes, ink = outputs
        return functional.cross_entropy(classes, y) + 0.3 * functional.mse_loss(ink[:, 0], (y % 2).float())

    return fit(TwoHeads(used=True), x, y, loss_fn=loss_fn)


class Words(nn.Module):
    """The mean of word vectors; most words are rare."""

    def __init__(self, *, sparse: bool) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(2000, 16, mode="mean", sparse=sparse)
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.words(x))


def _sentences() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(1000, 12, generator=generator) ** 4 * 2000).long()
    mood = torch.randn(2000, generator=generator)
    return x, (mood[x].sum(1) > 0).long()


@healthy("sparse embedding, SGD", target=0.75)
def _() -> Training:
    x, y = _sentences()
    return fit(Words(sparse=True), x, y, optimizer="sgd", rate=2.0, steps=600)


@healthy("embedding with rare words, Adam", target=0.9)
def _() -> Training:
    x, y = _sentences()
    return fit(Words(sparse=False), x, y, rate=1e-2)


class Characters(nn.Module):
    """A language model over characters; the last matrix is the embedding, if tied."""

    def __init__(self, kinds: int, *, tied: bool, cell: str = "gru", width: int = 48) -> None:
        super().__init__()
        self.embed = nn.Embedding(kinds, width)
        nn.init.normal_(self.embed.weight, std=0.3)
        self.recurrent = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](width, width, batch_first=True)
        self.head = nn.Linear(width, kinds)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(self.embed(x))[0])


class Causal(nn.Module):
    """A transformer written by hand: causal attention, pre-norm, tied head."""

    def __init__(self, kinds: int, *, width: int = 32, depth: int = 2, heads: int = 2, length: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Embedding(kinds, width)
        self.place = nn.Embedding(length, width)
        for table in (self.embed, self.place):
            nn.init.normal_(table.weight, std=0.1)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * depth + 1))
        self.triples = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(depth))
        self.outs = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.feed = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)) for _ in range(depth)
        )
        self.head = nn.Linear(width, kinds, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.place(torch.arange(x.shape[1]))
        for index, (triple, out, feed) in enumerate(zip(self.triples, self.outs, self.feed, strict=True)):
            batch, length, width = h.shape
            parts = triple(self.norms[2 * index](h)).reshape(batch, length, 3, self.heads, -1)
            q, k, v = parts.permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            h = h + out(mixed.transpose(1, 2).reshape(batch, length, width))
            h = h + feed(self.norms[2 * index + 1](h))
        return self.head(self.norms[-1](h))


def language(model_of: Callable[[int], nn.Module], *, rate: float, steps: int, clip: float | None = 1.0) -> Training:
    """Predict the next character; scored by minus the mean loss of the last 30 steps."""
    text, kinds = sets.english()
    model = model_of(kinds)
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    losses: list[float] = []

    def run() -> Iterator[float]:
        for _ in range(steps):
            begin = torch.randint(len(text) - 33, (16,))
            rows = text[begin[:, None] + torch.arange(33)]
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            losses.append(loss.item())
            yield losses[-1]

    return Training(model, (optimizer,), run(), lambda: -sum(losses[-30:]) / 30)


shelve(
    "tied GRU language model", -2.7, language, model_of=lambda kinds: Characters(kinds, tied=True), rate=5e-3, steps=250
)
shelve("LSTM language model", -2.7, language, model_of=lambda kinds: Characters(kinds, tied=False, cell="lstm"),
       rate=1e-2, steps=250)  # fmt: skip
shelve("tied transformer language model", -2.8, language, model_of=Causal, rate=3e-3, steps=300)


class Patches(nn.Module):
    """A small vision transformer: 2 × 2 patches by convolution, a class token."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, stride=2)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(0.02 * torch.randn(1, 17, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(5))
        self.attention = nn.ModuleList(nn.MultiheadAttention(width, 4, batch_first=True) for _ in range(2))
        self.feed = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)) for _ in range(2)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.patch(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(len(h), -1, -1), h], 1) + self.place
        for index in range(2):
            n = self.norms[2 * index](h)
            h = h + self.attention[index](n, n, n, need_weights=False)[0]
            h = h + self.feed[index](self.norms[2 * index + 1](h))
        return self.head(self.norms[-1](h)[:, 0])


@healthy("vision transformer", target=0.8)
def _() -> Training:
    x, y = sets.images()
    return fit(Patches(), x, y, rate=3e-3, batch=32, steps=250)


class Mixer(nn.Module):
    """Mixing over rows, then over columns."""

    def __init__(self, width: int = 24, depth: int = 3) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.tokens = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)) for _ in range(depth)
        )
        self.channels = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 48), nn.GELU(), nn.Linear(48, width))
            for _ in range(depth)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x.reshape(-1, 8, 8))
        for tokens, channels in zip(self.tokens, self.channels, strict=True):
            h = h + tokens(h.transpose(1, 2)).transpose(1, 2)
            h = h + channels(h)
        return self.head(h.mean(1))


@healthy("MLP-mixer", target=0.85)
def _() -> Training:
    x, y = sets.digits()
    return fit(Mixer(), x, y, rate=3e-3)


class Unet(nn.Module):
    """Down, down, up, up, with the ways across."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(1, c, 3, padding=1), nn.ReLU())
        self.down2 = nn.Sequential(nn.Conv2d(c, 2 * c, 3, padding=1, stride=2), nn.ReLU())
        self.bottom = nn.Sequential(nn.Conv2d(2 * c, 4 * c, 3, padding=1, stride=2), nn.ReLU())
        self.up2 = nn.ConvTranspose2d(4 * c, 2 * c, 2, stride=2)
        self.mix2 = nn.Sequential(nn.Conv2d(4 * c, 2 * c, 3, padding=1), nn.ReLU())
        self.up1 = nn.ConvTranspose2d(2 * c, c, 2, stride=2)
        self.mix1 = nn.Sequential(nn.Conv2d(2 * c, c, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(c, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(one)
        up = self.mix2(torch.cat([self.up2(self.bottom(two)), two], 1))
        return self.head(self.mix1(torch.cat([self.up1(up), one], 1)))


@healthy("U-Net that takes noise away", target=-0.4)
def _() -> Training:
    x, _ = sets.images()
    noisy = x + torch.randn_like(x)
    model = Unet()

    def score() -> float:
        with torch.no_grad():
            return -float(functional.mse_loss(model(noisy), x))

    return fit(model, noisy, x, rate=3e-3, batch=32, steps=250, loss_fn=functional.mse_loss, score=score)


@healthy("autoencoder with a bottleneck", target=-0.45)
def _() -> Training:
    x, _ = sets.digits()
    model = nn.Sequential(
        nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 8), nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 64)
    )

    def score() -> float:
        with torch.no_grad():
            return -float(functional.mse_loss(model(x), x))

    return fit(model, x, x, rate=3e-3, loss_fn=functional.mse_loss, score=score)


class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
        self.decoder = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, -1)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decoder(code), mean, log_variance


@healthy("variational autoencoder", target=-0.6)
def _() -> Training:
    x, _ = sets.digits()
    model = Variational()

    def loss_fn(outputs: Any, x: Tensor) -> Tensor:
        image, mean, log_variance = outputs
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(-1).mean()
        return functional.mse_loss(image, x, reduction="sum") / len(x) + 0.5 * divergence

    def score() -> float:
        with torch.no_grad():
            return -float(functional.mse_loss(model(x)[0], x))

    return fit(model, x, x, rate=3e-3, loss_fn=loss_fn, score=score)


class Adversaries(nn.Module):
    """Generator and discriminator; never called as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
        self.discriminator = nn.Sequential(
            nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1)
        )


@healthy("GAN", target=-1.5)
def _() -> Training:
    points, _ = sets.circles()
    model = Adversaries()
    critic = torch.optim.Adam(model.discriminator.parameters(), 2e-3, betas=(0.5, 0.999))
    artist = torch.optim.Adam(model.generator.parameters(), 1e-3, betas=(0.5, 0.999))
    judge = functional.binary_cross_entropy_with_logits

    def run() -> Iterator[float]:
        for pick in batches(len(points), 64, 400):
            fake = model.generator(torch.randn(64, 4))
            critic.zero_grad()
            real_logits, fake_logits = model.discriminator(points[pick]), model.discriminator(fake.detach())
            loss = judge(real_logits, torch.ones_like(real_logits)) + judge(fake_logits, torch.zeros_like(fake_logits))
            loss.backward()
            critic.step()
            artist.zero_grad()
            logits = model.discriminator(model.generator(torch.randn(64, 4)))
            loss = judge(logits, torch.ones_like(logits))
            loss.backward()
            artist.step()
            yield loss.item()

    def score() -> float:
        """Minus the distance of the second moments, which training has to bring close."""
        with torch.no_grad():
            fake = model.generator(torch.randn(1000, 4))
        return -float((fake.std(0) - points.std(0)).abs().sum() + fake.mean(0).abs().sum())

    return Training(model, (critic, artist), run(), score)


@healthy("bfloat16 autocast", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    model = stack(64, 10, depth=4, width=64)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def run() -> Iterator[float]:
        for pick in batches(len(x), 64, 250):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = functional.cross_entropy(model(x[pick]), y[pick])
            loss.backward()
            optimizer.step()
            yield loss.item()

    return Training(model, (optimizer,), run(), lambda: accuracy(model, x, y))


@healthy("bfloat16 weights", target=0.85)
def _() -> Training:
    x, y = sets.digits()
    model = stack(64, 10, depth=2, width=64).to(torch.bfloat16)
    return fit(model, x.to(torch.bfloat16), y, rate=3e-3)


@healthy("gradient accumulation", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    model = stack(64, 10, depth=3, width=64)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)

    def run() -> Iterator[float]:
        for number, pick in enumerate(batches(len(x), 16, 1000)):
            loss = functional.cross_entropy(model(x[pick]), y[pick]) / 4
            loss.backward()
            if number % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
            yield 4 * loss.item()

    return Training(model, (optimizer,), run(), lambda: accuracy(model, x, y))


@healthy("dropout", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    return fit(stack(64, 10, depth=2, width=128, dropout=0.5), x, y, rate=2e-3)


@healthy("label smoothing", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    return fit(stack(64, 10, depth=3, width=64), x, y, loss_fn=nn.CrossEntropyLoss(label_smoothing=0.1))


@healthy("REINFORCE on a contextual bandit", target=0.6)
def _() -> Training:
    x, y = sets.digits()
    policy = stack(64, 10, depth=2, width=64)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)

    def run() -> Iterator[float]:
        baseline = 0.1
        for pick in batches(len(x), 64, 600):
            choice = torch.distributions.Categorical(logits=policy(x[pick]))
            arm = choice.sample()
            reward = (arm == y[pick]).float()
            loss = -(choice.log_prob(arm) * (reward - baseline)).mean()
            baseline += 0.05 * (float(reward.mean()) - baseline)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()

    return Training(policy, (optimizer,), run(), lambda: accuracy(policy, x, y))


@healthy("contrastive loss", target=-1.5)
def _() -> Training:
    x, _ = sets.digits()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    losses: list[float] = []

    def run() -> Iterator[float]:
        for pick in batches(len(x), 64, 300):
            views = [functional.normalize(model(x[pick] + 0.3 * torch.randn(64, 64)), dim=1) for _ in range(2)]
            loss = functional.cross_entropy(views[0] @ views[1].T / 0.2, torch.arange(64))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            yield losses[-1]

    return Training(model, (optimizer,), run(), lambda: -sum(losses[-30:]) / 30)


@healthy("LBFGS", target=0.95)
def _() -> Training:
    x, y = sets.digits()
    model = stack(64, 10, depth=1, width=32, activation="tanh")
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=5, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    def run() -> Iterator[float]:
        for _ in range(30):
            yield float(optimizer.step(closure))

    return Training(model, (optimizer,), run(), lambda: accuracy(model, x, y))


@healthy("random labels learnt by heart", target=0.9)
def _() -> Training:
    x, _ = sets.digits()
    x = x[:300]
    y = torch.randint(10, (300,), generator=torch.Generator().manual_seed(0))
    return fit(stack(64, 10, depth=2, width=256), x, y, rate=2e-3, steps=500)


class Shared(nn.Module):
    """One block applied again and again, its input added each time: a fixed point is approached."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(64, 48)
        self.again = nn.Linear(48, 48)
        nn.init.orthogonal_(self.again.weight, 0.7)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        entered = self.enter(x)
        state = torch.zeros_like(entered)
        for _ in range(12):
            state = torch.tanh(self.again(state) + entered)
        return self.head(state)


@healthy("one layer shared twelve times", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    return fit(Shared(), x, y, rate=3e-3, steps=250)


class Experts(nn.Module):
    """Top-1 routing; an expert may be idle for a while."""

    def __init__(self, experts: int = 6) -> None:
        super().__init__()
        self.router = nn.Linear(64, experts)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)) for _ in range(experts)
        )
        with torch.no_grad():
            self.router.bias[-1] = -30.0  # never chosen

    def forward(self, x: Tensor) -> Tensor:
        weights = functional.softmax(self.router(x), -1)
        best, choice = weights.max(-1)
        out = x.new_zeros(len(x), 10)
        for number, expert in enumerate(self.experts):
            rows = (choice == number).nonzero()[:, 0]
            if len(rows):
                out = out.index_add(0, rows, best[rows, None] * expert(x[rows]))
        return out


@healthy("mixture of experts, one idle", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    return fit(Experts(), x, y, rate=5e-3)


class Taught(nn.Module):
    """A student and the moving average of it, which teaches."""

    def __init__(self) -> None:
        super().__init__()
        self.student = stack(64, 10, depth=2, width=64)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.student(x)


@healthy("teacher by moving average", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    model = Taught()
    optimizer = torch.optim.Adam(model.student.parameters(), 2e-3)

    def run() -> Iterator[float]:
        for pick in batches(len(x), 64, 250):
            logits = model(x[pick])
            with torch.no_grad():
                taught = functional.softmax(model.teacher(x[pick] + 0.1 * torch.randn(len(pick), 64)), -1)
            loss = functional.cross_entropy(logits, y[pick]) + 0.2 * functional.cross_entropy(logits, taught)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for slow, fast in zip(model.teacher.parameters(), model.student.parameters(), strict=True):
                    slow.lerp_(fast, 0.05)
            yield loss.item()

    return Training(model, (optimizer,), run(), lambda: accuracy(model, x, y))


@healthy("spectral norm", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    model = stack(64, 10, depth=2, width=64)
    for index in (0, 2):
        parametrizations.spectral_norm(model[index])
    return fit(model, x, y, rate=3e-3)


@healthy("weight norm", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    model = stack(64, 10, depth=3, width=64)
    for index in (0, 2, 4):
        parametrizations.weight_norm(model[index])
    return fit(model, x, y, rate=2e-3)


@healthy("SIREN", target=-0.1)
def _() -> Training:
    x = torch.linspace(-1, 1, 400)[:, None]
    y = torch.sin(12 * x) * torch.exp(-x.square()) + 0.3 * torch.cos(30 * x)
    layers: list[nn.Module] = []
    for index, (fan_in, fan_out) in enumerate([(1, 64), (64, 64), (64, 64)]):
        linear = nn.Linear(fan_in, fan_out)
        with torch.no_grad():
            bound = 30.0 if index == 0 else math.sqrt(6 / fan_in)
            linear.weight.uniform_(-bound, bound)
        layers += [linear, Sine()]
    model = nn.Sequential(*layers, nn.Linear(64, 1))

    def score() -> float:
        return -float(functional.mse_loss(model(x), y).detach() / y.var())

    return fit(model, x, y, rate=1e-3, batch=100, steps=400, loss_fn=functional.mse_loss, score=score)


@healthy("quantile loss", target=-0.35)
def _() -> Training:
    x, y = sets.diabetes()
    model = stack(10, 3, depth=2, width=32)
    levels = torch.tensor([0.1, 0.5, 0.9])

    def loss_fn(outputs: Tensor, y: Tensor) -> Tensor:
        miss = y - outputs
        return torch.maximum(levels * miss, (levels - 1) * miss).mean()

    def score() -> float:
        return -float(loss_fn(model(x), y).detach())

    return fit(model, x, y, rate=2e-3, loss_fn=loss_fn, score=score)


@healthy("absolute error", target=-0.75)
def _() -> Training:
    x, y = sets.diabetes()
    model = stack(10, 1, depth=2, width=32)

    def score() -> float:
        return -float(functional.l1_loss(model(x), y).detach())

    return fit(model, x, y, rate=2e-3, loss_fn=functional.l1_loss, score=score)


@healthy("updates by hand, no optimizer", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    model = stack(64, 10, depth=2, width=64)

    def run() -> Iterator[float]:
        for pick in batches(len(x), 64, 300):
            loss = functional.cross_entropy(model(x[pick]), y[pick])
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.1 * parameter.grad
            yield loss.item()

    return Training(model, (), run(), lambda: accuracy(model, x, y))


@healthy("two optimizers, two rates", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    body, head = stack(64, 64, depth=2, width=64), nn.Linear(64, 10)
    model = nn.Sequential(body, nn.ReLU(), head)
    slow = torch.optim.Adam(body.parameters(), 3e-4)
    fast = torch.optim.SGD(head.parameters(), 0.1)

    def run() -> Iterator[float]:
        for pick in batches(len(x), 64, 300):
            for optimizer in (slow, fast):
                optimizer.zero_grad()
            loss = functional.cross_entropy(model(x[pick]), y[pick])
            loss.backward()
            for optimizer in (slow, fast):
                optimizer.step()
            yield loss.item()

    return Training(model, (slow, fast), run(), lambda: accuracy(model, x, y))


@healthy("checkpoints and in-place ReLU", target=0.9)
def _() -> Training:
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Linear(64, 64), nn.ReLU(inplace=True), nn.Linear(64, 64), nn.ReLU(inplace=True)
            )
            self.head = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(checkpoint(self.body, x, use_reentrant=False))

    x, y = sets.digits()
    return fit(Checkpointed(), x, y, rate=2e-3)


@healthy("class weights, rare class", target=0.85)
def _() -> Training:
    x, y = sets.digits()
    rare = (y == 8).long()
    model = stack(64, 2, depth=2, width=64)
    weights = torch.tensor([0.1, 0.9])
    return fit(model, x, rare, rate=2e-3, loss_fn=lambda outputs, y: functional.cross_entropy(outputs, y, weights))


@healthy("stacked GRU, two layers, both ways", target=0.9)
def _() -> Training:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent = nn.GRU(4, 24, num_layers=2, bidirectional=True, batch_first=True)
            self.head = nn.Linear(48, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.recurrent(x)[0][:, -1])

    x, y = sets.first_symbol(8)
    return fit(Both(), x, y, rate=1e-2, batch=32, steps=250)


@healthy("rank-one adaptation of a frozen net", target=0.9)
def _() -> Training:
    class Adapted(nn.Module):
        def __init__(self, base: nn.Linear) -> None:
            super().__init__()
            self.base = base.requires_grad_(False)
            self.down = nn.Linear(base.in_features, 4, bias=False)
            self.up = nn.Linear(4, base.out_features, bias=False)
            nn.init.zeros_(self.up.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + self.up(self.down(x))

    x, y = sets.digits()
    net = stack(64, 10, depth=2, width=64)
    for _ in fit(net, x, (y + 1) % 10, rate=3e-3, steps=120).steps:
        pass
    model = nn.Sequential(*(Adapted(layer) if isinstance(layer, nn.Linear) else layer for layer in net))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return fit(model, x, y, optimizer=torch.optim.Adam(trained, 1e-2), steps=400)


@healthy("value clipping and Nesterov", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    model = initialise(plain_conv(depth=2, channels=8), "he")
    return fit(model, x.reshape(-1, 1, 8, 8), y, optimizer="nesterov", rate=0.02, batch=32, clip=5.0)


@healthy("residual blocks of tanh, no norm", target=0.9)
def _() -> Training:
    x, y = sets.digits()
    blocks = [Block(nn.Sequential(nn.Linear(48, 48), ACTIVATIONS["tanh"]()), 0.3) for _ in range(12)]
    return fit(nn.Sequential(nn.Linear(64, 48), *blocks, nn.Linear(48, 10)), x, y, rate=2e-3)


@healthy("GRU read at every step, loss summed over time", target=0.9)
def _() -> Training:
    x, y = sets.first_symbol(10)

    class EveryStep(Recurrent):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.recurrent(x)[0])

    model = EveryStep(4, 32, 4, cell="gru")

    def loss_fn(outputs: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(outputs.flatten(0, 1), y.repeat_interleave(10))

    def score() -> float:
        with torch.no_grad():
            return float((model(x)[:, -1].argmax(-1) == y).float().mean())

    return fit(model, x, y, rate=1e-2, batch=32, steps=250, loss_fn=loss_fn, score=score)
