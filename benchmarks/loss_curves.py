"""Real loss curves with a known truth, to calibrate and to check the rules that read the loss and the updates.

Small networks are trained over a sweep of learning rates, everything else equal. The truth comes from the sweep
itself: a rate is too high when a lower one, with the same seed, data and number of steps, ends clearly lower, too low
when a higher one does. Some families calibrate, the others are held out and only judged.

All rates and seeds of one family train together (``torch.func.vmap`` over the members), so a family takes seconds.

Usage::

    python benchmarks/loss_curves.py train CACHE      # train whatever the cache folder does not hold yet
    python benchmarks/loss_curves.py judge CACHE      # run the rules, print recall and false alarms
"""

import argparse
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional as F

from isometry.diagnosis.diagnose import diagnose
from isometry.diagnosis.finding import Severity
from isometry.history.history import History
from isometry.history.run import Run
from isometry.network.architecture import Architecture, Layer
from isometry.network.signals import Signal
from isometry.statistics.guessing import guessing_loss

PROBLEMS = ("learning_rate_too_high", "learning_rate_too_low", "loss_not_decreasing", "loss_spike")
SEEDS = 2
DENSE = 32
"""Steps recorded one by one at the start, as the watch does."""
THIN = 8
"""Afterwards every so many steps."""


def standardised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / (x.std(0) + 1e-9)


class Recurrent(nn.Module):
    """A plain or a gated recurrent net written out, because the fused ones cannot be mapped over members."""

    def __init__(self, inputs: int, width: int, outputs: int, gated: bool) -> None:
        super().__init__()
        self.gated = gated
        parts = 4 if gated else 1
        self.width = width
        self.into = nn.Linear(inputs, parts * width)
        self.over = nn.Linear(width, parts * width, bias=False)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], self.width)
        c = h
        for t in range(x.shape[1]):
            z = self.into(x[:, t]) + self.over(h)
            if self.gated:
                i, f, g, o = z.chunk(4, -1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
            else:
                h = torch.tanh(z)
        return self.head(h)


class BatchNorm(nn.Module):
    """Batch statistics only: running ones would be written to in place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True)


class Attention(nn.Module):
    """A pre-norm transformer of one head for next-character prediction."""

    def __init__(self, vocabulary: int, length: int, width: int, blocks: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(0.1 * torch.randn(length, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * blocks + 1))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(blocks))
        self.project = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.up = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(blocks))
        self.down = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(blocks))
        self.head = nn.Linear(width, vocabulary)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x) + self.places
        mask = torch.triu(torch.full((x.shape[-1], x.shape[-1]), -1e9), 1)
        for b, qkv in enumerate(self.qkv):
            q, k, v = qkv(self.norms[2 * b](h)).chunk(3, -1)
            weights = torch.softmax(q @ k.transpose(-1, -2) / self.width**0.5 + mask, -1)
            h = h + self.project[b](weights @ v)
            h = h + self.down[b](F.gelu(self.up[b](self.norms[2 * b + 1](h))))
        return self.head(self.norms[-1](h))


def mlp(*widths: int, phi: type[nn.Module] = nn.ReLU) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        parts: list[nn.Module] = []
        for n_in, n_out in pairwise(widths[:-1]):
            parts += [nn.Linear(n_in, n_out), phi()]
        return nn.Sequential(*parts, nn.Linear(widths[-2], widths[-1]))

    return build


def he_mlp(*widths: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        net = mlp(*widths)()
        for part in net:
            if isinstance(part, nn.Linear):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
                nn.init.zeros_(part.bias)
        return net

    return build


def conv(norm: bool) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        first = [nn.Conv2d(1, 8, 3, padding=1), *([BatchNorm(8)] if norm else []), nn.ReLU(), nn.AvgPool2d(2)]
        second = [nn.Conv2d(8, 16, 3, padding=1), *([BatchNorm(16)] if norm else []), nn.ReLU(), nn.AvgPool2d(2)]
        return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *first, *second, nn.Flatten(), nn.Linear(64, 10))

    return build


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.reshape(-1, output.shape[-1]), target.reshape(-1))


def mse(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output, target)


def binary(output: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(output, target)


def l1(output: Tensor, target: Tensor) -> Tensor:
    return F.l1_loss(output, target)


def digits(noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    x, y = datasets.load_digits(return_X_y=True)
    random = np.random.default_rng(0)
    wrong = random.random(len(y)) < noise
    return x / 16.0, np.where(wrong, random.integers(0, 10, len(y)), y)


def circles() -> tuple[np.ndarray, np.ndarray]:
    x, y = datasets.make_circles(1000, factor=0.5, noise=0.1, random_state=0)
    return x, y[:, None].astype(float)


def random_labels() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    return random.random((1000, 20)), random.integers(0, 2, (1000, 1)).astype(float)


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    x, y = datasets.load_diabetes(return_X_y=True)
    return standardised(x), standardised(y[:, None])


def friedman() -> tuple[np.ndarray, np.ndarray]:
    x, y = datasets.make_friedman1(1500, noise=0.5, random_state=2)
    return 2 * x - 1, standardised(y[:, None])


def cancer() -> tuple[np.ndarray, np.ndarray]:
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return standardised(x), y[:, None].astype(float)


def wine() -> tuple[np.ndarray, np.ndarray]:
    x, y = datasets.load_wine(return_X_y=True)
    return standardised(x), y


def images() -> tuple[np.ndarray, np.ndarray]:
    x, _ = digits()
    return x, x


def adding(length: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    values = random.random((2000, length))
    marks = np.zeros((2000, length))
    for row in marks:
        row[random.choice(length, 2, replace=False)] = 1.0
    return np.stack([values, marks], -1), standardised((values * marks).sum(1, keepdims=True))


def waves() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(4)
    kind = random.integers(0, 3, 1500)
    t = np.arange(20)
    phase = random.random((1500, 1)) * 2 * np.pi
    return (np.sin(t * (0.3 + 0.25 * kind[:, None]) + phase) + 0.3 * random.normal(size=(1500, 20)))[..., None], kind


def text(length: int = 24) -> tuple[np.ndarray, np.ndarray]:
    words = "".join(load().DESCR for load in (datasets.load_digits, datasets.load_wine, datasets.load_diabetes)).lower()
    letters = sorted(set(words))
    code = np.array([letters.index(letter) for letter in words])
    starts = np.arange(0, len(code) - length - 1, 5)
    rows = code[starts[:, None] + np.arange(length + 1)]
    return rows[:, :-1], rows[:, 1:]


@dataclass(frozen=True)
class Family:
    """One task and one net; swept over rates, optimisers and lengths."""

    name: str
    data: Callable[[], tuple[np.ndarray, np.ndarray]]
    build: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    batch: int = 32
    held_out: bool = False
    steps: tuple[int, ...] = (150, 600)
    optimisers: tuple[str, ...] = ("sgd", "momentum", "adam", "rmsprop")


FAMILIES = (
    Family("digits mlp", digits, mlp(64, 64, 64, 10), cross_entropy, optimisers=("sgd", "momentum", "adam", "adamw")),
    Family("digits softmax regression", digits, mlp(64, 10), cross_entropy),
    Family("digits deep narrow", digits, he_mlp(64, 16, 16, 16, 16, 16, 16, 10), cross_entropy),
    Family("digits wrong labels", lambda: digits(0.5), mlp(64, 128, 10), cross_entropy, batch=8),
    Family("circles tanh", circles, mlp(2, 5, 5, 5, 5, 1, phi=nn.Tanh), binary),
    Family("circles sigmoid", circles, mlp(2, 5, 5, 1, phi=nn.Sigmoid), binary),
    Family("diabetes", diabetes, mlp(10, 32, 32, 1), mse),
    Family("adding rnn", lambda: adding(12), lambda: Recurrent(2, 24, 1, gated=False), mse),
    Family("autoencoder tanh", images, mlp(64, 32, 8, 32, 64, phi=nn.Tanh), mse),
    Family("digits one sample", digits, mlp(64, 32, 10), cross_entropy, batch=1, steps=(600, 1500)),
    Family("digits full batch", digits, mlp(64, 32, 10), cross_entropy, batch=1797, steps=(150,)),
    Family("random labels", random_labels, mlp(20, 64, 64, 1), binary, steps=(150,)),
    Family("digits conv", digits, conv(norm=False), cross_entropy, held_out=True),
    Family("digits conv norm", digits, conv(norm=True), cross_entropy, held_out=True, optimisers=("momentum", "adam")),
    Family("cancer", cancer, mlp(30, 24, 24, 1, phi=nn.Tanh), binary, held_out=True),
    Family("wine", wine, mlp(13, 16, 3, phi=nn.ELU), cross_entropy, batch=16, held_out=True),
    Family("friedman", friedman, mlp(10, 64, 64, 64, 1, phi=nn.GELU), mse, held_out=True),
    Family("friedman absolute", friedman, mlp(10, 64, 1), l1, batch=8, held_out=True),
    Family("autoencoder", images, mlp(64, 32, 8, 32, 64), mse, held_out=True, optimisers=("momentum", "adam", "adamw")),
    Family("waves lstm", waves, lambda: Recurrent(1, 16, 3, gated=True), cross_entropy, held_out=True),
    Family(
        "characters",
        text,
        lambda: Attention(80, 24, 32, 2),
        cross_entropy,
        batch=16,
        held_out=True,
        optimisers=("momentum", "adamw"),
    ),
    Family("wrong labels", lambda: digits(0.7), mlp(64, 64, 10), cross_entropy, batch=8, held_out=True),
    Family("cancer full batch", cancer, mlp(30, 16, 1), binary, batch=569, held_out=True, steps=(150,)),
)

RATES = {
    "sgd": np.logspace(-5, 1.5, 14),
    "momentum": np.logspace(-6, 1, 15),
    "adam": np.logspace(-6, 0.5, 14),
    "adamw": np.logspace(-6, 0.5, 14),
    "rmsprop": np.logspace(-6, 0.5, 14),
}


def change(name: str, step: int, gradient: Tensor, weight: Tensor, state: dict[str, Tensor], rate: Tensor) -> Tensor:
    """One step of an optimiser for all members together; ``rate`` has one entry a member."""
    rate = rate.reshape(-1, *[1] * (gradient.dim() - 1))
    if name == "sgd":
        return -rate * gradient
    if name == "momentum":
        state["m"] = state.get("m", torch.zeros_like(gradient)) * 0.9 + gradient
        return -rate * state["m"]
    decay = 0.999 if name.startswith("adam") else 0.99
    state["v"] = state.get("v", torch.zeros_like(gradient)) * decay + (1 - decay) * gradient**2
    if name == "rmsprop":
        return -rate * gradient / (state["v"].sqrt() + 1e-8)
    state["m"] = state.get("m", torch.zeros_like(gradient)) * 0.9 + 0.1 * gradient
    m, v = state["m"] / (1 - 0.9**step), state["v"] / (1 - 0.999**step)
    shrink = rate * 0.01 * weight if name == "adamw" else 0.0
    return -rate * m / (v.sqrt() + 1e-8) - shrink


def rms(x: Tensor) -> Tensor:
    return x.double().flatten(1).pow(2).mean(1).sqrt()


def train(family: Family, optimiser: str, steps: int) -> dict[str, np.ndarray]:
    """Train all rates and seeds of one family together; what a watch would record, and the full training loss."""
    torch.manual_seed(zlib.crc32(family.name.encode()))
    x, y = (torch.as_tensor(part) for part in family.data())
    x, y = (part.float() if part.is_floating_point() else part.long() for part in (x, y))
    rates = torch.tensor(np.repeat(RATES[optimiser], SEEDS), dtype=torch.float32)
    starts = [family.build() for _ in range(SEEDS)]
    parameters, _ = stack_module_state([starts[i % SEEDS] for i in range(len(rates))])
    parameters = {name: value.detach().clone() for name, value in parameters.items()}
    skeleton = family.build()

    def loss_of(values: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return family.loss(functional_call(skeleton, values, (inputs,)), targets)

    step_of = vmap(grad_and_value(loss_of), in_dims=(0, None, None))
    full_of = vmap(loss_of, in_dims=(0, None, None))
    weights = [name for name, value in parameters.items() if value.dim() > 2]
    states: dict[str, dict[str, Tensor]] = {name: {} for name in parameters}
    order = torch.randperm(len(x))
    at, losses, recorded = 0, [], []
    columns: dict[str, list[np.ndarray]] = {"weight": [], "gradient": [], "update": []}
    for step in range(steps):
        if at + family.batch > len(x):
            order, at = torch.randperm(len(x)), 0
        rows = order[at : at + family.batch]
        at += family.batch
        gradients, loss = step_of(parameters, x[rows], y[rows])
        losses.append(loss.numpy().copy())
        moves = {
            name: change(optimiser, step + 1, gradients[name], value, states[name], rates)
            for name, value in parameters.items()
        }
        if step < DENSE or step % THIN == 0:
            recorded.append(step)
            columns["weight"].append(np.stack([rms(parameters[name]).numpy() for name in weights], 1))
            columns["gradient"].append(np.stack([rms(gradients[name]).numpy() for name in weights], 1))
            columns["update"].append(np.stack([rms(moves[name]).numpy() for name in weights], 1))
        parameters = {name: value + moves[name] for name, value in parameters.items()}
    keep = torch.randperm(len(x))[:1000]
    return {
        "rates": rates.numpy(),
        "loss": np.stack(losses, 1),
        "final": full_of(parameters, x[keep], y[keep]).numpy(),
        "steps": np.array(recorded),
        **{name: np.stack(rows, 1) for name, rows in columns.items()},
    }


def cells(families: tuple[Family, ...] = FAMILIES) -> list[tuple[Family, str, int]]:
    return [
        (family, optimiser, steps) for family in families for optimiser in family.optimisers for steps in family.steps
    ]


def path_of(cache: Path, family: Family, optimiser: str, steps: int) -> Path:
    return cache / f"{family.name.replace(' ', '-')}.{optimiser}.{steps}.npz"


def fill(cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    for family, optimiser, steps in cells():
        path = path_of(cache, family, optimiser, steps)
        if not path.exists():
            np.savez_compressed(path, **train(family, optimiser, steps))
            print(path.name, flush=True)


@dataclass(frozen=True)
class Member:
    """One training of a sweep, and what the sweep says about its rate."""

    family: Family
    optimiser: str
    rate: float
    run: Run
    above: float
    """How much lower a lower rate ended, as a share of what the best rate of the sweep gained."""
    below: float
    """How much lower a higher rate ended."""
    gained: float
    """Share of the loss at the start that is gone at the end, on a thousand samples."""
    of_guessing: float
    """Loss at the end over that of an answer that ignores the input."""
    learnable: bool
    """Whether any rate of the sweep gained more than a twentieth."""


def members(cache: Path, family: Family, optimiser: str, steps: int) -> list[Member]:
    """Every training of one sweep as a run, with its truth."""
    data = dict(np.load(path_of(cache, family, optimiser, steps)))
    final = np.where(np.isfinite(data["final"]), data["final"], np.inf)
    found = []
    for i, rate in enumerate(data["rates"]):
        same = np.arange(len(final)) % SEEDS == i % SEEDS
        start = float(data["loss"][same][0][0])  # the lowest rate of the sweep has hardly moved
        gain = start - final[same].min()
        lower, higher = final[same & (data["rates"] < rate / 2.9)], final[same & (data["rates"] > rate * 2.9)]
        lost = not np.isfinite(final[i])
        found.append(
            Member(
                family=family,
                optimiser=optimiser,
                rate=float(rate),
                run=as_run(family, optimiser, float(rate), data, i),
                above=np.inf if lost else (final[i] - lower.min()) / gain if len(lower) else -np.inf,
                below=-np.inf if lost or not len(higher) else (final[i] - higher.min()) / gain,
                gained=(start - final[i]) / start,
                of_guessing=final[i] / guessing(family),
                learnable=bool(gain / start > 0.05),
            )
        )
    return found


@cache
def loss_kind(family: Family) -> dict[str, Any]:
    x, y = family.data()
    kind = {cross_entropy: "cross_entropy", mse: "mse", binary: "binary_cross_entropy", l1: "l1"}[family.loss]
    targets = None if kind == "cross_entropy" else {"mean": float(y.mean()), "std": float(y.std())}
    outputs = family.build()(torch.as_tensor(x[:2], dtype=torch.long if x.dtype.kind == "i" else torch.float32))
    return {"step": 0, "kind": kind, "classes": outputs.shape[-1] if targets is None else None, "targets": targets}


def guessing(family: Family) -> float:
    kind = loss_kind(family)
    return guessing_loss(kind["kind"], classes=kind["classes"], targets=kind["targets"]) or np.nan


def as_run(family: Family, optimiser: str, rate: float, data: dict[str, np.ndarray], member: int) -> Run:
    """One member as the watch would have recorded it."""
    layers = data["weight"].shape[2]
    names = tuple(f"layer{k}" for k in range(layers))
    history = History.from_arrays(
        data["steps"],
        {
            (Signal.WEIGHT, "rms"): data["weight"][member],
            (Signal.WEIGHT_GRADIENT, "rms"): data["gradient"][member],
            (Signal.UPDATE, "rms"): data["update"][member],
        },
        scalars={"loss": data["loss"][member].astype(float)},
        events={
            "optimizer": [{"step": 0, "name": optimiser, "lr": rate, "parameters": names}],
            "loss_kind": [loss_kind(family)],
        },
    )
    return Run(Architecture(tuple(Layer(name, "linear", "Linear", (name,)) for name in names)), history)


@dataclass
class Score:
    """Counts of one rule on one set of families."""

    sick: int = 0
    found: int = 0
    healthy: int = 0
    alarms: int = 0

    def add(self, *, is_sick: bool, is_healthy: bool, fired: bool) -> None:
        self.sick += is_sick
        self.found += is_sick and fired
        self.healthy += is_healthy
        self.alarms += is_healthy and fired

    def __str__(self) -> str:
        recall = self.found / max(self.sick, 1)
        false = self.alarms / max(self.healthy, 1)
        return (
            f"recall {self.found:4d} of {self.sick:4d} = {recall:6.1%}   "
            f"false alarms {self.alarms:3d} of {self.healthy:4d} = {false:.2%}"
        )


CLEAR, SLIGHT = 0.3, 0.1
"""A rate is wrong if another one gains this much more; between the two it counts neither as sick nor as healthy."""


def judge(cache: Path, *, verbose: bool) -> None:
    """Run the rules on every cached training and print how often they were right."""
    scores: dict[tuple[str, bool], Score] = {}
    for family, optimiser, steps in cells():
        for member in members(cache, family, optimiser, steps):
            found = {finding.problem: finding for finding in diagnose(member.run, only=PROBLEMS).findings}
            truths = {
                "learning_rate_too_high": (
                    member.above > CLEAR and member.learnable,
                    member.above < SLIGHT and member.learnable,
                ),
                "learning_rate_too_low": (
                    member.below > CLEAR and member.above < SLIGHT and member.learnable,
                    member.below < SLIGHT and member.learnable,
                ),
                "loss_not_decreasing": (
                    member.gained < 0.02 or member.of_guessing > 0.98,
                    member.gained > 0.05 and member.of_guessing < 0.9,
                ),
                "loss_spike": (False, member.above < SLIGHT),
            }
            for problem, (is_sick, is_healthy) in truths.items():
                fired = problem in found and found[problem].severity >= Severity.SLOWS
                score = scores.setdefault((problem, family.held_out), Score())
                score.add(is_sick=is_sick, is_healthy=is_healthy, fired=fired)
                if verbose and ((is_sick and not fired) or (is_healthy and fired)):
                    what = "missed" if is_sick else "false"
                    print(
                        f"{what:6s} {problem:22s} {family.name:26s} {optimiser:8s} {steps:4d} steps "
                        f"at {member.rate:8.2g}: above {member.above:.2f} below {member.below:.2f} "
                        f"gained {member.gained:.3f}" + (f"  {found[problem].summary}" if fired else "")
                    )
    for (problem, held_out), score in sorted(scores.items()):
        print(f"{problem:22s} {'held out ' if held_out else 'calibrate'} {score}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["train", "judge"])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--verbose", action="store_true", help="print every miss and every false alarm")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.action == "train":
        fill(options.cache)
    else:
        judge(options.cache, verbose=options.verbose)
    return 0


if __name__ == "__main__":
    sys.exit(main())
