"""The first training step is met, whatever it looks like, and what comes back from the loss is what autograd says."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from isometry.adapters.torch import process
from isometry.adapters.torch.capture import Captured, TorchCapture, capturing
from isometry.adapters.torch.recording import tensors_in

Step = Callable[[], object]


@pytest.fixture
def capture() -> Iterator[TorchCapture]:
    torch.manual_seed(0)
    capture = capturing()
    yield capture
    capture.close()


def followed(capture: TorchCapture, step: Step) -> Captured:
    with pytest.raises(SystemExit):
        step()
    assert capture.captured is not None, capture.trouble
    return capture.captured


def gradients_of_replay(capture: TorchCapture) -> list[Tensor | None]:
    """What the copy's parameters get when the cotangents are sent back."""
    capture.close()
    captured = capture.captured
    assert captured is not None
    outputs = tensors_in(captured.model(*captured.args, **captured.kwargs))
    assert len(outputs) == len(captured.cotangents)
    pairs = [pair for pair in zip(outputs, captured.cotangents, strict=True) if pair[1] is not None]
    torch.autograd.backward([output for output, _ in pairs], [cotangent for _, cotangent in pairs])
    return [parameter.grad for parameter in captured.model.parameters()]


class Chain(nn.Module):
    def __init__(self, *widths: int) -> None:
        super().__init__()
        layers = pairwise(widths)
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(a, b), nn.Tanh()) for a, b in layers))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


X, Y = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 0, 1, 1, 0])


# What is taken --------------------------------------------------------------------------------------------------------


def test_plain_step_is_taken_with_model_input_and_cotangent(capture: TorchCapture) -> None:
    model = Chain(4, 5, 2)
    output = model(X)
    loss = F.cross_entropy(output, Y)
    (expected,) = torch.autograd.grad(loss, output)
    captured = followed(capture, lambda: F.cross_entropy(model(X), Y).backward())
    assert isinstance(captured.model, Chain)
    assert captured.model is not model
    torch.testing.assert_close(captured.args, (X,))
    torch.testing.assert_close(captured.cotangents, [expected])
    assert captured.loss == pytest.approx(loss.item())
    assert captured.loss_kind["kind"] == "cross_entropy"
    assert captured.others == captured.notes == ()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_replay_gives_the_gradients_of_the_script(capture: TorchCapture) -> None:
    model = Chain(4, 5, 2)
    followed(capture, lambda: F.mse_loss(model(X), torch.ones(6, 2)).backward())
    replayed = gradients_of_replay(capture)
    F.mse_loss(model(X), torch.ones(6, 2)).backward()
    torch.testing.assert_close(replayed, [parameter.grad for parameter in model.parameters()])


@dataclass
class Answer:
    loss: Tensor
    logits: Tensor
    hidden: tuple[Tensor, ...]


class WithLoss(nn.Module):
    """Gives its loss along with logits and hidden states, as transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, inputs: Tensor, labels: Tensor) -> Answer:
        hidden = self.body(inputs)
        logits = self.head(hidden.tanh())
        return Answer(F.cross_entropy(logits, labels), logits, (inputs, hidden))


def test_loss_among_the_outputs_is_kept_alone(capture: TorchCapture) -> None:
    model = WithLoss()
    captured = followed(capture, lambda: (model(inputs=X, labels=Y).loss / 4).backward())
    loss, *rest = captured.cotangents
    assert loss is not None
    assert float(loss) == 0.25
    assert rest == [None, None, None]
    assert set(captured.kwargs) == {"inputs", "labels"}


def test_output_that_another_one_is_computed_from_is_not_counted_twice(capture: TorchCapture) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            hidden = self.body(x)
            return hidden, self.head(hidden), self.head(hidden.relu())

    model = Both()

    def step() -> None:
        hidden, logits, _ = model(X)
        (F.cross_entropy(logits, Y) + hidden.square().mean()).backward()

    hidden, logits, unused = followed(capture, step).cotangents
    assert hidden is None
    assert unused is None
    assert logits is not None


def test_unused_last_output_does_not_shadow_the_one_that_is_used(capture: TorchCapture) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(4, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            hidden = self.body(x)
            return hidden, self.head(hidden)

    model = Both()
    used, unused = followed(capture, lambda: F.cross_entropy(model(X)[0], Y).backward()).cotangents
    assert used is not None
    assert unused is None


def test_gradient_scaler_leaves_no_trace(capture: TorchCapture) -> None:
    model, scaler = Chain(4, 5, 2), torch.amp.GradScaler("cpu")

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(model(X).float(), Y)
        scaler.scale(loss).backward()

    captured = followed(capture, step)
    (cotangent,) = captured.cotangents
    assert cotangent is not None
    assert cotangent.dtype is torch.float32
    assert 0.1 < captured.loss < 2.0
    assert float(cotangent.abs().max()) <= 1.0


def test_earlier_forward_passes_are_forgotten(capture: TorchCapture) -> None:
    model = Chain(4, 5, 2)
    output = model.eval()(X)  # a validation pass that forgot no_grad
    seen = weakref.ref(output.grad_fn.metadata["isometry"][0][0].args[0])
    batch = torch.ones(2, 4)
    output = model(batch)
    gone = weakref.ref(batch)
    del batch, output
    gc.collect()
    assert gone() is None
    assert seen() is X
    captured = followed(capture, lambda: F.cross_entropy(model.train()(X), Y).backward())
    assert captured.model.training
    assert captured.notes == ()


def test_validation_pass_whose_loss_is_not_derived_is_no_step(capture: TorchCapture) -> None:
    model = Chain(4, 5, 2)
    with torch.no_grad():
        F.cross_entropy(model.eval()(torch.zeros(3, 4)), Y[:3])
    F.cross_entropy(model(torch.zeros(3, 4)), Y[:3])
    captured = followed(capture, lambda: F.cross_entropy(model.train()(X), Y).backward())
    torch.testing.assert_close(captured.args, (X,))


# How steps are taken --------------------------------------------------------------------------------------------------


def closure(model: nn.Module) -> None:
    optimizer = torch.optim.LBFGS(model.parameters())

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(model(X), Y)
        value.backward()
        return value

    optimizer.step(loss)


def by_hand(model: nn.Module) -> None:
    parameters = list(model.parameters())
    for parameter, gradient in zip(
        parameters, torch.autograd.grad(F.cross_entropy(model(X), Y), parameters), strict=True
    ):
        parameter.data -= 0.1 * gradient


def accumulating(model: nn.Module) -> None:
    for part in (slice(0, 3), slice(3, 6)):
        (F.cross_entropy(model(X[part]), Y[part]) / 2).backward()


def penalised(model: nn.Module) -> None:
    """The gradient of the input is a part of the loss, and no step."""
    inputs = X.clone().requires_grad_()
    scores = model(inputs)
    (gradient,) = torch.autograd.grad(scores.sum(), inputs, create_graph=True)
    (F.cross_entropy(model(X), Y) + gradient.square().sum()).backward()


def of_several_roots(model: nn.Module) -> None:
    output = model(X)
    torch.autograd.backward([F.cross_entropy(output, Y), output.square().mean()])


@pytest.mark.parametrize("step", [closure, by_hand, accumulating, penalised, of_several_roots])
def test_step_of_any_kind_is_met(capture: TorchCapture, step: Callable[[nn.Module], None]) -> None:
    model = Chain(4, 5, 2)
    captured = followed(capture, lambda: step(model))
    assert isinstance(captured.model, Chain)
    assert [cotangent is not None for cotangent in captured.cotangents] == [True]


def test_gradients_that_nothing_is_learnt_from_are_let_through(capture: TorchCapture) -> None:
    model = Chain(4, 5, 2)
    inputs = X.clone().requires_grad_()
    torch.autograd.grad(model(inputs).sum(), inputs)
    weight = torch.ones(3, requires_grad=True)
    weight.square().sum().backward()
    torch.optim.SGD([weight], lr=0.1).step()
    assert not capture.is_reached


def test_backward_of_no_scalar_is_said(capture: TorchCapture) -> None:
    model = Chain(4, 5, 2)

    def step() -> None:
        output = model(X)
        output.backward(torch.ones_like(output))

    assert "several numbers" in followed(capture, step).notes[0]


def test_mistake_of_the_script_is_its_own(capture: TorchCapture) -> None:
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.zeros(()).backward()
    assert not capture.is_reached


def test_swallowed_end_comes_again_wherever_the_training_is_met(capture: TorchCapture) -> None:
    model = Chain(4, 5, 2)
    loss = F.cross_entropy(model(X), Y)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    followed(capture, loss.backward)
    first = capture.captured
    for again in (loss.backward, optimizer.step, lambda: model(X)):
        with pytest.raises(SystemExit):
            again()
    with torch.no_grad(), pytest.raises(SystemExit):
        model(X)
    assert capture.captured is first


def test_step_in_another_thread_is_met_in_silence(
    capture: TorchCapture, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    model = Chain(4, 5, 2)
    thread = threading.Thread(target=lambda: F.cross_entropy(model(X), Y).backward())
    thread.start()
    thread.join()
    assert capture.captured is not None
    assert capsys.readouterr().err == ""


def test_forward_pass_in_another_thread_hides_none(capture: TorchCapture) -> None:
    model, other = Chain(4, 5, 2), Chain(4, 5, 2)
    inside, done = threading.Event(), threading.Event()

    def wait(*called: object) -> None:
        inside.set()
        done.wait()

    other.layers.register_forward_pre_hook(wait)
    thread = threading.Thread(target=lambda: other(X))
    thread.start()
    inside.wait()
    loss = F.cross_entropy(model(X), Y)
    done.set()
    thread.join()
    assert followed(capture, loss.backward).others == ("other",)


def test_fault_in_our_hooks_ends_the_script_with_a_reason(
    capture: TorchCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isometry.adapters.torch.capture.tensors_in", lambda output: 1 / 0)
    with pytest.raises(SystemExit):
        Chain(4, 5, 2)(X)
    assert capture.trouble is not None
    assert "ZeroDivisionError" in capture.trouble


def test_fault_of_ours_ends_the_script_with_a_reason(capture: TorchCapture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isometry.adapters.torch.capture.describe_loss", lambda loss: 1 / 0)
    model = Chain(4, 5, 2)
    with pytest.raises(SystemExit):
        F.cross_entropy(model(X), Y).backward()
    assert capture.captured is None
    assert capture.trouble is not None
    assert "ZeroDivisionError" in capture.trouble


def test_training_without_modules_is_given_up(capture: TorchCapture) -> None:
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with pytest.raises(SystemExit):
        for _ in range(1000):
            weight.square().sum().backward()
            optimizer.step()
    assert capture.captured is None
    assert capture.trouble is not None
    assert "model(x)" in capture.trouble


def test_nothing_stays_behind() -> None:
    before = torch.autograd.backward
    hooks = len(torch_module._global_forward_pre_hooks), len(torch_module._global_forward_hooks)
    capture = capturing()
    capture.close()
    capture.close()
    assert torch.autograd.backward is before
    assert hooks == (len(torch_module._global_forward_pre_hooks), len(torch_module._global_forward_hooks))
    assert process._listeners == []
    F.cross_entropy(Chain(4, 5, 2)(X), Y).backward()


# Which model ----------------------------------------------------------------------------------------------------------


def test_first_of_two_adversaries_is_taken_and_the_other_named(capture: TorchCapture) -> None:
    generator, critic = Chain(3, 8, 4), Chain(4, 6, 1)

    def step() -> None:
        fake = generator(torch.randn(6, 3))
        (critic(fake.detach()).mean() - critic(X).mean()).backward()

    captured = followed(capture, step)
    assert captured.model.layers[0][0].in_features == 4
    assert captured.others == ("generator",)
    assert "2 times" in captured.notes[0]


def test_largest_is_taken_where_several_feed_a_loss_and_none_holds_them(capture: TorchCapture) -> None:
    big, small = Chain(4, 50, 4), Chain(4, 6, 1)
    captured = followed(capture, lambda: small(big(X)).mean().backward())
    assert captured.model.layers[0][0].out_features == 50
    assert captured.others == ("small",)
    assert "2 models" in captured.notes[0]
    gradients_of_replay(capture)


def test_input_that_another_model_made_carries_no_graph(capture: TorchCapture) -> None:
    small, big = Chain(4, 6, 4), Chain(4, 50, 1)
    captured = followed(capture, lambda: big(small(X)).mean().backward())
    assert captured.args[0].is_leaf
    gradients_of_replay(capture)
    assert all(parameter.grad is None for parameter in small.parameters())


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Chain(4, 2), Chain(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


@pytest.mark.parametrize("call", ["by parts", "forward"])
def test_model_whose_parts_are_called_is_taken_whole(capture: TorchCapture, call: str) -> None:
    model = Autoencoder()

    def step() -> None:
        output = model.forward(X) if call == "forward" else model.decoder(model.encoder(X))
        F.mse_loss(output, X).backward()

    captured = followed(capture, step)
    assert isinstance(captured.model, Autoencoder)
    assert captured.others == captured.notes == ()
    gradients_of_replay(capture)


def test_frozen_network_in_the_loss_is_no_model(capture: TorchCapture) -> None:
    model, features = Chain(4, 4), Chain(4, 50, 50).requires_grad_(False)
    captured = followed(capture, lambda: features(model(X)).mean().backward())
    assert captured.model.layers[0][0].out_features == 4
    assert captured.others == captured.notes == ()


@pytest.mark.slow
def test_compiled_model_is_taken_as_it_was_written(capture: TorchCapture) -> None:
    model = Chain(4, 5, 2)
    compiled = torch.compile(model, backend="eager")
    captured = followed(capture, lambda: F.cross_entropy(compiled(X), Y).backward())
    assert type(captured.model) is Chain
    gradients_of_replay(capture)


def test_model_that_cannot_be_copied_is_taken_itself(capture: TorchCapture) -> None:
    model = Chain(4, 5, 2)
    model.lock = threading.Lock()  # type: ignore[assignment]
    assert followed(capture, lambda: F.cross_entropy(model(X), Y).backward()).model is model


def test_model_that_keeps_a_state_is_copied(capture: TorchCapture) -> None:
    class Keeps(Chain):
        def forward(self, x: Tensor) -> Tensor:
            self.state = (self.layers(x), x)
            return self.state[0]

    model = Keeps(4, 5, 2)
    captured = followed(capture, lambda: F.cross_entropy(model(X), Y).backward())
    assert captured.model is not model
    gradients_of_replay(capture)


def test_copy_does_not_see_what_the_script_does_on_its_way_out(capture: TorchCapture) -> None:
    model = Chain(4, 5, 2)

    def step() -> None:
        try:
            F.cross_entropy(model(X), Y).backward()
        finally:
            model.eval().double()

    captured = followed(capture, step)
    assert captured.model.training
    assert gradients_of_replay(capture)[0].dtype is torch.float32  # type: ignore[union-attr]


def test_forward_pass_that_raises_does_not_confuse_the_next(capture: TorchCapture) -> None:
    model = Chain(4, 5, 2)
    with suppress(RuntimeError):
        model(torch.zeros(3, 9))

    assert isinstance(followed(capture, lambda: F.cross_entropy(model(X), Y).backward()).model, Chain)


def test_torch_is_as_it_was_once_a_capture_is_closed() -> None:
    TorchCapture().close()
    assert not torch.nn.modules.module._has_any_global_hook()
