"""A sigmoid that forward() calls as a function."""

import torch
import torch.nn.functional as F
from digits import digits
from torch import nn


class Net(nn.Module):
    def __init__(self, depth, width):
        super().__init__()
        self.first = nn.Linear(64, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = torch.sigmoid(self.first(x))
        for layer in self.hidden:
            x = torch.sigmoid(layer(x))
        return self.head(x)


def main():
    torch.manual_seed(0)
    x, y, x_test, y_test = digits()
    net = Net(8, 48)
    opt = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    for _ in range(10):
        for batch in torch.randperm(len(x)).split(32):
            loss = F.cross_entropy(net(x[batch]), y[batch])
            opt.zero_grad()
            loss.backward()
            opt.step()
    right = (net(x_test).argmax(1) == y_test).float().mean()
    print(f"accuracy {right:.4f}")


if __name__ == "__main__":
    main()
