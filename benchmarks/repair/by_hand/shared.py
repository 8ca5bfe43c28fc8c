"""One tanh for all layers, weights far too large, and a trainer that holds model and optimiser as attributes."""

import torch
import torch.nn.functional as F
from digits import digits
from torch import nn


class Net(nn.Module):
    def __init__(self, depth=10, width=48):
        super().__init__()
        self.hidden = nn.ModuleList([nn.Linear(64 if i == 0 else width, width) for i in range(depth)])
        self.head = nn.Linear(width, 10)
        self.act = nn.Tanh()
        for layer in self.hidden:
            nn.init.normal_(layer.weight, std=1.0)

    def forward(self, x):
        for layer in self.hidden:
            x = self.act(layer(x))
        return self.head(x)


class Trainer:
    def __init__(self):
        self.model = Net()
        self.optimizer = torch.optim.Adam(self.model.parameters())

    def epoch(self, x, y):
        for batch in torch.randperm(len(x)).split(32):
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(x[batch]), y[batch]).backward()
            self.optimizer.step()


torch.manual_seed(0)
x, y, x_test, y_test = digits()
trainer = Trainer()
for _ in range(12):
    trainer.epoch(x, y)
accuracy = (trainer.model(x_test).argmax(1) == y_test).float().mean().item()
print(f"accuracy {accuracy:.4f}")
