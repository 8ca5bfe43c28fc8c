"""Trains a deep sigmoid network on handwritten digits, the way one would have in 2005.

python examples/deep_sigmoid.py --epochs 20
"""

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def digits(batch_size):
    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels - pixels.mean()) / pixels.std()
    parts = train_test_split(pixels, labels, test_size=0.2, random_state=0, stratify=labels)
    x_train, x_test, y_train, y_test = (torch.as_tensor(part) for part in parts)
    train = TensorDataset(x_train.float(), y_train)
    return DataLoader(train, batch_size=batch_size, shuffle=True), x_test.float(), y_test


def build(depth, width):
    layers = [nn.Flatten(), nn.Linear(64, width), nn.Sigmoid()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def main():
    parser = argparse.ArgumentParser(description="Train a deep sigmoid network on digits.")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--depth", type=int, default=10, help="hidden layers")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    batches, x_test, y_test = digits(options.batch_size)
    model = build(options.depth, options.width)
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    for epoch in range(1, options.epochs + 1):
        model.train()
        total = 0.0
        for x, y in batches:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        model.eval()
        with torch.no_grad():
            accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()
        print(f"epoch {epoch:2d}  loss {total / len(batches.dataset):.4f}  accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
