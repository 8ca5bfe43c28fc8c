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


class Nested(torch.nn.Module):
    """Takes and gives tensors inside of other things; one of them in float64, and one that counts."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(6, 3)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, batch, *, scale):
        h = self.inner(batch["x"]) * scale[0]
        return {"scores": [h, h.sum()], "exact": batch["exact"], "seen": self.count + len(h), "read": scale[0].dtype}


def test_float64_and_whole_numbers_stay_and_nested_tensors_are_widened():
    model = Nested().half()
    exec(patch([SetPrecision("bfloat16")], architecture_of(dense(), BATCH)), {"model": model})
    batch = {"x": BATCH.half(), "exact": torch.full((2,), 1 / 3, dtype=torch.float64)}
    told = model(batch, scale=(torch.ones((), dtype=torch.float16),))
    assert told["read"] == torch.float32
    assert [value.dtype for value in told["scores"]] == [torch.float32, torch.float32]
    assert torch.equal(told["exact"], batch["exact"]) and told["seen"].dtype == torch.int64
    assert model.inner.weight.dtype == torch.float32


def test_weights_in_float64_are_refused_by_the_code_and_stay():
    model = dense().double()
    with pytest.raises(TypeError, match="float64"):
        exec(patch([SetPrecision("float32")], architecture_of(dense(), BATCH)), {"model": model})
    assert {value.dtype for value in model.parameters()} == {torch.float64}


LOOP = """
for step in range(steps):
    optimizer.zero_grad()
    for part in batch.chunk(parts):
        loss = model(part).square().mean() / parts * factors[step]
        loss.backward()
    optimizer.step()
"""


def changed_by_hand(code):
    """The loop, with its lines changed as the comment in the code says."""
    lines = [line.removeprefix("#").strip() for line in code.splitlines() if line.startswith("#     ")]
    (backward, scaled), (step, stepped) = (line.split("  becomes  ") for line in lines if "becomes" in line)
    (update,) = (line for line in lines if "becomes" not in line)
    loop = LOOP.replace(backward.strip(), scaled.strip())
    return loop.replace(step.strip(), f"{stepped.strip()}\n    {update}")


@pytest.mark.parametrize("parts", [1, 4])
def test_a_scaled_loop_takes_the_steps_of_the_loop_as_it_was(parts):
    model = dense()
    before = copy.deepcopy(model)
    names = {"batch": BATCH, "parts": parts, "steps": 3, "factors": [1.0] * 3}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    told = patched([ScaleLoss(2.0**10)], model, optimizer=optimizer, **names)
    exec(changed_by_hand(patch([ScaleLoss(2.0**10)], architecture_of(dense()))), told)
    plain = torch.optim.SGD(before.parameters(), lr=0.5)
    exec(LOOP, {"model": before, "optimizer": plain, **names})
    for scaled, own in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.allclose(scaled, own, rtol=1e-5)
    assert not torch.equal(model[0].weight, dense()[0].weight)
    stepped = model[0].weight.detach().clone()
    exec(changed_by_hand(patch([ScaleLoss(2.0**10)], architecture_of(dense()))), told | {"steps": 1, "factors": [1e39]})
    assert torch.equal(model[0].weight, stepped) and told["scaler"].get_scale() == 2.0**9
