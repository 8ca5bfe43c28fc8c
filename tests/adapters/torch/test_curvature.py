"""Sharpness against Hessians that are written out in full, and against quadratics whose λ is known."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from isometry.adapters.torch.curvature import sharpness_of
from isometry.errors import UnsupportedModel


def net(phi: type[nn.Module], *, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), phi(), nn.Linear(7, 6), phi(), nn.Linear(6, 3)).double()


def hessian(model: nn.Module, loss) -> torch.Tensor:
    names = [name for name, _ in model.named_parameters()]
    parts = torch.autograd.functional.hessian(
        lambda *values: loss(lambda x: torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,))),
        tuple(model.parameters()),
    )
    sizes = [p.numel() for p in model.parameters()]
    rows = [
        [part.reshape(m, n) for part, n in zip(row, sizes, strict=True)] for row, m in zip(parts, sizes, strict=True)
    ]
    return torch.cat([torch.cat(row, dim=1) for row in rows])


@pytest.mark.parametrize("phi", [nn.Tanh, nn.ReLU, nn.GELU])
@pytest.mark.parametrize("seed", [0, 1])
def test_sharpness_is_the_largest_eigenvalue_of_the_full_hessian(phi, seed):
    model = net(phi, seed=seed)
    inputs, labels = torch.randn(30, 5).double(), torch.randint(0, 3, (30,))

    def loss(call):
        return F.cross_entropy(call(inputs), labels)

    values = torch.linalg.eigvalsh(hessian(model, loss))
    assert values[0] < 0 < values[-1]  # both signs: the largest is meant, not the one farthest from 0
    found = sharpness_of(lambda: loss(model), list(model.parameters()), tolerance=1e-3)
    assert found.value == pytest.approx(float(values[-1]), rel=3e-3)
    assert found.error <= 1e-3 * found.value
    rough = sharpness_of(lambda: loss(model), list(model.parameters()))
    assert rough.value == pytest.approx(float(values[-1]), rel=0.05)
    assert rough.rounds < found.rounds


def test_the_largest_is_found_where_a_negative_one_is_farther_from_zero():
    weight = torch.ones(4, requires_grad=True)
    curves = torch.tensor([-50.0, 3.0, 1.0, -2.0])
    found = sharpness_of(lambda: (curves * weight.square()).sum() / 2, [weight])
    assert found.value == pytest.approx(3.0, rel=1e-4)  # four products span the space
    assert found.rounds <= 4


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_gradient_descent_on_a_quadratic_diverges_just_beyond_the_bound(momentum):
    curves = torch.tensor([7.0, 2.0, 0.5], dtype=torch.float64)

    def loss(weight):
        return (curves * weight.square()).sum() / 2

    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    bound = 2 * (1 + momentum) / sharpness_of(lambda: loss(weight), [weight], tolerance=1e-9).value

    def end(rate: float) -> float:
        moved = torch.ones(3, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([moved], lr=rate, momentum=momentum)
        for _ in range(2000):
            optimizer.zero_grad()
            loss(moved).backward()
            optimizer.step()
        return float(loss(moved).detach())

    assert end(0.98 * bound) < 1e-3
    assert end(1.02 * bound) > 1e3


def test_scaling_the_loss_scales_sharpness_whatever_the_range():
    model = net(nn.Tanh, seed=1)
    inputs, targets = torch.randn(30, 5).double(), torch.randn(30, 3).double()

    def sharpness(times: float) -> float:
        return sharpness_of(lambda: times * F.mse_loss(model(inputs), targets), list(model.parameters())).value

    one, small = sharpness(1.0), sharpness(1e-30)
    assert small == pytest.approx(1e-30 * one, rel=1e-6)


def test_fused_attention_and_recurrent_layers_are_measured_and_nothing_is_left_behind():
    torch.manual_seed(0)
    inputs = torch.randn(6, 4, 16)
    for model in (nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), nn.LSTM(16, 8, batch_first=True)):

        def loss(model=model):
            out = model(inputs)
            return (out[0] if isinstance(out, tuple) else out)[..., :3].square().sum()

        before = [parameter.detach().clone() for parameter in model.parameters()]
        assert sharpness_of(loss, list(model.parameters())).value > 0
        assert all(torch.equal(p, b) and p.grad is None for p, b in zip(model.parameters(), before, strict=True))


def test_frozen_and_unused_parameters_are_left_out():
    used, frozen, unused = torch.ones(2, requires_grad=True), torch.ones(2), torch.ones(3, requires_grad=True)
    assert sharpness_of(lambda: 2 * (frozen * used).square().sum(), [used, frozen, unused]).value == pytest.approx(4)


def test_a_linear_loss_is_flat():
    weight = torch.ones(3, requires_grad=True)
    found = sharpness_of(lambda: weight.sum(), [weight])
    assert (found.value, found.error) == (0.0, 0.0)


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return 2 * ctx.saved_tensors[0] * slope


def test_what_cannot_be_derived_twice_is_refused_and_so_is_what_is_no_number():
    weight = torch.ones(3, requires_grad=True)
    with pytest.raises(UnsupportedModel, match="once_differentiable"):
        sharpness_of(lambda: Once.apply(weight).sum() + weight.square().sum(), [weight])
    with pytest.raises(UnsupportedModel, match="no trainable parameter"):
        sharpness_of(lambda: weight.detach().sum(), [weight])
    with pytest.raises(UnsupportedModel, match="no finite number"):
        sharpness_of(lambda: (math.inf * weight.square()).sum(), [weight])
