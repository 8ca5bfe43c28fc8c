"""Small networks, and the code of patches run on them as it stands."""

import torch
from torch import nn

from isometry.adapters.torch.describe import describe
from isometry.treatment.patch import patch

BATCH = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
HIDDEN = ("0", "2", "4")


def dense(phi=nn.Sigmoid):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 16), phi(), nn.Linear(16, 16), phi(), nn.Linear(16, 16), phi(), nn.Linear(16, 1), nn.Sigmoid()
    )


class Named(nn.Module):
    """Its second activation is a module behind its layer, or a function."""

    def __init__(self, other):
        super().__init__()
        self.first, self.act, self.second, self.other = nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), other
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.other(self.second(self.act(self.first(x)))))


def architecture_of(model, batch=BATCH):
    return describe(model, batch)


def patched(edits, model, **names):
    """The names of the patch's code after it ran."""
    code = patch(edits, architecture_of(model))
    space = {"model": model} | names
    exec(compile(code, "patch", "exec"), space)
    return space


def step(model, optimizer):
    optimizer.zero_grad()
    (1e4 * model(BATCH).sum()).backward()
    optimizer.step()
