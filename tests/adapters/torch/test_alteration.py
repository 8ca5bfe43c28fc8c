import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isometry.adapters.torch.alteration import FUNCTIONS, Alteration
from isometry.adapters.torch.inspector import Inspector
from isometry.network import nonlinearity
from isometry.network.edits import AddSkip, InsertNorm, Reinitialise, ReplaceActivation


@pytest.mark.parametrize("name", sorted(nonlinearity.FUNCTIONS))
def test_every_named_activation_is_that_of_theory(name):
    z = torch.linspace(-4, 4, 101, dtype=torch.float64)
    expected = nonlinearity.FUNCTIONS[name](z.numpy())
    assert torch.allclose(FUNCTIONS[name](z), torch.as_tensor(expected), atol=1e-6)


def test_all_names_are_known():
    assert FUNCTIONS.keys() == nonlinearity.FUNCTIONS.keys()


class ByHand(nn.Module):
    def __init__(self, activation, before=None, after=None, skip=False) -> None:
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(20, 20), nn.Linear(20, 20), nn.Linear(20, 5)
        self.activation, self.before, self.after, self.skip = activation, before, after, skip

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.fc1, self.fc2):
            z = layer(x)
            z = self.before(z) if self.before else z
            h = self.activation(z)
            h = self.after(h) if self.after else h
            x = h + x if self.skip else h
        return self.head(x)


def layer_norm(values):
    return F.layer_norm(values, (20,))


def batch_norm(values):
    return F.batch_norm(values, None, None, training=True)


def sizes(model, edits=()):
    """Sizes of z and δ in two networks with weights of a given law, drawn from one seed."""
    torch.manual_seed(0)
    inspector = Inspector(model, (torch.randn(16, 20),), {}, seed=3)
    inspector.measure()
    same = (Reinitialise(("fc1", "fc2", "head"), 1.0), *edits)
    drawn = inspector.draw(2, edits=same)
    names = inspector.measure().architecture.names
    kept = [names.index(name) for name in ("fc1", "fc2", "head")]
    return drawn.forward[:, kept], drawn.backward[:, kept]


LAYERS = ("fc1", "fc2")


@pytest.mark.parametrize(
    ("edits", "by_hand"),
    [
        ((ReplaceActivation(LAYERS, "relu"),), ByHand(torch.relu)),
        ((InsertNorm(LAYERS, "layer"),), ByHand(torch.sigmoid, before=layer_norm)),
        ((InsertNorm(LAYERS, "layer", after=True),), ByHand(torch.sigmoid, after=layer_norm)),
        ((InsertNorm(LAYERS, "batch"),), ByHand(torch.sigmoid, before=batch_norm)),
        ((AddSkip(LAYERS),), ByHand(torch.sigmoid, skip=True)),
        ((ReplaceActivation(LAYERS, "tanh"), AddSkip(("fc2",)), AddSkip(("fc1",))), ByHand(torch.tanh, skip=True)),
    ],
)
@pytest.mark.parametrize("activation", [torch.sigmoid, nn.Sigmoid(), lambda z: torch.sigmoid_(z)])
def test_an_alteration_does_what_the_model_written_by_hand_does(edits, by_hand, activation):
    torch.manual_seed(0)
    model = ByHand(activation)
    by_hand.load_state_dict(model.state_dict())
    altered, expected = sizes(model, edits), sizes(by_hand)
    for found, wanted in zip(altered, expected, strict=True):
        assert found == pytest.approx(wanted, abs=1e-4)


def test_convolutions_are_normalised_over_their_channels():
    values = torch.randn(6, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(100, 2))
    inspector = Inspector(model, (values,), {})
    inspector.measure()
    drawn = inspector.draw(1, edits=(InsertNorm(("0",), "batch"),))
    assert abs(drawn.backward).max() < 50  # a norm over other axes would have failed in the linear layer or in size


class Normed(nn.Module):
    def __init__(self, skip: bool) -> None:
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(20, 20), nn.Linear(20, 20), nn.Linear(20, 5)
        self.norm1, self.norm2 = nn.BatchNorm1d(20), nn.BatchNorm1d(20)
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        for layer, norm in ((self.fc1, self.norm1), (self.fc2, self.norm2)):
            h = torch.relu(norm(layer(x)))
            x = h + x if self.skip else h
        return self.head(x)


def test_a_norm_layer_stands_between_a_layer_and_its_activation():
    torch.manual_seed(0)
    plain, by_hand = Normed(False), Normed(True)
    by_hand.load_state_dict(plain.state_dict())
    for found, wanted in zip(sizes(plain, (AddSkip(LAYERS),)), sizes(by_hand), strict=True):
        assert found == pytest.approx(wanted, abs=1e-4)


def test_layers_without_an_edit_are_left_alone():
    alteration = Alteration([ReplaceActivation(("fc1",), "relu")])
    assert not alteration.concerns(None)
