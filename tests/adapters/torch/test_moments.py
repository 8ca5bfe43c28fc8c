import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isometry.adapters.torch.initialise import initialise


def sigma_w(layer):
    return float(layer.weight.detach().std()) * math.sqrt(layer.weight.shape[1:].numel())


def batch(*shape, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("activation", "gain"),
    [
        (nn.ReLU(), 1.414214),
        (nn.Tanh(), 1.592537),
        (nn.Sigmoid(), 1.846229),
        (nn.GELU(), 1.533530),
        (nn.LeakyReLU(0.3), 1.354571),
    ],
)
def test_the_gain_of_a_known_nonlinearity_is_the_one_of_the_books(activation, gain):
    model = nn.Sequential(nn.Linear(200, 200), activation, nn.Dropout(0.0), nn.Linear(200, 300))
    initialise(model, "moments", batch=batch(4, 200), seed=0)  # 4 samples: nothing that is measured is this exact
    assert sigma_w(model[3]) == pytest.approx(gain, rel=0.01)  # 60 000 numbers: 0.3 %


def test_the_size_of_the_input_is_taken_from_the_batch():
    model = nn.Sequential(nn.Linear(200, 300))
    initialise(model, "moments", batch=batch(64, 200, scale=20.0), seed=0)
    assert sigma_w(model[0]) == pytest.approx(1 / 20, rel=0.02)


def test_dropout_in_training_is_made_up_for():
    model = nn.Sequential(nn.Linear(200, 200), nn.ReLU(), nn.Dropout(0.5), nn.Linear(200, 300))
    initialise(model, "moments", batch=batch(4, 200), seed=0)
    assert sigma_w(model[3]) == pytest.approx(1.0, rel=0.01)
    initialise(model.eval(), "moments", batch=batch(4, 200), seed=0)
    assert sigma_w(model[3]) == pytest.approx(math.sqrt(2), rel=0.01)


def test_sums_add_variances_only_where_the_branch_is_uncorrelated():
    class Sums(nn.Module):
        def __init__(self, correlated):
            super().__init__()
            self.correlated = correlated
            self.first, self.second, self.last = nn.Linear(200, 200), nn.Linear(200, 200), nn.Linear(200, 300)

        def forward(self, x):
            z = self.first(x)
            return self.last(z + F.relu(z) if self.correlated else z + 2 * self.second(F.relu(z)))

    for correlated, square in ((False, 5.0), (True, 1 + 2 * 0.5 + 0.5)):
        model = Sums(correlated)
        layers = ["first", "last"] if correlated else None
        initialise(model, "moments", batch=batch(400, 200), seed=0, layers=layers)
        assert sigma_w(model.last) == pytest.approx(1 / math.sqrt(square), rel=0.03)


def test_pooling_is_measured():
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(32, 64, 3), nn.Flatten())
    inputs = batch(64, 3, 26, 26)
    initialise(model, "moments", batch=inputs, seed=0)
    assert sigma_w(model[3]) < 0.8  # the greatest of 16 is above √½
    assert float(model(inputs).detach().square().mean()) == pytest.approx(1, rel=0.3)


def test_a_deep_network_of_an_unknown_nonlinearity_keeps_its_size():
    class Wave(nn.Module):
        def forward(self, x):
            return x.cos() + 0.3 * x

    model = nn.Sequential(*[module for _ in range(20) for module in (nn.Linear(256, 256), Wave())], nn.Linear(256, 256))
    inputs = batch(64, 256)
    initialise(model, "moments", batch=inputs, seed=0)
    assert float(model(inputs).detach().square().mean()) == pytest.approx(1, rel=0.3)  # of one layer of 256 units


def test_an_in_place_change_ends_what_was_known():
    class Changed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(200, 200, bias=False), nn.Linear(200, 300)

        def forward(self, x):
            z = self.first(x) * 1.0
            z[:, :] = 10.0
            return self.last(z)

    model = Changed()
    initialise(model, "moments", batch=batch(8, 200), seed=0)
    assert sigma_w(model.last) == pytest.approx(0.1, rel=0.02)
