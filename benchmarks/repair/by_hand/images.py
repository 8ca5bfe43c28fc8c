"""The network stands in another file, and the optimiser comes from a function."""

import argparse

import torch
from digits import digits
from split.networks import network
from torch import nn, optim


def make_optimizer(parameters, options):
    return optim.Adam(parameters, lr=options.lr)


def main(options):
    torch.manual_seed(options.seed)
    x, y, x_test, y_test = digits()
    model = network()
    optimizer = make_optimizer(model.parameters(), options)
    criterion = nn.CrossEntropyLoss()
    for _ in range(options.epochs):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            loss = criterion(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        print("accuracy", (model(x_test).argmax(1) == y_test).float().mean().item())


parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.002)
parser.add_argument("--epochs", type=int, default=8)
parser.add_argument("--seed", type=int, default=0)
main(parser.parse_args())
