import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isometry.adapters.torch.initialise import initialise
from isometry.errors import CannotEdit
from tests.adapters.torch.nets import ResNet, Tagger, Transformer


class Odd(nn.Module):
    """Convolutions, pooling, a φ that nobody has a gain for, a skip, a functional layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(16)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.wide = nn.Linear(8 * 8 * 8, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(torch.sin(3 * self.first(x)).abs(), 2)
        x = x + self.norm(self.second(x)).pow(2)
        x = F.avg_pool2d(F.dropout(self.up(x), 0.3, self.training), 2)
        x = F.interpolate(x, (8, 8)).flatten(1)
        return F.linear(torch.sigmoid(self.wide(x)), self.head.weight, self.head.bias)


def images(count=32, channels=3, size=16):
    return 5 + 2 * torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(0))


def deviations(model, *batch):
    """Standard deviation of the output of every layer with a matrix."""
    found = {}
    kinds = (nn.Linear, nn.modules.conv._ConvNd)

    def note(name):
        return lambda module, inputs, z: found.update({name: float(z.std())})

    hooks = [
        module.register_forward_hook(note(name)) for name, module in model.named_modules() if isinstance(module, kinds)
    ]
    with torch.no_grad():
        model(*batch)
    for hook in hooks:
        hook.remove()
    return found


def test_every_layer_puts_out_a_standard_deviation_of_one():
    model = Odd().eval()
    initialise(model, "lsuv", batch=images(), seed=0)
    found = deviations(model, images())
    assert set(found) == {"first", "second", "up", "wide"}
    assert list(found.values()) == pytest.approx([1] * 4, abs=0.02)
    assert float(model(images()).detach().std()) == pytest.approx(1, abs=0.02)


def test_thirty_layers_of_any_nonlinearity_are_level():
    class Hump(nn.Module):
        def forward(self, x):
            return torch.exp(-(x**2)) * 0.1

    model = nn.Sequential(*[module for _ in range(30) for module in (nn.Linear(64, 64), Hump())])
    batch = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    initialise(model, "lsuv", batch=batch, seed=0)
    assert list(deviations(model, batch).values()) == pytest.approx([1] * 30, abs=0.02)


def test_matrices_stay_orthogonal_but_for_their_size():
    model = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32))
    initialise(model, "lsuv", batch=(torch.randn(64, 32), torch.zeros(64)), seed=0)
    for layer in (model[0], model[2]):
        values = torch.linalg.svdvals(layer.weight.detach())
        assert float(values.max() / values.min()) == pytest.approx(1, abs=1e-4)


def test_buffers_mode_and_hooks_are_as_before():
    model = ResNet()
    initialise(model, "lsuv", batch=images(16, 1, 8), seed=0)
    assert model.training
    assert all(module.num_batches_tracked == 0 for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("scheme", ["lsuv", "moments"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("seed", [0, 10, 14])  # with the latter two, dropout drawn anew in each round never settles
def test_attention_and_tied_embeddings_are_levelled(scheme, training, seed):
    torch.manual_seed(seed)
    model = Transformer().train(training)
    tokens = torch.randint(0, 20, (8, 12), generator=torch.Generator().manual_seed(0))
    changed = initialise(model, scheme, batch=tokens, seed=0)
    assert "encoder.layers.0.self_attn.in_proj_weight" in changed
    with torch.no_grad():
        first = model.encoder.layers[0]
        hidden = first.norm1(model.embedding(tokens) + model.position)
        assert float(first.self_attn(hidden, hidden, hidden)[0].std()) == pytest.approx(1, abs=0.3)  # dropout


def test_a_head_that_shares_its_matrix_with_the_embedding_settles():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(50, 32)
            self.position = nn.Parameter(torch.ones(12, 32))
            self.hidden = nn.Linear(32, 32)
            self.head = nn.Linear(32, 50, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, tokens):
            return self.head(torch.tanh(self.hidden(self.embedding(tokens) + self.position)))

    model = Tied()
    tokens = torch.randint(0, 50, (8, 12), generator=torch.Generator().manual_seed(0))
    assert initialise(model, "lsuv", batch=tokens, seed=0) == ("embedding.weight", "hidden.weight", "hidden.bias")
    assert list(deviations(model, tokens).values()) == pytest.approx([1, 1], abs=0.02)


def test_recurrent_layers_keep_their_own_start_and_the_head_is_levelled():
    model = Tagger().eval()
    tokens = torch.randint(0, 20, (64, 9), generator=torch.Generator().manual_seed(0))
    initialise(model, "lsuv", batch=tokens, seed=0)
    gate = model.lstm.weight_hh_l0.detach()[:16]
    assert torch.allclose(gate @ gate.T, torch.eye(16), atol=1e-5)
    assert float(model(tokens).detach().std()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("scheme", ["lsuv", "moments"])
def test_a_layer_without_a_signal_is_named_and_nothing_is_changed(scheme):
    model = nn.Sequential(nn.Linear(4, 4), nn.Threshold(1e6, 0.0), nn.Linear(4, 4))
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(CannotEdit, match="`2`: "):
        initialise(model, scheme, batch=torch.randn(8, 4))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("scheme", ["lsuv", "moments"])
def test_a_layer_that_never_runs_is_named_and_nothing_is_changed(scheme):
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.used(x)

    model = Half()
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(CannotEdit, match="`unused`: did not run"):
        initialise(model, scheme, batch=torch.randn(8, 4))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    assert initialise(model, scheme, batch=torch.randn(8, 4), layers=["used"]) == ("used.weight", "used.bias")


def test_a_frozen_bias_that_spreads_too_far_is_named():
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].bias.requires_grad_(False).copy_(torch.tensor([-9.0, 9.0, -9.0, 9.0]))
    with pytest.raises(CannotEdit, match="Its bias is frozen"):
        initialise(model, "lsuv", batch=torch.randn(8, 4))
