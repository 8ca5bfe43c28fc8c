"""Scaled backward passes: each leaf gets its own gradient, and nobody else's training is touched."""

import copy
import gc
import io
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import isometry
from isometry.adapters.torch import process
from isometry.adapters.torch.loss_scale import gradient_scale, loss_scale_of
from isometry.errors import CannotEdit
from isometry.network.edits import Clip, ScaleLoss

X = torch.randn(24, 6, generator=torch.Generator().manual_seed(7))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
FACTOR = 2.0**16
SCALED = (ScaleLoss(FACTOR),)


@pytest.fixture(autouse=True)
def torch_as_it_was():
    backward = torch.autograd.backward
    yield
    gc.collect()
    nn.Linear(1, 1)(torch.ones(1)).backward()  # listeners of optimisers that are gone close themselves
    assert torch.autograd.backward is backward


class Convolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv, self.norm = nn.Conv1d(1, 4, 3, padding=1), nn.GroupNorm(2, 4)
        self.hidden, self.last = nn.Linear(24, 12), nn.Linear(12, 3)

    def forward(self, x):
        h = F.gelu(self.norm(self.conv(x[:, None]))).flatten(1)
        return self.last(torch.tanh(self.hidden(h)))


def loss_of(model, inputs=X):
    return F.cross_entropy(model(inputs), Y)


def unfrozen_later(model, optimizer, begin):
    model.conv.requires_grad_(False)
    begin(optimizer)
    model.conv.requires_grad_(True)
    loss_of(model).backward()


def added_later(model, optimizer, begin):
    held = optimizer.param_groups[0]["params"]
    optimizer.param_groups[0]["params"] = held[2:]
    begin(optimizer)
    optimizer.add_param_group({"params": held[:2]})
    loss_of(model).backward()


def two_optimisers(model, optimizer, begin):
    del optimizer.param_groups[0]["params"][:3]
    begin(optimizer)
    loss_of(model).backward()


def joined_losses(model, optimizer, begin):
    begin(optimizer)
    first = loss_of(model)
    first.backward(retain_graph=True)
    (first + model(X).square().mean()).backward()


def same_loss_twice(model, optimizer, begin):
    begin(optimizer)
    loss = loss_of(model)
    loss.backward(retain_graph=True)
    loss.backward()


def several_roots(model, optimizer, begin):
    begin(optimizer)
    outputs = model(X)
    torch.autograd.backward([outputs.sum(), outputs.square().mean()])
    loss = loss_of(model)
    torch.autograd.backward([loss, 3 * loss])


def gradient_penalty(model, optimizer, begin):
    begin(optimizer)
    inputs = X.clone().requires_grad_(True)
    loss = loss_of(model, inputs)
    (gradient,) = torch.autograd.grad(loss, inputs, create_graph=True)
    (loss + gradient.square().sum()).backward()


def gradients_of_gradients(model, optimizer, begin):
    begin(optimizer)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*create_graph")
        loss_of(model).backward(create_graph=True)
    sum(value.grad.square().sum() for value in model.parameters()).backward()
    for value in model.parameters():
        value.grad = value.grad.detach()


def reentrant_checkpoint(model, optimizer, begin):
    begin(optimizer)
    h = F.gelu(model.norm(model.conv(X[:, None]))).flatten(1)
    F.cross_entropy(model.last(checkpoint(model.hidden, h, use_reentrant=True)), Y).backward()


def all_in_a_reentrant_checkpoint(model, optimizer, begin):
    begin(optimizer)
    F.cross_entropy(checkpoint(model, X.clone().requires_grad_(True), use_reentrant=True), Y).backward()


def other_checkpoint(model, optimizer, begin):
    begin(optimizer)
    F.cross_entropy(checkpoint(model, X, use_reentrant=False), Y).backward()


class Inner(torch.autograd.Function):
    """Differentiates a layer itself, in the backward pass, with regard to its own weight."""

    @staticmethod
    def forward(context, x, weight):
        context.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(context, incoming):
        x, weight = context.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            return torch.autograd.grad(x @ weight.T, [x, weight], incoming)


def differentiated_inside(model, optimizer, begin):
    begin(optimizer)
    h = F.gelu(model.norm(model.conv(X[:, None]))).flatten(1)
    F.cross_entropy(model.last(Inner.apply(h, model.hidden.weight)), Y).backward()


def hooks_of_the_user(model, optimizer, begin):
    model.last.weight.register_hook(lambda gradient: gradient.clamp(-1e-3, 1e-3))
    begin(optimizer)
    model.hidden.weight.register_hook(lambda gradient: gradient.clamp(-1e-3, 1e-3))
    loss_of(model).backward()


@pytest.mark.parametrize(
    "training",
    [
        unfrozen_later,
        added_later,
        two_optimisers,
        joined_losses,
        same_loss_twice,
        several_roots,
        gradient_penalty,
        gradients_of_gradients,
        reentrant_checkpoint,
        all_in_a_reentrant_checkpoint,
        other_checkpoint,
        differentiated_inside,
        hooks_of_the_user,
    ],
)
def test_gradients_are_those_of_the_training_as_it_was(training):
    plain, scaled = Convolved(), Convolved()
    training(plain, torch.optim.SGD(plain.parameters(), lr=0.1), lambda optimizer: None)
    applied = []
    optimizer = torch.optim.SGD(scaled.parameters(), lr=0.1)
    training(scaled, optimizer, lambda one: applied.append(isometry.apply(SCALED, scaled, one)))
    for one, other in zip(plain.parameters(), scaled.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:  # in float32 a power of two changes no digit; products of gradients may round
            assert torch.allclose(one.grad, other.grad, rtol=1e-5, atol=1e-9)
    applied[0].undo()


def test_a_pass_is_scaled_inside_and_leaves_nothing_behind():
    model, inputs = Convolved(), X.clone().requires_grad_(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    applied = isometry.apply(SCALED, model, optimizer)
    inside = []
    for _ in range(2):
        outputs = model(inputs)
        outputs.register_hook(inside.append)
        F.cross_entropy(outputs, Y).backward()
    applied.undo()
    outputs = model(inputs)
    outputs.register_hook(inside.append)
    F.cross_entropy(outputs, Y).backward()
    assert torch.equal(inside[0], inside[2] * FACTOR) and torch.equal(inside[1], inside[0])
    assert inputs.grad.abs().max() < 1
    assert all(leaf._backward_hooks is None for leaf in (inputs, *model.parameters()))


def test_a_pass_that_raises_leaves_nothing_behind():
    model = Convolved()
    isometry.apply(SCALED, model, torch.optim.SGD(model.parameters(), lr=0.1))
    outputs = model(X)
    outputs.register_hook(lambda gradient: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        outputs.sum().backward()
    assert all(leaf._backward_hooks is None for leaf in model.parameters())


def test_other_trainings_are_not_touched():
    def gradient_of_other(begin):
        model, other = Convolved(), Convolved()
        begin(model)
        loss_of(model).backward()
        model(X)  # as in a validation
        inside = []
        outputs = other(X)
        outputs.register_hook(inside.append)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        scaler.scale(F.cross_entropy(outputs, Y)).backward()
        assert gradient_scale(map(id, other.parameters())) == 1
        return inside[0], other.conv.weight.grad

    kept = []

    def begin(model):
        kept.append(torch.optim.SGD(model.parameters(), lr=0.1))
        isometry.apply(SCALED, model, kept[0])

    for plain, beside in zip(gradient_of_other(lambda model: None), gradient_of_other(begin), strict=True):
        assert torch.equal(plain, beside)


def test_it_goes_with_the_optimiser():
    model = Convolved()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    isometry.apply(SCALED, model, optimizer)
    before = len(process._listeners)
    del optimizer
    gc.collect()
    inside = []
    outputs = model(X)
    outputs.register_hook(inside.append)
    outputs.sum().backward()
    assert torch.equal(inside[0], torch.ones_like(inside[0]))
    assert len(process._listeners) == before - 1


def test_two_scaled_optimisers_scale_a_pass_once():
    plain, model = Convolved(), Convolved()
    parts = [model.last.parameters(), model.hidden.parameters()]
    optimizers = [torch.optim.SGD(part, lr=0.1) for part in parts]
    isometry.apply(SCALED, model, optimizers[0])
    isometry.apply((*SCALED, Clip(1.0)), model, optimizers[1])
    inside = []
    outputs = model(X)
    outputs.register_hook(inside.append)
    outputs.sum().backward()
    plain(X).sum().backward()
    assert set(inside[0].flatten().tolist()) == {FACTOR}
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(plain.parameters(), model.parameters(), strict=True))
    assert [loss_scale_of(optimizer).used for optimizer in optimizers] == [FACTOR, FACTOR]


@pytest.mark.parametrize("reentrant", [False, True])
def test_another_optimiser_does_not_step_on_what_the_scale_made_infinite(reentrant):
    model = Convolved()

    def loss_of(model):
        h = F.gelu(model.norm(model.conv(X.clone().requires_grad_(True)[:, None]))).flatten(1)
        h = checkpoint(model.hidden, h, use_reentrant=True) if reentrant else model.hidden(h)
        return F.cross_entropy(model.last(torch.tanh(h)), Y)

    optimizer = torch.optim.SGD(model.last.parameters(), lr=0.1)
    other = torch.optim.SGD([*model.conv.parameters(), *model.hidden.parameters()], lr=0.1, momentum=0.9)
    isometry.apply((ScaleLoss(1e38),), model, optimizer)
    before = copy.deepcopy(model.state_dict())
    (loss_of(model) * 1e3).backward()
    other.step()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert loss_scale_of(optimizer).value < 1e38
    for _ in range(20):
        optimizer.zero_grad(), other.zero_grad()
        (loss_of(model) * 1e3).backward()
        other.step()
        optimizer.step()
    assert not torch.equal(model.conv.weight, before["conv.weight"]) and model.conv.weight.isfinite().all()


def test_a_grad_scaler_beside_it_is_refused_and_a_closure_is_not():
    model = Convolved()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    isometry.apply((*SCALED, Clip(1.0)), model, optimizer)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss.detach()

    first = float(optimizer.step(closure))
    assert float(optimizer.step(closure)) < first
    with pytest.raises(CannotEdit, match="GradScaler"):
        torch.amp.GradScaler("cpu").scale(loss_of(model)).backward()


def test_a_scaled_model_can_be_saved():
    model = Convolved()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    isometry.apply(SCALED, model, optimizer)
    loss_of(model).backward()
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(X), model(X))


def test_a_second_change_of_the_optimiser_does_not_scale_again():
    model = Convolved()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = isometry.apply(SCALED, model, optimizer)
    listening = len(process._listeners)
    second = isometry.apply((Clip(1.0),), model, optimizer)
    assert len(process._listeners) == listening
    second.undo()
    assert loss_scale_of(optimizer) is not None
    first.undo()
    assert loss_scale_of(optimizer) is None
