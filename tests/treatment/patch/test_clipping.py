"""Gradients that the code of a patch clips. All five ways stand beside those of an edit in the tests of the adapter."""

import pytest
import torch

from isometry.network.edits import Clip
from tests.treatment.patch.nets import dense, patched, step


@pytest.mark.parametrize(("by", "size"), [("norm", 0.5), ("value", 0.01)])
def test_gradients_are_clipped_before_the_step(by, size):
    model = dense()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    patched([Clip(size, by)], model, optimizer=optimizer)
    step(model, optimizer)
    moved = torch.cat([(new.detach() - old).flatten() for new, old in zip(model.parameters(), before, strict=True)])
    length = float(moved.norm() if by == "norm" else moved.abs().max())
    assert length == pytest.approx(size, rel=1e-3)
