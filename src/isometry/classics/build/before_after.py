"""The how-to's network before and after its cure, and each single change of it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from isometry.classics.build.data import Split, digits, random_labels
from isometry.classics.build.networks import mlp
from isometry.network.experiment import Experiment

__all__ = ["accuracy", "labelled", "network", "on_digits", "on_random_labels"]

HIDDEN, WIDTH = 11, 64
"""One Dense(64) that reads the input, and ten more."""


def network(change: str, *, inputs: int, outputs: int) -> nn.Sequential:
    """The sigmoid network with Keras' initialisation (Glorot's uniform law, no bias), changed as ``change`` says.

    Args:
        change: ``none``; ``he`` (weights of variance 2 / n); ``critical`` (of 16 / n, and centred by biases);
            ``batch norm``; ``relu``; ``relu and batch norm``.
        inputs: numbers in a row of data.
        outputs: logits.
    """
    draw = {"he": he, "critical": critical_weight}.get(change, nn.init.xavier_uniform_)
    model = mlp(
        [inputs, *[WIDTH] * HIDDEN, outputs],
        "relu" if "relu" in change else "sigmoid",
        initialise=draw,
        after=batch_norm if "batch norm" in change else None,
    )
    if change == "critical":
        centre(model)
    return model


def batch_norm(width: int) -> nn.Module:
    """With Keras' ε of 1e-3. Keras' running averages need some 500 steps to forget their start; torch's need 50."""
    return nn.BatchNorm1d(width, eps=1e-3)


def he(weight: Tensor) -> Tensor:
    """Normal law of variance 2 / n."""
    return nn.init.normal_(weight, std=(2 / weight.shape[1]) ** 0.5)


def critical_weight(weight: Tensor) -> Tensor:
    """Normal law of variance 16 / n: four times as large, since a sigmoid has slope 1/4."""
    return nn.init.normal_(weight, std=4 / weight.shape[1] ** 0.5)


def centre(model: nn.Sequential) -> None:
    """Take out the 1/2 that a sigmoid has at 0, by biases: u = z / 2 then goes through tanh and weights of 1 / √n.

    The first layer reads standardised data, not a sigmoid: half the size gives u a variance of 1.
    """
    linear = [module for module in model if isinstance(module, nn.Linear)]
    with torch.no_grad():
        linear[0].weight.mul_(0.5)
        for layer in linear[1:]:
            layer.bias.copy_(-0.5 * layer.weight.sum(dim=1))


def adam(parameters: object) -> torch.optim.Optimizer:
    """Adam as Keras has it."""
    return torch.optim.Adam(parameters, lr=1e-3, eps=1e-7, fused=True)  # type: ignore[arg-type]


def labelled(seed: int) -> Split:
    """A seed's own 1,000 rows of 20 uniform numbers with random labels, the last 200 for validation."""
    rows, labels = random_labels(seed=seed)
    return Split(rows[:800], labels[:800], rows[800:], labels[800:])


def on_random_labels(change: str) -> Experiment:
    """Each seed's own rows with random labels, 5 epochs in batches of 32; ``accuracy(labelled(seed))`` judges it."""
    return Experiment(
        build=lambda: network(change, inputs=20, outputs=1),
        data=lambda seed: labelled(seed).training,
        loss_fn=nn.functional.binary_cross_entropy_with_logits,
        optimizer=adam,
        epochs=5,
        batch_size=32,
    )


def on_digits(change: str, *, epochs: int, rows: int | None = None) -> Experiment:
    """Handwritten digits in 10 classes; at most so many of them for training."""
    found = digits()
    data = Split(found.inputs[:rows], found.targets[:rows], found.test_inputs, found.test_targets)
    return Experiment(
        build=lambda: network(change, inputs=data.inputs.shape[1], outputs=10),
        data=data.training,
        loss_fn=nn.functional.cross_entropy,
        optimizer=adam,
        epochs=epochs,
        batch_size=32,
        metric=accuracy(data),
    )


def accuracy(data: Split) -> Callable[[nn.Module], float]:
    """Share of the test data whose class, or label of 0 or 1, the network names."""

    def metric(model: nn.Module) -> float:
        with torch.no_grad():
            output = model(data.test_inputs)
        named = (output > 0).to(data.test_targets.dtype) if output.shape[1] == 1 else output.argmax(dim=1)
        return float((named == data.test_targets).double().mean())

    return metric
