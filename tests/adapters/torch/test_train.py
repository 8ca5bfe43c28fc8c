"""Training an experiment: from one seed, and from many side by side."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from isometry import IsometryError, Signal
from isometry.adapters.torch.train import sets, train, train_many
from isometry.network.experiment import Experiment

SEEDS = (0, 3, 4)


def points(count: int = 50) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(count, 4, generator=generator)
    return inputs, (inputs[:, 0] * inputs[:, 1] > 0).long()


def tanh_net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))


def normalised_net() -> nn.Module:
    # A bias before batch normalisation has no gradient but rounding, whose sign adaptive optimisers would follow.
    return nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))


def accuracy(model: nn.Module) -> float:
    inputs, targets = points()
    with torch.no_grad():
        return float((model(inputs).argmax(1) == targets).double().mean())


def experiment(build=tanh_net, optimizer=torch.optim.RMSprop, **more) -> Experiment:
    given = {
        "build": build,
        "data": points(),
        "loss_fn": cross_entropy,
        "optimizer": lambda parameters: optimizer(parameters, lr=0.01),
        "epochs": 4,
        "batch_size": 16,  # 50 points: the last batch is smaller
        "metric": accuracy,
    }
    return Experiment(**(given | more))


def close(one, other) -> None:
    """Equal up to the rounding of float32 over a dozen steps."""
    np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adam])
@pytest.mark.parametrize("build", [tanh_net, normalised_net])
def test_each_of_many_is_what_it_would_be_alone(build, optimizer):
    many = train_many(experiment(build, optimizer), SEEDS)
    assert many.seeds == SEEDS
    for place, seed in enumerate(SEEDS):
        alone = train(experiment(build, optimizer), seed=seed)
        close(many.losses[place], alone.losses)
        assert many.metrics[place] == pytest.approx(alone.metric)
        expected = alone.model.state_dict()
        for name, value in many.models[place].state_dict().items():
            close(value, expected[name])
        assert not many.models[place].training


def test_statistics_begin_before_training_and_end_with_the_trained_models():
    many = train_many(experiment(), SEEDS)
    assert many.layers == ("0", "2", "4")
    assert many.weight_std.shape == (3, 5, 3)
    for place, seed in enumerate(SEEDS):
        torch.manual_seed(seed)
        for epoch, model in ((0, tanh_net()), (-1, many.models[place])):
            weights = [model[k].weight.detach().double() for k in (0, 2, 4)]
            close(many.weight_mean[place, epoch], [float(weight.mean()) for weight in weights])
            close(many.weight_std[place, epoch], [float(weight.std(correction=0)) for weight in weights])


def test_gradients_are_those_of_the_last_batch_of_each_epoch(tmp_path: Path):
    many = train_many(experiment(), SEEDS)
    run = train(experiment(), seed=SEEDS[1], run=tmp_path / "run", every=1).run
    assert run is not None
    last = np.arange(3, 16, 4)  # four batches an epoch
    close(many.gradient_mean[1], run.history[Signal.WEIGHT_GRADIENT, "mean"][last])
    close(many.gradient_std[1], run.history[Signal.WEIGHT_GRADIENT, "std"][last])


@pytest.mark.parametrize("build", [tanh_net, normalised_net])
def test_models_are_shown_after_each_epoch_as_they_are_then_and_train_on(build):
    seen: list[list[float]] = []
    watched = train_many(
        experiment(build), SEEDS, after_epoch=lambda epoch, models: seen.append([accuracy(model) for model in models])
    )
    shorter = train_many(experiment(build, epochs=2), SEEDS)
    assert np.array_equal(watched.losses, train_many(experiment(build), SEEDS).losses)
    assert seen[1] == shorter.metrics.tolist()
    assert seen[3] == watched.metrics.tolist()


def test_the_same_seeds_give_the_same_numbers():
    first, second = (train_many(experiment(), SEEDS) for _ in range(2))
    assert np.array_equal(first.losses, second.losses)
    assert np.array_equal(first.metrics, second.metrics)


def test_seeds_differ_in_weights_and_in_the_order_of_the_data():
    def constant() -> nn.Module:
        net = tanh_net()
        for parameter in net.parameters():
            nn.init.constant_(parameter, 0.1)
        return net

    assert len(np.unique(train_many(experiment(constant), SEEDS).losses[:, 0])) == 3
    assert len(np.unique(train_many(experiment(), SEEDS).weight_mean[:, 0, 0])) == 3


def test_validation_data_are_not_trained_on():
    plain = train_many(experiment(), SEEDS)
    paired = train_many(experiment(data=(points(), points(20))), SEEDS)
    assert np.array_equal(plain.losses, paired.losses)
    assert len(sets((points(), points(20))).validation[0]) == 20
    assert sets(points()).validation is None


def test_a_dataset_is_shuffled_like_its_tensors():
    data = torch.utils.data.TensorDataset(*points())
    assert np.array_equal(train_many(experiment(data=data), SEEDS).losses, train_many(experiment(), SEEDS).losses)


def test_a_function_draws_each_seeds_own_data():
    def drawn(seed: int) -> tuple[Tensor, Tensor]:
        inputs, targets = points()
        return inputs + seed, targets

    many = train_many(experiment(data=drawn), SEEDS)
    for place, seed in enumerate(SEEDS):
        close(many.losses[place], train(experiment(data=drawn), seed=seed).losses)
        close(many.losses[place], train_many(experiment(data=drawn(seed)), [seed]).losses[0])


def test_a_generator_is_refused_with_what_to_do():
    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        yield points()

    for training in (lambda data: train_many(data, SEEDS), train):
        with pytest.raises(
            IsometryError, match=r"a generator was given.*Put the batches that a generator yields into a list"
        ):
            training(experiment(data=batches()))


def test_the_callers_random_numbers_stay_as_they_were():
    torch.manual_seed(11)
    expected = torch.rand(3)
    for training in (lambda: train(experiment(), seed=5), lambda: train_many(experiment(), SEEDS)):
        torch.manual_seed(11)
        training()
        assert torch.equal(torch.rand(3), expected)


def test_without_a_metric_there_is_none():
    one = replace(experiment(), metric=None)
    assert np.isnan(train_many(one, SEEDS).metrics).all()
    assert train(one).metric is None


def test_what_is_logged_after_an_epoch_is_in_the_run(tmp_path: Path):
    run = train(
        experiment(), run=tmp_path / "run", every=4, after_epoch=lambda epoch, model: {"accuracy": accuracy(model)}
    ).run
    assert run is not None
    assert run.history.scalars["accuracy"].steps.tolist() == [3, 7, 11, 15]
    assert run.history.steps.tolist() == [0, 4, 8, 12]


def test_a_list_holds_batches_not_samples():
    seen = []

    def loss_fn(output: Tensor, targets: Tensor) -> Tensor:
        seen.append(tuple(output.shape))
        return (output - targets).square().mean()

    batches = [(torch.randn(16, 4), torch.randn(16, 2)) for _ in range(3)]
    train(
        Experiment(
            build=lambda: nn.Linear(4, 2),
            data=batches,
            loss_fn=loss_fn,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
            epochs=2,
        )
    )
    assert seen == [(16, 2)] * 6
