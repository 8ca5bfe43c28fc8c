"""Experiments trained with changes, held against loops and models written by hand."""

import copy
import functools
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from isometry import CannotEdit, Signal
from isometry.adapters.torch.curvature import sharpness_of
from isometry.adapters.torch.retuning import retuned
from isometry.adapters.torch.standardising import standardise
from isometry.adapters.torch.train import first_batch, train, train_many
from isometry.adapters.torch.trials import TorchTrainer
from isometry.history.store import open_run
from isometry.network.edits import (
    AddSkip,
    ChangeOptimizer,
    Clip,
    Decay,
    InsertNorm,
    Reinitialise,
    ReplaceActivation,
    ScaleRate,
    Standardise,
    WarmUp,
)
from isometry.network.experiment import Experiment

HIDDEN = ("0", "2")


def points(count: int = 40, seed: int = 7) -> tuple[Tensor, Tensor]:
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return inputs * torch.tensor([1.0, 30.0, 0.1, 0.0]) + torch.tensor([0.0, 100.0, -1.0, 5.0]), (
        inputs[:, 0] > 0
    ).long()


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 2))


def sgd(parameters) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def accuracy(model: nn.Module) -> float:
    inputs, targets = points()
    with torch.no_grad():
        return float((model(inputs).argmax(1) == targets).double().mean())


def experiment(**more) -> Experiment:
    given = {"build": net, "data": points(), "loss_fn": cross_entropy, "optimizer": sgd, "epochs": 3, "batch_size": 16}
    return Experiment(**(given | more))


ALL = (
    ReplaceActivation(HIDDEN, "relu"),
    InsertNorm(HIDDEN, "batch"),
    AddSkip(("2",)),
    Reinitialise(HIDDEN, 1.4),
    ChangeOptimizer("adam", 0.01),
    ScaleRate(2.0),
    WarmUp(4),
    Decay(9),
    Clip(0.5),
    Standardise(),
)


@pytest.mark.parametrize("edits", [(), *[(one,) for one in ALL], ALL], ids=lambda edits: "+".join(map(str, edits))[:40])
def test_a_treated_experiment_trains_by_itself_as_the_trainer_does(edits):
    trainer = TorchTrainer(experiment(metric=accuracy))
    for seed in (0, 3):
        course = trainer.train(edits, seed=seed, run=None)
        alone = train(trainer.treated(edits), seed=seed)
        assert np.array_equal(course.losses, alone.losses)
        assert course.score == alone.metric
        assert (course.seed, course.run, course.fault) == (seed, None, "")
    assert np.array_equal(train_many(trainer.treated(()), (0,)).losses, train_many(experiment(), (0,)).losses)


def test_without_changes_nothing_is_changed():
    plain = experiment(metric=accuracy)
    course, trained = TorchTrainer(plain).train((), seed=1), train(plain, seed=1)
    assert np.array_equal(course.losses, trained.losses)
    assert TorchTrainer(plain).treated(()) is plain


@pytest.mark.parametrize("edits", [(one,) for one in ALL], ids=lambda edits: type(edits[0]).__name__)
def test_changes_come_after_the_same_weights_and_leave_the_order_of_the_data(edits):
    seen: list[list[Tensor]] = []

    def loss_fn(output: Tensor, targets: Tensor) -> Tensor:
        seen[-1].append(targets.clone())
        return cross_entropy(output, targets)

    weights = []
    for given in ((), edits):
        seen.append([])
        trainer = TorchTrainer(experiment(loss_fn=loss_fn, epochs=2))
        trainer.train(given, seed=5)
        torch.manual_seed(5)
        weights.append(trainer.treated(given).build().state_dict())
    assert [batch.tolist() for batch in seen[0]] == [batch.tolist() for batch in seen[1]]
    for name, value in weights[0].items():
        changed = isinstance(edits[0], Reinitialise) and name.split(".")[0] in HIDDEN
        assert torch.equal(value, weights[1][name]) is not changed


def test_dropout_and_loaders_draw_the_same_numbers_under_a_change():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*points()), batch_size=8, shuffle=True)
    trainer = TorchTrainer(experiment(data=loader))
    untouched, treated = (trainer.train(edits, seed=2).losses for edits in ((), (ReplaceActivation(HIDDEN, "tanh"),)))
    assert np.array_equal(untouched, treated)


def test_each_seed_and_each_build_draws_weights_of_its_own():
    build = TorchTrainer(experiment()).treated((Reinitialise(("0",), 1.0),)).build
    torch.manual_seed(0)
    first, second = build()[0].weight, build()[0].weight
    torch.manual_seed(0)
    again = build()[0].weight
    torch.manual_seed(1)
    other = build()[0].weight
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


def test_many_seeds_side_by_side_train_as_one_after_the_other():
    trainer = TorchTrainer(experiment(build=lambda: net()[:4], epochs=2))  # no dropout: its numbers would differ
    edits = (
        ReplaceActivation(HIDDEN, "relu"),
        AddSkip(("2",)),
        Reinitialise(HIDDEN, 1.4),
        Standardise(),
        ScaleRate(0.5),
    )
    many = train_many(trainer.treated(edits), (0, 3))
    for place, seed in enumerate((0, 3)):
        np.testing.assert_allclose(many.losses[place], trainer.train(edits, seed=seed).losses, rtol=2e-4)


def test_a_trainer_can_be_sent_elsewhere():
    trainer = TorchTrainer(experiment(metric=accuracy))
    sent = pickle.loads(pickle.dumps(trainer))
    assert np.array_equal(sent.train(ALL, seed=0).losses, trainer.train(ALL, seed=0).losses)
    treated = pickle.loads(pickle.dumps(trainer.treated(ALL)))
    assert np.array_equal(train(treated).losses, trainer.train(ALL, seed=0).losses)


def test_a_treated_experiment_can_be_treated_again():
    once = TorchTrainer(experiment()).treated((InsertNorm(("0",), "layer"), ScaleRate(2.0), Standardise()))
    twice = TorchTrainer(once).treated((ReplaceActivation(HIDDEN, "relu"), ScaleRate(2.0), Clip(1.0), Standardise()))
    at_once = TorchTrainer(experiment()).train(
        (InsertNorm(("0",), "layer"), ReplaceActivation(HIDDEN, "relu"), ScaleRate(4.0), Clip(1.0), Standardise()),
        seed=0,
    )
    np.testing.assert_allclose(train(twice).losses, at_once.losses, rtol=1e-6)


def test_the_callers_random_numbers_stay_as_they_were():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    trainer = TorchTrainer(experiment())
    trainer.train(ALL, seed=0)
    assert torch.equal(torch.rand(3), expected)


# ------------------------------------------------------------------------ optimisers


def stepped(edits, gradients, rate: float = 0.5, kind=torch.optim.SGD) -> tuple[list[float], torch.optim.Optimizer]:
    """A weight after each step, with these gradients."""
    weight = nn.Parameter(torch.zeros(2))
    optimizer = retuned(kind([weight], lr=rate), edits)
    values = []
    for gradient in gradients:
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        values.append(float(weight.detach()[0]))
    return values, optimizer


def test_every_learning_rate_is_multiplied():
    one, other = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    groups = [{"params": [one]}, {"params": [other], "lr": 0.3}]
    optimizer = retuned(torch.optim.SGD(groups, lr=0.1), [ScaleRate(10.0)])
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1.0, 3.0])


def test_the_rate_falls_evenly_to_zero_on_top_of_a_warm_up():
    ones = [[-1.0, 0.0]] * 5
    alone = np.diff([0.0, *stepped([Decay(4)], ones)[0]])
    assert alone / alone[0] == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])
    warmed = np.diff([0.0, *stepped([Decay(4), WarmUp(2)], ones)[0]])
    assert warmed / alone[0] == pytest.approx([0.5, 0.75, 0.5, 0.25, 0.0])


def test_the_rate_rises_evenly_on_top_of_a_schedule():
    ones = [[-1.0, 0.0]] * 5
    assert stepped([WarmUp(4)], ones)[0] == pytest.approx([0.125, 0.375, 0.75, 1.25, 1.75])
    weight = nn.Parameter(torch.zeros(1))
    optimizer = retuned(torch.optim.SGD([weight], lr=1.0), [WarmUp(2)])
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for expected in (0.5, 1.0, 1.25):
        weight.grad = -torch.ones(1)
        optimizer.step()
        schedule.step()
        assert float(weight.detach()) == pytest.approx(expected)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.125)


def test_gradients_are_clipped_before_the_step():
    gradient = [[-3.0, 4.0]]
    assert stepped([Clip(1.0)], gradient)[0] == pytest.approx([0.3])
    assert stepped([Clip(1.0, by="value")], gradient)[0] == pytest.approx([0.5])
    assert stepped([Clip(10.0)], gradient)[0] == pytest.approx([1.5])


def test_gradients_of_a_closure_are_clipped_too():
    weight = nn.Parameter(torch.ones(1))
    optimizer = retuned(torch.optim.SGD([weight], lr=1.0), [Clip(0.25)])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (5 * weight).sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == 5.0
    assert float(weight.detach()) == pytest.approx(0.75)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)])
def test_another_optimiser_trains_the_same_parameters_and_the_rate_is_multiplied_whatever_the_order(name, kind):
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))]
    given = torch.optim.RMSprop([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 1.0}], lr=0.1)
    optimizer = retuned(given, [Clip(1.0), ScaleRate(3.0), ChangeOptimizer(name, 0.01)])
    assert type(optimizer) is kind
    assert [group["params"] for group in optimizer.param_groups] == [parameters[:1], parameters[1:]]
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.03, 0.03])
    assert "step" in vars(optimizer)
    assert kind is torch.optim.Adam or optimizer.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (ScaleRate(0.0), r"factor = 0; a number above 0"),
        (ScaleRate(math.nan), r"factor = nan"),
        (WarmUp(0), r"steps = 0"),
        (Decay(0), r"Decay: steps = 0"),
        (Clip(-1.0), r"threshold = -1"),
        (Clip(1.0, by="sign"), r"there is no 'sign'"),
        (ChangeOptimizer("lion", 0.1), r"there is no 'lion'"),
        (ChangeOptimizer("adam", math.inf), r"rate = inf"),
    ],
)
def test_numbers_and_names_that_make_no_sense_are_refused(edit, words):
    with pytest.raises(CannotEdit, match=words):
        TorchTrainer(experiment()).treated((edit,))


# ----------------------------------------------------------------------------- inputs


def test_the_network_sees_standardised_inputs_and_takes_raw_ones():
    model = TorchTrainer(experiment()).treated((Standardise(),)).build()
    seen = []
    hook = model[0].register_forward_hook(lambda module, args, output: seen.append(args[0].clone()))
    inputs, _ = points()
    model(inputs)
    hook.remove()
    varying, constant = seen[0][:, :3], seen[0][:, 3]
    torch.testing.assert_close(varying.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(varying.std(0, correction=0), torch.ones(3), atol=1e-5, rtol=0)
    assert torch.equal(constant, inputs[:, 3])
    twin = pickle.loads(pickle.dumps(copy.deepcopy(model))).eval()
    assert torch.equal(twin(inputs), model.eval()(inputs))
    assert {"inserted_input_mean", "inserted_input_deviation"} <= model.state_dict().keys()


@pytest.mark.parametrize(
    ("model", "shape", "features"),
    [
        (nn.Conv2d(3, 4, 3), (20, 3, 8, 8), (1, 3, 1, 1)),
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), (20, 6, 8), (1, 6, 8)),
        (nn.Linear(8, 2), (20, 6, 8), (1, 1, 8)),
        (nn.LSTM(8, 5, batch_first=True), (20, 6, 8), (1, 1, 8)),
    ],
)
def test_a_feature_is_what_a_weight_of_the_first_layer_stands_for(model, shape, features):
    inputs = 5 + 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    standardise(model, inputs.split(7))
    over = tuple(k for k, size in enumerate(features) if size == 1)
    torch.testing.assert_close(model.inserted_input_mean, inputs.mean(over, keepdim=True))
    torch.testing.assert_close(model.inserted_input_deviation, inputs.std(over, correction=0, keepdim=True))


def test_small_deviations_beside_large_means_keep_their_digits():
    inputs = 1e4 + 1e-1 * torch.randn(500, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = nn.Linear(1, 1).double()
    standardise(model, inputs.split(50))
    torch.testing.assert_close(
        model.inserted_input_deviation, inputs.std(0, correction=0, keepdim=True), rtol=1e-9, atol=0
    )


def test_numbers_of_words_cannot_be_standardised():
    tokens = torch.randint(0, 9, (20, 5)), torch.zeros(20, dtype=torch.long)
    words = experiment(build=lambda: nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 2)), data=tokens)
    with pytest.raises(CannotEdit, match=r"torch\.int64: only a tensor of real numbers"):
        TorchTrainer(words).train((Standardise(),), seed=0)


# ---------------------------------------------------------------------------- courses


def test_the_score_is_the_metric_or_else_minus_the_loss_of_the_data_that_judge():
    others = points(23, seed=1)
    plain = TorchTrainer(experiment(data=(points(), others)))
    model = train(plain.experiment, seed=4).model
    with torch.no_grad():
        expected = -float(cross_entropy(model(others[0]), others[1]))
        on_training = -float(cross_entropy(model(points()[0]), points()[1]))
    assert plain.train((), seed=4).score == pytest.approx(expected, rel=1e-5)
    assert TorchTrainer(experiment()).train((), seed=4).score == pytest.approx(on_training, rel=1e-5)
    assert TorchTrainer(experiment(metric=lambda model: 7)).train((), seed=4).score == 7.0


def test_a_score_that_is_no_finite_number_is_nan():
    assert math.isnan(TorchTrainer(experiment(metric=lambda model: math.inf)).train((), seed=0).score)
    diverging = experiment(
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e38), build=lambda: nn.Linear(4, 2)
    )
    course = TorchTrainer(diverging).train((), seed=0)
    assert math.isnan(course.score)
    assert course.fault == ""


def test_a_watched_course_shows_the_treated_network_and_what_its_optimiser_receives(tmp_path: Path):
    edits = (InsertNorm(("0",), "layer"), ReplaceActivation(("2",), "relu"), Clip(1e-3), ScaleRate(0.5))
    course = TorchTrainer(experiment(), every=1).train(edits, seed=0, run=tmp_path / "arm")
    assert course.run == tmp_path / "arm"
    run = open_run(course.run)
    assert run.architecture.names == ("0", "1.norm", "2", "5")
    assert run.architecture["1.norm"].activation == "tanh"
    assert run.architecture["2"].activation == "relu"
    assert len(run.history.steps) == 9
    gradient = run.history[Signal.WEIGHT_GRADIENT, "rms"] * np.sqrt(run.history[Signal.WEIGHT_GRADIENT, "count"])
    assert np.nanmax(gradient) <= 1e-3 * 1.0001
    assert run.history.events("optimizer")[0]["lr"] == 0.05


def test_an_untreated_course_by_sgd_tells_the_curvature_before_its_first_step_and_trains_as_without(tmp_path: Path):
    trainer = TorchTrainer(experiment(), every=1)
    torch.manual_seed(7)
    course, own = trainer.train((), seed=2, run=tmp_path / "watched"), torch.rand(1)
    torch.manual_seed(7)
    assert own == torch.rand(1)
    assert np.array_equal(course.losses, TorchTrainer(experiment()).train((), seed=2).losses)
    (event,) = open_run(course.run).history.events("curvature")
    torch.manual_seed(2)
    model = experiment().build().train()
    inputs, targets = first_batch(experiment(), 2)
    expected = sharpness_of(lambda: experiment().loss_fn(model(inputs), targets), list(model.parameters()))
    assert (event["step"], event["sharpness"]) == (0, pytest.approx(expected.value))

    treated = trainer.train((ScaleRate(0.5),), seed=2, run=tmp_path / "treated")
    adam = experiment(optimizer=functools.partial(torch.optim.Adam, lr=1e-3))
    adaptive = TorchTrainer(adam).train((), seed=2, run=tmp_path / "adam")
    for other in (treated, adaptive):
        assert not open_run(other.run).history.events("curvature")


def test_a_training_goes_on_without_a_curvature_that_cannot_be_measured(tmp_path: Path, monkeypatch):
    def broken(*args, **kwargs):
        raise KeyError("a fault of ours")

    monkeypatch.setattr("isometry.adapters.torch.trials.sharpness_of", broken)
    with pytest.warns(RuntimeWarning, match="curvature of the loss is not known: KeyError"):
        course = TorchTrainer(experiment(), every=1).train((), seed=2, run=tmp_path / "watched")
    assert np.array_equal(course.losses, TorchTrainer(experiment()).train((), seed=2).losses)
    assert not open_run(course.run).history.events("curvature")


def test_a_failure_of_the_users_code_is_kept_with_the_epochs_before_it(tmp_path: Path):
    def failing(output: Tensor, targets: Tensor) -> Tensor:
        if output.requires_grad:
            failing.calls += 1
        if failing.calls == 5:
            raise ValueError("no more\nof this")
        return cross_entropy(output, targets)

    failing.calls = 0
    trainer = TorchTrainer(experiment(loss_fn=failing))
    course = trainer.train((ScaleRate(0.5),), seed=0, run=tmp_path / "arm")
    assert course.fault == "ValueError: no more of this"
    assert course.run == tmp_path / "arm"
    assert math.isnan(course.score)
    expected = TorchTrainer(experiment()).train((ScaleRate(0.5),), seed=0).losses
    np.testing.assert_array_equal(course.losses, [expected[0], np.nan, np.nan])
    failing.calls = 0
    with pytest.raises(ValueError, match="no more"):
        trainer.train((), seed=0)


def test_an_interruption_ends_the_training():
    def interrupted(output: Tensor, targets: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TorchTrainer(experiment(loss_fn=interrupted)).train((ScaleRate(0.5),), seed=0)


def test_a_change_that_the_network_refuses_is_told():
    with pytest.raises(CannotEdit, match="there is no such layer"):
        TorchTrainer(experiment()).train((AddSkip(("nowhere",)),), seed=0)


def test_data_drawn_for_each_seed_are_trained_on_as_ever():
    drawn = replace(experiment(), data=lambda seed: points(seed=seed))
    trainer = TorchTrainer(drawn)
    edits = (InsertNorm(HIDDEN, "layer"), Standardise())
    losses = [trainer.train(edits, seed=seed).losses for seed in (0, 1)]
    assert not np.array_equal(*losses)
    assert np.array_equal(losses[1], train(trainer.treated(edits), seed=1).losses)
