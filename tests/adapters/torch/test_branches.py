import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isometry.adapters.torch.initialise import initialise
from isometry.errors import CannotEdit
from tests.adapters.torch.nets import ResNet, Transformer


class Block(nn.Module):
    def __init__(self, width, *, multiplier=None, norm=False, closing=False):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width) if norm else None
        self.multiplier = None if multiplier is None else nn.Parameter(multiplier.clone())
        self.shift = nn.Parameter(torch.zeros(()))
        self.closing = closing

    def forward(self, x):
        branch = self.second(F.relu(self.first(F.relu(x))))
        if self.norm is not None:
            branch = self.norm(branch)
        if self.closing:
            branch = F.relu(branch)
        if self.multiplier is not None:
            branch = branch * self.multiplier
        return x + (branch + self.shift)


class Residual(nn.Module):
    def __init__(self, blocks=20, width=64, **options):
        super().__init__()
        self.stem = nn.Linear(width, width)
        self.blocks = nn.Sequential(*[Block(width, **options) for _ in range(blocks)])
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)))


class Projected(nn.Module):
    """A convolution beside the branch, as where a ResNet changes its width."""

    def __init__(self, width=16):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.aside = nn.Conv2d(8, width, 1)
        self.first, self.second = nn.Conv2d(8, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = self.aside(x) + self.second(F.relu(self.first(x)))
        return self.head(x.mean((2, 3)))


def vectors(width=64):
    return torch.randn(32, width, generator=torch.Generator().manual_seed(0))


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def unchanged(model, before):
    return all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def size_at_the_head(model, batch):
    return float(model.blocks(model.stem(batch)).detach().square().mean().sqrt())


# ------------------------------------------------------------------------------- fixup


def test_fixup_scales_branches_and_ends_them_and_the_head_with_zero():
    model = Residual(blocks=16)
    initialise(model, "fixup", batch=vectors(), seed=0)
    he = math.sqrt(2 / 64)
    for block in model.blocks:
        assert float(block.first.weight.detach().std()) == pytest.approx(he * 16**-0.5, rel=0.05)  # m = 2
        assert not block.second.weight.any()
    assert float(model.stem.weight.detach().std()) == pytest.approx(he, rel=0.05)
    assert not model.head.weight.any()


def test_fixup_keeps_output_and_first_update_of_twenty_plain_blocks_bounded():
    batch, targets = vectors(), torch.arange(32) % 10
    model = Residual()
    initialise(model, "he", seed=0)
    plain = size_at_the_head(model, batch)
    initialise(model, "fixup", batch=(batch, targets), seed=0)
    assert size_at_the_head(model, batch) == pytest.approx(math.sqrt(2), rel=0.2)
    assert plain > 2**8  # x + f(x) doubles the mean square in every block
    rate = 0.1
    for _ in range(2):  # nothing but the head learns in the first step
        model.zero_grad()
        F.cross_entropy(model(batch), targets).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= rate * parameter.grad
    before = math.log(10)
    after = float(F.cross_entropy(model(batch), targets).detach())
    assert 0 < before - after < 1
    assert size_at_the_head(model, batch) < 3


def test_a_projection_beside_the_branch_is_drawn_like_the_trunk():
    model = Projected()
    initialise(model, "fixup", batch=torch.randn(4, 1, 8, 8), seed=0)
    assert not model.second.weight.any()
    assert float(model.aside.weight.detach().std()) == pytest.approx(math.sqrt(2 / 8), rel=0.2)
    assert float(model.first.weight.detach().std()) == pytest.approx(math.sqrt(2 / 72), rel=0.1)  # one block: 1^x = 1


@pytest.mark.parametrize(
    ("build", "batch", "words"),
    [
        (ResNet, torch.randn(4, 1, 8, 8), "normalised by"),
        (lambda: Residual(2, closing=True), vectors(), "its relu stands between the branch and the sum"),
        (lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU()), vectors(), "no sum of a skip connection"),
    ],
)
def test_fixup_says_what_it_does_not_fit_and_changes_nothing(build, batch, words):
    model = build()
    before = state(model)
    with pytest.raises(CannotEdit, match=words):
        initialise(model, "fixup", batch=batch)
    assert unchanged(model, before)


# --------------------------------------------------------------------- rezero, skipinit


@pytest.mark.parametrize("scheme", ["rezero", "skipinit"])
@pytest.mark.parametrize("multiplier", [torch.tensor(1.0), torch.ones(64)])
def test_multipliers_of_branches_become_zero_and_nothing_else(scheme, multiplier):
    model = Residual(3, multiplier=multiplier)
    before = state(model)
    changed = initialise(model, scheme, batch=vectors())
    assert changed == tuple(f"blocks.{number}.multiplier" for number in range(3))
    assert not any(block.multiplier.any() for block in model.blocks)
    model.load_state_dict({name: before[name] if name in changed else t for name, t in model.state_dict().items()})
    assert unchanged(model, before)


def test_blocks_are_the_identity_then_and_can_learn():
    model = Residual(3, multiplier=torch.tensor(1.0))
    initialise(model, "rezero", batch=vectors())
    assert torch.allclose(model.blocks(vectors()), vectors())
    model(vectors()).square().sum().backward()
    assert all(block.multiplier.grad.any() for block in model.blocks)


def test_the_scale_of_the_last_norm_will_do_and_that_of_a_projection_is_kept():
    model = ResNet()
    changed = initialise(model, "skipinit", batch=torch.randn(8, 1, 8, 8))
    assert changed == ("layer1.bn2.weight", "layer2.bn2.weight")


def test_buffers_are_as_before():
    model = ResNet()
    initialise(model, "rezero", batch=torch.randn(8, 1, 8, 8))
    assert all(module.num_batches_tracked == 0 for module in model.modules() if isinstance(module, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("build", "batch", "words"),
    [
        (Residual, vectors(), r"`blocks.0.add`, .* and 16 more: no trainable parameter"),
        (lambda: Residual(2, norm=True, closing=True), vectors(), "no trainable parameter"),
        (Transformer, torch.randint(0, 20, (4, 12)), "no trainable parameter"),
        (lambda: nn.Sequential(nn.Linear(64, 64)), vectors(), "no sum of a skip connection"),
    ],
)
def test_a_branch_without_a_multiplier_is_named_and_nothing_is_changed(build, batch, words):
    model = build()
    before = state(model)
    with pytest.raises(CannotEdit, match=words):
        initialise(model, "rezero", batch=batch)
    assert unchanged(model, before)


def test_multipliers_in_one_list_are_refused_for_it_is_unknown_which_is_whose():
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(64, 64) for _ in range(3)])
            self.multipliers = nn.ParameterList([torch.ones(()) for _ in range(3)])

        def forward(self, x):
            for layer, multiplier in zip(self.layers, self.multipliers, strict=True):
                x = x + multiplier * torch.tanh(layer(x))
            return x

    with pytest.raises(CannotEdit, match="no trainable parameter of its own"):
        initialise(Listed(), "rezero", batch=vectors())


def test_layers_limit_which_multipliers_are_set():
    model = Residual(3, norm=True)
    assert initialise(model, "rezero", batch=vectors(), layers=["blocks.1.norm"]) == ("blocks.1.norm.weight",)
    with pytest.raises(CannotEdit, match="none of the layers"):
        initialise(model, "rezero", batch=vectors(), layers=["stem"])
