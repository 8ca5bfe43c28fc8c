"""Uses the framework, and trains nothing."""

import torch

with torch.no_grad():
    print(torch.nn.Linear(2, 2)(torch.ones(1, 2)).shape)
