"""Number formats and loss scales: set, heard by a watch, and taken back."""

import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import isometry
from isometry.adapters.torch.loss_scale import LossScale, gradient_scale
from isometry.adapters.torch.precision import set_precision
from isometry.adapters.torch.retuning import require_possible, retuned
from isometry.adapters.torch.trials import TorchTrainer
from isometry.diagnosis.precision import arriving, formats, loss_scale
from isometry.errors import CannotEdit
from isometry.network.edits import Clip, ScaleLoss, SetPrecision

X = torch.randn(48, 6, generator=torch.Generator().manual_seed(3))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()


class Lowered(nn.Module):
    """Asks for float16 itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 20), nn.Linear(20, 3)
        self.seen: list[torch.dtype] = []

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.float16):
            h = torch.tanh(self.first(x))
            self.seen.append(h.dtype)
            return self.last(h)


def tiny(outputs, targets):
    return F.cross_entropy(outputs.float(), targets) * 1e-7


@pytest.mark.parametrize(
    ("name", "inside"), [("bfloat16", torch.bfloat16), ("float32", torch.float32), ("float16", torch.float16)]
)
def test_the_format_rules_autocasts_inside_and_round_the_model(name, inside):
    model = Lowered()
    before = torch.autocast.__enter__
    set_precision(model, name)
    with torch.autocast("cpu", dtype=torch.float16):
        model.first(X)  # fills the cache of the outer one with weights in float16
        outputs = model(X)
        assert model.first(X).dtype == torch.float16
    assert (model.seen, outputs.dtype) == ([inside], torch.float32)
    assert torch.autocast.__enter__ is before
    copied = pickle.loads(pickle.dumps(model))
    copied(X)
    assert copied.seen[-1] == inside and len(model.seen) == 1


def test_weights_in_half_precision_become_float32_and_go_on_being_trained():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).half()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, eps=1e-4)
    F.cross_entropy(model(X.half()).float(), Y).backward()
    optimizer.step()
    applied = isometry.apply([SetPrecision("bfloat16")], model, optimizer)
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        losses.append(F.cross_entropy(model(X.half()), Y))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    applied.undo()
    assert {value.dtype for value in model.parameters()} == {torch.float16}
    assert model[1].running_mean.dtype == torch.float16 and "forward" not in vars(model)
    F.cross_entropy(model(X.half()).float(), Y).backward()
    optimizer.step()


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD, torch.optim.Adafactor])
def test_what_an_optimiser_learns_in_float32_alone_fits_the_weights_when_it_is_taken_back(kind):
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).half()
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {"eps": 1e-4} if kind is torch.optim.Adam else {}
    optimizer = kind(model.parameters(), lr=0.01, **options)

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(X.half()).float(), Y).backward()
        optimizer.step()

    applied = isometry.apply([SetPrecision("bfloat16")], model, optimizer)
    step()
    applied.undo()
    learned = {key: value for key, value in optimizer.state[model[0].weight].items() if isinstance(value, torch.Tensor)}
    step_count = learned.pop("step", torch.ones(()))
    assert learned and {value.dtype for value in learned.values()} == {torch.float16}
    assert step_count.dtype == torch.float32  # as it was born
    before = model[0].weight.detach().clone()
    step()
    assert not torch.equal(model[0].weight, before)


def test_state_of_weights_outside_the_model_stays_as_it_is():
    model, other = nn.Linear(6, 3).half(), nn.Linear(6, 3).half()
    optimizer = torch.optim.SGD([*model.parameters(), *other.parameters()], lr=0.01, momentum=0.9)

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(X.half()).float() + other(X.half()).float(), Y).backward()
        optimizer.step()

    step()
    isometry.apply([SetPrecision("bfloat16")], model, optimizer)
    step()
    kinds = [optimizer.state[one.weight]["momentum_buffer"].dtype for one in (model, other)]
    assert kinds == [torch.float32, torch.float16]


def test_who_has_replaced_the_autocasts_entrance_keeps_it(monkeypatch):
    model = Lowered()
    set_precision(model, "bfloat16")
    heard, torchs_own = [], torch.autocast.__enter__

    def entered(autocast):
        heard.append(autocast.fast_dtype)
        return torchs_own(autocast)

    monkeypatch.setattr(torch.autocast, "__enter__", entered)
    model(X)
    assert torch.autocast.__enter__ is entered
    assert heard == [torch.bfloat16, torch.bfloat16] == [*model.seen, torch.bfloat16]


def test_who_replaces_the_autocasts_entrance_in_a_forward_pass_keeps_it(monkeypatch):
    monkeypatch.setattr(torch.autocast, "__enter__", torch.autocast.__enter__)
    model = Lowered()
    set_precision(model, "bfloat16")
    counted = []

    def patching(*_):
        hook.remove()
        present = torch.autocast.__enter__
        torch.autocast.__enter__ = lambda autocast: (counted.append(1), present(autocast))[1]

    hook = model.first.register_forward_pre_hook(patching)
    model(X)
    model(X)
    assert set(model.seen) == {torch.bfloat16} and len(counted) == 2


def test_gradients_are_what_they_are_in_float32_however_they_are_scaled():
    model, loose = Lowered(), Lowered()
    loose.load_state_dict(model.state_dict())
    applied = isometry.apply([ScaleLoss(2.0**16)], model, torch.optim.SGD(model.parameters(), lr=1.0))
    tiny(model(X), Y).backward()
    applied.undo()
    with torch.autocast("cpu", enabled=False):
        set_precision(loose, "float32")
        tiny(loose(X), Y).backward()
    for scaled, exact in zip(model.parameters(), loose.parameters(), strict=True):
        assert exact.grad.abs().max() < 2**-24  # nothing of it is a number of float16
        size = float(exact.grad.abs().max())  # 48 terms, each rounded by 2^-11 of its size
        assert torch.allclose(scaled.grad, exact.grad, rtol=0.02, atol=5e-3 * size)


def test_a_step_with_infinity_is_left_out_and_the_scale_halved():
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    scale = LossScale(optimizer, 8.0)
    weight.grad = torch.tensor([1.0, float("inf"), 0.0])
    scale.around(optimizer, optimizer.step, None)
    assert (weight.tolist(), scale.value) == ([1.0] * 3, 4.0)
    weight.grad = torch.ones(3)
    for _ in range(2000):
        scale.around(optimizer, optimizer.step, None)
    assert weight[0] == 1 - 2000 * 0.5 and scale.value == 8.0


def test_what_cannot_be_scaled_is_refused():
    with pytest.raises(CannotEdit, match="SetPrecision"):
        retuned(torch.optim.SGD(Lowered().half().parameters(), lr=1.0), [ScaleLoss(8.0)])
    with pytest.raises(CannotEdit, match="LBFGS"):
        retuned(torch.optim.LBFGS(Lowered().parameters()), [ScaleLoss(8.0)])
    for edit in (ScaleLoss(0.0), ScaleLoss(float("inf")), SetPrecision("float8")):
        with pytest.raises(CannotEdit):
            require_possible([edit])
    with pytest.raises(CannotEdit, match="float64"):
        set_precision(Lowered().double(), "bfloat16")


def test_a_live_training_is_scaled_until_it_is_undone(tmp_path):
    torch.manual_seed(0)
    model = Lowered()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e7)
    backward = torch.autograd.backward

    def step():
        optimizer.zero_grad()
        loss = tiny(model(X), Y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # sees the gradient itself
        optimizer.step()
        return float(loss.detach()) * 1e7

    first = step()
    assert step() == first  # float16 has lost it
    applied = isometry.apply([ScaleLoss(2.0**16)], model, optimizer)
    with isometry.watch(model, optimizer, run=tmp_path / "run", every=1) as watch:
        for _ in range(30):
            last = step()
    assert last < 0.8 * first
    assert set(loss_scale(watch.run)) == {2.0**16}
    delta = watch.run.history["delta", "rms"]
    assert 0 < delta[0].max() < 1e-6  # as the training has it, not as the network had it
    applied.undo()
    assert torch.autograd.backward is backward and gradient_scale([id(model.first.weight)]) == 1
    now = step()
    assert step() == now


@pytest.mark.parametrize("edits", [(SetPrecision("bfloat16"),), (ScaleLoss(2.0**16), Clip(1.0))])
def test_an_experiment_is_treated_and_goes_along_when_it_is_pickled(edits):
    experiment = isometry.Experiment(
        build=Lowered,
        data=(X, Y),
        loss_fn=tiny,
        optimizer=Descent(),
        epochs=30,
        batch_size=16,
    )
    backward = torch.autograd.backward
    untreated = TorchTrainer(experiment).train((), seed=0)
    assert untreated.losses[-1] > 0.95 * untreated.losses[0]
    treated = pickle.loads(pickle.dumps(TorchTrainer(experiment).treated(edits)))
    course = TorchTrainer(treated).train((), seed=0)
    assert course.losses[-1] < 0.7 * course.losses[0]
    assert course.losses[-1] == TorchTrainer(experiment).train(edits, seed=0).losses[-1]
    assert torch.autograd.backward is backward


class Descent:
    def __call__(self, parameters):
        return torch.optim.SGD(parameters, lr=3e6)


def test_the_watch_tells_formats_and_what_is_rounded(tmp_path):
    model = Lowered()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with isometry.watch(model, optimizer, run=tmp_path / "run", every=1) as watch:
        for _ in range(3):
            optimizer.zero_grad()
            tiny(model(X), Y).backward()
            optimizer.step()
    assert formats(watch.run) == {"first": "float16", "last": "float16"}
    assert (arriving(watch.run, "size") > 0).all() and (arriving(watch.run, "largest") < 2**-25).all()
    assert set(loss_scale(watch.run)) == {1.0}


def test_the_watch_counts_steps_that_a_loss_scale_leaves_out(tmp_path):
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    applied = isometry.apply([ScaleLoss(2.0**127)], model, optimizer)
    with isometry.watch(model, optimizer, run=tmp_path / "run", every=1) as watch:
        for _ in range(6):
            optimizer.zero_grad()
            (F.cross_entropy(model(X), Y) * 8).backward()
            optimizer.step()
    applied.undo()
    scales = loss_scale(watch.run)
    assert scales[0] == 2.0**127 and scales[-1] < 2.0**127
    assert list(watch.run.history.steps) == [*range(6)]
