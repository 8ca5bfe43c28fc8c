"""Number formats that the code of a patch changes."""

import copy

import pytest
import torch

from isometry.network.edits import ScaleLoss, SetPrecision
from isometry.treatment.patch import patch
from tests.treatment.patch.nets import BATCH, architecture_of, dense, patched


@pytest.mark.parametrize("kind", ["bfloat16", "float32"])
def test_the_model_computes_in_another_format_with_weights_in_float32(kind):
    model = dense().half()
    seen = []
    model[1].register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    exec(patch([SetPrecision(kind)], architecture_of(dense(), BATCH)), {"model": model})
    with torch.autocast("cpu", dtype=torch.float16):
        outputs = model(BATCH.half())
    assert (seen, outputs.dtype) == ([getattr(torch, kind)], torch.float32)
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_a_scaled_loss_gives_the_steps_of_the_loss_itself():
    model = dense()
    before = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    told = patched([ScaleLoss(2.0**10)], model, optimizer=optimizer)
    told["backward"](model(BATCH).square().mean())
    before(BATCH).square().mean().backward()
    for scaled, plain in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.allclose(scaled.grad, plain.grad, rtol=1e-5)
    told["step"]()
    assert not torch.equal(model[0].weight, before[0].weight)
    stepped = model[0].weight.detach().clone()
    told["backward"](model(BATCH).sum() * float("inf"))
    told["step"]()
    assert torch.equal(model[0].weight, stepped) and told["scaler"].get_scale() == 2.0**9
