"""What ``isometry check`` takes beyond one forward and backward pass.

python benchmarks/check_cost.py
"""

import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import isometry


def mlp(width: int, depth: int) -> nn.Module:
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width), nn.ReLU())]
    for layer in layers[::2]:  # PyTorch's own draw would lose 39 decades, and arithmetic on subnormal numbers is slow
        nn.init.kaiming_normal_(layer.weight)
    return nn.Sequential(*layers, nn.Linear(width, 10))


def convolutions(depth: int) -> nn.Module:
    layers = [part for _ in range(depth) for part in (nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())]
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
    )


WORKLOADS: dict[str, tuple[nn.Module, Tensor]] = {
    "100 dense layers of 64, batch 128": (mlp(64, 100), torch.randn(128, 64)),
    "100 dense layers of 512, batch 128": (mlp(512, 100), torch.randn(128, 512)),
    "100 convolutions of 16 channels with batch norm, 16 × 16, batch 32": (
        convolutions(100),
        torch.randn(32, 3, 16, 16),
    ),
}


def main() -> None:
    torch.set_num_threads(1)
    isometry.check(mlp(8, 2), (torch.randn(4, 8), torch.zeros(4, dtype=torch.int64)), F.cross_entropy)  # imports
    print("| network | one pass, s | check, s | beyond, s | networks drawn | changes tried |")
    print("|---|---|---|---|---|---|")
    for name, (model, inputs) in WORKLOADS.items():
        targets = torch.zeros(len(inputs), dtype=torch.int64)
        F.cross_entropy(model(inputs), targets).backward()
        started = time.process_time()
        F.cross_entropy(model(inputs), targets).backward()
        one = time.process_time() - started
        started = time.process_time()
        found = isometry.check(model, (inputs, targets), F.cross_entropy)
        whole = time.process_time() - started
        drawn, tried = found.prediction.nets, len(found.counterfactuals) - 1
        print(f"| {name} | {one:.2f} | {whole:.2f} | {whole - one:.2f} | {drawn} | {tried} |", flush=True)
    print(f"\ntorch {torch.__version__}, one thread, CPU time")


if __name__ == "__main__":
    main()
