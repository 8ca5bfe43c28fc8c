"""What watching costs: interleaved twins, plain against watched, with an A/A control.

Three networks train from the same seeds in one process, in turn: plain, plain again (the control) and watched with the
default budget, a block of steps each. The ratio is the CPU time of all watched blocks over all plain ones; the control
tells how far such a ratio is off by itself. What the watch tells of its own cost stands beside it. One thread, CPU
time, so other work on the machine matters less.

    python benchmarks/watching_cost.py [--steps 400] [--only mlp] [--every 1]

Workloads: ``mlp`` 784-10×512-10, batch 256, Adam; ``cnn`` a ResNet of 32/64/128 channels on 32×32, batch 32, SGD with
momentum; ``gpt`` 4 layers, width 128, 64 tokens, batch 8, AdamW.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import isometry

BLOCK = 10


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        self.skip = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.skip(x) + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.out(mixed)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self, width: int = 128, tokens: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, width)
        self.position = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.blocks = nn.Sequential(*(Attention(width, 4) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 256)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embedding(x) + self.position))).flatten(0, 1)


def mlp() -> nn.Module:
    layers: list[nn.Module] = []
    for position in range(10):
        layers += [nn.Linear(784 if position == 0 else 512, 512), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(512, 10))


def cnn() -> nn.Module:
    shape = [(32, 32, 1), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
    stem = [nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True)]
    return nn.Sequential(*stem, *(Block(*s) for s in shape), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


Step = Callable[[], None]
WORKLOADS: dict[str, tuple[Callable[[], nn.Module], Callable[..., torch.optim.Optimizer], tuple[int, ...]]] = {
    "mlp": (mlp, torch.optim.Adam, (256, 784)),
    "cnn": (cnn, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), (32, 3, 32, 32)),
    "gpt": (Gpt, torch.optim.AdamW, (8, 64)),
}


def twin(name: str) -> tuple[nn.Module, torch.optim.Optimizer, Step]:
    """A model, its optimiser and one ordinary training step."""
    build, optimise, shape = WORKLOADS[name]
    torch.manual_seed(0)
    model = build()
    optimizer = optimise(model.parameters())
    generator = torch.Generator().manual_seed(1)

    def step() -> None:
        if name == "gpt":
            inputs = torch.randint(0, 256, shape, generator=generator)
            targets = inputs.flatten().roll(-1)
        else:
            inputs = torch.randn(shape, generator=generator)
            targets = torch.randint(0, 10, (shape[0],), generator=generator)
        loss = F.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return model, optimizer, step


def seconds(step: Step) -> float:
    started = time.process_time()
    for _ in range(BLOCK):
        step()
    return time.process_time() - started


def measured(name: str, steps: int, every: int | None, folder: Path) -> dict[str, object]:
    _, _, plain = twin(name)
    _, _, control = twin(name)
    model, optimizer, step = twin(name)
    for warm in (plain, control):
        seconds(warm)
    totals = {"plain": 0.0, "control": 0.0, "watched": 0.0}
    with isometry.watch(model, optimizer, run=folder, every=every) as watch:
        for _ in range(steps // BLOCK):
            totals["plain"] += seconds(plain)
            watch._last_boundary = None  # the other twins' blocks are no training time of this one
            totals["watched"] += seconds(step)
            totals["control"] += seconds(control)
    summary = watch.run.summary()
    return {
        "workload": name,
        "mode": f"every={every}" if every else "default",
        "steps": steps,
        "recorded": summary["recorded"],
        "watched over plain": round(totals["watched"] / totals["plain"], 3),
        "A/A control": round(totals["control"] / totals["plain"], 3),
        "told by the watch": round(summary["cost_share"] or 0.0, 4),
        "plain step, ms": round(1e3 * totals["plain"] / steps, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--only", choices=WORKLOADS)
    parser.add_argument("--every", type=int)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in [options.only] if options.only else WORKLOADS:
            rows.append(measured(name, options.steps, options.every, Path(folder) / name))
            print("   ".join(f"{key}: {value}" for key, value in rows[-1].items()), flush=True)
    print(f"torch {torch.__version__}, one thread, {platform.processor() or platform.machine()}, CPU time")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
