"""A regression with ReLU units and a learning rate that kills most of them in the first steps.

python examples/dying_relu.py --lr 0.5
"""

import argparse

import torch
import torch.nn.functional as F
from sklearn.datasets import load_diabetes
from torch import nn


class Regressor(nn.Module):
    def __init__(self, inputs, width=64):
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.second = nn.Linear(width, width)
        self.head = nn.Linear(width, 1)

    def forward(self, x):
        x = F.relu(self.first(x))
        x = F.relu(self.second(x))
        return self.head(x).squeeze(-1)


def main():
    parser = argparse.ArgumentParser(description="Predict the progress of diabetes.")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--lr", type=float, default=0.5)
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()

    torch.manual_seed(0)
    features, target = load_diabetes(return_X_y=True)
    features = torch.as_tensor((features - features.mean(0)) / features.std(0)).float()
    target = torch.as_tensor((target - target.mean()) / target.std()).float()

    model = Regressor(features.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    for epoch in range(1, options.epochs + 1):
        order = torch.randperm(len(features))
        total = 0.0
        for chosen in order.split(options.batch_size):
            optimizer.zero_grad(set_to_none=True)
            loss = F.mse_loss(model(features[chosen]), target[chosen])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        if epoch % 10 == 0:
            print(f"epoch {epoch:3d}  mean squared error {total / len(features):.3f}")


if __name__ == "__main__":
    main()
