"""Ways to clip a gradient, held against numbers worked out here and against the code of a patch."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isometry import CannotEdit
from isometry.adapters.torch.clipping import CLIPPED_BY
from isometry.adapters.torch.describe import describe
from isometry.adapters.torch.retuning import require_possible, retuned
from isometry.network.edits import Clip
from isometry.treatment.patch import patch


def norms_after(by: str, threshold: float, norms) -> list[float]:
    """The norm of each of some gradients once it is clipped; they point into different directions."""
    clip = CLIPPED_BY[by](threshold)
    one, other = nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(4))
    idle = nn.Parameter(torch.ones(2))
    generator = torch.Generator().manual_seed(0)
    left = []
    for norm in norms:
        direction = torch.randn(10, generator=generator, dtype=torch.float64)
        whole = (norm * direction / direction.norm()).float()
        one.grad, other.grad = whole[:6].view(3, 2).clone(), whole[6:].clone()
        clip([one, other, idle])
        after = torch.cat([one.grad.flatten(), other.grad])
        torch.testing.assert_close(after / after.norm(), whole / whole.norm())
        left.append(float(after.norm()))
    return left


@pytest.mark.slow
def test_at_a_percentile_of_the_latest_norms():
    norms = np.random.default_rng(0).lognormal(0, 1, 1_300)
    expected = [min(norm, np.percentile(norms[max(0, k - 999) : k + 1], 20)) for k, norm in enumerate(norms)]
    np.testing.assert_allclose(norms_after("percentile", 20.0, norms), expected, rtol=1e-4)


def test_a_norm_that_stands_out_comes_back_the_nearer_the_farther_it_was():
    calm = list(1 + 0.1 * np.sin(np.arange(60.0)))
    after = norms_after("zscore", 2.5, [*calm, 3.0, *calm[:10], 3000.0, *calm[:10]])
    np.testing.assert_allclose(after[:60], calm, rtol=1e-5)
    assert after[60] == pytest.approx(1.02, abs=0.03)  # μ + 2.5² σ / z with σ = 0.07 and z = 28
    assert 1.0 < after[71] < after[60]
    np.testing.assert_allclose(after[61:71], calm[:10], rtol=1e-5)
    np.testing.assert_allclose(after[72:], calm[:10], rtol=1e-5)


def test_the_first_steps_are_only_looked_at():
    assert norms_after("zscore", 2.5, [1.0] * 10 + [500.0] + [1.0] * 14)[10] == pytest.approx(500.0, rel=1e-5)


def test_each_unit_gets_at_most_a_share_of_its_weights():
    clip = CLIPPED_BY["adaptive"](0.1)
    weight = nn.Parameter(torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]))
    bias = nn.Parameter(torch.tensor([3.0, 4.0]))
    kernel = nn.Parameter(torch.full((2, 1, 3, 3), 1.0))
    weight.grad = torch.tensor([[0.3, 0.0], [0.0, 0.3], [1.0, 0.0]])
    bias.grad = torch.tensor([30.0, 40.0])
    kernel.grad = torch.stack([torch.full((1, 3, 3), 5.0), torch.full((1, 3, 3), 0.01)])
    clip([weight, bias, kernel])
    torch.testing.assert_close(weight.grad, torch.tensor([[0.3, 0.0], [0.0, 0.05], [1e-4, 0.0]]))
    torch.testing.assert_close(bias.grad, torch.tensor([0.3, 0.4]))
    torch.testing.assert_close(kernel.grad[:, 0, 0, 0], torch.tensor([0.1, 0.01]))


@pytest.mark.parametrize("by", ["adaptive", "percentile", "zscore"])
def test_a_gradient_of_zero_stays_and_one_that_is_not_finite_leaves_no_trace(by):
    clip = CLIPPED_BY[by](2.0)
    weight = nn.Parameter(torch.ones(2, 2))
    for step in range(60):
        weight.grad = torch.full(
            (2, 2), float("inf") if step in (3, 40) else 0.0 if step == 5 else 0.1 + 0.01 * (step % 3)
        )
        before = weight.grad.clone()
        clip([weight])
        if step not in (3, 40):
            assert torch.isfinite(weight.grad).all()
        if step == 5:
            assert torch.equal(weight.grad, before)
    assert float(weight.grad.norm()) > 0


class Uneven(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read, self.leave = nn.Conv1d(2, 5, 3), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(torch.tanh(self.read(x)).mean(-1))


@pytest.mark.parametrize(
    "edit",
    [Clip(0.02, "adaptive"), Clip(10.0, "percentile"), Clip(2.5, "zscore"), Clip(0.3), Clip(0.01, "value")],
    ids=str,
)
def test_the_code_of_a_patch_trains_the_very_same(edit):
    torch.manual_seed(0)
    model = Uneven()
    twin = copy.deepcopy(model)
    batches = torch.randn(80, 16, 2, 9)
    batches[50:52] *= 200
    optimizer = retuned(torch.optim.SGD(model.parameters(), lr=0.05), [edit])
    space = {"model": twin, "optimizer": torch.optim.SGD(twin.parameters(), lr=0.05)}
    exec(patch([edit], describe(model, batches[0])), space)
    plain = copy.deepcopy(model)
    own = torch.optim.SGD(plain.parameters(), lr=0.05)
    for batch in batches:
        for net, stepper in ((model, optimizer), (twin, space["optimizer"]), (plain, own)):
            stepper.zero_grad()
            (net(batch).squeeze(-1) - batch.sum((1, 2))).square().mean().backward()
            stepper.step()
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(model.leave.weight, plain.leave.weight, rtol=1e-2)


def test_two_optimisers_remember_norms_of_their_own():
    weights = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    edit = Clip(50.0, "percentile")
    optimizers = [retuned(torch.optim.SGD([weight], lr=1.0), [edit]) for weight in weights]
    for weight, optimizer, size in zip(weights, optimizers, (1e-3, 10.0), strict=True):
        weight.grad = torch.full((2,), size)
        optimizer.step()
        assert weight.detach().tolist() == pytest.approx([-size, -size])


def test_a_percentile_beyond_a_hundred_is_refused():
    with pytest.raises(CannotEdit, match="a percentile up to 100"):
        require_possible([Clip(120.0, "percentile")])
    with pytest.raises(CannotEdit, match="There are norm, value, adaptive, percentile, zscore"):
        require_possible([Clip(1.0, "unit")])
