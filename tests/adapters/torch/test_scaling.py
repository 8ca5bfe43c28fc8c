"""Outputs on another scale, in models of several kinds."""

import copy
import inspect
import pickle

import pytest
import torch
from torch import Tensor, nn

from isometry import CannotEdit
from isometry.adapters.torch.describe import describe
from isometry.adapters.torch.edit import edit
from isometry.adapters.torch.standardising import standardise
from isometry.adapters.torch.trials import TorchTrainer
from isometry.network.edits import InsertNorm, Reinitialise, ScaleOutput
from isometry.network.experiment import Experiment


class Forecaster(nn.Module):
    """Reads a sequence and says what comes next."""

    def __init__(self) -> None:
        super().__init__()
        self.core, self.leave = nn.GRU(2, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, series: Tensor, *, scale: float = 1.0) -> Tensor:
        states, _ = self.core(series * scale)
        return self.leave(states[:, -1])


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.width = nn.Linear(4, 1), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(x), self.width(x)


def image() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 2)
    )


MODELS = {
    "sequence": (Forecaster, (5, 7, 2)),
    "image": (image, (6, 1, 4, 4)),
    "layer": (lambda: nn.Linear(3, 1), (8, 3)),
}


@pytest.mark.parametrize("kind", MODELS)
def test_the_output_is_shifted_and_scaled_and_nothing_else_is_touched(kind):
    build, shape = MODELS[kind]
    torch.manual_seed(0)
    model, batch = build(), torch.randn(shape)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    layers = [(layer.name, layer.kind, layer.activation, layer.output) for layer in describe(model, batch)]
    before = copy.deepcopy(model).eval()(batch)
    edit(model, [ScaleOutput((), -250.0, 30.0)], batch=batch)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in own.items())
    assert [(layer.name, layer.kind, layer.activation, layer.output) for layer in describe(model, batch)] == layers
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in build().named_parameters()]
    model.eval()
    torch.testing.assert_close(model(batch), -250 + 30 * before)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(batch), model(batch))
        twin.get_buffer("inserted_output_factor").mul_(2)
        assert not torch.equal(twin(batch), model(batch))
    assert inspect.signature(model.forward) == inspect.signature(build().forward)


def test_it_goes_along_in_the_state_of_the_model():
    batch = torch.randn(8, 3)
    torch.manual_seed(0)
    model, other = nn.Linear(3, 1), nn.Linear(3, 1)
    edit(model, [ScaleOutput((), 5.0, 2.0)], batch=batch)
    edit(other, [ScaleOutput((), 0.0, 1.0)], batch=batch)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(batch), model(batch))


def test_twice_is_one_on_top_of_the_other_and_inputs_may_be_standardised_too():
    batch = 3 + torch.randn(20, 3)
    model = nn.Linear(3, 1).double()
    before = copy.deepcopy(model)
    batch = batch.double()
    edit(model, [ScaleOutput((), 1.0, 2.0), ScaleOutput((), 10.0, 3.0)], batch=batch)
    torch.testing.assert_close(model(batch), 10 + 3 * (1 + 2 * before(batch)))
    standardise(model, [batch])
    edit(model, [ScaleOutput((), 0.0, 0.5)], batch=batch)
    inside = before((batch - batch.mean(0)) / batch.std(0, correction=0))
    torch.testing.assert_close(model(batch), 0.5 * (10 + 3 * (1 + 2 * inside)))


def test_gradients_are_those_of_standardised_targets_times_the_square():
    torch.manual_seed(1)
    batch, targets = torch.randn(16, 4), 700 + 90 * torch.randn(16, 1)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
    plain = copy.deepcopy(model)
    edit(model, [ScaleOutput((), 700.0, 90.0)], batch=batch)
    nn.functional.mse_loss(model(batch), targets).backward()
    nn.functional.mse_loss(plain(batch), (targets - 700) / 90).backward()
    for scaled, own in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(scaled.grad, 90**2 * own.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("model", "batch", "words"),
    [
        (Pair(), torch.randn(5, 4), "The output of Pair is a tuple: only a tensor"),
        (nn.LSTM(3, 2), torch.randn(4, 5, 3), "The output of LSTM is a tuple"),
    ],
)
def test_what_is_no_tensor_is_refused_and_the_model_left_alone(model, batch, words):
    before = dict(vars(model)), list(model.state_dict())
    with pytest.raises(CannotEdit, match=words):
        edit(model, [ScaleOutput((), 1.0, 2.0)], batch=batch)
    assert (dict(vars(model)), list(model.state_dict())) == before


def test_a_change_that_fails_later_takes_the_scale_back():
    model, batch = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), torch.randn(9, 3)
    before = model(batch)
    for edits in (
        [ScaleOutput((), 1.0, 2.0), Reinitialise(("nowhere",), 1.0)],
        [ScaleOutput((), 1, 2), ScaleOutput((), 1, 0)],
    ):
        with pytest.raises(CannotEdit):
            edit(model, edits, batch=batch)
        assert torch.equal(model(batch), before)
        assert "forward" not in vars(model)
        assert not list(model.buffers())


@pytest.mark.parametrize(("shift", "factor"), [(float("nan"), 1.0), (0.0, 0.0), (0.0, -2.0), (float("inf"), 1.0)])
def test_numbers_that_make_no_sense_are_refused(shift, factor):
    with pytest.raises(CannotEdit, match=r"ScaleOutput: (shift|factor) = \S+ was given"):
        edit(nn.Linear(3, 1), [ScaleOutput((), shift, factor)], batch=torch.randn(4, 3))


def test_a_layer_that_is_not_there_is_told():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    edit(model, [ScaleOutput(("2",), 1.0, 2.0)], batch=torch.randn(5, 3))
    with pytest.raises(CannotEdit, match="`decoder`: there is no such layer"):
        edit(model, [ScaleOutput(("decoder",), 1.0, 2.0)], batch=torch.randn(5, 3))


def test_an_experiment_is_trained_with_it_beside_other_changes():
    inputs = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    experiment = Experiment(
        build=lambda: nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)),
        data=(inputs, 40 + 3 * inputs[:, :1]),
        loss_fn=nn.functional.mse_loss,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        epochs=2,
        batch_size=16,
    )
    trainer = TorchTrainer(experiment)
    plain, scaled = (
        trainer.train(edits, seed=0) for edits in ((), (InsertNorm(("0",), "layer"), ScaleOutput((), 40.0, 3.0)))
    )
    assert plain.losses[-1] > 1_000
    assert scaled.losses[-1] < 30
