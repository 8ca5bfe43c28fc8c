"""Changes that are made while somebody's training runs, in this process."""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from isometry.adapters.torch.joining import join
from isometry.adapters.torch.treatment import treating
from isometry.network.edits import (
    ChangeOptimizer,
    Clip,
    Decay,
    InsertNorm,
    Reinitialise,
    ReplaceActivation,
    ScaleLoss,
    ScaleRate,
    SetPrecision,
    Standardise,
)


@pytest.fixture
def begin():
    """Make a treatment that is closed in any case; torch is then as it was."""
    made = []
    before = [vars(owner)[name] for owner, name in PATCHED]

    def make(*edits, **options):
        made.append(treating(edits, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
    assert [vars(owner)[name] for owner, name in PATCHED] == before


PATCHED = ((nn.Module, "__call__"), (Optimizer, "__init__"), (LRScheduler, "__init__"), (ReduceLROnPlateau, "__init__"))


class Tower(nn.Module):
    """Layers whose nonlinearity is a function call."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow, self.out = nn.Linear(6, 14), nn.Linear(14, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.out(torch.sigmoid(self.narrow(torch.sigmoid(self.wide(x)))))


def train(model, optimizer, *, steps=3, inputs=None):
    inputs = torch.randn(16, 6) if inputs is None else inputs
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), torch.arange(len(inputs)) % 3).backward()
        optimizer.step()


def test_the_network_is_changed_at_its_first_call_and_its_new_parameters_are_trained(begin):
    treatment = begin(InsertNorm(("wide", "narrow"), "layer"), ReplaceActivation(("wide", "narrow"), "relu"))
    model = Tower()
    before = dict(model.named_parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train(model, optimizer)
    treatment.close()
    assert treatment.trouble is None
    new = {name: value for name, value in model.named_parameters() if name not in before}
    assert len(new) == 4
    assert all(value.grad is not None for value in new.values())
    assert all(not torch.equal(value, value.round()) for value in new.values()), "they left 0 and 1"
    assert len(optimizer.param_groups) == 1
    x = torch.randn(4, 6)
    scale, shift = (value for name, value in new.items() if "wide" in name)
    by_hand = torch.relu(F.layer_norm(model.wide(x), (14,), scale, shift))
    with torch.no_grad():
        seen = []
        hook = model.narrow.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        model(x)
        hook.remove()
    assert torch.allclose(seen[0], by_hand.detach(), atol=1e-6)


def test_an_evaluation_before_training_sees_the_changed_network_too(begin):
    begin(Reinitialise(("wide",), gain=50.0))
    model = Tower()
    with torch.inference_mode():
        model(torch.randn(4, 6))
    assert float(model.wide.weight.detach().std()) > 10
    train(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_a_schedule_begins_from_the_changed_rate(begin):
    begin(ScaleRate(0.1))
    model = Tower()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    train(model, optimizer, steps=1)
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02)
    train(model, optimizer, steps=1)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02), "once is enough"


def test_the_rate_falls_to_zero_under_a_schedule_of_the_scripts_own(begin):
    begin(Decay(2))
    model = Tower()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    ends = []
    for _ in range(3):
        before = model.out.bias.detach().clone()
        train(model, optimizer, steps=1, inputs=torch.ones(4, 6))
        ends.append(float((before - model.out.bias.detach()).norm() / model.out.bias.grad.norm()))
        schedule.step()
    assert ends == pytest.approx([0.4, 0.1, 0.0], rel=1e-3)


def test_the_optimiser_becomes_another_and_stays_the_object_that_the_script_holds(begin):
    begin(ChangeOptimizer("adam", 0.01))
    model = Tower()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4, momentum=0.9)
    train(model, optimizer)
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert len(optimizer.state) == len(list(model.parameters()))


def test_gradients_are_clipped_before_the_step(begin):
    begin(Clip(1e-6))
    model = Tower()
    weight = model.out.weight.detach().clone()
    train(model, torch.optim.SGD(model.parameters(), lr=1.0), steps=2)
    assert 0 < float((model.out.weight.detach() - weight).norm()) < 3e-6


def test_parts_that_are_called_by_themselves_are_changed_under_their_full_names(begin):
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(6, 8), nn.Tanh())
            self.decoder = nn.Sequential(nn.Linear(8, 3))

    treatment = begin(Reinitialise(("encoder.0", "decoder.0"), gain=30.0))
    pair = Pair()
    optimizer = torch.optim.SGD(pair.parameters(), lr=1e-3)
    F.cross_entropy(pair.decoder(pair.encoder(torch.randn(4, 6))), torch.arange(4) % 3).backward()
    optimizer.step()
    treatment.close()
    assert treatment.trouble is None
    assert min(float(pair.encoder[0].weight.detach().std()), float(pair.decoder[0].weight.detach().std())) > 4


def test_of_two_models_the_one_is_changed_that_is_named(begin):
    begin(Reinitialise(("critic.0",), gain=30.0))
    actor, critic = (nn.Sequential(nn.Linear(6, 3), nn.Tanh()) for _ in range(2))
    x = torch.randn(4, 6)
    (actor(x) - critic(x)).square().mean().backward()
    assert float(actor[0].weight.detach().std()) < 1 < 4 < float(critic[0].weight.detach().std())


def test_a_layer_that_is_a_model_of_its_own_is_changed_under_its_variable(begin):
    treatment = begin(Reinitialise(("encoder.0", "head"), gain=30.0))
    encoder, head = nn.Sequential(nn.Linear(6, 8), nn.Tanh()), nn.Linear(8, 3)
    optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=1e-3)
    F.cross_entropy(head(encoder(torch.randn(4, 6))), torch.arange(4) % 3).backward()
    optimizer.step()
    treatment.close()
    assert treatment.trouble is None
    assert min(float(layer.weight.detach().std()) for layer in (encoder[0], head)) > 4


@pytest.mark.parametrize("name", ["model", "as_its_optimiser_knew_it"])
def test_two_models_that_are_trained_one_after_the_other_are_both_changed(begin, name):
    treatment = begin(InsertNorm(("wide", "narrow", f"{name}.0"), "layer"))
    first = Tower()
    train(first, torch.optim.SGD(first.parameters(), lr=0.1))
    assert treatment.trouble is None
    second = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(second.parameters(), lr=0.1)
    train(second, optimizer)
    treatment.close()
    assert treatment.trouble is None
    assert len(list(second.parameters())) == 6
    assert all(value.grad is not None for value in second.parameters())
    assert treatment.steps == 5, "a watch takes the first step of the second one for part of the step before"


def folds(number, *, best=None):
    """One model after another, each in a variable of the same name: its largest weight and its rate."""
    sizes = []
    for _ in range(number):
        model = nn.Sequential(nn.Linear(6, 14), nn.Sigmoid(), nn.Linear(14, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
        train(model, optimizer, steps=2)
        if best is not None:
            model = best(model)
            with torch.no_grad():
                model(torch.randn(4, 6))
        sizes.append((float(model[0].weight.detach().abs().max()), optimizer.param_groups[0]["lr"]))
    return sizes


@pytest.mark.parametrize("names", [("0", "model.0", "model_.0"), ("0",), ("model.0",)])
def test_every_fold_of_a_cross_validation_is_changed_like_the_first(begin, names):
    treatment = begin(Reinitialise(names, gain=30.0), ScaleRate(0.5))
    sizes = folds(5)
    treatment.close()
    assert treatment.trouble is None
    assert all(size > 10 for size, _ in sizes)
    assert [rate for _, rate in sizes] == [5e-7] * 5
    assert treatment.steps == 6


@pytest.mark.parametrize("kept", ["copy", "state"])
@pytest.mark.parametrize("names", [("0", "model.0", "model_.0"), ("0",), ("0", "model.0", "model_.0", "never.0")])
def test_what_has_been_trained_is_not_drawn_anew_where_it_is_only_looked_at(begin, kept, names):
    def best(model):
        with torch.no_grad():
            model[0].weight.clamp_(-0.5, 0.5)
        if kept == "copy":
            return copy.deepcopy(model)
        other = nn.Sequential(nn.Linear(6, 14), nn.Sigmoid(), nn.Linear(14, 3))
        other.load_state_dict(model.state_dict())
        return other

    treatment = begin(Reinitialise(names, gain=30.0))
    assert [size for size, _ in folds(3, best=best)] == [0.5] * 3
    treatment.close()
    assert (treatment.trouble is None) is ("never.0" not in names)


def test_a_model_of_the_same_class_and_another_name_stays_as_it_is(begin):
    treatment = begin(Reinitialise(("0",), gain=30.0))
    student, teacher = (nn.Sequential(nn.Linear(6, 3), nn.Tanh()) for _ in range(2))
    optimizer = torch.optim.SGD([*student.parameters(), *teacher.parameters()], lr=1e-3)
    (student(torch.ones(4, 6)) - teacher(torch.ones(4, 6))).square().mean().backward()
    optimizer.step()
    treatment.close()
    assert treatment.trouble is None
    assert float(teacher[0].weight.detach().std()) < 1 < 4 < float(student[0].weight.detach().std())


def test_a_change_that_fits_nowhere_is_said_at_the_end(begin):
    treatment = begin(ReplaceActivation(("nowhere",), "relu"))
    model = Tower()
    train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    treatment.close()
    assert "`nowhere`" in treatment.trouble
    assert treatment.is_reached


def test_a_training_without_an_optimiser_cannot_have_its_rate_changed(begin):
    treatment = begin(ScaleRate(0.1))
    model = Tower()
    F.cross_entropy(model(torch.randn(4, 6)), torch.arange(4) % 3).backward()
    treatment.close()
    assert "no torch.optim.Optimizer" in treatment.trouble


def test_a_training_is_left_after_its_steps(begin):
    treatment = begin(steps=4)
    model = Tower()
    with pytest.raises(SystemExit):
        train(model, torch.optim.SGD(model.parameters(), lr=0.1), steps=10)
    assert (treatment.steps, treatment.cut, treatment.trouble) == (4, True, None)


def test_inputs_of_the_untreated_training_are_what_a_treated_one_is_standardised_by(begin, tmp_path):
    inputs = torch.randn(64, 6) * 40 + 300
    kept = tmp_path / "inputs.pt"
    untreated = begin(inputs=kept)
    model = Tower()
    train(model, torch.optim.SGD(model.parameters(), lr=1e-3), inputs=inputs)
    untreated.close()
    begin(Standardise(), inputs=kept)
    seen = []
    model = Tower()
    model.wide.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    train(model, torch.optim.SGD(model.parameters(), lr=1e-3), steps=1, inputs=inputs)
    assert torch.allclose(seen[-1].mean(0), torch.zeros(6), atol=1e-4)
    assert torch.allclose(seen[-1].std(0, correction=0), torch.ones(6), atol=1e-3)


@pytest.mark.parametrize("frozen", [False, True])
def test_of_several_modules_the_first_that_learns_is_standardised_by_its_own_inputs(begin, tmp_path, frozen):
    data = torch.randn(64, 6) * 40 + 300

    def step():
        torch.manual_seed(0)
        encoder, head = nn.Sequential(nn.Linear(6, 8), nn.ReLU()), nn.Sequential(nn.Linear(8, 3))
        encoder(torch.zeros(1, 6)).sum().backward() if not frozen else encoder.requires_grad_(False)
        optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=1e-6)
        read = {}
        for name, first in (("encoder", encoder[0]), ("head", head[0])):
            hook = functools.partial(lambda name, _, args: read.__setitem__(name, args[0].detach()), name)
            first.register_forward_pre_hook(hook)
        with torch.set_grad_enabled(not frozen):
            features = encoder(data)
        F.cross_entropy(head(features), torch.arange(64) % 3).backward()
        optimizer.step()
        return read

    kept = tmp_path / "inputs.pt"
    untreated = begin(inputs=kept)
    before = step()
    untreated.close()
    treatment = begin(Standardise(), inputs=kept)
    after = step()
    treatment.close()
    assert treatment.trouble is None
    assert (after["encoder"].std() < 2) is not frozen
    assert torch.equal(before["encoder"], after["encoder"]) is frozen
    if frozen:
        raw = before["head"]
        expected = (raw - raw.mean(0)) / raw.std(0, correction=0).where(raw.amax(0) > raw.amin(0), torch.ones(8))
        assert torch.allclose(after["head"], expected, atol=1e-3)


def test_a_trial_of_another_number_gets_other_seeds(begin, monkeypatch):
    monkeypatch.setattr(torch, "manual_seed", torch.manual_seed)
    monkeypatch.setattr(torch.random, "manual_seed", torch.random.manual_seed)
    begin(trial=2)
    torch.manual_seed(7)
    other = torch.rand(3)
    monkeypatch.undo()
    torch.manual_seed(7)
    assert not torch.equal(torch.rand(3), other)


def test_new_parameters_join_the_group_of_most_others():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(
        [{"params": model[2].parameters(), "lr": 1.0}, {"params": [*model[0].parameters(), *model[1].parameters()]}]
    )
    model.append(nn.LayerNorm(1))
    assert len(join(optimizer, model, model[3].parameters())) == 2
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 6]
    assert join(optimizer, model, model[3].parameters()) == (), "they are there already"
    assert join(torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=1), model, model[3].parameters()) == ()


def test_modules_are_called_as_ever_once_nothing_waits_for_a_call(begin):
    call = nn.Module.__call__
    begin(ReplaceActivation(("wide",), "relu"))
    assert nn.Module.__call__ is not call
    Tower()(torch.randn(4, 6))
    assert nn.Module.__call__ is call


def lowered(model, optimizer, *, scaler=None, steps=6):
    """A training in float16 whose gradients are no numbers of float16."""
    inputs = torch.randn(24, 6, generator=torch.Generator().manual_seed(5))
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = 1e-8 * F.cross_entropy(model(inputs), torch.arange(24) % 3)
        (loss if scaler is None else scaler.scale(loss)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@pytest.mark.parametrize("edit", [SetPrecision("bfloat16"), SetPrecision("float32"), ScaleLoss(2.0**20)])
def test_gradients_that_float16_loses_come_back(begin, edit):
    model = Tower()
    lowered(model, torch.optim.SGD(model.parameters(), lr=1.0), steps=1)
    assert not any(value.grad.any() for value in model.parameters())
    treatment = begin(edit)
    lowered(model, torch.optim.SGD(model.parameters(), lr=1.0))
    treatment.close()
    assert treatment.trouble is None
    sizes = [float(value.grad.abs().max()) for value in model.parameters()]
    assert all(0 < size < 1e-7 for size in sizes), "as the training has them, not as they were scaled"


def test_weights_of_a_script_that_are_in_half_precision_become_float32(begin):
    model = Tower().half()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    treatment = begin(SetPrecision("bfloat16"))
    train(model, optimizer, inputs=torch.randn(16, 6).half())
    treatment.close()
    assert treatment.trouble is None
    assert {value.dtype for value in model.parameters()} == {torch.float32}


def test_a_scaled_training_of_which_all_steps_are_left_out_ends_in_time(begin):
    model = Tower()
    before = model.wide.weight.detach().clone()
    treatment = begin(ScaleLoss(8.0), steps=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with pytest.raises(SystemExit):
        for _ in range(10):
            optimizer.zero_grad()
            (model(torch.randn(4, 6)).sum() * float("inf")).backward()
            optimizer.step()
    assert (treatment.steps, treatment.cut, treatment.trouble) == (3, True, None)
    assert torch.equal(model.wide.weight, before)


def test_a_loss_that_is_scaled_already_is_not_scaled_twice(begin):
    model = Tower()
    treatment = begin(ScaleLoss(8.0))
    with pytest.raises(SystemExit):
        lowered(model, torch.optim.SGD(model.parameters(), lr=1.0), scaler=torch.amp.GradScaler("cpu"))
    assert "already" in treatment.trouble
