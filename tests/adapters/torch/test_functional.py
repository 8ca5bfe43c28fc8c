"""Gradients by torch.func and torch.autograd.grad: never a fault of the watch, and told where nothing else was seen."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value, jacrev, vmap

from isometry.adapters.torch.watch import TorchWatch, watch_process
from isometry.network.signals import Signal

STEPS = 7
Weights = dict[str, Tensor]


def data() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(16, 6, generator=random), torch.randint(3, (16,), generator=random)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 6), nn.Sigmoid(), nn.Linear(6, 3))


def gradients_of(net: nn.Module, how: str) -> Callable[[Weights], Weights]:
    x, y = data()

    def loss(weights: Weights, inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(net, weights, (inputs,)), targets)

    def of_one(weights: Weights, row: Tensor, target: Tensor) -> Tensor:
        return loss(weights, row[None], target[None])

    match how:
        case "grad_and_value":
            return lambda weights: grad_and_value(loss)(weights, x, y)[0]
        case "jacrev":
            return lambda weights: jacrev(loss)(weights, x, y)
        case _:
            each = vmap(grad(of_one), (None, 0, 0))
            return lambda weights: {name: value.mean(0) for name, value in each(weights, x, y).items()}


@pytest.mark.parametrize("how", ["grad_and_value", "jacrev", "vmap of grad"])
def test_gradients_by_torch_func_are_left_alone_and_counted(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = network()
    weights = {name: value.detach().clone() for name, value in net.named_parameters()}
    take = gradients_of(net, how)
    with watch_process(run=tmp_path / "run", every=1) as watch:
        for _ in range(STEPS):
            weights = {name: value - 0.1 * take(weights)[name] for name, value in weights.items()}
    assert not watch.recorded_anything
    assert f"{STEPS * len(weights)} times by torch.func" in watch.why_unrecorded
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("how", ["grad_and_value", "jacrev", "vmap of grad"])
def test_an_optimiser_that_is_given_them_is_watched(how: str, tmp_path: Path) -> None:
    net = network()
    optimizer, take = torch.optim.SGD(net.parameters(), lr=0.1), gradients_of(net, how)
    with watch_process(run=tmp_path / "run", every=1) as watch:
        for _ in range(STEPS):
            for name, value in take(dict(net.named_parameters())).items():
                net.get_parameter(name).grad = value.detach()
            optimizer.step()
    assert (watch.run.history[Signal.WEIGHT_GRADIENT, "rms"][1:] > 0).all()


def unrecorded(step: Callable[[Tensor, Tensor], None], folder: Path) -> TorchWatch:
    torch.manual_seed(0)
    weight, (x, _) = torch.randn(6, 1, requires_grad=True), data()
    with watch_process(run=folder, every=1) as watch:
        for _ in range(STEPS):
            step(weight, (x @ weight).square().mean())
    assert not watch.recorded_anything
    return watch


def test_gradients_of_weights_outside_any_module_are_counted(tmp_path: Path) -> None:
    def by_grad(weight: Tensor, loss: Tensor) -> None:
        (gradient,) = torch.autograd.grad(loss, [weight])
        weight.data -= 0.1 * gradient

    def by_backward(weight: Tensor, loss: Tensor) -> None:
        loss.backward()

    assert f"{STEPS} times by torch.autograd.grad" in unrecorded(by_grad, tmp_path / "grad").why_unrecorded
    assert f"{STEPS} backward passes were made" in unrecorded(by_backward, tmp_path / "backward").why_unrecorded


def test_without_gradients_there_is_no_reason(tmp_path: Path) -> None:
    assert unrecorded(lambda weight, loss: None, tmp_path / "run").why_unrecorded == ""
