"""Trains one of the cases as a plain script, which knows nothing of isometry.

python benchmarks/repair/train.py "tanh 30 layers, Adam"
"""

import sys

import torch
from cases import CASES


def main() -> None:
    case = next(case for case in CASES if case.name == sys.argv[1])
    experiment = case.experiment
    torch.manual_seed(0)
    model = experiment.build()
    optimizer = experiment.optimizer(model.parameters())
    inputs, targets = experiment.data
    for epoch in range(experiment.epochs):
        for batch in torch.randperm(len(inputs)).split(experiment.batch_size):
            loss = experiment.loss_fn(model(inputs[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}  loss {loss.item():.4f}")
    model.eval()
    print(f"score {experiment.metric(model):.6f}")


if __name__ == "__main__":
    main()
