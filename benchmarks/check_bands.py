"""Do measured signals lie in the bands that ``isometry check`` predicts? Six kinds of network, many seeds.

For each kind and seed a network is initialised anew and checked: 95 % of what is measured at its layers should lie in
the band predicted for it. A kind passes where at least 90 % do.

    python benchmarks/check_bands.py [--seeds 20] [--only cnn]
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import isometry

ENOUGH = 0.9


class Residual(nn.Module):
    def __init__(self, channels: int, norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=not norm)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=not norm)
        self.norm1 = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.norm2 = nn.BatchNorm2d(channels) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class Last(nn.Module):
    """An LSTM that answers from its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 48, num_layers=2, batch_first=True)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class PreNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, tokens, 3, 4, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.out(mixed)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, width: int = 64, depth: int = 6) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, width)
        self.blocks = nn.Sequential(*(PreNorm(width) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 100)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embedding(x)))).flatten(0, 1)


def mlp() -> nn.Module:
    sizes = [64, *[64] * 20, 10]
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return nn.Sequential(*(part for layer in layers[:-1] for part in (layer, nn.Tanh())), layers[-1])


def vgg() -> nn.Module:
    parts: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64)):
        parts += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
        parts += [nn.MaxPool2d(2)] if inputs == outputs else []
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))


def resnet(norm: bool) -> nn.Module:
    stem = nn.Conv2d(1, 24, 3, padding=1)
    blocks = [Residual(24, norm) for _ in range(8)]
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))


def autoencoder() -> nn.Module:
    sizes = [64, 48, 32, 16, 4, 16, 32, 48]
    parts: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        parts += [nn.Linear(inputs, outputs), nn.ELU()]
    return nn.Sequential(*parts, nn.Linear(48, 64), nn.Sigmoid())


def digits(count: int) -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    chosen = torch.randperm(len(images))[:count]
    return torch.as_tensor(images / 16.0, dtype=torch.float32)[chosen], torch.as_tensor(labels)[chosen]


def _flat() -> tuple[Tensor, Tensor]:
    return digits(64)


def _images() -> tuple[Tensor, Tensor]:
    images, labels = digits(32)
    return images.reshape(-1, 1, 8, 8), labels


def _rows() -> tuple[Tensor, Tensor]:
    images, labels = digits(64)
    return images.reshape(-1, 8, 8), labels


def _tokens() -> tuple[Tensor, Tensor]:
    tokens = torch.randint(0, 100, (8, 32))
    return tokens, tokens.flatten().roll(-1)


def _itself() -> tuple[Tensor, Tensor]:
    images, _ = digits(64)
    return images, images


Kind = tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, Tensor]], Any]
KINDS: dict[str, Kind] = {
    "mlp": (mlp, _flat, F.cross_entropy),
    "vgg": (vgg, _images, F.cross_entropy),
    "resnet": (lambda: resnet(True), _images, F.cross_entropy),
    "resnet without norm": (lambda: resnet(False), _images, F.cross_entropy),
    "lstm": (Last, _rows, F.cross_entropy),
    "transformer": (Transformer, _tokens, F.cross_entropy),
    "autoencoder": (autoencoder, _itself, F.mse_loss),
}


def shares(kind: Kind, seeds: int) -> Iterator[tuple[float, int, int]]:
    """Share inside the band, layers that depart, networks drawn; seed after seed."""
    build, batch, loss = kind
    for seed in range(seeds):
        torch.manual_seed(seed)
        found = isometry.check(build(), batch(), loss, nets=20, seed=1000 + seed)
        yield found.inside, len(found.departures), found.prediction.nets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", choices=KINDS)
    options = parser.parse_args()
    print(f"| network | inside its band | worst seed | seeds with a departure | of {options.seeds} |")
    print("|---|---|---|---|---|")
    failed = False
    for name in [options.only] if options.only else KINDS:
        told = list(shares(KINDS[name], options.seeds))
        inside = [share for share, _, _ in told]
        failed |= float(np.mean(inside)) < ENOUGH
        departed = sum(count > 0 for _, count, _ in told)
        print(f"| {name} | {100 * np.mean(inside):.1f} % | {100 * min(inside):.0f} % | {departed} | |", flush=True)
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
