"""A deep ReLU network whose weights are drawn a little too large: its loss becomes NaN within a few steps.

python examples/exploding.py
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn


def build(depth, width, gain):
    layers = []
    for inputs, outputs in zip([64] + [width] * (depth - 1), [width] * depth, strict=True):
        layer = nn.Linear(inputs, outputs)
        nn.init.normal_(layer.weight, std=gain * (2 / inputs) ** 0.5)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def main():
    parser = argparse.ArgumentParser(description="Train a network whose weights are drawn too large.")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--gain", type=float, default=1.6, help="standard deviation of the weights over He's")
    parser.add_argument("--lr", type=float, default=0.01)
    options = parser.parse_args()

    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    x = torch.as_tensor((pixels - pixels.mean()) / pixels.std()).float()
    y = torch.as_tensor(labels)
    model = build(options.depth, 64, options.gain)
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr)

    for epoch in range(1, options.epochs + 1):
        for chosen in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(model(x[chosen]), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}  loss {loss.item():.4g}")


if __name__ == "__main__":
    main()
