"""A training of ordinary shape; its arguments say how it is fed and how it ends."""

import argparse
import os
import signal
import subprocess
import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Points(Dataset):
    def __len__(self):
        return 160

    def __getitem__(self, index):
        x = torch.randn(8, generator=torch.Generator().manual_seed(index))
        return x, (x.sum() > 0).long()


def network(activation, depth=8):
    layers = [nn.Linear(8, 16), activation()]
    for _ in range(depth):
        layers += [nn.Linear(16, 16), activation()]
    return nn.Sequential(*layers, nn.Linear(16, 2))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", choices=["fork", "spawn"])
    parser.add_argument("--end", default="plainly")
    parser.add_argument("--json", action="store_true", help="an option that isometry has too")
    options = parser.parse_args()

    torch.manual_seed(0)
    fed_by = {"num_workers": 1, "multiprocessing_context": options.workers} if options.workers else {}
    model = network(nn.Sigmoid)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for epoch in range(options.epochs):
        for x, y in DataLoader(Points(), batch_size=16, shuffle=True, **fed_by):
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch} json {options.json}")

    if options.end == "fails":
        model(torch.zeros(3, 5))
    elif options.end == "leaves":
        sys.exit(3)
    elif options.end == "vanishes":
        sys.stdout.flush()
        os._exit(9)
    elif options.end == "interrupted":
        os.kill(os.getpid(), signal.SIGINT)
    elif options.end == "prints":
        os.write(1, b"past Python\n")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    elif options.end == "forks" and os.fork() == 0:
        model(torch.zeros(3, 8)).sum().backward()
        optimizer.step()


if __name__ == "__main__":
    main()
