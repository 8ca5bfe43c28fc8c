"""Which layers read data, where the script itself calls several modules one after the other."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from isometry import Signal
from isometry.adapters.torch.watch import watch_process


class Scaled(nn.Module):
    """A parameter of its own stands before the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.layer = nn.Parameter(torch.ones(6)), nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x * self.scale))


def without_gradient(encoder, head, x):
    with torch.no_grad():
        features = encoder(x)
    return head(features)


FIRST = {"encoder.scale", "encoder.layer"}
WAYS = {
    "one after the other": (lambda encoder, head, x: head(encoder(x)), FIRST),
    "with something between": (lambda encoder, head, x: head(encoder(x) / 3 + 1), FIRST),
    "joined with the data": (lambda encoder, head, x: head(encoder(x) + x.repeat(1, 2)[:, :8]), FIRST),
    "checkpointed": (
        lambda encoder, head, x: head(checkpoint(encoder, x.clone().requires_grad_(), use_reentrant=True)),
        set(),
    ),
    "frozen": (without_gradient, {"head"}),
    "detached": (lambda encoder, head, x: head(encoder(x).detach()), {"head"}),
    "data that ask for a gradient": (
        lambda encoder, head, x: head(encoder(torch.cat([x[:, :2].requires_grad_(), x[:, 2:]], 1) * 2)),
        FIRST,
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_inputs_are_measured_where_nothing_that_learns_stands_before(way, tmp_path):
    call, expected = WAYS[way]
    encoder, head = Scaled(), nn.Linear(8, 3)
    optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.01)
    with watch_process(run=tmp_path / "run", every=1) as watch:
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(call(encoder, head, torch.randn(16, 6)), torch.arange(16) % 3).backward()
            optimizer.step()
    run = watch.run
    names, column = run.architecture.names, (Signal.INPUT, "count")
    counts = (run.history[column] > 0).any(0) if column in run.history else [False] * len(names)
    assert {name for name, read in zip(names, counts, strict=True) if read} == expected
