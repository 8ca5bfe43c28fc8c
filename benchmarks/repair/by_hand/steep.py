"""A rate that is far too high, with a schedule, all at module level."""

import torch
from digits import digits
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

EPOCHS = 8
torch.manual_seed(0)
x, y, x_test, y_test = digits()
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = SGD(model.parameters(), lr=3.0, momentum=0.9)
schedule = CosineAnnealingLR(optimizer, EPOCHS)
for _ in range(EPOCHS):
    for batch in torch.randperm(len(x)).split(32):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    schedule.step()
accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()
